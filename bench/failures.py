#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""./dev bench --failures: what providers that are overloaded, slow, black-holed, frozen or fickle cost the callers. Each prints what was
seen beside its goal; nothing here fails for being slow, tests/integration asserts the counts."""

import contextlib
import json
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import scenarios
from subjects import NGINX, Process, free_port

SLOTS = {"delay-ms": 5, "per-item-us": 50, "concurrent": 4}
# what the provider was like in the nine phases before
PHASES = ({}, {"delay-ms": 5}, {"delay-ms": 50}, {"delay-ms": 5, "concurrent": 1}, {"delay-ms": 1, "per-item-us": 1000}, {"delay-ms": 200},
          {"delay-ms": 2, "concurrent": 64}, {"per-item-us": 100, "concurrent": 2}, {"delay-ms": 20, "per-item-us": 20, "concurrent": 8})
READS = "annotations: { read_only: true }"


class Stage:
    """Providers and gateways of one scenario, ended together."""

    def __init__(self, build, directory):
        self.build, self.directory, self.processes = build, directory, []

    def provider(self, **options):
        argv = [str(self.build / "bench/provider"), "--port", "0"]
        for name, value in options.items():
            argv += ["--" + name.replace("_", "-"), str(value)]
        return self.started(Process(argv, 0, self.directory))

    def started(self, process):
        self.processes.append(process)
        return process

    def gateway(self, upstreams, tools):
        port = free_port()
        path = pathlib.Path(self.directory) / f"{port}.yaml"
        path.write_text(f"listen: 127.0.0.1:{port}\nadmin: {{ listen: off }}\nworkers: 2\nlog: {{ access: false }}\n"
                        f"upstreams: {{ {upstreams} }}\ntools: {{ {tools} }}\n")
        return self.started(Process([str(self.build / "jitney"), "serve", "-c", str(path)], port, self.directory))

    def nginx(self, slow):
        port = free_port()
        path = pathlib.Path(self.directory) / "nginx.conf"
        path.write_text(NGINX.format(port=port, workers=2, directory=self.directory, free=slow.port, slow=slow.port))
        return self.started(Process(["nginx", "-p", self.directory, "-c", str(path), "-g", "daemon off;"], port, self.directory))

    def load_argv(self, process, path, body='{"q":%d}', **options):
        argv = [str(self.build / "bench/load"), "--connect", f"127.0.0.1:{process.port}", "--path", path, "--body", body]
        for name, value in options.items():
            argv += ["--" + name.replace("_", "-")] + ([] if value is True else [str(value)])
        return argv

    def load(self, *args, **options):
        return json.loads(subprocess.run(self.load_argv(*args, **options), stdout=subprocess.PIPE, check=False).stdout)


@contextlib.contextmanager
def stage(build):
    with tempfile.TemporaryDirectory(prefix="jitney-bench-") as directory:
        made = Stage(build, directory)
        try:
            yield made
        finally:
            for process in reversed(made.processes):
                process.end()


def status_of(gateway, tool):
    request = urllib.request.Request(f"http://127.0.0.1:{gateway.port}/v1/tools/{tool}", b'{"q":-1}', {"Content-Type": "application/json"})
    try:
        return urllib.request.urlopen(request).status
    except urllib.error.HTTPError as error:
        return error.code


def change(provider, work):
    query = "&".join(f"{name}={value}" for name, value in work.items())
    urllib.request.urlopen(f"http://127.0.0.1:{provider.port}/work?{query}&", b"").read()


def rest(port, more=""):
    return f'{{ dialect: rest, endpoints: [ {{ url: "http://127.0.0.1:{port}" }} ]{more} }}'


def overload(build, quick):
    """Five times more calls than a provider of 5 slots, 20 ms each, can answer; open loop"""
    seconds, slots, each_ms = (5 if quick else 15), 5, 20
    with stage(build) as one:
        provider = one.provider(delay_ms=each_ms, concurrent=slots)
        capacity = slots * 1000 / each_ms
        gateway = one.gateway(f"single: {rest(provider.port)}", f"one: {{ upstream: single, {READS} }}")
        rate = round(5 * capacity)
        first = one.load(gateway, "/v1/tools/one", callers=2000, rate=rate, seconds=3)
        seen = one.load(gateway, "/v1/tools/one", callers=2000, rate=rate, seconds=seconds)
        over = time.monotonic()
        while status_of(gateway, "one") != 200:
            time.sleep(0.005)
        recovered = time.monotonic() - over
    good, refused = seen["statuses"].get("200", 0), seen["refused"]
    yield "goodput of the provider's capacity", f"{good / seen['seconds'] / capacity:.1%}", ">= 95 %"
    yield "refusals p50; p99, ms", f"{refused['p50_us'] / 1000:.1f}; {refused['p99_us'] / 1000:.1f}", "p50 < 5"
    yield "refusals without Retry-After", str(refused["count"] - refused["retry_after"]), "0"
    yield "ends that are neither an answer nor 503", str(seen["calls"] - good - seen["statuses"].get("503", 0)), "0"
    yield "the first answer after it, s", f"{recovered:.2f}", "< 1"
    early, none = first["refused"], first["calls"] - sum(first["statuses"].get(status, 0) for status in ("200", "503"))
    yield "first 3 s, nothing known yet: goodput", f"{first['statuses'].get('200', 0) / first['seconds'] / capacity:.1%}", ""
    yield "first 3 s: refusals p50; p99, ms", f"{early['p50_us'] / 1000:.1f}; {early['p99_us'] / 1000:.0f}", ""
    yield "first 3 s: p99 of all, ms; neither an answer nor 503", f"{first['p99_us'] / 1000:.0f}; {none}", "; 0"


def crowd(build, _quick):
    """1,000 clients at once on a provider of 0.5 s that does any number at a time"""
    with stage(build) as one:
        provider = one.provider(delay_ms=500)
        gateway = one.gateway(f"single: {rest(provider.port)}", f"one: {{ upstream: single, {READS} }}")
        told = one.gateway(f"single: {rest(provider.port, ', concurrency: 1000')}", f"one: {{ upstream: single, {READS} }}")
        at_once = {"callers": 1000, "calls": 1000, "at_once": True}
        seen, peers = one.load(gateway, "/v1/tools/one", **at_once), {}
        peers["told concurrency: 1000"] = one.load(told, "/v1/tools/one", **at_once)
        if shutil.which("nginx"):
            peers["nginx"] = one.load(one.nginx(provider), "/slots", '{"jsonrpc":"2.0","id":%d,"method":"m","params":{"q":%d}}', **at_once)
    yield "answered", str(seen["statuses"].get("200", 0)), "1000"
    yield "the last one, s", f"{seen['max_us'] / 1e6:.2f}", "<= 2.5"
    for name, peer in peers.items():
        yield f"{name}: answered; the last one, s", f"{peer['statuses'].get('200', 0)}; {peer['max_us'] / 1e6:.2f}", ""


def black_hole(build, quick):
    """Two endpoints, one of which takes no connection and refuses none; after the first second"""
    with stage(build) as one, contextlib.ExitStack() as sockets:
        well = [one.provider(delay_ms=10) for _ in range(2)]
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            each = sockets.enter_context(socket.socket())
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        ports = {"healthy": [process.port for process in well], "holed": [listener.getsockname()[1], well[1].port]}
        found = {}
        for name, both in ports.items():
            urls = ", ".join(f'{{ url: "http://127.0.0.1:{port}" }}' for port in both)
            gateway = one.gateway(f"single: {{ dialect: rest, endpoints: [ {urls} ] }}", f"one: {{ upstream: single, {READS} }}")
            first = one.load(gateway, "/v1/tools/one", callers=64, rate=200, seconds=1)
            found[name] = (first, one.load(gateway, "/v1/tools/one", callers=64, rate=200, seconds=5 if quick else 20))
    first, holed = found["holed"]
    yield "p99 of that with two healthy ones", f"{holed['p99_us'] / found['healthy'][1]['p99_us']:.2f}", "<= 1.2"
    yield "p99, ms; in the first second, ms", f"{holed['p99_us'] / 1000:.1f}; {first['p99_us'] / 1000:.0f}", ""
    yield "not answered with 200", str(sum(each["calls"] - each["statuses"].get("200", 0) for each in found["holed"])), "0"


def frozen(build, quick):
    """A provider that has stopped answering, with 200 callers waiting for it, beside another that is well"""
    calls = 10_000 if quick else 60_000
    with stage(build) as one:
        well, ice = one.provider(delay_ms=1), one.provider(delay_ms=60_000)
        gateway = one.gateway(f"well: {rest(well.port)}, ice: {rest(ice.port, ', timeout: 50s')}",
                              f"well: {{ upstream: well, {READS} }}, ice: {{ upstream: ice, {READS} }}")
        one.load(gateway, "/v1/tools/well", callers=16, calls=calls // 4)
        before = one.load(gateway, "/v1/tools/well", callers=16, calls=calls)
        waiting = subprocess.Popen(one.load_argv(gateway, "/v1/tools/ice", callers=200, calls=200, at_once=True, timeout=60),
                                   stdout=subprocess.DEVNULL)
        beside = one.load(gateway, "/v1/tools/well", callers=16, calls=calls)
        still = waiting.poll() is None
        waiting.kill()
        waiting.wait()
    yield "p99 beside it, of that before", f"{beside['p99_us'] / before['p99_us']:.2f}", "1"
    yield "calls/s beside it, of those before", f"{beside['calls_per_second'] / before['calls_per_second']:.2f}", "1"
    yield "not answered with 200", str(beside["calls"] - beside["statuses"].get("200", 0)), "0"
    yield "others waited all the while", "yes" if still else "no", "yes"


def fickle(build, quick):
    """The tenth phase of a run whose provider has changed nine times: 5 ms + 0.05 ms a call, 4 at once, 256 callers"""
    seconds = 3 if quick else 6
    with stage(build) as one:
        provider = one.provider()
        gateway = one.gateway(f'slow: {{ dialect: jsonrpc, endpoints: [ {{ url: "http://127.0.0.1:{provider.port}/rpc" }} ] }}',
                              f"slots: {{ upstream: slow, {READS} }}")
        failed = 0
        for work in PHASES:
            change(provider, work)
            seen = one.load(gateway, "/v1/tools/slots", callers=256, seconds=seconds)
            failed += seen["calls"] - seen["statuses"].get("200", 0)
        change(provider, SLOTS)
        one.load(gateway, "/v1/tools/slots", callers=256, seconds=2)
        tenth = one.load(gateway, "/v1/tools/slots", callers=256, seconds=seconds)
        fresh = one.gateway(f'slow: {{ dialect: jsonrpc, endpoints: [ {{ url: "http://127.0.0.1:{provider.port}/rpc" }} ] }}',
                            f"slots: {{ upstream: slow, {READS} }}")
        one.load(fresh, "/v1/tools/slots", callers=256, seconds=2)
        first = one.load(fresh, "/v1/tools/slots", callers=256, seconds=seconds)
        peer = None
        if shutil.which("nginx"):
            body = '{"jsonrpc":"2.0","id":%d,"method":"m","params":{"q":%d}}'
            peer = one.load(one.nginx(provider), "/slots", body, callers=256, seconds=seconds)
    if peer:
        yield "calls/s, of nginx's", f"{tenth['calls_per_second'] / peer['calls_per_second']:.1f}", ">= 31"
    yield "calls/s, of a fresh gateway's", f"{tenth['calls_per_second'] / first['calls_per_second']:.2f}", "1"
    yield "calls/s", f"{tenth['calls_per_second']:,.0f}", ""
    yield "not answered with 200 in the ten", str(failed + tenth["calls"] - tenth["statuses"].get("200", 0)), "0"


SCENARIOS = (overload, crowd, black_hole, frozen, fickle)


def run(jitney, quick, progress):
    return scenarios.run(jitney, quick, progress, SCENARIOS)
