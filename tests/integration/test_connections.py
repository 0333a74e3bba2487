# SPDX-License-Identifier: Apache-2.0
"""How long, how many, how much: connections against their deadlines and limits, and clients that leave in the middle."""
import http.client
import os
import re
import resource
import signal
import time

import pytest

from harness import provider as behave
from harness.gateway import PATIENT
from harness.poll import until
from harness.wire import Closed

POST = b"POST /v1/tools/echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def drip(connection, data):
    """A byte now and then, until the other side has had enough. Returns what it said."""
    limit = time.monotonic() + 15
    for byte in data:
        if connection.closed():
            return connection.pending
        try:
            connection.send(bytes([byte]))
        except ConnectionError:
            return connection.pending
        assert time.monotonic() < limit, "still open"
        until_some = time.monotonic() + 0.02
        while time.monotonic() < until_some and not connection.closed():
            time.sleep(0.005)
    raise AssertionError("all of it was taken")


def served(gateway):
    """A connection whose first request was served: with a short header_timeout its head may be late, as this process may be."""
    def attempt():
        connection = gateway.connect()
        try:
            assert connection.request("GET", "/healthz").status == 200
            return connection
        except Closed:
            connection.close()
            return None

    return until(attempt, "a first request is in time")


def test_a_dripping_head_is_cut_off(start):
    gateway = start({"limits": {"header_timeout": "300ms"}})
    with gateway.connect() as connection:
        drip(connection, POST + b"X: " + b"a" * 2000)
    gateway.until_metric("rejected_total", 1, reason="head_timeout")
    gateway.until_metric("connections", 1)


def test_a_dripping_second_head_is_cut_off(start):
    gateway = start({"limits": {"header_timeout": "300ms"}})
    with served(gateway) as connection:
        before = gateway.metrics().sum("rejected_total", reason="head_timeout")
        drip(connection, POST + b"X: " + b"a" * 2000)
    gateway.until_metric("rejected_total", before + 1, reason="head_timeout")


def test_a_dripping_body_is_cut_off(start, provider):
    gateway = start({"limits": {"body_timeout": "300ms"}})
    with gateway.connect() as connection:
        connection.send(POST + b"Content-Length: 5000\r\n\r\n")
        drip(connection, b" " * 4999)
    gateway.until_metric("rejected_total", 1, reason="body_timeout")
    assert not provider.deliveries


def test_a_head_that_never_comes_is_cut_off(start):
    gateway = start({"limits": {"header_timeout": "200ms"}})
    with gateway.connect() as connection:
        connection.send(b"GET /he")
        until(connection.closed, "the connection is closed")
    gateway.until_metric("rejected_total", 1, reason="head_timeout")


def test_an_idle_connection_is_closed(start):
    gateway = start({"limits": {"idle_timeout": "1s"}})
    with gateway.connect() as connection:
        assert connection.request("GET", "/healthz").status == 200
        until(connection.closed, "the connection is closed")
    assert gateway.metrics().sum("rejected_total") == 0


def test_a_kept_connection_is_not_held_to_the_head_deadline(start):
    gateway = start({"limits": {"header_timeout": "100ms", "idle_timeout": "60s"}})
    with served(gateway) as connection:
        end = time.monotonic() + 0.4
        until(lambda: time.monotonic() > end, "four head deadlines have passed")
        assert connection.request("GET", "/healthz").status == 200


def test_a_new_connection_that_says_nothing_is_closed(start):
    gateway = start({"limits": {"header_timeout": "200ms", "idle_timeout": "60s"}})
    with gateway.connect() as connection:
        until(connection.closed, "the connection is closed")
    gateway.until_metric("rejected_total", 1, reason="head_timeout")
    gateway.until_metric("connections", 1)


def test_a_slow_call_is_not_held_to_the_head_deadline(start, provider, later):
    gateway = start({"limits": {"header_timeout": "100ms", "body_timeout": "100ms"}})
    provider.hold()
    future = later(gateway.call, "echo")
    provider.until_deliveries(1)
    end = time.monotonic() + 0.4
    until(lambda: time.monotonic() > end, "four deadlines have passed")
    provider.release()
    assert future.result(20).status == 200


def test_one_connection_too_many_is_answered_503(start):
    gateway = start({"limits": {"connections": 5}, "workers": 1})
    connections = [gateway.connect() for _ in range(5)]
    try:
        for connection in connections:
            assert connection.request("GET", "/healthz").status == 200
        with gateway.connect() as surplus:
            reply = surplus.request("POST", "/v1/tools/echo", b"{}")
            assert reply.status == 503 and reply.code == "overloaded"
            assert reply.header("connection").lower() == "close"
            assert reply.header("x-request-id") == reply.json()["request_id"] != ""
            assert int(reply.header("retry-after")) >= 1
        assert connections[0].request("GET", "/healthz").status == 200
    finally:
        for connection in connections:
            connection.close()
    until(lambda: gateway.get("/healthz").status == 200, "there is room again")
    assert gateway.metrics().sum("rejected_total", reason="connections") >= 1


def starve(gateway):
    """Leave the gateway no free descriptor. Returns what its limit was, and connections that took the last ones."""
    before = resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE)
    highest = max(int(fd) for fd in os.listdir(f"/proc/{gateway.process.pid}/fd"))
    resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, (highest + 1, before[1]))
    served = []
    while True:
        connection = gateway.connect()
        connection.send(GET + b"\r\n")
        try:
            assert connection.reply().status == 200
        except (ConnectionError, Closed):
            connection.close()
            return before, served
        served.append(connection)


def ask_once(gateway):
    """Turned away, or served with a descriptor that another thread has just let go; never left to wait."""
    with gateway.connect() as connection:
        try:
            connection.send(GET + b"\r\n")
            return connection.reply().status
        except (ConnectionError, Closed):
            return 0


def works(gateway, count=32):
    """Every worker answers: the kernel spreads connections over them."""
    return all(gateway.get("/healthz").status == 200 for _ in range(count))


def test_descriptors_that_run_out_and_come_back(start):
    gateway = start({"workers": 2})
    kept = [gateway.connect() for _ in range(12)]
    for connection in kept:
        assert connection.request("GET", "/healthz").status == 200
    before, served = starve(gateway)
    kept += served
    answers = [ask_once(gateway) for _ in range(40)]
    assert set(answers) <= {0, 200}
    assert all(connection.request("GET", "/healthz").status == 200 for connection in kept)
    for connection in kept:
        connection.close()
    resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, before)
    until(lambda: gateway.metrics().sum("connections") == 1, "all have left")
    assert works(gateway)
    assert gateway.metrics().sum("rejected_total", reason="descriptors") >= answers.count(0)
    assert gateway.events("out_of_descriptors")


def test_a_gateway_without_descriptors_does_not_spin(start):
    gateway = start({"workers": 1})
    with gateway.connect() as kept:
        assert kept.request("GET", "/healthz").status == 200
        before, served = starve(gateway)
        ask_once(gateway)

        def turns():
            text = kept.request("GET", "/metrics").body.decode()
            return float(re.search(r"^jitney_loop_turns_total (\S+)", text, re.M).group(1))

        begun, first = time.monotonic(), turns()
        until(lambda: time.monotonic() > begun + 0.5, "half a second has passed")
        assert turns() - first < 100 * (time.monotonic() - begun) / 0.5
        resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, before)
    for connection in served:
        connection.close()
    assert works(gateway, 3)


def test_idle_connections_have_a_limit_over_all_workers_and_admin_has_places_of_its_own(start):
    """More than the admin listener has places, so that it would have none left among them; and those who look take none of theirs."""
    places, more = 80, 40
    gateway = start({"limits": {"connections": places}, "workers": 2})
    lookers = [gateway.connect("admin") for _ in range(10)]
    assert all(looker.request("GET", "/healthz").status == 200 for looker in lookers)
    quiet = [gateway.connect() for _ in range(places + more)]
    try:
        until(lambda: gateway.get("/metrics", "admin").body.find(b'jitney_rejected_total{reason="connections"} %d' % more) > 0,
              "forty have been turned away")
        assert gateway.get("/healthz", "admin").status == 200
        until(lambda: sum(not connection.closed() for connection in quiet) == places, "as many as there are places are open")
    finally:
        for connection in quiet + lookers:
            connection.close()
    until(lambda: gateway.get("/healthz").status == 200, "there is room again")
    assert works(gateway)


def test_a_reply_that_is_taken_too_slowly_is_cut_off(start, provider):
    gateway = start({"limits": {"send_rate": "1MiB", "body_timeout": "1s"}, "upstreams": {"array": PATIENT}})
    provider.next(behave.answering("x" * 12_000_000))
    with gateway.connect() as slow:
        slow.send(POST + b"Content-Length: 2\r\n\r\n{}")
        gateway.until_metric("rejected_total", 1, reason="send_timeout")
        gateway.until_metric("in_flight_bytes", 0)
    gateway.until_metric("connections", 1)


def test_a_reply_that_is_taken_fast_enough_is_not(start, provider):
    gateway = start({"limits": {"send_rate": "1KiB", "body_timeout": "100ms"}, "upstreams": {"array": PATIENT}})
    provider.next(behave.answering("x" * 12_000_000))
    with gateway.connect() as reader:
        reader.send(POST + b"Content-Length: 2\r\n\r\n{}")
        until(lambda: gateway.metrics().sum("reply_bytes") > 0, "the reply is held")
        end = time.monotonic() + 1.5
        until(lambda: time.monotonic() > end, "more than body_timeout has passed")
        assert len(reader.reply().body) == 12_000_002
    assert gateway.metrics().sum("rejected_total") == 0


def test_bodies_that_are_announced_and_do_not_come_hold_nothing(start):
    """front F9: what has come of them is held, and counted, and no more than that."""
    come = 20_000       # more than there is room for from the beginning, uncounted
    gateway = start({"limits": {"in_flight_bytes": "32MiB"}})
    announced = [gateway.connect() for _ in range(32)]
    for connection in announced:
        connection.send(POST + b"Content-Length: 8388608\r\n\r\n" + b" " * come)
    held = until(lambda: (bytes_held := gateway.metrics().sum("in_flight_bytes")) >= 32 * come and bytes_held, "what has come is counted")
    assert held <= 32 * 3 * come
    assert gateway.call("echo", b'{"a":"' + b"x" * 100_000 + b'"}').status == 200
    for connection in announced:
        connection.close()


def test_a_body_too_large_is_refused_before_it_comes(start, provider):
    gateway = start({"limits": {"body": "1KiB"}})
    with gateway.connect() as connection:
        connection.send(POST + b"Content-Length: 2000\r\n\r\n")      # and nothing more
        reply = connection.reply()
        assert reply.status == 413 and reply.header("connection").lower() == "close"
        assert connection.rest() == b""
    assert gateway.metrics().sum("rejected_total", reason="body_size") == 1


def test_a_chunked_body_too_large_is_refused(start, provider):
    gateway = start({"limits": {"body": "1KiB"}})
    with gateway.connect() as connection:
        connection.send(POST + CHUNKED + b"1000\r\n" + b" " * 4096 + b"\r\n0\r\n\r\n")
        assert connection.reply().status == 413
    assert not provider.deliveries
    with gateway.connect() as endless:
        endless.send(POST + CHUNKED)
        with pytest.raises(ConnectionError):
            for _ in range(20_000):
                endless.send(b"1000\r\n" + b" " * 4096 + b"\r\n")
    gateway.until_metric("in_flight_bytes", 0)


def test_bodies_held_are_bounded(start, provider, later):
    gateway = start({"limits": {"in_flight_bytes": "2MiB"}})
    provider.hold()
    text = b'{"a":"' + b"x" * 400_000 + b'"}'
    futures = [later(gateway.call, "echo", text[:-2] + b'%d"}' % n) for n in range(2)]
    gateway.until_metric("in_flight_requests", 2)
    reply = gateway.call("echo", text)
    assert reply.status == 503 and reply.code == "overloaded", reply
    provider.release()
    assert {future.result(20).status for future in futures} == {200}
    gateway.until_metric("in_flight_bytes", 0)
    assert gateway.call("echo", text).status == 200


def test_time_in_which_the_gateway_stood_still_is_not_the_clients(start):
    """A turn that comes late reads what has come before it looks who is late."""
    gateway = start({"limits": {"body_timeout": "1s"}, "workers": 1})
    body = b'{"text":"' + b"x" * 40_000 + b'"}'

    def stood_still():
        """The status, if it stood still before the time was over."""
        with gateway.connect() as client:
            begun = time.monotonic()
            client.send(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body[:30_000])
            until(lambda: gateway.metrics().sum("in_flight_bytes") >= 30_000 or client.closed(), "most of it has come")
            until(lambda: time.monotonic() > begun + 0.4 and gateway.metrics(), "there was a turn in which it became slow")
            gateway.signal(signal.SIGSTOP)
            if time.monotonic() > begun + 0.9:      # it was this process that stood still
                gateway.signal(signal.SIGCONT)
                return None
            client.send(body[30_000:])
            until(lambda: time.monotonic() > begun + 2, "its time is over")
            gateway.signal(signal.SIGCONT)
            return client.reply().status

    assert until(stood_still, "it stands still in time") == 200


def test_clients_that_vanish_leave_nothing(start, provider):
    gateway = start()
    gateway.call("echo")
    provider.hold()
    fds = gateway.fds()
    for n in range(100):
        connection = gateway.connect()
        connection.send(POST + b'Content-Length: 9\r\n\r\n{"n":%03d}' % n)
        leave(connection, rudely=n % 2)
    gateway.until_metric("in_flight_requests", 0)
    gateway.until_metric("in_flight_bytes", 0)
    provider.release()
    gateway.until_metric("batch_in_flight", 0)
    until(lambda: gateway.metrics().sum("connections") == 1, "all connections have ended")
    until(lambda: gateway.fds() <= fds + 4, "descriptors are back where they were")
    assert gateway.call("echo").status == 200


def leave(connection, rudely):
    if rudely:
        connection.reset()
    else:
        connection.close()


@pytest.mark.parametrize("rudely", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("data", [b"GET /hea", GET, POST + b'Content-Length: 9\r\n\r\n{"n"', GET + b"\r\n"],
                         ids=["in-the-line", "in-the-head", "in-the-body", "after-its-request"])
def test_who_leaves_in_the_middle_is_noticed_before_any_deadline(start, data, rudely):
    gateway = start({"limits": {"header_timeout": "10m", "body_timeout": "10m", "idle_timeout": "10m"}})
    for _ in range(10):
        connection = gateway.connect()
        connection.send(data)
        leave(connection, rudely)
    until(lambda: gateway.metrics().sum("connections") == 1, "all connections have ended")
    assert gateway.metrics().sum("rejected_total") == 0


def test_a_client_that_sends_too_much_gets_to_read_so(start):
    """Not a broken pipe: the refusal comes while the body is still on its way."""
    gateway = start({"limits": {"body": "1MiB"}})
    for _ in range(20):
        connection = http.client.HTTPConnection(*gateway.address(), timeout=10)
        connection.request("POST", "/v1/tools/echo", b"x" * 10_000_000, {"Content-Type": "application/json"})
        assert connection.getresponse().status == 413
        connection.close()
    gateway.until_metric("connections", 1)
    until(lambda: gateway.fds() < 60, "no descriptor is left behind")
