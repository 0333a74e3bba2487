# SPDX-License-Identifier: Apache-2.0
"""Another list of endpoints for an upstream that runs: those that stay keep all that they had, the others come and go."""
import itertools
import json

import pytest

from harness import provider as behave
from harness.poll import until
from harness.provider import Provider
from harness.reload import reloaded


@pytest.fixture
def others():
    """Three more providers."""
    made = [Provider() for _ in range(3)]
    yield made
    for each in made:
        each.finish()


def listed(*providers, **options):
    """Changes: the upstream "array" is at these."""
    return {"upstreams": {"array": {"endpoints": [{"url": each.url("/rpc")} for each in providers], **options}}}


def shown(gateway):
    upstreams = gateway.get("/admin/upstreams", "admin").json()["upstreams"]
    return next(one for one in upstreams if one["name"] == "array")


def asked(provider):
    return len(provider.calls)


def call_all(gateway, count, tool="echo"):
    numbers = itertools.count(call_all.first)
    call_all.first += count
    assert {gateway.call(tool, {"n": next(numbers)}).status for _ in range(count)} == {200}


call_all.first = 0
numbers = itertools.count(10**6)


def test_those_that_stay_keep_their_connections(start, provider, others):
    gateway = start({"workers": 1, **listed(provider, others[0], balance="round_robin", batch={"mode": "off"})})
    call_all(gateway, 8)
    connects = gateway.metrics().sum("upstream_connects_total", upstream="array")
    told = reloaded(gateway, listed(others[1], provider))      # one goes, one comes, and one is at another place
    assert told["changed"]["upstreams"]["changed"] == ["array"] and told["needs_restart"] == []
    before = [asked(provider), asked(others[0])]
    call_all(gateway, 20)
    assert asked(others[0]) == before[1] and asked(provider) > before[0] and asked(others[1]) > 0
    assert provider.connection_count == 1, "it is as warm as before"
    assert gateway.metrics().sum("upstream_connects_total", upstream="array") == connects + 1
    assert [each["url"] for each in shown(gateway)["endpoints"]] == [others[1].url("/rpc"), provider.url("/rpc")]
    reloaded(gateway, listed(provider, others[0], others[1], others[2]))
    call_all(gateway, 40)
    assert min(asked(others[0]) - before[1], asked(others[2])) > 0 and provider.connection_count == 1


def test_a_call_under_way_at_one_that_goes_is_finished_there(start, provider, others, later):
    gateway = start(listed(provider, balance="round_robin", batch={"mode": "off"}))
    others[0].release()
    provider.hold()
    calls = [later(gateway.call, "write", {"n": n}) for n in range(4)]
    provider.until_calls(4)
    reloaded(gateway, listed(provider, others[0]))
    reloaded(gateway, listed(others[0], others[1]))
    call_all(gateway, 6, "write")
    provider.release()
    assert [call.result(20).status for call in calls] == [200] * 4
    assert asked(provider) == 4 and asked(others[0]) + asked(others[1]) == 6


def test_what_is_learned_of_the_upstream_stays(start, provider, others):
    """Its rate is used up whatever its endpoints are; another service would begin with a rate of its own."""
    gateway = start(listed(provider, others[0], rate={"requests": "3/h"}, batch={"mode": "off"}, queue={"wait": "50ms"}))
    statuses = [gateway.call("write", {"n": n}).status for n in range(6)]
    assert 1 <= statuses.count(200) <= 3 and 200 not in statuses[-2:]
    reloaded(gateway, listed(provider, others[1]))
    assert gateway.call("write", {"n": 10}).status != 200
    reloaded(gateway, listed(others[2]))
    assert gateway.call("write", {"n": 11}).status == 200


def test_what_is_known_of_an_endpoint_stays(start, provider, others):
    gateway = start({"workers": 1, **listed(provider, others[0], balance="round_robin", ejection={"failures": 2, "base": "1m"},
                                            batch={"mode": "off"}, retries={"attempts": 1})})
    others[0].behaviour = behave.close
    until(lambda: gateway.call("echo", {"n": next(numbers)}) and shown(gateway)["endpoints"][1]["state"] == "ejected",
          "it is left alone")
    reloaded(gateway, listed(others[0], others[1], provider))
    first, new, _ = shown(gateway)["endpoints"]
    assert (first["state"], new["state"]) == ("ejected", "up") and first["reason"]
    before = asked(others[0])
    call_all(gateway, 10)
    assert asked(others[0]) == before
    metrics = gateway.metrics()
    assert metrics.sum("endpoint_ejections_total", upstream="array") == 1
    assert metrics.sum("endpoint_state", upstream="array", state="ejected") == 1


def test_what_an_operator_said_of_an_endpoint_moves_with_it(start, provider, others):
    gateway = start(listed(provider, others[0]))
    post = {"Content-Type": "application/json"}
    assert gateway.request("POST", "/admin/endpoints/array/0/drain", b"{}", post, "admin").status == 200
    call_all(gateway, 4)
    reloaded(gateway, listed(others[1], others[0], provider))
    call_all(gateway, 8)
    assert asked(provider) == 0 and [each["state"] for each in shown(gateway)["endpoints"]] == ["up", "up", "draining"]
    assert gateway.request("POST", "/admin/endpoints/array/2/undrain", b"{}", post, "admin").status == 200
    until(lambda: gateway.call("echo", {"n": next(numbers)}).status == 200 and asked(provider) > 0, "it is used again")


def test_one_that_is_gone_is_no_trouble_any_more(start, provider, others):
    """Its checks end, and no gauge says that it is away: nobody is to be woken for it."""
    others[0].behaviour = behave.status(500)
    gateway = start(listed(provider, others[0], health={"path": "/healthz", "interval": "50ms", "fall": 1, "rise": 1}))
    until(lambda: shown(gateway)["endpoints"][1]["state"] == "failed_check", "its checks fail")
    reloaded(gateway, listed(provider, others[1]))
    until(lambda: len(others[1].deliveries) >= 2, "the new one is checked")
    checks = len(others[0].deliveries)
    until(lambda: len(others[1].deliveries) >= 6, "time passes")
    assert len(others[0].deliveries) == checks
    metrics = gateway.metrics()
    assert metrics.sum("endpoint_state", upstream="array", state="failed_check") == 0
    assert metrics.sum("endpoint_state", upstream="array", state="up") == 2
    assert metrics.sum("upstream_healthy", upstream="array") == 3


def test_affinity_goes_by_the_endpoint_and_not_by_its_place(start, provider, others):
    gateway = start(listed(provider, others[0], others[1], balance="affinity", affinity="key", batch={"mode": "off"}))

    def homes():
        found = []
        for n in range(24):
            before = [asked(each) for each in (provider, *others)]
            assert gateway.call("write", {"n": n}).status == 200
            found.append(next(i for i, each in enumerate((provider, *others)) if asked(each) > before[i]))
        return found

    before = homes()
    reloaded(gateway, listed(others[1], others[0], provider))
    assert homes() == before and len(set(before)) == 3
    reloaded(gateway, listed(others[0], provider))      # what was elsewhere stays there
    after = homes()
    assert all(now == was for now, was in zip(after, before) if was != 2) and 2 not in after


def test_lists_that_change_all_the_time_cost_no_write(start, provider, others, together):
    gateway = start(listed(provider, others[0], balance="round_robin"))
    everybody = [provider, *others]
    ended = []

    def ask(base):
        for n in itertools.count(base):
            if ended:
                return n - base
            assert gateway.call("write", {"n": n}).status == 200
        return 0

    def change(_):
        for n in range(40):
            reloaded(gateway, listed(*[everybody[(n + i) % 4] for i in range(1 + n % 3 + 1)]))
        ended.append(True)
        return 0

    counts = together(lambda n: change(n) if n < 0 else ask(n * 10**6), [-1, 0, 1, 2, 3])
    written = [json.dumps(call["params"]) for each in everybody for call in each.calls]
    assert len(written) == sum(counts) and len(set(written)) == len(written), "each once"
    assert gateway.fds() < 200


def test_whose_answers_they_are_does_not_hang_on_the_order(start, provider, others):
    """The list says which they are: in another order they are the same, with another one among them they are not."""
    gateway = start(listed(provider, others[0]))
    assert gateway.call("cached", {"q": 1}).status == 200
    told = reloaded(gateway, listed(others[0], provider))
    assert told["changed"]["upstreams"]["changed"] == ["array"]
    assert "hit" in gateway.call("cached", {"q": 1}).header("Cache-Status")
    reloaded(gateway, listed(others[0], provider, others[1]))
    assert "fwd=miss" in gateway.call("cached", {"q": 1}).header("Cache-Status")
