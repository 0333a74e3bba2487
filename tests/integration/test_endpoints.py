# SPDX-License-Identifier: Apache-2.0
"""Several endpoints: choice, ejection, checks, drains, failover, hedging; and writes that are never sent twice."""
import collections
import re
import resource
import socket
import threading
import time

import pytest

from harness import provider as behave
from harness.gateway import PATIENT
from harness.poll import given_time, until


@pytest.fixture
def two(start, provider, other):
    """two({options of the upstream}): a gateway whose upstream "array" has both providers; calls travel alone."""
    def begin(options=None, **more):
        endpoints = [{"url": provider.url("/rpc")}, {"url": other.url("/rpc")}]
        upstream = {"endpoints": endpoints, "batch": {"mode": "off"}, **(options or {})}
        return start({"upstreams": {"array": upstream}, **more})
    return begin


def shown(gateway, index, upstream="array"):
    upstreams = gateway.get("/admin/upstreams", "admin").json()["upstreams"]
    return next(one for one in upstreams if one["name"] == upstream)["endpoints"][index]


def test_calls_are_shared_by_weight(two, provider, other):
    endpoints = [{"url": provider.url("/rpc"), "weight": 3}, {"url": other.url("/rpc")}]
    gateway = two({"endpoints": endpoints, "balance": "round_robin"})
    assert all(gateway.call("echo", {"n": n}).status == 200 for n in range(40))
    assert (len(provider.calls), len(other.calls)) == (30, 10)


def test_the_same_arguments_go_to_the_same_endpoint(two, provider, other):
    gateway = two({"balance": "affinity", "affinity": "key"})
    for _ in range(3):
        assert all(gateway.call("echo", {"n": n}).status == 200 for n in range(30))
    first = {call["params"]["n"] for call in provider.calls}
    second = {call["params"]["n"] for call in other.calls}
    assert first | second == set(range(30)) and not first & second
    assert first and second


@pytest.mark.parametrize("balance", ["adaptive", "round_robin", "least_loaded", "fastest"])
def test_a_black_hole_costs_a_handful_of_calls(two, other, black_hole, together, balance):
    endpoints = [{"url": f"http://127.0.0.1:{black_hole.port}/rpc"}, {"url": other.url("/rpc")}]
    gateway = two({"endpoints": endpoints, "balance": balance, "pool": {"connect_timeout": "300ms"}})
    assert all(reply.status == 200 for reply in together(lambda n: gateway.call("write", {"n": n}), range(20)))
    until(lambda: shown(gateway, 0)["state"] == "ejected", "the black hole is known")
    before = gateway.metrics().sum("attempts_total", upstream="array", outcome="unsent")
    for n in range(300):
        assert gateway.call("write", {"n": n}).status == 200
    # no call is sent to find out whether it is there again: a connection of the gateway's own is
    assert gateway.metrics().sum("attempts_total", upstream="array", outcome="unsent") == before
    until(lambda: gateway.metrics().sum("endpoint_checks_total", upstream="array", result="failed") > 0, "it is tried")
    assert "in time" in shown(gateway, 0)["reason"]
    assert collections.Counter(call["params"]["n"] for call in other.calls)[299] == 1


def test_one_that_accepts_and_never_answers_is_ejected(two, provider, other):
    def started(milliseconds):
        """One for which that is time enough while all is well."""
        gateway = two({"balance": "round_robin", "timeout": f"{milliseconds}ms", "ejection": {"failures": 3, "base": "100ms"}})
        return gateway if all(gateway.call("echo", {"n": n}).status == 200 for n in range(20)) else None

    gateway = given_time(started, 400)
    provider.behaviour = behave.hang
    failed = 0
    while shown(gateway, 0)["state"] != "ejected":
        begun = time.monotonic()
        failed += gateway.call("echo", {"n": 1}).status != 200
        assert failed <= 3
    seen = len(provider.calls)
    # one probe at a time while it hangs, each of them after twice the pause: so many as the time that it took has room for
    results = [gateway.call("echo", {"n": n}).status for n in range(100)]
    probes = len(provider.calls) - seen
    assert results.count(200) >= 100 - probes
    assert 0.1 * (2 ** probes - 1) + 0.4 * (probes - 1) <= time.monotonic() - begun, probes
    provider.behaviour = behave.echo
    until(lambda: gateway.call("echo", {"n": 1}).status == 200 and shown(gateway, 0)["state"] == "up", "it is back")
    assert gateway.metrics().sum("endpoint_ejections_total", upstream="array", reason="failures") >= 1


def test_errors_of_the_tool_eject_nobody(two, provider, other):
    gateway = two({"balance": "round_robin", "ejection": {"failures": 1}})
    provider.behaviour = behave.status(429)
    other.behaviour = behave.status(500)
    for n in range(20):
        gateway.call("write", {"n": n})
    assert shown(gateway, 0)["state"] == shown(gateway, 1)["state"] == "up"


def test_nobody_there_is_told_at_once(start, provider):
    gateway = start({"upstreams": {"array": {"batch": {"mode": "off"}}}})
    assert gateway.call("echo", {"n": 1}).status == 200
    provider.stop()
    until(lambda: shown(gateway, 0)["state"] == "ejected" or gateway.call("write", {"n": 2}).status == 0, "it is known")
    before = gateway.metrics().sum("attempts_total", upstream="array")
    replies = [gateway.call("write", {"n": n}) for n in range(200)]
    assert {reply.status for reply in replies} == {503}
    assert all(int(reply.header("retry-after")) >= 1 for reply in replies)
    assert gateway.metrics().sum("attempts_total", upstream="array") - before <= 3   # the rest was refused unsent
    provider.start()
    until(lambda: gateway.call("write", {"n": 7}).status == 200, "it is found by itself")


def test_what_the_gateway_lacks_is_not_the_endpoints_fault(start, provider):
    """Without a descriptor for a connection, calls are told so; with one again they pass at once."""
    gateway = start({"workers": 1, "upstreams": {"array": {"batch": {"mode": "off"}}}})
    body = b'{"n":1}'
    with gateway.connect() as client:
        def call():
            return client.request("POST", "/v1/tools/write", body, {"Content-Type": "application/json"})

        assert call().status == 200     # the client's connection is accepted
        provider.cut()
        limits = resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        for _ in range(8):
            reply = call()
            assert (reply.status, reply.json()["code"], reply.json()["retryable"]) == (503, "overloaded", True)
            assert "no descriptor left" in reply.json()["detail"]
        resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, limits)
        assert call().status == 200
    assert not gateway.events("endpoint_state") and not gateway.events("endpoint_not_reached")


def test_an_operator_drains_an_endpoint(two, provider, other):
    gateway = two({"balance": "round_robin"})
    path = "/admin/endpoints/array/0/"
    reply = gateway.request("POST", path + "drain", b"{}", {"Content-Type": "application/json"}, "admin")
    assert reply.status == 200 and reply.json()["state"] == "draining"
    for n in range(20):
        assert gateway.call("echo", {"n": n}).status == 200
    assert len(provider.calls) == 0 and len(other.calls) == 20
    assert shown(gateway, 0)["state"] == "draining" and "operator" in shown(gateway, 0)["reason"]
    assert gateway.metrics().sum("endpoint_state", upstream="array", state="draining") == 1
    gateway.request("POST", "/admin/endpoints/array/1/drain", None, listener="admin")
    assert gateway.call("echo", {"n": 1}).status == 503
    assert gateway.request("POST", path + "undrain", None, listener="admin").json()["state"] == "up"
    until(lambda: gateway.call("echo", {"n": 1}).status == 200, "the drain has ended")
    for wrong in ("/admin/endpoints/nobody/0/drain", "/admin/endpoints/array/2/drain", "/admin/endpoints/array/x/drain",
                  "/admin/endpoints/array/0/stop", "/admin/endpoints/array", "/admin/endpoints/array/0"):
        assert gateway.request("POST", wrong, None, listener="admin").status == 404, wrong
    assert gateway.request("GET", path + "drain", None, listener="admin").status == 405


def test_an_endpoint_that_is_configured_as_drained_gets_nothing(two, provider, other):
    gateway = two({"endpoints": [{"url": provider.url("/rpc"), "drain": True}, {"url": other.url("/rpc")}]})
    assert all(gateway.call("echo", {"n": n}).status == 200 for n in range(20))
    assert len(provider.calls) == 0


@pytest.mark.parametrize("how", [{"path": "/healthz?deep=1"}, {"method": "ping"}, {"tcp": True}], ids=["path", "method", "tcp"])
def test_active_checks(two, provider, other, how):
    well = threading.Event()
    well.set()
    asked = []

    def behaviour(delivery, wire):
        if delivery.path.startswith("/healthz") or b'"ping"' in delivery.body:
            asked.append(delivery.path)
            return behave.status(200 if well.is_set() else 503)(delivery, wire)
        return behave.echo(delivery, wire)

    provider.behaviour = other.behaviour = behaviour
    gateway = two({"health": {**how, "interval": "50ms", "rise": 2, "fall": 2}, "balance": "round_robin"})
    until(lambda: gateway.metrics().sum("endpoint_checks_total", upstream="array", result="ok") >= 4, "checks are made")
    if "tcp" in how:
        assert not asked
        provider.stop()
    else:
        assert asked[0] == how.get("path", "/rpc")
        other.behaviour = behave.echo if "path" not in how else other.behaviour
        well.clear()
    until(lambda: shown(gateway, 0)["state"] in ("failed_check", "ejected"), "the checks have failed")
    if "tcp" in how:
        provider.start()
    well.set()
    until(lambda: shown(gateway, 0)["state"] == "up", "the checks are good again")
    assert all(gateway.call("echo", {"n": n}).status == 200 for n in range(10))


LONG, CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000, b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"


@pytest.mark.parametrize("answer", [
    LONG, b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok", b"HTTP/1.1 200 OK\r\n" + CHUNKED],
    ids=["long", "coded", "endless"])
def test_the_status_is_all_that_counts_of_a_check(two, provider, other, answer):
    def behaviour(delivery, wire):
        if not delivery.path.startswith("/healthz"):
            return behave.echo(delivery, wire)
        wire.raw(answer)
        return wire.hang() if answer.endswith(CHUNKED) else None

    provider.behaviour = other.behaviour = behaviour
    gateway = two({"health": {"path": "/healthz", "interval": "50ms", "timeout": "1s", "fall": 1}})
    until(lambda: gateway.metrics().sum("endpoint_checks_total", upstream="array") >= 4, "checks are made")
    assert gateway.metrics().sum("endpoint_checks_total", upstream="array", result="failed") == 0
    assert [shown(gateway, n)["state"] for n in (0, 1)] == ["up", "up"]


def test_a_slow_answer_is_hedged(two, provider, other):
    gateway = two({"hedge": "50ms", "balance": "round_robin"})
    provider.behaviour = behave.hang
    for n in range(10):
        assert gateway.call("echo", {"n": n}).json() == {"echo": {"n": n}}
    metrics = gateway.metrics()
    assert metrics.sum("attempts_total", upstream="array", kind="hedge", outcome="ok") >= 1
    assert metrics.sum("attempts_total", upstream="array", kind="hedge", outcome="ok") <= 6
    assert shown(gateway, 0)["state"] in ("up", "ejected")
    # a write is never hedged
    seen = len(other.calls)
    provider.behaviour = behave.echo
    for n in range(100, 110):
        gateway.call("write", {"n": n})
    times = collections.Counter(call["params"]["n"] for call in [*provider.calls, *other.calls])
    assert all(times[n] <= 1 for n in range(100, 110)) and len(other.calls) >= seen


def in_turn(*behaviours):
    """Each request of a call, to whichever endpoint, meets the next of (seconds, behaviour); they count from 0 again."""
    lock, begun = threading.Lock(), []

    def behaviour(delivery, wire):
        with lock:
            seconds, meet = behaviours[len(begun) % len(behaviours)]
            begun.append(delivery)
        time.sleep(seconds)
        meet(delivery, wire)

    return behaviour


def test_a_hedge_that_was_sent_on_gives_its_place_in_the_pool_back(start, provider, other, third):
    """First and hedge break off, a third endpoint answers: as often as there are calls, though the pool is small."""
    urls = [{"url": one.url("/rpc")} for one in (provider, other, third)]
    gateway = start({"workers": 1, "upstreams": {"array": {
        "endpoints": urls, "batch": {"mode": "off"}, "pool": {"max": 3}, "hedge": "20ms", "balance": "round_robin",
        "ejection": {"failures": 1000}, "retries": {"budget": "100%"}}}})
    provider.behaviour = other.behaviour = third.behaviour = in_turn((.06, behave.reset), (.08, behave.reset),
                                                                     (0, behave.echo))
    for n in range(8):
        assert gateway.call("echo", {"n": n}).json() == {"echo": {"n": n}}
    assert gateway.metrics().sum("attempts_total", upstream="array", kind="hedge") == 8


def test_what_follows_a_refusal_that_a_hedge_may_better_is_nobodys_answer(start, provider, other, later):
    """The first endpoint refuses HEAD, with a body; nobody looks at that before the second one has answered, and until then
    others use the first one's connection."""
    owing, hedges, spoken, done = set(), set(), threading.Event(), threading.Event()

    def first(delivery, wire):
        if delivery.method == "HEAD":
            until(lambda: delivery.path in hedges, "the other endpoint has it too")
            wire.raw(b"HTTP/1.1 503 Busy\r\nContent-Type: application/json\r\nContent-Length: 44\r\n\r\n")
            owing.add(delivery.connection)
            spoken.set()
            return
        if delivery.connection in owing:
            owing.remove(delivery.connection)
            wire.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n\"EVIL\"")
        wire.answer({"path": delivery.path})

    def second(delivery, wire):
        if delivery.method == "HEAD":
            hedges.add(delivery.path)
            done.wait(10)
        wire.answer({"path": delivery.path})

    provider.behaviour, other.behaviour = first, second
    urls = [{"url": one.url("")} for one in (provider, other)]
    gateway = start({"workers": 1, "upstreams": {"web": {
        "dialect": "rest", "endpoints": urls, "hedge": "20ms", "balance": "round_robin"}}, "tools": {
        "head": {"upstream": "web", "annotations": {"read_only": True}, "request": {"method": "HEAD", "path": "/none/{n}"}},
        "get": {"upstream": "web", "request": {"method": "GET", "path": "/some/{n}"}}}})
    hedged = [later(gateway.call, "head", {"n": n}) for n in range(2)]  # one of them goes to the first one first
    assert spoken.wait(10)
    answers = [gateway.call("get", {"n": n}).json() for n in range(6)]
    done.set()
    assert answers == [{"path": f"/some/{n}"} for n in range(6)]
    assert [call.result(20).status for call in hedged] == [200, 200]


def test_an_error_is_told_if_the_hedge_does_no_better(two, provider, other):
    """The first answers 500 while its hedge is under way, and that breaks off: what the provider said is known."""
    gateway = two({"hedge": "20ms", "balance": "round_robin"})
    provider.behaviour = other.behaviour = in_turn((.06, behave.status(500, b'{"why":"tired"}')), (.08, behave.reset))
    reply = gateway.call("echo", {"n": 1})
    assert (reply.status, reply.json()["upstream"]) == (502, {"name": "array", "status": 500, "error": {"why": "tired"}})


def test_what_was_never_sent_goes_elsewhere_writes_too(two, provider, other):
    gateway = two({"balance": "round_robin"})
    provider.stop()
    for n in range(50):
        assert gateway.call("write", {"n": n}).status == 200
    assert collections.Counter(call["params"]["n"] for call in other.calls) == {n: 1 for n in range(50)}
    assert gateway.metrics().sum("attempts_total", upstream="array", kind="failover", outcome="ok") >= 1


def test_a_read_that_breaks_off_is_retried_elsewhere(two, provider, other):
    gateway = two({"balance": "round_robin"})
    provider.behaviour = behave.reset
    for n in range(30):
        assert gateway.call("echo", {"n": n}).status == 200
    assert gateway.metrics().sum("attempts_total", upstream="array", kind="retry", outcome="ok") >= 1
    assert shown(gateway, 0)["state"] == "ejected"


def test_a_restart_under_load_loses_nothing_that_was_not_sent(two, provider, other):
    """Two endpoints restart in turn under writes: none is delivered twice, none called unavailable was delivered."""
    gateway = two({})
    replies = {}
    stop = threading.Event()

    def caller(base):
        n = base
        while not stop.is_set():
            replies[n] = gateway.call("write", {"n": n}).status
            n += 1

    threads = [threading.Thread(target=caller, args=(1000000 * i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for one in (provider, other, provider, other):
        # in turn: who restarts has another beside it, which is not merely listening again but known to be
        until(lambda: [shown(gateway, n)["state"] for n in (0, 1)] == ["up", "up"], "both are there")
        count = len(replies)
        until(lambda: len(replies) > count + 100, "calls go on")     # pylint: disable=cell-var-from-loop
        one.stop()
        until(lambda: len(replies) > count + 300, "calls go on")     # pylint: disable=cell-var-from-loop
        one.start()
    stop.set()
    for thread in threads:
        thread.join()
    times = collections.Counter(call["params"]["n"] for call in [*provider.calls, *other.calls])
    assert not [n for n, count in times.items() if count > 1]
    assert not [n for n, status in replies.items() if status == 503 and times[n]]
    assert not [n for n, status in replies.items() if status == 200 and not times[n]]
    bad = collections.Counter(replies.values())
    assert bad[200] >= len(replies) - 8 * 4 * 2, bad     # at most what each connection held as it was cut


@pytest.mark.parametrize("endpoints", [1, 2])
def test_ten_thousand_writes_over_dying_connections_none_twice(start, provider, other, endpoints):
    """One connection in a hundred dies under its request, before or after the write was carried out."""
    lock = threading.Lock()
    count = [0]

    def behaviour(delivery, wire):
        with lock:
            count[0] += 1
            number = count[0]
        if number % 100 == 7:
            wire.reset()
        elif number % 100 == 57:
            wire.close()
        else:
            behave.echo(delivery, wire)

    provider.behaviour = other.behaviour = behaviour
    urls = [{"url": provider.url("/rpc")}, {"url": other.url("/rpc")}][:endpoints]
    gateway = start({"log": {"access": False}, "upstreams": {"array": {"endpoints": urls, "batch": {"mode": "off"}}}})
    report = gateway.load(callers=16, calls=10000, path="/v1/tools/write", body='{"n":%d}')
    assert set(report["statuses"]) <= {"200", "502"}, report
    assert report["statuses"]["200"] >= 9700, report
    times = collections.Counter(call["params"]["n"] for call in [*provider.calls, *other.calls])
    assert len(times) == 10000 and set(times.values()) == {1}


def test_a_frozen_provider_costs_the_others_nothing(start, provider, other, later):
    gateway = start({"upstreams": {"rest": {"endpoints": [{"url": other.url("/api")}], **PATIENT}}})
    other.behaviour = behave.hang
    frozen = [later(gateway.call, "item", {"id": n, "q": 1}) for n in range(30)]
    other.until_deliveries(10)
    for n in range(300):
        assert gateway.call("echo", {"n": n}).status == 200
    assert not any(future.done() for future in frozen)
    other.cut()


@pytest.mark.parametrize("wrong, text", [
    ({"health": {"interval": "1s"}}, "needs one of path, method and tcp"),
    ({"health": {"tcp": True, "path": "/x"}}, "needs one of path, method and tcp"),
    ({"health": {"path": "healthz"}}, "must begin with /"),
    ({"ejection": {"base": "10m"}}, "max is less than base"),
    ({"ejection": {"share": "150%"}}, "must be between 0 and 100"),
    ({"ejection": {"share": 50}}, "a share"),
    ({"hedge": "soon"}, "must be off, p95, or a duration"),
    ({"hedge": "p95"}, "no second endpoint"),
    ({"balance": "random"}, "adaptive"),
    ({"endpoints": [{"url": "http://h", "weight": 0}]}, "between 1 and 100"),
])
def test_check_says_what_is_wrong(make, provider, wrong, text):
    gateway = make({"upstreams": {"array": wrong}})
    gateway.refuses(text)
    assert re.search(re.escape(str(gateway.config_path)) + r":\d+:\d+: ", gateway.log())


def test_a_call_waits_no_longer_than_it_must(two, provider, other):
    """p95: the gateway learns what is slow; a frozen endpoint is found out by hedges too."""
    gateway = two({"hedge": "p95", "balance": "round_robin", **PATIENT})      # no timeout ends a call before its client leaves
    for n in range(60):
        assert gateway.call("echo", {"n": n}).status == 200
    provider.behaviour = behave.hang
    for n in range(20):
        assert gateway.call("echo", {"n": n}).status == 200
    until(lambda: shown(gateway, 0)["state"] == "ejected" or gateway.call("echo", {"n": 1}).status != 200, "it is known")
