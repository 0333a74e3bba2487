# SPDX-License-Identifier: Apache-2.0
"""./dev bench --loads: what a hit and a miss take, and what they cost, over the load, beside nginx.

Open loop: calls come at their times whether or not earlier ones are answered, so a server that cannot keep up shows it. The two take
turns at each rate. CPU per call falls as the load grows, because a turn of the loop then serves several."""

import json
import subprocess
import time

from plot import COLOURS, Panel, write_panels

RATES = (1000, 2000, 5000, 10_000, 20_000, 30_000)
RPC = '{"jsonrpc":"2.0","id":%d,"method":"m","params":{"q":%d}}'
RPC_SAME = '{"jsonrpc":"2.0","id":1,"method":"m","params":{"q":1}}'


class Series:
    """One subject, one kind of call, over the load."""

    def __init__(self, subject, path, body, colour):
        self.subject, self.path, self.body, self.colour = subject, path, body, colour


SERIES = {
    "jitney, hit": Series("jitney", "/v1/tools/cached", '{"q":1}', COLOURS["jitney"]),
    "nginx, hit": Series("nginx", "/cache", RPC_SAME, COLOURS["nginx"]),
    "jitney, miss": Series("jitney", "/v1/tools/batched", '{"q":%d}', COLOURS["jitney again"]),
    "nginx, miss": Series("nginx", "/proxy", RPC, "#e6b98f"),
}


def load_argv(bench, series, rate, seconds, callers):
    """All calls that are due in that time are made, late as they may be, in three times as long at most: what an overloaded server
    has no time for must not be left out of its figures."""
    port = bench.processes[series.subject].port
    return [str(bench.build / "bench/load"), "--connect", f"127.0.0.1:{port}", "--callers", str(callers), "--timeout", "5",
            "--rate", str(rate), "--calls", str(int(rate * seconds)), "--seconds", str(seconds * 3),
            "--path", series.path, "--body", series.body]


def call_at(bench, series, rate, seconds, callers=64, midway=None):
    """One point; midway() is called in the middle of it."""
    process = bench.processes[series.subject]
    before = process.cpu_us()
    child = subprocess.Popen(load_argv(bench, series, rate, seconds, callers), stdout=subprocess.PIPE)
    if midway:
        time.sleep(seconds / 2)
        midway()
    seen = json.loads(child.communicate()[0])
    return {"rate": rate, "p50_us": seen["p50_us"], "p99_us": seen["p99_us"],
            "cpu_us": (process.cpu_us() - before) / max(seen["answered"], 1),
            "failed": int(rate * seconds) - seen["statuses"].get("200", 0)}


def measure(bench, quick, progress):
    points, seconds = [], 1 if quick else 4
    names = [name for name in SERIES if SERIES[name].subject in bench.processes]
    for number, rate in enumerate(RATES):
        for name in names:
            progress(f"{number * 100 // len(RATES):3d} %  {rate} calls/s, {name}")
            points.append({"series": name, **call_at(bench, SERIES[name], rate, seconds)})
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
    write_panels(path, [latency, cost], RATES, {name: (SERIES[name].colour, [point for point in points if point["series"] == name])
                                                for name in SERIES if any(point["series"] == name for point in points)})
