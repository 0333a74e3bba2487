# SPDX-License-Identifier: Apache-2.0
"""Hostile providers, each beside a good one: writes reach them once at most, and attempts are counted to the last one."""
import collections
import json
import socket
import struct
import threading

import pytest

from harness import provider as behave
from harness.poll import until
from harness.ports import kept_port, stop_accepting
from harness.provider import Provider, answer_bytes, result_of


def whole(delivery):
    found = [result_of(call) for call in delivery.calls]
    return answer_bytes(found if isinstance(delivery.document, list) else found[0])


def half_then_reset(delivery, wire):
    data = whole(delivery)
    wire.raw(data[:-len(result_of(delivery.calls[0])["jsonrpc"]) - 10])
    wire.reset()


def half_close(_, wire):
    """No more will come from here, says the provider, and listens on."""
    wire.connection.shutdown(socket.SHUT_WR)
    wire.hang()


def twice(delivery, wire):
    wire.raw(whole(delivery) * 2)


def head_only(_, wire):
    wire.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n")
    wire.hang()


def drip(delivery, wire):
    """A byte at a time, and never the last."""
    for byte in whole(delivery)[:30]:
        wire.raw(bytes([byte]))
    wire.hang()


HOSTILE = {"hangs": behave.hang, "resets": behave.reset, "closes": behave.close, "half, reset": half_then_reset,
           "half-closes": half_close, "twice": twice, "garbage": behave.garbage, "head only": head_only, "drips": drip}
ENDLESS = ("hangs", "head only", "drips")     # reads end by their timeout


class RefusingByReset:
    """A listener that accepts and resets, before a byte is read."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", kept_port()), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.count = 0
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.count += 1
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

    def finish(self):
        stop_accepting(self.listener, self.thread)


@pytest.fixture
def two(start, provider, other):
    """two({options of the upstream}): "array" has both providers, in turn; calls travel alone, nobody is ejected."""
    def begin(options=None, urls=None, **more):
        upstream = {"endpoints": [{"url": url} for url in urls or (provider.url("/rpc"), other.url("/rpc"))], "balance": "round_robin",
                    "batch": {"mode": "off"}, "ejection": {"failures": 1000}, "retries": {"budget": "100%"}, **(options or {})}
        return start({"workers": 1, "upstreams": {"array": upstream}, **more})
    return begin


def attempts_of(reply):
    return int(reply.header("x-attempts") or 1)


def counted(gateway, **labels):
    return int(gateway.metrics().sum("attempts_total", upstream="array", **labels))


def repeats(gateway):
    return int(gateway.metrics().sum("upstream_repeats_total", upstream="array"))


def told(gateway, replies, provider, other, kind):
    """Each attempt was told to a caller and counted, and each that left has come; what a kept connection swallowed is apart."""
    came = len(provider.calls) + len(other.calls)
    assert sum(map(attempts_of, replies)) == counted(gateway) + repeats(gateway)
    assert came <= counted(gateway) + repeats(gateway)
    if kind != "twice":
        assert came == counted(gateway) + repeats(gateway) - counted(gateway, outcome="unsent")


def patience(kind):
    """Long enough for all to leave while nothing has ended by its timeout: what is known to take that long is refused, rightly."""
    return {"timeout": "2s" if kind in ENDLESS else "20s"}


@pytest.mark.parametrize("kind", HOSTILE)
def test_writes_reach_hostile_providers_once_at_most(two, provider, other, together, kind):
    gateway = two(patience(kind))
    provider.behaviour = HOSTILE[kind]
    writes = together(lambda n: gateway.call("write", {"n": n}), range(16))
    times = collections.Counter(call["params"]["n"] for one in (provider, other) for call in one.calls)
    for n, reply in enumerate(writes):
        assert reply.status == 200 or reply.code in ("outcome_unknown", "upstream_unavailable"), reply
        assert times[n] == (0 if reply.status == 503 else 1), (n, reply, times[n])
        assert attempts_of(reply) <= 2
    told(gateway, writes, provider, other, kind)


@pytest.mark.parametrize("kind", HOSTILE)
def test_reads_go_where_they_are_answered(two, provider, other, together, kind):
    gateway = two(patience(kind))
    provider.behaviour = HOSTILE[kind]
    reads = together(lambda n: gateway.call("echo", {"n": n}), range(100, 116))
    assert {reply.status for reply in reads} <= ({200, 504} if kind in ENDLESS else {200, 502}), reads
    done = [reply for reply in reads if reply.status == 200]
    assert len(done) == 16 if kind not in (*ENDLESS, "half, reset", "garbage") else len(done) >= 8, (kind, len(done))
    assert all(reply.json()["echo"]["n"] == n for n, reply in zip(range(100, 116), reads) if reply.status == 200)
    told(gateway, reads, provider, other, kind)


def test_a_provider_that_resets_what_it_accepts_gets_no_write_twice(two, other, together):
    rude = RefusingByReset()
    try:
        gateway = two(urls=[f"http://127.0.0.1:{rude.port}/rpc", other.url("/rpc")])
        writes = together(lambda n: gateway.call("write", {"n": n}), range(16))
        reads = together(lambda n: gateway.call("echo", {"n": n}), range(100, 116))
        times = collections.Counter(call["params"]["n"] for call in other.calls)
        assert all(times[n] == (1 if reply.status == 200 else 0) for n, reply in enumerate(writes))
        assert {reply.code for reply in writes if reply.status != 200} <= {"outcome_unknown", "upstream_unavailable"}
        assert {reply.status for reply in reads} == {200}
        assert sum(map(attempts_of, writes + reads)) == counted(gateway) + repeats(gateway)
    finally:
        rude.finish()


def test_a_retry_is_told_to_all_who_wait_for_it(two, provider, other, later):
    """Five ask the same: one is sent, breaks off, and is sent elsewhere; each is told of two attempts."""
    gateway = two({"endpoints": [{"url": provider.url("/rpc")}, {"url": other.url("/rpc")}]})
    provider.hold()
    other.hold()
    provider.behaviour = other.behaviour = behave.echo
    provider.next(behave.reset)
    replies = [later(gateway.call, "cached", {"n": 1}) for _ in range(5)]
    until(lambda: len(provider.deliveries) + len(other.deliveries) == 1, "one has left")
    gateway.until_metric("coalesced_total", 4)
    provider.release()
    other.release()
    replies = [reply.result(20) for reply in replies]
    assert [reply.status for reply in replies] == [200] * 5
    assert [attempts_of(reply) for reply in replies] == [2] * 5
    assert {reply.json()["echo"]["n"] for reply in replies} == {1}
    assert counted(gateway, kind="first", outcome="failed") == 1 and counted(gateway, kind="retry", outcome="ok") == 1
    assert counted(gateway) == 2
    assert attempts_of(gateway.call("cached", {"n": 1})) == 1     # from memory: nothing was attempted


def test_items_of_a_batch_say_their_attempts(two, provider, other):
    gateway = two()
    provider.next(behave.reset)
    calls = [{"id": str(n), "tool": "echo", "arguments": {"n": n}} for n in range(4)]
    results = gateway.batch(calls).json()["results"]
    assert [result["status"] for result in results] == [200] * 4
    assert sorted(result.get("attempts", 1) for result in results) == [1, 1, 1, 2], (results, gateway.metrics().text)
    assert counted(gateway) == 5


def test_messages_of_an_array_say_their_attempts(two, provider, other):
    """They have no header: the result's _meta says it."""
    gateway = two()
    provider.next(behave.reset)
    asked = [{"jsonrpc": "2.0", "id": n, "method": "tools/call", "params": {"name": "echo", "arguments": {"n": n}}} for n in range(4)]
    reply = gateway.request("POST", "/mcp", json.dumps(asked), {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"})
    results = [message["result"] for message in reply.json()]
    assert [result["structuredContent"] for result in results] == [{"echo": {"n": n}} for n in range(4)]
    said = [result.get("_meta", {}).get("jitney/attempts", 1) for result in results]
    assert sorted(said) == [1, 1, 1, 2], (results, gateway.metrics().text)
    assert sum(said) == counted(gateway) == 5


def test_a_failed_message_of_an_array_says_its_attempts(two, provider, other):
    gateway = two()
    provider.behaviour = other.behaviour = behave.reset
    asked = [{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"n": 1}}}]
    reply = gateway.request("POST", "/mcp", json.dumps(asked), {"Content-Type": "application/json", "Accept": "application/json"})
    result = reply.json()[0]["result"]
    assert result["isError"] and result["_meta"]["jitney/error"]["attempts"] == counted(gateway) == 2


def test_embeddings_say_the_attempts_of_the_input_that_took_most(start, provider, other):
    def embed(delivery, wire):
        data = [{"object": "embedding", "index": n, "embedding": [1.0]} for n, _ in enumerate(json.loads(delivery.body)["input"])]
        wire.answer({"object": "list", "data": data, "model": "small", "usage": {"prompt_tokens": 1, "total_tokens": 1}})

    provider.behaviour = other.behaviour = embed
    gateway = start({"workers": 1, "upstreams": {"openai": {"dialect": "openai-embeddings", "batch": {"mode": "off"}, "balance": "round_robin",
                                                            "endpoints": [{"url": one.url("/v1")} for one in (provider, other)]}},
                     "tools": {"embed": {"upstream": "openai", "annotations": {"read_only": True}, "models": ["small"]}}})

    def ask(*inputs):
        return gateway.request("POST", "/v1/embeddings", json.dumps({"model": "small", "input": list(inputs)}), {"Content-Type": "application/json"})

    provider.next(behave.reset)
    reply = ask("a", "b", "c", "d")
    assert (reply.status, attempts_of(reply)) == (200, 2), reply
    assert attempts_of(ask("e", "f")) == 1


def test_a_hedge_is_an_attempt(two, provider, other):
    gateway = two({"hedge": "30ms"})
    provider.behaviour = behave.hang
    replies = [gateway.call("echo", {"n": n}) for n in range(6)]
    assert {reply.status for reply in replies} == {200}
    hedges = counted(gateway, kind="hedge")
    assert hedges >= 3 and set(map(attempts_of, replies)) <= {1, 2}     # the good one may be slow too, on a busy machine
    assert sum(map(attempts_of, replies)) == counted(gateway) == 6 + hedges
    assert counted(gateway, kind="first") == 6 and counted(gateway, outcome="ok") == 6


def test_the_budget_is_counted_in_calls(two, provider, other):
    """500 to begin with; each repeat takes one, each first call pays a fifth of one in."""
    gateway = two({"retries": {"budget": "20%"}})
    assert gateway.metrics().sum("retry_budget_ratio", upstream="array") == 1
    provider.behaviour = behave.reset
    replies = [gateway.call("echo", {"n": n}) for n in range(20)]
    assert {reply.status for reply in replies} == {200}
    retried = counted(gateway, kind="retry")
    assert retried == sum(map(attempts_of, replies)) - 20 >= 9
    left = gateway.metrics().sum("retry_budget_ratio", upstream="array")
    assert abs(left - (500 - retried + .2 * 20) / 500) < .2 * 2 / 500 + 1e-6, left


def test_a_spent_budget_lets_failures_stand(two, provider, other):
    gateway = two({"retries": {"budget": "0%"}})
    provider.behaviour = behave.reset
    replies = [gateway.call("echo", {"n": n}) for n in range(10)]
    assert [reply.status for reply in replies].count(502) == 5 and counted(gateway) == 10
    assert gateway.metrics().sum("retry_budget_ratio", upstream="array") == 0


def test_exactly_one_probe(two, provider, other, later):
    """An ejected endpoint that hangs is asked by one call, however many come."""
    let_go, stop, threads = threading.Event(), threading.Event(), []

    def held(delivery, wire):
        let_go.wait(30)
        behave.echo(delivery, wire)

    gateway = two({"ejection": {"failures": 1, "base": "100ms", "max": "1h"}, "timeout": "20s"}, tools={"echo": {"timeout": "20s"}})
    provider.next(behave.reset)
    provider.behaviour = held

    def ask(number):
        while not stop.is_set():
            assert gateway.call("echo", {"n": number}).status == 200

    for number in range(2):
        later(gateway.call, "echo", {"n": 100 + number})
        until(lambda number=number: len(provider.deliveries) + len(other.deliveries) > number, "it is there")
    until(lambda: gateway.events("endpoint_state"), "it is ejected by the one it has reset")
    for number in range(8):
        threads.append(threading.Thread(target=ask, args=(number,)))
        threads[-1].start()
    until(lambda: len(provider.deliveries) == 2, "one probes it")
    count = len(other.deliveries)
    until(lambda: len(other.deliveries) > count + 40, "all others go elsewhere")
    assert len(provider.deliveries) == 2
    stop.set()
    let_go.set()
    for thread in threads:
        thread.join()
    until(lambda: len(gateway.events("endpoint_state")) >= 2, "it is back, says the log")
    assert [line["state"] for line in gateway.events("endpoint_state")] == ["ejected", "up"]


def test_who_is_back_begins_with_little(two, provider, other):
    gateway = two({"ejection": {"failures": 1, "base": "100ms"}})
    provider.next(behave.reset)
    while len(gateway.events("endpoint_state")) < 2:
        assert gateway.call("echo", {"n": 1}).status == 200
    seen = len(provider.calls)
    for n in range(60):
        assert gateway.call("write", {"n": n}).status == 200
    assert 1 <= len(provider.calls) - seen <= 20     # a tenth at first; half as soon as ten seconds have gone


def test_below_half_failed_checks_count_no_more(start, provider, other):
    ill = [Provider(), Provider()]
    try:
        for one in ill:
            one.behaviour = lambda delivery, wire: (behave.status(503) if delivery.method == "GET" else behave.echo)(delivery, wire)
        urls = [{"url": one.url("/rpc")} for one in (provider, *ill)]
        gateway = start({"upstreams": {"array": {"endpoints": urls, "balance": "round_robin", "batch": {"mode": "off"},
                                                 "health": {"path": "/healthz", "interval": "50ms", "fall": 1}}}})
        until(lambda: gateway.metrics().sum("endpoint_state", upstream="array", state="failed_check") == 2, "both are known")
        for n in range(30):
            assert gateway.call("write", {"n": n}).status == 200
        writes = [sum(delivery.method == "POST" for delivery in one.deliveries) for one in (provider, *ill)]
        assert writes == [10, 10, 10]
    finally:
        for one in ill:
            one.finish()


def test_the_last_one_is_never_ejected(start, provider):
    gateway = start({"upstreams": {"array": {"batch": {"mode": "off"}, "ejection": {"failures": 1}, "retries": {"attempts": 1}}}})
    provider.behaviour = behave.reset
    assert {gateway.call("write", {"n": n}).code for n in range(20)} == {"outcome_unknown"}
    assert len(provider.calls) == 20 and not gateway.events("endpoint_state")
    provider.behaviour = behave.echo
    assert gateway.call("write", {"n": 20}).status == 200


def test_a_drain_lets_finish_what_is_under_way(two, provider, other, later):
    gateway = two()
    provider.hold()
    under_way = [later(gateway.call, "write", {"n": n}) for n in range(2)]
    until(lambda: len(provider.deliveries) == 1, "one is there")
    gateway.request("POST", "/admin/endpoints/array/0/drain", b"{}", {"Content-Type": "application/json"}, "admin")
    for n in range(10, 20):
        assert gateway.call("write", {"n": n}).status == 200
    assert len(provider.deliveries) == 1
    provider.release()
    assert {reply.result(20).status for reply in under_way} == {200}


def test_the_provider_is_told_how_long_it_has(two, provider, other):
    gateway = two({"deadline_header": "X-Time-Left-Ms", "timeout": "5s"})
    provider.next(behave.reset)
    assert gateway.call("echo", {"n": 1}, X_Request_Timeout_Ms="1500").status == 200
    said = [int(one.deliveries[0].headers["x-time-left-ms"]) for one in (provider, other)]
    assert 1500 < said[1] <= said[0] <= 5000         # a retry has what is left; others may join a read, so it has all of timeout
    assert gateway.call("write", {"n": 2}, X_Request_Timeout_Ms="1500").status == 200
    last = next(delivery for one in (provider, other) for delivery in one.deliveries if b'"write"' in delivery.body)
    assert 1 <= int(last.headers["x-time-left-ms"]) <= 1500


@pytest.mark.parametrize("name, text", [("Content-Length", "written by jitney itself"), ("a b", "not a header's name"),
                                        ("x-mine", "one of the headers too")])
def test_a_wrong_name_for_the_deadline_is_said(make, name, text):
    gateway = make({"upstreams": {"array": {"deadline_header": name, "headers": {"X-Mine": "1"}}}})
    gateway.refuses(text)
