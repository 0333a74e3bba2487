# SPDX-License-Identifier: Apache-2.0
"""What is measured: the gateway, the peers people would pick instead, and the raw limits; each a process tree that is
started on free loopback ports, asked for its CPU time and memory, and ended by its handle."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time

PAGE = os.sysconf("SC_PAGE_SIZE")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition, what, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"bench: {what} does not come up")
        time.sleep(0.02)


class NotUp(SystemExit):
    """A server that does not come up: the end of most runs."""


def until_open(port, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise NotUp(f"bench: nothing listens on port {port}")


def tree(pid):
    """pid and all its descendants."""
    pids = [pid]
    for each in pids:
        for task in pathlib.Path(f"/proc/{each}/task").glob("*/children"):
            pids += [int(word) for word in task.read_text().split()]
    return pids


class Process:
    """A process tree. `port` is where it serves: 0: it says where, on the first line; None: on none."""

    def __init__(self, argv, port, directory, env=None, seconds=10):
        self.port = port
        self.log = open(pathlib.Path(directory) / f"{pathlib.Path(argv[0]).name}-{port}.log", "wb")
        says = subprocess.PIPE if port == 0 else self.log  # a pipe that nobody reads is full one day
        self.child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=says, stderr=self.log, cwd=directory,
                                      env={**os.environ, **(env or {})})
        if port == 0:
            self.port = int(self.child.stdout.readline())
        elif port:
            self.await_port(seconds)

    def await_port(self, seconds):
        try:
            until_open(self.port, seconds)
        except NotUp:
            self.end()
            raise

    def pids(self):
        """Whose CPU time and memory count."""
        return tree(self.child.pid)

    def cpu_us(self):
        """Time on a CPU, user and system, of all threads of the whole tree, microseconds. A thread that has ended is not in it."""
        nanoseconds = 0
        for pid in self.pids():
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                nanoseconds += int((task / "schedstat").read_text().split()[0])
        return nanoseconds / 1000

    def threads_us(self):
        """The same by thread of its own process."""
        tasks = pathlib.Path(f"/proc/{self.child.pid}/task").iterdir()
        return {task.name: int((task / "schedstat").read_text().split()[0]) / 1000 for task in tasks}

    def rss_mib(self):
        pages = sum(int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids())
        return pages * PAGE / 2**20

    def pss_mib(self):
        """Like it, but of a page that several processes have each its part."""
        rollups = [pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in self.pids()]
        return sum(int(re.search(r"^Pss: +(\d+) kB$", text, re.M).group(1)) for text in rollups) / 1024

    def end(self):
        self.child.terminate()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.log.close()


# core_dumps: its memory may be looked at by who runs it
JITNEY = """
listen: 127.0.0.1:{port}
admin: {{ listen: off }}
core_dumps: true
workers: {workers}
log: {{ access: false }}
cache: {{ memory: {{ size: {memory} }} {redis} }}
upstreams:
    free: {{ dialect: jsonrpc, endpoints: [ {{ url: "http://127.0.0.1:{free}/rpc" }} ], pool: {{ max: 64 }} }}
    single:
        dialect: jsonrpc
        endpoints: [ {{ url: "http://127.0.0.1:{free}/rpc" }} ]
        batch: {{ mode: off, in_flight: 256 }}
        pool: {{ max: 256 }}
    # as many connections a worker as nginx keeps
    owned: {{ dialect: jsonrpc, endpoints: [ {{ url: "http://127.0.0.1:{free}/rpc" }} ], batch: {{ mode: off }},
              concurrency: 256, owners: auto, pool: {{ max: {pool} }} }}
    slow: {{ dialect: jsonrpc, endpoints: [ {{ url: "http://127.0.0.1:{slow}/rpc" }} ], batch: {{ items: 100, window: 5ms }} }}
    five: {{ dialect: jsonrpc, endpoints: [ {{ url: "http://127.0.0.1:{five}/rpc" }} ] }}
tools:
    cached: {{ upstream: free, annotations: {{ read_only: true }}, cache: {{ ttl: 1h, scope: shared }} }}
    batched: {{ upstream: free, annotations: {{ read_only: true }} }}
    alone: {{ upstream: single, annotations: {{ read_only: true }} }}
    owned: {{ upstream: owned, annotations: {{ read_only: true }} }}
    slots: {{ upstream: slow, annotations: {{ read_only: true }} }}
    herd: {{ upstream: five, annotations: {{ read_only: true }}, cache: {{ ttl: 1h, scope: shared }} }}
"""

NGINX = """
user root;
worker_processes {workers};
pid {directory}/nginx.pid;
error_log {directory}/nginx.err;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/temp; fastcgi_temp_path {directory}/f;
    uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
    proxy_cache_path {directory}/cache keys_zone=zone:16m max_size=256m;
    keepalive_requests 1000000000;
    upstream free {{ server 127.0.0.1:{free}; keepalive 256; keepalive_requests 1000000000; }}
    upstream slow {{ server 127.0.0.1:{slow}; keepalive 256; keepalive_requests 1000000000; }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    server {{
        listen 127.0.0.1:{port} reuseport;
        location /proxy {{ proxy_pass http://free/rpc; }}
        location /slots {{ proxy_pass http://slow/rpc; }}
        location /cache {{
            proxy_pass http://free/rpc;
            proxy_cache zone; proxy_cache_methods POST; proxy_cache_key $request_uri$request_body; proxy_cache_valid 200 1h;
        }}
    }}
}}
"""

HAPROXY = """
global
    nbthread {workers}
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option http-keep-alive
    http-reuse always
frontend in
    bind 127.0.0.1:{port}
    default_backend free
backend free
    server one 127.0.0.1:{free}
"""


VARNISH = """
vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{free}"; }}
sub vcl_backend_response {{ set beresp.ttl = 1h; }}
"""


class Bench:
    """All servers of one run, or `only` those named, and the providers. `with Bench(...) as bench`."""

    def __init__(self, build, workers=2, memory="256MiB", only=None):
        self.build = pathlib.Path(build).resolve()
        self.workers = workers
        self.memory = memory
        self.only = only
        self.processes = {}
        self.raw = {}  # figures of programs that measure themselves

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="jitney-bench-")
        try:
            self.start_all()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.end()
        shutil.rmtree(self.directory, ignore_errors=True)

    def wants(self, name, program=None):
        """Whether it is to be started, and can be."""
        return (self.only is None or name in self.only) and (program is None or shutil.which(program))

    def start_all(self):
        provider = str(self.build / "bench/provider")
        self.start("free", [provider, "--port", "0"], 0)
        self.start("five", [provider, "--port", "0", "--delay-ms", "5"], 0)
        self.start("slow", [provider, "--port", "0", "--delay-ms", "5", "--per-item-us", "50", "--concurrent", "4"], 0)
        if self.wants("raw http"):
            self.start("raw http", [str(self.build / "bench/raw_http")], 0)
        # the second one is the A/A row: whatever differs between the two is noise
        for name in filter(self.wants, ("jitney", "jitney again")):
            port = free_port()
            self.start(name, [str(self.build / "jitney"), "serve", "-c", self.write(f"{port}.yaml", JITNEY, port)], port)
        if self.wants("redis", "redis-server"):
            redis = f"{self.directory}/redis.sock"
            self.start("redis", ["redis-server", "--port", "0", "--unixsocket", redis, "--save", ""], None)
            until(lambda: pathlib.Path(redis).exists(), "redis-server")
            port = free_port()
            config = self.write(f"{port}.yaml", JITNEY, port, "0", f", redis: {{ url: \"unix:{redis}\" }}")
            self.start("jitney redis", [str(self.build / "jitney"), "serve", "-c", config], port)
        if self.wants("nginx", "nginx"):
            port = free_port()
            config = self.write("nginx.conf", NGINX, port)
            self.start("nginx", ["nginx", "-p", self.directory, "-c", config, "-g", "daemon off;"], port)
        if self.wants("varnish", "varnishd"):
            port = free_port()
            self.start("varnish", ["varnishd", "-F", "-j", "none", "-n", f"{self.directory}/varnish", "-a", f"127.0.0.1:{port}", "-s", "malloc,64m",
                                   "-p", "workspace_client=64k", "-f", self.write("varnish.vcl", VARNISH, port)], port)
        if self.wants("haproxy", "haproxy"):
            port = free_port()
            self.start("haproxy", ["haproxy", "-q", "-f", self.write("haproxy.cfg", HAPROXY, port)], port)

    def start(self, name, argv, port):
        self.processes[name] = Process(argv, port, self.directory)

    def measure_redis(self):
        """GETs by hiredis' own loop and by the gateway's tier, at depths the gateway works at, in one process by turns."""
        for depth, size in ((16, 500), (64, 500), (16, 4000)):
            done = subprocess.run([str(self.build / "bench/raw_redis"), f"{self.directory}/redis.sock", str(depth), str(size)],
                                  stdout=subprocess.PIPE, check=True)
            self.raw.setdefault("redis", []).append(json.loads(done.stdout))

    def write(self, name, template, port, memory=None, redis=""):
        path = pathlib.Path(self.directory) / name
        ports = {each: self.processes[each].port for each in ("free", "five", "slow")}
        path.write_text(template.format(port=port, workers=self.workers, memory=memory or self.memory, redis=redis,
                                        pool=256 * self.workers, directory=self.directory, **ports))
        return str(path)
