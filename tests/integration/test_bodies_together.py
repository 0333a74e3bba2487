# SPDX-License-Identifier: Apache-2.0
"""Large bodies that are complete in one turn of a worker's loop: they are looked at in several, in their order, and others go
between them."""
import json
import signal

import pytest

from harness.poll import until
from harness.wire import request_bytes

LARGE, COUNT = 500_000, 24
SETTINGS = {"workers": 1, "limits": {"body": "1MiB"}, "upstreams": {"array": {"batch": {"mode": "off"}}}}


def body(number, path):
    text = "x" * LARGE
    if path == "/mcp":
        return json.dumps({"jsonrpc": "2.0", "id": number, "method": "ping", "params": {"text": text}}).encode()
    if path == "/v1/batch":
        return json.dumps({"calls": [{"id": number, "tool": "nobody", "arguments": {"text": text}}]}).encode()
    return json.dumps({"n": number, "text": text}).encode()


@pytest.fixture
def gateway(start):
    return start(SETTINGS)


@pytest.fixture
def clients():
    opened = []
    yield opened
    for client in opened:
        client.close()


def complete_together(gateway, clients, path, headers=lambda number: {}):
    """COUNT requests whose last bytes are all there when the worker looks again."""
    for number in range(COUNT):
        text = request_bytes("POST", path, body(number, path), headers(number))
        client = gateway.connect()
        clients.append(client)
        client.send(text[:-1])
    until(lambda: gateway.metrics().sum("in_flight_bytes") >= COUNT * LARGE, "all but the last bytes have come")
    gateway.signal(signal.SIGSTOP)
    for client in clients:
        client.send(b"}")
    with gateway.connect() as probe:
        probe.send(request_bytes("GET", "/healthz"))
        gateway.signal(signal.SIGCONT)
        assert probe.reply().status == 200


@pytest.mark.parametrize("path", ["/v1/tools/echo", "/v1/batch", "/mcp"])
def test_a_turn_looks_at_few(gateway, clients, path):
    complete_together(gateway, clients, path)
    for number, client in enumerate(clients):
        reply = client.reply()
        assert reply.status == 200, reply
        if path == "/v1/tools/echo":
            assert reply.json()["echo"]["n"] == number
    # half a MiB is looked at in a turn, so two of them are; a few may have been read by the library in a later turn
    assert COUNT / 2 <= gateway.metrics().sum("bodies_deferred_total") <= COUNT
    gateway.until_metric("in_flight_bytes", 0)


def test_small_ones_together_are_not_put_aside(gateway, clients):
    for _ in range(50):
        clients.append(gateway.connect())
    gateway.signal(signal.SIGSTOP)
    for client in clients:
        client.send(request_bytes("POST", "/v1/tools/echo", b'{"n":1}'))
    gateway.signal(signal.SIGCONT)
    assert {client.reply().status for client in clients} == {200}
    assert gateway.metrics().sum("bodies_deferred_total") == 0


def test_those_who_wait_keep_their_deadline(gateway, provider, clients):
    last = COUNT - 4
    complete_together(gateway, clients, "/v1/tools/echo", lambda n: {"X-Request-Timeout-Ms": "1"} if n >= last else {})
    statuses = [client.reply().status for client in clients]
    assert statuses == [200] * last + [504] * (COUNT - last)
    assert gateway.metrics().sum("rejected_total", reason="deadline") == COUNT - last
    assert len(provider.deliveries) == last


def test_those_who_leave_while_they_wait_leave_nothing(gateway, clients):
    complete_together(gateway, clients, "/v1/tools/echo")
    for client in clients[::2]:
        client.reset()
    for client in clients[1::2]:
        assert client.reply().status == 200
    until(lambda: gateway.metrics().sum("in_flight_bytes") == 0, "all is given back")


def test_a_drain_serves_those_who_wait(gateway, clients):
    complete_together(gateway, clients, "/v1/tools/echo")
    gateway.signal(signal.SIGTERM)
    gateway.ended_by_test = True
    assert {client.reply().status for client in clients} == {200}
    assert gateway.wait() == 0
