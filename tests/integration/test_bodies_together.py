# SPDX-License-Identifier: Apache-2.0
"""Large bodies, and many that are complete in one turn of a worker's loop: they are looked at slice by slice, in their order, and
others go between them."""
import json
import signal
import socket
import threading

import pytest

from harness.gateway import PATIENT
from harness.metrics import Metrics
from harness.poll import until
from harness.wire import request_bytes

LARGE, COUNT = 500_000, 24
SLICE = 256 << 10
SETTINGS = {"workers": 1, "limits": {"body": "1MiB"}, "upstreams": {"array": {**PATIENT, "batch": {"mode": "off"}}}}


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


def complete_together(gateway, clients, path, headers=lambda number: {}, stay_stopped=False):
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
    if stay_stopped:
        return
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


def pass_by(gateway, listener, *requests):
    """Send these at once, behind them one for the metrics; returns the statuses, and how many slices had been looked at then."""
    probe = gateway.connect(listener)
    probe.send(b"".join(requests) + request_bytes("GET", "/metrics"))
    gateway.signal(signal.SIGCONT)
    statuses = [probe.reply().status for _ in requests]
    metrics = Metrics(probe.reply().body.decode())
    probe.close()
    return statuses, metrics.sum("body_slices_total")


@pytest.mark.parametrize("listener", ["data", "admin"])
def test_health_and_what_is_small_pass_by_those_who_wait(gateway, clients, listener):
    """Of two turns' work each; nobody here waits for the line to end."""
    assert gateway.call("cached", {"n": 1}).status == 200
    hit = request_bytes("POST", "/v1/tools/cached", b'{"n":1}')
    health = request_bytes("GET", "/healthz")
    before = gateway.metrics().sum("body_slices_total")
    complete_together(gateway, clients, "/v1/tools/echo", stay_stopped=True)
    statuses, slices = pass_by(gateway, listener, *([hit, health] if listener == "data" else [health]))
    assert set(statuses) == {200}
    assert slices - before < COUNT, "not half of the line has passed"
    assert {client.reply().status for client in clients} == {200}
    assert gateway.metrics().sum("body_slices_total") - before == 2 * COUNT


@pytest.mark.parametrize("path", ["/v1/tools/echo", "/v1/batch", "/mcp"])
@pytest.mark.parametrize("last, fault", [("0", None), ("x", "expected a value"), ("[[[[[[[[[[0]]]]]]]]]]", "nested too deeply")])
def test_a_large_body_is_looked_at_in_slices(start, path, last, fault):
    gateway = start({"workers": 1, "limits": {"json_depth": 8}})
    text = '{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":[' if path == "/mcp" else '{"n":[' if path != "/v1/batch" else '{"calls":[['
    text += "[],{}," * 400_000
    at = len(text)
    text += last + ("]}}" if path == "/mcp" else "]}" if path != "/v1/batch" else "]]}")
    reply = gateway.request("POST", path, text.encode(), {"Host": "localhost", "Content-Type": "application/json"})
    assert (reply.status == 400) == (fault is not None)
    if fault == "expected a value":
        assert f"not valid JSON: {fault} at byte {at}" in reply.body.decode()
    elif fault:
        assert fault in reply.body.decode()
    assert gateway.metrics().sum("body_slices_total") == -(-len(text) // SLICE)


def turns_of(gateway):
    return gateway.metrics().sum("loop_turns_total")


def test_large_bodies_grow_one_a_turn(start, clients):
    """What a body has so far is moved when it gets more room: here a megabyte, of all of them at the same time."""
    room, whole, count = 983_040, 1_500_000, 60
    gateway = start({"workers": 1, "limits": {"body_timeout": "2m"}})
    for _ in range(count):
        clients.append(gateway.connect())
        clients[-1].send(request_bytes("POST", "/v1/tools/echo", b" " * whole)[:room - whole - 6_000])
    until(lambda: gateway.metrics().sum("in_flight_bytes") >= count * room, "nearly all of the room is taken", 60)
    before = turns_of(gateway)
    gateway.signal(signal.SIGSTOP)
    for client in clients:
        client.send(b" " * 20_000)
    gateway.signal(signal.SIGCONT)
    until(lambda: gateway.metrics().sum("in_flight_bytes") >= count * whole, "all have more", 60)
    assert turns_of(gateway) - before >= count
    for client in clients:
        client.send(b" " * (whole - room - 14_000 - 2) + b"{}")
        assert client.reply().status == 200


def test_who_leaves_while_his_body_grows_leaves_nothing(start, clients):
    room, count = 1_966_080, 20
    gateway = start({"workers": 1})
    for _ in range(count):
        clients.append(gateway.connect())
        clients[-1].send(request_bytes("POST", "/v1/tools/echo", b" " * 2_500_000)[:room - 2_500_000 - 6_000])
    until(lambda: gateway.metrics().sum("in_flight_bytes") >= count * room, "nearly all of the room is taken", 60)
    gateway.signal(signal.SIGSTOP)
    for client in clients:
        client.send(b" " * 20_000)
        client.reset() if clients.index(client) % 2 else client.close()
    gateway.signal(signal.SIGCONT)
    gateway.until_metric("in_flight_bytes", 0)
    gateway.until_metric("in_flight_requests", 0)
    assert gateway.call("echo").status == 200


def test_large_replies_begin_one_a_turn(gateway, provider, clients):
    """The kernel takes as much of each as it may, at once."""
    count, text = 40, b'"' + b"x" * 3_000_000 + b'"'
    provider.behaviour = lambda delivery, wire: wire.answer(b'{"jsonrpc":"2.0","id":%d,"result":%s}' % (delivery.calls[0]["id"], text))
    assert gateway.call("cached", {"n": 1}).status == 200
    for _ in range(count):
        clients.append(gateway.connect())
    before = turns_of(gateway)
    gateway.signal(signal.SIGSTOP)
    for client in clients:
        client.send(request_bytes("POST", "/v1/tools/cached", b'{"n":1}'))
    gateway.signal(signal.SIGCONT)
    for client in clients:
        client.socket.recv(1, socket.MSG_PEEK)
    assert turns_of(gateway) - before >= count
    for client in clients:
        assert client.reply().body == text


def test_a_listener_is_not_kept_waiting_by_anothers_large_replies(gateway, provider, clients):
    """Of which there is always one more to begin; the page of metrics is a large reply, too."""
    text = b'"' + b"x" * 3_000_000 + b'"'
    provider.behaviour = lambda delivery, wire: wire.answer(b'{"jsonrpc":"2.0","id":%d,"result":%s}' % (delivery.calls[0]["id"], text))
    assert gateway.call("cached", {"n": 1}).status == 200
    over = threading.Event()

    def read(client):
        client.send(request_bytes("POST", "/v1/tools/cached", b'{"n":1}') * 1000)
        while not over.is_set() and client.socket.recv(1 << 22):
            pass

    clients.extend(gateway.connect() for _ in range(40))
    readers = [threading.Thread(target=read, args=(client,)) for client in clients]
    for reader in readers:
        reader.start()
    try:
        for client in clients:
            client.socket.recv(1, socket.MSG_PEEK)
        page = gateway.get("/metrics", "admin")
        assert page.status == 200 and len(page.body) >= 65536
    finally:
        over.set()
        for reader in readers:
            reader.join()


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
