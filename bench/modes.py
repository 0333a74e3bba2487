#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""./dev bench --modes: what a call takes and how many requests are saved, over the load, for batch.mode adaptive, fixed and off.

One provider (5 ms a request + 0.05 ms a call, 4 at once), one gateway with an upstream for each mode, 256 callers; the modes take
turns at each rate. Open loop: calls come at their times whether or not earlier ones are answered, so a mode that cannot keep up
shows it."""

import json
import pathlib
import re
import subprocess
import tempfile
import urllib.request

from plot import Panel, write_panels
from subjects import Process, free_port

MODES = ("off", "fixed", "adaptive")
COLOURS = {"off": "#8a8a8a", "fixed": "#c9733d", "adaptive": "#1f6f8b"}
RATES = (50, 200, 600, 2000, 6000, 20000)
CONFIG = """
listen: 127.0.0.1:{port}
admin: {{ listen: off }}
workers: 2
log: {{ access: false }}
upstreams:
{upstreams}
tools:
{tools}
"""
UPSTREAM = """    {mode}:
        dialect: jsonrpc
        endpoints: [ {{ url: "http://127.0.0.1:{provider}/rpc" }} ]
        batch: {{ mode: "{mode}", items: 100, window: 5ms }}
        timeout: 2s
"""


def start(build, directory):
    provider = Process([str(build / "bench/provider"), "--port", "0", "--delay-ms", "5", "--per-item-us", "50", "--concurrent", "4"], 0,
                       directory)
    port = free_port()
    path = pathlib.Path(directory) / "modes.yaml"
    path.write_text(CONFIG.format(
        port=port, upstreams="".join(UPSTREAM.format(mode=mode, provider=provider.port) for mode in MODES),
        tools="".join(f'    "{mode}": {{ upstream: "{mode}", annotations: {{ read_only: true }} }}\n' for mode in MODES)))
    return provider, Process([str(build / "jitney"), "serve", "-c", str(path)], port, directory)


def requests_made(gateway, mode):
    text = urllib.request.urlopen(f"http://127.0.0.1:{gateway.port}/metrics").read().decode()
    pattern = rf'^jitney_upstream_requests_total{{[^}}]*upstream="{mode}"[^}}]*}} (\d+)$'
    return sum(int(count) for count in re.findall(pattern, text, re.M))


def one(build, gateway, mode, rate, seconds):
    before = requests_made(gateway, mode)
    done = subprocess.run([str(build / "bench/load"), "--connect", f"127.0.0.1:{gateway.port}", "--callers", "256", "--rate", str(rate),
                           "--seconds", str(seconds), "--calls", str(int(rate * seconds)), "--path", f"/v1/tools/{mode}",
                           "--body", '{"q":%d}', "--timeout", "10"], stdout=subprocess.PIPE, check=False)
    seen = json.loads(done.stdout)
    fine = seen["statuses"].get("200", 0)
    return {"rate": rate, "mode": mode, "answered": fine, "failed": seen["calls"] - fine, "p50_us": seen["p50_us"],
            "p99_us": seen["p99_us"], "requests": requests_made(gateway, mode) - before,
            "saved": max(0.0, 1 - (requests_made(gateway, mode) - before) / fine) if fine else 0.0}


def measure(build, seconds, progress):
    points = []
    with tempfile.TemporaryDirectory(prefix="jitney-bench-") as directory:
        provider, gateway = start(build, directory)
        try:
            for number, rate in enumerate(RATES):
                for mode in MODES:
                    progress(f"{number * 100 // len(RATES):3d} %  {rate} calls/s, {mode}")
                    points.append(one(build, gateway, mode, rate, seconds))
        finally:
            gateway.end()
            provider.end()
    return points


def table(points):
    lines = [f"{'calls/s':>8}  {'mode':8}  {'p50 ms':>9}  {'p99 ms':>9}  {'requests':>9}  {'saved':>6}  {'failed':>7}"]
    for point in points:
        lines.append(f"{point['rate']:>8,}  {point['mode']:8}  {point['p50_us'] / 1000:>9.2f}  {point['p99_us'] / 1000:>9.2f}  "
                     f"{point['requests']:>9,}  {point['saved'] * 100:>5.0f}%  {point['failed']:>7,}")
    return "\n".join(lines)


def write_plot(path, points):
    latency = Panel("p99 of a call, ms (less is better)", lambda point: point["p99_us"] / 1000, (1, 10, 100, 1000, 10000), True)
    saved = Panel("requests saved, % (more is better)", lambda point: point["saved"] * 100, (0, 25, 50, 75, 100), False)
    write_panels(path, [latency, saved], RATES, {mode: (COLOURS[mode], [point for point in points if point["mode"] == mode])
                                                 for mode in MODES})
