#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""./dev bench --scenarios: what does not fit a row of "so many calls, so much CPU": herds, Zipf, idle connections, calls in flight,
a long mixed load, /v1/batch, start. Each prints what was seen beside its goal; nothing here fails for being slow."""

import contextlib
import json
import pathlib
import resource
import re
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request

from subjects import NGINX, Process, free_port

CONFIG = """
listen: 127.0.0.1:{port}
admin: {{ listen: off }}
workers: 2
log: {{ access: false }}
limits: {{ connections: 20000, idle_timeout: 10m }}
cache: {{ memory: {{ size: {memory} }} }}
upstreams:
    free: {{ dialect: jsonrpc, endpoints: [ {{ url: "http://127.0.0.1:{free}/rpc" }} ], pool: {{ max: 64 }} }}
    five: {{ dialect: jsonrpc, endpoints: [ {{ url: "http://127.0.0.1:{five}/rpc" }} ] }}
    second:
        dialect: jsonrpc
        endpoints: [ {{ url: "http://127.0.0.1:{second}/rpc" }} ]
        batch: {{ mode: "off", in_flight: 1000 }}
        pool: {{ max: 1000 }}
tools:
    cached: {{ upstream: free, annotations: {{ read_only: true }}, cache: {{ ttl: 1h, scope: shared }} }}
    batched: {{ upstream: free, annotations: {{ read_only: true }} }}
    herd: {{ upstream: five, annotations: {{ read_only: true }}, cache: {{ ttl: 1h, scope: shared }} }}
    waits: {{ upstream: second }}
"""


class Scene:
    """A gateway and its providers, for one scenario."""

    def __init__(self, build, directory, memory="256MiB"):
        self.build, self.directory = build, directory
        provider = str(build / "bench/provider")
        self.processes = {name: Process([provider, "--port", "0", *options], 0, directory)
                          for name, options in (("free", []), ("five", ["--delay-ms", "5"]), ("second", ["--delay-ms", "1000"]))}
        port = free_port()
        path = pathlib.Path(directory) / f"{port}.yaml"
        path.write_text(CONFIG.format(port=port, memory=memory, **{name: each.port for name, each in self.processes.items()}))
        self.gateway = self.processes["gateway"] = Process([str(build / "jitney"), "serve", "-c", str(path)], port, directory)

    def nginx(self):
        port = free_port()
        path = pathlib.Path(self.directory) / "nginx.conf"
        path.write_text(NGINX.format(port=port, workers=2, directory=self.directory, free=self.processes["free"].port,
                                     slow=self.processes["five"].port))
        self.processes["nginx"] = Process(["nginx", "-p", self.directory, "-c", str(path), "-g", "daemon off;"], port, self.directory)
        return self.processes["nginx"]

    def end(self):
        for process in self.processes.values():
            process.end()

    def load(self, path, body=None, process=None, **options):
        process = process or self.gateway
        argv = [str(self.build / "bench/load"), "--connect", f"127.0.0.1:{process.port}", "--path", path]
        argv += ["--body", body] if body else []
        for name, value in options.items():
            argv += ["--" + name.replace("_", "-")] + ([] if value is True else [str(value)])
        before = process.cpu_us()
        seen = json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=False).stdout)
        seen["cpu_us"] = (process.cpu_us() - before) / max(seen["answered"], 1)
        seen["bad"] = seen["calls"] - seen["statuses"].get("200", 0)
        return seen

    def metric(self, name, **labels):
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.gateway.port}/metrics").read().decode()
        total = 0.0
        for line in text.splitlines():
            if re.match(name + r"[{ ]", line) and all(f'{key}="{value}"' in line for key, value in labels.items()):
                total += float(line.rpartition(" ")[2])
        return total


@contextlib.contextmanager
def scene(build, **options):
    with tempfile.TemporaryDirectory(prefix="jitney-bench-") as directory:
        made = Scene(build, directory, **options)
        try:
            yield made
        finally:
            made.end()


def herds(build, quick):
    """64 callers ask the same at once, 5 ms provider, nothing cached."""
    rounds, calls, worst = (5 if quick else 20), 0, 0
    with scene(build) as one:
        for number in range(rounds):
            seen = one.load("/v1/tools/herd", '{"herd":%d}' % number, callers=64, calls=64, at_once=True)
            worst = max(worst, seen["p99_us"])
        calls = one.metric("jitney_upstream_requests_total", upstream="five")
    yield "provider calls a herd", f"{calls / rounds:.2f}", "<= 1"
    yield "worst p99 of a herd, ms", f"{worst / 1000:.1f}", "<= 15"


def zipf(build, quick):
    """Zipf 1.0 over 10,000 keys, memory for about 1,000."""
    calls = 40_000 if quick else 300_000
    with scene(build, memory="640KiB") as one:
        options = {"callers": 64, "distinct": 10_000, "zipf": 1.0}
        one.load("/v1/tools/cached", '{"q":%d}', calls=calls // 4, **options)
        hits = one.metric("jitney_cache_requests_total", tier="memory", result="hit")
        seen = one.load("/v1/tools/cached", '{"q":%d}', calls=calls, **options)
        hits = one.metric("jitney_cache_requests_total", tier="memory", result="hit") - hits
        entries = one.metric("jitney_cache_entries", tier="memory")
        nginx = one.nginx()
        one.load("/cache", '{"jsonrpc":"2.0","id":1,"method":"m","params":{"q":%d}}', nginx, calls=calls // 4, **options)
        peer = one.load("/cache", '{"jsonrpc":"2.0","id":1,"method":"m","params":{"q":%d}}', nginx, calls=calls, **options)
    share = entries / 10_000
    yield f"entries in memory ({share:.0%} of the keys)", f"{entries:,.0f}", ""
    yield "hit ratio (LRU of 1,000: see bench/hit_ratio)", f"{hits / calls:.1%}", "LRU + 5"
    yield "CPU a call, us; nginx with room for all", f"{seen['cpu_us']:.1f}; {peer['cpu_us']:.1f}", "<= 0.7"


def idle(build, quick):
    """Idle keep-alive connections, and 64 active ones beside them."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    count = min(2_000 if quick else 10_000, soft - 500)
    with scene(build) as one:
        for _ in range(2):
            alone = one.load("/v1/tools/cached", '{"q":1}', callers=64, calls=40_000)
        before = one.gateway.rss_mib()
        sockets = []
        for _ in range(count):
            each = socket.create_connection(("127.0.0.1", one.gateway.port))
            each.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            sockets.append(each)
        for each in sockets:
            each.recv(4096)
        time.sleep(3)   # quiet ones give their memory back
        held = one.gateway.rss_mib() - before
        beside = one.load("/v1/tools/cached", '{"q":1}', callers=64, calls=40_000)
        for each in sockets:
            each.close()
    yield f"KiB each of {count:,} idle connections", f"{held * 1024 / count:.1f}", "<= 10"
    yield "CPU a hit beside them, of that without", f"{beside['cpu_us'] / alone['cpu_us']:.2f}", "1"


def in_flight(build, quick):
    """Calls in flight for 1 s each."""
    with scene(build) as one:
        one.load("/v1/tools/waits", '{"q":%d}', callers=10, calls=10)
        few = one.load("/v1/tools/waits", '{"q":%d}', callers=10, calls=20 if quick else 50)
        one.load("/v1/tools/waits", '{"q":%d}', callers=1000, calls=1000)
        many = one.load("/v1/tools/waits", '{"q":%d}', callers=1000, calls=1000 if quick else 5000)
        rss = one.gateway.rss_mib()
    yield "RSS with 1,000 in flight, MiB", f"{rss:.0f}", "<= 48"
    yield "CPU a call with 1,000 and with 10 in flight, us", f"{many['cpu_us']:.0f}; {few['cpu_us']:.0f}", "equal"
    yield "not answered with 200", str(few["bad"] + many["bad"]), "0"


def sustained(build, quick):
    """70 % hits, 20 % batched misses, 10 % catalogue, 12,000/s."""
    seconds, seen = (5 if quick else 60), {}
    with scene(build) as one:
        def part(name, path, body, rate, **more):
            seen[name] = one.load(path, body, callers=32, rate=rate, seconds=seconds, **more)

        part("warm", "/v1/tools/cached", '{"q":%d}', 5000, distinct=1000)
        before = one.gateway.rss_mib()
        threads = [threading.Thread(target=part, args=args, kwargs=more) for args, more in (
            (("hit", "/v1/tools/cached", '{"q":%d}', 8400), {"distinct": 1000}),
            (("miss", "/v1/tools/batched", '{"q":%d}', 2400), {}), (("list", "/v1/tools", None, 1200), {}))]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        after = one.gateway.rss_mib()
    parts = [seen[name] for name in ("hit", "miss", "list")]
    yield f"calls a second over {seconds} s", f"{sum(each['calls_per_second'] for each in parts):,.0f}", ">= 10,000"
    yield "worst p95 of the three, ms", f"{max(each['p95_us'] for each in parts) / 1000:.2f}", "< 5"
    yield "worst p99 of the three, ms", f"{max(each['p99_us'] for each in parts) / 1000:.2f}", "< 20"
    yield "RSS before and after, MiB", f"{before:.1f}; {after:.1f}", "flat"
    yield "not answered with 200", str(sum(each["bad"] for each in parts)), "0"


def batches(build, quick):
    """/v1/batch of 100, half of them hits."""
    items = ",".join('{"id":"%d","tool":"%s","arguments":{"q":%s}}' % (i, "cached" if i % 2 else "batched", i if i % 2 else "1%d" + f"{i:03}")
                     for i in range(100))
    calls = 400 if quick else 3000
    with scene(build) as one:
        for _ in range(2):
            seen = one.load("/v1/batch", '{"calls":[' + items + "]}", callers=16, calls=calls)
            alone = one.load("/v1/batch", '{"calls":[]}', callers=16, calls=calls * 10)
    yield "CPU a call beyond the request itself, us", f"{(seen['cpu_us'] - alone['cpu_us']) / 100:.2f}", "<= 4"
    yield "not answered with 200", str(seen["bad"]), "0"


def thousand_tools(port, description, watch="false"):
    tools = "".join(f'    tool_{i}: {{ upstream: free, description: "{description}", input_schema: {{ type: object, properties: '
                    f'{{ q: {{ type: string }} }} }} }}\n' for i in range(1000))
    return (f"listen: 127.0.0.1:{port}\nadmin: {{ listen: off }}\nreload: {{ watch: {watch} }}\nupstreams:\n"
            f'    free: {{ dialect: jsonrpc, endpoints: [ {{ url: "http://127.0.0.1:1/rpc" }} ] }}\ntools:\n{tools}')


def starts(build, quick):
    """1,000 tools, from exec to /healthz."""
    took = []
    with tempfile.TemporaryDirectory(prefix="jitney-bench-") as directory:
        for _ in range(3 if quick else 9):
            port = free_port()
            path = pathlib.Path(directory) / "start.yaml"
            path.write_text(thousand_tools(port, "A tool."))
            began = time.monotonic()
            log = open(pathlib.Path(directory) / "start.log", "wb")
            child = subprocess.Popen([str(build / "jitney"), "serve", "-c", str(path)], stderr=log, stdout=log)
            log.close()
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        probe.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                        probe.recv(100)
                        break
                time.sleep(0.0005)
            took.append((time.monotonic() - began) * 1000)
            pages = int(pathlib.Path(f"/proc/{child.pid}/statm").read_text().split()[1])
            child.terminate()
            child.wait()
    yield "start to healthy, ms, median", f"{sorted(took)[len(took) // 2]:.0f}", "< 50"
    yield "RSS then, MiB", f"{pages * resource.getpagesize() / 2**20:.1f}", "< 12"


def reloads(build, quick):
    """1,000 tools, from the last write of a watched file to the first answer that goes by it."""
    took = {"saved": [], "renamed": [], "a burst": []}
    with tempfile.TemporaryDirectory(prefix="jitney-bench-") as directory:
        port = free_port()
        path = pathlib.Path(directory) / "reload.yaml"
        path.write_text(thousand_tools(port, "Number 0.", "true"))
        with contextlib.ExitStack() as ends:
            ends.callback(Process([str(build / "jitney"), "serve", "-c", str(path)], port, directory).end)
            for number in range(1, 10 if quick else 61):
                how = list(took)[number % 3]
                text = thousand_tools(port, f"Number {number}.", "true")
                for _ in range(5 if how == "a burst" else 0):
                    path.write_text(text[:len(text) // 2])
                    time.sleep(0.01)
                if how == "renamed":
                    path.with_suffix(".new").write_text(text)
                    path.with_suffix(".new").rename(path)
                else:
                    path.write_text(text)
                began = time.monotonic()
                while f"Number {number}." not in urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/tools/tool_9").read().decode():
                    time.sleep(0.001)
                took[how].append((time.monotonic() - began) * 1000)
    for how, times in took.items():
        yield f"{how}: ms, median", f"{sorted(times)[len(times) // 2]:.0f}", "<= 100"
        yield f"{how}: ms, worst", f"{max(times):.0f}", "<= 100"


SCENARIOS = (herds, zipf, idle, in_flight, sustained, batches, starts, reloads)


def run(jitney, quick, progress, all_of_them=SCENARIOS):
    """Print each scenario's lines as it ends; return them all."""
    build = pathlib.Path(jitney).resolve().parent
    found = {}
    print(f"{'':52}  {'seen':>16}  {'goal':>10}")
    for number, scenario in enumerate(all_of_them):
        title = (scenario.__doc__ or "").rstrip(".")
        progress(f"{number * 100 // len(all_of_them):3d} %  {title}")
        lines = list(scenario(build, quick))
        progress("")
        print(title)
        for what, seen, goal in lines:
            print(f"  {what:50}  {seen:>16}  {goal:>10}", flush=True)
        found[scenario.__name__] = [{"what": what, "seen": seen, "goal": goal} for what, seen, goal in lines]
    return found
