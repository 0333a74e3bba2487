# SPDX-License-Identifier: Apache-2.0
"""./dev bench --peers: bridges that others have made, between callers over HTTP and one MCP server that is a program, beside the gateway.

On request each is installed from its package registry by that registry's own installer, into a folder of its own; one that cannot be
installed or does not start has the reason in its row. All have the same program behind (server-everything's `echo`, one process) and
the same load: 64 callers, each call another text, and each answer is looked at. Those that keep sessions are given one, for all callers.
"Bridge" is all processes of a peer but the program behind, which is the same for all and a lot dearer."""

import json
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from subjects import NotUp, Process, free_port

SERVER = ("npm", "@modelcontextprotocol/server-everything", "mcp-server-everything")
CALLERS = 64
VERSION = "2025-06-18"
TEXT = "n%d."  # ends in what is no digit, so that one call's echo is not within another's
STREAMS = ("Content-Type: application/json", "Accept: application/json, text/event-stream", f"MCP-Protocol-Version: {VERSION}")
INSTALL_SECONDS = 1800
START_SECONDS = 60

JITNEY = """
listen: 127.0.0.1:{port}
admin: {{ listen: off }}
workers: 2
log: {{ access: false }}
upstreams:
    everything:
        dialect: mcp-stdio
        command: node
        args: [ "{server}", stdio ]
        pool: {{ min: 1, max: 1, calls: 128, start_timeout: 60s }}
"""
RUST = """
[proxy]
name = "bench"
separator = "/"
[proxy.listen]
host = "127.0.0.1"
port = {port}
[observability]
log_level = "error"
[[backends]]
name = "everything"
transport = "stdio"
command = "node"
args = ["{server}", "stdio"]
"""


class Peer:
    """How it is installed, what its program is called and with which words it starts. rest: a tool is a path, and MCP only behind.
    config: a template of the file that `words` names as {config}. beside: what the installer is told besides."""

    def __init__(self, installer, package, program, words, path="/mcp", rest=False, config=None, beside=()):
        self.installer, self.package, self.program, self.words = installer, package, program, words
        self.path, self.rest, self.config, self.beside = path, rest, config, beside


PEERS = {
    "mcpo": Peer("pip", "mcpo", "mcpo", "--host 127.0.0.1 --port {port} --log-level ERROR -- node {server} stdio", "/echo", rest=True,
                 beside=("mcp<2", "fastapi<0.129")),  # 0.0.20 asks for any of these, and does not start with the newest
    "mcp-proxy": Peer("pip", "mcp-proxy", "mcp-proxy", "--port {port} --log-level ERROR -- node {server} stdio"),
    "npm:mcp-proxy": Peer("npm", "mcp-proxy", "mcp-proxy", "--host 127.0.0.1 --port {port} --server stream -- node {server} stdio"),
    "supergateway": Peer("npm", "supergateway", "supergateway", "--stdio 'node {server} stdio' --outputTransport streamableHttp "
                         "--stateful --logLevel none --port {port}"),
    "cargo:mcp-proxy": Peer("cargo", "mcp-proxy", "mcp-proxy", "--config {config}", "/", config=RUST,
                             beside=("--no-default-features",)),  # what that leaves out is not on a call's way here
}

# installer: where it puts programs below its folder, what it runs, each with {folder} and {package}
INSTALLERS = {
    "pip": ("bin", ((sys.executable, "-m", "venv", "{folder}"),
                    ("{folder}/bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", "{package}"))),
    "npm": ("node_modules/.bin", (("npm", "install", "--prefix", "{folder}", "--no-audit", "--no-fund", "--loglevel=error", "{package}"),)),
    "cargo": ("bin", (("cargo", "install", "--quiet", "--root", "{folder}", "{package}"),)),
}


class Unfit(Exception):
    """Why a peer cannot be measured, for its row."""


# ---- to install ----


def install(home, installer, package, program, beside=()):
    """The path of the program, installed unless it is there."""
    folder = home / installer / package
    inside, commands = INSTALLERS[installer]
    path = folder / inside / program
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    for words in commands:
        attempt([word.format(folder=folder, package=package) for word in words] + list(beside if "{package}" in words else ()))
    if not path.exists():
        raise Unfit(f"{package} has no program {program}")
    return path


def attempt(argv):
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              timeout=INSTALL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unfit(f"not installed: {error}") from error
    if done.returncode:
        lines = done.stdout.strip().splitlines() or [f"exit status {done.returncode}"]
        raise Unfit(f"not installed: {lines[-1].strip()}")


# ---- to start and to talk to ----


class Bridge(Process):
    """A peer and the program behind it; what counts is the peer's."""

    def __init__(self, argv, port, directory, server):
        self.server = str(server)
        super().__init__(argv, port, directory, seconds=START_SECONDS)

    def pids(self):
        return [pid for pid in super().pids() if not self.is_server(pid)]

    def is_server(self, pid):
        """`node SERVER stdio`, and the shell that started it, if one did."""
        argv = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        return argv[1:2] == [self.server] or (argv[1:2] == ["-c"] and self.server in argv[2])


def post(port, path, body, headers):
    """Status, headers and JSON of an answer; a stream's is its last event."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), dict(line.split(": ", 1) for line in headers))
    with urllib.request.urlopen(request, timeout=START_SECONDS) as answer:
        text = answer.read().decode()
        events = [line[5:] for line in text.splitlines() if line.startswith("data:") and line[5:].strip()]
        return answer.headers, json.loads(events[-1] if events else text) if text.strip() else None


def open_session(port, path):
    """The headers of calls from now on, and what the tool is called here."""
    asked = {"jsonrpc": "2.0", "id": "i", "method": "initialize", "params": {
        "protocolVersion": VERSION, "capabilities": {}, "clientInfo": {"name": "bench", "version": "0"}}}
    told, _ = post(port, path, asked, STREAMS)
    headers = STREAMS + ((f"Mcp-Session-Id: {told['Mcp-Session-Id']}",) if told["Mcp-Session-Id"] else ())
    post(port, path, {"jsonrpc": "2.0", "method": "notifications/initialized"}, headers)
    return headers, find_tool(port, path, headers)


def find_tool(port, path, headers):
    """The shortest name that ends so; on a busy machine the program behind takes its time to list it."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        _, listed = post(port, path, {"jsonrpc": "2.0", "id": "l", "method": "tools/list", "params": {}}, headers)
        names = [tool["name"] for tool in listed["result"]["tools"] if tool["name"].endswith("echo")]
        if names:
            return min(names, key=len)
        time.sleep(0.1)
    raise ValueError("it lists no echo")


class Row:
    """One line of the table: where its calls go."""

    def __init__(self, name, process, path, rest):
        self.name, self.process, self.path, self.rest = name, process, path, rest
        self.runs = []
        if rest:
            self.headers, self.body = (), json.dumps({"message": TEXT})
        else:
            self.headers, self.tool = open_session(process.port, path)
            self.body = '{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":' + json.dumps(
                {"name": self.tool, "arguments": {"message": TEXT}}) + "}"
        self.idle = process.rss_mib()

    def load(self, build, seconds):
        argv = [str(build / "bench/load"), "--connect", f"127.0.0.1:{self.process.port}", "--callers", str(CALLERS), "--seconds", str(seconds),
                "--path", self.path, "--body", self.body, "--contains", f"Echo: {TEXT}", "--timeout", "20"]
        argv += [word for header in self.headers if not header.startswith("Content-Type") for word in ("--header", header)]
        before = self.process.cpu_us()
        seen = json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=False).stdout)
        right = seen["statuses"].get("200", 0) - seen["wrong"]
        return {"cpu_us": (self.process.cpu_us() - before) / max(right, 1), "calls_per_second": right / seen["seconds"] if right else 0,
                "p50_us": seen["p50_us"], "p99_us": seen["p99_us"], "failed": seen["calls"] - right}

    def figures(self):
        middle = {key: statistics.median(run[key] for run in self.runs) for key in ("cpu_us", "calls_per_second", "p50_us", "p99_us")}
        return {**middle, "failed": sum(run["failed"] for run in self.runs), "rss_idle_mib": self.idle, "rss_after_mib": self.process.rss_mib()}


class Stage:
    """The gateway and the peers that could be started, each with the program behind; `unfit`: why the others could not."""

    def __init__(self, build, directory):
        self.build, self.directory, self.home = build, directory, build / "peers"
        self.processes, self.rows, self.unfit = [], [], {}
        self.server = install(self.home, *SERVER).resolve()

    def start(self, argv, port):
        self.processes.append(Bridge(argv, port, self.directory, self.server))
        return self.processes[-1]

    def write(self, template, port):
        path = pathlib.Path(self.directory) / f"{port}.conf"
        path.write_text(template.format(port=port, server=self.server))
        return str(path)

    def add_gateway(self):
        port = free_port()
        process = self.start([str(self.build / "jitney"), "serve", "-c", self.write(JITNEY, port)], port)
        self.rows.append(Row("jitney", process, "/mcp", rest=False))
        self.rows.append(Row("jitney, REST", process, f"/v1/tools/{self.rows[-1].tool}", rest=True))

    def add(self, name):
        peer = PEERS[name]
        program = install(self.home, peer.installer, peer.package, peer.program, peer.beside)
        port = free_port()
        config = self.write(peer.config, port) if peer.config else ""
        words = [word.format(port=port, server=self.server, config=config) for word in shlex.split(peer.words)]
        try:
            self.rows.append(Row(name, self.start([str(program), *words], port), peer.path, peer.rest))
        except NotUp as error:
            raise Unfit(f"did not start: {self.last_line(program, port)}") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Unfit(f"does not serve: {error}") from error

    def last_line(self, program, port):
        log = pathlib.Path(self.directory) / f"{program.name}-{port}.log"
        return (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]

    def end(self):
        for process in self.processes:
            process.end()


# ---- the run ----


def measure(stage, names, quick, progress):
    for name in names:
        progress(f"{name}: installing, starting")
        try:
            stage.add(name)
        except Unfit as why:
            stage.unfit[name] = str(why)
    for turn in range(4):
        for row in stage.rows:
            progress(f"{turn * 25:3d} %  {row.name}")
            seen = row.load(stage.build, 1 if turn == 0 or quick else 5)
            row.runs += [seen] if turn else []  # the first round warms up
    return {**{row.name: row.figures() for row in stage.rows}, **{name: {"not_measured": why} for name, why in stage.unfit.items()}}


def table(found):
    base = found["jitney"]
    lines = [f"{'bridge to server-everything: echo':34}{'CPU us/call':>12}{'of ours':>9}{'calls/s':>9}{'of ours':>9}{'p50 ms':>8}{'p99 ms':>8}"
             f"{'RSS idle':>10}{'after':>8}{'failed':>8}"]
    for name, figures in found.items():
        if "not_measured" in figures:
            lines.append(f"  {name:32}  {figures['not_measured']}")
            continue
        ratio = {key: f"{figures[key] / base[key]:.2f}" if base[key] else "-" for key in ("cpu_us", "calls_per_second")}
        does = "REST" if name.endswith("REST") or (name in PEERS and PEERS[name].rest) else "MCP"
        lines.append(f"  {name:26}{does:>6}{figures['cpu_us']:>12.1f}{ratio['cpu_us']:>9}{figures['calls_per_second']:>9,.0f}"
                     f"{ratio['calls_per_second']:>9}{figures['p50_us'] / 1000:>8.1f}{figures['p99_us'] / 1000:>8.1f}"
                     f"{figures['rss_idle_mib']:>10.1f}{figures['rss_after_mib']:>8.1f}{figures['failed']:>8,}")
    return "\n".join(lines)


def run(jitney, names, quick, progress):
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise SystemExit(f"bench: no such peer: {', '.join(unknown)}; there are {', '.join(PEERS)}")
    with tempfile.TemporaryDirectory(prefix="jitney-bench-") as directory:
        try:
            stage = Stage(pathlib.Path(jitney).resolve().parent, directory)
        except Unfit as why:
            raise SystemExit(f"bench: {SERVER[1]}, which all are measured with, is {why}") from why
        try:
            stage.add_gateway()
            found = measure(stage, names, quick, progress)
        finally:
            stage.end()
    progress("")
    print(table(found))
    return found
