# SPDX-License-Identifier: Apache-2.0
"""Metrics, health, admin pages, logs."""
import json
import shutil
import subprocess
import urllib.request

import pytest
import yaml

from harness import provider as behave
from harness.poll import until
from harness.ports import free_port

SECRETS = ("hush-upstream", "hush-caller", "hush-argument", "hush-result", "hush-key")


def busy(gateway, provider):
    """A little of everything."""
    gateway.call("echo", {"n": 1})
    gateway.call("cached", {"n": 1})
    gateway.call("cached", {"n": 1})
    gateway.call("item", {"id": 1, "q": 1})
    gateway.call("nothing_here")
    gateway.call("echo", b"{")
    provider.next(behave.failing(1, "no"), behave.close, behave.status(500))
    for _ in range(3):
        gateway.call("write")
    gateway.batch([{"id": "a", "tool": "echo", "arguments": {"n": 5}}])


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_promtool_likes_the_metrics(gateway, provider):
    for _ in range(2):
        for listener in ("data", "admin"):
            text = gateway.get("/metrics", listener).body
            done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=30, check=False)
            assert done.returncode == 0 and not done.stdout and not done.stderr, done
        busy(gateway, provider)


def test_the_exposition_has_its_type(gateway):
    reply = gateway.get("/metrics")
    assert reply.header("content-type").startswith("text/plain") and "version=0.0.4" in reply.header("content-type")


def test_the_metrics_of_the_contract_are_there(gateway, provider):
    busy(gateway, provider)
    text = gateway.metrics().text
    names = {line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE ")}
    for name in ("requests_total", "request_duration_seconds", "in_flight_requests", "in_flight_bytes",
                 "rejected_total", "cache_requests_total", "cache_entries", "cache_bytes", "cache_evictions_total",
                 "coalesced_total", "batch_items", "batch_bytes", "batch_wait_seconds",
                 "batch_flushes_total", "batch_saved_requests_total", "upstream_requests_total",
                 "upstream_duration_seconds", "upstream_connections", "upstream_connects_total", "upstream_healthy",
                 "redis_up", "build_info"):
        assert "jitney_" + name in names, name
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"):
        assert name in names, name


def test_histograms_are_cumulative(gateway, provider):
    busy(gateway, provider)
    metrics = gateway.metrics()
    for name in ("request_duration_seconds", "batch_items", "upstream_duration_seconds"):
        series = {}
        for (sample, labels), value in metrics.samples.items():
            if sample == f"jitney_{name}_bucket":
                rest = frozenset(label for label in labels if label[0] != "le")
                series.setdefault(rest, []).append((float(dict(labels)["le"]), value))
        for labels, buckets in series.items():
            values = [value for _, value in sorted(buckets)]
            assert values == sorted(values)
            assert sorted(buckets)[-1][0] == float("inf")
            assert values[-1] == metrics.samples[f"jitney_{name}_count", labels]


def test_no_caller_can_make_a_series(gateway):
    before = len(gateway.metrics().samples)
    for n in range(30):
        gateway.call(f"tool_{n}", {"n": n}, X_Request_Id=f"id-{n}", Authorization=f"Bearer {n}")
        gateway.get(f"/path/{n}")
    assert len(gateway.metrics().samples) == before


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("prometheus"), reason="prometheus is not installed")
def test_a_real_prometheus_scrapes_it(gateway, provider, tmp_path):
    busy(gateway, provider)
    port = free_port()
    config = tmp_path / "prometheus.yml"
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [
        {"job_name": "jitney", "static_configs": [{"targets": [f"127.0.0.1:{gateway.admin_port}"]}]}]}))

    def query(text):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?query={text}", timeout=5) as response:
                return json.load(response)["data"]["result"]
        except OSError:
            return []

    with (tmp_path / "prometheus.log").open("w") as log:
        process = subprocess.Popen(["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path}/data",
                                    f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        up = until(lambda: query("up"), "it has scraped", 60)
        until(lambda: query("up")[0]["value"][1] == "1", "the scrape was fine", 30)
        assert up[0]["metric"]["job"] == "jitney"
        assert query('jitney_requests_total{tool="echo",outcome="ok"}')[0]["value"][1] == "2"
    finally:
        process.terminate()
        process.wait(30)


# ---- health and admin -----------------------------------------------------------------------------------------------


def test_health(gateway):
    for listener in ("data", "admin"):
        assert gateway.get("/healthz", listener).status == 200
    reply = gateway.get("/readyz")
    assert reply.status == 200
    json.dumps(reply.json())


def test_readiness_names_its_components(gateway):
    text = gateway.get("/readyz").body.decode()
    assert "array" in text and "rest" in text


def test_admin_pages(gateway, provider):
    busy(gateway, provider)
    gateway.until_metric("batch_in_flight", 0)      # calls are answered before their batch has completed
    config = gateway.get("/admin/config", "admin")
    assert config.status == 200 and config.json()["workers"] == 2
    upstreams = gateway.get("/admin/upstreams", "admin")
    assert upstreams.status == 200 and "array" in json.dumps(upstreams.json())
    array = next(one for one in upstreams.json()["upstreams"] if one["name"] == "array")
    assert array["limiter"] == {"limit": 10, "in_flight": 0, "state": "start", "reason": "initial"}
    assert array["line"]["waiting"] == 0 and set(array["line"]["shed"]) >= {"deadline", "queue_wait"}
    assert set(array["line"]["bands"]) == {"urgent", "usual", "background"}
    assert array["line"]["bands"]["usual"] == {"waiting": 0, "sent": int(gateway.metrics().sum("band_sent_total", upstream="array")), "shed": 0}
    assert array["line"]["bands"]["usual"]["sent"] > 0
    assert array["retry_budget"] == {"left": 1.0} and array["classes"][0]["learned_window_us"] > 0
    cache = gateway.get("/admin/cache", "admin")
    assert cache.status == 200 and json.dumps(cache.json())
    assert gateway.get("/admin/nothing", "admin").status == 404
    assert gateway.request("POST", "/admin/config", b"{}", listener="admin").status == 405


def test_admin_drain_ends_it(gateway, provider, later):
    provider.hold()
    future = later(gateway.call, "echo")
    provider.until_deliveries(1)
    gateway.ended_by_test = True
    assert gateway.request("POST", "/admin/drain", b"", listener="admin").status == 202
    until(lambda: gateway.events("draining"), "it drains")
    provider.release()
    assert future.result(20).status == 200
    assert gateway.wait() == 0


@pytest.mark.parametrize("method, path", [("POST", "/admin/drain"), ("DELETE", "/admin/cache")])
def test_a_web_page_cannot_change_anything(gateway, method, path):
    reply = gateway.request(method, path, b"" if method == "POST" else None, {"Origin": "https://evil.example"}, "admin")
    assert reply.status == 403 and reply.code == "forbidden", reply
    assert gateway.get("/readyz").status == 200


def test_calls_of_a_batch_are_logged_one_by_one(start):
    gateway = start({"log": {"access": True}})
    gateway.batch([{"id": 1, "tool": "echo", "arguments": {"n": 1}}, {"id": 2, "tool": "item", "arguments": {}}])
    until(lambda: sorted((event["tool"], event["outcome"]) for event in gateway.events("call")) == [
        ("echo", "ok"), ("item", "invalid_request")], "both calls are in the log")    # a thread of its own writes it


def test_a_purge_of_an_unknown_tool_is_refused(gateway):
    assert gateway.request("DELETE", "/admin/cache?tool=nothing", listener="admin").status == 404


def test_the_log_says_what_was_purged(gateway):
    gateway.request("DELETE", "/admin/cache?tag=news%3Aworld", listener="admin")
    gateway.request("GET", "/admin/cache?tag=looks", listener="admin")
    gateway.request("DELETE", "/v1/tools?token=abc")
    lines = until(lambda: (lines := gateway.events("request"))[2:] and lines, "three lines")
    assert [line.get("query") for line in lines[:3]] == ["tag=news%3Aworld", None, None]


@pytest.mark.parametrize("path", ["/admin/config", "/admin/upstreams", "/admin/cache", "/debug/pprof/profile"])
def test_admin_pages_are_not_on_the_data_listener(gateway, path):
    assert gateway.get(path).status == 404


def test_calls_are_not_on_the_admin_listener(gateway, provider):
    assert gateway.request("POST", "/v1/tools/echo", b"{}", listener="admin").status == 404
    assert not provider.deliveries


# ---- logs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_one_line_a_call(start, provider, form):
    gateway = start({"log": {"format": form}})
    gateway.call("cached", {"n": 1}, X_Request_Id="first")
    gateway.call("cached", {"n": 1}, X_Request_Id="second")
    lines = until(lambda: (calls := {event["request_id"]: event for event in gateway.events("call")
                                     if event.get("request_id") in ("first", "second")}) and len(calls) == 2 and calls,
                  "both calls are in the log")
    assert lines["first"]["tool"] == "cached" and lines["first"]["outcome"] == "ok"
    assert int(lines["first"]["status"]) == 200
    assert lines["first"]["cache"] == "miss" and lines["second"]["cache"] == "hit"
    assert int(lines["first"]["batch_items"]) == 1 and "batch_id" in lines["first"]
    for line in gateway.log().splitlines():
        if form == "json":
            json.loads(line)
        else:
            assert "event=" in line and "level=" in line, line


def test_log_lines_cannot_be_forged(start, provider):
    gateway = start({"log": {"level": "debug"}})
    evil = '{"q":"x\\nevent=forged level=error\\u001b[31m"}'
    provider.behaviour = behave.failing(1, 'no\nevent=forged level=error\r\x1b[31m"quoted" \u2028\x07', {"a": "\nevent=forged"})
    gateway.call("echo", evil.encode())
    gateway.call("no%0Aevent=forged")
    gateway.get("/x?y=%0Aevent=forged")
    gateway.call("echo", X_Request_Id='a"event=forged')
    gateway.call("echo", traceparent="x event=forged")
    assert gateway.stop() == 0
    log = gateway.log()
    assert not any(event["event"] == "forged" for event in gateway.events())
    assert all(line.isprintable() for line in log.splitlines()), log
    assert all("event=" in line for line in log.splitlines())
    assert "\x1b" not in log and "\r" not in log


def test_json_logs_stay_json_whatever_is_said(start, provider):
    gateway = start({"log": {"format": "json", "level": "debug"}})
    provider.behaviour = behave.failing(1, 'no\n"},{\x1b[31m\\ \u2028\x00')
    gateway.call("echo")
    provider.behaviour = behave.garbage
    gateway.call("echo", {"n": 2})
    assert gateway.stop() == 0
    for line in gateway.log().splitlines():
        assert json.loads(line)["event"]


def test_secrets_are_said_nowhere(start, provider):
    gateway = start({"log": {"level": "debug"}, "upstreams": {
        "array": {"headers": {"Authorization": "Bearer ${TOKEN}", "X-Api-Key": "${TOKEN}"}}}},
        environment={"TOKEN": "hush-upstream"})
    headers = {"Authorization": "Bearer hush-caller", "Idempotency-Key": "hush-key"}
    for behaviour in (behave.answering("hush-result"), behave.close, behave.failing(1, "no"), behave.garbage, behave.hang):
        provider.behaviour = behaviour
        gateway.request("POST", "/v1/tools/write", b'{"a":"hush-argument"}', {**headers, "X-Request-Timeout-Ms": "200"})
    said = [gateway.get("/metrics").body, gateway.get("/readyz").body, gateway.get("/openapi.json").body,
            gateway.get("/v1/tools").body]
    for path in ("/metrics", "/admin/config", "/admin/upstreams", "/admin/cache", "/"):
        said.append(gateway.get(path, "admin").body)
    assert b"***" in gateway.get("/admin/config", "admin").body
    assert gateway.stop() == 0
    said.append(gateway.log().encode())
    for secret in SECRETS:
        assert not any(secret.encode() in text for text in said), secret


def test_start_and_stop_are_logged(gateway):
    gateway.stop()
    events = [event["event"] for event in gateway.events()]
    assert events.count("listening") == 2
    assert any("stop" in event or "drain" in event for event in events), events


def test_a_log_file_is_appended_to(make, tmp_path):
    path = tmp_path / "own.log"
    path.write_text("what was there\n")
    make({"log": {"file": str(path)}}).spawn()
    text = until(lambda: "event=ready" in path.read_text() and path.read_text(), "it logs there")
    assert text.startswith("what was there\n")


def test_access_lines_can_be_turned_off(start):
    gateway = start({"log": {"access": False}})
    gateway.call("echo")
    gateway.stop()
    assert not gateway.events("call")


def test_a_token_in_a_providers_url_is_shown_to_nobody(make, provider):
    url = provider.url("/${TOKEN}")
    endpoints = [{"url": url}, {"url": url + "/other"}]
    gateway = make({"upstreams": {"array": {"endpoints": endpoints}}}, environment={"TOKEN": "CANARY-1"}).start()
    assert len(gateway.metrics().by("upstream_healthy", "endpoint")) == 3
    provider.behaviour = behave.close
    shown = [gateway.call("write").body]
    provider.stop()
    shown += [gateway.call("echo").body, gateway.request("GET", "/metrics").body,
              gateway.request("GET", "/admin/upstreams", listener="admin").body,
              gateway.request("GET", "/admin/config", listener="admin").body]
    assert all(b"CANARY-1" not in text for text in shown), shown
    assert "CANARY-1" not in gateway.log()
