#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Real MCP clients and the official conformance suite against jitney: `./dev conformance`.

usage: run.py JITNEY MODULES [BEHIND...]
MODULES: a folder in which package.json's packages are installed, and those of python-2.txt and python-1.txt in environments. BEHIND: how the suite's tools stand behind the gateway,
rest, http, stdio, or both of these at once; client: the suite plays the server and the gateway is its client. All of them, unless some are named.
Prints a line for each check, ends with 1 if one failed."""
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import clients

HERE = Path(__file__).resolve().parent
LIMIT_SECONDS = 120
PYTHON_LIMIT_SECONDS = 300
PYTHON = "/usr/bin/python3"

KINDS = ("rest", "http", "stdio", "both")
CLIENT = [("2025-06-18", "initialize"), ("2025-06-18", "tools_call"), ("2025-11-25", "initialize"),
          ("2025-11-25", "tools_call"), ("2025-11-25", "sse-retry"), ("2025-11-25", "json-schema-2020-12-preservation"),
          ("2026-07-28", "tools_call"), ("2026-07-28", "request-metadata"), ("2026-07-28", "http-standard-headers"),
          ("2026-07-28", "http-custom-headers"), ("2026-07-28", "http-invalid-tool-headers"),
          ("2026-07-28", "json-schema-ref-no-deref"), ("2026-07-28", "json-schema-2020-12-preservation")]
LIFECYCLE = ["server-initialize", "ping", "tools-list", "dns-rebinding-protection"]
CALLS = ["tools-call-simple-text", "tools-call-image", "tools-call-audio", "tools-call-embedded-resource",
         "tools-call-error", "json-schema-2020-12"]
# more than one content, and word of a call under way: only an MCP server can say that
MCP_ONLY = ["tools-call-mixed-content", "tools-call-with-progress"]
LOGGING = ["tools-call-with-logging", "logging-set-level"]  # legacy
HEADERS = ["http-header-validation", "http-custom-header-server-validation"]


def scenarios(behind):
    """(suite, version of the protocol or None, scenario)"""
    calls = CALLS + (MCP_ONLY if behind != "rest" else [])
    logging = LOGGING if behind != "rest" else LOGGING[1:]
    for name in LIFECYCLE + calls + logging:
        yield "conformance-1", None, name
    for version in ("2025-06-18", "2025-11-25", "2026-07-28"):
        for name in LIFECYCLE + calls + logging:
            modern_only = version == "2026-07-28" and name in ("server-initialize", "ping", *LOGGING)
            later = version == "2025-06-18" and name in ("dns-rebinding-protection", "json-schema-2020-12")
            if not modern_only and not later:
                yield "conformance-2", version, name
    for name in HEADERS:
        yield "conformance-2", "2026-07-28", name


def upstream(behind, port):
    """The provider of the suite's tools; of "both" it is the one whose tools have their own names."""
    if behind == "stdio":
        return {"dialect": "mcp-stdio", "command": PYTHON, "args": [str(HERE / "provider.py"), "--stdio"]}
    if behind in ("http", "both"):
        return {"dialect": "mcp", "endpoints": [{"url": f"http://127.0.0.1:{port}/mcp"}]}
    return {"dialect": "rest", "endpoints": [{"url": f"http://127.0.0.1:{port}/rest"}]}


def configuration(behind, port):
    config = {"listen": "127.0.0.1:0", "admin": {"listen": "off"}, "upstreams": {"suite": upstream(behind, port)}}
    if behind == "rest":
        sys.path.insert(0, str(HERE))
        from provider import TOOLS
        config["tools"] = {name: {"upstream": "suite", "description": f"The suite's {name}.", "input_schema": schema}
                           for name, (schema, _) in TOOLS.items() if not name.startswith("test_tool_with_")}
    else:
        config["upstreams"]["suite"]["names"] = "plain"
    if behind == "both":
        config["upstreams"]["piped"] = upstream("stdio", port)
    return config


class Bench:
    """A provider and a gateway in front of it."""

    def __init__(self, jitney, behind, directory):
        self.provider = subprocess.Popen([PYTHON, HERE / "provider.py"], stdout=subprocess.PIPE, text=True)
        port = int(self.provider.stdout.readline())
        self.awaited = [b'"echo"', b'"piped__echo"'] if behind == "both" else [b'"echo"']
        path = Path(directory) / "jitney.yaml"
        path.write_text(json.dumps(configuration(behind, port)))
        self.log = Path(directory) / "jitney.log"
        with self.log.open("wb") as log:
            self.gateway = subprocess.Popen([jitney, "serve", "-c", path], stderr=log, stdin=subprocess.DEVNULL)
        self.url = None
        try:
            self.wait_until_ready()
        except BaseException:
            self.finish()
            raise

    def wait_until_ready(self):
        """It listens, and has the tools."""
        for _ in range(LIMIT_SECONDS * 20):
            if self.gateway.poll() is not None:
                raise SystemExit(f"the gateway did not start:\n{self.log.read_text()}")
            found = re.search(r'event=listening address="?([0-9.:]+)', self.log.read_text())
            if found:
                self.url = f"http://{found[1]}/mcp"
                with urllib.request.urlopen(f"http://{found[1]}/v1/tools", timeout=10) as reply:
                    listed = reply.read()
                    if all(name in listed for name in self.awaited):
                        return
            time.sleep(0.05)
        raise SystemExit(f"the tools did not come:\n{self.log.read_text()}")

    def refused(self):
        """What the gateway refused or cut off, by reason: for whoever wonders about a client that failed."""
        with urllib.request.urlopen(self.url.replace("/mcp", "/metrics"), timeout=10) as reply:
            counted = re.findall(r'^jitney_rejected_total{reason="(\w+)"} (\d+)$', reply.read().decode(), re.M)
        return ", ".join(f"{reason} {count}" for reason, count in counted if count != "0")

    def finish(self):
        ended = self.gateway.poll()
        for process in (self.gateway, self.provider):
            process.terminate()
            process.wait(30)
        if ended is not None:
            raise SystemExit(f"the gateway ended by itself with {ended}:\n{self.log.read_text()[-4000:]}")


class Checks:
    def __init__(self, modules):
        self.modules = Path(modules).resolve()
        binaries = self.modules / "node_modules" / ".bin"
        self.node = binaries / "node"
        self.environment = {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}", "NO_COLOR": "1"}
        self.failed = self.passed = 0

    def run(self, *command):
        """Whether it ended well, and what it said."""
        done = subprocess.run([self.node, *command], capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False,
                              env=self.environment, cwd=self.modules)
        return done.returncode == 0, done.stdout + done.stderr

    def report(self, fine, name, note, said=""):
        print(f"{'ok  ' if fine else 'FAIL'} {name}{': ' + note if note else ''}", flush=True)
        if not fine:
            print("\n".join("     " + line for line in said.splitlines()[-15:]))
        self.passed += fine
        self.failed += not fine

    def client(self, url, which):
        fine, said = self.run(self.modules / "clients.mjs", url, which)
        self.report(fine, which, said.strip() if fine else "", said)

    def python_client(self, url, which):
        environment = self.modules / ("python-1" if which in clients.FIRST else "python-2")
        command = [environment / "bin" / "python", HERE / "clients.py", url, which]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PYTHON_LIMIT_SECONDS, check=False)
        fine, said = done.returncode == 0, done.stdout + done.stderr
        self.report(fine, which, done.stdout.strip() if fine else "", said)

    def inspector(self, url, era):
        binary = self.modules / "node_modules" / "@modelcontextprotocol" / "inspector"
        entry = json.loads((binary / "package.json").read_text())["bin"]
        base = [binary / entry["mcp-inspector"], "--cli", url, "--transport", "http", "--protocol-era", era, "--method"]
        listed, said = self.run(*base, "tools/list")
        self.report(listed and '"echo"' in said, f"inspector, {era}: list", "", said)
        called, said = self.run(*base, "tools/call", "--tool-name", "echo", "--tool-arg", "message=mine")
        self.report(called and "mine" in said, f"inspector, {era}: call", "", said)

    def scenario(self, url, suite, version, name):
        self.verdict(suite, version, name, "server", "--url", url)

    def as_client(self, jitney, version, name):
        command = f"{PYTHON} {HERE / 'as_client.py'} {Path(jitney).resolve()} auto"
        self.verdict("conformance-2", version, name, "client", "--command", command)

    def verdict(self, suite, version, name, *how):
        package = self.modules / "node_modules" / suite
        command = [package / "dist" / "index.js", *how, "--scenario", name]
        fine, said = self.run(*command, *(["--spec-version", version] if version else []))
        found = re.findall(r"Passed: (\d+)/(\d+), (\d+) failed", said)
        whole = fine and found and found[-1][2] == "0" and found[-1][0] == found[-1][1]
        label = f"{suite[-1:] == '1' and '0.1' or '0.2'} {version or ''} {name}".replace("  ", " ")
        self.report(bool(whole), label, "/".join(found[-1][:2]) if found else "no result", said)


def check(checks, jitney, behind):
    print(f"== tools behind {behind}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(jitney, behind, directory)
        try:
            for which in ("sdk-1", "client-2-legacy", "client-2-auto", "client-2-pinned"):
                checks.client(bench.url, which)
            for which in clients.CLIENTS:
                checks.python_client(bench.url, which)
            for era in ("legacy", "modern"):
                checks.inspector(bench.url, era)
            for suite, version, name in scenarios(behind):
                checks.scenario(bench.url, suite, version, name)
            print(f"     the gateway refused: {bench.refused() or 'nothing'}", flush=True)
        finally:
            bench.finish()


def main():
    jitney, modules, *chosen = sys.argv[1:]
    checks = Checks(modules)
    for behind in chosen or (*KINDS, "client"):
        if behind != "client":
            check(checks, jitney, behind)
            continue
        print("== the gateway as client", flush=True)
        for version, name in CLIENT:
            checks.as_client(jitney, version, name)
    print(f"{checks.passed} passed, {checks.failed} failed")
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()
