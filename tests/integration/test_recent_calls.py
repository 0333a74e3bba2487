# SPDX-License-Identifier: Apache-2.0
"""GET /admin/calls: the last calls, and where the time of each went."""
import time

import pytest

from harness import provider as behave
from harness.gateway import ONE_AT_A_TIME, PATIENT, one_sent_and_one_waiting
from harness.poll import until
from harness.standstill import standing_still
from harness.wire import request_bytes


def calls(gateway, query="", one=""):
    reply = gateway.get(f"/admin/calls{one}{query}", "admin")
    assert reply.status == 200, reply
    return reply.json()["calls"]


def test_a_call_is_there_with_its_time_line(gateway, provider):
    gateway.call("echo", {"n": 1}, x_request_id="look-at-me")
    call, = gateway.told("look-at-me")
    assert call["tool"] == "echo" and call["outcome"] == "ok" and call["status"] == 200 and call["cache"] == "bypass"
    assert call["batch_size"] == 1 and call["batch_id"] >= 1 and call["attempts"] == 1 and call["bytes"] > 0
    assert sum(part["us"] for part in call["timeline"]) == call["total_us"]
    spent = {part["what"]: part["us"] for part in call["timeline"]}
    assert spent["upstream"] > 0 and set(spent) <= {"look_up", "queue", "upstream", "gateway"}


def test_newest_first_and_by_what_is_asked(gateway, provider):
    for n in range(3):
        gateway.call("cached", {"n": 1}, x_request_id=f"id-{n}")
        gateway.told(f"id-{n}")
    provider.next(behave.status(500))
    gateway.call("write", x_request_id="failed")
    gateway.told("failed")
    ids = [call["request_id"] for call in calls(gateway)]
    assert ids[:4] == ["failed", "id-2", "id-1", "id-0"]
    assert [call["cache"] for call in calls(gateway, "?tool=cached")][:3] == ["hit", "hit", "miss"]
    assert [call["request_id"] for call in calls(gateway, "?outcome=upstream_error")] == ["failed"]
    assert calls(gateway, "?outcome=upstream_error")[0]["detail"]
    assert len(calls(gateway, "?limit=2")) == 2
    assert calls(gateway, "?tool=nobody") == [] and calls(gateway, one="/nobody") == []


def test_members_of_a_batch_find_each_other(gateway, provider):
    reply = gateway.batch([{"id": str(n), "tool": "echo", "arguments": {"n": n}} for n in range(5)], x_request_id="together")
    assert reply.status == 200
    own = gateway.told("together", 5)
    assert len(own) == 5
    mates = [call for call in own if call["batch_size"] > 1]
    assert mates and all(len(calls(gateway, f"?batch_id={call['batch_id']}")) == call["batch_size"] for call in mates)


def test_why_a_batch_left_is_told_of_each_of_its_calls(start, provider, later):
    gateway = start({"upstreams": {"array": {"batch": {"items": 2}, "concurrency": 1}, "rest": {"batch": {"mode": "off"}}}})
    provider.hold()
    first = [later(lambda: gateway.call("echo", {"n": 0}, x_request_id="first"))]
    provider.until_deliveries(1)
    others = [later(lambda n=n: gateway.call("echo", {"n": n}, x_request_id=f"other-{n}")) for n in range(1, 4)]
    gateway.until_metric("batch_waiting_items", 3)
    provider.release()
    assert all(one.result(20).status == 200 for one in first + others)
    gateway.call("item", {"id": 1, "q": "a"}, x_request_id="rest")
    gateway.call("cached", {"n": 1})
    gateway.call("cached", {"n": 1}, x_request_id="hit")
    assert calls(gateway, one="/first")[0]["batch_reason"] == "idle"
    assert calls(gateway, one="/rest")[0]["batch_reason"] == "single"
    assert "batch_reason" not in calls(gateway, one="/hit")[0], "it never left"
    told = {call["batch_id"]: (call["batch_size"], call["batch_reason"]) for n in range(1, 4) for call in calls(gateway, one=f"/other-{n}")}
    assert sorted(told.values()) == [(1, "landed"), (2, "items")], told
    by = gateway.metrics().by("batch_flushes_total", "reason")
    assert by["items"] == 1 and by["idle"] >= 1 and by["single"] == 1, by


def test_failures_outlive_many_others(gateway, provider):
    provider.next(behave.status(500))
    gateway.call("write", x_request_id="failed")
    for n in range(12):
        gateway.batch([{"id": str(n), "tool": "cached", "arguments": {"n": 1}} for n in range(100)], x_request_id=f"many-{n}")
    gateway.told("many-11", 100)
    assert [call["request_id"] for call in calls(gateway, "?outcome=upstream_error")] == ["failed"]
    assert 256 <= len(calls(gateway, "?limit=10000")) <= 2 * 256 + 2


def test_a_call_has_begun_when_it_did_however_often_one_asks(gateway, provider):
    began = time.time()
    gateway.call("echo", {"n": 1}, x_request_id="then")
    ended = time.time()
    gateway.told("then")
    seen = set()

    def look():
        call, = calls(gateway, one="/then")
        seen.add(call["started_at"])
        return time.time() > ended + .2

    until(look, "it has been looked at for a while")
    at, = seen
    assert began - .002 <= at <= ended + .002


def test_a_call_under_way_is_told_with_its_time_so_far(start, provider, later):
    """One that waits in the line, one at the provider: while they do, the one that has taken longest first."""
    gateway = start(ONE_AT_A_TIME)
    first, second = one_sent_and_one_waiting(gateway, provider, later)
    sent, waits = until(lambda: both(calls(gateway)), "both are told")
    assert (sent["request_id"], sent["stage"], sent["batch_size"], sent["attempts"]) == ("sent", "upstream", 1, 1) and sent["batch_id"] >= 1
    assert (waits["request_id"], waits["stage"]) == ("waits", "queue") and "batch_id" not in waits
    for call in (sent, waits):
        assert call["state"] == "under_way" and call["tool"] == "echo" and not {"outcome", "status", "bytes"} & set(call)
        assert sum(part["us"] for part in call["timeline"]) == call["total_us"]
    assert {part["what"] for part in waits["timeline"]} == {"queue", "gateway"} and sent["started_at"] <= waits["started_at"]
    later_on = until(lambda: [call for call in calls(gateway, one="/sent") if call["total_us"] > sent["total_us"]], "its time goes on")
    assert later_on[0]["started_at"] == sent["started_at"] and later_on[0]["batch_id"] == sent["batch_id"]
    reply = gateway.get("/admin/calls?state=under_way", "admin").json()
    assert len(reply["calls"]) == 2 and reply["in_flight"] == 2 and reply["silent_workers"] == []
    assert calls(gateway, "?state=ended") == [] and calls(gateway, "?outcome=ok") == [] and calls(gateway, "?tool=write") == []
    assert [call["request_id"] for call in calls(gateway, "?limit=1")] == ["sent"] and [call["request_id"] for call in calls(gateway, f"?batch_id={sent['batch_id']}")] == ["sent"]
    provider.release()
    assert first.result(20).status == second.result(20).status == 200
    ended, = gateway.told("sent")
    assert ended["state"] == "ended" and "stage" not in ended and ended["batch_id"] == sent["batch_id"] and calls(gateway, "?state=under_way") == []


def both(found):
    return found if len(found) == 2 and found[0].get("stage") == "upstream" else None


def test_under_way_are_those_of_every_worker_and_whose_they_are(start, provider, later):
    """Of many that share a fetch some are told; of all the owner's, those of each worker's clients."""
    gateway = start({"trusted_proxies": ["127.0.0.1/32"], "identity": {"tenant_header": "X-Tenant"}, "upstreams": {"array": PATIENT, "rest": PATIENT}})
    provider.hold()
    asked = [later(lambda n=n: gateway.call("send" if n % 2 else "write", {"n": n}, x_request_id=f"id-{n}", x_tenant=f"t{n % 3}")) for n in range(12)]
    shared = [later(lambda: gateway.call("cached", {"n": 1}, x_request_id="shared")) for _ in range(20)]
    gateway.until_metric("in_flight_requests", 32)
    found = until(lambda: found if len(found := calls(gateway, "?state=under_way")) == 20 else None, "12 of their own, and 8 of those that share")
    assert sum(call["request_id"] == "shared" for call in found) == 8
    assert sorted(call["request_id"] for call in found if call["request_id"] != "shared") == sorted(f"id-{n}" for n in range(12))
    assert all(call["tenant"] == f"t{int(call['request_id'][3:]) % 3}" for call in found if call["request_id"] != "shared")
    assert sorted(call["request_id"] for call in calls(gateway, "?tenant=t1")) == sorted(f"id-{n}" for n in range(12) if n % 3 == 1)
    assert {call["tool"] for call in calls(gateway, "?state=under_way&tool=send")} == {"send"}
    provider.release()
    assert all(one.result(20).status == 200 for one in asked + shared)


def test_no_more_are_told_than_fit_and_how_many_there_are(start, provider, later):
    gateway = start({"upstreams": {"rest": PATIENT}, "workers": 1})
    provider.hold()
    asked = [later(lambda n=n: gateway.call("send", {"n": n})) for n in range(70)]
    gateway.until_metric("in_flight_requests", 70)
    reply = gateway.get("/admin/calls?state=under_way&limit=10000", "admin").json()
    assert len(reply["calls"]) == 64 and reply["in_flight"] == 70
    began = [call["started_at"] for call in reply["calls"]]
    assert began == sorted(began)
    provider.release()
    assert all(one.result(20).status == 200 for one in asked)


def test_what_nobody_waits_for_is_under_way_too(start, provider):
    """A background refresh has no request."""
    gateway = start({"tools": {"cached": {"cache": {"ttl": "1ms", "stale_while_revalidate": "1h"}}}})
    gateway.call("cached", {"n": 1})
    provider.hold()
    until(lambda: gateway.call("cached", {"n": 1}) and len(provider.deliveries) > 1, "it is fetched anew")
    call, = calls(gateway, "?state=under_way")
    assert call["request_id"] == "" and call["tool"] == "cached" and call["stage"] == "upstream"
    provider.release()


def test_a_worker_that_stands_still_is_not_waited_for(gateway, provider):
    """Who asks is told without it, and may leave before."""
    gateway.call("echo", {"n": 1}, x_request_id="before")
    gateway.told("before")
    try:
        with standing_still(gateway.process.pid, "worker 1"):
            reply = until(lambda: silent(gateway, [1]), "it is not waited for")
            assert [call["request_id"] for call in reply["calls"]] == ["before"]
            with gateway.connect("admin") as client:
                client.send(request_bytes("GET", "/admin/calls"))
                until(lambda: gateway.get("/admin/stats", "admin").status == 200, "it has been asked")
            until(lambda: silent(gateway, [1]), "that is longer than the one who has left would have waited")
    except PermissionError as error:
        pytest.skip(f"nobody may stop a thread here: {error}")
    until(lambda: silent(gateway, []), "it goes on")


def silent(gateway, workers):
    reply = gateway.get("/admin/calls", "admin").json()
    return reply if reply["silent_workers"] == workers else None


def test_asking_while_calls_come_and_go_tells_none_twice(start, provider, later):
    gateway = start()
    provider.behaviour = behave.after(.003)
    working = [True]

    def work(worker):
        n = 0
        while working[0]:
            assert gateway.call("write", {"n": n}, x_request_id=f"{worker}-{n}").status == 200
            n += 1
        return n

    asked = [later(work, worker) for worker in range(4)]
    seen = 0
    for _ in range(60):
        ids = [call["request_id"] for call in calls(gateway, "?limit=10000")]
        assert len(ids) == len(set(ids)), sorted(ids)
        seen += sum("stage" in call for call in calls(gateway))
    working[0] = False
    assert sum(one.result(20) for one in asked) > 0 and seen > 0


def test_filters_are_decoded(gateway, provider):
    gateway.call("echo", {"n": 1}, x_request_id="one")
    batch, = gateway.told("one")
    for query in ("?tool=%65cho", "?outcome=%6Fk&tool=ech%6f", f"?batch_id=%3{str(batch['batch_id'])[0]}{str(batch['batch_id'])[1:]}", "?limit=%31"):
        assert [call["request_id"] for call in calls(gateway, query)] == ["one"], query


def test_who_left_is_there_too(gateway, provider):
    provider.behaviour = behave.hang
    with gateway.connect() as client:
        client.send(request_bytes("POST", "/v1/tools/echo", b"{}", {"X-Request-Id": "gone"}))
        provider.until_deliveries(1)
    call, = until(lambda: calls(gateway, "?outcome=cancelled"), "the call of the client that left")
    assert call["request_id"] == "gone" and call["status"] == 499


@pytest.mark.parametrize("query", ["?tol=echo", "?outcome=fine", "?state=fine", "?limit=0", "?limit=many", "?limit=10001", "?batch_id=-1", "?tool=",
                                   "?tool=%6", "?tool=%zz", "?outcome=o%", "?tool=" + "%61" * 257])
def test_what_cannot_be_meant_is_refused(gateway, query):
    reply = gateway.get(f"/admin/calls{query}", "admin")
    assert reply.status == 400 and reply.code == "invalid_request", reply


def test_calls_of_one_tenant(start):
    gateway = start({"trusted_proxies": ["127.0.0.1/32"], "identity": {"tenant_header": "X-Tenant"}})
    long = "long " * 20
    for n, tenant in enumerate(["acme", "globex", "acme", long]):
        gateway.call("echo", {"n": n}, x_tenant=tenant, x_request_id=f"id-{n}")
    assert [call["request_id"] for call in calls(gateway, "?tenant=acme")] == ["id-2", "id-0"]
    assert [call["request_id"] for call in calls(gateway, "?tenant=acme&limit=1&tool=echo")] == ["id-2"]
    assert [call["request_id"] for call in calls(gateway, "?tenant=" + long.replace(" ", "%20"))] == ["id-3"], "of which the beginning is kept"
    assert calls(gateway, "?tenant=nobody") == []


def test_a_tenant_is_shown_and_never_more_than_fits(start):
    gateway = start({"trusted_proxies": ["127.0.0.1/32"], "identity": {"tenant_header": "X-Tenant"}})
    gateway.call("echo", {"n": 1}, x_tenant="acme", x_request_id="short")
    gateway.call("echo", {"n": 1}, x_tenant=("ü" * 40).encode().decode("latin-1"), x_request_id="long")
    assert gateway.told("short")[0]["tenant"] == "acme"
    assert gateway.told("long")[0]["tenant"] == "ü" * 23
