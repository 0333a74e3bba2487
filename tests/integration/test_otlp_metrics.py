# SPDX-License-Identifier: Apache-2.0
"""Metrics for a collector (tracing.otlp.metrics): the same figures as /metrics has, by the same rules as traces are sent; and
another collector by a reload."""
import math
import socket
import threading
import time

import pytest

from harness import provider as behave
from harness.collector import Collector, call_many, partial
from harness.gateway import SANITIZED
from harness.poll import until
from harness.ports import kept_port, stop_accepting
from harness.reload import in_force, reloaded

OFTEN = {"OTEL_METRIC_EXPORT_INTERVAL": "100"}
SELDOM = {"OTEL_METRIC_EXPORT_INTERVAL": "3600000"}
# What is another with each look: time, this process, who looks, and what is told of the telling.
MOVING = ("process_", "jitney_otlp_", "jitney_loop_turns_total", "jitney_worker_", "jitney_connections", "jitney_in_flight",
          "jitney_reply_bytes", "jitney_log_dropped", "jitney_upstream_connections", "jitney_redis_", "jitney_alerts_firing")


@pytest.fixture
def told(start, collector):
    """told() gives a gateway that tells the collector its metrics."""
    def build(changes=None, environment=None, **otlp):
        return start({"tracing": {"otlp": {"endpoint": collector.url, "metrics": True, **otlp}}, **(changes or {})},
                     environment=environment or OFTEN)

    return build


def at_rest(samples):
    """Those that do not move by themselves, with bounds of buckets as numbers."""
    def number(labels):
        return frozenset((name, float(value) if name == "le" else value) for name, value in labels)

    return {(name, number(labels)): value for (name, labels), value in samples.items() if not name.startswith(MOVING)}


def same(left, right):
    return left.keys() == right.keys() and all(math.isclose(left[key], right[key], rel_tol=1e-12) for key in left)


def work(gateway, provider):
    gateway.batch([{"id": str(n), "tool": "echo", "arguments": {"n": n}} for n in range(20)])
    gateway.call("cached", {"n": 1})
    gateway.call("cached", {"n": 1})
    provider.next(behave.status(500))
    gateway.call("write", {"n": 2})
    gateway.call("no_such_tool")


def test_the_figures_are_those_of_metrics(told, collector, provider):
    gateway = told()
    work(gateway, provider)

    def equal():
        scraped = at_rest(gateway.metrics().samples)
        snapshots = collector.snapshots()
        return snapshots and same(scraped, at_rest(snapshots[-1])) and scraped

    scraped = until(equal, "a snapshot says what /metrics says")
    assert scraped["jitney_requests_total", frozenset({("tool", "echo"), ("outcome", "ok")})] == 20
    assert scraped["jitney_request_duration_seconds_count", frozenset({("tool", "echo")})] == 20
    assert len(scraped) > 500, "all of them"


def test_kinds_units_and_times(told, collector, provider):
    before = time.time_ns()
    gateway = told()
    work(gateway, provider)
    points = until(lambda: collector.points(), "metrics have come")
    kinds = {point.name: (point.kind, point.unit) for point in points}
    assert kinds["jitney_rejected_total"] == ("sum", "")
    assert kinds["jitney_in_flight_bytes"] == ("gauge", "By") and kinds["jitney_worker_busy_ratio"] == ("gauge", "1")
    assert kinds["jitney_batch_wait_seconds"] == ("histogram", "s") and kinds["jitney_batch_bytes"] == ("histogram", "By")
    assert kinds["process_cpu_seconds_total"] == ("sum", "s") and kinds["jitney_build_info"] == ("gauge", "")
    for point in points:
        assert before - 10**9 <= point.time <= time.time_ns()
        assert point.kind == "gauge" or before - 10**9 <= point.start <= point.time, "since the process began"
    starts = {point.start for point in points if point.kind != "gauge"}
    assert len(starts) == 1
    path, headers, _ = next(each for each in collector.requests if each[0].endswith("metrics"))
    assert path == "/v1/metrics" and headers["Content-Type"] == "application/x-protobuf"


def test_both_signals_are_of_one_resource(told, collector, provider):
    gateway = told(sample="100%")
    gateway.call("write")
    span = collector.until(lambda found: found, "a span has come")[0]
    point = until(lambda: collector.points(), "metrics have come")[0]
    assert span.resource == point.resource and span.resource["service.name"] == "jitney"
    assert len(span.resource["service.instance.id"]) == 32
    assert gateway.threads("metrics") == gateway.threads("traces") == 1


def test_without_metrics_none_are_told(start, collector, provider):
    gateway = start({"tracing": {"otlp": {"endpoint": collector.url, "sample": "100%"}}}, environment=OFTEN)
    gateway.call("write")
    collector.until(lambda found: found, "a span has come")
    assert gateway.threads("metrics") == 0 and not collector.points()


def test_the_last_figures_are_told_at_the_end(told, collector, provider):
    gateway = told(environment=SELDOM)
    for n in range(5):
        gateway.call("write", {"n": n})
    assert not collector.points(), "it is not time yet"
    assert gateway.stop() == 0
    last, = collector.snapshots()
    assert last["jitney_requests_total", frozenset({("tool", "write"), ("outcome", "ok")})] == 5


def test_many_tools_are_told_in_several_requests(start, collector, provider):
    many = {f"tool_{n}": {"upstream": "array"} for n in range(1200)}
    gateway = start({"tools": many, "tracing": {"otlp": {"endpoint": collector.url, "metrics": True}}}, environment=SELDOM)
    names = sorted(many)
    for at in range(0, len(names), 100):
        gateway.batch([{"id": name, "tool": name, "arguments": {}} for name in names[at:at + 100]])
    expected = at_rest(gateway.metrics().samples)
    assert gateway.stop() == 0
    last, = collector.snapshots()
    told = at_rest(last)
    changed = {key for key in expected if not math.isclose(expected[key], told.get(key, math.nan), rel_tol=1e-12)}
    assert expected.keys() == told.keys() and not changed, changed
    paths = [path for path, _, _ in collector.requests if path == "/v1/metrics"]
    assert len(paths) > 1 and len(set(point.time for point in collector.points())) == 1


def test_what_the_collector_wants_again_is_sent_again(told, collector, provider):
    collector.answers = [(503, {"Retry-After": "0"}, b""), (429, {"Retry-After": "1"}, b"")]
    gateway = told(environment={"OTEL_METRIC_EXPORT_INTERVAL": "300"})
    until(lambda: gateway.metrics().sum("otlp_points_total", result="sent") > 0, "they are taken in the end")
    bodies = [body for path, _, body in collector.requests if path == "/v1/metrics"]
    assert bodies[0] == bodies[1] == bodies[2]
    assert gateway.metrics().sum("otlp_requests_total", signal="metrics", result="repeated") == 2


def test_refusals_and_partial_success(told, collector, provider):
    collector.answers = [(200, {}, partial(3, "no room")), (400, {}, b"")]
    gateway = told()
    until(lambda: gateway.metrics().sum("otlp_points_total", result="failed") > 0, "the second is refused")
    assert gateway.metrics().sum("otlp_points_total", result="rejected") == 3
    until(lambda: len(gateway.events("metrics_sent")) == 1, "the log says that it works again")
    assert "3 of" in gateway.events("metrics_rejected")[0]["message"]
    assert "400" in gateway.events("metrics_not_sent")[0]["message"]


@pytest.mark.parametrize("value", ["99", "1s", "-1", "99999999999999999999"])
def test_a_mistake_in_the_interval_is_told_at_the_start(make, value):
    gateway = make({"tracing": {"otlp": {"endpoint": "http://127.0.0.1:1", "metrics": True}}},
                   environment={"OTEL_METRIC_EXPORT_INTERVAL": value})
    gateway.refuses("OTEL_METRIC_EXPORT_INTERVAL")


# ---- reload ----

def test_another_collector_by_a_reload(told, collector, provider):
    gateway, second = told(sample="0%"), Collector()
    try:
        gateway.call("write", {"n": 1})
        until(lambda: collector.points(), "the first one is told")
        changed = reloaded(gateway, {"tracing": {"otlp": {"endpoint": second.url, "sample": "100%", "headers": {"x-key": "a"}}}})
        assert changed["changed"]["settings"] == ["tracing.otlp.endpoint", "tracing.otlp.headers", "tracing.otlp.sample"]
        assert not changed["needs_restart"]
        until(lambda: gateway.call("write", {"n": 2}).status == 200 and second.spans(), "calls are sampled, and told there")
        until(lambda: second.points(), "so are metrics")
        assert all(headers["x-key"] == "a" for _, headers, _ in second.requests)
        assert second.points()[0].resource == collector.points()[0].resource, "it is the same process"
        assert not collector.spans()
        assert in_force(gateway)["tracing"]["otlp"]["endpoint"] == second.url
    finally:
        second.finish()


def test_tracing_begins_and_ends_by_a_reload(start, collector, provider):
    gateway = start(environment=OFTEN)
    gateway.call("write", {"n": 1})
    assert gateway.threads("traces") == gateway.threads("metrics") == 0
    reloaded(gateway, {"tracing": {"otlp": {"endpoint": collector.url, "sample": "100%", "metrics": True}}})
    until(lambda: gateway.call("write", {"n": 2}).status == 200 and collector.spans() and collector.points(), "both are told")
    reloaded(gateway, {"tracing": {"otlp": {"endpoint": "off"}}})

    def quiet():
        count = len(collector.requests)
        gateway.call("write", {"n": 3})
        time.sleep(1.5)
        return len(collector.requests) == count

    until(quiet, "nobody is told any more")
    reloaded(gateway, {"tracing": {"otlp": {"endpoint": collector.url, "metrics": False}}})
    spans = len(collector.spans())
    until(lambda: gateway.call("write", {"n": 4}).status == 200 and len(collector.spans()) > spans, "and again")


def test_what_waits_for_a_collector_that_is_gone_goes_to_the_next_one(start, collector, provider):
    gateway = start({"tracing": {"otlp": {"endpoint": "http://127.0.0.1:1", "sample": "100%"}}})
    gateway.call("write")
    until(lambda: gateway.metrics().sum("otlp_requests_total", result="repeated") >= 1, "it waits for another try")
    reloaded(gateway, {"tracing": {"otlp": {"endpoint": collector.url}}})
    assert len(collector.until(lambda found: found, "it goes at once")) == 2


def test_reloads_while_calls_are_traced(start, collector, provider, later):
    gateway = start({"tracing": {"otlp": {"endpoint": collector.url, "sample": "100%", "metrics": True}}}, environment=OFTEN)
    end = threading.Event()

    def calls():
        count = 0
        while not end.is_set():
            assert gateway.call("write", {"n": count}).status == 200
            count += 1
        return count

    callers = [later(calls) for _ in range(2)]
    for n in range(10):
        reloaded(gateway, {"tracing": {"otlp": {"endpoint": "off" if n % 2 == 0 else collector.url, "sample": f"{n}%"}}})
    end.set()
    assert all(caller.result(20) > 0 for caller in callers)
    assert gateway.stop() == 0


# ---- a collector that is ill ----

class Rude:
    """Reads a request, and then does what the test wants with the connection."""

    def __init__(self, behaviour):
        self.listener = socket.create_server(("127.0.0.1", kept_port()))
        self.url = "http://127.0.0.1:{}".format(self.listener.getsockname()[1])
        self.behaviour, self.end, self.requests = behaviour, threading.Event(), 0
        self.threads = [threading.Thread(target=self.accept)]
        self.threads[0].start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self.serve, args=(connection,))
            self.threads.append(thread)
            thread.start()

    def serve(self, connection):
        with connection:
            try:
                connection.recv(100)
                self.requests += 1
                self.behaviour(connection, self.end)
            except OSError:
                pass

    def finish(self):
        self.end.set()
        stop_accepting(self.listener, self.threads[0])
        for thread in self.threads[1:]:
            thread.join()


def drain(connection):
    connection.settimeout(0.2)
    try:
        while connection.recv(1 << 16):
            pass
    except TimeoutError:
        pass
    connection.settimeout(None)


def hangs(connection, end):
    end.wait(60)


def trickles(connection, end):
    drain(connection)
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 100:
        connection.send(bytes([byte]))
        if end.wait(0.5):
            return


def floods(connection, end):
    drain(connection)
    connection.sendall(b"HTTP/1.1 503 No\r\nRetry-After: 1\r\nContent-Length: 10000000\r\n\r\n")
    connection.sendall(b"x" * 10_000_000)


def redirects(connection, end):
    drain(connection)
    connection.sendall(b"HTTP/1.1 307 Elsewhere\r\nLocation: /v1/traces\r\nContent-Length: 0\r\n\r\n")


def resets(connection, end):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@pytest.mark.parametrize("behaviour", [hangs, trickles, floods, redirects, resets])
def test_an_ill_collector_costs_nobody_anything(start, provider, behaviour):
    rude = Rude(behaviour)
    try:
        gateway = start({"tracing": {"otlp": {"endpoint": rude.url, "sample": "100%", "metrics": True}}}, environment=OFTEN)
        call_many(gateway)
        before = gateway.resident_bytes()
        for _ in range(15):
            call_many(gateway)
        until(lambda: rude.requests >= 2, "traces and metrics have been tried")
        assert SANITIZED or gateway.resident_bytes() - before < 24 << 20     # a sanitizer's shadow grows beside it
        assert gateway.threads("traces") == gateway.threads("metrics") == 1
        began = time.monotonic()
        assert gateway.stop() == 0
        assert time.monotonic() - began < 3 + 5, "three seconds, and what a stop takes besides on a loaded machine"
    finally:
        rude.finish()


def test_an_answer_that_says_yes_and_does_not_end_counts(start, provider):
    """Sent again, everything would be there twice."""
    def endless(connection, end):
        drain(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
        connection.sendall(b"x" * 10_000_000)

    rude = Rude(endless)
    try:
        gateway = start({"tracing": {"otlp": {"endpoint": rude.url, "sample": "100%"}}})
        gateway.call("write")
        gateway.until_metric("otlp_spans_total", 2, result="sent")
        assert rude.requests == 1 and gateway.metrics().sum("otlp_requests_total", result="repeated") == 0
    finally:
        rude.finish()
