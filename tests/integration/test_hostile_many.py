# SPDX-License-Identifier: Apache-2.0
"""A hundred hostile clients at once, of every kind: the bound of bytes holds, the gateway answers all the while, and when they have
left nothing is left of them."""
import json
import os
import random
import resource
import threading
import time
from pathlib import Path

import pytest

from harness import provider as behave
from harness.gateway import SANITIZED
from harness.metrics import Metrics
from harness.poll import until
from harness.wire import Closed, request_bytes

MIB = 1 << 20
BOUND = (32 if SANITIZED else 256) * MIB
ROOM = 64 * MIB             # beside the bound: connections, batches being answered, the allocator
LARGE = 3_000_000
LARGEST = 7_000_000         # a body, or an answer: some of each fill the bound
EACH = 12
REASONS = ["head_timeout", "head_size", "body_timeout", "send_timeout", "bad_framing", "descriptors", "in_flight_bytes"]
LIMITS = {"in_flight_bytes": f"{BOUND // MIB}MiB", "connections": 400, "header_timeout": "500ms", "body_timeout": "1s", "send_rate": "2MiB",
          "idle_timeout": "10s"}
POST = b"POST /v1/tools/echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


class Hostile(threading.Thread):
    """One client, which does its worst again and again until it is told to stop."""

    def __init__(self, gateway, worst, seed, begin, stop):
        super().__init__(daemon=True)
        self.gateway, self.worst, self.rng, self.failure = gateway, worst, random.Random(seed), None
        self.begin, self.stop = begin, stop

    def run(self):
        self.begin.wait()
        try:
            while not self.stop.is_set():
                try:
                    with self.gateway.connect() as connection:
                        self.worst(self, connection)
                except (OSError, Closed):
                    self.stop.wait(0.02)        # turned away, cut off: that is what shall happen
        except BaseException as failure:  # noqa: B902 (told by the test, not swallowed)
            self.failure = failure

    def until_closed(self, connection):
        while not self.stop.is_set() and not connection.closed():
            self.stop.wait(0.05)


def slow_head(client, connection):
    for byte in POST + b"X: " + b"a" * 500:
        connection.send(bytes([byte]))
        if client.stop.wait(0.05):
            return


def silent(client, connection):
    client.until_closed(connection)


def announced_body(client, connection):
    connection.send(POST + b"Content-Length: 8000000\r\n\r\n" + b" " * 5000)
    client.until_closed(connection)


def slow_reader(client, connection):
    """Asks for much, reads nothing."""
    connection.send(request_bytes("POST", "/v1/tools/cached", b'{"large":%d}' % client.rng.randrange(3), {"Host": "localhost"}))
    client.stop.wait(client.rng.random() * 2)
    client.until_closed(connection)


def largest_answer(client, connection):
    """One of its own, of which it reads nothing."""
    arguments = b'{"largest":%d}' % client.rng.randrange(10**9)
    connection.send(request_bytes("POST", "/v1/tools/echo", arguments, {"Host": "localhost"}))
    client.until_closed(connection)


def largest_body(client, connection):
    """To a provider that is slow to answer."""
    connection.send(request_bytes("POST", "/v1/tools/send", LARGEST_TEXT, {"Host": "localhost", "X-Request-Timeout-Ms": "5000"}))
    connection.reply()


def giant_batch(client, connection):
    """Hits of one large answer, many times over; half of them are read."""
    calls = [{"id": str(n), "tool": "cached", "arguments": {"large": 0}} for n in range(300)]
    accept = client.rng.choice(["application/json", "application/x-ndjson"])
    connection.send(request_bytes("POST", "/v1/batch", json.dumps({"calls": calls}).encode(), {"Host": "localhost", "Accept": accept}))
    if client.rng.random() < 0.5:
        end = time.monotonic() + 1
        while time.monotonic() < end and not client.stop.is_set():
            connection.receive()
    client.until_closed(connection)


def many_names(client, connection):
    names = [f"{client.rng.random()}" for _ in range(40_000)]
    body = ("{" + ",".join(f'"{name}":0' for name in names) + "}").encode()
    connection.send(request_bytes("POST", "/v1/tools/echo", body, {"Host": "localhost"}))
    connection.reply()


def large_bodies(client, connection):
    """As many as the bound allows, whole, one behind the other; their own deadlines are short or long."""
    body = json.dumps({"text": "\\u00e4" * 100_000}).encode()
    headers = {"Host": "localhost", "X-Request-Timeout-Ms": str(client.rng.choice([1, 20, 5000]))}
    connection.send(request_bytes("POST", client.rng.choice(["/v1/tools/write", "/v1/batch", "/mcp"]), body, headers) * 2)
    for _ in range(2):
        connection.reply()


def many_cookies(client, connection):
    """More than the library's memory holds: on a new connection, or on a kept one, where the library refuses it."""
    if client.rng.random() < 0.5:
        connection.request("GET", "/healthz", headers={"Host": "localhost"})
    connection.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nCookie: " + b"; ".join([b"a=b"] * 900) + b"\r\n\r\n")
    connection.rest()


def array_of_lists(client, connection):
    body = json.dumps([{"jsonrpc": "2.0", "id": n, "method": "tools/list"} for n in range(90)]).encode()
    connection.send(request_bytes("POST", "/mcp", body, {"Host": "localhost", "Accept": "application/json, text/event-stream"}))
    connection.reply()


def garbage(client, connection):
    connection.send(bytes(client.rng.randrange(256) for _ in range(client.rng.randrange(1, 20_000))))
    client.until_closed(connection)


def leaves_rudely(client, connection):
    connection.send(POST + b"Content-Length: 9\r\n\r\n" + (b'{"n":%03d}' % client.rng.randrange(1000))[:client.rng.randrange(10)])
    connection.reset()


WORST = [slow_head, silent, announced_body, slow_reader, largest_answer, *2 * [largest_body], giant_batch, many_names, large_bodies, many_cookies, array_of_lists, garbage, leaves_rudely]


LARGE_TEXT, LARGEST_TEXT = (b'{"text":"' + b"x" * count + b'"}' for count in (LARGE, LARGEST))


def take_descriptors_away(gateway, stop):
    """Now none is free, now there are enough."""
    before = resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE)
    while not stop.wait(0.5):
        used = len(os.listdir(f"/proc/{gateway.process.pid}/fd"))
        resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, (used, before[1]))
        stop.wait(0.2)
        resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, before)
    resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, before)


def peak_bytes(gateway):
    """The most that was resident since the last look, which begins anew."""
    directory = Path(f"/proc/{gateway.process.pid}")
    status = dict(line.split(":", 1) for line in (directory / "status").read_text().splitlines())
    (directory / "clear_refs").write_text("5")
    return int(status["VmHWM"].split()[0]) * 1024


def watch(admin):
    """Look at it from an admin connection that was there before, until clients of every kind have been cut off, and the
    bound has been met: it answers all the while. Returns the most it held, and the longest turn of a worker in processor
    time."""
    most, turn, looks, missing = 0, 0, 0, REASONS
    limit = time.monotonic() + 120
    while looks < 100 or missing:
        assert time.monotonic() < limit, f"nobody was refused for {missing}; {most} bytes were held"
        assert admin.request("GET", "/healthz", headers={"Host": "localhost"}).status == 200
        metrics = Metrics(admin.request("GET", "/metrics", headers={"Host": "localhost"}).body.decode())
        most = max(most, metrics.sum("in_flight_bytes"))
        turn = max([turn, *metrics.by("worker_turn_cpu_seconds", "worker").values()])
        missing = [reason for reason in REASONS if not metrics.sum("rejected_total", reason=reason)]
        looks += 1
        time.sleep(0.02)
    return most, turn


def descriptors_but_for_providers(gateway):
    return gateway.fds() - gateway.metrics().sum("upstream_connections")


def large_or_small(delivery, wire):
    """Large answers for those who ask for them, and none for who is to wait."""
    if not delivery.rpc:
        wire.hang()
    asked = delivery.calls[0].get("params") or {}
    if "largest" in asked:
        behave.answering(LARGEST_TEXT)(delivery, wire)
    elif all("large" in (call.get("params") or {}) for call in delivery.calls):
        behave.answering(LARGE_TEXT)(delivery, wire)
    else:
        behave.echo(delivery, wire)


@pytest.mark.slow
def test_a_hundred_hostile_clients(start, provider):
    provider.behaviour = large_or_small
    gateway = start({"limits": LIMITS, "log": {"access": False}, "workers": 2, "cache": {"memory": {"size": "64MiB"}}})
    assert gateway.call("cached", {"large": 0}).status == 200
    begin, stop = threading.Event(), threading.Event()
    clients = [Hostile(gateway, worst, seed, begin, stop) for worst in WORST for seed in range(EACH)]
    clients.append(threading.Thread(target=take_descriptors_away, args=(gateway, stop), daemon=True))
    for client in clients[:-1]:
        client.start()          # they wait: the first would keep the others from starting for longer than idle_timeout
    with gateway.connect("admin") as admin:
        assert admin.request("GET", "/healthz", headers={"Host": "localhost"}).status == 200
        fds, resident = descriptors_but_for_providers(gateway), gateway.resident_bytes()
        peak_bytes(gateway)
        begin.set()
        clients[-1].start()
        try:
            most, turn = watch(admin)
            grown = peak_bytes(gateway) - resident
        finally:
            stop.set()
            for client in clients:
                client.join(60)
        assert not any(client.is_alive() for client in clients)
        assert [client.failure for client in clients if getattr(client, "failure", None)] == []
        assert most <= BOUND + BOUND // 8 + 2 * LARGE, "answers may take an eighth more, a body and a reply each worker may be over"
        if not SANITIZED:
            assert most > BOUND * 0.9, "the bound was not met"
            assert grown < BOUND + ROOM
            assert turn < 0.1, "no turn takes long, whoever asks for what"
        until(lambda: all(gateway.metrics().sum(gauge) == 0 for gauge in ("in_flight_requests", "in_flight_bytes", "reply_bytes")),
              "all is given back", 10)
        until(lambda: gateway.metrics().sum("connections") <= 2, "all have left", 10)   # the admin one may have been idle for too long
        until(lambda: descriptors_but_for_providers(gateway) <= fds, "the descriptors are back", 10)
    for _ in range(32):
        assert gateway.call("echo").status == 200
