# SPDX-License-Identifier: Apache-2.0
"""packaging/prometheus: the rules fire when they should and are silent when not, on series that the gateway really has."""
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml

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
