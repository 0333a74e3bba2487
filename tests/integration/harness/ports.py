# SPDX-License-Identifier: Apache-2.0
"""Ports for servers that are told theirs before they bind it."""
import contextlib
import random
import socket
from pathlib import Path

LOWEST = 10000
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
given = set()


def free_port(*addresses):
    """A port that is free on all of the addresses (127.0.0.1), and not one of those that the kernel gives to connections:
    until the server binds it, no connection of another test can be there."""
    highest = int(RANGE.read_text().split()[0]) if RANGE.exists() else 32768
    while True:
        port = random.SystemRandom().randrange(LOWEST, max(highest, LOWEST + 1000))
        if port in given:
            continue
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for address in addresses or ("127.0.0.1",):
                stack.enter_context(socket.socket()).bind((address, port))
            given.add(port)
            return port
