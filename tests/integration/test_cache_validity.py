# SPDX-License-Identifier: Apache-2.0
"""One rule for whether an answer still counts: policies of today, the caller's limits, purges that are lost, late, forged."""
import ctypes
import json
import struct
import time

import pytest

from harness import provider as behave
from harness.poll import until
from harness.redis import SERVER
from test_cache import verdict
from test_cache_policy import ttl
from test_disk import up as on_disk
from test_fleet import TAGGED, in_memory, key_of, purge
from test_redis import detail, stored, tier, up, values

needs_redis = pytest.mark.skipif(SERVER is None, reason="no redis-server")
HEAD_BYTES = 128
PURGED_AT = HEAD_BYTES - 7  # of the number of purges in a stored value's head
DAY = {"cached": {"cache": {"ttl": "30d", "scope": "shared"}}}


def knows(gateway):
    until(lambda: gateway.metrics().sum("redis_up") == 1, "every worker has Redis")
    until(lambda: gateway.metrics().sum("redis_purges_known") == 1, "it has read the list of purges")
    return gateway


# ---- the policy of today ----

@needs_redis
def test_a_shorter_ttl_holds_for_what_redis_has(start, redis, provider):
    up(start({**tier(redis.url), "tools": DAY})).call("cached", {"q": 1})
    stored(redis)
    shorter = up(start({**tier(redis.url), "tools": {"cached": {"cache": {"ttl": "1h", "scope": "shared"}}}}))
    reply = shorter.call("cached", {"q": 1})
    assert (verdict(reply), detail(reply)) == ("hit", "redis") and ttl(reply) <= 3600
    gone = up(start({**tier(redis.url), "tools": {"cached": {"cache": {"ttl": "1s", "scope": "shared"}}}}))
    until(lambda: verdict(gone.call("cached", {"q": 1}, cache_control="only-if-cached")) != "hit", "past its time")


def test_a_shorter_ttl_holds_for_what_the_disk_has(start, tmp_path, provider):
    settings = {"cache": {"disk": {"path": str(tmp_path / "kept"), "timeout": "5s"}}}
    first = on_disk(start({**settings, "tools": DAY}))
    first.call("cached", {"q": 1})
    first.stop()
    shorter = on_disk(start({**settings, "tools": {"cached": {"cache": {"ttl": "10m", "scope": "shared"}}}}))
    reply = shorter.call("cached", {"q": 1})
    assert verdict(reply) == "hit" and ttl(reply) <= 600


# ---- the caller's limits, of a failing provider too ----

@pytest.mark.parametrize("limits", ["max-stale=0", "max-age=0", "min-fresh=60", "min-fresh=0"])
def test_limits_hold_when_the_provider_fails(start, provider, limits):
    gateway = start({"tools": {"cached": {"cache": {"ttl": "50ms", "stale_if_error": "1h"}}}})
    provider.next(behave.answering("old"))
    gateway.call("cached")
    until(lambda: gateway.call("cached", cache_control="only-if-cached").status == 504, "the answer has expired")
    provider.behaviour = behave.status(500)
    assert gateway.call("cached").status == 200
    assert gateway.call("cached", cache_control="max-age=600").status == 200
    assert gateway.call("cached", cache_control=limits).status != 200


def test_a_purge_reaches_what_is_held_for_a_failure(start, provider, later):
    gateway = start({"tools": {"cached": {"cache": {"ttl": "50ms", "stale_if_error": "1h"}}}})
    provider.next(behave.answering("secret"))
    gateway.call("cached")
    until(lambda: gateway.call("cached", cache_control="only-if-cached").status == 504, "the answer has expired")
    provider.behaviour = behave.status(500)
    assert b"secret" in gateway.call("cached").body
    provider.hold()
    slow = later(gateway.call, "cached")
    until(lambda: len(provider.deliveries) == 3, "it is under way, the old answer in hand")
    assert purge(gateway, "").status == 200
    provider.release()
    assert (slow.result(20).status, slow.result(20).code) == (502, "upstream_error")


def test_age_begins_with_the_providers(start, provider):
    gateway = start({"tools": {"cached": {"cache": {"ttl": "1h", "scope": "shared", "provider_headers": True}}}})
    def aged(delivery, wire):
        found = [{"jsonrpc": "2.0", "id": call["id"], "result": 1} for call in delivery.calls]
        many = isinstance(json.loads(delivery.body), list)
        wire.answer(json.dumps(found if many else found[0]).encode(),
                    headers=[("Cache-Control", "max-age=600"), ("Age", "500")])

    provider.behaviour = aged
    gateway.call("cached", {"q": 1})
    reply = gateway.call("cached", {"q": 1})
    assert verdict(reply) == "hit" and 500 <= int(reply.header("age")) <= 505 and ttl(reply) <= 100
    assert verdict(gateway.call("cached", {"q": 1}, cache_control="max-age=60")) != "hit"


# ---- a purge covers what it names ----

def test_a_purge_of_one_tool_lets_the_others_fetches_be_kept(start, provider, later):
    gateway = start(TAGGED)
    provider.hold()
    slow = later(gateway.call, "cached", {"q": 1})
    until(lambda: len(provider.deliveries) == 1, "under way")
    for _ in range(5):
        assert purge(gateway, "?tool=other").status == 200
    provider.release()
    assert "stored" in slow.result(20).header("cache-status")
    assert verdict(gateway.call("cached", {"q": 1})) == "hit"


@needs_redis
@pytest.mark.parametrize("tracking", [True, False])
def test_a_purge_of_one_tool_leaves_the_others_in_redis(start, redis, provider, tracking):
    one = knows(start({**tier(redis.url, tracking=tracking), **TAGGED, }))
    for number in range(20):
        one.call("cached", {"q": number})
    stored(redis, 20)
    one.stop()
    other = knows(start({**tier(redis.url, tracking=tracking), **TAGGED}))
    assert purge(other, "?tool=other").json() == {"purged": 0, "fleet": "published"}
    assert [detail(other.call("cached", {"q": number})) for number in range(20)] == ["redis"] * 20
    assert len(provider.calls) == 20


@needs_redis
def test_a_key_of_another_tool_stays(start, redis, provider):
    gateway = up(start({**tier(redis.url), **TAGGED}))
    gateway.call("cached", {"q": 1})
    stored(redis)
    assert purge(gateway, f"?tool=other&key={key_of(redis)}").json()["purged"] == 0
    assert len(values(redis)) == 1 and verdict(gateway.call("cached", {"q": 1})) == "hit"
    assert purge(gateway, f"?tool=cached&key={key_of(redis)}").json()["purged"] == 1
    assert verdict(gateway.call("cached", {"q": 1})) == "miss"


def test_a_key_that_is_none_is_told(gateway):
    assert purge(gateway, "?key=0b").status == 400


@needs_redis
def test_no_purge_of_a_hot_key_is_lost_to_a_look_up(start, redis, provider):
    gateway = knows(start({**tier(redis.url, tracking=False), **TAGGED}))
    gateway.call("cached", {"q": 1})
    key = key_of(redis) if stored(redis) else None
    for round_ in range(60):
        provider.behaviour = behave.answering(round_)
        assert purge(gateway, f"?key={key}").status == 200
        assert gateway.call("cached", {"q": 1}).body == str(round_).encode()
        assert gateway.call("cached", {"q": 1}).body == str(round_).encode()


# ---- a list that is lost, and gateways that do not hear ----

def hears_by_asking(one, deaf, query):
    until(lambda: detail(deaf.call("cached", {"q": 1})) in ("redis", "memory"), "it has it")
    assert purge(one, query).json()["fleet"] == "published"
    purged = time.monotonic()

    def has_asked():
        """What is asked for later than that is new, however late it is answered."""
        began = time.monotonic()
        new = verdict(deaf.call("cached", {"q": 1})) == "miss"
        assert new or began < purged + 1.2
        return new

    until(has_asked, "it has asked")


@needs_redis
@pytest.mark.parametrize("rights", ["-client|tracking", "-subscribe"])
@pytest.mark.parametrize("query", ["?tool=cached", "?key={key}"])
def test_a_gateway_that_may_not_track_hears_of_purges_by_asking(start, redis, provider, rights, query):
    redis.ask("ACL", "SETUSER", "deaf", "on", ">secret", "~jitney:*", "&*", "+@all", rights)
    one = up(start({**tier(redis.url), **TAGGED}))
    deaf = knows(start({**tier(redis.url.replace("//", "//deaf:secret@"), untracked_ttl="1s"), **TAGGED}))
    one.call("cached", {"q": 1})
    stored(redis)
    hears_by_asking(one, deaf, query.format(key=key_of(redis)))


@needs_redis
@pytest.mark.slow
def test_purges_are_asked_for_between_attempts_to_track(start, redis, provider):
    """Each attempt reads the list too, but they come less and less often: after three seconds, three seconds apart."""
    redis.ask("ACL", "SETUSER", "deaf", "on", ">secret", "~jitney:*", "&*", "+@all", "-client|tracking")
    one = up(start({**tier(redis.url), **TAGGED}))
    deaf = knows(start({**tier(redis.url.replace("//", "//deaf:secret@"), untracked_ttl="1s"), **TAGGED}))
    begun = time.monotonic()
    while time.monotonic() < begun + 5:
        one.call("cached", {"q": 1})
        hears_by_asking(one, deaf, "?tool=cached")


@needs_redis
def test_an_answer_whose_writer_knew_of_more_purges_has_the_list_read(start, redis, provider):
    """By who does not hear of them, and would read it in half an hour."""
    one = up(start({**tier(redis.url), **TAGGED}))
    deaf = knows(start({**tier(redis.url, tracking=False, untracked_ttl="1h"), **TAGGED}))
    assert purge(one, "?tool=echo").json()["fleet"] == "published"
    one.call("cached", {"q": 1})
    stored(redis)
    until(lambda: deaf.call("cached", {"q": 1}, cache_control="only-if-cached").status == 200, "it is believed")
    assert len(provider.calls) == 1


@needs_redis
def test_a_list_that_is_evicted_is_told_again_by_who_knows_it(start, redis, provider):
    one = up(start({**tier(redis.url), **TAGGED}))
    one.call("cached", {"q": 1})
    name = stored(redis)[0]
    old, life = redis.ask("GET", name), redis.ask("PTTL", name)
    purge(one, "?tool=cached")
    number = redis.ask("ZSCORE", "jitney:1:purges", "tool=cached\n")
    redis.ask("DEL", "jitney:1:purges")  # as an eviction would
    until(lambda: redis.ask("ZSCORE", "jitney:1:purges", "tool=cached\n") == number, "told once more, under its number")
    redis.ask("SET", name, old, "PX", life)
    assert verdict(up(start({**tier(redis.url), **TAGGED})).call("cached", {"q": 1})) == "miss"


@needs_redis
def test_a_list_that_nobody_knows_any_more_refuses_everything_older(start, redis, provider):
    one = up(start({**tier(redis.url), **TAGGED}))
    one.call("cached", {"q": 1})
    old = redis.ask("GET", stored(redis)[0])
    name = values(redis)[0]
    purge(one, "?tool=cached")
    one.stop()
    redis.ask("DEL", "jitney:1:purges")
    redis.ask("SET", name, old, "PX", 3_000_000)
    other = up(start({**tier(redis.url), **TAGGED}))
    assert verdict(other.call("cached", {"q": 1})) == "miss"


@needs_redis
def test_a_key_purged_while_redis_is_away_is_not_served_when_it_is_back(start, run_redis, tmp_path, provider):
    redis = run_redis("--appendonly", "yes", "--appendfsync", "always")
    gateway = up(start({**tier(redis.url), **TAGGED}))
    gateway.call("cached", {"q": 1})
    key = key_of(redis) if stored(redis) else None
    redis.kill()
    until(lambda: gateway.metrics().sum("redis_tracking") == 0, "noticed")
    assert purge(gateway, f"?key={key}").json()["fleet"] == "pending"
    provider.behaviour = behave.answering("new")
    redis.start()
    seen = set()
    until(lambda: seen.add(gateway.call("cached", {"q": 1}).body) or gateway.metrics().sum("redis_tracking") == 1, "back")
    assert seen == {b'"new"'}
    until(lambda: gateway.metrics().sum("redis_purges_total", direction="sent") == 1, "told")


@needs_redis
def test_what_is_purged_again_while_redis_is_away_is_told_once(start, run_redis):
    """The list, read when Redis is back, has the first one: that is no reason to say the second one twice."""
    redis = run_redis("--appendonly", "yes", "--appendfsync", "always")
    gateway = up(start({**tier(redis.url), **TAGGED}))
    gateway.call("cached", {"q": 1})
    key = key_of(redis) if stored(redis) else None
    assert purge(gateway, f"?key={key}").json()["fleet"] == "published"
    redis.kill()
    until(lambda: gateway.metrics().sum("redis_tracking") == 0, "noticed")
    assert purge(gateway, f"?key={key}").json()["fleet"] == "pending"
    redis.start()
    until(lambda: gateway.metrics().sum("redis_purges_total", direction="sent") >= 2, "told")
    purge(gateway, "?tool=echo")
    until(lambda: redis.ask("ZSCORE", "jitney:1:purges", "tool=echo\n"), "and so is what comes after it")
    until(lambda: gateway.metrics().sum("redis_purges_total", direction="sent") >= 3, "counted")
    assert gateway.metrics().sum("redis_purges_total", direction="sent") == 3


@pytest.mark.parametrize("query, status, then", [
    ("?tag=user%3A42", 200, "miss"), ("?tag=user:42", 200, "miss"), ("?prefix=c%61", 200, "miss"),
    ("?tag=user%3", 400, "hit"), ("?tag=user%zz", 400, "hit"), ("?tag=user%0A", 400, "hit"), ("?tag=" + 300 * "%61", 400, "hit"),
    ("?tag=" + 300 * "a", 400, "hit"), ("?tag=" + 252 * "a", 400, "hit"), ("?tag=" + 251 * "a", 200, "hit"),
    ("?prefix=c&tag=" + 245 * "a", 400, "hit")])
def test_a_purge_is_read_as_clients_write_it(start, query, status, then):
    gateway = start({"tools": {"cached": {"cache": {"ttl": "1h", "scope": "shared", "tags": ["user:42"]}}}})
    gateway.call("cached", {"q": 1})
    assert purge(gateway, query).status == status
    assert verdict(gateway.call("cached", {"q": 1})) == then


def of_one_set(names, count):
    """So many keys that a gateway remembers in one place of its table of purged keys (cache/purges.c)."""
    sets = {}
    for name in names:
        digest = bytes.fromhex(name.decode().rpartition(":")[2])
        sets.setdefault((digest[0] | digest[1] << 8) % 1024, []).append(digest.hex())
    return next((keys for keys in sets.values() if len(keys) >= count), None)


@needs_redis
def test_more_purged_keys_than_are_remembered_do_not_come_back_with_an_old_redis(start, run_redis, provider):
    redis = run_redis()
    gateway = up(start({**tier(redis.url), **TAGGED}))
    asked, keys = 0, None
    while not keys:
        for asked in range(asked, asked + 200):
            gateway.call("cached", {"q": asked})
        asked += 1
        keys = of_one_set(stored(redis, asked), 5)
    redis.ask("SAVE")
    for key in keys:
        assert purge(gateway, f"?key={key}").json()["fleet"] == "published"
    redis.kill()
    until(lambda: gateway.metrics().sum("redis_tracking") == 0, "noticed")
    provider.behaviour = behave.answering("new")
    redis.start()
    up(gateway)
    bodies = [gateway.call("cached", {"q": number}).body for number in range(asked)]
    assert bodies.count(b'"new"') >= len(keys)


@pytest.mark.parametrize("query", ["", "?tool=cached", "?tag=news"])
def test_who_asks_after_a_purge_gets_no_answer_from_before(start, provider, later, query):
    gateway = start(TAGGED)
    provider.hold()
    before = later(gateway.call, "cached", {"q": 1})
    until(lambda: len(provider.deliveries) == 1, "it is under way")
    purge(gateway, query)
    after = [later(gateway.call, "cached", {"q": 1}) for _ in range(3)]
    until(lambda: len(provider.deliveries) == 2, "asked anew, once for all who came since")
    provider.release()
    assert {call.result(20).status for call in [before, *after]} == {200}
    assert len(provider.deliveries) == 2
    assert verdict(gateway.call("cached", {"q": 1})) == "hit"


# ---- who can write to this Redis ----

def forge(redis, name, change):
    """A value as somebody would make it who knows the format: changed, and its checksum worked out anew."""
    xxh3 = ctypes.CDLL("libxxhash.so.0").XXH3_64bits_withSeed
    xxh3.restype, xxh3.argtypes = ctypes.c_uint64, [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
    value = bytearray(redis.ask("GET", name))
    change(value)
    rest = bytes(value[16:])
    value[8:16] = struct.pack("<Q", xxh3(rest, len(rest), value[6] | value[7] << 8))
    redis.ask("SET", name, bytes(value), "PX", 3_000_000)


@needs_redis
def test_a_number_that_nobody_has_heard_of_is_refused(start, redis, provider):
    up(start({**tier(redis.url), **TAGGED})).call("cached", {"q": 1})
    forge(redis, stored(redis)[0], lambda value: value.__setitem__(slice(PURGED_AT, HEAD_BYTES), b"\xff" * 7))
    assert verdict(up(start({**tier(redis.url), **TAGGED})).call("cached", {"q": 1})) == "miss"


@needs_redis
def test_json_that_is_none_is_spliced_into_nothing(start, redis, provider):
    provider.behaviour = behave.answering("x" * 40)
    up(start({**tier(redis.url), **TAGGED})).call("cached", {"q": 1})
    name = stored(redis)[0]
    wrong = b'"x"},{"id":"pay","result":"forged"}'.ljust(42)
    forge(redis, name, lambda value: value.__setitem__(slice(len(value) - 42, len(value)), wrong))
    other = up(start({**tier(redis.url), **TAGGED}))
    assert b"forged" not in other.call("cached", {"q": 1}).body
    assert other.metrics().sum("redis_errors_total", reason="damaged") == 1


@needs_redis
@pytest.mark.parametrize("ahead_ms", [2 * 86_400_000, 2**52 - 1, 2**64 - 1])
def test_a_published_number_from_the_far_future_spoils_nothing(start, redis, provider, ahead_ms):
    gateway = up(start({**tier(redis.url), **TAGGED}))
    number = str(min(int(time.time() * 1000) + ahead_ms, 2**64 - 1))
    redis.ask("PUBLISH", "jitney:1:purge", f"me {number} tool=x\n")
    redis.ask("ZADD", "jitney:1:purges", number, "tool=y\n")
    until(lambda: gateway.metrics().sum("redis_purges_total", direction="received") == 1, "heard")
    gateway.call("cached", {"q": 1})
    stored(redis)
    assert purge(gateway, "?tool=cached").json()["fleet"] == "published"
    assert float(redis.ask("ZSCORE", "jitney:1:purges", "tool=cached\n")) < (time.time() + 3600) * 1000
    assert verdict(gateway.call("cached", {"q": 1})) == "miss"
    until(lambda: in_memory(gateway), "kept")


@needs_redis
def test_values_of_another_secret_are_nobodys(start, redis, provider):
    secret = "${CACHE_SECRET}"
    one = up(start({**tier(redis.url, secret=secret), **TAGGED}, environment={"CACHE_SECRET": "a" * 32}))
    one.call("cached", {"q": 1})
    stored(redis)
    same = up(start({**tier(redis.url, secret=secret), **TAGGED}, environment={"CACHE_SECRET": "a" * 32}))
    assert detail(same.call("cached", {"q": 1})) == "redis"
    for options in ({"secret": "b" * 32}, {}):
        other = up(start({**tier(redis.url, **options), **TAGGED}))
        assert verdict(other.call("cached", {"q": 1})) == "miss"
        assert other.metrics().sum("redis_errors_total", reason="foreign") + \
            other.metrics().sum("redis_errors_total", reason="damaged") == 1
        stored(redis)
    assert b"a" * 32 not in one.get("/admin/config", listener="admin").body


# ---- many at once ----

def batch(gateway, count):
    calls = [{"id": str(number), "tool": "cached", "arguments": {"q": number}} for number in range(count)]
    assert gateway.request("POST", "/v1/batch", json.dumps({"calls": calls})).status == 200


@needs_redis
@pytest.mark.parametrize("in_flight", [16, 512])
def test_a_batch_beyond_in_flight_finds_all_that_is_there(start, redis, provider, in_flight):
    options = {"in_flight": in_flight, "timeout": "2s"}
    one = up(start({**tier(redis.url, timeout="2s"), **TAGGED}))
    batch(one, 1000)
    stored(redis, 1000)
    other = up(start({**tier(redis.url), "tools": TAGGED["tools"],
                      "cache": {"redis": {"url": redis.url, **options}}}))
    before = len(provider.calls)
    batch(other, 1000)
    assert len(provider.calls) == before
    assert other.metrics().sum("redis_skipped_total", reason="busy") == 0


@needs_redis
def test_a_gateway_does_not_wait_for_its_own_leases(start, redis, provider):
    one = up(start({**tier(redis.url, in_flight=16, timeout="2s", lease="30s"), **TAGGED}))
    batch(one, 300)
    until(lambda: redis.keys("jitney:lease:*") == [], "all are released")


@needs_redis
def test_own_stores_stay_in_memory_however_many(start, redis, provider):
    one = up(start({**tier(redis.url, timeout="2s"), **TAGGED}))
    batch(one, 500)
    stored(redis, 500)
    until(lambda: one.metrics().sum("redis_invalidations_total") >= 500, "told of all")
    assert one.metrics().sum("cache_entries", tier="memory") == 500
