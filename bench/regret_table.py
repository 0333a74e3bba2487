# SPDX-License-Identifier: Apache-2.0
"""./dev bench --regret: how far the batcher, left to itself, is from the best it could have been told.

Worlds times loads, and every change from one world to another, in virtual time (bench/regret.c): goodput, p50 and p99 beside the
best static setting of that cell, found by sweeping concurrency, mode and window. A cell holds when goodput >= 0.9 x best,
p50 <= 1.25 x best + 0.5 ms, p99 <= 2 x best, and, while the provider is well, no call ends as anything but an answer or an early refusal."""

import html
import json
import os
import pathlib
import subprocess

FAULTS = ((16, "stuck"), (32, "storm"), (8, "lost"), (1, "goodput"), (2, "p50"), (4, "p99"))
BEST = pathlib.Path(__file__).resolve().parent.parent / "tests/support/regret_best.inc"


def run_parts(program, arguments, jobs, progress, what):
    """All cells of one kind; the processes take every jobs-th cell each."""
    running = [subprocess.Popen([str(program), *arguments, "--part", f"{part}/{jobs}"], stdout=subprocess.PIPE, text=True)
               for part in range(jobs)]
    cells = []
    for process in running:  # each writes less than a pipe holds ahead of the one that is read, or waits a little
        for line in process.stdout:
            cells.append(json.loads(line))
            progress(f"{len(cells):4} {what}")
        if process.wait():
            raise SystemExit(f"bench: {program} ended with {process.returncode}")
    return sorted(cells, key=lambda cell: cell["number"])


def measure(program, progress):
    jobs = os.cpu_count() or 1
    return {"cells": run_parts(program, [], jobs, progress, "cells"), "changes": run_parts(program, ["--changes"], jobs, progress, "changes")}


def faults_text(cell):
    return " ".join(word for bit, word in FAULTS if cell["faults"] & bit)


def setting_text(cell):
    window = f" {cell['window_us'] / 1000:g}ms" if cell["mode"] == "fixed" else ""
    return f"{cell['mode']}{window} x {cell['concurrency']}"


def cell_name(cell):
    return f"{cell['before']} -> {cell['world']}" if cell["before"] else cell["world"]


def row(cell):
    best, adaptive = cell["best"], cell["adaptive"]
    return (cell_name(cell), cell["load"], setting_text(cell), f"{best['goodput']:,.0f}", f"{adaptive['goodput']:,.0f}",
            f"{best['p50_us'] / 1000:,.2f}", f"{adaptive['p50_us'] / 1000:,.2f}", f"{best['p99_us'] / 1000:,.2f}",
            f"{adaptive['p99_us'] / 1000:,.2f}", f"{adaptive['refused']:,}", f"{adaptive['failed']:,}", f"{cell['excess']:.2f}",
            faults_text(cell))


HEAD = ("world", "load", "best static", "calls/s: best", "adaptive", "p50 ms: best", "adaptive", "p99 ms: best", "adaptive", "refused",
        "failed", "excess", "beyond")


def table(cells):
    rows = [HEAD] + [row(cell) for cell in cells]
    widths = [max(len(line[i]) for line in rows) for i in range(len(HEAD))]
    left = (0, 1, 2, len(HEAD) - 1)
    return "\n".join("  ".join(word.ljust(widths[i]) if i in left else word.rjust(widths[i]) for i, word in enumerate(line)).rstrip()
                     for line in rows)


def summary(found):
    lines = []
    for kind, cells in found.items():
        beyond = [cell for cell in cells if cell["faults"]]
        lines.append(f"{kind}: {len(cells) - len(beyond)} of {len(cells)} hold")
    return "\n".join(lines)


def worst(found, count):
    return sorted(found["cells"] + found["changes"], key=lambda cell: -cell["excess"])[:count]


# ---- the heat map ----

SIDE, TOP, LEFT, GAP = 46, 118, 110, 60


def colour(cell):
    """Green while it holds, then from yellow to dark red with how far it is off."""
    if not cell["faults"]:
        return "#2e8b57" if cell["excess"] < 0.8 else "#7fbf7b"
    for most, shade in ((1.2, "#fee08b"), (1.5, "#fdae61"), (2.5, "#f46d43"), (10, "#d73027")):
        if cell["excess"] < most:
            return shade
    return "#7f0000"


def draw_map(cells, rows, columns, place, left, title):
    parts = [f'<text x="{left + 10}" y="22" font-size="15" font-weight="600">{html.escape(title)}</text>']
    for x, name in enumerate(columns):
        at = left + LEFT + x * SIDE + SIDE / 2
        parts.append(f'<text x="{at}" y="{TOP - 8}" transform="rotate(-50 {at} {TOP - 8})">{html.escape(name)}</text>')
    for y, name in enumerate(rows):
        parts.append(f'<text x="{left + LEFT - 6}" y="{TOP + y * 22 + 15}" text-anchor="end">{html.escape(name)}</text>')
    for cell in cells:
        x, y = place(cell)
        said = f"{cell_name(cell)}, {cell['load']}: {cell['excess']:.2f} {faults_text(cell)}"
        parts.append(f'<rect x="{left + LEFT + x * SIDE}" y="{TOP + y * 22}" width="{SIDE - 2}" height="20" fill="{colour(cell)}">'
                     f'<title>{html.escape(said)}</title></rect>'
                     f'<text x="{left + LEFT + x * SIDE + SIDE / 2 - 1}" y="{TOP + y * 22 + 14}" text-anchor="middle" font-size="10" '
                     f'fill="{"white" if cell["excess"] >= 2.5 or (not cell["faults"] and cell["excess"] < 0.8) else "black"}">'
                     f'{min(cell["excess"], 999):.3g}</text>')
    return "".join(parts)


def write_plot(path, found):
    cells, changes = found["cells"], found["changes"]
    worlds = list(dict.fromkeys(cell["world"] for cell in cells))
    loads = list(dict.fromkeys(cell["load"] for cell in cells))
    befores = [world for world in worlds if any(cell["before"] == world for cell in changes)]
    second = LEFT + len(loads) * SIDE + GAP
    width, height = second + LEFT + len(befores) * SIDE + 70, TOP + len(worlds) * 22 + 50
    under = changes[0]["load"] if changes else ""
    drawn = draw_map(cells, worlds, loads, lambda cell: (loads.index(cell["load"]), worlds.index(cell["world"])), 0, "each world under each load")
    drawn += draw_map(changes, worlds, befores, lambda cell: (befores.index(cell["before"]), worlds.index(cell["world"])), second,
                      f"2 s after a change from the world above to the one on the left ({under})")
    pathlib.Path(path).write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="system-ui, sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/>{drawn}'
        f'<text x="10" y="{height - 16}">1: at the tightest bound (goodput 0.9 x best static, p50 1.25 x + 0.5 ms, p99 2 x); green: within all of '
        "them; less is better</text></svg>\n")


def update_best(cells):
    lines = ["/* Made by `./dev bench --regret --update`: the best static setting of each world and load. */"]
    for cell in cells:
        lines.append(f'{{ "{cell["world"]}", "{cell["load"]}", {{ BATCH_{cell["mode"].upper()}, {cell["concurrency"]}, {cell["window_us"]} }} }},')
    BEST.write_text("\n".join(lines) + "\n")


def run(build, args, progress):
    program = build / "bench/regret"
    if args.update:  # the changes look the best settings up, so the program is made anew in between
        update_best(run_parts(program, [], os.cpu_count() or 1, progress, "cells"))
        subprocess.run(["make", "-s", "-C", str(build), "bench/regret"], check=True)
    found = measure(program, progress)
    progress("")
    print(table(found["cells"] + [cell for cell in found["changes"] if cell["faults"]]))
    print("\n" + summary(found) + "\n\nthe worst:\n" + table(worst(found, 10)))
    if args.plot:
        write_plot(args.plot, found)
    return found
