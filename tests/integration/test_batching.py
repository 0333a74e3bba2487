# SPDX-License-Identifier: Apache-2.0
"""Different calls leave together."""
import json
import random
import re
import threading
import time

import pytest

from harness import provider as behave
from harness.gateway import LOAD, PATIENT
from harness.poll import given_time, until
from harness.wire import request_bytes

PROVIDER = LOAD.parent / "provider"


def queue_ms(reply):
    return float(re.search(r"queue;dur=([0-9.]+)", reply.header("server-timing"))[1])


def test_1000_different_calls_from_64_callers_leave_in_few_requests(start, bare_provider):
    """A batch lands after 5 ms, or whenever a busy machine lets it: the window is long, so that what gathers meanwhile leaves together."""
    port = bare_provider("--delay-ms", 5)
    gateway = start({"upstreams": {"array": {"endpoints": [{"url": f"http://127.0.0.1:{port}/rpc"}],
                                             "batch": {"items": 100, "window": "1s"}}}, "log": {"access": False}})
    report = gateway.load(callers=64, calls=1000, path="/v1/tools/echo", body='{"n":%d}', expect='{"echo":{"n":%d}}')
    assert report["statuses"] == {"200": 1000} and report["wrong"] == 0, report
    gateway.until_metric("batch_in_flight", 0)
    metrics = gateway.metrics()
    requests = metrics.sum("batch_items_count", upstream="array")
    assert metrics.sum("batch_items_sum", upstream="array") == 1000
    assert metrics.sum("upstream_requests_total", upstream="array") == requests
    assert metrics.sum("batch_saved_requests_total", upstream="array") == 1000 - requests
    assert requests <= 60, metrics.by("batch_flushes_total", "reason")


def test_a_lone_call_does_not_wait(gateway):
    for n in range(5):
        reply = gateway.call("echo", {"n": n})
        assert reply.header("x-batch-size") == "1"
        assert queue_ms(reply) < 2.5          # half the window: it has not waited for it
        gateway.until_metric("batch_in_flight", 0)
    assert gateway.metrics().by("batch_flushes_total", "reason") == {"idle": 5}


def test_calls_gather_while_a_batch_is_in_flight(start, provider, later):
    gateway = start({"upstreams": {"array": {**PATIENT, "batch": {"window": "10s", "in_flight": 4}}}})
    provider.hold()
    first = later(gateway.call, "echo", {"n": -1})
    provider.until_deliveries(1)
    others = [later(gateway.call, "echo", {"n": n}) for n in range(30)]
    gateway.until_metric("batch_waiting_items", 30)
    provider.release()
    assert first.result(20).header("x-batch-size") == "1"
    assert [future.result(20).json()["echo"]["n"] for future in others] == list(range(30))
    assert {future.result(20).header("x-batch-size") for future in others} == {"30"}
    assert len(provider.deliveries) == 2
    assert gateway.metrics().by("batch_flushes_total", "reason") == {"idle": 1, "landed": 1}


def test_a_full_batch_leaves(start, provider, later):
    gateway = start({"upstreams": {"array": {**PATIENT, "batch": {"window": "10s", "items": 8, "in_flight": 4}}}})
    provider.hold()
    futures = [later(gateway.call, "echo", {"n": -1})]
    provider.until_deliveries(1)
    futures += [later(gateway.call, "echo", {"n": n}) for n in range(16)]
    provider.until_deliveries(3)
    provider.release()
    assert {future.result(20).status for future in futures} == {200}
    assert gateway.metrics().by("batch_flushes_total", "reason") == {"idle": 1, "items": 2}


def test_a_batch_leaves_by_bytes(start, provider, later):
    gateway = start({"upstreams": {"array": {**PATIENT, "batch": {"window": "10s", "bytes": "10KiB", "in_flight": 4}}}})
    provider.hold()
    futures = [later(gateway.call, "echo", {"n": -1})]
    provider.until_deliveries(1)
    futures += [later(gateway.call, "echo", {"n": n, "x": "y" * 3000}) for n in range(8)]
    until(lambda: gateway.metrics().by("batch_flushes_total", "reason").get("bytes", 0) >= 1, "a batch has left by bytes")
    provider.release()
    assert {future.result(20).status for future in futures} == {200}
    assert max(len(delivery.calls) for delivery in provider.deliveries) <= 4


def test_a_batch_leaves_by_its_window(start, provider, later):
    gateway = start({"upstreams": {"array": {**PATIENT, "batch": {"mode": "fixed", "window": "50ms", "in_flight": 4}}}})
    provider.hold()
    futures = [later(gateway.call, "echo", {"n": n}) for n in range(6)]
    provider.until_calls(6)
    provider.release()
    assert {future.result(20).status for future in futures} == {200}
    assert set(gateway.metrics().by("batch_flushes_total", "reason")) == {"window"}


def test_mode_off_sends_singles(start, provider, together):
    gateway = start({"upstreams": {"array": {"batch": {"mode": "off"}}}})
    replies = together(lambda n: gateway.call("echo", {"n": n}), range(20))
    assert {reply.header("x-batch-size") for reply in replies} == {"1"}
    assert len(provider.deliveries) == 20
    assert gateway.metrics().by("batch_flushes_total", "reason") == {"single": 20}


def test_a_single_call_is_an_object_and_many_are_an_array(gateway, provider, later):
    provider.hold()
    futures = [later(gateway.call, "echo", {"n": -1})]
    provider.until_deliveries(1)
    futures += [later(gateway.call, "echo", {"n": n}) for n in range(3)]
    until(lambda: gateway.metrics().sum("in_flight_requests") == 4, "all are there")
    provider.release()
    assert {future.result(20).status for future in futures} == {200}
    assert isinstance(provider.deliveries[0].document, dict)
    for delivery in provider.deliveries[1:]:
        assert isinstance(delivery.document, list) == (len(delivery.calls) > 1)


def gathered(gateway, provider, later, count, **headers):
    """`count` different calls that leave in one batch; the provider is holding when this returns their futures."""
    provider.hold()
    before = len(provider.deliveries)
    first = later(gateway.call, "echo", {"n": -1})
    provider.until_deliveries(before + 1)
    futures = [later(gateway.call, "echo", {"n": n}, **headers) for n in range(count)]
    gateway.until_metric("batch_waiting_items", count)
    return first, futures


WIDE = {"upstreams": {"array": {**PATIENT, "batch": {"window": "10s", "in_flight": 8}}}}


def test_answers_in_any_order_reach_their_callers(start, provider, later):
    gateway = start(WIDE)
    first, futures = gathered(gateway, provider, later, 20)
    provider.behaviour = behave.reordered
    provider.next(behave.reordered)
    provider.release()
    assert first.result(20).status == 200
    assert [future.result(20).json()["echo"]["n"] for future in futures] == list(range(20))


def test_answers_byte_by_byte_reach_their_callers(start, provider, later):
    gateway = start(WIDE)
    first, futures = gathered(gateway, provider, later, 8)
    provider.next(behave.trickle)
    provider.release()
    assert first.result(20).status == 200
    assert [future.result(20).json()["echo"]["n"] for future in futures] == list(range(8))


def test_a_missing_answer_fails_alone(start, provider, later):
    gateway = start(WIDE)
    provider.behaviour = behave.without(lambda call: call["params"]["n"] in (2, 5))
    first, futures = gathered(gateway, provider, later, 8)
    provider.release()
    assert first.result(20).status == 200
    replies = [future.result(20) for future in futures]
    assert [reply.status for reply in replies] == [200, 200, 502, 200, 200, 502, 200, 200]
    assert replies[2].code == "upstream_error"


def test_duplicate_and_unknown_ids_do_no_harm(start, provider, later):
    gateway = start(WIDE)

    def behaviour(delivery, wire):
        good = [behave.result_of(call) for call in delivery.calls]
        odd = [{**good[0], "result": "the second with that id"}, {"jsonrpc": "2.0", "id": 10 ** 15, "result": 1},
               {"jsonrpc": "2.0", "id": "text", "result": 1}]
        behave.answers(delivery, wire, good + odd)

    first, futures = gathered(gateway, provider, later, 6)
    provider.behaviour = behaviour
    provider.release()
    assert first.result(20).status == 200
    replies = [future.result(20) for future in futures]
    for n, reply in enumerate(replies):
        if n > 0:
            assert reply.status == 200 and reply.json()["echo"]["n"] == n
        else:
            assert reply.status == 502 or reply.json()["echo"]["n"] == 0


def test_items_fail_one_by_one(start, provider, later):
    gateway = start(WIDE)

    def behaviour(delivery, wire):
        behave.answers(delivery, wire, [
            {"jsonrpc": "2.0", "id": call["id"], "error": {"code": -1, "message": "odd"}} if call["params"]["n"] % 2
            else behave.result_of(call) for call in delivery.calls])

    first, futures = gathered(gateway, provider, later, 10)
    provider.behaviour = behaviour
    provider.release()
    first.result(20)
    for n, future in enumerate(futures):
        assert future.result(20).status == (502 if n % 2 else 200)


def test_one_error_for_the_whole_array_reaches_all(start, provider, later):
    gateway = start(WIDE)
    first, futures = gathered(gateway, provider, later, 5)
    provider.next(lambda _, wire: wire.answer({"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no"}}))
    provider.release()
    first.result(20)
    assert all(future.result(20).status in (200, 502) for future in futures)


def test_an_item_is_answered_when_its_bytes_are_there(start, provider, later):
    gateway = start(WIDE)
    first, futures = gathered(gateway, provider, later, 2)
    rest = threading.Event()

    def in_two_halves(delivery, wire):
        if len(delivery.calls) == 1:
            return behave.echo(delivery, wire)
        body = json.dumps([behave.result_of(call) for call in delivery.calls]).encode()
        half = len(body) - body.index(b"}, {") - 2
        wire.raw(behave.answer_bytes(body)[:-half])
        rest.wait(20)
        return wire.raw(body[-half:])

    provider.behaviour = in_two_halves
    provider.planned.clear()
    provider.release()
    first.result(20)
    until(lambda: sum(future.done() for future in futures) == 1, "the first item is answered before the second is there")
    rest.set()
    assert {future.result(20).status for future in futures} == {200}


def test_an_items_deadline_does_not_touch_its_neighbours(start, provider, later):
    gateway = start(WIDE)
    provider.hold()
    first = later(gateway.call, "echo", {"n": -1})
    provider.until_deliveries(1)
    patient = [later(gateway.call, "echo", {"n": n}) for n in range(5)]
    gateway.until_metric("batch_waiting_items", 5)

    def expired(milliseconds):
        """One that was let in: a slow machine is known to take longer than that for a request, and turns it away."""
        reply = gateway.call("echo", {"n": milliseconds}, X_Request_Timeout_Ms=str(milliseconds))
        assert (reply.status, reply.code) == (503, "overloaded") or reply.status == 504, reply
        return reply.status == 504

    given_time(expired, 400)
    assert not any(future.done() for future in patient)
    provider.release()
    assert {future.result(20).status for future in [first, *patient]} == {200}


def test_a_batch_leaves_early_for_a_caller_in_a_hurry(start, provider, later):
    gateway = start(WIDE)
    provider.hold()
    taught = later(gateway.call, "echo", {"n": -2})        # an exchange takes half a second, it learns
    end = time.monotonic() + 0.5
    until(lambda: time.monotonic() > end, "half a second has passed")
    provider.release()
    assert taught.result(20).status == 200
    let_go = threading.Event()

    def hold_first(delivery, wire):        # the others' time is theirs
        if delivery.calls[0]["params"]["n"] == -1:
            let_go.wait(20)
        behave.echo(delivery, wire)

    provider.behaviour = hold_first
    first = later(gateway.call, "echo", {"n": -1})
    provider.until_deliveries(2)
    patient = [later(gateway.call, "echo", {"n": n}) for n in range(4)]
    gateway.until_metric("batch_waiting_items", 4)
    hurried = later(gateway.call, "echo", {"n": 99}, X_Request_Timeout_Ms="1500")
    assert {future.result(20).status for future in [*patient, hurried]} == {200}     # the window is 10 s, and the first is out
    let_go.set()
    assert first.result(20).status == 200
    assert gateway.metrics().by("batch_flushes_total", "reason") == {"idle": 2, "deadline": 1}


def test_the_urgent_go_first(start, provider, later):
    gateway = start({"workers": 1, "upstreams": {"array": {**PATIENT, "batch": {"items": 1, "in_flight": 1}}}})
    provider.hold()
    futures = [later(gateway.call, "echo", {"n": -1})]
    provider.until_deliveries(1)
    for n, urgency in enumerate((7, 5, 3, 1, 0)):
        futures.append(later(gateway.call, "echo", {"n": urgency}, Priority=f"u={urgency}"))
        gateway.until_metric("batch_waiting_items", n + 1)
    provider.release()
    assert {future.result(20).status for future in futures} == {200}
    assert [call["params"]["n"] for call in provider.calls] == [-1, 0, 1, 3, 5, 7]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_provider_does_each_gets_its_own_or_a_problem(start, provider, together, seed):
    """Random orders, fragments, missing, foreign and double answers, lost connections."""
    gateway = start({"upstreams": {"array": {"batch": {"items": 16, "window": "2ms", "in_flight": 3}}}})
    rng = random.Random(seed)
    lock = threading.Lock()

    def mischief(delivery, wire):
        with lock:
            kind, piece, mixer = rng.random(), rng.randint(1, 400), random.Random(rng.random())
        found = [behave.result_of(call) for call in delivery.calls]
        mixer.shuffle(found)
        if kind < 0.2:
            found.pop()
        elif kind < 0.4:
            found.append(dict(found[0], result={"echo": {"n": "the second with that id"}}))
        elif kind < 0.5:
            found.append({"jsonrpc": "2.0", "id": 10 ** 12, "result": {"echo": {"n": "nobody's"}}})
        single = not isinstance(delivery.document, list)
        body = behave.answer_bytes(found[0] if single and found else found)
        if 0.9 < kind:
            body = body[:mixer.randrange(len(body))]
        for at in range(0, len(body), piece):
            wire.raw(body[at:at + piece])
        if 0.9 < kind:
            wire.close()

    provider.behaviour = mischief

    def caller(number):
        good = 0
        for n in range(10):
            tool = "echo" if number % 2 else "write"
            reply = gateway.call(tool, {"n": number * 100 + n})
            if reply.status == 200:
                assert reply.json() == {"echo": {"n": number * 100 + n}}
                good += 1
            else:
                assert reply.status == 502 and reply.code in ("upstream_error", "outcome_unknown"), reply
        return good

    assert sum(together(caller, range(40))) > 100
    times = {}
    for call in provider.calls:
        if call["method"] == "write":
            times[call["params"]["n"]] = times.get(call["params"]["n"], 0) + 1
    assert max(times.values()) == 1, "a write has been delivered twice"
    gateway.until_metric("in_flight_requests", 0)
    gateway.until_metric("batch_in_flight", 0)


def test_a_call_too_late_to_be_sent_is_never_sent(start, provider, later):
    gateway = start({"upstreams": {"array": {**PATIENT, "batch": {"in_flight": 1}}}})
    provider.hold()
    first = later(gateway.call, "echo", {"n": 0})
    provider.until_deliveries(1)
    reply = gateway.call("echo", {"n": 1}, X_Request_Timeout_Ms="100")
    assert (reply.status, reply.code) == (504, "deadline_exceeded")
    provider.release()
    assert first.result(20).status == 200
    assert [call["params"]["n"] for call in provider.calls] == [0]


def test_a_caller_that_leaves_is_taken_out_of_its_lane(start, provider, later):
    gateway = start({"upstreams": {"array": {**PATIENT, "batch": {"in_flight": 1}}}})
    provider.hold()
    first = later(gateway.call, "echo", {"n": 0})
    provider.until_deliveries(1)
    with gateway.connect() as leaver:
        leaver.send(request_bytes("POST", "/v1/tools/echo", b'{"n":1}'))
        gateway.until_metric("batch_waiting_items", 1)
    gateway.until_metric("batch_waiting_items", 0)
    provider.release()
    assert first.result(20).status == 200
    assert len(provider.calls) == 1


def test_rest_calls_are_many_requests_under_the_limit(start, provider, together):
    gateway = start({"upstreams": {"rest": {"batch": {"in_flight": 4}}}})
    replies = together(lambda n: gateway.call("item", {"id": n, "q": n}), range(40))
    assert [reply.json()["path"] for reply in replies] == [f"/api/items/{n}?q={n}" for n in range(40)]
    assert len(provider.deliveries) == 40
    assert provider.connection_count <= 4 + 1


def test_connections_are_kept(gateway, provider):
    for n in range(20):
        gateway.call("echo", {"n": n})
    assert provider.connection_count <= 2
    assert gateway.metrics().sum("upstream_connects_total", upstream="array") == provider.connection_count


@pytest.mark.slow
def test_random_batches_give_each_caller_its_own_result(start, bare_provider):
    port = bare_provider("--delay-ms", 1, "--per-item-us", 20)
    gateway = start({"upstreams": {"array": {"endpoints": [{"url": f"http://127.0.0.1:{port}/rpc"}],
                                             "batch": {"items": 37, "window": "2ms"}}}, "log": {"access": False}})
    for callers, distinct in ((1, 0), (7, 3), (128, 0), (200, 50)):
        report = gateway.load(callers=callers, calls=300 if callers == 1 else 4000, distinct=distinct, path="/v1/tools/echo",
                              body='{"n":%d,"text":"\\u00e9 \\" ]}"}', expect='{"echo":{"n":%d,"text":"\\u00e9 \\" ]}"}}')
        assert report["wrong"] == 0 and set(report["statuses"]) == {"200"} and sum(report["errors"].values()) == 0, report
    gateway.until_metric("in_flight_requests", 0)


def test_a_call_with_an_idempotency_key_travels_alone_and_carries_it(start, provider, later):
    gateway = start({"workers": 1})
    provider.hold()
    first = later(gateway.call, "write", {"n": 0})
    provider.until_deliveries(1)
    keyed = [later(gateway.call, "write", {"n": n}, Idempotency_Key=f"key-{n % 2}") for n in range(1, 5)]
    gateway.until_metric("in_flight_requests", 5)
    provider.release()
    assert {future.result(20).status for future in [first, *keyed]} == {200}
    seen = {delivery.calls[0]["params"]["n"]: delivery.headers.get("idempotency-key") for delivery in provider.deliveries}
    assert all(len(delivery.calls) == 1 for delivery in provider.deliveries)
    assert seen == {0: None, 1: "key-1", 2: "key-0", 3: "key-1", 4: "key-0"}
