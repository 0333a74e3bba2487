# SPDX-License-Identifier: Apache-2.0
"""GET /admin/stats: the one document that the views read."""
import re

from harness import provider as behave
from harness.poll import until

OUTCOMES = r"internal|upstream_.*|overloaded|outcome_unknown|deadline_exceeded"


def stats(gateway):
    reply = gateway.get("/admin/stats", "admin")
    assert reply.status == 200 and reply.header("content-type").startswith("application/json")
    return reply.json()


def named(rows, name):
    return next(row for row in rows if row["name"] == name)


def test_it_has_what_the_contract_says(gateway):
    page = stats(gateway)
    assert {"at", "version", "generation", "process", "workers", "totals", "rates", "tools", "upstreams", "cache", "processes"} <= set(page)
    assert page["process"]["rss_bytes"] > 1 << 20 and page["generation"] == 1
    assert all(set(worker) == {"busy_ratio", "lag_us"} for worker in page["workers"])
    assert set(page["rates"]) == {"1s", "10s", "5m"}
    assert [tool["name"] for tool in page["tools"]] == sorted(tool["name"] for tool in page["tools"])
    for row in (*page["tools"], *page["upstreams"]):
        assert {"name", "p50_us", "p99_us", "errors", "saved_requests"} <= set(row)


def test_it_agrees_with_the_metrics(gateway, provider):
    for n in range(4):
        gateway.call("cached", {"n": n % 2})
    provider.next(behave.status(500), behave.failing(1, "no"))
    gateway.call("write", {"n": 1})
    gateway.call("write", {"n": 2})
    gateway.until_metric("batch_in_flight", 0)      # a call is answered before its batch has completed
    page, metrics = stats(gateway), gateway.metrics()
    by_outcome = metrics.by("requests_total", "outcome")
    assert page["totals"]["calls"] == sum(by_outcome.values())
    assert page["totals"]["errors"] == sum(count for word, count in by_outcome.items() if re.fullmatch(OUTCOMES, word))
    assert page["totals"]["hits"] == metrics.sum("cache_requests_total", tier="memory", result="hit")
    assert page["totals"]["requests"] == metrics.sum("batch_items_count")
    for tool in page["tools"]:
        assert tool["calls"] == metrics.sum("requests_total", tool=tool["name"]), tool
    for upstream in page["upstreams"]:
        assert upstream["requests"] == metrics.sum("upstream_requests_total", upstream=upstream["name"]), upstream
        assert upstream["saved_requests"] == metrics.sum("batch_saved_requests_total", upstream=upstream["name"])
    memory = next(tier for tier in page["cache"] if tier["tier"] == "memory")
    assert memory["entries"] == metrics.sum("cache_entries", tier="memory") and memory["hit"] == page["totals"]["hits"]


def test_latencies_are_of_those_who_were_called(gateway):
    gateway.call("echo", {"n": 77})
    page = stats(gateway)
    assert named(page["tools"], "echo")["p50_us"] > 0
    assert any(tool["calls"] == 0 and tool["p50_us"] is None for tool in page["tools"])


def test_rates_rise_when_calls_come_and_fall_when_they_stop(gateway):
    def rate(window):
        return stats(gateway)["rates"][window]["calls"]

    def calls_come():
        gateway.call("echo", {"n": 5})
        return rate("1s") > 0

    until(calls_come, "the last second has calls")
    page = stats(gateway)
    assert 0 < page["rates"]["5m"]["calls"] and page["rates"]["5m"]["span_s"] >= page["rates"]["1s"]["span_s"] >= 1
    series = page["series"]
    assert len(series["calls"]) == len(series["errors"]) == len(series["p99_us"]) <= 60 and max(series["calls"]) > 0
    until(lambda: rate("1s") == 0, "the last second has none")


def test_only_the_admin_listener_has_it(gateway):
    assert gateway.get("/admin/stats").status == 404
    assert gateway.request("POST", "/admin/stats", listener="admin").status == 405
