# SPDX-License-Identifier: Apache-2.0
"""Ports that stay a test's own: for servers that are told theirs before they bind it, that go and come back, or never come."""
import contextlib
import random
import socket
from pathlib import Path

LOWEST = 10000
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
given = set()
recent = [[], []]       # places of the test before and of this one


def bound(host="127.0.0.1", port=0):
    """A socket that has the port and does not listen: whoever connects is refused. While it is open, the kernel gives the port
    to nobody who asks for any; a server of this port (SO_REUSEADDR) may come and go beside it."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((host, port))
    return made


def kept_port(host="127.0.0.1", port=0):
    """A port for a server, which nobody else is given until the next test is over: while the server is stopped, and after it has
    ended before a gateway that still knocks there."""
    place = bound(host, port)
    recent[-1].append(place)
    return place.getsockname()[1]


def begin_test():
    for place in recent.pop(0):
        place.close()
    recent.append([])


def stop_accepting(listener, thread):
    """Close a listener at which a thread waits. Not before that has ended: the descriptor is the next listener's, another test's
    perhaps, and the thread would take its connections."""
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    listener.close()


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
