# SPDX-License-Identifier: Apache-2.0
"""Pacing ahead of a refusal, and slow tools that do not hold up fast ones, over real sockets."""
import threading

from harness import provider as behave
from harness.gateway import PATIENT
from harness.poll import until


def test_a_rate_gathers_calls_and_refuses_those_that_cannot_wait(start, provider, later):
    gateway = start({"upstreams": {"array": {"rate": {"requests": "2/h"}}}})
    assert gateway.call("echo", {"n": 0}).status == 200
    reply = gateway.call("echo", {"n": 1}, X_Request_Timeout_Ms="3000")
    assert reply.status == 429 and reply.code == "rate_limited"
    assert 1700 < int(reply.header("retry-after")) <= 1801
    assert len(provider.deliveries) == 1


def test_what_waits_for_the_rate_shares_a_request(start, provider, later):
    gateway = start({"upstreams": {"array": {"rate": {"requests": "1/s"}}}})
    replies = [later(gateway.call, "echo", {"n": n}) for n in range(20)]
    assert {future.result(20).status for future in replies} == {200}
    assert len(provider.deliveries) <= 3
    assert gateway.metrics().sum("batch_paced_seconds_count") >= 1


def test_fast_calls_pass_while_a_slow_tool_is_out(start, provider, later):
    gateway = start({"workers": 1, "upstreams": {"array": {**PATIENT, "batch": {"in_flight": 4}}}})
    learned, let_go, slow_out = threading.Event(), threading.Event(), threading.Event()

    def behaviour(delivery, wire):
        if any(call["method"] == "write" for call in delivery.calls):
            slow_out.set()
            let_go.wait(60 if learned.is_set() else 0.2)
        behave.echo(delivery, wire)

    provider.behaviour = behaviour
    for n in range(12):                     # the classes are learned
        both = [later(gateway.call, tool, {"n": n}) for tool in ("echo", "write")]
        assert {future.result(20).status for future in both} == {200}
    classes = gateway.get("/admin/upstreams", "admin").json()["upstreams"]
    names = {each["class"] for upstream in classes if upstream["name"] == "array" for each in upstream["classes"]}
    assert len(names) >= 2, names           # 20ms and 500ms, unless the machine is slow itself
    slow_out.clear()
    learned.set()
    slow = [later(gateway.call, "write", {"n": n}) for n in range(20)]
    assert slow_out.wait(20)
    for n in range(20):
        assert gateway.call("echo", {"n": n}).status == 200
    assert not any(future.done() for future in slow[1:])
    let_go.set()
    assert {future.result(20).status for future in slow} == {200}
    until(lambda: gateway.metrics().sum("batch_in_flight") == 0, "all have completed")
