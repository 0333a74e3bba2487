#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""./dev bench --instructions: instructions per call, counted by callgrind, against the committed budget.

Instruction counts hold still where times do not: one caller, one worker, the difference between a long run and a short one over the
calls between them, so that starting and stopping do not count. Nor do the threads that work by the clock: the longer a machine takes
for the calls, the more often those look around. More than 5 % over bench/instructions.json fails; far below it, the budget is to be
lowered (--update writes what was counted). The libraries' own instructions are among them (libcurl 8.14 takes a seventh more of a miss
than 7.88), so each Debian's have a budget; with others it is only counted."""

import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time

from machine import versions
from subjects import Process, free_port

BUDGET = pathlib.Path(__file__).resolve().parent / "instructions.json"
ROOM = 0.05
TRIES = 3  # another program on the machine can only add turns of the loop: the lowest count is the code's own
BY_THE_CLOCK = ("main", "run_observer")  # what the threads begin with that do nothing for a call
SHORT, LONG = 200, 1000
# valgrind counts each byte that "rep stosb" sets as an instruction of its own; the processor does 32 at a time. libmicrohttpd
# clears its memory for each request, so that would be half of a hit. glibc's vector loops are counted for what they are.
PLAIN = "glibc.cpu.x86_rep_stosb_threshold=1000000000:glibc.cpu.x86_rep_movsb_threshold=1000000000"
CONFIG = """
listen: 127.0.0.1:{port}
admin: {{ listen: off }}
workers: 1
log: {{ access: false }}
upstreams:
    free: {{ dialect: jsonrpc, endpoints: [ {{ url: "http://127.0.0.1:{provider}/rpc" }} ] }}
    single: {{ dialect: jsonrpc, endpoints: [ {{ url: "http://127.0.0.1:{provider}/rpc" }} ], batch: {{ mode: "off" }} }}
tools:
    cached: {{ upstream: free, annotations: {{ read_only: true }}, cache: {{ ttl: 1h, scope: shared }} }}
    batched: {{ upstream: free, annotations: {{ read_only: true }} }}
    alone: {{ upstream: single, annotations: {{ read_only: true }} }}
"""
# Eight: two spellings that share a slot of the memo of keys (cache/key.c, 4096 slots, a seed of each process) have a key of 2 KB
# made at each turn, 2,700 instructions a call more. With fifty that was one process in four; with eight it is one in 150.
SPELT = '{ "text": "' + "x" * 1900 + '", "q": %d, "n": [1, 2, 3] }'
ITEMS = ",".join('{"id":"%d","tool":"cached","arguments":{"q":%d}}' % (i, i) for i in range(20))

MCP_CALL = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"cached","arguments":{"q":1,"text":"some words"}}}'
MCP_HEADERS = ("Accept: application/json, text/event-stream", "MCP-Protocol-Version: 2025-06-18")

# work: path, body (a template of bench/load: %d is the call's number), numbers run modulo, calls that one request carries
WORKS = {
    "hit": ("/v1/tools/cached", '{"q":1,"text":"some words"}', 1, 1),
    "hit, 2 KB, another spelling each time": ("/v1/tools/cached", SPELT, 8, 1),
    "miss, alone": ("/v1/tools/alone", '{"q":%d,"text":"some words"}', 0, 1),
    "miss, arrays (1 caller)": ("/v1/tools/batched", '{"q":%d,"text":"some words"}', 0, 1),
    "batch of 20 hits, a call": ("/v1/batch", '{"calls":[' + ITEMS + "]}", 1, 20),
    "hit, tools/call over MCP": ("/mcp", MCP_CALL, 0, 1),
    "tools list": ("/v1/tools", None, 0, 1),
}


def libraries():
    """Those whose instructions count, by the names that the budget has."""
    of = versions()
    return f"libcurl {'.'.join(of['libcurl'].split('.')[:2])}, libmicrohttpd {of['libmicrohttpd']}"


def start(jitney, directory, port, count_to):
    argv = ["valgrind", "--tool=callgrind", "--separate-threads=yes", f"--callgrind-out-file={count_to}"]
    argv += [str(jitney), "serve", "-c", f"{directory}/jitney.yaml"]
    log = open(pathlib.Path(directory) / "valgrind.log", "wb")
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "GLIBC_TUNABLES": PLAIN})
    log.close()
    for _ in range(600):
        ready = subprocess.run(["curl", "-s", "-o", f"{directory}/health", f"http://127.0.0.1:{port}/healthz"], check=False)
        if ready.returncode == 0:
            return child
        time.sleep(0.05)
    child.kill()
    raise SystemExit("bench: the gateway did not start under valgrind: " + (pathlib.Path(directory) / "valgrind.log").read_text()[-2000:])


def of_threads(count_to):
    """Instructions of all threads but those that work by the clock, from callgrind's file for each."""
    counted, passed_over = 0, set()
    for path in count_to.parent.glob(count_to.name + "-*"):
        text = path.read_text()
        begins = [name for name in BY_THE_CLOCK if re.search(rf"^c?fn=\(\d+\) {name}$", text, re.M)]
        passed_over.update(begins)
        counted += 0 if begins else int(re.search(r"^(?:summary|totals): (\d+)", text, re.M).group(1))
        path.unlink()
    if passed_over != set(BY_THE_CLOCK):
        raise SystemExit(f"bench: of the threads that work by the clock only {passed_over} were found")
    return counted


def total(jitney, load, directory, provider, work, calls):
    """Instructions for calls in a whole life of the gateway that serves so many."""
    path, body, distinct, _ = WORKS[work]
    port = free_port()
    count_to = pathlib.Path(directory) / "callgrind.out"
    (pathlib.Path(directory) / "jitney.yaml").write_text(CONFIG.format(port=port, provider=provider.port))
    child = start(jitney, directory, port, count_to)
    argv = [str(load), "--connect", f"127.0.0.1:{port}", "--callers", "1", "--calls", str(calls), "--path", path]
    argv += ["--body", body] if body else []
    argv += ["--distinct", str(distinct)] if distinct else []
    argv += [word for header in MCP_HEADERS for word in ("--header", header)] if path == "/mcp" else []
    done = subprocess.run(argv, stdout=subprocess.PIPE, check=False)
    child.send_signal(signal.SIGTERM)
    child.wait(60)
    if done.returncode:
        raise SystemExit(f"bench: {work}: not every call was answered: {done.stdout.decode()}")
    return of_threads(count_to)


def measure(jitney, progress):
    counted, budget = {}, json.loads(BUDGET.read_text()).get(libraries(), {})
    load = pathlib.Path(jitney).resolve().parent / "bench/load"
    with tempfile.TemporaryDirectory(prefix="jitney-bench-") as directory:
        provider = Process([str(load.parent / "provider"), "--port", "0"], 0, directory)
        try:
            for number, (work, (_, _, _, carried)) in enumerate(WORKS.items()):
                progress(f"{number * 100 // len(WORKS):3d} %  {work}")
                for _ in range(TRIES):
                    few = total(jitney, load, directory, provider, work, SHORT)
                    many = total(jitney, load, directory, provider, work, LONG)
                    counted[work] = min(round((many - few) / (LONG - SHORT) / carried), counted.get(work, 1 << 62))
                    if counted[work] <= budget.get(work, 0) * (1 + ROOM):
                        break
        finally:
            provider.end()
    return counted


def report(counted, update):
    """Print the table; 1 if something is over its budget."""
    budgets, of_whom, over = json.loads(BUDGET.read_text()), libraries(), 0
    budget = {} if update else budgets.get(of_whom, {})
    if not update and not budget:
        print(f"{BUDGET.name} has no budget with {of_whom}: only counted")
    width = max(len(work) for work in counted)
    print(f"{'instructions a call':{width}}  {'counted':>9}  {'budget':>9}  {'of it':>6}")
    for work, count in counted.items():
        allowed = budget.get(work, count)
        word = ""
        if count > allowed * (1 + ROOM):
            word, over = "  OVER", 1
        elif count < allowed * (1 - ROOM):
            word = "  the budget can be lowered"
        print(f"{work:{width}}  {count:>9,}  {allowed:>9,}  {count * 100 / allowed:>5.0f}%{word}")
    if update:
        BUDGET.write_text(json.dumps({**budgets, of_whom: counted}, indent=1) + "\n")
        print(f"written: bench/{BUDGET.name}")
    return over
