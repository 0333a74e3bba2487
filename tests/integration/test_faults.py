# SPDX-License-Identifier: Apache-2.0
"""Providers that die, lie and hang."""
import collections
import gzip
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from harness import provider as behave
from harness.gateway import PATIENT, SANITIZED, UNSENT
from harness.poll import given_time, until
from harness.ports import kept_port
from harness.wire import request_bytes

MORTAL = Path(__file__).parent / "harness" / "mortal_provider.py"
FAILED_WELL = {502, 503, 504}


def test_a_stopped_providers_port_is_given_to_nobody_else(provider, nobody):
    """Another test's provider got the calls that were to be refused, and this one could not come back."""
    provider.stop()
    for port in (provider.port, int(nobody.rpartition(":")[2])):
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", port))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
    provider.start()
    socket.create_connection(("127.0.0.1", provider.port)).close()


def test_a_provider_that_is_down_at_the_start_is_reached_later(start, provider):
    provider.stop()
    gateway = start()
    assert gateway.call("echo").status == 503
    assert gateway.metrics().sum("upstream_healthy", upstream="array") == 0
    provider.start()
    until(lambda: gateway.call("echo").status == 200, "the provider is reached")
    assert gateway.metrics().sum("upstream_healthy", upstream="array") == 1


@pytest.mark.parametrize("fault", [behave.reset, behave.close, behave.truncate, behave.garbage,
                                   behave.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{"),
                                   behave.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnot JSON!"),
                                   behave.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
                                   behave.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
                                   behave.raw(b"HTTP/1.1 301 Moved\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"),
                                   behave.status(200, b"<html>", Content_Type="text/html"),
                                   behave.status(200, b"[" * 5000), behave.status(200, b"{}"), behave.status(200, b"[]"),
                                   behave.status(200, b'{"jsonrpc":"2.0","id":null,"result":1}')],
                         ids=["reset", "close", "truncate", "garbage", "short", "not-json", "empty", "bad-chunk", "redirect",
                              "html", "deep", "object", "array", "wrong-id"])
def test_a_fault_is_one_calls_and_the_next_one_works(gateway, provider, fault):
    provider.next(fault)
    if fault in (behave.reset, behave.close, behave.garbage):
        provider.next(fault)    # no answer had begun: it is tried once more
    reply = gateway.call("echo", {"n": 1})
    assert reply.status in FAILED_WELL and reply.header("content-type") == "application/problem+json", reply
    provider.planned.clear()
    reply = gateway.call("echo", {"n": 2})
    assert reply.status == 200 and reply.json() == {"echo": {"n": 2}}
    assert gateway.metrics().sum("in_flight_requests") == 0


@pytest.mark.parametrize("fault", [behave.reset, behave.close, behave.truncate, behave.garbage, behave.status(500)],
                         ids=["reset", "close", "truncate", "garbage", "500"])
def test_a_fault_mid_batch_answers_everybody(start, provider, later, fault):
    gateway = start({"upstreams": {"array": {**PATIENT, "batch": {"window": "10s", "in_flight": 4}}}})
    provider.hold()
    first = later(gateway.call, "write", {"n": -1})
    provider.until_deliveries(1)
    provider.next(fault)
    futures = [later(gateway.call, "write", {"n": n}) for n in range(20)]
    gateway.until_metric("batch_waiting_items", 20)
    provider.release()
    replies = [future.result(20) for future in futures]
    assert first.result(20).status == 200
    assert all(reply.status == 200 or reply.code in ("outcome_unknown", "upstream_error") for reply in replies), replies
    times = collections.Counter(call["params"]["n"] for call in provider.calls)
    assert max(times.values()) == 1, "a write has been delivered twice"
    gateway.until_metric("in_flight_requests", 0)


def test_a_write_is_delivered_once_on_connections_that_die(start, provider):
    """The provider ends each kept connection when the next request has come, before any answer: curl would repeat it."""
    gateway = start()
    seen = set()

    def dies_when_reused(delivery, wire):
        if delivery.connection in seen:
            return wire.close()
        seen.add(delivery.connection)
        return behave.echo(delivery, wire)

    provider.behaviour = dies_when_reused
    statuses = []
    for n in range(12):
        tool = "write" if n % 2 else "send"
        reply = gateway.call(tool, {"n": n})
        assert reply.status == 200 or reply.code == "outcome_unknown", reply
        statuses.append(reply.status)
    assert 502 in statuses
    numbers = [call["params"]["n"] if delivery.rpc else behave.json.loads(delivery.body)["n"]
               for delivery in provider.deliveries for call in delivery.calls]
    assert sorted(numbers) == list(range(12))


def test_a_read_is_repeated_on_a_connection_that_died(gateway, provider):
    gateway.call("echo", {"n": 0})
    gateway.until_metric("upstream_connections", 1, upstream="array", state="idle")
    provider.next(behave.close)
    reply = gateway.call("echo", {"n": 1})
    assert reply.status == 200 or reply.code == "upstream_error"
    assert [call["params"]["n"] for call in provider.calls].count(1) <= 2


def test_a_connection_closed_while_idle_costs_nobody_a_call(gateway, provider):
    assert gateway.call("write", {"n": 0}).status == 200
    provider.cut(rudely=False)
    assert gateway.call("write", {"n": 1}).status == 200
    assert [call["params"]["n"] for call in provider.calls] == [0, 1]


def test_a_provider_that_hangs_ends_at_the_deadline(start, provider):
    def codes(milliseconds):
        """Of a read and a write, if both have left in that time."""
        gateway = start({"upstreams": {"array": {"timeout": f"{milliseconds}ms"}}})
        provider.behaviour = behave.hang
        found = gateway.call("echo").code, gateway.call("write").code
        provider.behaviour = behave.echo
        until(lambda: gateway.call("echo").status == 200, "the next one is answered")
        return found if not UNSENT & set(found) else None

    assert given_time(codes, 200) == ("upstream_timeout", "outcome_unknown")


def test_a_hanging_provider_does_not_stall_another(start, provider):
    gateway = start({"workers": 1})
    provider.next(behave.hang)
    with gateway.connect() as stuck:
        stuck.send(request_bytes("POST", "/v1/tools/echo", b"{}"))
        provider.until_deliveries(1)
        for n in range(20):
            assert gateway.call("item", {"id": n, "q": 1}).status == 200


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/rpc", "http://no-such-host.invalid/rpc"])
def test_a_provider_nobody_can_reach_is_unavailable(start, url):
    gateway = start({"upstreams": {"array": {"endpoints": [{"url": url}], "connect_timeout": None,
                                             "pool": {"connect_timeout": "500ms"}}}})
    assert gateway.call("echo").code in ("upstream_unavailable", "upstream_timeout")
    assert gateway.call("item", {"id": 1, "q": 1}).status == 200


def test_proxies_of_the_environment_are_not_used(start):
    gateway = start(environment={"http_proxy": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1",
                                 "all_proxy": "http://127.0.0.1:1"})
    assert gateway.call("echo").status == 200
    assert gateway.call("item", {"id": 1, "q": 1}).status == 200


@pytest.mark.parametrize("tool", ["echo", "item"])
def test_a_result_nested_too_deep_is_refused(gateway, provider, tool):
    provider.next(behave.answering(b"[" * 100 + b"]" * 100))
    reply = gateway.call(tool, {"id": 1, "q": 1})
    assert reply.status == 502 and reply.code == "upstream_error", reply
    assert gateway.call(tool, {"id": 1, "q": 1}).status == 200


def test_a_rest_answer_that_is_no_json_keeps_its_type(gateway, provider):
    provider.behaviour = behave.status(200, b"plain \xe9 text", Content_Type="text/plain; charset=latin-1")
    reply = gateway.call("item", {"id": 1, "q": 1})
    assert reply.status == 200 and reply.body == b"plain \xe9 text"
    assert reply.header("content-type") == "text/plain; charset=latin-1"


@pytest.mark.parametrize("fault", [behave.reset, behave.close, behave.status(502), behave.status(503), behave.status(504)],
                         ids=["reset", "close", "502", "503", "504"])
def test_what_passes_is_tried_once_more_but_no_write(gateway, provider, fault):
    for tool in ("echo", "item"):
        provider.next(fault)
        reply = gateway.call(tool, {"n": 1, "id": 1, "q": 1})
        assert reply.status == 200 and reply.header("x-attempts") == "2", reply
    assert gateway.metrics().sum("attempts_total", kind="retry", outcome="ok") == 2
    assert gateway.call("echo", {"n": 2}).header("x-attempts") is None
    delivered = len(provider.deliveries)
    for tool in ("write", "send"):
        provider.next(fault)
        assert gateway.call(tool, {"n": 1}).status in FAILED_WELL
    assert len(provider.deliveries) == delivered + 2


def test_what_keeps_failing_is_tried_as_often_as_configured(start, provider):
    gateway = start({"upstreams": {"array": {"retries": {"attempts": 3, "backoff": "5ms"}}}})
    provider.behaviour = behave.status(503)
    reply = gateway.call("echo")
    assert reply.status in FAILED_WELL and reply.header("x-attempts") == "3", reply
    assert len(provider.deliveries) == 3


def test_nothing_is_tried_again_beyond_the_budget(start, provider):
    gateway = start({"upstreams": {"array": {"retries": {"budget": "0%"}}}})
    provider.behaviour = behave.status(503)
    reply = gateway.call("echo")
    assert reply.status in FAILED_WELL and reply.header("x-attempts") is None, reply
    assert len(provider.deliveries) == 1


@pytest.mark.parametrize(("tool", "code"), [("item", "upstream_error"), ("send", "outcome_unknown"),
                                            ("echo", "upstream_error"), ("write", "outcome_unknown")])
def test_an_answer_in_a_coding_nobody_asked_for_is_not_passed_on(gateway, provider, tool, code):
    provider.next(behave.status(200, gzip.compress(b'{"a":1}'), Content_Encoding="gzip"))
    reply = gateway.call(tool, {"id": "1", "q": "x"})
    assert reply.status == 502 and reply.code == code and "Content-Encoding gzip" in reply.json()["detail"], reply
    assert reply.json()["retryable"] is False
    provider.next(behave.status(200, b'{"a":1}', Content_Encoding="identity"))
    assert gateway.call("item", {"id": "2", "q": "x"}).json() == {"a": 1}


def test_a_retry_after_of_503_is_passed_on(gateway, provider):
    provider.behaviour = behave.status(503, Retry_After="11")
    reply = gateway.call("echo")
    assert reply.status in (502, 503)
    assert reply.header("retry-after") == "11"


def test_nothing_of_a_failed_provider_is_kept(gateway, provider):
    for _ in range(5):
        assert gateway.call("echo").status == 200
    gateway.until_metric("batch_in_flight", 0)
    fds = gateway.fds()
    for n in range(60):
        provider.next((behave.reset, behave.close, behave.truncate, behave.garbage)[n % 4])
        gateway.call("echo", {"n": n})
    provider.planned.clear()
    assert gateway.call("echo").status == 200
    until(lambda: gateway.fds() <= fds + 2, "descriptors are back where they were")
    for gauge in ("in_flight_requests", "batch_waiting_items", "batch_in_flight"):  # an answer is told before its batch has completed
        gateway.until_metric(gauge, 0)


class Mortal:
    """harness/mortal_provider.py, killed and started again on its port."""

    def __init__(self, directory):
        self.record, self.hold_file = directory / "record", directory / "hold"
        self.record.touch()
        self.process, self.port = None, kept_port()

    def start(self):
        self.process = subprocess.Popen([sys.executable, MORTAL, str(self.port), self.record, self.hold_file],
                                        stdout=subprocess.PIPE, text=True)
        assert int(self.process.stdout.readline()) == self.port

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def delivered(self):
        return collections.Counter(int(line) for line in self.record.read_text().split())


@pytest.mark.parametrize("tool", ["echo", "write"])
def test_kill_9_mid_batch_loses_no_answer_and_delivers_none_twice(start, tmp_path, later, tool):
    mortal = Mortal(tmp_path)
    mortal.start()
    try:
        gateway = start({"upstreams": {"array": {"endpoints": [{"url": f"http://127.0.0.1:{mortal.port}/rpc"}],
                                                 "batch": {"window": "5ms", "in_flight": 4}}}})
        assert gateway.call(tool, {"n": -1}).body == b"-1"
        mortal.hold_file.touch()
        futures = [later(gateway.call, tool, {"n": n}) for n in range(60)]
        until(lambda: len(mortal.delivered()) >= 4, "batches are under way")
        mortal.kill()
        replies = [future.result(25) for future in futures]
        assert all(reply.status in {200, *FAILED_WELL} for reply in replies)
        for n, reply in enumerate(replies):
            if reply.status == 503:
                assert mortal.delivered()[n] == 0, "delivered, and yet called unavailable"
        mortal.hold_file.unlink()
        mortal.start()
        until(lambda: gateway.call(tool, {"n": 1000}).status == 200, "it recovers by itself")
        twice = [n for n, times in mortal.delivered().items() if times > 1 and n < 1000]
        assert not twice
        gateway.until_metric("in_flight_requests", 0)
    finally:
        mortal.kill()


@pytest.mark.slow
def test_storms_leave_no_memory_behind(start, provider):
    """Load, answers and faults in turn, clients that leave: gauges, descriptors and memory are as before."""
    gateway = start({"log": {"access": False}, "cache": {"memory": {"size": "1MiB"}}})

    def storm():
        provider.behaviour = behave.echo
        report = gateway.load(callers=40, calls=2000, path="/v1/tools/cached", body='{"n":%d}')
        assert report["statuses"] == {"200": 2000}, report
        provider.behaviour = behave.close
        gateway.load(callers=40, calls=500, path="/v1/tools/write", body='{"n":%d}')
        provider.behaviour = behave.echo
        for n in range(100):
            connection = gateway.connect()
            connection.send(request_bytes("POST", "/v1/tools/echo", b'{"n":%d}' % n))
            connection.reset()

    def settle():
        for name in ("in_flight_requests", "in_flight_bytes", "batch_waiting_items", "batch_in_flight"):
            gateway.until_metric(name, 0)
        gateway.until_metric("connections", 1)

    for _ in range(2):
        storm()
    settle()
    fds = gateway.fds()

    def storms():
        for _ in range(4):
            storm()
        settle()

    grown = gateway.resident_growth(storms, 3 << 20, 1 if SANITIZED else 4)
    assert gateway.fds() <= fds + 8
    assert SANITIZED or grown < 3 << 20
