# SPDX-License-Identifier: Apache-2.0
"""A provider by its name: every address of it is used, left alone by itself, and given up when the name has moved."""
import collections

import pytest

from harness import provider as behave
from harness.gateway import merged
from harness.poll import given_time, until
from harness.ports import free_port
from harness.provider import Provider
from harness.reload import reloaded

NAME = "provider.example.test"
ADDRESSES = ["127.0.11.1", "127.0.11.2", "127.0.11.3"]
NOBODY = "127.0.11.9"
pytestmark = pytest.mark.xdist_group("names")    # one name server at a time


@pytest.fixture
def replicas():
    """One provider for each address, all on one port."""
    port = free_port(*ADDRESSES)  # one that is free on all of them
    made = [Provider(address, port) for address in ADDRESSES]
    yield made
    for each in made:
        each.finish()


@pytest.fixture
def named(start, replicas, names):
    """named({options}, {changes}): a gateway whose upstream "array" is the name; calls travel alone."""
    names.addresses[NAME] = list(ADDRESSES)

    def begin(options=None, changes=None):
        upstream = {"endpoints": [{"url": f"http://{NAME}:{replicas[0].port}/rpc"}], "batch": {"mode": "off"}, **(options or {})}
        return start(merged({"upstreams": {"array": upstream}}, changes or {}), before=names.before)
    return begin


def shown(gateway):
    upstreams = gateway.get("/admin/upstreams", "admin").json()["upstreams"]
    endpoint = next(one for one in upstreams if one["name"] == "array")["endpoints"][0]
    return {each["address"]: each["state"] for each in endpoint.get("addresses", [])}


def counts(replicas):
    return [len(each.calls) for each in replicas]


def test_every_address_of_a_name_has_its_share(named, replicas, names):
    gateway = named({"balance": "round_robin"})
    assert all(gateway.call("write", {"n": n}).status == 200 for n in range(30))
    assert counts(replicas) == [10, 10, 10]
    assert shown(gateway) == {address: "up" for address in ADDRESSES}
    assert names.asked[NAME] == 1 and replicas[0].connection_count == 1      # looked up once, one connection each
    assert replicas[0].deliveries[0].headers["host"] == f"{NAME}:{replicas[0].port}"


def test_those_who_wait_for_the_first_look_up_do_not_all_go_to_one(named, replicas, together):
    gateway = named({"balance": "round_robin"})
    assert all(reply.status == 200 for reply in together(lambda n: gateway.call("write", {"n": n}), range(12)))
    assert min(counts(replicas)) >= 2, counts(replicas)


@pytest.mark.parametrize("balance", ["adaptive", "round_robin"])
def test_a_dead_address_costs_nobody_an_answer(named, replicas, names, balance):
    names.addresses[NAME] = [NOBODY, *ADDRESSES]
    gateway = named({"balance": balance})
    assert all(gateway.call("write", {"n": n}).status == 200 for n in range(60))
    assert sum(counts(replicas)) == 60 and min(counts(replicas)) > 0
    assert shown(gateway) == {NOBODY: "ejected", **{address: "up" for address in ADDRESSES}}
    metrics = gateway.metrics()
    assert metrics.sum("endpoint_state", upstream="array", state="up") == 1      # the endpoint is well, as some of it is
    assert metrics.sum("upstream_healthy", upstream="array") == 1
    assert metrics.sum("endpoint_ejections_total", upstream="array", reason="unreachable") == 1
    line = gateway.events("endpoint_state")[0]
    assert (line["address"], line["state"]) == (NOBODY, "ejected")


def test_an_address_that_hangs_is_ejected_by_itself(named, replicas):
    def started(milliseconds):
        """One for which that is time enough while all is well."""
        gateway = named({"balance": "round_robin", "timeout": f"{milliseconds}ms", "ejection": {"failures": 2}})
        return gateway if all(gateway.call("echo", {"n": n}).status == 200 for n in range(30)) else None

    gateway = given_time(started, 400)
    replicas[1].behaviour = behave.hang
    failed = 0
    while shown(gateway)[ADDRESSES[1]] != "ejected":
        failed += gateway.call("echo", {"n": 1}).status != 200
        assert failed <= 2
    assert all(gateway.call("echo", {"n": n}).status == 200 for n in range(30))


def test_a_name_that_moves_is_followed_without_a_reload(named, replicas, names, later):
    names.addresses[NAME] = ADDRESSES[:1]
    gateway = named({"dns_ttl": "200ms", "timeout": "20s"})
    assert all(gateway.call("write", {"n": n}).status == 200 for n in range(10))
    assert counts(replicas) == [10, 0, 0]
    replicas[0].next(behave.trickle)
    replicas[0].hold()
    under_way = later(gateway.call, "write", {"n": 100})
    replicas[0].until_calls(11)
    names.addresses[NAME] = ADDRESSES[1:]
    until(lambda: set(shown(gateway)) == set(ADDRESSES[1:]), "the move is seen")
    assert all(gateway.call("write", {"n": n}).status == 200 for n in range(20))
    assert counts(replicas)[0] == 11 and sum(counts(replicas)) == 31     # its kept connections are used no more
    replicas[0].release()
    assert under_way.result(20).status == 200                           # what was under way there is finished
    times = collections.Counter(call["params"]["n"] for each in replicas for call in each.calls)
    assert max(times.values()) <= 2 and times[100] == 1
    last = gateway.events("endpoint_addresses")[-1]
    assert set(last["addresses"].split()) == set(ADDRESSES[1:])


def test_a_name_server_that_is_gone_changes_nothing(named, replicas, names):
    gateway = named({"dns_ttl": "100ms"})
    assert gateway.call("write", {"n": 0}).status == 200
    until(lambda: names.asked[NAME] >= 3, "it is asked again and again")
    names.addresses.pop(NAME)
    until(lambda: gateway.metrics().sum("upstream_unresolved_total", upstream="array") >= 2, "it says there is no such name")
    assert all(gateway.call("write", {"n": n}).status == 200 for n in range(1, 20))
    names.silent = True
    asked = names.asked[NAME]
    until(lambda: names.asked[NAME] > asked, "it says nothing any more")
    assert all(gateway.call("write", {"n": n}).status == 200 for n in range(20, 40))
    assert gateway.threads("resolver") <= 1 and sum(counts(replicas)) == 40


def test_a_name_whose_addresses_are_dead_is_looked_up_again_soon(named, replicas, names):
    names.addresses[NAME] = [NOBODY]
    gateway = named({"dns_ttl": "1h"})
    assert gateway.call("write", {"n": 0}).status == 503
    names.addresses[NAME] = ADDRESSES[2:]
    until(lambda: gateway.call("write", {"n": 1}).status == 200, "the new address is found long before dns_ttl")
    assert counts(replicas)[:2] == [0, 0]


def test_one_name_is_enough_for_hedges(named, replicas):
    gateway = named({"hedge": "50ms", "balance": "round_robin"})
    assert gateway.call("echo", {"n": 0}).status == 200
    replicas[0].behaviour = behave.hang
    assert all(gateway.call("echo", {"n": n}).status == 200 for n in range(12))
    assert gateway.metrics().sum("attempts_total", upstream="array", kind="hedge", outcome="ok") >= 1


def test_without_a_ttl_the_name_is_asked_for_each_connection(named, replicas, names):
    gateway = named({"dns_ttl": "0s"})
    assert gateway.call("write", {"n": 0}).status == 200
    replicas[0].cut()
    assert gateway.call("write", {"n": 1}).status == 200
    assert names.asked[NAME] == 2 and shown(gateway) == {}


def test_sixteen_addresses_are_used_and_each_once(named, replicas, names):
    names.addresses[NAME] = ADDRESSES * 2 + [f"127.0.12.{n}" for n in range(1, 20)]
    gateway = named({"balance": "round_robin"})
    assert all(gateway.call("write", {"n": n}).status == 200 for n in range(40))
    assert len(shown(gateway)) == 16 and min(counts(replicas)) > 0


def test_a_drain_and_checks_follow_the_name(named, replicas, names):
    names.addresses[NAME] = ADDRESSES[:1]
    gateway = named({"dns_ttl": "50ms", "health": {"path": "/healthz", "interval": "50ms", "fall": 1, "rise": 1}})
    assert gateway.call("write", {"n": 1}).status == 200
    gateway.request("POST", "/admin/endpoints/array/0/drain", b"{}", {"Content-Type": "application/json"}, "admin")
    names.addresses[NAME] = ADDRESSES[1:2]
    until(lambda: sum(each.method == "GET" for each in replicas[1].deliveries) >= 3, "the new address is checked")
    reply = gateway.call("write", {"n": 2})
    assert (reply.status, reply.header("retry-after")) == (503, "1")
    gateway.request("POST", "/admin/endpoints/array/0/undrain", b"{}", {"Content-Type": "application/json"}, "admin")
    assert gateway.call("write", {"n": 3}).status == 200
    replicas[1].behaviour = behave.status(500)
    until(lambda: shown(gateway)[ADDRESSES[1]] == "failed_check", "its checks fail")


def test_checks_that_come_before_any_call_hide_no_address(named, replicas):
    gateway = named({"balance": "round_robin", "health": {"path": "/healthz", "interval": "50ms"}})
    until(lambda: sum(each.method == "GET" for each in replicas[0].deliveries) >= 2, "checks are under way")
    until(lambda: len(shown(gateway)) == 3, "all addresses are known before there was a call")
    for n in range(12):
        assert gateway.call("write", {"n": n}).status == 200
    assert [sum(each.method == "POST" for each in replica.deliveries) for replica in replicas] == [4, 4, 4]


def test_another_upstream_s_connection_by_the_name_hides_no_address(named, replicas):
    """It asks for no addresses (dns_ttl: 0), and its connection, which curl would use again, spares the look-up."""
    gateway = named({"balance": "round_robin"}, {"workers": 1, "upstreams": {"rest": {
        "endpoints": [{"url": f"http://{NAME}:{replicas[0].port}/api"}], "dns_ttl": "0s"}}})
    assert gateway.call("send", {"id": 1}).status == 200
    assert gateway.call("write", {"n": 0}).status == 200
    until(lambda: len(shown(gateway)) == 3, "all addresses are known")
    assert all(gateway.call("write", {"n": n}).status == 200 for n in range(1, 13))
    assert min(sum(each.rpc for each in replica.deliveries) for replica in replicas) >= 4


def test_weights_of_a_reload_reach_every_address(named, replicas):
    other = Provider()
    try:
        def weights(name, alone):
            return {"upstreams": {"array": {"balance": "round_robin", "batch": {"mode": "off"}, "endpoints": [
                {"url": f"http://{NAME}:{replicas[0].port}/rpc", "weight": name}, {"url": other.url("/rpc"), "weight": alone}]}}}

        gateway = named(weights(1, 1)["upstreams"]["array"])
        assert all(gateway.call("write", {"n": n}).status == 200 for n in range(16))
        until(lambda: gateway.call("write", {"n": 99}).status == 200 and len(shown(gateway)) == 3, "all addresses are known")
        reloaded(gateway, weights(10, 1))
        before, alone = counts(replicas), len(other.calls)
        assert all(gateway.call("write", {"n": n}).status == 200 for n in range(100, 193))
        shares = [now - was for now, was in zip(counts(replicas), before)]
        assert min(shares) >= 25 and len(other.calls) - alone <= 8, (shares, len(other.calls) - alone)
    finally:
        other.finish()


def test_another_ttl_is_taken_up(named, replicas, names):
    """From an hour to 50 ms; to none, where the name is asked for; and back."""
    names.addresses[NAME] = ADDRESSES[:1]
    gateway = named({"dns_ttl": "1h"})
    assert gateway.call("write", {"n": 0}).status == 200
    names.addresses[NAME] = ADDRESSES[1:2]
    reloaded(gateway, {"upstreams": {"array": {"dns_ttl": "50ms"}}})
    until(lambda: set(shown(gateway)) == set(ADDRESSES[1:2]), "it has moved")
    assert gateway.call("write", {"n": 1}).status == 200 and len(replicas[1].calls) == 1
    reloaded(gateway, {"upstreams": {"array": {"dns_ttl": "0s"}}})
    assert gateway.call("write", {"n": 2}).status == 200
    assert shown(gateway) == {}
    names.addresses[NAME] = list(ADDRESSES)
    reloaded(gateway, {"upstreams": {"array": {"dns_ttl": "1h", "balance": "round_robin"}}})
    until(lambda: gateway.call("write", {"n": 3}).status == 200 and len(shown(gateway)) == 3, "its addresses are known again")


def test_a_list_that_changes_keeps_what_is_known_of_a_name(named, replicas, names):
    names.addresses[NAME] = [NOBODY, *ADDRESSES]
    gateway = named({"balance": "round_robin", "dns_ttl": "1h"})
    assert all(gateway.call("write", {"n": n}).status == 200 for n in range(20))
    before, looked_up = shown(gateway), names.asked[NAME]
    other = Provider()
    try:
        reloaded(gateway, {"upstreams": {"array": {"endpoints": [{"url": other.url("/rpc")}, {
            "url": f"http://{NAME}:{replicas[0].port}/rpc"}]}}})
        endpoint = next(one for one in gateway.get("/admin/upstreams", "admin").json()["upstreams"] if one["name"] == "array")
        states = {each["address"]: each["state"] for each in endpoint["endpoints"][1]["addresses"]}
        assert states == before and before[NOBODY] == "ejected" and names.asked[NAME] == looked_up
        connections = [each.connection_count for each in replicas]
        assert all(gateway.call("write", {"n": n}).status == 200 for n in range(20, 40))
        assert [each.connection_count for each in replicas] == connections
    finally:
        other.finish()


def test_a_name_that_moves_all_the_time_costs_no_write(named, replicas, names, together):
    gateway = named({"dns_ttl": "50ms"})

    def ask(base):
        for n in range(base, base + 60):
            names.addresses[NAME] = ADDRESSES[n % 3:] + ADDRESSES[:n % 2]
            assert gateway.call("write", {"n": n}).status == 200

    together(ask, [1000 * caller for caller in range(6)])
    times = collections.Counter(call["params"]["n"] for each in replicas for call in each.calls)
    assert len(times) == 360 and set(times.values()) == {1}
