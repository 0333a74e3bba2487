# SPDX-License-Identifier: Apache-2.0
"""One request, many answers: whatever it asks for, memory stays within limits.in_flight_bytes and a little, nobody else waits,
and what was carried out is never said not to have been."""
import json
import threading
from pathlib import Path

import pytest

from harness import provider as behave
from harness.gateway import PATIENT, SANITIZED
from harness.poll import until
from harness.wire import request_bytes

MIB = 1 << 20
BOUND, SLACK = 32 * MIB, 64 * MIB
LIMITS = {"limits": {"in_flight_bytes": "32MiB", "body_timeout": "10m"}, "workers": 1, "cache": {"memory": {"size": "64MiB"}},
          "upstreams": {"array": {**PATIENT, "batch": {"mode": "off"}}}}
LARGE = 1_000_000


class Memory:
    """The most that the process had resident since."""

    def __init__(self, gateway):
        self.directory = Path(f"/proc/{gateway.process.pid}")
        (self.directory / "clear_refs").write_text("5")
        self.before = gateway.resident_bytes()

    def grown(self):
        if SANITIZED:
            return 0    # what is freed stays in quarantine
        status = dict(line.split(":", 1) for line in (self.directory / "status").read_text().splitlines())
        return int(status["VmHWM"].split()[0]) * 1024 - self.before


@pytest.fixture
def gateway(start):
    return start(LIMITS)


@pytest.fixture
def cached(gateway, provider):
    """A large answer that is in memory."""
    provider.next(behave.answering(b'"' + b"x" * LARGE + b'"'))
    assert gateway.call("cached", {"n": 1}).status == 200
    return {"tool": "cached", "arguments": {"n": 1}}


def batch(calls, lines=False):
    body = json.dumps({"calls": [{"id": number, **call} for number, call in enumerate(calls)]}).encode()
    return request_bytes("POST", "/v1/batch", body, {"Accept": "application/x-ndjson"} if lines else {})


def messages(count, method, **params):
    body = json.dumps([{"jsonrpc": "2.0", "id": n, "method": method, "params": params} for n in range(count)]).encode()
    return request_bytes("POST", "/mcp", body, {"Accept": "application/json, text/event-stream"})


def at_rest(gateway):
    until(lambda: gateway.metrics().sum("in_flight_bytes") == 0, "all is given back")
    # the reply that told so has left, and is taken off by its own worker a moment later
    until(lambda: gateway.metrics().sum("reply_bytes") == gateway.metrics().sum("in_flight_requests") == 0, "replies too")


def test_lines_are_written_no_faster_than_they_are_read(gateway, cached, provider):
    """front F5b: more than 64 MiB of hits were a connection cut without a word, and a write among them was lost."""
    memory = Memory(gateway)
    with gateway.connect() as connection:
        connection.send(batch([cached] * 70 + [{"tool": "write"}] + [cached] * 30, lines=True))
        lines = [json.loads(line) for line in connection.reply().body.splitlines()]
    assert sorted(line["id"] for line in lines) == list(range(101)) and {line["status"] for line in lines} == {200}
    assert [line["result"] for line in lines if line["id"] == 70] == [{"echo": {}}]
    assert len(provider.calls) == 2 and memory.grown() < SLACK
    at_rest(gateway)


def test_a_document_larger_than_the_bound_comes_whole(gateway, cached, provider):
    """front F5a: a reply that was too large said `overloaded`, and the write in it was done."""
    memory = Memory(gateway)
    with gateway.connect() as connection:
        connection.send(batch([{"tool": "write"}] + [cached] * 100))
        results = connection.reply().json()["results"]
    assert [result["id"] for result in results] == list(range(101)) and {result["status"] for result in results} == {200}
    assert len(provider.calls) == 2 and memory.grown() < BOUND + SLACK
    at_rest(gateway)


def test_replies_that_nobody_reads_hold_little(gateway, cached, provider):
    """front F2, F3: three requests of half a megabyte each made 1.6 GB."""
    memory, clients = Memory(gateway), [gateway.connect() for _ in range(20)]
    for client in clients[:10]:
        client.send(batch([cached] * 5000))
    for client in clients[10:]:
        client.send(batch([cached] * 5000, lines=True))
    until(lambda: gateway.metrics().sum("reply_bytes") > LARGE, "replies are under way")
    assert gateway.call("echo").status == 200 and gateway.get("/healthz").status == 200
    for client in clients:
        client.reset()
    at_rest(gateway)
    assert memory.grown() < BOUND + SLACK


def test_arrays_of_lists_are_small(start, provider):
    """mcp A2, front F3: 12,000 times the list of all tools was gigabytes, made in one go."""
    text = "long words " * 200
    gateway = start({**LIMITS, "tools": {f"tool{n}": {"upstream": "array", "description": text} for n in range(100)}})
    memory, count = Memory(gateway), 12_000
    with gateway.connect() as connection:
        connection.send(messages(count, "tools/list"))
        replies = connection.reply().json()
    assert [reply["id"] for reply in replies] == list(range(count))
    assert sum("result" in reply for reply in replies) == 100
    assert "100 lists" in replies[-1]["error"]["message"]
    with gateway.connect() as connection:
        for _ in range(10):
            with gateway.connect() as silent:
                silent.send(messages(count, "tools/list"))
                assert connection.request("GET", "/healthz").status == 200
    at_rest(gateway)
    assert memory.grown() < BOUND + SLACK


def test_arrays_of_calls_are_written_as_they_are_read(gateway, cached, provider):
    memory = Memory(gateway)
    with gateway.connect() as connection:
        connection.send(messages(150, "tools/call", name="cached", arguments={"n": 1}))
        replies = connection.reply().json()
    assert [reply["id"] for reply in replies] == list(range(150))
    assert {len(reply["result"]["content"][0]["text"]) for reply in replies} == {LARGE}
    with gateway.connect() as silent:
        silent.send(messages(20_000, "tools/call", name="cached", arguments={"n": 1}))
        until(lambda: gateway.metrics().sum("reply_bytes") > LARGE, "it is under way")
        silent.reset()
    at_rest(gateway)
    assert memory.grown() < BOUND + SLACK


def test_events_of_an_array_come_one_by_one(gateway, provider):
    headers = {"Accept": "text/event-stream"}
    body = json.dumps([{"jsonrpc": "2.0", "id": n, "method": "tools/call", "params": {"name": "echo", "arguments": {"n": n}}}
                       for n in range(5)] + [{"jsonrpc": "2.0", "method": "notifications/initialized"},
                                             {"jsonrpc": "2.0", "id": 5, "method": "ping"}]).encode()
    reply = gateway.request("POST", "/mcp", body, headers)
    assert reply.header("content-type") == "text/event-stream"
    events = [json.loads(line.partition(b": ")[2]) for line in reply.body.splitlines() if line.startswith(b"data: ")]
    assert [event["id"] for event in events] == list(range(6))
    silent = json.dumps([{"jsonrpc": "2.0", "method": "notifications/initialized"}]).encode()
    assert gateway.request("POST", "/mcp", silent, headers).status == 202


@pytest.mark.parametrize("lines", [False, True])
def test_what_finds_no_room_fails_alone_and_says_whether_it_was_done(gateway, provider, lines):
    """60 MB of results come home before their client reads, and 32 MiB is all there is."""
    gate = threading.Event()

    def first_last(delivery, wire):
        if any(call["params"].get("n") == 0 for call in delivery.calls):
            gate.wait(60)
        behave.answering(b'"' + b"x" * LARGE + b'"')(delivery, wire)

    provider.behaviour = first_last
    calls = [{"tool": "write" if number % 2 else "echo", "arguments": {"n": number}} for number in range(61)]
    memory = Memory(gateway)
    with gateway.connect() as connection:
        connection.send(batch(calls, lines=lines))
        gateway.until_metric("in_flight_requests", 1)
        provider.until_calls(61)
        gate.set()
        gateway.until_metric("in_flight_requests", 0)
        body = connection.reply().body
    results = [json.loads(line) for line in body.splitlines()] if lines else json.loads(body)["results"]
    results = {result["id"]: result for result in results}
    assert sorted(results) == list(range(61))
    for number, call in enumerate(calls):
        result = results[number]
        if result["status"] != 200:
            assert result["error"]["code"] == ("outcome_unknown" if call["tool"] == "write" else "overloaded"), result
            assert result["error"]["retryable"] == (call["tool"] == "echo")
    whole = sum(result["status"] == 200 for result in results.values())
    assert 20 < whole < 61
    at_rest(gateway)
    assert gateway.metrics().sum("rejected_total", reason="in_flight_bytes") == 61 - whole
    assert memory.grown() < BOUND + SLACK + 61 * LARGE     # what the provider's connections bring at once is not ours to bound


def test_many_groups_that_wait_for_one_call_do_not_all_write_at_once(start, cached, gateway, provider):
    """front F3: each built its reply when the call came home, before anything was counted."""
    provider.hold()
    memory, clients = Memory(gateway), [gateway.connect() for _ in range(100)]
    for client in clients:
        client.send(batch([{"tool": "echo", "arguments": {"q": "slow"}}] + [cached] * 100))
    gateway.until_metric("in_flight_requests", 100)
    provider.release()
    gateway.until_metric("in_flight_requests", 0)
    assert gateway.get("/healthz").status == 200
    for client in clients[:5]:
        assert len(client.reply().json()["results"]) == 101
    for client in clients:
        client.reset()
    at_rest(gateway)
    assert memory.grown() < BOUND + SLACK


def test_nobody_waits_for_a_giant(gateway, cached, provider):
    """Whatever a batch of 20,000 does, other callers of its worker are served meanwhile."""
    stop, seen = threading.Event(), []

    def ask():
        with gateway.connect() as connection:
            while not stop.is_set():
                seen.append(connection.request("GET", "/healthz").status)

    asking = threading.Thread(target=ask)
    asking.start()
    provider.behaviour = behave.echo
    with gateway.connect() as connection:
        connection.send(batch([{"tool": "cached", "arguments": {"n": 2}}] * 20_000))
        results = connection.reply().json()["results"]
    stop.set()
    asking.join()
    assert len(results) == 20_000 and {result["status"] for result in results} == {200}
    assert len(seen) > 10 and set(seen) == {200}
    at_rest(gateway)


def test_what_is_sent_counts_beside_what_came(gateway, provider):
    """What leaves is a copy: bodies of 256 MiB that providers were slow to answer took 512."""
    body, count = json.dumps({"text": "x" * 3_000_000}).encode(), 9
    provider.behaviour = behave.answering(1)
    provider.hold()
    memory, clients = Memory(gateway), [gateway.connect() for _ in range(count)]
    for number, client in enumerate(clients):
        client.offer(request_bytes("POST", "/v1/tools/write", body))      # those without room are told so before all of it has come
        if number < 5:
            provider.until_calls(number + 1)
    assert 10 * len(body) <= gateway.metrics().sum("in_flight_bytes") <= BOUND + BOUND // 8
    until(lambda: gateway.metrics().sum("rejected_total", reason="in_flight_bytes"), "others are turned away")
    provider.release()
    replies = [client.reply() for client in clients]
    assert [reply.status for reply in replies[:5]] == [200] * 5
    told = [reply for reply in replies if reply.status != 200]
    assert told and {(reply.status, reply.code, reply.header("retry-after")) for reply in told} == {(503, "overloaded", "1")}
    assert len(provider.calls) == count - len(told)     # what was refused was not sent
    at_rest(gateway)
    assert memory.grown() < BOUND + SLACK


def test_room_is_not_waited_for_for_ever(start):
    """A list that is larger than the bound: there is never room for it, and that is said."""
    gateway = start({"limits": {"in_flight_bytes": "1KiB", "body_timeout": "500ms"}, "workers": 1})
    with gateway.connect() as connection:
        connection.send(messages(2, "tools/list"))
        errors = connection.reply().json()
    assert [error["error"]["data"]["code"] for error in errors] == ["overloaded"] * 2
    assert gateway.metrics().sum("rejected_total", reason="in_flight_bytes") == 2
    at_rest(gateway)


@pytest.mark.parametrize("begin", [
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"HTTP/1.1 200 OK\r\n"],
    ids=["trailers", "head"])
def test_a_head_or_trailers_without_end_take_no_memory(gateway, provider, begin):
    """libcurl keeps each line until the exchange is over: the answer's cap does not see them."""
    memory, lines, sent = Memory(gateway), b"X-And-More: " + b"y" * 200 + b"\r\n", []

    def flood(_, wire):
        wire.raw(begin)
        while len(sent) < 640:  # 64 MiB: the connection is closed long before
            wire.raw(lines * 480)
            sent.append(1)

    provider.behaviour = flood
    reply = gateway.call("item", {"id": 1, "q": "x"})
    assert reply.status == 502 and "trailers included, is over the cap of 262144 bytes" in reply.json()["detail"], reply
    assert memory.grown() < 16 * MIB and len(sent) < 640
    provider.behaviour = behave.echo
    assert gateway.call("item", {"id": 1, "q": "x"}).status == 200
