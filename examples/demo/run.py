#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The demo: two providers and the gateway as real processes, the main job shown on real calls.

Run by `./dev demo`. Prints a table read from the gateway's own /metrics, then stays up until Ctrl-C; with --once it
exits after the table, non-zero if anything was not as it should be. Everything it starts it ends, by its handle.
"""
import argparse
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
READY_SECONDS = 10
SETTLE_SECONDS = 5
STOP_SECONDS = 12
LOAD_SECONDS = 60


class Wrong(Exception):
    """Something was not as it should be; the text says what."""


def check(condition, message):
    if not condition:
        raise Wrong(message)


# ---- processes ------------------------------------------------------------------------------------------------------


class Processes:
    """What the demo has started. Each in a session of its own, so that Ctrl-C reaches only the demo."""

    def __init__(self):
        self.started = []

    def start(self, name, command, **options):
        try:
            process = subprocess.Popen(command, start_new_session=True, **options)
        except OSError as error:
            raise Wrong(f"cannot start {name}: {error}") from error
        self.started.append((name, process))
        return process

    def provider(self, script):
        process = self.start(script, [sys.executable, HERE / script], stdout=subprocess.PIPE, text=True)
        line = process.stdout.readline().strip()
        check(line.isdigit(), f"{script} did not say its port")
        return int(line)

    def end(self):
        for _, process in reversed(self.started):
            process.terminate()
        for name, process in reversed(self.started):
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                print(f"demo: {name} did not end when asked; it is killed", file=sys.stderr)
                process.kill()
                process.wait()


def port_or_another(wanted, what):
    """The port wanted if it is free, else any other, with a note."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
            print(f"note: port {wanted} is taken, so the {what} listens on {probe.getsockname()[1]}")
        return probe.getsockname()[1]


# ---- HTTP -----------------------------------------------------------------------------------------------------------


def request(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise Wrong(f"{method} {path} at port {port}: {error}") from error
    finally:
        connection.close()


def call(port, tool, arguments):
    """One call of a tool; returns its result and the headers."""
    status, headers, text = request(port, "POST", f"/v1/tools/{tool}", json.dumps(arguments))
    check(status == 200, f"{tool} answered {status}: {text}")
    return json.loads(text), headers


def wait_ready(port, gateway, log):
    limit = time.monotonic() + READY_SECONDS
    while time.monotonic() < limit:
        if gateway.poll() is not None:
            raise Wrong(f"the gateway ended with status {gateway.returncode}:\n{log.read_text()}")
        with contextlib.suppress(Wrong):
            if request(port, "GET", "/readyz")[0] == 200:
                return
        time.sleep(0.02)
    raise Wrong(f"the gateway is not ready after {READY_SECONDS} s:\n{log.read_text()}")


# ---- what the gateway says about itself -----------------------------------------------------------------------------

SAMPLE = re.compile(r'^([a-z_]+)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Metrics:
    """One reading of /metrics; the difference of two is what one step did."""

    def __init__(self, samples):
        self.samples = samples

    @classmethod
    def read(cls, port):
        """Once all has completed: a caller can have its answer a moment before the request it travelled in is counted."""
        end = time.monotonic() + 2
        while True:
            metrics = cls.read_now(port)
            if metrics.sum("jitney_batch_in_flight") == 0 or time.monotonic() > end:
                return metrics
            time.sleep(0.01)

    @classmethod
    def read_now(cls, port):
        status, _, text = request(port, "GET", "/metrics")
        check(status == 200, f"/metrics answered {status}")
        samples = {}
        for line in text.splitlines():
            match = SAMPLE.match(line)
            if match:
                samples[match[1], frozenset(LABEL.findall(match[2] or ""))] = float(match[3])
        return cls(samples)

    def __sub__(self, before):
        return Metrics({key: value - before.samples.get(key, 0) for key, value in self.samples.items()})

    def sum(self, name, **labels):
        wanted = set(labels.items())
        return sum(value for (sample, have), value in self.samples.items() if sample == name and wanted <= have)

    def quantile(self, name, share):
        """Seconds, by interpolation within a bucket, as Prometheus' histogram_quantile does."""
        buckets = {}
        for (sample, labels), value in self.samples.items():
            if sample == name + "_bucket":
                bound = float(dict(labels)["le"])
                buckets[bound] = buckets.get(bound, 0) + value
        rank = share * max(buckets.values(), default=0)
        lower, below = 0.0, 0.0
        for bound, upto in sorted(buckets.items()):
            if upto >= rank and upto > below:
                return lower if bound == float("inf") else lower + (bound - lower) * (rank - below) / (upto - below)
            lower, below = bound, upto
        return 0.0


class Step:
    """One row of the table: what a step did, by the gateway's own count."""

    def __init__(self, title, delta):
        self.title = title
        self.calls = int(delta.sum("jitney_requests_total"))
        self.failed = self.calls - int(delta.sum("jitney_requests_total", outcome="ok"))
        self.requests = int(delta.sum("jitney_upstream_requests_total"))
        batches = delta.sum("jitney_batch_items_count")
        self.mean_batch = delta.sum("jitney_batch_items_sum") / batches if batches else None
        looked = delta.sum("jitney_cache_requests_total", tier="memory")
        self.hit_ratio = delta.sum("jitney_cache_requests_total", tier="memory", result="hit") / looked if looked else None
        self.shared = int(delta.sum("jitney_coalesced_total"))
        self.p50 = delta.quantile("jitney_request_duration_seconds", 0.50)
        self.p99 = delta.quantile("jitney_request_duration_seconds", 0.99)

    def cells(self):
        def number(value, form):
            return "-" if value is None else format(value, form)

        return (self.title, f"{self.calls:,}", f"{self.requests:,}", number(self.mean_batch, ".1f"),
                number(self.hit_ratio, ".0%"), milliseconds(self.p50), milliseconds(self.p99))


def milliseconds(seconds):
    return f"{seconds * 1000:.2f} ms" if seconds < 0.01 else f"{seconds * 1000:.1f} ms"


HEADINGS = ("step", "calls", "requests to provider", "mean batch", "hit ratio", "p50", "p99")


def print_table(steps):
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() and "NO_COLOR" not in os.environ else ("", "")
    rows = [HEADINGS] + [step.cells() for step in steps]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    print()
    for index, row in enumerate(rows):
        line = "  ".join([row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])])
        print(f"{bold}{line}{plain}" if index == 0 else line)
    print()


# ---- the main job ---------------------------------------------------------------------------------------------------


class Demo:
    def __init__(self, port, search_port, office_port, load):
        self.port, self.search_port, self.office_port, self.load = port, search_port, office_port, load
        self.steps = []

    def measure(self, title, calls, act):
        """Do one step and keep its row. The gateway counts a call when it has answered it: wait for all of them."""
        before = Metrics.read(self.port)
        shown = act()
        limit = time.monotonic() + SETTLE_SECONDS
        while True:
            now = Metrics.read(self.port)
            step = Step(title, now - before)
            if step.calls >= calls and now.sum("jitney_in_flight_requests") == 0:
                break
            check(time.monotonic() < limit, f"{title}: the gateway counts {step.calls} calls, {calls} were made")
            time.sleep(0.02)
        check(step.calls == calls, f"{title}: the gateway counts {step.calls} calls, {calls} were made")
        check(step.failed == 0, f"{title}: {step.failed} calls failed")
        self.steps.append(step)
        print(f"{title}: {shown(step)}")
        return step

    def many(self, **options):
        """Many calls of web_search at once; every answer is checked to be the one for its call."""
        command = [self.load, "--connect", f"127.0.0.1:{self.port}", "--path", "/v1/tools/web_search", "--at-once",
                   "--expect", '{"query":"%s","best":"https://example.org/%s"}'
                   % (options["query"], options["query"].replace(" ", "-")),
                   "--body", '{"q":"%s"}' % options["query"]]
        for name in ("callers", "calls", "distinct"):
            command += ["--" + name, str(options[name])]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LOAD_SECONDS, check=False)
            report = json.loads(done.stdout)
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise Wrong(f"{self.load}: {error}") from error
        right = report["statuses"].get("200", 0) - report["wrong"]
        check(right == options["calls"], f"{options['calls']} calls, but {right} right answers: {done.stdout}{done.stderr}")

    def stats(self, port):
        return json.loads(request(port, "GET", "/stats")[2])

    def one_call(self):
        result, headers = call(self.port, "web_search", {"q": "jitney bus"})
        check(result["query"] == "jitney bus", f"web_search answered something else: {result}")
        return lambda _: f"Cache-Status: {headers.get('Cache-Status')}"

    def run(self):
        step = self.measure("a call", 1, self.one_call)
        check(step.requests == 1, f"a miss should cost one request to the provider, not {step.requests}")
        step = self.measure("the same call again", 1, self.one_call)
        check(step.requests == 0, "the same call again should be answered from memory")
        self.identical()
        self.different()
        self.mail()

    def identical(self):
        def act():
            self.many(query="who shares this flight", callers=200, calls=200, distinct=1)
            return lambda step: f"{step.requests} call to the provider, {step.shared} callers joined it"

        before = self.stats(self.search_port)["calls"]
        self.measure("200 identical calls at once", 200, act)
        made = self.stats(self.search_port)["calls"] - before
        check(made == 1, f"200 identical calls should be 1 call to the provider, not {made}")

    def different(self):
        def act():
            self.many(query="number %d", callers=64, calls=1000, distinct=0)
            return lambda step: f"{step.requests} requests to the provider, each call answered right"

        before = self.stats(self.search_port)
        self.measure("1,000 different calls, 64 callers", 1000, act)
        after = self.stats(self.search_port)
        made, requests = after["calls"] - before["calls"], after["requests"] - before["requests"]
        check(made == 1000, f"1,000 different calls should reach the provider once each, {made} did")
        check(requests <= 60, f"1,000 different calls should leave in at most 60 requests, not {requests}")

    def mail(self):
        def act():
            result, _ = call(self.port, "send_mail", {"to": "ada@example.org", "subject": "a jitney"})
            check(result == {"number": 1, "to": "ada@example.org"}, f"send_mail answered something else: {result}")
            return lambda _: f"the REST provider says {json.dumps(result)}"

        self.measure("a mail, by REST", 1, act)
        check(self.stats(self.office_port)["mails"] == 1, "the mail should have been delivered once")


def print_urls(port, admin_port):
    print(f"tools    http://127.0.0.1:{port}/v1/tools\n"
          f"openapi  http://127.0.0.1:{port}/openapi.json\n"
          f"metrics  http://127.0.0.1:{port}/metrics\n"
          f"admin    http://127.0.0.1:{admin_port}/\n"
          f"a call   curl -i http://127.0.0.1:{port}/v1/tools/forecast --json '{{\"city\":\"Oslo\",\"days\":3}}'")


def run(arguments, processes, directory):
    jitney = Path(arguments.jitney).resolve()
    search_port = processes.provider("jsonrpc_provider.py")
    office_port = processes.provider("rest_provider.py")
    port, admin_port = port_or_another(8080, "gateway"), port_or_another(8081, "admin listener")
    log = Path(directory) / "jitney.log"
    environment = dict(os.environ, SEARCH_PORT=str(search_port), OFFICE_PORT=str(office_port), DEMO_PORT=str(port),
                       DEMO_ADMIN_PORT=str(admin_port))
    with log.open("w") as output:
        gateway = processes.start("the gateway", [jitney, "serve", "-c", HERE.parent / "demo.yaml"], env=environment,
                                  stdout=output, stderr=output)
    wait_ready(port, gateway, log)
    demo = Demo(port, search_port, office_port, jitney.parent / "bench" / "load")
    try:
        demo.run()
    except Wrong as wrong:
        raise Wrong(f"{wrong}\nthe gateway's last words:\n{log.read_text()[-4000:]}") from wrong
    print_table(demo.steps)
    print_urls(port, admin_port)
    if not arguments.once:
        print(f"log      {log}\nCtrl-C ends it.", flush=True)
        gateway.wait()
        raise Wrong(f"the gateway ended with status {gateway.returncode}:\n{log.read_text()[-4000:]}")


def stop(_signal, _frame):
    sys.exit(0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jitney", default=str(HERE.parent.parent / "build" / "jitney"), help="the binary")
    parser.add_argument("--once", action="store_true", help="exit after the table")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    processes = Processes()
    with tempfile.TemporaryDirectory(prefix="jitney-demo-") as directory:
        try:
            run(arguments, processes, directory)
        except Wrong as wrong:
            print(f"demo: {wrong}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print()
        finally:
            processes.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
