# SPDX-License-Identifier: Apache-2.0
"""Clients that do not read what they asked for: what is kept for them counts, and new calls are turned away in time."""
import json

from harness import provider as behave
from harness.gateway import PATIENT
from harness.poll import until
from harness.wire import request_bytes

LARGE = 12_000_000      # more than the sockets between take
LIMITS = {"limits": {"in_flight_bytes": "20MiB", "body_timeout": "10m"}, "workers": 1, "upstreams": {"array": PATIENT}}


def ask(gateway, clients, tool, body, path="/v1/tools/", **headers):
    """Ask, and never read."""
    client = gateway.connect()
    clients.append(client)
    client.send(request_bytes("POST", path + tool, json.dumps(body).encode(), headers))
    return client


def leave(gateway, clients):
    for client in clients:
        client.reset()
    clients.clear()
    until(lambda: gateway.metrics().sum("in_flight_bytes") == 0, "all is given back")
    until(lambda: gateway.metrics().sum("reply_bytes") == 0, "the reply that told so has left too")
    assert gateway.call("echo").status == 200


def assert_full(gateway):
    for path, body in (("/v1/tools/echo", b"{}"), ("/v1/batch", b'{"calls":[]}'), ("/mcp", b"{}")):
        with gateway.connect() as connection:
            reply = connection.request("POST", path, body)
            code = reply.json()["error"]["data"]["code"] if path == "/mcp" else reply.code
            assert reply.status == 503 and code == "overloaded" and reply.header("retry-after") == "1", reply
            assert b"in_flight_bytes" in reply.body
            assert connection.request("GET", "/v1/tools").status == 200      # pages are still served, on this connection too
    assert gateway.get("/healthz").status == 200 and gateway.get("/metrics", "admin").status == 200
    assert gateway.metrics().sum("rejected_total", reason="in_flight_bytes") == 3


def test_replies_that_nobody_takes_turn_new_calls_away(start, provider, clients):
    gateway = start(LIMITS)
    for n in range(2):
        provider.next(behave.answering("x" * LARGE))
        ask(gateway, clients, "echo", {"n": n})
        until(lambda n=n: gateway.metrics().sum("reply_bytes") > (n + 1) * LARGE, "one more reply is held")
    page = gateway.metrics()
    assert page.sum("in_flight_bytes") >= page.sum("reply_bytes")
    assert_full(gateway)
    leave(gateway, clients)


def test_a_slow_reader_gets_all_of_it_and_then_it_counts_no_more(start, provider, clients):
    gateway = start(LIMITS)
    provider.next(behave.answering("x" * LARGE))
    client = ask(gateway, clients, "echo", {})
    until(lambda: gateway.metrics().sum("reply_bytes") > LARGE, "the reply is held")
    assert len(client.reply().body) == LARGE + 2
    gateway.until_metric("in_flight_bytes", 0)


def test_an_answer_that_many_are_slow_to_take_counts_once(start, provider, clients):
    gateway = start(LIMITS)
    provider.next(behave.answering("x" * LARGE))
    provider.hold()
    for _ in range(8):
        ask(gateway, clients, "echo", {"q": 1})
    gateway.until_metric("coalesced_total", 7)
    provider.release()

    def is_counted_once():
        """The page before this one, 70 KB, may not have been taken back from its reader yet."""
        return LARGE < gateway.metrics().sum("reply_bytes") < LARGE + 1000

    until(is_counted_once, "the reply is held, once")
    assert gateway.call("echo").status == 200
    while len(clients) > 1:
        clients.pop().reset()
    gateway.until_metric("connections", 2)
    until(is_counted_once, "it is counted once, however many are left")
    leave(gateway, clients)


def test_replies_made_of_many_answers_count(start, provider, clients):
    """Bodies that the gateway writes itself: /v1/batch and /mcp."""
    gateway = start(LIMITS)
    for path, body in (("/v1/batch", {"calls": [{"tool": "echo", "arguments": {}}]}),
                       ("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {}}})):
        provider.next(behave.answering("x" * LARGE))
        ask(gateway, clients, "", body, path, Host="localhost", Accept="application/json, text/event-stream")
        until(lambda: gateway.metrics().sum("reply_bytes") > LARGE, f"the reply of {path} is held")
        leave(gateway, clients)


def test_a_stream_that_nobody_takes_counts(start, provider, clients):
    gateway = start(LIMITS)
    provider.next(behave.answering("x" * (LARGE // 2)), behave.answering("x" * (LARGE // 2)))
    calls = [{"id": str(n), "tool": tool, "arguments": {}} for n, tool in enumerate(("echo", "cached"))]
    ask(gateway, clients, "", {"calls": calls}, "/v1/batch", Accept="application/x-ndjson")
    until(lambda: gateway.metrics().sum("reply_bytes") > LARGE // 2, "the stream is held")
    leave(gateway, clients)
