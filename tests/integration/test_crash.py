# SPDX-License-Identifier: Apache-2.0
"""A gateway that dies of a signal, in any of its threads, says so in one last line, and leaves no program behind."""
import ctypes
import os
import signal
import sys
from pathlib import Path

import pytest

from harness.gateway import SANITIZED
from harness.poll import until

SERVER = Path(__file__).parent / "harness" / "stdio_server.py"
TGKILL = {"x86_64": 234, "aarch64": 131}.get(os.uname().machine)
DEADLY = [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE]


@pytest.fixture
def serve(make):
    def build():
        return make(config={
            "listen": "127.0.0.1:0", "admin": {"listen": "127.0.0.1:0"}, "workers": 2, "upstreams": {
                "p": {"dialect": "mcp-stdio", "command": sys.executable, "args": [str(SERVER)]}}}).start()

    return build


def threads(gateway):
    """By name; the main one is called as the program."""
    tasks = Path(f"/proc/{gateway.process.pid}/task")
    return {(task / "comm").read_text().strip(): int(task.name) for task in tasks.iterdir()}


def hit(gateway, thread, number):
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.syscall(TGKILL, gateway.process.pid, threads(gateway)[thread], int(number)) == 0


def program(gateway):
    return int(gateway.call("p__pid").body)


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(SANITIZED, reason="the sanitizers' own handlers take these signals")
@pytest.mark.skipif(not TGKILL, reason="the number of tgkill is not known here")
@pytest.mark.parametrize("number", DEADLY, ids=lambda number: number.name)
@pytest.mark.parametrize("thread", ["jitney", "worker 0", "worker 1", "registry"])
def test_the_last_line_says_what_it_died_of(serve, number, thread):
    gateway = serve()
    child = until(lambda: gateway.call("p__pid").status == 200 and program(gateway), "a program is behind")
    for harmless in (signal.SIGXFSZ, signal.SIGUSR2, signal.SIGPIPE):
        hit(gateway, thread, harmless)
    assert program(gateway) == child, "these end nothing"
    hit(gateway, thread, number)
    gateway.ended_by_test = True
    assert gateway.wait() == -number
    gateway.process = None
    last = gateway.events()[-1]
    assert (last["event"], last["signal"]) == ("died", str(int(number))), last
    assert "jitney+0x" in last["backtrace"]
    assert len(gateway.events("died")) == 1
    until(lambda: is_gone(child), "its program is gone too")
