# SPDX-License-Identifier: Apache-2.0
"""jitney explain TOOL: what decides whose answer a call may get, and with whom it travels. That it is true: the same calls are made."""
import json

import pytest
import yaml

from harness.gateway import standard
from test_process import jitney


@pytest.fixture
def explain(tmp_path, provider):
    def run(tool, document=None):
        base = standard(provider)
        for name, changes in (document or {}).get("tools", {}).items():
            base["tools"].setdefault(name, {}).update(changes)
        if document and "cache" in document:
            base["cache"] = document["cache"]
        path = tmp_path / "explain.yaml"
        path.write_text(yaml.safe_dump(json.loads(json.dumps(base))))
        return jitney("explain", "-c", path, tool)

    return run


def test_a_tool_that_may_be_repeated(explain):
    done = explain("cached")
    assert done.returncode == 0, done.stderr
    assert "share one fetch" in done.stdout and "cache key  the same as of the flight" in done.stdout
    assert "lane       upstream array" in done.stdout and "everybody's (cache.scope: shared)" in done.stdout


def test_a_tool_with_effects_has_no_flight_and_no_cache(explain):
    done = explain("write", {"tools": {"write": {"upstream": "array"}}})
    assert done.returncode == 0, done.stderr
    assert "flight     none" in done.stdout and "nothing is kept" in done.stdout
    assert "of the same caller (batch.writes: caller)" in done.stdout


def test_what_keeps_nothing_is_not_told_as_kept(explain):
    done = explain("cached", {"tools": {"cached": {"cache": {"ttl": "0", "negative_ttl": "10s"}}}})
    assert "nothing is kept: cache.ttl is not set" in done.stdout and "cache key" not in done.stdout, done.stdout


def test_where_it_is_kept_is_told_as_it_is(explain):
    redis = {"redis": {"url": "redis://127.0.0.1:1"}}
    assert "    in         memory\n" in explain("cached").stdout
    assert "    in         memory, Redis\n" in explain("cached", {"cache": redis}).stdout
    assert "    in         Redis\n" in explain("cached", {"cache": {"memory": {"size": 0}, **redis}}).stdout
    done = explain("cached", {"cache": {"memory": {"size": 0}}})
    assert "nothing is kept: cache.memory.size is 0" in done.stdout and "cache key" not in done.stdout, done.stdout


def test_the_lane_is_told_as_it_is(tmp_path):
    path = tmp_path / "lanes.yaml"
    url = [{"url": "http://127.0.0.1:1/x"}]
    path.write_text(json.dumps({
        "upstreams": {"shop": {"dialect": "graphql", "endpoints": url, "graphql": {"max": 7}},
                      "alone": {"dialect": "jsonrpc", "endpoints": url, "batch": {"writes": "alone"}},
                      "any": {"dialect": "jsonrpc", "endpoints": url, "batch": {"writes": "any", "items": 3}}},
        "tools": {"order": {"upstream": "shop", "operation": "mutation ($n: Int) { order(n: $n) }"},
                  "write": {"upstream": "alone"}, "log": {"upstream": "any"}}}))
    said = {tool: jitney("explain", "-c", path, tool).stdout for tool in ("order", "write", "log")}
    assert "up to 7 calls a request" in said["order"] and "graphql can put into one request" in said["order"], said
    assert "nothing: each call is a request of its own (batch.writes: alone)" in said["write"], said
    assert "up to 3 calls a request" in said["log"] and "calls of anybody (batch.writes: any)" in said["log"], said


def test_scopes_filters_and_tags_are_told(explain):
    done = explain("cached", {"tools": {"cached": {"cache": {"ttl": "5m", "stale_if_error": "1h", "scope": "caller", "tags": ["a", "b"],
                                                             "key": {"ignore": ["trace"]}}}}})
    for text in ("one caller's (cache.scope: caller)", "all but trace (cache.key.ignore)", "fresh for 5m", "fails for 1h", "tags       a, b"):
        assert text in done.stdout, (text, done.stdout)


def test_no_secret_is_told(tmp_path, provider):
    document = standard(provider)
    document["upstreams"]["array"]["headers"] = {"Authorization": "Bearer ${HUSH}"}
    path = tmp_path / "secret.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(document))))
    done = jitney("explain", "-c", path, "cached", environment={"HUSH": "hunter2"})
    assert done.returncode == 0 and "hunter2" not in done.stdout


@pytest.mark.parametrize("words, code, text", [
    (["nothing_here"], 2, "declares no tool"),
    ([], 2, "name one tool"),
    (["a", "b"], 2, "name one tool"),
    (["--no-such", "a"], 2, "option"),
    (["-h"], 0, "usage: jitney explain"),
])
def test_what_is_wrong_is_said(tmp_path, provider, words, code, text):
    path = tmp_path / "jitney.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(standard(provider)))))
    done = jitney("explain", "-c", path, *words)
    assert done.returncode == code and text in done.stdout + done.stderr


def test_a_file_without_an_end_is_given_up():
    for command in (["import", "/dev/zero"], ["explain", "-c", "/dev/zero", "tool"], ["check", "-c", "/dev/zero"]):
        done = jitney(*command)
        assert done.returncode in (1, 2), (command, done)
        assert "too large" in done.stderr or "has not ended within 5 s" in done.stderr, (command, done)
