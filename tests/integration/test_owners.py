# SPDX-License-Identifier: Apache-2.0
"""An upstream with several owners: each worker sends, and what is promised to the provider is one number for all."""
import json
import signal
import threading

import pytest

from harness import provider as behave
from harness.poll import until
from harness.reload import pulse, reload, reloaded, write
from test_process import jitney

OWNERS = 4
SLOTS = 5
READS = {"read_only": True, "idempotent": True}


class Crowd:
    """A behaviour: counts how many requests the provider has at once, and holds each for a moment."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.lock = threading.Lock()
        self.now = self.most = 0

    def __call__(self, delivery, wire):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        threading.Event().wait(self.seconds)
        with self.lock:
            self.now -= 1
        behave.echo(delivery, wire)

    def begin(self):
        with self.lock:
            self.most = self.now


@pytest.fixture
def owned(start, provider):
    """owned(options of the upstream) gives a gateway of four workers, all of which own it."""
    def build(**options):
        return start({
            "workers": OWNERS, "log": {"access": False},
            "upstreams": {"many": {"dialect": "rest", "owners": OWNERS, "concurrency": SLOTS,
                                   "endpoints": [{"url": provider.url("/many")}], "timeout": "60s", **options,
                                   "queue": {"wait": "60s", **options.get("queue", {})}}},
            "tools": {"read": {"upstream": "many", "annotations": READS, "timeout": "60s"},
                      "kept": {"upstream": "many", "annotations": READS, "timeout": "60s",
                               "cache": {"ttl": "1h", "scope": "shared"}},
                      "act": {"upstream": "many", "timeout": "60s"}}})

    return build


class Flood:
    """Twelve callers of whom each asks without end, reads and writes in turn, no two calls alike."""

    def __init__(self, gateway, later):
        self.gateway, self.over = gateway, threading.Event()
        self.futures = [later(self.ask, number) for number in range(12)]

    def ask(self, number):
        told, n = set(), 0
        while not self.over.is_set():
            told.add(self.gateway.call("read" if n % 2 else "act", {"n": number * 10000 + n}).status)
            n += 1
        return told

    def end(self, provider):
        """All of them were answered, and what reached the provider reached it once."""
        self.over.set()
        assert [future.result(30) for future in self.futures] == [{200}] * 12
        bodies = [delivery.body for delivery in provider.deliveries]
        assert len(bodies) == len(set(bodies))


def statuses(futures):
    return sorted(future.result(60).status for future in futures)


def show(gateway):
    upstreams = json.loads(gateway.get("/admin/upstreams", "admin").body)["upstreams"]
    return next(upstream for upstream in upstreams if upstream["name"] == "many")


def test_all_owners_together_send_no_more_than_concurrency(owned, provider, later):
    gateway = owned()
    provider.hold()
    futures = [later(gateway.call, "read" if n % 2 else "act", {"n": n}) for n in range(40)]
    gateway.until_metric("in_flight_requests", 40)
    gateway.until_metric("batch_waiting_items", 40 - SLOTS, upstream="many")
    provider.until_deliveries(SLOTS)
    assert len(provider.deliveries) == SLOTS
    shown = show(gateway)
    assert shown["owners"] == OWNERS and shown["in_flight"] == SLOTS and shown["waiting"] == 40 - SLOTS, shown
    assert gateway.metrics().sum("concurrency_limit", upstream="many") == SLOTS  # not four times
    provider.release()
    assert statuses(futures) == [200] * 40
    assert sorted(delivery.body for delivery in provider.deliveries) == sorted(b'{"n": %d}' % n for n in range(40))


def test_a_learned_limit_is_one_for_all(owned, provider, later):
    gateway = owned(concurrency="auto")
    limit = gateway.metrics().sum("concurrency_limit", upstream="many")
    provider.hold()
    futures = [later(gateway.call, "read" if n % 2 else "act", {"n": n}) for n in range(int(limit) + 30)]
    gateway.until_metric("in_flight_requests", limit + 30)
    gateway.until_metric("batch_waiting_items", 30, upstream="many")
    provider.until_deliveries(int(limit))
    assert len(provider.deliveries) == limit
    provider.release()
    assert statuses(futures) == [200] * int(limit + 30)
    assert len(provider.deliveries) == limit + 30


def test_all_learn_from_all(owned, provider, later):
    """A provider that works on two at once, and says so by how long the others take."""
    gateway = owned(concurrency="auto")
    desk = threading.Semaphore(2)
    over = threading.Event()

    def serve(delivery, wire):
        with desk:
            threading.Event().wait(0.02)
        behave.echo(delivery, wire)

    def ask(number):
        told, n = set(), 0
        while not over.is_set():
            told.add(gateway.call("read" if n % 2 else "act", {"n": number * 10000 + n}).status)
            n += 1
        return told

    provider.behaviour = serve
    futures = [later(ask, number) for number in range(24)]
    until(lambda: gateway.metrics().sum("concurrency_limit", upstream="many") <= 2 * OWNERS, "it has been found out", 120)
    over.set()
    assert [future.result(60) for future in futures] == [{200}] * 24


def test_auto_is_all_workers_and_says_why(owned, provider, tmp_path, together):
    gateway = owned(owners="auto", concurrency="auto")
    shown = show(gateway)
    assert shown["owners"] == OWNERS and "so many workers" in shown["owners_because"], shown
    replies = together(lambda n: gateway.call("act" if n % 2 else "read", {"n": n}), range(24))
    assert {reply.status for reply in replies} == {200}
    reloaded(gateway, {"upstreams": {"many": {"health": {"tcp": True}, "concurrency": SLOTS, "pool": {"max": SLOTS}}}})
    until(lambda: show(gateway)["owners"] == 1, "one has it now")
    assert "each needs as many connections" in show(gateway)["owners_because"]
    replies = together(lambda n: gateway.call("act" if n % 2 else "read", {"n": n}), range(24, 48))
    assert {reply.status for reply in replies} == {200}
    assert len(provider.deliveries) == 48


def test_auto_is_told_before_it_runs(tmp_path):
    path = tmp_path / "auto.yaml"
    path.write_text(json.dumps({
        "workers": OWNERS,
        "upstreams": {"many": {"dialect": "rest", "owners": "auto", "endpoints": [{"url": "http://127.0.0.1:1"}]},
                      "one": {"dialect": "jsonrpc", "owners": "auto", "endpoints": [{"url": "http://127.0.0.1:1"}]}},
        "tools": {"read": {"upstream": "many"}, "array": {"upstream": "one"}}}))
    checked = jitney("check", "-c", path)
    assert checked.returncode == 0 and checked.stderr == "", checked
    assert "upstreams.many.owners: auto is 4 since there are so many workers\n" in checked.stdout
    assert "upstreams.one.owners: auto is 1 where calls share requests" in checked.stdout
    assert "sent by    4 workers" in jitney("explain", "-c", path, "read").stdout
    assert "sent by    1 worker. upstreams.one.owners: auto is 1 where calls share" in jitney("explain", "-c", path, "array").stdout


def test_none_of_them_starves(owned, provider, later):
    gateway = owned(concurrency=1, pool={"max": OWNERS})
    provider.behaviour = crowd = Crowd(0.002)

    def ask(number):
        return [gateway.call("read", {"n": number * 100 + n}).status for n in range(25)]

    futures = [later(ask, number) for number in range(16)]
    assert [future.result(60) for future in futures] == [[200] * 25] * 16
    assert crowd.most == 1
    assert len(provider.deliveries) == 16 * 25


def test_equal_calls_meet_whichever_worker_has_their_callers(owned, provider, later):
    gateway = owned()
    for tool in ("read", "kept"):
        provider.deliveries.clear()
        provider.hold()
        futures = [later(gateway.call, tool, {"q": "same"}) for _ in range(60)]
        gateway.until_metric("in_flight_requests", 60)
        provider.release()
        assert statuses(futures) == [200] * 60
        assert len(provider.deliveries) == 1, tool
    assert {gateway.call("kept", {"q": "same"}).header("cache-status").split(";")[1].strip() for _ in range(12)} == {"hit"}
    gateway.request("POST", "/admin/purge", "{}", {"Content-Type": "application/json"}, "admin")


def test_writes_are_sent_once_each(owned, provider, later):
    gateway = owned()
    futures = [later(gateway.call, "act", {"q": "same"}) for _ in range(60)]
    assert statuses(futures) == [200] * 60
    assert len(provider.deliveries) == 60


def test_the_queue_is_one_for_all(owned, provider, later):
    gateway = owned(concurrency=1, queue={"items": 10})
    provider.hold()
    futures = [later(gateway.call, "read", {"n": n}) for n in range(40)]
    until(lambda: gateway.metrics().sum("rejected_total", reason="queue_items") == 29, "29 have been refused")
    assert show(gateway)["waiting"] == 10
    provider.release()
    assert statuses(futures) == [200] * 11 + [503] * 29


def test_a_pause_is_everybodys(owned, provider, together):
    gateway = owned()
    provider.next(behave.status(429, Retry_After="120"))
    assert gateway.call("act", {"n": 0}).status == 429
    replies = together(lambda n: gateway.call("act" if n % 2 else "read", {"n": n}), range(1, 25))
    assert {reply.status for reply in replies} == {429}
    assert len(provider.deliveries) == 1


def all_know(gateway, provider, together):
    """Calls of two tools have come to every worker, most likely."""
    together(lambda n: gateway.call("act" if n % 2 else "read", {"n": n}), range(1000, 1128))
    provider.deliveries.clear()


@pytest.mark.parametrize("owners", [1, OWNERS])
def test_a_tools_pause_is_everybodys_too(owned, provider, together, owners):
    gateway = owned(owners=owners)
    all_know(gateway, provider, together)
    provider.next(behave.status(503, Retry_After="60"))     # counts for 5 s, of one tool
    assert gateway.call("act", {"n": 0}, X_Request_Timeout_Ms="3000").status != 200
    replies = together(lambda n: gateway.call("act", {"n": n}, X_Request_Timeout_Ms="1000"), range(1, 25))
    assert 200 not in {reply.status for reply in replies}
    assert len(provider.deliveries) == 1
    assert gateway.call("read", {"n": 0}).status == 200


@pytest.mark.parametrize("before, after", [(1, OWNERS), (OWNERS, 1), (2, OWNERS), (OWNERS, 2)])
def test_a_pause_outlives_another_number_of_owners(owned, provider, together, before, after):
    gateway = owned(owners=before)
    provider.next(behave.status(429, Retry_After="120"))
    assert gateway.call("act", {"n": 0}).status == 429
    reloaded(gateway, {"upstreams": {"many": {"owners": after}}})
    until(lambda: show(gateway)["owners"] == after, "it is in force")
    replies = together(lambda n: gateway.call("act" if n % 2 else "read", {"n": n}), range(1, 25))
    assert {reply.status for reply in replies} == {429}
    assert len(provider.deliveries) == 1


def test_a_pause_that_was_asked_for_of_the_one_before_counts_for_all(owned, provider, together, later):
    """A secret is rotated while a call is under way: its answer is heard by what it began with."""
    gateway = owned()
    provider.next(behave.status(429, Retry_After="120"))
    provider.hold()
    first = later(gateway.call, "act", {"n": 0})
    provider.until_deliveries(1)
    reloaded(gateway, {"upstreams": {"many": {"headers": {"X-Secret": "another"}}}})
    provider.release()
    assert first.result(30).status == 429
    replies = together(lambda n: gateway.call("act" if n % 2 else "read", {"n": n}), range(1, 25))
    assert {reply.status for reply in replies} == {429}
    assert len(provider.deliveries) == 1


@pytest.mark.parametrize("owners", [1, OWNERS])
def test_a_rate_is_one_for_all(owned, provider, together, owners):
    """Forty an hour, of which four may come at once, and the next one a minute and a half later."""
    gateway = owned(owners=owners, rate={"requests": "40/h"})
    replies = together(lambda n: gateway.call("act" if n % 2 else "read", {"n": n}, X_Request_Timeout_Ms="20000"), range(24))
    assert sorted(reply.status for reply in replies) == [200] * 4 + [429] * 20
    assert len(provider.deliveries) == 4


def test_who_waits_for_a_rate_is_served_by_whichever_worker(owned, provider, together):
    gateway = owned(rate={"requests": "100/s"}, concurrency=50, pool={"max": 50 * OWNERS})
    replies = together(lambda n: gateway.call("act" if n % 2 else "read", {"n": n}), range(64))
    assert {reply.status for reply in replies} == {200}
    assert len(provider.deliveries) == 64


@pytest.mark.parametrize("before, after", [(1, OWNERS), (OWNERS, 1), (2, OWNERS)])
def test_what_was_spent_of_a_rate_is_spent_for_another_number_of_owners(owned, provider, together, before, after):
    gateway = owned(owners=before, rate={"requests": "40/h"})
    replies = together(lambda n: gateway.call("act", {"n": n}, X_Request_Timeout_Ms="20000"), range(3))
    assert {reply.status for reply in replies} == {200}
    reloaded(gateway, {"upstreams": {"many": {"owners": after}}})
    until(lambda: show(gateway)["owners"] == after, "it is in force")
    replies = together(lambda n: gateway.call("act" if n % 2 else "read", {"n": n}, X_Request_Timeout_Ms="20000"), range(3, 27))
    assert sorted(reply.status for reply in replies) == [200] + [429] * 23
    assert len(provider.deliveries) == 4


def checked(delivery):
    return delivery.path == "/well"


def test_one_of_them_makes_the_checks(owned, provider, together):
    """A check that is not answered has no other beside it: one worker asks, or there would be four."""
    over = threading.Event()

    def behaviour(delivery, wire):
        if checked(delivery):
            over.wait(60)
        behave.echo(delivery, wire)

    provider.behaviour = behaviour
    gateway = owned(health={"path": "/well", "interval": "50ms", "timeout": "60s"})
    replies = together(lambda n: gateway.call("act", {"n": n}), range(24))      # all of them know the upstream
    assert {reply.status for reply in replies} == {200}
    until(lambda: any(checked(delivery) for delivery in provider.deliveries), "a check is made")
    threading.Event().wait(1)
    assert sum(checked(delivery) for delivery in provider.deliveries) == 1
    over.set()
    until(lambda: sum(checked(delivery) for delivery in provider.deliveries) > 3, "it goes on")


def test_what_one_finds_by_its_checks_all_believe(owned, provider, other, together):
    well = threading.Event()
    well.set()

    def behaviour(delivery, wire):
        if checked(delivery) and not well.is_set():
            return behave.status(503)(delivery, wire)
        return behave.echo(delivery, wire)

    def seen():
        return sum(not checked(delivery) for delivery in other.deliveries)

    def ask(first):
        replies = together(lambda n: gateway.call("act" if n % 2 else "read", {"n": n}), range(first, first + 48))
        assert {reply.status for reply in replies} == {200}

    provider.behaviour, other.behaviour = behave.echo, behaviour
    gateway = owned(endpoints=[{"url": provider.url("/many")}, {"url": other.url("/many")}], balance="round_robin",
                    health={"path": "/well", "interval": "50ms", "fall": 2, "rise": 2})
    ask(0)
    assert seen()
    well.clear()
    until(lambda: show(gateway)["endpoints"][1]["state"] == "failed_check", "the checks have failed")
    before = seen()
    ask(100)
    assert seen() == before
    assert [line["state"] for line in gateway.events("endpoint_state")] == ["failed_check"]    # one of them tells
    well.set()
    until(lambda: show(gateway)["endpoints"][1]["state"] == "up", "they are good again")
    until(lambda: ask(200 + 48 * len(provider.deliveries)) or seen() > before, "calls go there again")


def test_what_leaves_the_line_stands_in_nobodys_way(owned, provider, later):
    gateway = owned(concurrency=1, pool={"max": OWNERS})
    provider.hold()
    first = later(gateway.call, "act", {"n": 0})
    provider.until_deliveries(1)
    hurried = [later(gateway.call, "act", {"n": n}, X_Request_Timeout_Ms="300") for n in range(1, 20)]
    assert 200 not in statuses(hurried)
    patient = [later(gateway.call, "act", {"n": n}) for n in range(20, 40)]
    gateway.until_metric("batch_waiting_items", 20, upstream="many")
    provider.release()
    assert statuses([first, *patient]) == [200] * 21


def test_reloads_change_the_number_while_calls_run(owned, provider, later):
    gateway = owned()
    provider.behaviour = crowd = Crowd(0.002)
    flood = Flood(gateway, later)
    for turn, _ in enumerate(pulse(3)):
        write(gateway, {"upstreams": {"many": {"concurrency": 2 + turn % 4, "pool": {"max": 20}}}})
        assert reload(gateway)[0] == 200
    reloaded(gateway, {"upstreams": {"many": {"concurrency": 2}}})
    gateway.until_metric("concurrency_limit", 2, upstream="many")
    until(lambda: crowd.begin() or crowd.now <= 2, "those of before have ended")
    threading.Event().wait(0.5)
    flood.end(provider)
    assert crowd.most <= 2


def test_reloads_change_who_owns_it_while_calls_run(owned, provider, later):
    gateway = owned()
    flood = Flood(gateway, later)
    for turn, _ in enumerate(pulse(3)):
        write(gateway, {"upstreams": {"many": {"owners": 1 + turn % OWNERS}}})
        assert reload(gateway)[0] == 200
    flood.end(provider)
    gateway.until_metric("batch_in_flight", 0, upstream="many")
    assert gateway.call("act", {"n": -1}).status == 200


def test_a_stop_sends_nothing_more(owned, provider, later):
    gateway = owned()
    reloaded(gateway, {"drain_timeout": "1s"})
    provider.hold()
    futures = [later(gateway.call, "act", {"n": n}) for n in range(40)]
    gateway.until_metric("batch_waiting_items", 40 - SLOTS, upstream="many")
    gateway.signal(signal.SIGTERM)
    assert statuses(futures) == [502] * SLOTS + [503] * (40 - SLOTS)
    assert gateway.wait() == 0
    gateway.ended_by_test = True
    assert len(provider.deliveries) == SLOTS


def test_more_owners_than_workers_are_the_workers(owned):
    gateway = owned(owners=64)
    assert show(gateway)["owners"] == OWNERS
    assert gateway.call("read", {"n": 1}).status == 200


def test_a_dead_provider_is_told_by_all_and_comes_back(owned, provider, together):
    gateway = owned()
    provider.stop()
    assert {reply.status for reply in together(lambda n: gateway.call("act", {"n": n}), range(24))} <= {502, 503}
    provider.start()
    until(lambda: {reply.status for reply in together(lambda n: gateway.call("read", {"n": n}), range(24))} == {200},
          "all of them reach it again")
