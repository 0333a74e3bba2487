# SPDX-License-Identifier: Apache-2.0
"""examples/demo/run.py: what `./dev demo` runs once it has built."""
import os
import re
import signal
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.gateway import JITNEY
from harness.poll import until

RUN = Path(__file__).resolve().parents[2] / "examples" / "demo" / "run.py"
PYTHON = "/usr/bin/python3"


def demo(*options, jitney=JITNEY):
    return subprocess.run([PYTHON, RUN, "--jitney", jitney, *options], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_once_shows_the_main_job_and_ends():
    done = demo("--once")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {line[:34].strip(): line[34:].split() for line in done.stdout.split("p99")[1].splitlines() if line.strip()}
    assert rows["a call"][:2] == ["1", "1"]
    assert rows["the same call again"][:2] == ["1", "0"]
    assert rows["200 identical calls at once"][:2] == ["200", "1"]
    calls, requests, mean = rows["1,000 different calls, 64 callers"][:3]
    assert calls == "1,000" and int(requests) <= 60 and float(mean) >= 1000 / 60
    assert "\033" not in done.stdout
    assert "http://127.0.0.1" in done.stdout


@pytest.mark.slow
def test_taken_ports_are_stepped_aside_from():
    with ExitStack() as stack:
        for port in (8080, 8081):
            taken = stack.enter_context(socket.socket())
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                taken.bind(("127.0.0.1", port))
                taken.listen()
            except OSError:
                pass          # somebody else has it: just as well
        done = demo("--once")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"^note: port 808[01] is taken", done.stdout, re.MULTILINE)) == 2


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid):
    try:
        os.kill(pid, 0)
        return False
    except ProcessLookupError:
        return True


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_everything(number):
    process = subprocess.Popen([PYTHON, RUN, "--jitney", JITNEY], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("Ctrl-C"):
            break
    started = children(process.pid)
    assert len(started) == 3, process.communicate(timeout=30)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0 and not errors, errors
    until(lambda: all(gone(pid) for pid in started), "all it started has ended")


def test_a_gateway_that_is_not_there_is_named(tmp_path):
    done = demo("--once", jitney=tmp_path / "nothing")
    assert done.returncode == 1
    assert done.stderr.startswith("demo: cannot start the gateway") and "Traceback" not in done.stderr


def test_a_gateway_that_will_not_start_is_quoted(tmp_path):
    fake = tmp_path / "jitney"
    fake.write_text("#!/bin/sh\necho its own complaint >&2\nexit 2\n")
    fake.chmod(0o700)
    done = demo("--once", jitney=fake)
    assert done.returncode == 1 and "its own complaint" in done.stderr and "Traceback" not in done.stderr
