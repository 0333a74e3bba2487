# SPDX-License-Identifier: Apache-2.0
"""One slow call among 99 fast ones of a request: the 99 are answered while the slow one is still out."""
import json
import threading

import pytest

from harness.gateway import PATIENT

CALLS, SLOW = 100, 41
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


class Streams:
    """Sends the answers of all but the slow call at once, the slow one's when it is let go (2 s would be usual)."""

    def __init__(self, rpc):
        self.rpc = rpc
        self.let_go = threading.Event()
        self.sizes = []
        self.late = None

    def part(self, call):
        if self.rpc:
            return json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": call["params"]}).encode()
        return json.dumps({"id": call["id"], "result": call["args"]}).encode() + b"\n"

    def __call__(self, delivery, wire):
        if self.rpc:
            calls = delivery.document if isinstance(delivery.document, list) else [delivery.document]
            one = not isinstance(delivery.document, list)
        else:
            calls, one = [json.loads(line) for line in delivery.body.splitlines()], False
        number = (lambda call: call["params"]["n"]) if self.rpc else (lambda call: call["args"]["n"])
        self.sizes.append(len(calls))
        slow = [call for call in calls if number(call) == SLOW]
        parts = [self.part(call) for call in calls if number(call) != SLOW]
        before, between, after = (b"[", b",", b"]") if self.rpc and not one else (b"", b"", b"")
        wire.raw(HEAD)
        self.chunk(wire, before + between.join(parts))
        if slow:
            self.late = self.let_go.wait(60)
            self.chunk(wire, (between if parts else b"") + self.part(slow[0]))
        self.chunk(wire, after)
        wire.raw(b"0\r\n\r\n")

    @staticmethod
    def chunk(wire, data):
        if data:
            wire.raw(b"%x\r\n%b\r\n" % (len(data), data))


JSONRPC = {"upstreams": {"array": {**PATIENT, "batch": {"items": 100, "window": "10s", "in_flight": 1}}}}
LINES = {"upstreams": {"array": {**PATIENT, "dialect": "envelope", "batch": {"items": 100, "window": "10s", "in_flight": 1},
                                 "envelope": {"framing": "ndjson", "answer_framing": "ndjson", "path": "/lines",
                                              "content_type": "application/x-ndjson",
                                              "item": '{"id": {id}, "args": {arguments}}', "id": "id",
                                              "result": "result", "match": "id"}}},
         "tools": {"rest": None}}


@pytest.mark.parametrize("shape", ["jsonrpc", "ndjson"])
def test_99_are_answered_while_the_slow_one_is_out(start, provider, later, shape):
    gateway = start(JSONRPC if shape == "jsonrpc" else LINES)
    provider.hold()
    provider.behaviour = streams = Streams(shape == "jsonrpc")
    first = later(gateway.call, "echo", {"n": -1})
    provider.until_deliveries(1)
    futures = [later(gateway.call, "echo", {"n": n}) for n in range(CALLS)]
    gateway.until_metric("batch_waiting_items", CALLS)
    provider.release()
    assert first.result(20).status == 200
    fast = [future.result(20) for n, future in enumerate(futures) if n != SLOW]
    assert {reply.status for reply in fast} == {200}
    assert [reply.json()["n"] for reply in fast] == [n for n in range(CALLS) if n != SLOW]
    # all of them while it is still out
    assert not futures[SLOW].done() and streams.late is None
    assert streams.sizes == [1, CALLS]
    assert gateway.metrics().sum("in_flight_requests") == 1
    streams.let_go.set()
    assert futures[SLOW].result(20).json() == {"n": SLOW}
