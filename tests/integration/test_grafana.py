# SPDX-License-Identifier: Apache-2.0
"""packaging/grafana: the dashboard is what its script makes, and asks for what a gateway has."""
import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import yaml

TOP = pathlib.Path(__file__).resolve().parents[2]
FOLDER = TOP / "packaging" / "grafana"
DASHBOARD = json.loads((FOLDER / "jitney.json").read_text())
EXPRESSIONS = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


def test_the_dashboard_is_what_the_script_makes():
    made = subprocess.run([sys.executable, str(FOLDER / "make.py")], capture_output=True, text=True, timeout=60, check=True).stdout
    assert made == (FOLDER / "jitney.json").read_text(), "run packaging/grafana/make.py > packaging/grafana/jitney.json"


def test_it_asks_for_what_a_gateway_has(gateway):
    gateway.call("echo")
    metrics = gateway.metrics()
    known = {}
    for sample, have in metrics.samples:
        known.setdefault(re.sub(r"_(bucket|sum|count)$", "", sample), set()).update(label for label, _ in have)
    types = set(re.findall(r"^# TYPE (\w+)", metrics.text, re.M))
    for title, expression in EXPRESSIONS:
        name, = re.findall(r"(?:jitney|process)_\w+", expression)
        stem = re.sub(r"_(bucket|sum|count)$", "", name)
        assert stem in types, (title, name)
        asked = {label for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(", ")} - {"le", "instance"}
        assert stem not in known or asked <= known[stem], (title, asked - known[stem])


def test_places_do_not_overlap_and_ids_are_unique():
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_prometheus_reads_every_expression(tmp_path):
    rules = [{"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m").replace("$job", ".*").replace("$instance", ".*")}
             for number, (_, expression) in enumerate(EXPRESSIONS)]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and f"{len(rules)} rules found" in done.stdout, done.stdout + done.stderr
