# SPDX-License-Identifier: Apache-2.0
"""Traces (tracing.otlp): which calls are kept, what is said of them, and that no collector costs a caller anything."""
import json
import os
import time

import pytest

from harness import provider as behave
from harness.collector import call_many, partial
from harness.poll import until

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.fixture
def traced(start, collector):
    """traced(sample="100%", ...) gives a gateway that tells the collector."""
    def build(sample="100%", changes=None, **options):
        return start({"tracing": {"otlp": {"endpoint": collector.url, "sample": sample}}, **(changes or {})}, **options)

    return build


def named(spans, name):
    """In the order in which they began: workers' spans come as they are asked for them."""
    return sorted((span for span in spans if span.name == name), key=lambda span: span.start)


def test_a_call_and_its_attempt(traced, collector, provider):
    gateway = traced()
    before = time.time_ns()
    gateway.call("write", {"n": 1}, x_request_id="look-at-me")
    spans = collector.until(lambda found: len(found) >= 2, "both spans have come")
    call, = named(spans, "execute_tool write")
    attempt, = named(spans, "jsonrpc array")
    assert call.kind == "server" and attempt.kind == "client"
    assert attempt.trace == call.trace and attempt.parent == call.id and call.parent == ""
    assert before - 10**6 <= call.start <= attempt.start <= attempt.end <= call.end + 10**6 <= time.time_ns() + 10**6
    want = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "write", "http.request.method": "POST",
            "http.route": "/v1/tools/{tool}", "http.response.status_code": 200, "jitney.request_id": "look-at-me",
            "jitney.cache": "bypass", "jitney.kept": "sampled"}
    assert want.items() <= call.attributes.items()
    assert {"jitney.upstream": "array", "network.transport": "tcp", "jitney.batch.size": 1}.items() <= attempt.attributes.items()
    assert not call.failed and "error.type" not in call.attributes
    assert call.resource["service.name"] == "jitney" and call.resource["service.version"]
    path, headers, _ = collector.requests[0]
    assert path == "/v1/traces" and headers["Content-Type"] == "application/x-protobuf"
    gateway.until_metric("otlp_spans_total", 2, result="sent")
    assert gateway.metrics().sum("otlp_requests_total", result="ok") == 1


def test_the_callers_trace_goes_through_to_the_provider(traced, collector, provider):
    traced("0%").call("write", traceparent=PARENT, tracestate="a=1,b=2")
    spans = collector.until(lambda found: len(found) >= 2, "the caller's is sampled, so this is")
    call, attempt = named(spans, "execute_tool write")[0], named(spans, "jsonrpc array")[0]
    assert (call.trace, call.parent) == (TRACE, SPAN)
    told = provider.deliveries[-1].headers["traceparent"]
    assert told == f"00-{TRACE}-{attempt.id}-01"
    assert provider.deliveries[-1].headers["tracestate"] == call.state == "a=1,b=2"


def test_a_tracestate_goes_only_with_its_trace_and_within_its_bound(start, provider):
    gateway = start()
    gateway.call("write", {"n": 1}, tracestate="a=1")
    gateway.call("write", {"n": 2}, traceparent=PARENT, tracestate="a=" + "x" * 511)
    gateway.call("write", {"n": 3}, traceparent=PARENT, tracestate="a=1")
    assert [delivery.headers.get("tracestate") for delivery in provider.deliveries] == [None, None, "a=1"]


def test_a_caller_whose_trace_is_not_sampled_is_left_out(traced, collector, provider):
    gateway = traced("100%")
    gateway.call("write", {"n": 1}, traceparent=PARENT[:-2] + "00")
    gateway.call("write", {"n": 2})
    spans = collector.until(lambda found: found, "the other one has come")
    assert {span.trace for span in spans}.isdisjoint({TRACE})
    assert provider.deliveries[0].headers["traceparent"].split("-")[1::2] == [TRACE, "00"]


def test_calls_that_left_together_are_linked_by_their_exchange(traced, collector, provider):
    gateway = traced()
    assert gateway.batch([{"id": str(n), "tool": "echo", "arguments": {"n": n}} for n in range(5)]).status == 200
    spans = collector.until(lambda found: len(named(found, "execute_tool echo")) == 5, "all five have come")
    exchanges = named(spans, "exchange array")
    assert exchanges and len({span.id for span in exchanges}) == len(exchanges)
    for exchange in exchanges:
        members = [span for span in named(spans, "jsonrpc array")
                   if span.attributes["jitney.batch.id"] == exchange.attributes["jitney.batch.id"]]
        assert sorted(exchange.links) == sorted((span.trace, span.id) for span in members)
        assert exchange.attributes["jitney.batch.size"] == len(members) > 1
        for member in members:
            assert member.links == [(exchange.trace, exchange.id)]
            (name, _, said), = member.events
            assert name == "left" and said["jitney.message"].endswith(f"left with {len(members) - 1} others")
            assert said["jitney.waited_seconds"] >= 0


def test_a_hit_is_one_span(traced, collector, provider):
    gateway = traced()
    gateway.call("cached", {"n": 1})
    gateway.call("cached", {"n": 1})
    spans = collector.until(lambda found: len(named(found, "execute_tool cached")) == 2 and named(found, "jsonrpc array"),
                            "both calls and the exchange have come")
    assert [span.attributes["jitney.cache"] for span in named(spans, "execute_tool cached")] == ["miss", "hit"]
    assert len(spans) == 3


def test_failures_are_kept_though_nothing_is_sampled(traced, collector, provider):
    gateway = traced("0%")
    gateway.call("write", {"n": 1})
    provider.next(behave.status(500), behave.failing(1, "no"))
    gateway.call("write", {"n": 2})
    assert gateway.call("write", {"n": 3}).status == 502
    spans = collector.until(lambda found: named(found, "execute_tool write"), "the failed one has come")
    call, = named(spans, "execute_tool write")  # a tool's own error is the tool's answer
    assert call.failed and call.attributes["error.type"] == "upstream_error" and call.attributes["jitney.kept"] == "failed"
    assert call.message
    assert not any("traceparent" in delivery.headers for delivery in provider.deliveries), "nobody's trace, and not sampled"


def test_unknown_outcomes_are_kept(traced, collector, provider):
    gateway = traced("0%")
    provider.next(behave.reset)
    assert gateway.call("write", {"n": 2}).json()["code"] == "outcome_unknown"
    spans = collector.until(lambda found: named(found, "execute_tool write"), "it has come")
    assert named(spans, "execute_tool write")[0].attributes["jitney.kept"] == "unknown"


def test_a_split_batch_is_kept(traced, collector, provider):
    def refuse_one(delivery, wire):
        if len(delivery.calls) > 1 and any(call["params"]["n"] == 6 for call in delivery.calls):
            return wire.answer({"error": "not this one"}, 400)
        return behave.echo(delivery, wire)

    gateway = traced("0%")
    provider.behaviour = refuse_one
    gateway.batch([{"id": str(n), "tool": "echo", "arguments": {"n": n}} for n in range(8)])
    assert gateway.metrics().sum("batch_bisections_total") >= 1
    spans = collector.until(lambda found: named(found, "execute_tool echo"), "those of it have come")
    assert "bisected" in {span.attributes["jitney.kept"] for span in named(spans, "execute_tool echo")} <= {"bisected", "failed"}


def test_the_slow_ones_of_a_tool_are_kept(traced, collector, provider):
    gateway = traced("0%", {"workers": 1})  # each learns by itself
    for n in range(220):
        gateway.call("cached", {"n": n % 3})

    def late(delivery, wire):
        time.sleep(0.5)
        behave.echo(delivery, wire)

    provider.behaviour = late
    gateway.call("cached", {"n": "slow"}, x_request_id="slow")
    spans = collector.until(lambda found: any(span.attributes.get("jitney.request_id") == "slow" for span in found), "the slow one has come")
    assert {span.attributes["jitney.kept"] for span in named(spans, "execute_tool cached")} == {"slow"}
    assert len(named(spans, "execute_tool cached")) < 20


def test_mcp_names_its_parent_in_meta_and_the_request_is_a_link(traced, collector, provider):
    gateway = traced("0%")
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": "write", "arguments": {}, "_meta": {"traceparent": PARENT, "tracestate": "a=1"}}}
    other = "00-11111111111111111111111111111111-2222222222222222-01"
    gateway.request("POST", "/mcp", json.dumps(body),
                    {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "traceparent": other,
                     "tracestate": "b=2"})
    spans = collector.until(lambda found: named(found, "tools/call write"), "the call has come")
    call, = named(spans, "tools/call write")
    assert (call.trace, call.parent) == (TRACE, SPAN) and call.links == [("1" * 32, "2" * 16)]
    assert call.state == provider.deliveries[-1].headers["tracestate"] == "a=1", "the message's, not that of the request which carried it"
    assert call.attributes["mcp.method.name"] == "tools/call" and call.attributes["http.route"] == "/mcp"


def test_a_caller_who_left_is_told_of_too(traced, collector, provider):
    from harness.wire import request_bytes
    gateway = traced()
    provider.behaviour = behave.hang
    with gateway.connect() as client:
        client.send(request_bytes("POST", "/v1/tools/echo", b"{}"))
        provider.until_deliveries(1)
    spans = collector.until(lambda found: named(found, "execute_tool echo"), "the call has come")
    assert named(spans, "execute_tool echo")[0].attributes["error.type"] == "cancelled"


# ---- the collector ----

def test_what_the_collector_wants_again_is_sent_again(traced, collector, provider):
    collector.answers = [(503, {"Retry-After": "0"}, b""), (429, {"Retry-After": "1"}, b"")]
    gateway = traced()
    gateway.call("write", {"n": 1})
    gateway.until_metric("otlp_spans_total", 2, result="sent")
    assert [body for _, _, body in collector.requests] == [collector.requests[0][2]] * 3
    assert gateway.metrics().sum("otlp_requests_total", result="repeated") == 2


def test_what_it_refuses_is_dropped_and_told_once(traced, collector, provider):
    collector.answers = [(400, {}, b""), (400, {}, b"")]
    gateway = traced()
    gateway.call("write", {"n": 1})
    gateway.until_metric("otlp_spans_total", 2, result="failed")
    gateway.call("write", {"n": 2})
    gateway.until_metric("otlp_spans_total", 4, result="failed")
    until(lambda: gateway.events("traces_not_sent"), "the log says so")
    assert len(gateway.events("traces_not_sent")) == 1 and "400" in gateway.events("traces_not_sent")[0]["message"]
    gateway.call("write", {"n": 3})
    gateway.until_metric("otlp_spans_total", 2, result="sent")
    until(lambda: len(gateway.events("traces_sent")) == 1, "the log says that it works again")


def test_partial_success_is_counted(traced, collector, provider):
    collector.answers = [(200, {}, partial(1, "too old"))]
    gateway = traced()
    gateway.call("write", {"n": 1})
    gateway.until_metric("otlp_spans_total", 1, result="rejected")
    assert gateway.metrics().sum("otlp_spans_total", result="sent") == 1
    until(lambda: gateway.events("traces_rejected"), "the log says so")
    assert "too old" in gateway.events("traces_rejected")[0]["message"]


def test_a_collector_that_hangs_costs_nobody_anything(traced, collector, provider):
    collector.hangs = True
    gateway = traced()
    for _ in range(12):
        call_many(gateway)
    dropped = gateway.metrics().sum("otlp_spans_total", result="queue_full")
    assert dropped >= 3600 - 2048 - 2 * 512, "the queue is bounded, and what has no room is counted"
    assert gateway.threads("traces") == 1
    assert gateway.stop() == 0


def test_a_collector_that_is_gone_costs_nobody_anything(start, provider):
    gateway = start({"tracing": {"otlp": {"endpoint": "http://127.0.0.1:1", "sample": "100%"}}})
    assert all(gateway.call("write", {"n": n}).status == 200 for n in range(5))
    until(lambda: gateway.metrics().sum("otlp_requests_total", result="repeated") >= 1, "it is tried again")
    assert gateway.stop() == 0
    assert len(gateway.events("traces_not_sent")) == 1


def test_what_is_queued_at_the_end_is_sent(traced, collector, provider):
    gateway = traced()
    gateway.call("write", {"n": 1})
    assert gateway.stop() == 0
    assert len(collector.spans()) == 2


# ---- settings ----

def test_the_environment_stands_in(start, collector, provider):
    gateway = start(environment={
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url + "/base/", "OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20b, x-second=2",
        "OTEL_SERVICE_NAME": "bus", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test,service.name=no,%zz"})
    gateway.call("write", traceparent=PARENT)
    span = collector.until(lambda found: found, "the spans have come")[0]
    path, headers, _ = collector.requests[0]
    assert path == "/base/v1/traces" and headers["api-key"] == "a b" and headers["x-second"] == "2"
    assert span.resource["service.name"] == "bus" and span.resource["deployment.environment"] == "test"


def test_what_is_no_attribute_costs_only_itself(start, collector, provider):
    """Bytes that are no UTF-8 would make a collector refuse the whole request."""
    gateway = start(environment={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SERVICE_NAME": os.fsdecode(b"a\xff"),
                                 "OTEL_RESOURCE_ATTRIBUTES": "no pair,a=%zz,=b,c=%ff,deployment.environment=t%C3%A9st"})
    gateway.call("write", traceparent=PARENT)
    span = collector.until(lambda found: found, "the spans have come")[0]
    assert span.resource["deployment.environment"] == "t\u00e9st" and span.resource["service.name"] == "jitney"
    assert not {"a", "c", ""} & set(span.resource)


@pytest.mark.parametrize("changes, environment", [
    ({}, {"OTEL_SDK_DISABLED": "true"}), ({"tracing": {"otlp": {"endpoint": "off"}}}, {})])
def test_off_is_off(start, collector, changes, environment):
    gateway = start(changes, environment={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **environment})
    gateway.call("write", traceparent=PARENT)
    assert gateway.threads("traces") == 0


@pytest.mark.parametrize("name, value", [
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector"), ("OTEL_EXPORTER_OTLP_HEADERS", "no pair"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "a=x%0d%0ay")])
def test_a_mistake_of_the_environment_is_told_at_the_start(make, name, value):
    gateway = make(environment={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", name: value})
    gateway.refuses(name)


def test_nothing_that_is_not_utf8_reaches_the_collector(traced, collector, provider):
    gateway = traced(changes={"trusted_proxies": ["127.0.0.1/32"], "identity": {"tenant_header": "X-Tenant"}})
    gateway.call("write", {"n": 1}, x_tenant="a\xffb")
    spans = collector.until(lambda found: named(found, "execute_tool write"), "the spans have come")
    assert named(spans, "execute_tool write")[0].attributes["jitney.tenant"] == "a?b"
