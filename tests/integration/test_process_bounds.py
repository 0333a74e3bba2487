# SPDX-License-Identifier: Apache-2.0
"""Programs that do not read what they are sent: what waits for them is bounded, and what was given up never reaches them."""
import json
import socket
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
        client.offer(request_bytes("POST", "/v1/tools/write", body))
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
    until(lambda: record.exists() and record.read_text().split(), "it reads")
    assert gateway.call("write", {"n": 3}).json() == 3
    assert record.read_text().split() == ["1", "3"]


DEAF = """
import json, os, sys, time
for line in sys.stdin:
    call = json.loads(line)
    print(json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": os.getpid()}), flush=True)
    try:
        os.close(os.open(os.environ["FIRST"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        continue
    os.close(0)
    open(os.environ["FIRST"] + ".closed", "w").close()
    time.sleep(60)
"""


def test_one_that_takes_nothing_any_more_is_passed_over(behind, tmp_path):
    """It had answered, closed its stdin and lived on: idle as it was, it was given every call, and none left."""
    gateway = behind({"command": sys.executable, "args": ["-c", DEAF], "timeout": "1500ms", "env": {"FIRST": str(tmp_path / "first")},
                      "pool": {"min": 2, "max": 2, "calls": 4}})
    deaf = gateway.call("write", {"n": 0}).json()
    until((tmp_path / "first.closed").exists, "it has closed its stdin")
    assert gateway.get("/healthz").status == 200    # a turn of the worker has seen it
    replies = [gateway.call("write", {"n": n}) for n in range(1, 9)]
    assert [reply.status for reply in replies] == [200] * 8, replies
    assert deaf not in {reply.json() for reply in replies}


def test_what_waits_for_a_session_counts_beside_what_came(make):
    """Calls to an MCP server over HTTP are copied, to be sent once its session is there: that was held beside the bound."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:      # accepts, and says nothing
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/mcp"
        gateway = make(config={"listen": "127.0.0.1:0", "admin": {"listen": "127.0.0.1:0"}, "workers": 1,
                               "limits": {"in_flight_bytes": "32MiB"},
                               "upstreams": {"p": {"dialect": "mcp", "endpoints": [{"url": url}], "timeout": "30s", "concurrency": 200,
                                                   "queue": {"items": 1000, "bytes": "1GiB"}, "batch": {"mode": "off"}}},
                               "tools": {"write": {"upstream": "p"}}})
        gateway.start()
        body, clients = json.dumps({"text": "x" * 400_000}).encode(), [gateway.connect() for _ in range(30)]
        for client in clients:
            client.send(request_bytes("POST", "/v1/tools/write", body))
        until(lambda: gateway.metrics().sum("in_flight_requests") == 30, "all wait")
        assert 30 * 2 * len(body) <= gateway.metrics().sum("in_flight_bytes") <= BOUND + BOUND // 8
        for client in clients:
            client.reset()
        until(lambda: gateway.metrics().sum("in_flight_bytes") == 0, "all is given back")


def test_an_event_in_several_lines_counts_twice(make, serve):
    """Its lines are put together beside the stream that they come in: a server that began such events held twice the bound."""
    server, size, callers = serve(), 1_000_000, 40
    gateway = make(config={"listen": "127.0.0.1:0", "admin": {"listen": "127.0.0.1:0"}, "workers": 1,
                           "limits": {"in_flight_bytes": "16MiB"},
                           "upstreams": {"m": {"dialect": "mcp", "endpoints": [{"url": server.url()}], "timeout": "30s",
                                               "concurrency": callers, "batch": {"mode": "off"}}}})
    gateway.start()
    until(lambda: b"m__lines" in gateway.get("/v1/tools").body, "its tools are there")
    clients = [gateway.connect() for _ in range(callers)]
    for number, client in enumerate(clients):
        client.send(request_bytes("POST", "/v1/tools/m__lines", b'{"bytes": %d, "n": %d}' % (size, number)))
    until(lambda: len(server.calls("lines")) == callers, "all are at the server")
    until(lambda: 2 * size * gateway.metrics().sum("in_flight_requests") <= 20 * MIB, "those without room are told so")
    assert 2 * size * gateway.metrics().sum("in_flight_requests") > 8 * MIB
    assert gateway.metrics().sum("answer_bytes") <= 20 * MIB        # the bound, and 4 MiB so that what was let in is answered
    for client in clients:
        client.reset()
    server.released.set()
    until(lambda: gateway.metrics().sum("in_flight_bytes") == 0, "all is given back")
