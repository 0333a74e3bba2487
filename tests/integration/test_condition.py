# SPDX-License-Identifier: Apache-2.0
"""Who is sick, by which sign, and why: what /admin/stats says of each upstream, and all views show."""
import re
import time

from harness import provider as behave
from harness.poll import until
from harness.wire import Raw, request_bytes
from test_stats import named, stats


def of(gateway, name="array"):
    return named(stats(gateway)["upstreams"], name)


def becomes(gateway, condition, sign, name="array"):
    return until(lambda: [u for u in [of(gateway, name)] if (u["condition"], u["sign"]) == (condition, sign)], f"{name} is {condition}: {sign}")[0]


def test_all_are_well_before_and_after_calls(gateway):
    for _ in range(2):
        assert [(u["condition"], u["sign"], u["why"]) for u in stats(gateway)["upstreams"]] == 2 * [("well", "well", "")]
        gateway.call("echo")
    assert "last_error" not in of(gateway)


def test_a_tools_own_error_is_no_sickness(gateway, provider):
    provider.behaviour = behave.failing(-32000, "no such customer")
    assert gateway.call("write").code == "tool_error"
    upstream = becomes(gateway, "well", "well")
    assert upstream["recent"] == {"requests": 1, "errors": 0} and "last_error" not in upstream


def test_who_fails_often_is_sick_and_says_why(gateway, provider):
    provider.next(*3 * [behave.status(500, b'{"error":"database is locked"}')])
    for _ in range(5):
        gateway.call("write")
    upstream = becomes(gateway, "sick", "fails 60 %")
    assert upstream["recent"] == {"requests": 5, "errors": 3}
    assert "500" in upstream["why"] and not upstream["why"].startswith("array: "), upstream["why"]
    failure = upstream["last_error"]
    assert failure["outcome"] == "upstream_error" and failure["detail"].endswith(upstream["why"]) and abs(failure["at"] - time.time()) < 60


def test_one_failure_among_many_worries_and_among_very_many_does_not(gateway, provider):
    provider.next(behave.status(500))
    for n in range(50):
        gateway.call("write", {"n": n})
    assert "500" in becomes(gateway, "worrying", "fails 2 %")["why"]
    until(lambda: "since" in of(gateway), "that is noted")
    for n in range(80):
        gateway.call("write", {"n": n})
    assert "since" not in becomes(gateway, "well", "well")


def test_who_is_down_says_why(gateway, provider):
    provider.stop()
    until(lambda: gateway.call("echo").status == 503, "it cannot be reached")
    assert "cannot connect" in becomes(gateway, "sick", "down")["why"]
    provider.start()
    until(lambda: gateway.call("echo").status == 200, "it is back")
    assert of(gateway)["sign"] != "down"


def test_an_endpoint_that_is_away_worries(start, provider, nobody):
    dead = nobody + "/rpc"
    gateway = start({"upstreams": {"array": {"endpoints": [{"url": provider.url("/rpc")}, {"url": dead}]}}})
    until(lambda: gateway.call("echo").status == 200 and gateway.events("endpoint_state"), "it is left alone")
    upstream = becomes(gateway, "worrying", "1 of 2 away")
    assert dead.rsplit("/", 1)[0] in upstream["why"] and "onnect" in upstream["why"]
    assert gateway.request("POST", "/admin/endpoints/array/0/drain", b"{}", {"Content-Type": "application/json"}, "admin").status == 200
    becomes(gateway, "sick", "down")


def test_who_takes_longer_than_the_alert_allows_is_slow(start, provider):
    provider.behaviour = behave.after(0.15)
    gateway = start({"alerts": {"p99": {"warning": "100ms"}}})
    gateway.call("echo")
    upstream = becomes(gateway, "worrying", "slow")
    assert upstream["why"].startswith("p99 is ") and upstream["why"].endswith("from 100 ms on it is slow")


def test_nobody_is_slow_where_the_alert_is_off(start, provider):
    provider.behaviour = behave.after(0.15)
    gateway = start({"alerts": {"p99": {"warning": 0, "critical": 0}}})
    gateway.call("echo")
    assert of(gateway)["p99_us"] > 100000
    becomes(gateway, "well", "well")


def test_who_refuses_calls_is_sick(start, provider, later):
    gateway = start({"upstreams": {"array": {"concurrency": 1, "batch": {"mode": "off"}, "queue": {"items": 1}}}})
    provider.hold()
    calls = [later(gateway.call, "write", {"n": n}) for n in range(8)]
    becomes(gateway, "sick", "refuses calls")
    provider.release()
    assert {call.result(20).status for call in calls} == {200, 503}
    assert of(gateway)["why"] and of(gateway)["last_error"]["outcome"] == "overloaded"


def test_who_refuses_as_too_many_is_rate_limited(gateway, provider):
    """Nothing fails by that: what is asked again passes."""
    provider.next(behave.echo, behave.status(429))
    for n in range(3):
        assert gateway.call("item", {"id": n, "q": "a"}).status == 200
    upstream = becomes(gateway, "worrying", "rate-limited", "rest")
    assert upstream["why"] == "it refuses 25 % of requests as too many" and upstream["recent"] == {"requests": 4, "errors": 0}


def test_who_asks_to_be_left_alone_is_rate_limited(start, provider, later):
    """Also once those requests are no recent ones, while all calls wait."""
    gateway = start({"upstreams": {"rest": {"timeout": "60s"}}, "tools": {"send": {"timeout": "60s"}}})
    for n in range(12):
        gateway.call("send", {"n": n})
    provider.next(behave.status(429, Retry_After="3"))
    call = later(gateway.call, "send", {"n": 99})
    assert re.fullmatch(r"it asks to be left alone for another (\d\.\d s|\d+ ms)", becomes(gateway, "worrying", "rate-limited", "rest")["why"])
    assert call.result(20).status == 200
    becomes(gateway, "well", "well", "rest")


def test_a_line_that_stands_for_a_rate_is_one(start, provider):
    """How fast the provider answers says nothing of it."""
    gateway = start({"upstreams": {"rest": {"timeout": "60s", "rate": {"requests": "60/h"}, "queue": {"wait": "1h"}}}, "tools": {"send": {"timeout": "1h"}}})
    held = 0
    callers = []
    while not held:
        callers.append(Raw(gateway.address()))
        callers[-1].send(request_bytes("POST", "/v1/tools/send", b'{"n": %d}' % len(callers)))
        until(lambda: len(provider.deliveries) == len(callers) or gateway.metrics().sum("batch_waiting_items", upstream="rest"), "it is sent, or waits")
        held = gateway.metrics().sum("batch_waiting_items", upstream="rest")
    upstream = until(lambda: [u for u in [of(gateway, "rest")] if u["sign"].startswith("line of ")], "its line is told")[0]
    assert upstream["condition"] == "worrying" and upstream["expected_wait_us"] > 20e6, upstream
    for caller in callers:
        caller.close()
    gateway.until_metric("queue_wait_seconds", 0, upstream="rest")


def test_a_line_that_everybody_has_left_is_none(start, provider):
    """Nothing ends there that would say so: the provider is left alone, and its callers go."""
    gateway = start({"upstreams": {"array": {"concurrency": 1, "batch": {"mode": "off"}, "queue": {"wait": "60s"}}},
                     "tools": {"write": {"timeout": "60s"}}})
    provider.behaviour = behave.after(0.4)
    for n in range(12):
        gateway.call("write", {"n": n})
    provider.behaviour = behave.status(429, Retry_After="30")
    callers = [Raw(gateway.address()) for _ in range(8)]
    for n, caller in enumerate(callers):    # the first one is told to wait, and the others wait behind it
        caller.send(request_bytes("POST", "/v1/tools/write", b'{"n": %d}' % (100 + n)))
        provider.until_deliveries(13)
        gateway.until_metric("batch_waiting_items", n, upstream="array")
    assert of(gateway)["expected_wait_us"] > 250000
    for caller in callers:
        caller.close()
    gateway.until_metric("batch_waiting_items", 0, upstream="array")
    assert gateway.metrics().sum("queue_wait_seconds", upstream="array") == 0


def test_since_when_is_told(gateway, provider):
    assert "since" not in of(gateway)
    before = time.time()
    provider.stop()
    gateway.call("write")
    since = until(lambda: of(gateway).get("since"), "it has been noted")
    assert before - 1 <= since <= time.time() + 1
    gateway.call("write")
    time.sleep(1.2)  # it has been looked at again
    assert of(gateway)["since"] == since and of(gateway)["sign"] == "down"
