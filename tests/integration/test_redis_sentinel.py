# SPDX-License-Identifier: Apache-2.0
"""A real Sentinel, a master that dies and a replica that takes its place: what was purged stays purged, before, during and
after, and gateways hear each other again."""
import subprocess

import pytest

from harness.gateway import SANITIZED
from harness.poll import until
from harness.redis import SERVER, Redis
from test_cache import verdict
from test_fleet import TAGGED, entries, in_memory, purge
from test_redis import detail, stored, up, values

pytestmark = [pytest.mark.slow, pytest.mark.skipif(SERVER is None, reason="no redis-server")]

ROUND = {"q": 1}


class Sentinel(Redis):
    """It watches `master` by the name mymaster, alone: its own word is enough."""

    def __init__(self, directory, master):
        super().__init__(directory)
        self.master = master

    def start(self):
        config = self.directory / "sentinel.conf"
        config.write_text(f"port {self.port}\nbind 127.0.0.1\ndir {self.directory}\n"
                          f"sentinel monitor mymaster 127.0.0.1 {self.master.port} 1\n"
                          "sentinel down-after-milliseconds mymaster 500\n"
                          "sentinel failover-timeout mymaster 5000\n")
        self.process = subprocess.Popen([SERVER, str(config), "--sentinel"], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        until(self.answers, "the Sentinel answers")
        return self

    def master_port(self):
        return int(self.ask("SENTINEL", "get-master-addr-by-name", "mymaster")[1])

    def knows_replica(self):
        found = [dict(zip(one[::2], one[1::2])) for one in self.ask("SENTINEL", "replicas", "mymaster")]
        return any(one[b"master-link-status"] == b"ok" for one in found)


class Watched:
    """A master, a replica in step with it, and the Sentinel over both."""

    def __init__(self, run_redis, directory):
        self.master = run_redis()
        self.replica = run_redis("--replicaof", f"127.0.0.1 {self.master.port}")
        self.sentinel = Sentinel(directory, self.master)

    def tier(self):
        """It is patient: who is slow for other reasons is not what is tried here."""
        return {"cache": {"redis": {"timeout": "2s", "sentinel": {
            "name": "mymaster", "nodes": [f"127.0.0.1:{self.sentinel.port}"]}}}}

    def in_step(self):
        def caught_up():
            return self.master.ask("WAIT", "1", "100") == 1

        until(caught_up, "the replica has all that the master has")

    def fall_behind(self):
        """What the master is told from now on the replica does not hear."""
        assert self.master.ask("ACL", "SETUSER", "default", "-sync", "-psync") == "OK"
        assert self.master.ask("CLIENT", "KILL", "TYPE", "replica") == 1

    def fail_over(self):
        self.master.kill()
        until(lambda: self.sentinel.master_port() == self.replica.port, "Sentinel has turned to the replica", 30)
        until(lambda: self.replica.ask("ROLE")[0] == b"master", "which is the master now", 30)


@pytest.fixture
def watched(run_redis, tmp_path):
    made = Watched(run_redis, tmp_path / "sentinel")
    made.sentinel.start()
    try:
        until(made.sentinel.knows_replica, "the Sentinel knows the replica", 30)
        yield made
    finally:
        made.sentinel.kill()


@pytest.fixture
def pair(start, watched):
    return [up(start({**watched.tier(), **TAGGED})) for _ in range(2)]


def warm(gateways, redis, arguments, tool="cached"):
    before = len(values(redis))
    for gateway in gateways:
        assert gateway.call(tool, arguments).status == 200
        stored(redis, before + 1)
    for gateway in gateways:
        until(lambda: in_memory(gateway, tool, arguments), "it is in memory")


def up_again(gateways):
    for gateway in gateways:
        until(lambda: gateway.metrics().sum("redis_up") == 1, "every worker has the new master", 30)
        until(lambda: gateway.metrics().sum("redis_tracking") == 1, "and it is heard again", 30)


def test_what_was_purged_before_a_failover_stays_purged(pair, start, watched, provider):
    one, other = pair
    warm(pair, watched.master, {"q": 1})
    warm(pair, watched.master, {"q": 2})
    warm(pair, watched.master, ROUND, "other")
    assert purge(one, "?tool=cached").status == 200
    until(lambda: entries(other) == 1, "heard")
    watched.in_step()
    watched.fail_over()
    up_again(pair)
    asked = len(provider.calls)
    for gateway in (*pair, up(start({**watched.tier(), **TAGGED}))):
        for number in (1, 2):
            gateway.call("cached", {"q": number})
        assert gateway.call("other", ROUND, cache_control="only-if-cached").status == 200  # nobody purged this
    assert len(provider.calls) == asked + 2


def test_a_purge_after_a_failover_reaches_everybody(pair, watched, provider):
    one, other = pair
    warm(pair, watched.master, ROUND)
    watched.in_step()
    watched.fail_over()
    up_again(pair)
    assert detail(other.call("cached", ROUND)) in ("redis", "memory")  # what was not purged came along
    until(lambda: in_memory(other) and one.call("cached", ROUND).status == 200 and in_memory(one), "in both")
    assert purge(one, "?tag=news").json()["fleet"] == "published"
    until(lambda: entries(other) == 0 and entries(one) == 0, "heard by way of the new master")
    assert verdict(other.call("cached", ROUND)) == "miss"
    assert len(provider.calls) == 2


@pytest.mark.parametrize("query", ["?tool=cached", "?key={key}", ""])
def test_a_purge_while_there_is_no_master_is_told_to_the_next(pair, watched, provider, query):
    one, other = pair
    warm(pair, watched.master, ROUND)
    key = values(watched.master)[0].decode().rpartition(":")[2]
    watched.in_step()
    watched.master.kill()
    until(lambda: one.metrics().sum("redis_tracking") == 0, "noticed")
    assert purge(one, query.format(key=key)).status == 200
    until(lambda: watched.sentinel.master_port() == watched.replica.port, "Sentinel has turned", 30)
    up_again(pair)
    until(lambda: one.metrics().sum("redis_purges_total", direction="sent") >= 1, "told")  # twice does no harm
    assert verdict(one.call("cached", ROUND)) == "miss"
    until(lambda: in_memory(one), "fetched anew")
    assert len(provider.calls) == 2
    other.call("cached", ROUND)
    assert len(provider.calls) == 2


def test_a_purge_that_the_new_master_never_had_is_told_to_it_again(watched, pair, start, provider):
    """The replica had lost its master when the purge came, and is promoted with the purged answer in it."""
    one, other = pair
    warm(pair, watched.master, ROUND)
    watched.in_step()
    watched.fall_behind()
    key = values(watched.replica)[0]
    assert purge(one, "?tool=cached").json()["fleet"] == "published"
    until(lambda: entries(other) == 0 and entries(one) == 0, "heard")
    assert not watched.replica.ask("ZSCORE", "jitney:1:purges", "tool=cached\n")
    old = watched.replica.ask("GET", key)
    watched.fail_over()
    up_again(pair)
    assert verdict(other.call("cached", ROUND)) == "miss"
    until(lambda: watched.replica.ask("ZSCORE", "jitney:1:purges", "tool=cached\n"), "told to the new one", 30)
    until(lambda: watched.replica.ask("GET", key) not in (None, old), "replaced")
    late = up(start({**watched.tier(), **TAGGED}))
    assert late.call("cached", ROUND).status == 200
    assert len(provider.calls) == 2


def test_nothing_purged_is_served_while_masters_come_and_go(pair, watched, provider, later):
    """One purges and asks all through a failover; what it is given was fetched after the purge."""
    one, other = pair
    for gateway in pair:
        assert gateway.call("cached", ROUND).status == 200
    watched.in_step()
    turned = later(watched.fail_over)
    rounds = 0
    while not turned.done() or rounds < (5 if SANITIZED else 20):
        before = len(provider.calls)
        assert purge(one, "?tool=cached").status == 200
        assert one.call("cached", ROUND).status == 200
        assert len(provider.calls) > before, f"round {rounds}: a purged answer was served"
        rounds += 1
    turned.result(30)
    up_again(pair)
    before = len(provider.calls)
    purge(one, "?tool=cached")
    until(lambda: entries(other) == 0, "heard", 30)
    other.call("cached", ROUND)
    assert len(provider.calls) == before + 1
