# SPDX-License-Identifier: Apache-2.0
"""The Redis tier: shared and kept answers, and a Redis that is away, frozen, full, wrong or lying: calls go on."""
import itertools
import json
import re
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import provider as behave
from harness.gateway import SANITIZED
from harness.poll import until
from harness.redis import SERVER, FakeRedis, polite
from test_cache import verdict

pytestmark = pytest.mark.skipif(SERVER is None, reason="no redis-server")

BUDGET_MS = 200 if SANITIZED else 50
GRACE = {"ttl": "1s", "scope": "shared", "stale_while_revalidate": "1h", "stale_if_error": "1h"}


@pytest.fixture
def fake():
    made = []

    def make(behaviour):
        made.append(FakeRedis(behaviour))
        return made[-1]

    yield make
    for one in made:
        one.finish()


def tier(url, **options):
    """For a Redis that is well: however busy the machine is, it is waited for."""
    return {"cache": {"redis": {"url": url, "timeout": "5s", **options}}}


def hasty(url, **options):
    """For one that is not."""
    return tier(url, timeout=f"{BUDGET_MS}ms", **options)


def up(gateway):
    """Every worker has Redis; where there is tracking, too: what is fetched before then is not kept."""
    until(lambda: gateway.metrics().sum("redis_up") == 1, "every worker has Redis")
    if gateway.config["cache"]["redis"].get("tracking", True):
        until(lambda: gateway.metrics().sum("redis_tracking") == 1, "it hears what others change")
    return gateway


def values(redis):
    return [name for name in redis.keys("jitney:1:*") if len(name) == len("jitney:1:") + 64]


def stored(redis, count=1):
    return until(lambda: len(values(redis)) == count and values(redis), f"{count} values in Redis")


def detail(reply):
    found = re.search(r"detail=(\w+)", reply.header("cache-status"))
    return found and found[1]


def errors(gateway, reason):
    return gateway.metrics().sum("redis_errors_total", reason=reason)


def output_bytes(redis):
    return int(re.search(rb"total_net_output_bytes:(\d+)", redis.ask("INFO", "stats"))[1])


# ---- what it is for ----

def test_answers_outlive_the_gateway(start, redis, provider):
    first = up(start(tier(redis.url)))
    body = first.call("cached", {"q": 1}).body
    stored(redis)
    first.stop()
    second = up(start(tier(redis.url)))
    reply = second.call("cached", {"q": 1})
    assert (verdict(reply), detail(reply), reply.body) == ("hit", "redis", body)
    ttl = int(re.search(r"ttl=(\d+)", reply.header("cache-status"))[1])
    assert 3600 * 0.9 - 30 <= ttl + int(reply.header("age")) <= 3600
    assert detail(second.call("cached", {"q": 1})) == "memory"
    assert len(provider.calls) == 1
    assert second.metrics().sum("cache_requests_total", tier="redis", result="hit") == 1


def test_two_gateways_share_answers(start, redis, provider):
    one, other = up(start(tier(redis.url))), up(start(tier(redis.url)))
    for number in range(20):
        one.call("cached", {"q": number})
    stored(redis, 20)
    for number in range(20):
        assert verdict(other.call("cached", {"q": number})) == "hit"
    assert len(provider.calls) == 20


def test_prefixes_keep_fleets_apart(start, redis, provider):
    one, other = up(start(tier(redis.url, prefix="a"))), up(start(tier(redis.url, prefix="b")))
    one.call("cached")
    until(lambda: redis.keys("a:1:*"), "a value")
    assert verdict(other.call("cached")) == "miss"
    assert len(provider.calls) == 2


def test_values_go_when_they_are_good_for_nothing(start, redis):
    gateway = up(start({**tier(redis.url), "tools": {"cached": {"cache": {"ttl": "20s", "stale_if_error": "10s"}}}}))
    gateway.call("cached")
    left = redis.ask("PTTL", stored(redis)[0])
    assert 27000 < left + 2000 and left <= 30000


def test_without_a_memory_tier_redis_serves(start, redis, provider):
    gateway = up(start({"cache": {"memory": {"size": 0}, **tier(redis.url)["cache"]}}))
    assert verdict(gateway.call("cached")) == "miss"
    stored(redis)
    assert [detail(gateway.call("cached")) for _ in range(3)] == ["redis"] * 3
    assert len(provider.calls) == 1


def test_long_answers_are_compressed(start, redis, provider):
    gateway = up(start(tier(redis.url, compress="1KiB")))
    text = "compress me, please. " * 5000
    gateway.call("cached", {"text": text})
    assert redis.ask("STRLEN", stored(redis)[0]) < len(text) * 2.5  # the key, which is the arguments, is not
    other = up(start(tier(redis.url)))
    assert verdict(other.call("cached", {"text": text})) == "hit"


def test_values_beyond_the_limit_are_not_stored(start, redis):
    gateway = up(start(tier(redis.url, max_value="1KiB", compress=0)))
    assert gateway.call("cached", {"text": "x" * 5000}).status == 200
    until(lambda: gateway.metrics().sum("redis_skipped_total", reason="too_large") == 1, "counted")
    assert values(redis) == []


# ---- wishes ----

def test_wishes_hold_for_redis_too(start, redis, provider):
    one = up(start(tier(redis.url)))
    one.call("cached", {"q": 1})
    stored(redis)
    other = up(start(tier(redis.url)))
    assert verdict(other.call("cached", {"q": 1}, cache_control="no-cache")) == "request"
    other = up(start(tier(redis.url)))
    assert verdict(other.call("cached", {"q": 1}, cache_control="no-store")) == "request"
    assert detail(other.call("cached", {"q": 1}, cache_control="only-if-cached")) == "redis"
    nothing = other.call("cached", {"q": 2}, cache_control="only-if-cached")
    assert (nothing.status, json.loads(nothing.body)["code"]) == (504, "not_cached")
    before = len(provider.calls)
    other.call("cached", {"q": 3}, cache_control="no-store")
    assert len(provider.calls) == before + 1
    assert len(values(redis)) == 1


def until_older_than_a_second(gateway, tool="cached", arguments=None):
    """What it holds is: it says so itself, and asks nobody else for it."""
    until(lambda: gateway.call(tool, arguments or {}, cache_control="only-if-cached, max-age=1").status == 504,
          "the answer is older than a second")


def test_max_age_looks_at_the_age_of_what_redis_has(start, redis, provider):
    one = up(start(tier(redis.url)))
    one.call("cached")
    stored(redis)
    until_older_than_a_second(one)
    other = up(start(tier(redis.url)))
    assert verdict(other.call("cached", cache_control="max-age=1")) == "request"
    assert len(provider.calls) == 2


# ---- grace ----

def test_stale_in_redis_is_served_and_refreshed_once(start, redis, provider):
    one = up(start({**tier(redis.url), "tools": {"cached": {"cache": GRACE}}}))
    one.call("cached")
    stored(redis)
    until_older_than_a_second(one)
    one.stop()
    other = up(start({**tier(redis.url), "tools": {"cached": {"cache": {**GRACE, "ttl": "1h"}}}}))
    reply = other.call("cached")
    assert (verdict(reply), detail(reply)) == ("hit", "redis")
    assert "ttl=-" in reply.header("cache-status")
    until(lambda: len(provider.calls) == 2, "one refresh")
    until(lambda: "ttl=-" not in other.call("cached").header("cache-status"), "the new answer")
    assert len(provider.calls) == 2


def test_stale_if_error_from_redis(start, redis, provider):
    one = up(start({**tier(redis.url), "tools": {"cached": {"cache": {**GRACE, "stale_while_revalidate": 0}}}}))
    body = one.call("cached").body
    stored(redis)
    until_older_than_a_second(one)
    one.stop()
    other = up(start({**tier(redis.url), "tools": {"cached": {"cache": {**GRACE, "stale_while_revalidate": 0}}}}))
    provider.behaviour = lambda delivery, wire: wire.answer(b"", 500)
    reply = other.call("cached")
    assert (reply.status, reply.body, detail(reply)) == (200, body, "redis")
    assert len(provider.deliveries) >= 2


# ---- together ----

def test_calls_that_come_during_the_look_up_share_it(start, fake, provider, together):
    gate = threading.Event()

    def hold_gets(words):
        if words[0] == b"GETRANGE":
            gate.wait(5)
        return polite(words)

    server = fake(hold_gets)
    gateway = up(start(tier(server.url, tracking=False)))
    release = threading.Timer(0.3, gate.set)
    release.start()
    replies = together(lambda number: gateway.call("cached", {"q": 1}), range(8))
    assert {reply.status for reply in replies} == {200}
    assert len(provider.calls) == 1
    assert sum(words[0] == b"GETRANGE" for words in server.commands) == 1


def test_a_call_in_a_hurry_leaves_the_look_up(start, fake, provider):
    server = fake(lambda words: None if words[0] == b"GETRANGE" else polite(words))
    gateway = up(start(tier(server.url, tracking=False)))
    reply = gateway.call("cached", x_request_timeout_ms="100")
    assert (reply.status, json.loads(reply.body)["code"]) == (504, "deadline_exceeded")
    assert provider.calls == []


def test_a_purge_during_the_look_up_wins(start, redis, provider):
    one = up(start(tier(redis.url)))
    one.call("cached")
    key = stored(redis)[0].decode().rpartition(":")[2]
    one.request("DELETE", f"/admin/cache?key={key}", listener="admin")
    until(lambda: not values(redis), "gone from Redis")
    assert verdict(one.call("cached")) == "miss"
    stored(redis)
    one.request("DELETE", "/admin/cache?tool=cached", listener="admin")
    assert verdict(one.call("cached")) == "miss"
    assert len(provider.calls) == 3


# ---- when it is not well ----

def calls_go_on(gateway, provider, first=1000, count=20):
    """Fresh keys, each answered; none held up for longer than a generous multiple of the budget."""
    before, slowest = len(provider.calls), 0
    for number in range(first, first + count):
        began = time.monotonic()
        reply = gateway.call("cached", {"n": number})
        slowest = max(slowest, time.monotonic() - began)
        assert (reply.status, verdict(reply)) == (200, "miss")
    assert len(provider.calls) == before + count
    assert slowest < 5


def in_use_again(gateway, redis, number):
    def hit():
        gateway.call("cached", {"again": number})
        return values(redis)

    until(hit, "Redis is in use again")


def test_down_at_start_and_there_later(start, run_redis, provider):
    redis = run_redis(started=False)
    gateway = start(tier(redis.url))
    calls_go_on(gateway, provider)
    assert gateway.metrics().sum("redis_up") == 0
    assert json.loads(gateway.get("/readyz").body)["components"]["redis"]["status"] == "down"
    assert gateway.get("/readyz").status == 200
    redis.start()
    up(gateway)
    in_use_again(gateway, redis, 1)


def test_frozen(start, redis, provider):
    gateway = up(start(hasty(redis.url)))
    gateway.call("cached", {"before": 1})
    redis.freeze()
    calls_go_on(gateway, provider)
    metrics = gateway.metrics()
    # both workers may have asked once, and the probes; nobody after them
    assert metrics.sum("redis_duration_seconds_count", command="get") <= 2 + metrics.sum("cache_requests_total", tier="redis", result="miss")
    assert metrics.sum("redis_skipped_total") > 0
    redis.thaw()
    up(gateway)
    in_use_again(gateway, redis, 2)


def test_killed_and_back(start, redis, provider):
    gateway = up(start(tier(redis.url)))
    gateway.call("cached", {"before": 1})
    redis.kill()
    calls_go_on(gateway, provider)
    redis.start()
    up(gateway)
    in_use_again(gateway, redis, 3)


def test_full(start, run_redis, provider):
    redis = run_redis("--maxmemory", "1mb", "--maxmemory-policy", "noeviction")
    gateway = up(start(tier(redis.url)))
    calls_go_on(gateway, provider)
    until(lambda: errors(gateway, "full") > 0, "counted")
    assert gateway.metrics().sum("redis_up") == 1  # it can still be read


def test_read_only(start, redis, run_redis, provider):
    replica = run_redis("--replicaof", f"127.0.0.1 {redis.port}")
    writer = up(start(tier(redis.url)))
    writer.call("cached", {"q": 1})
    until(lambda: values(replica), "the replica has it")
    reader = up(start(tier(replica.url)))
    assert detail(reader.call("cached", {"q": 1})) == "redis"
    calls_go_on(reader, provider)
    until(lambda: errors(reader, "readonly") > 0, "counted")
    assert reader.metrics().sum("redis_up") == 1


@pytest.mark.parametrize("reply, reason", [
    (b"-LOADING Redis is loading the dataset in memory\r\n", "loading"),
    (b"-MISCONF Redis is configured to save RDB snapshots\r\n", "misconf"),
    (b"-MOVED 3999 127.0.0.1:6381\r\n", "cluster"),
    (b"-NOPERM this user has no permissions\r\n", "auth"),
    (b"-ERR unknown\r\n", "refused"),
    (b":7\r\n", "protocol"), (b"*1\r\n$1\r\nx\r\n", "protocol"), (b"!!!!\r\n", "protocol"),
    (b"$5\r\nhello\r\n", "foreign"), (b"$6\r\njitney\r\n", "damaged"),
    (b"+OK\r\n+OK\r\n+OK\r\n", "protocol"),
])
def test_lying(start, fake, provider, reply, reason):
    server = fake(lambda words: reply if words[0] in (b"GETRANGE", b"SET") else polite(words))
    gateway = start(tier(server.url, tracking=False))
    until(lambda: gateway.metrics().sum("redis_connects_total") >= 2, "connected once")
    calls_go_on(gateway, provider)
    numbers = itertools.count(2000)     # those may all have come before it was asked
    until(lambda: gateway.call("cached", {"n": next(numbers)}).status == 200 and errors(gateway, reason) > 0, reason)
    if reason == "cluster":
        assert any("proxy" in event["message"] for event in gateway.events("redis_breaker_open"))


def test_a_purge_while_redis_is_away_is_not_forgotten(start, redis, provider):
    gateway = up(start({"cache": {"memory": {"size": 0}, **hasty(redis.url)["cache"]}}))
    gateway.call("cached")
    key = stored(redis)[0].decode().rpartition(":")[2]
    redis.freeze()
    until(lambda: gateway.call("cached") and gateway.metrics().sum("redis_up") == 0, "found out")
    fetched = len(provider.calls)
    # worker 0 serves the admin: whether or not it has found out, what was stored is gone for everybody
    gateway.request("DELETE", f"/admin/cache?key={key}", listener="admin")
    redis.thaw()
    up(gateway)
    assert verdict(gateway.call("cached")) == "miss"
    assert len(provider.calls) == fetched + 1


def test_wrong_password(start, run_redis, provider):
    redis = run_redis("--requirepass", "right")
    redis.password = "right"
    gateway = start(tier(redis.url, password="wrong"))
    until(lambda: errors(gateway, "auth") > 0, "counted")
    calls_go_on(gateway, provider)
    assert any("WRONGPASS" in event["message"] for event in gateway.events("redis_failed"))
    assert "wrong" not in gateway.get("/admin/config", listener="admin").body.decode()
    right = up(start(tier(redis.url, password="right")))
    right.call("cached", {"q": 1})
    stored(redis)


def test_slow(start, fake, provider):
    def dawdle(words):
        time.sleep(2 * BUDGET_MS / 1000)
        return polite(words)

    server = fake(dawdle)
    gateway = up(start(hasty(server.url, tracking=False)))
    calls_go_on(gateway, provider)
    assert errors(gateway, "timeout") > 0
    assert gateway.metrics().sum("redis_skipped_total", reason="breaker") > 0


# ---- damaged values ----

def damage(value):
    yield "one byte", b"j"
    yield "cut in the head", value[:50]
    yield "cut by one", value[:-1]
    yield "one more byte", value + b"x"
    yield "a bit in the body", value[:-3] + bytes([value[-3] ^ 1]) + value[-2:]
    yield "a bit in the times", value[:50] + bytes([value[50] ^ 128]) + value[51:]
    yield "a bit in the key", value[:130] + bytes([value[130] ^ 1]) + value[131:]
    yield "another format", value[:6] + b"\x63" + value[7:]
    yield "unknown flags", value[:7] + b"\x80" + value[8:]
    yield "another program's", b'{"value":1}'
    yield "checksum of another", value[:8] + struct.pack("<Q", 1) + value[16:]
    yield "zeros", bytes(len(value))


def test_damaged_values_are_misses_and_deleted(start, redis, provider):
    writer = up(start({**tier(redis.url), "workers": 1}))
    writer.call("cached", {"q": 1})
    key = stored(redis)[0]
    value = redis.ask("GET", key)
    reader = up(start({"workers": 1, "cache": {"memory": {"size": 0}, "redis": tier(redis.url)["cache"]["redis"]}}))
    assert verdict(reader.call("cached", {"q": 1})) == "hit"
    kinds = list(damage(value))
    before = len(provider.calls)
    for count, (name, wrong) in enumerate(kinds, 1):
        redis.ask("SET", key, wrong)
        assert verdict(reader.call("cached", {"q": 1})) == "miss", name
        assert len(provider.calls) == before + count, name
        until(lambda: redis.ask("GET", key) not in (wrong, None), f"a good value in place of: {name}")
        assert errors(reader, "damaged") + errors(reader, "foreign") == count, name
    redis.ask("SET", key, "")                   # as if it were not there
    assert verdict(reader.call("cached", {"q": 1})) == "miss"
    until(lambda: redis.ask("GET", key), "a good value in its place")
    assert errors(reader, "damaged") + errors(reader, "foreign") == len(kinds)
    assert reader.metrics().sum("redis_duration_seconds_count", command="del") == len(kinds)
    # one call's value under another's key: whole, and still not served
    reader.call("cached", {"q": 2})
    other = [name for name in stored(redis, 2) if name != key][0]
    redis.ask("SET", other, value)
    assert verdict(reader.call("cached", {"q": 2})) == "miss"


def test_what_cannot_be_read_in_time_is_replaced_all_the_same(start, redis, provider):
    """A stranger's value so large that its look-up is late: Redis is left alone for a while then, and so it would stay there."""
    writer = up(start({**tier(redis.url), "workers": 1}))
    writer.call("cached", {"q": 1})
    key = stored(redis)[0]
    redis.ask("SET", key, "of a stranger")
    reader = up(start({"workers": 1, "cache": {"memory": {"size": 0}, "redis": tier(redis.url)["cache"]["redis"]}}))
    redis.freeze()
    assert verdict(reader.call("cached", {"q": 1})) == "miss"
    assert reader.metrics().sum("redis_breaker_open_workers") == 1
    redis.thaw()
    until(lambda: redis.ask("GET", key) != b"of a stranger", "it has made room")


@pytest.mark.parametrize("lease", ["2s", "0ms"])
def test_a_strangers_value_of_any_size_harms_nobody_elses_look_up(start, redis, provider, lease):
    """It is not read whole: what is longer than max_value was stored by none of us."""
    writer = up(start({**tier(redis.url), "workers": 1}))
    writer.call("cached", {"q": 0})
    key = stored(redis)[0]
    for q in range(1, 21):
        writer.call("cached", {"q": q})
    stored(redis, 21)
    redis.ask("SETRANGE", key, 70 << 20, "of a stranger")
    reader = up(start({"workers": 1, "cache": {"memory": {"size": 0}, **tier(redis.url, lease=lease)["cache"]}}))
    connects, sent = reader.metrics().sum("redis_connects_total"), output_bytes(redis)
    with ThreadPoolExecutor(21) as pool:
        replies = list(pool.map(lambda q: reader.call("cached", {"q": q}), range(21)))
    assert [verdict(reply) for reply in replies] == ["miss"] + 20 * ["hit"]
    assert reader.metrics().sum("redis_connects_total") == connects
    until(lambda: int(redis.ask("STRLEN", key)) < 1 << 20, "the fetched one is there")
    assert output_bytes(redis) - sent < 4 << 20
    assert verdict(reader.call("cached", {"q": 0})) == "hit"


def test_what_is_longer_than_any_of_ours_is_deleted(start, redis, provider):
    """Also where no answer takes its place."""
    up(start({**tier(redis.url), "workers": 1})).call("cached", {"q": 1})
    key = stored(redis)[0]
    redis.ask("SETRANGE", key, 2 << 20, "of a stranger")
    reader = up(start(tier(redis.url)))
    provider.behaviour = behave.status(500)
    assert reader.call("cached", {"q": 1}).status == 502
    until(lambda: int(redis.ask("EXISTS", key)) == 0, "it is gone")


# ---- where it is ----

def test_a_unix_socket(start, tmp_path, run_redis):
    path = tmp_path / "redis.sock"
    redis = run_redis("--unixsocket", str(path))
    up(start(tier(f"unix:{path}?db=2"))).call("cached")
    until(lambda: "keys=2" in redis.ask("INFO", "keyspace").decode(), "a value in database 2, and the list of purges")
    assert "db2" in redis.ask("INFO", "keyspace").decode()


def test_a_host_name(start, redis):
    up(start(tier(f"redis://localhost:{redis.port}"))).call("cached")
    stored(redis)


def test_sentinel_tells_where_the_master_is(start, redis, fake, run_redis):
    replica = run_redis("--replicaof", f"127.0.0.1 {redis.port}")
    where = [replica]

    def sentinel(words):
        assert words[:2] == [b"SENTINEL", b"get-master-addr-by-name"] and words[2] == b"mymaster"
        port = str(where[0].port).encode()
        return b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%s\r\n" % (len(port), port)

    nodes = [fake(lambda words: b"*-1\r\n"), fake(sentinel)]
    gateway = start({"cache": {"redis": {"timeout": "5s", "sentinel": {
        "name": "mymaster", "nodes": [f"127.0.0.1:{node.port}" for node in nodes]}}}})
    until(lambda: errors(gateway, "sentinel") >= 2, "a Sentinel that knows nothing, and a master that is none")
    assert gateway.metrics().sum("redis_up") == 0
    where[0] = redis
    up(gateway).call("cached")
    stored(redis)


# ---- what operators see ----

def test_it_is_shown(start, redis):
    gateway = up(start(tier(redis.url)))
    gateway.call("cached")
    stored(redis)
    assert json.loads(gateway.get("/readyz").body)["components"]["redis"] == {"status": "up", "workers": 2}
    shown = json.loads(gateway.get("/admin/cache", listener="admin").body)["redis"]
    assert (shown["status"], shown["miss"], shown["stored"]) == ("up", 1, 1)
    names = redis.ask("CLIENT", "LIST").decode()
    assert "name=jitney-worker-0" in names and "name=jitney-worker-1" in names


def test_passwords_are_not_shown(start):
    gateway = start(tier("redis://me:hushhush@127.0.0.1:1"))
    text = gateway.get("/admin/config", listener="admin").body.decode()
    assert "hushhush" not in text and '"url":"***"' in text
    assert "hushhush" not in gateway.log()


