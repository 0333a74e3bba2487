#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""./dev bench: the gateway beside the peers and the raw limits on the same work, in one run, on this machine.

CPU time per call (user + system of the whole process tree, from /proc) is the figure to look at: it holds still on a
noisy machine where rates do not. Subjects of one work take turns (A B A B), the median counts, the spread is shown, and
"jitney again" is a second gateway of the same kind: what differs between the two is noise."""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import failures  # noqa: E402
import frontier  # noqa: E402
import instructions  # noqa: E402
import loads  # noqa: E402
import machine  # noqa: E402
import modes  # noqa: E402
import peers  # noqa: E402
import regret_table  # noqa: E402
import scenarios  # noqa: E402
import slopes  # noqa: E402
from plot import write_plot  # noqa: E402
from subjects import Bench  # noqa: E402

RPC = '{"jsonrpc":"2.0","id":%d,"method":"m","params":{"q":%d}}'
RPC_SAME = '{"jsonrpc":"2.0","id":1,"method":"m","params":{"q":1}}'
BIG = '{"text":"' + "x" * 1900 + '","q":%s,"n":[1,2,3]}'
BIG_ROTATED = '{ "n": [1, 2, 3], "q": %s, "text": "' + "x" * 1900 + '" }'


class Row:
    """One work, one subject: where its calls go. label: its name in the table, where a subject has several."""

    def __init__(self, subject, path, body, callers=64, calls=100_000, distinct=None, at_once=False, label=None):
        self.subject, self.path, self.body, self.label = subject, path, body, label or subject
        self.callers, self.calls, self.distinct, self.at_once = callers, calls, distinct, at_once


# work: what it shows, its rows, the row the others are compared with
WORKS = {
    "hit": ("memory hit, same bytes", [
        Row("jitney", "/v1/tools/cached", '{"q":1}'), Row("jitney again", "/v1/tools/cached", '{"q":1}'),
        Row("raw http", "/", '{"q":1}'), Row("nginx", "/cache", RPC_SAME),
        Row("varnish", "/rpc?q=1", None)], "nginx"),
    "hit-respelled": ("memory hit, blanks and order differ", [
        Row("jitney", "/v1/tools/cached", '{ "b": [1, 2], "q": %d }', distinct=5000),
        Row("jitney again", "/v1/tools/cached", '{"q":1}')], "jitney again"),
    "hit-2k": ("memory hit, 2 KB, respelled", [
        Row("jitney", "/v1/tools/cached", BIG_ROTATED % "%d", distinct=500),
        Row("jitney again", "/v1/tools/cached", BIG % "1")], "jitney again"),
    "hit-redis": ("Redis hit, no memory tier, 5000 keys", [
        Row("jitney redis", "/v1/tools/cached", '{"q":%d}', distinct=5000),
        Row("jitney", "/v1/tools/cached", '{"q":%d}', distinct=5000)], "jitney"),
    "miss": ("miss, one call a request", [
        Row("jitney", "/v1/tools/alone", '{"q":%d}'), Row("jitney", "/v1/tools/owned", '{"q":%d}', label="jitney, owners: auto"),
        Row("nginx", "/proxy", RPC), Row("haproxy", "/rpc", RPC),
        Row("free", "/rpc", RPC), Row("raw curl", "/rpc", RPC_SAME)], "nginx"),
    "miss-batched": ("miss, batched by arrays", [
        Row("jitney", "/v1/tools/batched", '{"q":%d}'), Row("nginx", "/proxy", RPC)], "nginx"),
    "lone": ("miss, 1 caller", [
        Row("jitney", "/v1/tools/batched", '{"q":%d}', callers=1, calls=5000),
        Row("nginx", "/proxy", RPC, callers=1, calls=5000), Row("free", "/rpc", RPC, callers=1, calls=5000)], "free"),
    "slots": ("provider: 5 ms + 0.05 ms a call, 4 at once, 256 callers", [
        Row("jitney", "/v1/tools/slots", '{"q":%d}', callers=256, calls=60_000),
        Row("nginx", "/slots", RPC, callers=256, calls=2000)], "nginx"),
}


def raw_curl(bench, row, calls):
    """The back alone: it makes its own calls to the provider and measures itself."""
    began = time.monotonic()
    done = subprocess.run([str(bench.build / "bench/raw_curl"), f"http://127.0.0.1:{bench.processes['free'].port}{row.path}", row.body,
                           str(calls), str(row.callers)], stdout=subprocess.PIPE, check=False)
    seen = json.loads(done.stdout)
    return {"cpu_us": seen["cpu_us"], "failed": seen["failed"], "calls_per_second": calls / (time.monotonic() - began),
            "p50_us": 0, "p99_us": 0, "rss_mib": 0}


def load(bench, row, share):
    """One run of one row: what the load generator saw, and what it cost the subject."""
    if row.subject == "raw curl":
        return raw_curl(bench, row, max(int(row.calls * share), row.callers * 4))
    process = bench.processes[row.subject]
    calls = max(int(row.calls * share), row.callers * 4)
    argv = [str(bench.build / "bench/load"), "--connect", f"127.0.0.1:{process.port}", "--callers", str(row.callers),
            "--calls", str(calls), "--path", row.path, "--timeout", "30"]
    argv += ["--body", row.body] if row.body else []  # varnish keeps answers to GET only
    if row.distinct:
        argv += ["--distinct", str(row.distinct)]
    before = process.cpu_us()
    done = subprocess.run(argv, stdout=subprocess.PIPE, check=False)
    seen = json.loads(done.stdout)
    seen["cpu_us"] = (process.cpu_us() - before) / max(seen["answered"], 1)
    seen["failed"] = seen["calls"] - seen["answered"] + sum(n for status, n in seen["statuses"].items() if int(status) >= 400)
    seen["rss_mib"] = process.rss_mib()
    return seen


def measure(bench, works, rounds, share, progress):
    results = {}
    total = sum(len(WORKS[name][1]) for name in works) * (rounds + 1)
    step = 0
    for name in works:
        rows = [row for row in WORKS[name][1] if row.subject in bench.processes or row.subject == "raw curl"]
        runs = {row.label: [] for row in rows}
        for turn in range(rounds + 1):
            for row in rows:
                step += 1
                progress(f"{step * 100 // total:3d} %  {name}: {row.label}")
                seen = load(bench, row, share / 10 if turn == 0 else share)  # the first round warms up
                if turn:
                    runs[row.label].append(seen)
        results[name] = {label: summary(each) for label, each in runs.items()}
    return results


def summary(runs):
    middle = {key: statistics.median(run[key] for run in runs)
              for key in ("cpu_us", "calls_per_second", "p50_us", "p99_us", "rss_mib")}
    cpu = [run["cpu_us"] for run in runs]
    middle["spread"] = (max(cpu) - min(cpu)) / middle["cpu_us"] if middle["cpu_us"] else 0
    middle["failed"] = sum(run["failed"] for run in runs)
    middle["runs"] = len(runs)
    return middle


def table(results):
    head = ("", "CPU us/call", "ratio", "spread", "calls/s", "ratio", "p50 us", "p99 us", "RSS MiB", "failed")
    lines = []
    for name, subjects in results.items():
        title, _, base_name = WORKS[name]
        base = subjects.get(base_name)
        lines.append((title, base_name))
        for subject, figures in subjects.items():
            ratio = [f"{figures[key] / base[key]:.2f}" if base and base[key] else "-" for key in ("cpu_us", "calls_per_second")]
            lines.append(("  " + subject, f"{figures['cpu_us']:.1f}", ratio[0], f"{figures['spread'] * 100:.0f} %",
                          f"{figures['calls_per_second']:,.0f}", ratio[1],
                          *(f"{figures[key]:,.0f}" if figures[key] else "-" for key in ("p50_us", "p99_us", "rss_mib")),
                          str(figures["failed"])))
    widths = [max([len(head[i])] + [len(line[i]) for line in lines if len(line) > 2]) for i in range(len(head))]
    out = ["  ".join(word.ljust(widths[i]) if i == 0 else word.rjust(widths[i]) for i, word in enumerate(head))]
    for line in lines:
        if len(line) == 2:
            out.append(f"{line[0]} (ratios to {line[1]})")
        else:
            out.append("  ".join(word.ljust(widths[i]) if i == 0 else word.rjust(widths[i]) for i, word in enumerate(line)))
    return "\n".join(out)


# ---- what a run can be: each prints its table and returns its figures, of which there is an exit status too ----


def show(text, progress):
    progress("")
    print(("\r" if sys.stderr.isatty() else "") + text)


def run_over_load(module, args, progress):
    """Modules that measure over the load and draw lines of it. What else ran would share pages with them, and PSS be less."""
    with Bench(pathlib.Path(args.jitney).parent, args.workers, only={series.subject for series in module.SERIES.values()}) as bench:
        found = module.measure(bench, args.quick, progress)
    show(module.table(found), progress)
    if args.plot:
        module.write_plot(args.plot, found)
    return found, 0


def run_modes(args, progress):
    points = modes.measure(pathlib.Path(args.jitney).resolve().parent, 1 if args.quick else 4, progress)
    show(modes.table(points), progress)
    if args.plot:
        modes.write_plot(args.plot, points)
    return points, 0


def run_instructions(args, progress):
    counted = instructions.measure(pathlib.Path(args.jitney).resolve(), progress)
    progress("")
    return counted, instructions.report(counted, args.update)


def run_works(args, progress):
    rounds, share = (3, 0.2) if args.quick else (args.rounds, 1.0)
    with Bench(pathlib.Path(args.jitney).parent, args.workers) as bench:
        results = measure(bench, args.work or list(WORKS), rounds, share, progress)
        if "hit-redis" in results and "redis" in bench.processes:
            bench.measure_redis()
    show(table(results), progress)
    if "redis" in bench.raw:
        print("\nRedis GET, CPU us of the client, by hiredis' own loop and by the tier, which checks and unpacks the value")
        for line in bench.raw["redis"]:
            print("  depth {depth:4}  {bytes:6} bytes  raw {raw_us:.2f}  tier {tier_us:.2f}  ratio {ratio:.2f}".format(**line))
    if args.plot:
        write_plot(args.plot, results, WORKS)
    failed = sum(figures["failed"] for subjects in results.values() for name, figures in subjects.items() if "jitney" in name)
    return results, 1 if failed else 0


# option: its help, what it runs instead of the table
KINDS = {
    "loads": ("latency and CPU of hits and misses over load, beside nginx", lambda args, progress: run_over_load(loads, args, progress)),
    "frontier": ("calls/s while 99 %% finish within 1 to 100 ms, beside nginx; memory idle, under load, recovered",
                 lambda args, progress: run_over_load(frontier, args, progress)),
    "modes": ("latency and saved requests over load, by batch.mode", run_modes),
    "instructions": ("count instructions, compare with the budget", run_instructions),
    "scenarios": ("herds, Zipf, idle connections, a long mixed load, start",
                  lambda args, progress: (scenarios.run(args.jitney, args.quick, progress), 0)),
    "failures": ("providers that are overloaded, black-holed, frozen or fickle",
                 lambda args, progress: (failures.run(args.jitney, args.quick, progress), 0)),
    "slopes": ("how cost grows with callers, workers, batches, bytes, tools",
               lambda args, progress: (slopes.run(args.jitney, args.quick, progress), 0)),
    "regret": ("the batcher beside the best static setting, worlds x loads, in virtual time",
               lambda args, progress: (regret_table.run(pathlib.Path(args.jitney).resolve().parent, args, progress), 0)),
}


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jitney", default="build/jitney", help="the binary; bench programs are expected beside it")
    parser.add_argument("--quick", action="store_true", help="a fifth of the calls, 3 rounds: under two minutes")
    parser.add_argument("--work", action="append", choices=sorted(WORKS), help="only this one (may come again)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", metavar="FILE", help="write the figures here, and what they were measured on")
    parser.add_argument("--plot", metavar="FILE.svg", help="draw CPU per call as bars here; with --loads, --frontier or --modes lines over the load")
    for name, (text, _) in KINDS.items():
        parser.add_argument("--" + name, dest="kind", action="store_const", const=name, help="instead: " + text)
    parser.add_argument("--peers", metavar="NAME,...", help="instead: bridges to an MCP program that others have made, installed by pip, npm and "
                        "cargo into peers/ beside the binary: " + ", ".join(peers.PEERS))
    parser.add_argument("--update", action="store_true",
                        help="with --instructions: what is counted becomes the budget; with --regret: what is best becomes the test's baseline")
    return parser.parse_args()


def run(args, progress):
    if args.peers:
        return peers.run(args.jitney, args.peers.split(","), args.quick, progress), 0
    if args.kind in KINDS:
        return KINDS[args.kind][1](args, progress)
    return run_works(args, progress)


def main():
    args = read_arguments()

    def progress(text):
        if sys.stderr.isatty():
            print(f"\r{text:60}", end="", file=sys.stderr, flush=True)

    measured_on = machine.describe(args.jitney)
    print(machine.head(measured_on), flush=True)
    for peer in ("nginx", "haproxy", "varnish"):
        if peer not in measured_on["peers"]:
            print(f"bench: no {peer} here, so it is left out (./dev deps --all installs it)", file=sys.stderr)
    figures, status = run(args, progress)
    if args.json:
        machine.write_json(args.json, measured_on, figures)
    return status


if __name__ == "__main__":
    sys.exit(main())
