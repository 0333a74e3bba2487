# SPDX-License-Identifier: Apache-2.0
"""A name server that never answers: what it costs, and whom."""
import pytest

from harness.poll import until

FAILURES = 6


@pytest.mark.slow
def test_a_dead_name_server_costs_a_thread_for_each_name(start, together, names):
    names.silent = True
    lost = {f"lost{n}": {"dialect": "jsonrpc", "concurrency": 40, "pool": {"max": 40, "connect_timeout": "100ms"}, "batch": {"mode": "off"},
                         "endpoints": [{"url": f"http://provider{n}.example.test/rpc"}]} for n in range(2)}
    tools = {f"ask{n}": {"upstream": f"lost{n}", "annotations": {"read_only": True}} for n in range(2)}
    redis = {"url": "redis://redis.example.test:6379", "connect_timeout": "100ms"}
    gateway = start({"upstreams": lost, "tools": tools, "cache": {"redis": redis}}, before=names.before)
    until(lambda: names.asked.get("redis.example.test"), "Redis' name is asked for")
    calls = [(f"ask{n % 2}", {"q": n}) for n in range(60)]
    for _ in range(3):
        replies = together(lambda call: gateway.call(*call), calls)
        assert {reply.code for reply in replies} <= {"upstream_unavailable", "overloaded"}, replies
        assert gateway.call("write").status == 200
    for name in lost:       # it is tried again and again, each time in vain
        until(lambda name=name: gateway.metrics().sum("endpoint_checks_total", upstream=name, result="failed") >= FAILURES, "tried")
    assert gateway.threads("resolver") <= 3     # one for each name
    assert gateway.threads() < 16
    assert gateway.metrics().sum("upstream_unresolved_total", upstream="lost0") >= FAILURES
