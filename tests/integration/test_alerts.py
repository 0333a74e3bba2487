# SPDX-License-Identifier: Apache-2.0
"""packaging/prometheus: the rules fire when they should and are silent when not, on series that the gateway really has."""
import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from harness import provider as behave
from harness.poll import until
from harness.reload import reload, reloaded

TOP = pathlib.Path(__file__).resolve().parents[2]
FOLDER = TOP / "packaging" / "prometheus"
RULES = yaml.safe_load((FOLDER / "jitney.rules.yml").read_text())
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")


def run_promtool(*words):
    done = subprocess.run(["promtool", *words], cwd=FOLDER, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@promtool
def test_rules_fire_and_are_silent():
    run_promtool("test", "rules", "jitney.test.yml")


def test_every_alert_is_seen_to_fire():
    text = (FOLDER / "jitney.test.yml").read_text()
    assert [rule["alert"] for rule in ALERTS if f'alertname="{rule["alert"]}"' not in text] == []


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_it_is_and_what_to_do(rule):
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    page, anchor = rule["annotations"]["runbook_url"].split("#")
    assert f'<a id="{anchor}"></a>' in (TOP / page).read_text()
    assert anchor == rule["alert"].lower()


def test_the_runbook_tells_of_no_other_alert():
    told = re.findall(r'<a id="(jitney\w+)"></a>', (TOP / "docs" / "operations.md").read_text())
    assert sorted(told) == sorted(rule["alert"].lower() for rule in ALERTS)


def test_the_rules_ask_for_series_that_there_are(gateway):
    """Names, and the values of labels that are closed sets."""
    recorded = {rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule}
    table = (TOP / "docs" / "metrics.md").read_text()
    there = set(re.findall(r"^# TYPE (\w+)", gateway.get("/metrics").body.decode(), re.M)) | {"up"}
    for rule in (rule for group in RULES["groups"] for rule in group["rules"]):
        for name in re.findall(r"(?<![\w:])(?:jitney_|process_)\w+|(?<![\w:])\w+:jitney_\w+:\w+", rule["expr"]):
            assert name in recorded or re.sub(r"_(bucket|sum|count)$", "", name) in there, (rule, name)
        for label, values in re.findall(r'(reason|state|outcome|limit|result|tier)=~?"([^"]+)"', rule["expr"]):
            for value in values.split("|"):
                assert value.endswith("_.*") or f"`{value}`" in table, (label, value)


def test_bounds_stand_beside_what_they_bound(gateway):
    metrics = gateway.metrics()
    bounds = {limit: metrics.sum("limits", limit=limit) for limit in ("connections", "in_flight", "in_flight_bytes", "cache_memory")}
    assert all(bounds.values()), bounds
    assert metrics.sum("connections") < bounds["connections"] and metrics.sum("in_flight_bytes") < bounds["in_flight_bytes"]


# ---- the same on what a real gateway exports ----

SERVER = TOP / "tests" / "integration" / "harness" / "stdio_server.py"
LABELS_OF_PROMETHEUS = {"job", "instance", "le"}
OUTCOMES = set(re.findall(r'^\tX\(\w+, "(\w+)", \d+', (TOP / "base" / "outcome.h").read_text(), re.M))


def exposed(metrics, name):
    """The labels of each series of a metric, that of a histogram by any of its parts."""
    stem = re.sub(r"_(bucket|sum|count)$", "", name)
    return [dict(have) for sample, have in metrics.samples if re.sub(r"_(bucket|sum|count)$", "", sample) == stem]


def selectors(expression):
    """(metric, {label: alternatives}) for each series that an expression names."""
    for name, inside in re.findall(r"(?<![\w:])((?:jitney_|process_)\w+)(?:\{([^}]*)\})?", expression):
        yield name, {label: values.split("|") for label, values in re.findall(r'(\w+)=~?"([^"]*)"', inside or "") if label != "job"}


def world(provider, **changes):
    """A gateway with one of everything that alerts are about."""
    program = {"dialect": "jsonrpc-stdio", "command": sys.executable, "args": [str(SERVER)], "pool": {"min": 0}}
    base = {"upstreams": {"program": program, "once": {"dialect": "jsonrpc", "endpoints": [{"url": provider.url("/rpc")}],
                                                      "retries": {"budget": "0%"}}},
            "tools": {"run": {"upstream": "program"}, "single": {"upstream": "once"}}}
    return {**base, **changes}


def firing(series, minutes=400):
    """The alerts that Prometheus sees fire in the end, of series as promtool writes them."""
    test = {"rule_files": [str(FOLDER / "jitney.rules.yml")], "evaluation_interval": "5m", "tests": [{
        "interval": "1m", "input_series": series, "promql_expr_test": [
            {"expr": 'count by (alertname) (ALERTS{alertstate="firing"})', "eval_time": f"{minutes}m", "exp_samples": []}]}]}
    done = subprocess.run(["promtool", "test", "rules", "/dev/stdin"], input=yaml.safe_dump(test), cwd=FOLDER, capture_output=True,
                          text=True, timeout=120, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0 or "got:" in said, said
    return set(re.findall(r'alertname=\\?"(\w+)', said.split("got:")[1])) if "got:" in said else set()


def written(before, after, minutes=400):
    """Two scrapes as series, those that rules name: what stood between them goes on at that pace; what is only in the second
    begins near the end."""
    asked = {name for group in RULES["groups"] for rule in group["rules"] for name, _ in selectors(rule["expr"])}
    for key, value in after.samples.items():
        name, have = key
        if name not in asked:
            continue
        have = {"exported_job" if label == "job" else label: word for label, word in have}     # as Prometheus names it
        labels = ",".join(f"{label}={json.dumps(word)}" for label, word in {**have, "job": "jitney", "instance": "a"}.items())
        was = before.samples.get(key)
        if was is None:
            values = f"_x{minutes - 10} {value}x20"
        else:
            values = f"{was}{value - was:+}x{minutes + 10}" if name.endswith(("_total", "_bucket", "_sum", "_count")) else f"{value}x{minutes + 10}"
        yield {"series": f"{name}{{{labels}}}", "values": values}


@pytest.mark.parametrize("tier", ["redis", "disk"])
def test_every_series_of_the_rules_is_one_of_a_real_gateway(start, provider, run_redis, tmp_path, tier):
    """By name, by labels, by their values: an expression about a series that nobody exports can never fire."""
    tiers = {"redis": {"url": run_redis().url}} if tier == "redis" else {"disk": {"path": str(tmp_path / "disk")}}
    gateway = start({**world(provider), "cache": tiers})
    gateway.call("echo")
    provider.next(behave.status(500))
    gateway.call("write")
    metrics = gateway.metrics()
    recorded = {rule["record"]: set(re.search(r"by \(([^)]*)\)", rule["expr"])[1].split(", "))
                for group in RULES["groups"] for rule in group["rules"] if "record" in rule}
    for rule in (rule for group in RULES["groups"] for rule in group["rules"]):
        known = set(LABELS_OF_PROMETHEUS)
        for name, wanted in selectors(rule["expr"]):
            there = exposed(metrics, name)
            assert there, (rule, name)
            known |= set().union(*there)
            for label, values in wanted.items():
                has = OUTCOMES if label == "outcome" else {labels.get(label) for labels in there}
                missing = [value for value in values if not any(re.fullmatch(value, str(word)) for word in has)]
                assert missing == [], (rule, name, label)
        for name in re.findall(r"(?<![\w:])\w+:jitney_\w+:\w+", rule["expr"]):
            known |= recorded[name]
        for labels in re.findall(r"(?:by|on|ignoring) \(([^)]*)\)", rule["expr"]):
            assert set(labels.split(", ")) <= known, rule
        for text in rule.get("annotations", {}).values():
            assert set(re.findall(r"\$labels\.(\w+)", text)) <= known, rule


def calm(gateway):
    """A scrape when what a start took is over, and the machine has let each worker run when it would."""
    def look():
        metrics = gateway.metrics()
        lag = max(metrics.by("worker_loop_lag_seconds", "worker").values())
        return metrics if metrics.sum("worker_busy_ratio") < .9 and lag < .1 else None

    return until(look, "it is calm")


@promtool
def test_a_real_gateway_that_is_well_sets_nothing_off(start, provider, tmp_path):
    gateway = start({**world(provider), "cache": {"disk": {"path": str(tmp_path / "disk")}}})
    for n in range(5):
        gateway.call("echo", {"n": n})
        gateway.call("cached", {"n": n})
    before = calm(gateway)
    gateway.call("echo", {"n": 6})
    assert firing(list(written(before, calm(gateway)))) == set()


@promtool
def test_a_real_gateway_that_is_sick_sets_off_what_it_should(start, provider, later):
    gateway = start({**world(provider), "limits": {"connections": 12}, "cache": {"redis": {"url": "redis://127.0.0.1:1/0"}}})
    provider.next(behave.status(500))
    gateway.call("write", {"n": 0})
    before = gateway.metrics()
    provider.next(behave.close, *6 * [behave.status(500)])
    for n in range(7):                                                  # of the first nobody knows; there was none before
        gateway.call("write", {"n": n})
    gateway.config_path.write_text("upstreams: [")
    assert reload(gateway)[0] == 422
    provider.stop()
    gateway.call("echo")
    until(lambda: gateway.metrics().sum("redis_errors_total") > before.sum("redis_errors_total"), "Redis is missed")
    fired = firing(list(written(before, calm(gateway))))
    assert fired >= {"JitneyOutcomeUnknown", "JitneyReloadFailed", "JitneyUpstreamDown", "JitneyToolFails", "JitneyErrorsBurn",
                     "JitneyErrorsBurnFast", "JitneyRedisDown"}
    assert not fired & {"JitneyRetryBudgetSpent", "JitneyLoopLag", "JitneySlow", "JitneyDown", "JitneyDiskCacheFails"}


def test_an_upstream_that_a_reload_took_away_is_not_sick_for_ever(start, provider):
    """It would be, by its gauges, until the restart; what it has counted stays."""
    gone = {"dialect": "jsonrpc", "endpoints": [{"url": "http://127.0.0.1:1/"}]}
    gateway = start({"upstreams": {"gone": gone}, "tools": {"lost": {"upstream": "gone", "annotations": {"read_only": True}}}})
    gateway.call("lost")
    until(lambda: gateway.metrics().sum("upstream_healthy", upstream="gone") == 0, "it is not reached")
    assert exposed(gateway.metrics(), "jitney_upstream_healthy")
    reloaded(gateway, {"upstreams": {"gone": None}, "tools": {"lost": None}})

    def about(kind):
        text = gateway.get("/metrics").body.decode()
        names = set(re.findall(rf"^# TYPE (\w+) {kind}", text, re.M))
        return {name for (name, have), _ in gateway.metrics().samples.items() if name in names and ("upstream", "gone") in have}

    until(lambda: about("gauge") == set(), "its gauges are gone")
    assert {"jitney_upstream_requests_total", "jitney_upstream_connects_total"} & about("counter")
    well = {"dialect": "jsonrpc", "endpoints": [{"url": provider.url("/rpc")}]}
    reloaded(gateway, {"upstreams": {"gone": well}, "tools": {"lost": {"upstream": "gone", "annotations": {"read_only": True}}}})
    assert gateway.call("lost").status == 200
    metrics = gateway.metrics()
    assert metrics.sum("upstream_healthy", upstream="gone") == 1 and metrics.sum("endpoint_state", upstream="gone") == 1
    assert metrics.sum("concurrency_state", upstream="gone") == 1 == metrics.sum("retry_budget_ratio", upstream="gone")


def test_an_upstream_that_was_built_anew_is_in_one_state(start, provider):
    gateway = start()
    gateway.call("echo")
    reloaded(gateway, {"upstreams": {"array": {"headers": {"X-New": "1"}}}})
    gateway.call("echo", {"n": 2})

    def states():
        metrics = gateway.metrics()
        return [metrics.sum(name, upstream="array") for name in ("concurrency_state", "concurrency_reason", "endpoint_state", "upstream_healthy")]

    until(lambda: states() == [1, 1, 1, 1], "one state each")
