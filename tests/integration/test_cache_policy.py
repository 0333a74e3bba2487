# SPDX-License-Identifier: Apache-2.0
"""A tool's cache policy end to end: refusals, sizes, the provider's headers, which arguments count, entity tags, purges."""
import re
import time
from email.utils import formatdate

import pytest

from harness import provider as behave
from harness.poll import until


def verdict(reply):
    text = reply.header("cache-status")
    if "; hit" in text:
        return "hit"
    return re.search(r"fwd=(\w[\w-]*)", text)[1]


def ttl(reply):
    return int(re.search(r"ttl=(-?\d+)", reply.header("cache-status"))[1])


@pytest.fixture
def with_cache(start):
    """A gateway whose tools `cached` (jsonrpc) and `page` (rest) have this cache."""
    def run(**cache):
        cache = {"ttl": "1h", "scope": "shared", **cache}
        return start({"tools": {"cached": {"cache": cache}, "page": {
            "upstream": "rest", "annotations": {"read_only": True}, "cache": cache,
            "request": {"method": "GET", "path": "/page/{n}"}}}})

    return run


# ---- refusals ----


def test_a_refusal_is_kept_for_the_negative_ttl(with_cache, provider):
    gateway = with_cache(negative_ttl="1h")
    provider.behaviour = behave.failing(-32602, "no such city")
    first, second = gateway.call("cached"), gateway.call("cached")
    assert (first.status, first.code, verdict(first)) == (502, "tool_error", "miss")
    assert "stored" in first.header("cache-status")
    assert (second.status, second.code, verdict(second)) == (502, "tool_error", "hit")
    assert second.json()["upstream"]["error"]["message"] == "no such city"
    assert second.header("age") and not second.header("etag")
    assert len(provider.calls) == 1


def test_a_404_of_a_rest_provider_is_such_a_refusal(with_cache, provider):
    gateway = with_cache(negative_ttl="1h")
    provider.behaviour = behave.status(404)
    replies = [gateway.call("page", {"n": 1}) for _ in range(3)]
    assert [verdict(reply) for reply in replies] == ["miss", "hit", "hit"]
    assert {reply.json()["upstream"]["status"] for reply in replies} == {404}
    assert len(provider.deliveries) == 1


def test_a_kept_refusal_in_a_batch_is_one_calls_affair(with_cache, provider):
    gateway = with_cache(negative_ttl="1h")
    provider.next(behave.failing(1, "no"))
    gateway.call("cached", {"q": 1})
    calls = [{"id": str(n), "tool": "cached", "arguments": {"q": n}} for n in (1, 2)]
    first, second = gateway.batch(calls).json()["results"]
    assert (first["status"], first["cache"], first["error"]["code"]) == (502, "hit", "tool_error")
    assert (second["status"], second["cache"]) == (200, "miss")


def test_a_refusal_ends(with_cache, provider):
    gateway = with_cache(negative_ttl="100ms")
    provider.next(behave.failing(1, "no"))
    assert gateway.call("cached").status == 502
    until(lambda: gateway.call("cached").status == 200, "the refusal has ended")
    assert verdict(gateway.call("cached")) == "hit"


@pytest.mark.parametrize("trouble", [401, 403, 408, 429, 500, 502, 503, 504, "hang up"])
def test_trouble_on_the_way_is_not_kept(with_cache, provider, trouble):
    gateway = with_cache(negative_ttl="1h")
    provider.behaviour = behave.close if trouble == "hang up" else behave.status(trouble)
    assert gateway.call("page", {"n": 1}).status >= 400
    provider.behaviour = behave.echo
    until(lambda: gateway.call("page", {"n": 1}).status == 200, "the provider is asked again")
    assert gateway.metrics().sum("cache_entries", tier="memory") == 1


# ---- sizes ----


def test_an_answer_over_max_entry_is_not_kept(with_cache, provider):
    gateway = with_cache(max_entry="1000B")
    provider.behaviour = behave.answering("x" * 998)
    assert "stored" in gateway.call("cached").header("cache-status")
    provider.behaviour = behave.answering("x" * 999)
    reply = gateway.call("cached", Cache_Control="no-cache")
    assert reply.status == 200 and "stored" not in reply.header("cache-status")
    assert verdict(gateway.call("cached")) == "miss"     # what was kept is outdated
    assert gateway.metrics().sum("cache_evictions_total", tier="memory", reason="too_large") == 2


# ---- the provider's headers ----


NOW = time.time()


@pytest.mark.parametrize("headers, seconds", [
    ({"Cache-Control": "max-age=60"}, 60),
    ({"Cache-Control": "public, max-age=7, s-maxage=60"}, 60),
    ({"Cache-Control": "s-maxage=60, max-age=7200"}, 60),
    ({"Cache-Control": "max-age=90", "Age": "30"}, 60),
    ({"Cache-Control": 'MAX-AGE="60"'}, 60),
    ({"Cache-Control": "max-age=60", "Expires": "0"}, 60),
    ({"Cache-Control": "max-age=60, max-age=120"}, 60),
    ({"Date": formatdate(NOW, usegmt=True), "Expires": formatdate(NOW + 60, usegmt=True)}, 60),
    ({"Cache-Control": "max-age=99999999999999999999"}, 3600),
    ({"Cache-Control": "must-revalidate"}, 3600),
    ({"Vary": "Accept"}, 3600),
    ({"Cache-Control": "public"}, 3600),
    ({}, 3600),
    ({"Cache-Control": "no-store"}, 0),
    ({"Cache-Control": "private"}, 0),
    ({"Cache-Control": "no-cache"}, 0),
    ({"Cache-Control": 'max-age=60, no-cache="Set-Cookie"'}, 0),
    ({"Cache-Control": "max-age=0"}, 0),
    ({"Cache-Control": "max-age=60", "Age": "60"}, 0),
    ({"Cache-Control": "s-maxage=0, max-age=60"}, 0),
    ({"Cache-Control": "max-age=x"}, 0),
    ({"Cache-Control": "max-age=60;"}, 0),
    ({"Expires": "0"}, 0),
    ({"Date": formatdate(NOW, usegmt=True), "Expires": formatdate(NOW - 60, usegmt=True)}, 0),
    ({"Vary": "*"}, 0),
])
@pytest.mark.parametrize("tool", ["page", "cached"])
def test_the_providers_headers_shorten_and_forbid(with_cache, provider, tool, headers, seconds):
    gateway = with_cache(provider_headers=True)

    def answer(delivery, wire):
        if delivery.rpc:
            return wire.answer([behave.result_of(call) for call in delivery.calls]
                               if isinstance(delivery.document, list) else behave.result_of(delivery.calls[0]),
                               headers=headers)
        return wire.answer({"page": 1}, headers=headers)

    provider.behaviour = answer
    assert ("stored" in gateway.call(tool, {"n": 1}).header("cache-status")) == (seconds > 0)
    reply = gateway.call(tool, {"n": 1})
    assert verdict(reply) == ("hit" if seconds else "miss")
    if seconds:
        assert seconds * 0.9 - 2 <= ttl(reply) <= seconds


def test_two_lines_of_cache_control_count_both(with_cache, provider):
    gateway = with_cache(provider_headers=True)
    provider.behaviour = behave.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1\r\n"
                                    b"Cache-Control: max-age=60\r\nCache-Control: no-store\r\n\r\n1")
    assert "stored" not in gateway.call("page", {"n": 1}).header("cache-status")


def test_without_the_option_the_provider_has_no_say(with_cache, provider):
    gateway = with_cache()
    provider.behaviour = behave.status(200, b"1", Cache_Control="no-store", Vary="*")
    gateway.call("page", {"n": 1})
    assert verdict(gateway.call("page", {"n": 1})) == "hit"


def test_must_revalidate_takes_the_grace(with_cache, provider):
    gateway = with_cache(provider_headers=True, ttl="50ms", stale_if_error="1h", stale_while_revalidate="1h")
    provider.next(behave.status(200, b"1", Cache_Control="must-revalidate"))
    assert gateway.call("page", {"n": 1}).body == b"1"
    until(lambda: gateway.call("page", {"n": 1}, Cache_Control="only-if-cached").status == 504, "it is gone")
    provider.behaviour = behave.status(500)
    assert gateway.call("page", {"n": 1}).status == 502


# ---- which arguments count ----


def test_ignored_arguments_share_an_answer(with_cache, provider):
    gateway = with_cache(key={"ignore": ["request_id"]})
    assert verdict(gateway.call("cached", {"q": 1, "request_id": "a"})) == "miss"
    assert verdict(gateway.call("cached", {"request_id": "b", "q": 1})) == "hit"
    assert verdict(gateway.call("cached", {"q": 1})) == "hit"
    assert verdict(gateway.call("cached", {"q": 2, "request_id": "a"})) == "miss"
    assert verdict(gateway.call("cached", {"q": {"request_id": 1}})) == "miss"
    assert verdict(gateway.call("cached", {"q": {"request_id": 2}})) == "miss"


def test_only_the_named_arguments_count(with_cache, provider):
    gateway = with_cache(key={"only": ["q"]})
    assert verdict(gateway.call("cached", {"q": 1, "x": "a"})) == "miss"
    assert verdict(gateway.call("cached", {"y": "b", "q": 1})) == "hit"
    assert verdict(gateway.call("cached", {"q": 2})) == "miss"


def test_calls_that_differ_in_nothing_that_counts_share_a_flight(with_cache, provider, later):
    gateway = with_cache(key={"ignore": ["request_id"]})
    provider.hold()
    replies = [later(gateway.call, "cached", {"q": 1, "request_id": n}) for n in range(10)]
    gateway.until_metric("coalesced_total", 9, tool="cached")
    provider.release()
    assert len({reply.result(20).body for reply in replies}) == 1
    assert len(provider.calls) == 1


@pytest.mark.parametrize("key, said", [
    ({"ignore": ["a"], "only": ["b"]}, "cache.key.ignore: has no use beside only"),
    ({"ignore": ["a", "b", "a"]}, 'cache.key.ignore: has "a" twice'),
    ({"only": ["a", "a"]}, 'cache.key.only: has "a" twice'),
])
def test_a_key_that_contradicts_itself_is_refused(make, key, said):
    gateway = make({"tools": {"cached": {"cache": {"key": key}}}})
    gateway.refuses(said)


# ---- entity tags ----


def test_a_kept_answer_has_a_tag_and_who_has_it_gets_304(gateway, provider):
    first = gateway.call("cached")
    tag = first.header("etag")
    assert re.fullmatch(r'"[0-9a-f]{16}"', tag)
    second = gateway.call("cached")
    assert second.header("etag") == tag
    for value in (tag, f'W/{tag}', f'"x", {tag}', "*"):
        reply = gateway.call("cached", If_None_Match=value)
        assert (reply.status, reply.body) == (304, b""), value
        assert reply.header("content-length") == first.header("content-length")      # never that of the empty body
        assert reply.header("etag") == tag and verdict(reply) == "hit" and reply.header("age")
    assert gateway.call("cached", If_None_Match='"x"').status == 200
    assert len(provider.calls) == 1


def test_the_same_bytes_fetched_anew_are_304_too(gateway, provider):
    tag = gateway.call("cached").header("etag")
    reply = gateway.call("cached", If_None_Match=tag, Cache_Control="no-cache")
    assert (reply.status, verdict(reply)) == (304, "request")
    provider.behaviour = behave.answering("other")
    reply = gateway.call("cached", If_None_Match=tag, Cache_Control="no-cache")
    assert reply.status == 200 and reply.header("etag") != tag


def test_what_is_not_kept_has_no_tag(gateway):
    for tool, control in (("echo", "max-age=60"), ("write", "max-age=60"), ("cached", "no-store")):
        reply = gateway.call(tool, If_None_Match="*", Cache_Control=control)
        assert reply.status == 200 and not reply.header("etag"), tool


def test_tags_agree_between_gateways(start, provider):
    assert start().call("cached").header("etag") == start().call("cached").header("etag")


# ---- Cache-Status ----


def test_why_it_was_fetched(with_cache, provider):
    gateway = with_cache(ttl="200ms", stale_if_error="1h")

    def status(**headers):
        return gateway.call("cached", **headers).header("cache-status").removeprefix("jitney; ")

    assert status() == "fwd=miss; stored"
    assert status(Cache_Control="max-age=0") == "fwd=request; stored"
    assert status(Cache_Control="no-cache") == "fwd=request; stored"
    until(lambda: gateway.call("cached", Cache_Control="only-if-cached").status == 504, "it is past its time")
    provider.next(behave.status(500))
    assert re.fullmatch(r"fwd=stale; ttl=-\d+; detail=memory", status())
    assert status() == "fwd=stale; stored"


# ---- purges ----


def test_purge_by_prefix_and_tag(start, provider):
    def tool(*tags):
        return {"upstream": "array", "annotations": {"read_only": True},
                "cache": {"ttl": "1h", "scope": "shared", "tags": list(tags)}}

    gateway = start({"tools": {"web_a": tool("x"), "web_b": tool("y"), "we": tool("x", "y")}})
    names = ("web_a", "web_b", "we")

    def purged(query):
        """What is no longer there after a purge, of all three."""
        for name in names:
            gateway.call(name)
        reply = gateway.request("DELETE", f"/admin/cache?{query}", listener="admin")
        assert reply.status == 200, reply
        gone = {name for name in names if gateway.call(name, Cache_Control="only-if-cached").status == 504}
        assert reply.json()["purged"] == len(gone)
        return gone

    assert purged("prefix=web_") == {"web_a", "web_b"}
    assert purged("prefix=we") == {"web_a", "web_b", "we"}
    assert purged("prefix=web_&tag=y") == {"web_b"}
    assert purged("tag=x") == {"web_a", "we"}
    assert purged("prefix=nothing") == set()
    assert purged("tool=we&prefix=web") == set()
    assert purged("") == set(names)


# ---- stampedes ----


def test_a_hot_answer_is_fetched_anew_before_it_ends(start, provider):
    gateway = start({"tools": {"cached": {"cache": {"ttl": "4s"}}}})

    def slow(delivery, wire):
        time.sleep(0.5)
        behave.echo(delivery, wire)

    provider.behaviour = slow
    assert verdict(gateway.call("cached")) == "miss"
    seen = set()

    def ask():
        """Many at once: each is a throw of the dice, and the fewer there are, the likelier the end comes first."""
        results = gateway.batch([{"id": str(n), "tool": "cached"} for n in range(50)]).json()["results"]
        seen.update(result["cache"] for result in results)
        return len(provider.calls) >= 4

    until(ask, "it was fetched four times")
    assert seen == {"hit"}
    assert gateway.metrics().sum("cache_refreshes_total", upstream="array", result="begun") >= 3


def test_background_refreshes_are_bounded(start, provider):
    gateway = start({"upstreams": {"array": {"refreshes": 2}},
                     "tools": {"cached": {"cache": {"ttl": "50ms", "stale_while_revalidate": "1h"}}}})
    for n in range(6):
        gateway.call("cached", {"n": n})
    until(lambda: all(ttl(gateway.call("cached", {"n": n}, Cache_Control="only-if-cached")) < 0 for n in range(6)),
          "all are stale")
    provider.hold()
    before = len(provider.calls)
    for n in range(6):
        assert gateway.call("cached", {"n": n}).status == 200
    until(lambda: gateway.metrics().sum("cache_refreshes_total", upstream="array") == 6, "the owner has heard of all of them")
    metrics = gateway.metrics()
    assert metrics.sum("cache_refreshes_total", upstream="array", result="begun") == 2
    assert metrics.sum("cache_refreshes_total", upstream="array", result="skipped") == 4
    provider.release()
    until(lambda: len(provider.calls) == before + 2, "two were fetched")


def test_what_a_purge_would_drop_is_told_and_stays(start, provider):
    def tool(*tags):
        return {"upstream": "array", "annotations": {"read_only": True}, "cache": {"ttl": "1h", "scope": "shared", "tags": list(tags)}}

    def counted(query=""):
        reply = gateway.get("/admin/cache/count" + query, "admin")
        assert reply.status == 200, reply
        memory = reply.json()["memory"]
        assert memory["status"] == "counted" and (memory["bytes"] > 0) == (memory["entries"] > 0) and set(reply.json()) == {"memory"}
        return memory["entries"]

    gateway = start({"tools": {"eu_news": tool("eu", "news"), "eu_sport": tool("eu"), "us_news": tool("us", "news")}})
    for count, name in enumerate(("eu_news", "eu_sport", "us_news"), 1):
        for n in range(10 * count):
            gateway.call(name, {"n": n})
    assert counted() == 60 and counted("?tool=eu_sport") == 20 and counted("?prefix=eu_") == 30
    assert counted("?tag=news") == 40 and counted("?tag=news&prefix=us") == 30 and counted("?tag=nobody") == 0
    key = gateway.call("eu_news", {"n": 1}).header("cache-status")
    assert "hit" in key and counted() == 60, "nothing has been dropped"
    assert gateway.request("DELETE", "/admin/cache?tag=news", listener="admin").json()["purged"] == 40
    assert counted() == 20 and counted("?tag=news") == 0
    for query, status in (("?tool=nobody", 404), ("?key=x", 400), ("?tol=x", 400), ("?tool=", 400)):
        assert gateway.get("/admin/cache/count" + query, "admin").status == status, query
    assert gateway.get("/admin/cache/count").status == 404, "the data listener has no such path"
    assert gateway.request("POST", "/admin/cache/count", b"{}", {"Content-Type": "application/json"}, "admin").status == 405
