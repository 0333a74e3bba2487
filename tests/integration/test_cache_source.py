# SPDX-License-Identifier: Apache-2.0
"""Whose answers they are: another account, database or authority behind a tool is another source, in every tier."""
import sys

import pytest

from harness.gateway import TOP
from harness.redis import SERVER
from test_cache import verdict
from test_disk import up as on_disk
from test_redis import stored, tier, up

SERVERS = TOP / "tests/integration/harness/stdio_server.py"


def with_token(provider):
    return {"upstreams": {"array": {"headers": {"Authorization": "Bearer ${TOKEN}"}}}}


@pytest.mark.skipif(SERVER is None, reason="no redis-server")
def test_another_account_behind_the_provider_is_another_source(start, redis, provider):
    settings = {**tier(redis.url), **with_token(provider)}
    alice = up(start(settings, environment={"TOKEN": "alice"}))
    bob = up(start(settings, environment={"TOKEN": "bob"}))
    assert verdict(alice.call("cached", {"q": 1})) == "miss"
    stored(redis)
    assert verdict(bob.call("cached", {"q": 1})) == "miss"
    assert len(provider.calls) == 2
    assert verdict(up(start(settings, environment={"TOKEN": "alice"})).call("cached", {"q": 1})) == "hit"


def test_a_secret_shows_nowhere(start, provider):
    versions = set()
    for token in ("alice", "bob"):
        page = start(with_token(provider), environment={"TOKEN": token}).get("/admin/tools", listener="admin")
        assert token.encode() not in page.body
        versions |= {tool["version"] for tool in page.json()["tools"] if tool["name"] == "cached"}
    assert len(versions) == 1  # what callers see says what a tool means


def test_another_environment_of_a_program_is_another_source(start, tmp_path):
    def settings(database):
        return {"cache": {"disk": {"path": str(tmp_path / "kept"), "timeout": "5s"}},
                "upstreams": {"program": {"dialect": "jsonrpc-stdio", "command": sys.executable,
                                          "args": [str(SERVERS), "--plain"], "env": {"DATABASE": database}}},
                "tools": {"pid": {"upstream": "program", "method": "pid",
                                  "annotations": {"read_only": True}, "cache": {"ttl": "1h", "scope": "shared"}}}}

    first = on_disk(start(settings("production")))
    body = first.call("pid").body
    first.stop()
    second = on_disk(start(settings("staging")))
    assert second.call("pid").body != body
    second.stop()
    assert on_disk(start(settings("production"))).call("pid").body == body
