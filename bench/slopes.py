# SPDX-License-Identifier: Apache-2.0
"""./dev bench --slopes: how the cost of a call grows with callers, workers, batch size, bytes, tools and idle connections.

CPU per call of the gateway, the median of three runs that take turns. docs/performance.md makes its model of these."""

import json
import pathlib
import resource
import socket
import statistics
import subprocess
import tempfile

from subjects import Process, free_port

CONFIG = """
listen: 127.0.0.1:{port}
admin: {{ listen: off }}
workers: {workers}
log: {{ access: false }}
limits: {{ connections: 20000, idle_timeout: 10m }}
upstreams:
    free: {{ dialect: jsonrpc, endpoints: [ {{ url: "{url}" }} ], pool: {{ max: 64 }} }}
    of1: {{ dialect: jsonrpc, endpoints: [ {{ url: "{url}" }} ], batch: {{ mode: "off", in_flight: 256 }}, pool: {{ max: 256 }} }}
    owned: {{ dialect: jsonrpc, endpoints: [ {{ url: "{url}" }} ], batch: {{ mode: "off" }}, concurrency: 256, owners: {workers} }}
    of10: {{ dialect: jsonrpc, endpoints: [ {{ url: "{url}" }} ], batch: {{ mode: fixed, items: 10, window: 5ms }} }}
    of100: {{ dialect: jsonrpc, endpoints: [ {{ url: "{url}" }} ], batch: {{ mode: fixed, items: 100, window: 5ms }} }}
tools:
    hit: {{ upstream: free, annotations: {{ read_only: true }}, cache: {{ ttl: 1h, scope: shared }} }}
    miss: {{ upstream: free, annotations: {{ read_only: true }} }}
    of1: {{ upstream: of1, annotations: {{ read_only: true }} }}
    write: {{ upstream: of1 }}
    owned: {{ upstream: owned, annotations: {{ read_only: true }} }}
    owned_write: {{ upstream: owned }}
    of10: {{ upstream: of10, annotations: {{ read_only: true }} }}
    of100: {{ upstream: of100, annotations: {{ read_only: true }} }}
{more}"""
TOOL = '    other_{}: {{ upstream: free, description: "A tool.", input_schema: {{ type: object, properties: {{ q: {{ type: string }} }} }} }}\n'


class Setting:
    """A provider that costs nothing and gateways before it."""

    def __init__(self, build, directory):
        self.build, self.directory = build, directory
        self.provider = Process([str(build / "bench/provider"), "--port", "0"], 0, directory)
        self.gateways = []

    def gateway(self, workers=2, tools=0):
        port = free_port()
        path = pathlib.Path(self.directory) / f"{port}.yaml"
        path.write_text(CONFIG.format(port=port, workers=workers, url=f"http://127.0.0.1:{self.provider.port}/rpc",
                                      more="".join(map(TOOL.format, range(tools)))))
        made = Process([str(self.build / "jitney"), "serve", "-c", str(path)], port, self.directory)
        self.gateways.append(made)
        return made

    def end(self):
        for each in (*self.gateways, self.provider):
            each.end()

    def busiest(self, gateway, tool, calls):
        """CPU of the busiest thread per call: what bounds the calls a second, on as many cores as there are workers."""
        before = gateway.threads_us()
        self.cost(gateway, tool, calls)
        return max(used - before.get(thread, 0) for thread, used in gateway.threads_us().items()) / calls

    def cost(self, gateway, tool, calls, callers=64, size=0):
        text = ',"text":"' + "x" * size + '"' if size else ""
        before = gateway.cpu_us()
        done = subprocess.run([str(self.build / "bench/load"), "--connect", f"127.0.0.1:{gateway.port}", "--callers", str(callers),
                               "--calls", str(calls), "--path", f"/v1/tools/{tool}", "--body",
                               '{"q":%s%s}' % ("1" if tool == "hit" else "%d", text)], stdout=subprocess.PIPE, check=False)
        seen = json.loads(done.stdout)
        if seen["statuses"].get("200", 0) != seen["calls"]:
            raise SystemExit(f"bench: {tool}: not all calls were answered: {seen}")
        return (gateway.cpu_us() - before) / calls


def medians(points):
    """points: name -> a function that measures once. They take turns."""
    runs = {name: [] for name in points}
    for _ in range(3):
        for name, measure in points.items():
            runs[name].append(measure())
    return {name: statistics.median(each) for name, each in runs.items()}


def by_callers(setting, share):
    one = setting.gateway()
    return {f"{tool}, {callers} callers": lambda tool=tool, callers=callers:
            setting.cost(one, tool, int((2000 if callers == 1 else 20_000) * share), callers)
            for tool in ("hit", "miss", "of1") for callers in (1, 8, 64, 256)}


def by_workers(setting, share):
    return {f"{tool}, {workers} workers": lambda tool=tool, one=one: setting.cost(one, tool, int(20_000 * share))
            for workers in (1, 2, 4) for one in (setting.gateway(workers),) for tool in ("hit", "miss", "of1")}


def by_owners(setting, share):
    """One upstream, whose calls travel alone, owned by one worker and by all."""
    points, calls = {}, int(20_000 * share)
    for workers in (1, 2, 4):
        one = setting.gateway(workers)
        for tool in ("of1", "owned", "write", "owned_write"):
            points[f"{tool}, {workers} workers"] = lambda tool=tool, one=one: setting.cost(one, tool, calls)
            points[f"{tool}, {workers} workers, busiest thread"] = lambda tool=tool, one=one: setting.busiest(one, tool, calls)
            points[f"{tool}, {workers} workers, 1 caller"] = lambda tool=tool, one=one: setting.cost(one, tool, calls // 10, 1)
    return points


def by_batch(setting, share):
    one = setting.gateway()
    return {f"batches of up to {size}": lambda size=size: setting.cost(one, f"of{size}", int(20_000 * share), 256)
            for size in (1, 10, 100)}


def by_bytes(setting, share):
    one = setting.gateway()
    return {f"{tool}, arguments and answer of {size:,} bytes": lambda tool=tool, size=size:
            setting.cost(one, tool, int(min(20_000, 20_000_000 / size) * share), size=size)
            for tool in ("hit", "of1") for size in (200, 2000, 20_000, 100_000)}


def by_tools(setting, share):
    made = {tools: setting.gateway(tools=tools) for tools in (10, 1000, 9900)}
    points = {f"hit, {tools:,} tools": lambda one=one: setting.cost(one, "hit", int(20_000 * share)) for tools, one in made.items()}
    return {**points, **{f"RSS with {tools:,} tools, MiB": one.rss_mib for tools, one in made.items()}}


def by_idle(setting, share):
    points = {}
    for count in (0, 1000, min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500)):
        one = setting.gateway()
        one.idle = [socket.create_connection(("127.0.0.1", one.port)) for _ in range(count)]
        for each in one.idle:
            each.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            each.recv(4096)
        points[f"hit, {count:,} idle connections beside"] = lambda one=one: setting.cost(one, "hit", int(20_000 * share))
    return points


SLOPES = (by_callers, by_workers, by_owners, by_batch, by_bytes, by_tools, by_idle)


def run(jitney, quick, progress):
    build, found = pathlib.Path(jitney).resolve().parent, {}
    for number, slope in enumerate(SLOPES):
        progress(f"{number * 100 // len(SLOPES):3d} %  {slope.__name__}")
        with tempfile.TemporaryDirectory(prefix="jitney-bench-") as directory:
            setting = Setting(build, directory)
            try:
                found[slope.__name__] = medians(slope(setting, 0.2 if quick else 1.0))
            finally:
                setting.end()
        progress("")
        for name, figure in found[slope.__name__].items():
            print(f"{name:52}  {figure:8.1f}", flush=True)
    return found
