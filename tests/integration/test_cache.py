# SPDX-License-Identifier: Apache-2.0
"""Answers from memory: freshness, grace, identity."""
import re

import pytest

from harness import provider as behave
from harness.poll import until


def verdict(reply):
    """hit, stale, miss, .. from Cache-Status."""
    text = reply.header("cache-status")
    assert text.startswith("jitney; "), text
    if "; hit" in text:
        return "hit"
    return re.search(r"fwd=(\w[\w-]*)", text)[1]


def test_the_same_call_again_is_a_hit(gateway, provider):
    first, second = gateway.call("cached", {"q": "a"}), gateway.call("cached", {"q": "a"})
    assert (verdict(first), verdict(second)) == ("miss", "hit")
    assert first.body == second.body
    assert len(provider.deliveries) == 1
    metrics = gateway.metrics()
    assert metrics.sum("cache_requests_total", tier="memory", result="hit") == 1
    assert metrics.sum("cache_entries", tier="memory") == 1
    assert metrics.sum("cache_bytes", tier="memory") > 0


def test_age_and_ttl_add_up(gateway):
    gateway.call("cached")
    reply = gateway.call("cached")
    ttl = int(re.search(r"ttl=(\d+)", reply.header("cache-status"))[1])
    assert 3600 * 0.9 - 2 <= ttl + int(reply.header("age")) <= 3600


@pytest.mark.parametrize("text", [b'{"a":1,"b":2}', b'{"b":2,"a":1}', b' { "a" : 1 , "b" : 2 } ', b'{"a":1,\n"b":2}',
                                  b'{"\\u0061":1,"b":2}'])
def test_the_same_call_written_differently_hits(gateway, provider, text):
    gateway.call("cached", b'{"a":1,"b":2}')
    assert verdict(gateway.call("cached", text)) == "hit"
    assert len(provider.calls) == 1


@pytest.mark.parametrize("one, other", [
    (b'{"a":1}', b'{"a":"1"}'), (b'{"a":1}', b'{"a":2}'), (b'{"a":18446744073709551616}', b'{"a":18446744073709551617}'),
    (b'{"a":[1,2]}', b'{"a":[2,1]}'), (b'{"a":null}', b'{}'), (b'{"a\\u0000b":1}', b'{"a":1}'),
    (b'{"a":"\xc3\xa9"}', b'{"a":"e\xcc\x81"}'),
])
def test_different_calls_never_hit(gateway, provider, one, other):
    gateway.call("cached", one)
    assert verdict(gateway.call("cached", other)) == "miss"
    assert len(provider.calls) == 2


def test_tools_do_not_share_answers(start, provider):
    gateway = start({"tools": {"cached2": {"upstream": "array", "method": "other", "cache": {"ttl": "1h", "scope": "shared"},
                                           "annotations": {"read_only": True}}}})
    gateway.call("cached", {"q": 1})
    assert verdict(gateway.call("cached2", {"q": 1})) == "miss"


def test_no_cache_fetches_and_stores(gateway, provider):
    gateway.call("cached")
    assert verdict(gateway.call("cached", Cache_Control="no-cache")) != "hit"
    assert len(provider.calls) == 2
    assert verdict(gateway.call("cached")) == "hit"


def test_no_store_leaves_nothing_behind(gateway, provider):
    assert "stored" not in gateway.call("cached", Cache_Control="no-store").header("cache-status")
    assert gateway.metrics().sum("cache_entries", tier="memory") == 0
    assert verdict(gateway.call("cached")) == "miss"
    assert len(provider.calls) == 2


def test_only_if_cached_takes_what_is_there(gateway, provider):
    assert gateway.call("cached", Cache_Control="only-if-cached").status == 504
    gateway.call("cached")
    assert gateway.call("cached", Cache_Control="only-if-cached").status == 200
    assert len(provider.calls) == 1


def test_max_age_0_wants_a_new_answer(gateway, provider):
    gateway.call("cached")
    assert verdict(gateway.call("cached", Cache_Control="max-age=0")) != "hit"
    assert len(provider.calls) == 2
    assert verdict(gateway.call("cached", Cache_Control="max-age=1000")) == "hit"


def test_an_answer_expires(start, provider):
    gateway = start({"tools": {"cached": {"cache": {"ttl": "150ms"}}}})
    gateway.call("cached")
    until(lambda: gateway.call("cached", Cache_Control="only-if-cached").status == 504, "the answer has expired")
    assert verdict(gateway.call("cached")) != "hit"
    assert len(provider.calls) == 2


def test_stale_while_revalidate_serves_and_refreshes_once(start, provider):
    gateway = start({"tools": {"cached": {"cache": {"ttl": "100ms", "stale_while_revalidate": "1h"}}}})
    provider.next(behave.answering(1))
    provider.behaviour = behave.answering(2)
    assert gateway.call("cached").body == b"1"
    until(lambda: re.search(r"ttl=-|fwd=stale|ttl=0", gateway.call("cached").header("cache-status"))
          or len(provider.calls) > 1, "the answer is stale")
    until(lambda: gateway.call("cached").body == b"2", "the refreshed answer is served")
    assert gateway.metrics().sum("cache_refreshes_total", upstream="array", result="begun") >= 1  # late, or early


def test_a_stale_answer_is_refreshed_by_one_flight(start, provider, together):
    gateway = start({"tools": {"cached": {"cache": {"ttl": "50ms", "stale_while_revalidate": "1h"}}}})
    gateway.call("cached")
    until(lambda: gateway.metrics().sum("cache_requests_total", tier="memory", result="stale") > 0
          or gateway.call("cached") is None, "the answer is stale")
    until(lambda: gateway.metrics().sum("batch_in_flight") == 0, "the first refresh has ended")
    provider.hold()
    before = len(provider.calls)
    until(lambda: gateway.call("cached") and len(provider.calls) > before, "a refresh is under way")
    replies = together(lambda _: gateway.call("cached"), range(20))
    assert {reply.status for reply in replies} == {200}
    assert len(provider.calls) == before + 1


def test_stale_if_error_serves_the_old_answer(start, provider):
    gateway = start({"tools": {"cached": {"cache": {"ttl": "50ms", "stale_if_error": "1h"}}}})
    provider.next(behave.answering("old"))
    gateway.call("cached")
    until(lambda: gateway.call("cached", Cache_Control="only-if-cached").status == 504, "the answer has expired")
    provider.behaviour = behave.status(500)
    reply = gateway.call("cached")
    assert reply.status == 200 and reply.body == b'"old"', reply
    provider.stop()
    assert gateway.call("cached").body == b'"old"'
    provider.start()
    provider.behaviour = behave.answering("new")
    until(lambda: gateway.call("cached").body == b'"new"', "the new answer is served")


def test_errors_are_not_cached(gateway, provider):
    provider.next(behave.failing(1, "no"), behave.status(500))
    assert gateway.call("cached").status == 502
    assert gateway.call("cached").status in (502, 503)
    assert gateway.call("cached").status == 200
    assert gateway.metrics().sum("cache_entries", tier="memory") == 1


def test_what_is_not_declared_safe_is_never_cached(start, provider):
    gateway = start()
    for _ in range(3):
        assert verdict(gateway.call("write", {"q": 1})) != "hit"
    assert len(provider.calls) == 3


def test_a_cache_for_a_tool_that_is_not_safe_does_not_serve(make, provider):
    """Either `jitney check` refuses such a configuration, or it is served uncached."""
    gateway = make({"tools": {"write": {"cache": {"ttl": "1h"}}}})
    gateway.spawn()
    until(lambda: gateway.process.poll() is not None or len(gateway.events("listening")) == 2, "it listens or refuses")
    if gateway.process.poll() is not None:
        assert gateway.process.returncode == 2
        gateway.ended_by_test = True
        gateway.process = None
        return
    gateway.addresses = {event["listener"]: [event["address"]] for event in gateway.events("listening")}
    gateway.call("write")
    assert verdict(gateway.call("write")) != "hit"


# ---- identity ----


def caller(gateway, key, tool="mine"):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return gateway.request("POST", f"/v1/tools/{tool}", b"{}", headers)


@pytest.fixture
def scoped(start):
    """A tool per scope."""
    def tool(scope):
        return {"upstream": "array", "annotations": {"read_only": True}, "cache": {"ttl": "1h", "scope": scope}}

    return lambda **changes: start({"tools": {"mine": tool("caller"), "ours": tool("tenant"), "all": tool("shared")},
                                    "identity": {"tenant_header": "X-Tenant"}, "trusted_proxies": ["192.0.2.0/24"],
                                    **changes})


def test_callers_do_not_see_each_others_answers(scoped, provider):
    gateway = scoped()
    assert verdict(caller(gateway, "ada")) == "miss"
    assert verdict(caller(gateway, "bob")) == "miss"
    assert verdict(caller(gateway, None)) == "miss"
    assert verdict(caller(gateway, "ada")) == "hit"
    assert verdict(caller(gateway, "bob")) == "hit"
    assert len(provider.calls) == 3


def test_a_shared_answer_is_everybodys(scoped, provider):
    gateway = scoped()
    assert verdict(caller(gateway, "ada", "all")) == "miss"
    assert verdict(caller(gateway, "bob", "all")) == "hit"


def tenant(gateway, name, key=None):
    headers = {"X-Tenant": name, **({"Authorization": f"Bearer {key}"} if key else {})}
    return gateway.request("POST", "/v1/tools/ours", b"{}", {k: v for k, v in headers.items() if v})


def test_tenants_are_told_apart_behind_a_trusted_proxy(scoped, provider):
    gateway = scoped(trusted_proxies=["127.0.0.1/32"])
    assert verdict(tenant(gateway, "red")) == "miss"
    assert verdict(tenant(gateway, "blue")) == "miss"
    assert verdict(tenant(gateway, "red")) == "hit"


def test_a_tenant_header_from_anybody_else_is_not_believed(scoped, provider):
    gateway = scoped()
    gateway.call("ours")
    before = len(provider.calls)
    tenant(gateway, "red")
    tenant(gateway, "blue")
    assert len(provider.calls) - before <= 1
    assert verdict(tenant(gateway, "green")) == "hit"


def test_the_memory_tier_stays_within_its_size(start, provider):
    gateway = start({"cache": {"memory": {"size": "1MiB"}}})
    provider.behaviour = behave.answering("x" * 20_000)
    for n in range(200):
        assert gateway.call("cached", {"n": n}).status == 200
    metrics = gateway.metrics()
    assert metrics.sum("cache_bytes", tier="memory") <= 1 << 20
    assert metrics.sum("cache_evictions_total", tier="memory", reason="size") > 0


def test_answers_are_shared_over_the_workers(start, provider):
    gateway = start({"workers": 4})
    gateway.call("cached")
    for _ in range(30):           # a new connection each: any worker
        assert verdict(gateway.call("cached")) == "hit"


@pytest.mark.parametrize("query", ["tga=web", "tool=cached&force", "tool", "tool=cached&tool2=x"])
def test_a_purge_with_a_typing_error_purges_nothing(gateway, query):
    gateway.call("cached")
    reply = gateway.request("DELETE", f"/admin/cache?{query}", listener="admin")
    assert reply.status == 400 and reply.code == "invalid_request", reply
    assert verdict(gateway.call("cached")) == "hit"


def test_purge_by_tool(gateway, provider):
    gateway.call("cached")
    reply = gateway.request("DELETE", "/admin/cache?tool=cached", listener="admin")
    assert reply.status in (200, 204), reply
    assert verdict(gateway.call("cached")) == "miss"
