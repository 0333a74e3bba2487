# SPDX-License-Identifier: Apache-2.0
"""./dev bench --loads: what a hit and a miss take, and what they cost, over the load, beside nginx.

Open loop: calls come at their times whether or not earlier ones are answered, so a server that cannot keep up shows it. The two take
turns at each rate. CPU per call falls as the load grows, because a turn of the loop then serves several."""

import json
import subprocess

from plot import COLOURS, Panel, write_panels

RATES = (1000, 2000, 5000, 10_000, 20_000, 30_000)
RPC = '{"jsonrpc":"2.0","id":%s,"method":"m","params":{"q":%s}}'
# series: subject, path, body, colour
SERIES = {
    "jitney, hit": ("jitney", "/v1/tools/cached", '{"q":1}', COLOURS["jitney"]),
    "nginx, hit": ("nginx", "/cache", RPC % ("1", "1"), COLOURS["nginx"]),
    "jitney, miss": ("jitney", "/v1/tools/batched", '{"q":%d}', COLOURS["jitney again"]),
    "nginx, miss": ("nginx", "/proxy", RPC % ("%d", "%d"), "#e6b98f"),
}


def one(bench, name, rate, seconds):
    subject, path, body, _ = SERIES[name]
    process = bench.processes[subject]
    before = process.cpu_us()
    done = subprocess.run([str(bench.build / "bench/load"), "--connect", f"127.0.0.1:{process.port}", "--callers", "64",
                           "--rate", str(rate), "--seconds", str(seconds), "--path", path, "--body", body]
                          + ([] if subject == "jitney" else ["--header", "Content-Type: application/json"]),
                          stdout=subprocess.PIPE, check=False)
    seen = json.loads(done.stdout)
    return {"rate": rate, "series": name, "p50_us": seen["p50_us"], "p99_us": seen["p99_us"],
            "cpu_us": (process.cpu_us() - before) / max(seen["answered"], 1),
            "failed": seen["calls"] - seen["statuses"].get("200", 0)}


def measure(bench, seconds, progress):
    points = []
    names = [name for name in SERIES if SERIES[name][0] in bench.processes]
    for number, rate in enumerate(RATES):
        for name in names:
            progress(f"{number * 100 // len(RATES):3d} %  {rate} calls/s, {name}")
            points.append(one(bench, name, rate, seconds))
    return points


def table(points):
    lines = [f"{'calls/s':>8}  {'':14}  {'p50 ms':>8}  {'p99 ms':>8}  {'CPU us':>7}  {'failed':>7}"]
    for point in points:
        lines.append(f"{point['rate']:>8,}  {point['series']:14}  {point['p50_us'] / 1000:>8.2f}  {point['p99_us'] / 1000:>8.2f}  "
                     f"{point['cpu_us']:>7.1f}  {point['failed']:>7,}")
    return "\n".join(lines)


def write_plot(path, points):
    latency = Panel("p99 of a call, ms (less is better)", lambda point: point["p99_us"] / 1000, (0.1, 1, 10, 100, 1000), True)
    cost = Panel("CPU of a call, us (less is better)", lambda point: point["cpu_us"], (0, 10, 20, 30, 40, 50), False)
    write_panels(path, [latency, cost], RATES, {name: (SERIES[name][3], [point for point in points if point["series"] == name])
                                                for name in SERIES if any(point["series"] == name for point in points)})
