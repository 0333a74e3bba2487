# SPDX-License-Identifier: Apache-2.0
"""Two and three gateways over one Redis: what one replaces or purges leaves the memory of the others."""
import time

import pytest

from harness.gateway import SANITIZED
from harness.poll import until
from harness.redis import SERVER
from test_cache import verdict
from test_redis import detail, stored, tier, until_older_than_a_second, up, values

pytestmark = pytest.mark.skipif(SERVER is None, reason="no redis-server")

SOON_SECONDS = 5  # to wait for; what was measured is printed (pytest -s)
TAGGED = {"tools": {"cached": {"cache": {"ttl": "1h", "scope": "shared", "tags": ["news"]}},
                    "other": {"upstream": "array", "annotations": {"read_only": True, "idempotent": True},
                              "cache": {"ttl": "1h", "scope": "shared"}}}}


@pytest.fixture
def fleet(start, redis):
    """fleet(3) gives three gateways that hear of each other."""
    def run(count, changes=None, **options):
        made = [start({**tier(redis.url, **options), **TAGGED, **(changes or {})}) for _ in range(count)]
        return [up(gateway) for gateway in made]

    return run


def in_memory(gateway, tool="cached", arguments=None):
    """Without disturbing anything: nobody else is asked."""
    reply = gateway.call(tool, arguments or {"q": 1}, cache_control="only-if-cached")
    return reply.status == 200 and detail(reply) == "memory"


def entries(gateway):
    return gateway.metrics().sum("cache_entries", tier="memory")


def warm(gateways, redis, tool="cached", arguments=None):
    """One fetches, the others have it from Redis; all have it in memory."""
    before = len(values(redis))
    for gateway in gateways:
        assert gateway.call(tool, arguments or {"q": 1}).status == 200
        stored(redis, before + 1)
    for gateway in gateways:
        until(lambda: in_memory(gateway, tool, arguments), "it is in memory")


def leaves(gateways, began, what):
    for gateway in gateways:
        until(lambda: entries(gateway) == 0, what, SOON_SECONDS)
    print(f"\n{what}: {1000 * (time.monotonic() - began):.1f} ms, looking included")


def key_of(redis):
    return values(redis)[0].decode().rpartition(":")[2]


def purge(gateway, query):
    return gateway.request("DELETE", f"/admin/cache{query}", listener="admin")


@pytest.mark.parametrize("query", ["?key={key}", "?tool=cached", "?prefix=cac", "?tag=news", ""])
def test_a_purge_on_one_leaves_the_others(fleet, redis, provider, query):
    gateways = fleet(3)
    warm(gateways, redis)
    assert len(provider.calls) == 1
    old = redis.ask("GET", values(redis)[0])
    began = time.monotonic()
    assert purge(gateways[0], query.format(key=key_of(redis))).status == 200
    leaves(gateways, began, f"purge {query or 'of everything'}")
    # nor does anybody get it from Redis
    assert verdict(gateways[1].call("cached", {"q": 1})) == "miss"
    until(lambda: redis.ask("GET", stored(redis)[0]) != old, "the new one is shared")
    assert verdict(gateways[2].call("cached", {"q": 1})) == "hit"
    assert len(provider.calls) == 2
    assert gateways[0].metrics().sum("redis_purges_total", direction="sent") == 1
    assert gateways[1].metrics().sum("redis_purges_total", direction="received") == 1


def test_a_purge_touches_nothing_else(fleet, redis, provider):
    one, other = fleet(2)
    warm([one, other], redis)
    warm([one, other], redis, "other")
    purge(one, "?tag=news")
    until(lambda: entries(other) == 1, "gone")
    assert in_memory(one, "other") and in_memory(other, "other")
    assert len(values(redis)) == 2


def test_a_replaced_answer_leaves_the_others(fleet, redis, provider):
    one, other, third = fleet(3)
    warm([one, other, third], redis)
    until_older_than_a_second(one, "cached", {"q": 1})  # not one that was stored just now
    began = time.monotonic()
    assert one.call("cached", {"q": 1}, cache_control="no-cache").status == 200
    leaves([other, third], began, "replaced")
    assert in_memory(one)  # its own store is no news to it
    assert detail(other.call("cached", {"q": 1})) == "redis"
    assert len(provider.calls) == 2


def test_an_answer_replaced_at_once_leaves_the_others(fleet, redis, provider):
    one, other = fleet(2)
    warm([one, other], redis)
    began = time.time()
    until(lambda: time.time() > began + 0.001, "two answers of the same half millisecond count as one")
    assert one.call("cached", {"q": 1}, cache_control="no-cache").status == 200
    until(lambda: not in_memory(other) or None, "found to be another one", SOON_SECONDS)
    assert in_memory(one)


def test_own_stores_stay_in_memory(fleet, redis, provider):
    one, _ = fleet(2, {"workers": 2})
    for number in range(50):
        one.call("cached", {"q": number})
    stored(redis, 50)
    until(lambda: one.metrics().sum("redis_invalidations_total") == 50, "it was told of all")
    purge(one, "?tool=other")  # goes to Redis behind what it verifies, by the same connection
    one.until_metric("redis_purges_total", 1, direction="sent")
    assert entries(one) == 50


def test_a_value_removed_by_hand_leaves_memory(fleet, redis, provider):
    gateways = fleet(2)
    warm(gateways, redis)
    began = time.monotonic()
    redis.ask("DEL", values(redis)[0])
    leaves(gateways, began, "DEL by another")


def test_an_emptied_redis_empties_memory(fleet, redis, provider):
    gateways = fleet(2)
    warm(gateways, redis)
    began = time.monotonic()
    redis.ask("FLUSHALL")
    leaves(gateways, began, "FLUSHALL")
    purge(gateways[0], "?tool=cached")  # the numbers of purges begin anew, and hold
    warm(gateways, redis)


@pytest.mark.parametrize("name", ["jitney-subscriber", "jitney-publisher"])
def test_a_lost_connection_shortens_trust_and_is_made_anew(fleet, redis, provider, name):
    one, other = fleet(2, untracked_ttl="0s")
    warm([one, other], redis)
    clients = [line for line in redis.ask("CLIENT", "LIST").decode().splitlines() if f"name={name}" in line]
    assert len(clients) == 2
    for line in clients:
        redis.ask("CLIENT", "KILL", "ID", line.split()[0].partition("=")[2])
    until(lambda: other.events("redis_untracked") and one.events("redis_untracked"), "noticed")
    up(one), up(other)
    # what was in memory then is asked for anew: Redis still has it
    assert detail(other.call("cached", {"q": 1})) == "redis"
    assert detail(one.call("cached", {"q": 1})) == "redis"
    assert in_memory(one) and in_memory(other)
    assert len(provider.calls) == 1
    purge(one, "?tool=cached")
    until(lambda: entries(other) == 0, "heard again")


def test_memory_is_believed_for_a_while_without_redis(fleet, redis, provider):
    one, = fleet(1, untracked_ttl="2s")
    warm([one], redis)
    redis.freeze()
    until(lambda: one.metrics().sum("redis_tracking") == 0, "its silence is noticed")
    assert in_memory(one)
    until(lambda: not in_memory(one) or None, "not any more")
    redis.thaw()
    up(one)
    assert detail(one.call("cached", {"q": 1})) == "redis"
    assert len(provider.calls) == 1


def test_who_was_away_hears_of_the_purge_when_it_is_back(fleet, start, redis, provider):
    one, = fleet(1)
    warm([one], redis)
    purge(one, "?tag=news")
    late = up(start({**tier(redis.url), **TAGGED}))
    assert verdict(late.call("cached", {"q": 1})) == "miss"
    assert one.call("cached", {"q": 1}).status == 200  # the new one: a hit, or waited for
    assert len(provider.calls) == 2


def test_a_purge_without_redis_is_told_when_it_is_back(fleet, redis, provider):
    one, other = fleet(2)
    warm([one, other], redis)
    redis.freeze()
    until(lambda: one.metrics().sum("redis_tracking") + other.metrics().sum("redis_tracking") == 0, "silent")
    purge(one, "?tool=cached")
    assert entries(one) == 0
    redis.thaw()
    up(one), up(other)
    until(lambda: one.metrics().sum("redis_purges_total", direction="sent") == 1, "told")
    until(lambda: redis.ask("ZSCORE", "jitney:1:purges", "tool=cached\n"), "kept")
    assert verdict(other.call("cached", {"q": 1})) == "miss"
    assert len(provider.calls) == 2


@pytest.mark.parametrize("query", ["?key={key}", "?tool=cached", ""])
def test_a_fetch_under_way_is_not_kept(fleet, redis, provider, later, query):
    one, other = fleet(2)
    warm([one, other], redis)
    key = key_of(redis)
    provider.hold()
    slow = later(other.call, "cached", {"q": 1}, cache_control="no-cache")
    until(lambda: len(provider.deliveries) == 2, "it is under way")
    purge(one, query.format(key=key))
    until(lambda: other.metrics().sum("redis_purges_total", direction="received") == 1, "heard")
    provider.release()
    assert slow.result(20).status == 200
    until(lambda: entries(other) == 0, "what is purged is swept")
    assert verdict(one.call("cached", {"q": 1})) == "miss"
    assert len(provider.calls) == 3


def test_without_tracking_memory_keeps_to_its_end(start, redis, provider):
    one, other = [up(start({**tier(redis.url, tracking=False), **TAGGED})) for _ in range(2)]
    warm([one, other], redis)
    hears = up(start({**tier(redis.url), **TAGGED}))
    warm([hears], redis, "other")
    redis.ask("DEL", *values(redis))
    until(lambda: not in_memory(hears, "other") or None, "who tracks has heard of it")
    assert in_memory(one) and in_memory(other)
    purge(one, "?tool=cached")
    assert entries(one) == 0 and entries(other) == 1


# ---- one fetch for all ----

def spread(gateways, together, count):
    return together(lambda number: gateways[number % len(gateways)].call("cached", {"q": "same"}), range(count))


def held(redis):
    return redis.keys("jitney:lease:*")


def one_waits(one, other, redis, provider, later):
    """One fetches what another one asks for too, and the provider holds it."""
    provider.hold()
    first = later(one.call, "cached", {"q": 1})
    until(lambda: held(redis), "it fetches")
    second = later(other.call, "cached", {"q": 1})
    until(lambda: other.metrics().sum("redis_duration_seconds_count", command="lease") > 1, "it waits")
    return first, second


def test_many_identical_calls_reach_the_provider_once(fleet, redis, provider, together, later):
    gateways = fleet(3)
    provider.hold()
    calls = later(spread, gateways, together, 100 if SANITIZED else 500)
    until(lambda: len(provider.deliveries) == 1 and held(redis), "one fetches")
    until(lambda: sum(one.metrics().sum("redis_duration_seconds_count", command="lease") > 0 for one in gateways) == 3,
          "the others have asked")
    provider.release()
    replies = calls.result(60)
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body for reply in replies}) == 1
    assert len(provider.calls) == 1
    assert sum(one.metrics().sum("redis_leases_total", result="taken") for one in gateways) == 1
    assert sum(one.metrics().sum("redis_leases_total", result="waited") for one in gateways) == 2
    shared = [reply for reply in replies if "collapsed; detail=redis" in reply.header("cache-status")]
    assert shared and all(reply.header("etag") for reply in shared)
    assert not held(redis)


def test_an_answer_past_its_time_is_fetched_once_too(start, redis, provider, later):
    """It is there for when the provider fails: that must not be taken for what somebody has just fetched."""
    settings = {**tier(redis.url, lease="10s"), "tools": {"cached": {"cache": {"ttl": "50ms", "stale_if_error": "1h", "scope": "shared"}}}}
    one, other = (up(start(settings)) for _ in range(2))
    one.call("cached", {"q": 1})
    stored(redis)
    until(lambda: one.call("cached", {"q": 1}, cache_control="only-if-cached").status == 504, "it has expired")
    first, second = one_waits(one, other, redis, provider, later)
    assert len(provider.deliveries) == 2
    provider.release()
    assert [first.result(20).status, second.result(20).status] == [200, 200]


def test_who_holds_the_lease_and_dies_holds_nobody_up(fleet, redis, provider, later):
    one, other = fleet(2, lease="1s")
    provider.hold()
    later(quietly, one.call, "cached", {"q": 1})
    until(lambda: len(provider.deliveries) == 1 and held(redis), "it fetches")
    waits = later(other.call, "cached", {"q": 1})
    until(lambda: other.metrics().sum("redis_duration_seconds_count", command="lease") > 1, "it waits")
    one.ended_by_test = True
    one.process.kill()
    one.process.wait()
    one.process = None
    until(lambda: len(provider.deliveries) == 2, "the other one fetches")
    provider.release()
    assert waits.result(20).status == 200
    assert other.metrics().sum("redis_leases_total") == 1


def quietly(function, *arguments):
    try:
        function(*arguments)
    except OSError:
        pass


def test_a_slow_fetch_is_waited_for_no_longer_than_the_lease(fleet, redis, provider, later):
    one, other = fleet(2, lease="300ms")
    provider.hold()
    calls = [later(one.call, "cached", {"q": 1})]
    until(lambda: held(redis), "it fetches")
    calls.append(later(other.call, "cached", {"q": 1}))
    until(lambda: len(provider.deliveries) == 2, "the other one fetches too")
    provider.release()
    assert [call.result(20).status for call in calls] == [200, 200]


def test_a_fetch_that_fails_lets_the_next_one_try(fleet, redis, provider, later):
    one, other = fleet(2, lease="10s")
    provider.behaviour = lambda delivery, wire: wire.answer(b"", 500)
    first, second = one_waits(one, other, redis, provider, later)
    provider.release()
    assert first.result(20).status == 502 and second.result(20).status == 502
    until(lambda: not held(redis), "the lease is given back")


def test_redis_freezes_while_one_waits(fleet, redis, provider, later):
    one, other = fleet(2, lease="20s")
    calls = one_waits(one, other, redis, provider, later)
    redis.freeze()
    until(lambda: len(provider.deliveries) == 2, "no reply: it fetches at once")
    provider.release()
    assert [call.result(20).status for call in calls] == [200, 200]
    redis.thaw()


def test_the_lease_is_emptied_away(fleet, redis, provider, later):
    one, other = fleet(2, lease="20s")
    calls = one_waits(one, other, redis, provider, later)
    redis.ask("FLUSHALL")
    redis.ask("SCRIPT", "FLUSH")
    until(lambda: len(provider.deliveries) == 2, "it takes the lease")
    provider.release()
    assert [call.result(20).status for call in calls] == [200, 200]


def test_leases_can_be_off(fleet, redis, provider, later):
    one, other = fleet(2, lease="0s")
    provider.hold()
    calls = [later(one.call, "cached", {"q": 1})]
    until(lambda: len(provider.deliveries) == 1, "it fetches")
    calls.append(later(other.call, "cached", {"q": 1}))
    until(lambda: len(provider.deliveries) == 2, "so does the other one")
    provider.release()
    assert [call.result(20).status for call in calls] == [200, 200]
    assert one.metrics().sum("redis_leases_total") == 0


def test_without_the_right_to_run_scripts(fleet, redis, start, provider):
    redis.ask("ACL", "SETUSER", "plain", "on", ">secret", "~jitney:*", "&*", "+@all", "-@scripting")
    url = redis.url.replace("redis://", "redis://plain:secret@")
    one, other = [up(start({**tier(url), **TAGGED})) for _ in range(2)]
    warm([one, other], redis)
    until(lambda: one.events("redis_no_leases"), "said")
    for number in range(20):
        assert one.call("cached", {"q": number}).status == 200
    assert one.metrics().sum("redis_up") == 1
    assert one.events("redis_no_scripts")
    assert purge(one, "?tool=cached").json()["fleet"] == "published"
    until(lambda: entries(other) == 0, "heard")
    assert verdict(one.call("cached", {"q": 1})) == "miss"
    until(lambda: verdict(other.call("cached", {"q": 1})) == "hit", "the new one is shared")
