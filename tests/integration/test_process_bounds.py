# SPDX-License-Identifier: Apache-2.0
"""Programs that do not read what they are sent: what waits for them is bounded, and what was given up never reaches them."""
import json
import sys

import pytest

from harness.poll import until
from harness.wire import request_bytes
from test_bounds import BOUND, MIB, SLACK, Memory

LATE = """
import json, os, sys, time
while not os.path.exists(os.environ["GO"]):
    time.sleep(0.02)
for line in sys.stdin:
    call = json.loads(line)
    with open(os.environ["RECORD"], "a") as file:
        file.write(f'{call["params"]["n"]}\\n')
    print(json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": call["params"]["n"]}), flush=True)
"""


@pytest.fixture
def behind(make, tmp_path):
    def build(upstream, limits=None):
        gateway = make(config={"listen": "127.0.0.1:0", "admin": {"listen": "127.0.0.1:0"}, "workers": 1, "limits": limits or {},
                               "upstreams": {"p": {"dialect": "jsonrpc-stdio", **upstream}},
                               "tools": {"write": {"upstream": "p"}}})
        gateway.start()
        return gateway

    return build


def test_a_program_that_reads_nothing_holds_no_more_than_the_bound(behind):
    """Requests were written into lines, and lines copied into the program's queue: three times the bound, and what
    nobody waited for any more stayed there."""
    gateway = behind({"command": "sleep", "args": ["1000"], "timeout": "20s", "concurrency": 1000,
                      "queue": {"items": 1000, "bytes": "1GiB"}, "pool": {"min": 1, "max": 1, "calls": 1000}},
                     {"in_flight_bytes": "32MiB"})
    body, memory, clients = json.dumps({"text": "x" * 400_000}).encode(), Memory(gateway), []
    for _ in range(1000):
        client = gateway.connect()
        clients.append(client)
        client.send(request_bytes("POST", "/v1/tools/write", body))
    rejected = lambda: gateway.metrics().sum("rejected_total", reason="in_flight_bytes")
    until(lambda: rejected() + gateway.metrics().sum("in_flight_requests") >= 1000, "each waits or was refused")
    held = gateway.metrics().sum("in_flight_bytes")
    assert BOUND // 2 < held <= BOUND + BOUND // 8 and rejected() > 900
    assert gateway.get("/healthz").status == 200
    assert memory.grown() < BOUND + SLACK
    for client in clients:
        client.reset()
    # the rest of the line that has begun to leave waits for its reader
    until(lambda: gateway.metrics().sum("in_flight_bytes") < len(body), "all else is given back")


def test_what_was_given_up_unsent_never_arrives(behind, tmp_path):
    """It was said not to have been sent, so its caller may send it again; it lay in the program's queue all the same."""
    go, record = tmp_path / "go", tmp_path / "record"
    gateway = behind({"command": sys.executable, "args": ["-c", LATE], "timeout": "1s",
                      "env": {"GO": str(go), "RECORD": str(record)}, "pool": {"min": 1, "max": 1, "calls": 10}})
    with gateway.connect() as large, gateway.connect() as small:
        large.send(request_bytes("POST", "/v1/tools/write", json.dumps({"n": 1, "text": "x" * MIB}).encode()))
        until(lambda: gateway.metrics().sum("in_flight_requests") == 1, "it is on its way")
        small.send(request_bytes("POST", "/v1/tools/write", b'{"n": 2}'))
        first, second = large.reply(), small.reply()
    assert (first.status, first.code) == (502, "outcome_unknown"), first.body
    assert (second.status, second.code, second.json()["retryable"]) == (503, "upstream_unavailable", True), second.body
    go.touch()
    assert gateway.call("write", {"n": 3}).json() == 3
    assert record.read_text().split() == ["1", "3"]
