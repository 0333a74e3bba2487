# SPDX-License-Identifier: Apache-2.0
"""What a reload changes in the running process: limits, log, proxies, caches, and the options of what runs on."""
import itertools
import json
import shutil
import sys
import threading
from pathlib import Path

import pytest

from harness.mcp_server import HINTS, McpServer, tool
from harness.poll import until
from harness.provider import Provider, answering
from harness.reload import NOTHING, in_force, reload, reloaded, write

SERVER = Path(__file__).parent / "harness" / "stdio_server.py"
PROCESS = {"dialect": "mcp-stdio", "command": sys.executable, "args": [str(SERVER)], "timeout": "15s",
           "pool": {"min": 1, "max": 1, "restart_backoff": "20ms"}}


def test_limits_of_requests_change_on_open_connections(start):
    gateway = start({"limits": {"body": "1KiB", "headers": "1KiB", "json_depth": 8}})
    large, deep = json.dumps({"a": "x" * 2000}).encode(), b'{"a":' + b"[" * 20 + b"]" * 20 + b"}"
    long_head = {"X-Long": "y" * 3000}
    with gateway.connect() as kept, gateway.connect() as other:
        def call(connection, body, headers=()):
            return connection.request("POST", "/v1/tools/write", body, headers).status

        assert call(kept, b"{}") == 200 and call(other, deep) == 400
        assert gateway.call("write", large).status == 413
        assert gateway.call("write", b"{}", X_Long="y" * 3000).status == 431
        told = reloaded(gateway, {"limits": {"body": "4KiB", "headers": "8KiB", "json_depth": 64}})
        assert told["changed"]["settings"] == ["limits.body", "limits.headers", "limits.json_depth"]
        until(lambda: gateway.call("write", large).status == 200, "longer bodies are taken")
        until(lambda: gateway.call("write", b"{}", X_Long="y" * 3000).status == 200, "longer heads are taken")
        assert call(other, deep) == 200, "a deeper one, on a connection that was there"
        reply = kept.request("POST", "/v1/tools/write", large)
        assert (reply.status, reply.header("connection")) == (200, "close"), "its memory is too small for longer heads"
    reloaded(gateway, {"limits": {"body": "1KiB", "headers": "1KiB", "json_depth": 8}})
    until(lambda: gateway.call("write", large).status == 413, "and less again")
    until(lambda: gateway.request("POST", "/v1/tools/write", b"{}", long_head).status == 431, "heads too")
    assert gateway.call("write", deep).status == 400


def test_json_depth_is_that_of_answers_too(start, provider):
    """Whether the upstream is another one or not."""
    deep = json.loads("[" * 20 + "]" * 20)
    gateway = start({"limits": {"json_depth": 8}})
    provider.behaviour = answering({"a": deep})
    assert gateway.call("write").status == 502
    reloaded(gateway, {"limits": {"json_depth": 64}})
    until(lambda: gateway.call("write").status == 200, "deeper answers are taken")


def test_places_change(start, provider, later):
    """limits.in_flight and limits.connections."""
    gateway = start({"limits": {"in_flight": 1}})
    provider.hold()
    first = later(gateway.call, "write", {"n": 1})
    provider.until_calls(1)
    assert gateway.call("write", {"n": 2}).status == 503
    reloaded(gateway, {"limits": {"in_flight": 2}})
    until(lambda: gateway.metrics().sum("limits", limit="in_flight") == 2, "the bound in force is told")
    second = later(gateway.call, "write", {"n": 3})
    provider.until_calls(2)
    reloaded(gateway, {"limits": {"in_flight": 1, "connections": 1}})
    provider.release()
    assert first.result(20).status == 200 and second.result(20).status == 200

    def served():
        connection = gateway.connect()
        if connection.request("GET", "/healthz").status == 200:
            return connection
        return connection.close()

    with until(served, "the connections before are gone"):
        until(lambda: gateway.get("/healthz").status == 503, "no second connection")
        reloaded(gateway, {"limits": {"connections": 10}})
        until(lambda: gateway.get("/healthz").status == 200, "a second connection")


def test_an_idle_connection_is_kept_as_long_as_the_newest_file_says(start):
    gateway = start({"limits": {"idle_timeout": "1h"}})
    with gateway.connect() as kept:
        assert kept.request("GET", "/healthz").status == 200
        reloaded(gateway, {"limits": {"idle_timeout": "1ms"}})
        until(kept.closed, "it is closed")


def test_whom_to_trust_changes_on_open_connections(start):
    gateway = start({"trusted_proxies": ["192.0.2.0/24"], "identity": {"tenant_header": "X-Tenant"},
                     "tools": {"cached": {"cache": {"scope": "tenant"}}}})
    with gateway.connect() as kept:
        def source(tenant):
            reply = kept.request("POST", "/v1/tools/cached", b'{"a":1}', {"X-Tenant": tenant})
            assert reply.status == 200
            return "hit" in reply.header("cache-status")

        source("one")
        assert source("two"), "nobody is believed: they are all the same"
        reloaded(gateway, {"trusted_proxies": ["127.0.0.0/8"]})
        source("one")
        assert source("one") and not source("two"), "each has his own"


def test_the_log_changes(start, tmp_path):
    gateway = start()
    other = tmp_path / "other.log"
    told = reloaded(gateway, {"log": {"file": str(other), "format": "json", "level": "debug"}})
    assert told["changed"]["settings"] == ["log.level", "log.format", "log.file"]
    assert gateway.call("echo").status == 200
    until(lambda: any(json.loads(line)["event"] == "call" or "tool" in json.loads(line)
                      for line in other.read_text().splitlines()), "the call is in the new one")
    assert json.loads(other.read_text().splitlines()[0])["event"] == "config_reloaded"
    renamed = tmp_path / "renamed.log"
    other.rename(renamed)
    assert reload(gateway)[0] == 200
    until(lambda: other.exists() and "config_reloaded" in other.read_text(), "each reload opens it anew")
    reloaded(gateway, {"log": {"file": "stderr", "format": "logfmt", "level": "error"}})
    assert gateway.call("echo", x_request_id="unheard").status == 200
    assert gateway.stop() == 0      # all that there is to write is written
    assert not [event for event in gateway.events() if event.get("request_id") == "unheard" or event["event"] == "stopped"], "nothing but errors"


@pytest.mark.skipif(not shutil.which("prlimit"), reason="no prlimit")
def test_a_limit_on_files_that_is_too_low_for_the_new_limits_is_told(start):
    gateway = start({"limits": {"connections": 100}}, before=["prlimit", "--nofile=3000"])
    assert not gateway.events("fd_limit_low")
    for times in (1, 2):
        reloaded(gateway, {"limits": {"connections": 50_000 * times}})
        until(lambda: len(gateway.events("fd_limit_low")) == times, "it is told")  # pylint: disable=cell-var-from-loop
        reloaded(gateway, {"tools": {"write": {"description": f"Number {times}."}}})
        until(lambda: len(gateway.events("config_reloaded")) == 2 * times, "told, too")  # pylint: disable=cell-var-from-loop
        assert len(gateway.events("fd_limit_low")) == times, "once for each new need"
    assert "is 3000;" in gateway.events("fd_limit_low")[0]["message"]


def test_what_cannot_be_opened_changes_nothing(start, tmp_path):
    """All of a file is in force, or nothing of it."""
    gateway = start()
    write(gateway, {"log": {"file": str(tmp_path)}, "limits": {"body": "1B"}, "tools": {"fresh": {"upstream": "array"}}})
    status, told = reload(gateway)
    assert status == 422 and "cannot open the log" in told["errors"][0]
    assert gateway.call("echo", {"a": 1}).status == 200 and gateway.call("fresh").status == 404
    assert in_force(gateway)["limits"]["body"] == "8MiB" and in_force(gateway)["generation"] == 1
    write(gateway, {"log": {"file": "stderr"}})
    assert reload(gateway)[0] == 200
    assert gateway.call("echo", {"a": 1}).status == 413


def test_memory_shrinks_and_grows(start):
    gateway = start({"cache": {"memory": {"size": "4MiB"}}})
    for number in range(100):
        assert gateway.call("cached", {"n": number, "x": "y" * 4000}).status == 200

    def entries():
        return gateway.metrics().sum("cache_entries", tier="memory")

    assert entries() == 100
    told = reloaded(gateway, {"cache": {"memory": {"size": "512KiB"}}})
    assert told["changed"]["settings"] == ["cache.memory.size"] and told["needs_restart"] == []
    assert 0 < entries() < 100
    metrics = gateway.metrics()
    assert metrics.sum("cache_bytes", tier="memory") <= 512 << 10
    assert metrics.sum("cache_evictions_total", tier="memory", reason="size") == 100 - entries()
    reloaded(gateway, {"cache": {"memory": {"size": "0"}}})
    assert entries() == 0
    assert gateway.call("cached", {"n": 1}).status == 200 and entries() == 0
    told = reloaded(gateway, {"cache": {"memory": {"size": "16MiB"}}, "tools": {"fresh": {"upstream": "array"}}})
    assert told["needs_restart"] == []
    for number in range(200):
        assert gateway.call("cached", {"n": number, "x": "y" * 4000}).status == 200
    assert entries() == 200
    told = reloaded(gateway, {"cache": {"memory": {"size": "64MiB"}}, "tools": {"fresh": None}})
    assert told["needs_restart"] == ["cache.memory.size"] and told["changed"]["tools"]["removed"] == ["fresh"]
    assert in_force(gateway)["cache"]["memory"]["size"] == "16MiB" and entries() == 200


def asking(gateway, later, ended, tools):
    """Callers that ask all the time, until `ended` is set; each returns the statuses it has had."""
    def ask(tool):
        statuses = set()
        for number in itertools.count():
            if ended.is_set():
                return statuses
            statuses.add(gateway.call(tool, {"n": number % 100}).status)

    return [later(ask, tool) for tool in tools]


def test_redis_comes_moves_and_goes(start, run_redis, later):
    gateway = start()
    ended = threading.Event()
    asked = asking(gateway, later, ended, ("cached", "write"))
    try:
        for redis in (run_redis(), run_redis()):
            told = reloaded(gateway, {"cache": {"redis": {"url": redis.url}}})
            assert "cache.redis.url" in told["changed"]["settings"] and told["needs_restart"] == []
            gateway.until_metric("redis_up", 1)
            gateway.until_metric("redis_tracking", 1)
            for number in itertools.count():
                gateway.call("cached", {"url": redis.url, "n": number})
                if any(len(key) > 64 for key in redis.keys()):
                    break
        assert gateway.request("DELETE", "/admin/cache?tool=cached", listener="admin").status == 200
        until(lambda: redis.ask("ZCARD", "jitney:1:purges"), "purges are published there")
        told = reloaded(gateway, {"cache": {"redis": None}})
        assert "cache.redis.url" in told["changed"]["settings"] and told["needs_restart"] == []
        gateway.until_metric("redis_up", 0)
        until(lambda: b"jitney-" not in redis.ask("CLIENT", "LIST"), "nobody is connected")
        assert gateway.call("cached", {"in": 9}).status == 200
        assert "hit" in gateway.call("cached", {"in": 9}).header("cache-status")
        assert "redis" not in json.loads(gateway.get("/admin/cache", "admin").body)
    finally:
        ended.set()
    assert [one.result(20) for one in asked] == [{200}, {200}]


def test_redis_that_stays_is_not_connected_anew(start, redis):
    gateway = start({"cache": {"redis": {"url": redis.url}}})
    gateway.until_metric("redis_up", 1)
    connects = gateway.metrics().sum("redis_connects_total")
    for number in range(5):
        reloaded(gateway, {"tools": {"write": {"description": f"Number {number}."}}})
    assert gateway.metrics().sum("redis_connects_total") == connects


ADJUSTED = {"timeout": "9s", "answer": "1MiB", "refreshes": 9, "hedge": "5s", "dns_ttl": "9s", "balance": "fastest",
            "concurrency": 9, "retries": {"attempts": 3, "budget": "9%"}, "ejection": {"failures": 9},
            "batch": {"items": 9, "window": "9ms", "writes": "any"}, "queue": {"items": 99, "wait": "9s"},
            "pool": {"idle_timeout": "9m", "connect_timeout": "9s"}, "rate": {"requests": "9000/s"}}


@pytest.fixture
def second():
    second = Provider()
    second.release()
    yield second
    second.finish()


def test_an_upstream_whose_options_are_adjusted_runs_on(start, provider, second):
    gateway = start({"workers": 1, "upstreams": {"array": {"balance": "round_robin", "endpoints": [
        {"url": provider.url("/rpc"), "weight": 1}, {"url": second.url("/rpc"), "weight": 1}]}}})
    for number in range(8):
        assert gateway.call("echo", {"n": number}).status == 200
    connects = gateway.metrics().sum("upstream_connects_total", upstream="array")
    for option, value in ADJUSTED.items():
        told = reloaded(gateway, {"upstreams": {"array": {option: value}}})
        assert told["changed"]["upstreams"]["changed"] == ["array"] and told["needs_restart"] == [], option
        assert gateway.call("echo", {"o": option}).status == 200
        if option == "concurrency":
            assert gateway.metrics().sum("concurrency_limit", upstream="array") == 9
    reloaded(gateway, {"upstreams": {"array": {"endpoints": [
        {"url": provider.url("/rpc"), "weight": 9}, {"url": second.url("/rpc"), "weight": 1, "drain": True}]}}})
    for number in range(8):
        assert gateway.call("echo", {"w": number}).status == 200
    assert gateway.metrics().sum("endpoint_state", upstream="array", state="draining") == 1
    assert gateway.metrics().sum("upstream_connects_total", upstream="array") == connects, "they are all as warm as before"


def test_adjusted_options_have_effect(start, provider):
    gateway = start({"upstreams": {"array": {"timeout": "30s", "retries": {"attempts": 1}}}})
    assert gateway.call("write").status == 200
    provider.hold()
    reloaded(gateway, {"upstreams": {"array": {"timeout": "50ms"}}})
    assert gateway.call("echo", {"late": 1}).status == 504
    reloaded(gateway, {"upstreams": {"array": {"timeout": "30s", "queue": {"items": 1}, "concurrency": 1}}})
    provider.release()
    assert gateway.call("write").status == 200
    reloaded(gateway, {"upstreams": {"array": {"answer": "1KiB"}}})
    assert gateway.call("echo", {"x": "y" * 4000}).status == 502


def test_what_makes_an_upstream_another_one(start, provider):
    gateway = start()
    assert gateway.call("echo").status == 200
    reloaded(gateway, {"upstreams": {"array": {"headers": {"X-Other": "1"}}}})
    assert gateway.call("echo", {"n": 1}).status == 200
    assert provider.deliveries[-1].headers["x-other"] == "1"
    reloaded(gateway, {"upstreams": {"array": {"endpoints": [{"url": provider.url("/other")}]}}})
    gateway.call("echo", {"n": 2})
    assert provider.deliveries[-1].path == "/other"


def test_processes_and_sessions_outlive_their_options(start, provider):
    server = McpServer(list_changed=True, tools=[tool("echo", **HINTS), tool("odd")])
    try:
        gateway = start({"upstreams": {"child": PROCESS, "m": {
            "dialect": "mcp", "endpoints": [{"url": server.url()}], "trust_hints": True}}})
        until(lambda: gateway.call("m__echo").status == 200 and gateway.call("child__echo").status == 200, "all is there")
        opens = gateway.metrics().sum("mcp_opens_total")
        pid = json.loads(gateway.call("child__pid").body)
        for changes in ({"child": {"pool": {"calls": 9}}, "m": {"timeout": "9s"}},
                        {"child": {"timeout": "9s"}, "m": {"names": "plain"}},
                        {"m": {"expose": {"deny": ["odd"]}}},
                        {"m": {"cache": {"ttl": "1m", "scope": "shared"}}}):
            told = reloaded(gateway, {"upstreams": changes})
            assert sorted(told["changed"]["upstreams"]["changed"]) == sorted(changes)
        assert json.loads(gateway.call("child__pid").body) == pid
        assert gateway.metrics().sum("mcp_opens_total") == opens
        assert gateway.metrics().sum("upstream_process_starts_total") == 1
        names = {each["name"] for each in json.loads(gateway.get("/v1/tools").body)["tools"]}
        assert "echo" in names and "odd" not in names and "m__echo" not in names
        gateway.call("echo", {"c": 1})
    finally:
        server.finish()


def test_what_needs_a_restart_is_named_and_the_rest_is_in_force(start, tmp_path):
    gateway = start({"cache": {"disk": {"path": str(tmp_path / "disk")}}})
    told = reloaded(gateway, {"workers": 3, "cache": {"disk": {"size": "2GiB"}},
                              "drain_timeout": "3s", "reply_headers": "minimal", "core_dumps": True})
    assert told["needs_restart"] == ["workers", "cache.disk.size"]
    assert told["changed"] == {"tools": NOTHING, "upstreams": NOTHING,
                               "settings": ["drain_timeout", "core_dumps", "reply_headers"]}
    until(lambda: gateway.call("echo").header("cache-status") is None, "replies are minimal")
    now = in_force(gateway)
    assert (now["workers"], now["drain_timeout"], now["cache"]["disk"]["size"]) == (2, "3s", "1GiB")
    write(gateway, {"cache": {"disk": None, "redis": {"url": "redis://127.0.0.1:1"}}})
    told = reload(gateway)[1]
    assert "cache.redis.url" in told["needs_restart"] and gateway.call("cached").status == 200
