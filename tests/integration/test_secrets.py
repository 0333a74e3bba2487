# SPDX-License-Identifier: Apache-2.0
"""What ${...} stands for is said nowhere: every place of a configuration that may hold a secret has one of its own, and all that
can fail does. Less the host of a URL, which is said (docs/configuration.md)."""
import json
import os
import re
import subprocess

import pytest
import yaml

from harness import provider as behave
from harness.gateway import JITNEY
from harness.poll import until
from harness.redis import SERVER
from test_alerts_inside import Receiver

NOW = {"for": "0"}
PLACES = ("header", "way", "argument", "variable", "program", "folder", "redis", "seal", "collector", "span", "hook", "hooked",
          "constant", "query", "template", "body", "health", "reloaded", "user")
SECRETS = {place.upper(): f"kanari-{place}-7xq" for place in PLACES}
CALLER = {"Authorization": "Bearer kanari-caller-7xq", "X-Api-Key": "kanari-caller-7xq", "Cookie": "id=kanari-caller-7xq",
          "Idempotency-Key": "kanari-caller-7xq"}
PAGES = ("/", "/admin/alerts", "/admin/cache", "/admin/cache/count", "/admin/cache/export", "/admin/calls", "/admin/config",
         "/admin/stats", "/admin/tools", "/admin/upstreams", "/debug/pprof/threads", "/metrics", "/readyz", "/openapi.json", "/v1/tools")


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


def upstreams(provider, redis, nobody, black_hole):
    """One for each way to fail before there is an answer, and one that is answered 401."""
    def rest(url, **more):
        return {"dialect": "rest", "endpoints": [{"url": url}], "headers": {"Authorization": "Bearer ${HEADER}", "X-Key": "${HEADER}"}, **more}

    return {
        "refused": rest(f"{nobody}/${{WAY}}/x", health={"path": "/${HEALTH}", "interval": "100ms"}),
        "nameless": rest("http://none.invalid:1/${WAY}"),
        "untrusted": rest(f"https://127.0.0.1:{redis.port}/${{WAY}}"),
        "silent": rest(f"http://127.0.0.1:{black_hole.port}/${{WAY}}", timeout="200ms"),
        "unwelcome": rest(provider.url("/${WAY}")),
        "server": {"dialect": "mcp", "endpoints": [{"url": f"{nobody}/${{WAY}}"}], "headers": {"Authorization": "${HEADER}"}},
        "missing": {"dialect": "mcp-stdio", "command": "/nonexistent/${PROGRAM}", "args": ["--token", "${ARGUMENT}"]},
        "astray": {"dialect": "mcp-stdio", "command": "cat", "cwd": "/nonexistent/${FOLDER}"},
        "dies": {"dialect": "jsonrpc-stdio", "command": "sh", "args": ["-c", "exit 3", "${ARGUMENT}"], "env": {"TOKEN": "${VARIABLE}"}},
    }


def tools():
    request = {"method": "POST", "path": "/go/${TEMPLATE}/{id}", "query": {"api_key": "${QUERY}"}, "headers": {"X-Token": "${TEMPLATE}"},
               "body": '{"key":"${BODY}","id":{id}}'}
    kept = {"request": request, "annotations": {"read_only": True}, "cache": {"ttl": "1h", "scope": "shared"}}
    return {**{name: {"upstream": name, **kept} for name in ("refused", "nameless", "untrusted", "silent", "unwelcome")},
            "dies": {"upstream": "dies"}, **{f"{name}_one": {"upstream": name, "arguments": {"key": "${CONSTANT}"}}
                                             for name in ("server", "missing", "astray")}}


def outside(redis, collector, receiver):
    watched = ("upstream_down", "endpoint_ejected", "redis_down", "reload_failed", "tools_stale", "process_restarts")
    return {
        "cache": {"redis": {"url": f"redis://127.0.0.1:{redis.port}", "password": "${REDIS}", "secret": "${SEAL}${SEAL}"}},
        "tracing": {"otlp": {"endpoint": collector.url + "/${SPAN}", "headers": {"X-Token": "${COLLECTOR}"}, "sample": "100%"}},
        "alerts": {**{name: NOW for name in watched},
                   "webhook": {"url": receiver.url + "&token=${HOOK}", "headers": {"Authorization": "${HOOKED}"}}}}


def wrong(config):
    """Secrets where each of them is complained about."""
    one = "${RELOADED}"
    return {**config, "limits": {"body": one, "calls": one}, "log": {"level": one}, "drain_timeout": one, "trusted_proxies": [one],
            "identity": {"tenant_header": f"{one} {one}"}, "cache": {"redis": {"url": f"redis://${{USER}}:{one}@{one}:99999/x"}}}


def ask_all(gateway):
    calls = [{"tool": name, "arguments": {"id": 2}} for name in tools()]
    said = [gateway.request("POST", f"/v1/tools/{name}", b'{"id":1}', CALLER) for name in tools()]
    said.append(gateway.request("POST", "/v1/batch", json.dumps({"calls": calls}), CALLER))
    return [reply.body + repr(reply.headers).encode() for reply in said]


def run(gateway, *words):
    done = subprocess.run([JITNEY, *words], capture_output=True, timeout=60, env={**os.environ, **SECRETS}, check=False)
    return done.stdout + done.stderr


def reload_wrong(gateway):
    good = gateway.config_path.read_text()
    gateway.config_path.write_text(yaml.safe_dump(json.loads(json.dumps(wrong(gateway.config)))))
    said = [gateway.request("POST", "/admin/reload", b"", listener="admin").body, run(gateway, "check", "-c", gateway.config_path)]
    assert all(b"drain_timeout" in each for each in said), said
    gateway.config_path.write_text(good)
    return said


@pytest.mark.skipif(SERVER is None, reason="no redis-server")
def test_no_secret_is_said_while_all_fails(start, provider, nobody, black_hole, collector, receiver, run_redis):
    provider.behaviour = behave.status(401)
    redis = run_redis("--requirepass", "right")
    gateway = start({"log": {"level": "debug"}, "upstreams": upstreams(provider, redis, nobody, black_hole), "tools": tools(),
                     **outside(redis, collector, receiver)}, environment=SECRETS)
    said = ask_all(gateway)
    until(lambda: gateway.metrics().sum("redis_errors_total", reason="auth") > 0, "Redis refuses the password")
    said += reload_wrong(gateway)
    said += [run(gateway, "check", "-c", gateway.config_path), *(run(gateway, "explain", "-c", gateway.config_path, name) for name in tools())]
    until(lambda: receiver.posts and collector.requests, "somebody is told")
    said += [gateway.get(page, "admin").body for page in PAGES]
    assert gateway.stop() == 0
    said += [gateway.log().encode(), *(json.dumps(post[2]).encode() for post in receiver.posts), *(body for _, _, body in collector.requests)]
    assert [found for text in said for found in re.findall(rb"(?i)[^\n]{0,80}kanari[^\n]{0,40}", text)] == []
    assert b"***" in b"".join(said) and b"cannot execute '***'" in b"".join(said)
