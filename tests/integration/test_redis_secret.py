# SPDX-License-Identifier: Apache-2.0
"""cache.redis.secret changes, by a restart or a reload: what the old one has signed is refused, counted and never served."""
import pytest

from harness.poll import until
from harness.redis import SERVER
from harness.reload import reload, reloaded
from test_cache import verdict
from test_fleet import TAGGED, entries, in_memory, purge
from test_redis import detail, errors, stored, tier, up, values

pytestmark = pytest.mark.skipif(SERVER is None, reason="no redis-server")

OLD, NEW = "the old one " * 3, "the new one " * 3
NUMBERS = range(20)


def patient(redis, **options):
    return tier(redis.url, timeout="2s", **options)


def fill(gateway, redis):
    for number in NUMBERS:
        assert gateway.call("cached", {"q": number}).status == 200
    stored(redis, len(NUMBERS))


def refused(gateway, count):
    """Too short ones are `damaged` where nobody signs: a seal is not cut off that nobody knows of."""
    return errors(gateway, "foreign") + errors(gateway, "damaged") == count


def test_a_restart_with_a_new_secret_serves_nothing_of_the_old(start, redis, provider):
    fill(up(start({**patient(redis, secret=OLD), **TAGGED})), redis)
    new = up(start({**patient(redis, secret=NEW), **TAGGED}))
    for number in NUMBERS:
        assert verdict(new.call("cached", {"q": number})) == "miss"
    assert len(provider.calls) == 2 * len(NUMBERS)
    assert errors(new, "foreign") == len(NUMBERS)
    third = up(start({**patient(redis, secret=NEW), **TAGGED}))
    stored(redis, len(NUMBERS))
    for number in NUMBERS:
        assert detail(third.call("cached", {"q": number})) == "redis"
    assert errors(third, "foreign") == 0


@pytest.mark.parametrize("before, after", [(OLD, NEW), (None, NEW), (OLD, None)])
def test_a_reload_rotates_it(start, redis, provider, before, after):
    """Also from no secret to one and back. Memory stays: nobody but this process has written there."""
    first = {"secret": before} if before else {}
    one, other = [up(start({**patient(redis, **first), **TAGGED})) for _ in range(2)]
    fill(one, redis)
    told = reloaded(other, {"cache": {"redis": {"secret": after}}})
    assert "cache.redis.secret" in told["changed"]["settings"] and told["needs_restart"] == []
    up(other)
    for number in NUMBERS:
        assert verdict(other.call("cached", {"q": number})) == "miss"
    assert len(provider.calls) == 2 * len(NUMBERS)
    assert refused(other, len(NUMBERS))
    reloaded(one, {"cache": {"redis": {"secret": after}}})
    up(one)
    until(lambda: entries(one) == 0, "what another has replaced leaves memory")
    stored(redis, len(NUMBERS))
    for number in NUMBERS:
        assert detail(one.call("cached", {"q": number})) == "redis"
    assert len(provider.calls) == 2 * len(NUMBERS)


def test_a_file_with_another_secret_is_a_reload(start, redis, provider, tmp_path):
    paper = tmp_path / "secret"
    paper.write_text(OLD + "\n")
    gateway = up(start({**patient(redis, secret=f"${{file:{paper}}}"), **TAGGED}))
    fill(gateway, redis)
    old = [redis.ask("GET", name) for name in values(redis)]
    paper.write_text(NEW + "\n")
    status, told = reload(gateway)
    assert status == 200 and "cache.redis.secret" in told["changed"]["settings"]
    assert OLD not in str(told) and NEW not in str(told)
    up(gateway)
    purge(gateway, "")
    for number in NUMBERS:
        assert verdict(gateway.call("cached", {"q": number})) == "miss"
    until(lambda: not set(old) & {redis.ask("GET", name) for name in stored(redis, len(NUMBERS))}, "signed anew")
    text = gateway.get("/admin/config", listener="admin").body.decode() + gateway.log()
    assert OLD not in text and NEW not in text


def test_gateways_of_two_secrets_never_serve_each_others(start, redis, provider):
    """Half the fleet is rotated and half is not: it costs fetches, and nothing else."""
    one, other = [up(start({**patient(redis, secret=secret), **TAGGED})) for secret in (OLD, NEW)]
    for turn in range(10):
        for number in range(3):
            for gateway in (one, other):
                reply = gateway.call("cached", {"q": number})
                assert reply.status == 200 and detail(reply) != "redis", (turn, number)
    purge(one, "?tool=cached")  # purges are not signed
    until(lambda: entries(other) == 0, "heard")
    assert not in_memory(one, arguments={"q": 1})
