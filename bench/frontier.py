# SPDX-License-Identifier: Apache-2.0
"""./dev bench --frontier: how many calls a second, while 99 % of them finish within 1, 5, 10, 50, 100 ms and none fails; and memory.

One sweep of rising rates gives all bounds. Open loop: calls are due evenly, whether or not earlier ones are answered, and what one
took counts from when it was due, so a server that stands still is told so by all calls that had to wait for it. All subjects take turns
at each rate; one leaves the sweep when it has not held the loosest bound at two rates in a row. What is told is the highest rate that
was held: the sweep's steps, and hiccups of the machine, are its error, downwards."""

import time

from loads import RPC, RPC_SAME, Series, call_at
from plot import COLOURS, Panel, write_panels

BOUNDS_MS = (1, 5, 10, 50, 100)
CALLERS = 256  # connections: so many calls may be under way
FIRST, LAST = 2000, 200_000  # calls a second
RECOVERY_SECONDS = 10
MARKS = (2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000)  # of the picture
DIRECT = "provider, no proxy"
SERIES = {
    "jitney, hit": Series("jitney", "/v1/tools/cached", '{"q":1}', COLOURS["jitney"]),
    "nginx, hit": Series("nginx", "/cache", RPC_SAME, COLOURS["nginx"]),
    "libmicrohttpd alone": Series("raw http", "/", '{"q":1}', COLOURS["raw http"]),
    "jitney, batched": Series("jitney", "/v1/tools/batched", '{"q":%d}', COLOURS["jitney again"]),
    "jitney, alone": Series("jitney", "/v1/tools/alone", '{"q":%d}', "#3f8f5f"),
    "jitney, owners: auto": Series("jitney", "/v1/tools/owned", '{"q":%d}', "#9fcfaf"),
    "nginx, miss": Series("nginx", "/proxy", RPC, "#e6b98f"),
    DIRECT: Series("free", "/rpc", RPC, "#555555"),
}
WORKS = {
    "memory hit": ("jitney, hit", "nginx, hit", "libmicrohttpd alone"),
    "miss, batched by arrays": ("jitney, batched", "nginx, miss", DIRECT),
    "miss, one call a request": ("jitney, alone", "jitney, owners: auto", "nginx, miss", DIRECT),
}


def rates(factor):
    """Rising by that factor, in round numbers."""
    rate = FIRST
    while rate <= LAST:
        yield int(round(rate, -2 if rate < 10_000 else -3))
        rate *= factor


def held(point, bound_ms):
    return point["failed"] == 0 and point["p99_us"] < bound_ms * 1000


def frontier(points):
    """The highest rate that was held, for each bound; None: not even the lowest was."""
    return {bound: max((point["rate"] for point in points if held(point, bound)), default=None) for bound in BOUNDS_MS}


def given_up(points):
    return len(points) >= 2 and not any(held(point, BOUNDS_MS[-1]) for point in points[-2:])


def sweep(bench, names, seconds, factor, watch, progress):
    points = {name: [] for name in names}
    for rate in rates(factor):
        left = [name for name in names if not given_up(points[name])]
        for name in left:
            progress(f"{rate} calls/s, {name} ({len(left)} of {len(names)} hold)")
            points[name].append(call_at(bench, SERIES[name], rate, seconds, CALLERS, lambda name=name: watch(SERIES[name].subject)))
    return points


class Memory:
    """PSS of subjects, MiB: when nothing has been asked yet, the highest that was seen in the middle of a load, some seconds after all."""

    def __init__(self, bench, subjects):
        self.processes = {subject: bench.processes[subject] for subject in subjects}
        self.figures = {subject: {"idle": process.pss_mib(), "under load": 0.0} for subject, process in self.processes.items()}

    def watch(self, subject):
        if subject in self.processes:
            figures = self.figures[subject]
            figures["under load"] = max(figures["under load"], self.processes[subject].pss_mib())

    def end(self):
        for subject, process in self.processes.items():
            self.figures[subject]["recovered"] = process.pss_mib()
        return self.figures


def measure(bench, quick, progress):
    names = [name for name in SERIES if SERIES[name].subject in bench.processes]
    time.sleep(1)  # what starting took is given back
    memory = Memory(bench, dict.fromkeys(SERIES[name].subject for name in names if name != DIRECT))
    points = sweep(bench, names, 1 if quick else 2, 1.5 if quick else 1.2, memory.watch, progress)
    progress(f"{RECOVERY_SECONDS} s of rest")
    time.sleep(RECOVERY_SECONDS)
    return {"points": points, "frontier": {name: frontier(each) for name, each in points.items()}, "memory_mib": memory.end()}


def table(found):
    lines = [f"{'calls/s while 99 % finish within':34}" + "".join(f"{bound:>7} ms" for bound in BOUNDS_MS)]
    for work, names in WORKS.items():
        lines.append(work)
        for name in (name for name in names if name in found["frontier"]):
            rows = found["frontier"][name].values()
            lines.append(f"  {name:32}" + "".join(f"{rate:>10,}" if rate else f"{'-':>10}" for rate in rows))
    lines.append(f"\n{'PSS, MiB':34}" + "".join(f"{when:>12}" for when in ("idle", "under load", "recovered")))
    for subject, figures in found["memory_mib"].items():
        lines.append(f"  {subject:32}" + "".join(f"{figures[when]:>12.1f}" for when in ("idle", "under load", "recovered")))
    return "\n".join(lines)


def write_plot(path, found):
    latency = Panel("p99 of a call, ms (less is better)", lambda point: point["p99_us"] / 1000, (0.1, 1, 10, 100, 1000), True)
    cost = Panel("CPU of a call, us (less is better)", lambda point: point["cpu_us"], (0, 10, 20, 30, 40, 50), False)
    write_panels(path, [latency, cost], MARKS, {name: (SERIES[name].colour, points) for name, points in found["points"].items() if points})
