#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes jitney.json, a dashboard for Grafana, from the catalogue of metrics: packaging/grafana/make.py > packaging/grafana/jitney.json

A panel is a question and the metrics that answer it; how a metric is asked for follows from its type in metrics/catalogue.h
(a counter by its rate, a histogram by its p50 and p99, a gauge as it is), and so does the unit. A metric that the catalogue
does not have, or a label that it has not, ends this with a message.
"""
import json
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
ROW = re.compile(r'X\((\w+), "(\w+)", (\w+), (\w+), (\w+), "((?:[^"\\]|\\.)*)"\)')
LABELS = re.compile(r'\[LABEL_(\w+)\] = \{ "(\w+)"')
OURS = 'job=~"$job",instance=~"$instance"'

# (row, [(title, [(metric, labels to sum by, further selector)...], width of 24)])
FAILED = 'outcome=~"internal|upstream_.*|overloaded|outcome_unknown|deadline_exceeded"'
ROWS = [
    ("Overview", [
        ("Calls a second", [("requests_total", [], "")], 6),
        ("Failed calls a second, by outcome", [("requests_total", ["outcome"], FAILED)], 6),
        ("What a call takes", [("request_duration_seconds", [], "")], 6),
        ("Alerts that fire", [("alerts_firing", ["alert", "severity"], "")], 6),
        ("In flight", [("in_flight_requests", ["instance"], ""), ("connections", ["instance"], "")], 6),
        ("Bytes held", [("in_flight_bytes", ["instance"], ""), ("limits", ["instance"], 'limit="in_flight_bytes"')], 6),
        ("Refused, by reason", [("rejected_total", ["reason"], "")], 6),
        ("Configuration", [("config_generation", ["instance"], ""), ("config_last_reload_success", ["instance"], "")], 6),
    ]),
    ("Tools", [
        ("Calls a second, by tool", [("requests_total", ["tool"], "")], 8),
        ("What a call takes, by tool", [("request_duration_seconds", ["tool"], "")], 8),
        ("Calls that joined another's", [("coalesced_total", ["tool"], "")], 8),
    ]),
    ("Batches", [
        ("Calls a request", [("batch_items", ["upstream"], "")], 6),
        ("What a call waits", [("batch_wait_seconds", ["upstream"], "")], 6),
        ("Why batches leave", [("batch_flushes_total", ["reason"], "")], 6),
        ("Requests saved", [("batch_saved_requests_total", ["upstream"], "")], 6),
        ("Waiting in lanes", [("batch_waiting_items", ["upstream"], "")], 6),
        ("Requests under way", [("batch_in_flight", ["upstream"], ""), ("concurrency_limit", ["upstream"], "")], 6),
        ("Line before it", [("queue_wait_seconds", ["upstream"], "")], 6),
        ("Refused for being late, by reason", [("shed_total", ["upstream", "reason"], "")], 6),
    ]),
    ("Upstreams", [
        ("Requests a second, by outcome", [("upstream_requests_total", ["upstream", "outcome"], "")], 6),
        ("What a request takes", [("upstream_duration_seconds", ["upstream"], "")], 6),
        ("Endpoints, by state", [("endpoint_state", ["upstream", "state"], "")], 6),
        ("Repeats, by kind", [("attempts_total", ["upstream", "kind"], 'kind!="first"'), ("retry_budget_ratio", ["upstream"], "")], 6),
        ("Connections", [("upstream_connections", ["upstream", "state"], ""), ("upstream_connects_total", ["upstream"], "")], 8),
        ("Processes", [("upstream_processes", ["upstream"], ""), ("upstream_process_crashes_total", ["upstream"], "")], 8),
        ("Lists of MCP servers", [("upstream_tools", ["upstream"], ""), ("upstream_tools_stale", ["upstream"], "")], 8),
    ]),
    ("Cache", [
        ("Look-ups, by tier and result", [("cache_requests_total", ["tier", "result"], "")], 6),
        ("Bytes", [("cache_bytes", ["tier"], ""), ("limits", ["instance"], 'limit="cache_memory"')], 6),
        ("Evictions, by reason", [("cache_evictions_total", ["tier", "reason"], "")], 6),
        ("Redis", [("redis_up", ["instance"], ""), ("redis_errors_total", ["reason"], "")], 6),
    ]),
    ("Process", [
        ("Busy workers", [("worker_busy_ratio", ["instance", "worker"], "")], 6),
        ("Longest turn", [("worker_loop_lag_seconds", ["instance", "worker"], "")], 6),
        ("Memory", [("process_resident_memory_bytes", ["instance"], "")], 6),
        ("Descriptors", [("process_open_fds", ["instance"], ""), ("process_max_fds", ["instance"], "")], 6),
    ]),
]
PROCESS = {"process_resident_memory_bytes": "GAUGE", "process_open_fds": "GAUGE", "process_max_fds": "GAUGE"}
HISTOGRAMS = {"SECONDS": "s", "ITEMS": "short", "BYTES": "bytes"}


def read_catalogue():
    """Name to (type, labels)."""
    text = (TOP / "metrics" / "catalogue.h").read_text()
    names = dict(LABELS.findall((TOP / "metrics" / "metrics.c").read_text()))
    more = {"ENDPOINT": ["upstream", "endpoint"], "ATTEMPT": ["kind", "outcome"], "NONE": []}
    catalogue = {}
    for _, name, kind, first, second, _ in ROW.findall(text):
        catalogue[name] = kind, [label for row in (first, second) for label in (more[row] if row in more else [names[row]])]
    return catalogue


def unit_of(kind, name):
    if kind in HISTOGRAMS:
        return HISTOGRAMS[kind]
    if kind == "COUNTER":
        return "ops"
    return {"GAUGE_SECONDS": "s", "GAUGE_RATIO": "percentunit"}.get(kind, "bytes" if name.endswith("bytes") else "short")


def targets(catalogue, metric, by, selector):
    kind, labels = (PROCESS[metric], []) if metric in PROCESS else catalogue[metric]
    wrong = set(by) - set(labels) - {"instance"}
    if wrong:
        raise SystemExit(f"{metric} has no label {', '.join(sorted(wrong))}; it has {', '.join(labels) or 'none'}")
    name = metric if metric in PROCESS else "jitney_" + metric
    inside = "{" + ",".join(part for part in (OURS, selector) if part) + "}"
    legend = " ".join("{{" + label + "}}" for label in by) or metric.replace("_total", "").replace("_", " ")
    if kind in HISTOGRAMS:
        grouped = ", ".join([*by, "le"])
        return [(f"histogram_quantile({share}, sum by ({grouped}) (rate({name}_bucket{inside}[$__rate_interval])))", f"p{int(share * 100)} {legend}")
                for share in (0.5, 0.99)]
    asked = f"rate({name}{inside}[$__rate_interval])" if kind == "COUNTER" else f"{name}{inside}"
    return [(f"sum by ({', '.join(by)}) ({asked})" if by else f"sum ({asked})", legend)]


def panel(catalogue, number, title, asked, place):
    unknown = [metric for metric, _, _ in asked if metric not in catalogue and metric not in PROCESS]
    if unknown:
        raise SystemExit(f"{title}: the catalogue has no {', '.join(unknown)}")
    lines = []
    for metric, by, selector in asked:
        spoken = metric.removeprefix("upstream_").removesuffix("_total").replace("_", " ")
        lines += [(expression, f"{spoken} {legend}" if len(asked) > 1 and by else legend) for expression, legend in targets(catalogue, metric, by, selector)]
    first = asked[0][0]
    kind = PROCESS.get(first) or catalogue[first][0]
    return {"id": number, "type": "timeseries", "title": title, "gridPos": place, "datasource": {"type": "prometheus", "uid": "${source}"},
            "fieldConfig": {"defaults": {"unit": unit_of(kind, first), "min": 0, "custom": {"fillOpacity": 8, "showPoints": "never"}}, "overrides": []},
            "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
            "targets": [{"refId": chr(ord("A") + i), "expr": expression, "legendFormat": legend, "datasource": {"type": "prometheus", "uid": "${source}"}}
                        for i, (expression, legend) in enumerate(lines)]}


def panels(catalogue):
    made, y = [], 0
    for row, wanted in ROWS:
        made.append({"id": len(made) + 1, "type": "row", "title": row, "collapsed": False, "panels": [], "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}})
        y, x = y + 1, 0
        for title, asked, width in wanted:
            if x + width > 24:
                x, y = 0, y + 8
            made.append(panel(catalogue, len(made) + 1, title, asked, {"h": 8, "w": width, "x": x, "y": y}))
            x += width
        y += 8
    return made


def variable(name, label):
    return {"name": name, "type": "query", "label": name, "datasource": {"type": "prometheus", "uid": "${source}"}, "multi": True, "includeAll": True,
            "query": {"query": f"label_values({label}, {name})", "refId": name}, "refresh": 2, "current": {"text": ["All"], "value": ["$__all"]}}


def dashboard():
    return {"title": "jitney", "uid": "jitney", "tags": ["jitney"], "schemaVersion": 37, "version": 1, "editable": True, "refresh": "30s", "timezone": "",
            "time": {"from": "now-1h", "to": "now"}, "panels": panels(read_catalogue()), "annotations": {"list": []},
            "templating": {"list": [{"name": "source", "type": "datasource", "query": "prometheus", "label": "source", "current": {}},
                                    variable("job", "jitney_build_info"), variable("instance", 'jitney_build_info{job=~"$job"}')]}}


if __name__ == "__main__":
    json.dump(dashboard(), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")
