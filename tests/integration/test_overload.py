# SPDX-License-Identifier: Apache-2.0
"""More calls than a provider can do, all at once or for good: as many answers as it can give, and the rest refused in time."""
import json
import threading

from harness.gateway import LOAD, PATIENT
from harness.poll import until
from harness.provider import after

PROVIDER = LOAD.parent / "provider"
READS = {"annotations": {"read_only": True, "idempotent": True}}


def rest(start, port, **upstream):
    return start({"log": {"access": False},
                  "upstreams": {"single": {"dialect": "rest", "endpoints": [{"url": f"http://127.0.0.1:{port}"}], **upstream}},
                  "tools": {"one": {"upstream": "single", **READS}}})


def load(gateway, **options):
    return gateway.load(path="/v1/tools/one", body='{"n":%d}', **options)


def test_1000_at_once_on_a_slow_provider_are_all_answered(start, bare_provider):
    gateway = rest(start, bare_provider("--delay-ms", 500))
    report = load(gateway, callers=1000, calls=1000, at_once=True)
    assert report["statuses"] == {"200": 1000} and report["wrong"] == 0, report
    assert gateway.metrics().sum("concurrency_limit", upstream="single") > 64  # it was let rise, as nothing queued


def test_five_times_overload_is_answered_or_refused_in_time(start, bare_provider):
    gateway = rest(start, bare_provider("--delay-ms", 100, "--concurrent", 5))  # 50 a second
    load(gateway, callers=100, rate=250, seconds=5)  # it finds out what the provider can do
    before = gateway.metrics()
    refusals = []

    def ask(number):
        while not refusals and not over.is_set():
            reply = gateway.call("one", {"n": -number})  # one of its own: identical calls would share one place in line
            if reply.status != 200:
                refusals.append(reply)

    over = threading.Event()
    askers = [threading.Thread(target=ask, args=(number,)) for number in range(1, 17)]  # one alone may be lucky all the time
    for asker in askers:
        asker.start()
    report = load(gateway, callers=300, rate=250, seconds=8)
    over.set()
    for asker in askers:
        asker.join()
    assert set(report["statuses"]) == {"200", "503"}, report  # no 504, nothing unknown
    assert report["statuses"]["200"] >= 0.8 * 8 * 50, report  # it was none at all
    after = gateway.metrics()
    assert after.sum("shed_total") - before.sum("shed_total") >= report["statuses"]["503"]
    assert after.sum("concurrency_limit", upstream="single") <= 16
    problem = json.loads(refusals[0].body)
    assert problem["code"] == "overloaded" and problem["retryable"] is True
    assert int(refusals[0].header("retry-after")) >= 1
    until(lambda: gateway.call("one", {"n": -99}).status == 200, "the line is gone")


def test_a_call_that_would_be_late_is_refused_at_once(start, provider, later):
    gateway = rest(start, provider.port, concurrency=1, **PATIENT)
    provider.behaviour = after(0.2)
    for n in range(10):
        assert gateway.call("one", {"n": n}).status == 200  # it learns that a call takes 200 ms
    provider.hold()
    others = [later(gateway.call, "one", {"n": 100 + n}) for n in range(6)]
    gateway.until_metric("batch_waiting_items", 5)
    reply = gateway.call("one", {"n": 999}, X_Request_Timeout_Ms="600")
    assert reply.status == 503 and json.loads(reply.body)["code"] == "overloaded", reply.body
    assert int(reply.header("retry-after")) >= 1
    assert gateway.metrics().sum("shed_total", reason="deadline") == 1
    provider.release()
    assert [other.result(20).status for other in others] == [200] * 6


def test_the_old_name_of_concurrency_is_understood(start, bare_provider):
    gateway = rest(start, bare_provider(), batch={"in_flight": 7})
    assert gateway.call("one", {"n": 1}).status == 200
    assert gateway.metrics().sum("concurrency_limit", upstream="single") == 7
