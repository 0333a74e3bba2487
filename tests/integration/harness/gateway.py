# SPDX-License-Identifier: Apache-2.0
"""One gateway process: its configuration, ports, log and end."""
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import yaml

from .metrics import Metrics
from .poll import until
from .wire import Raw

TOP = Path(__file__).resolve().parents[3]
JITNEY = Path(os.environ.get("JITNEY", TOP / "build" / "jitney")).resolve()
LOAD = JITNEY.parent / "bench" / "load"
SANITIZED = JITNEY.exists() and any(word in JITNEY.read_bytes() for word in (b"__asan_init", b"__tsan_init"))
STOP_SECONDS = 30
LOG_GATHERS_SECONDS = 0.005  # lines that come soon after each other share a write (base/log.c): what was said is there after so long
REPORTS = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:", "Assertion")
FATAL = (*REPORTS[:-1], "Assertion `", "the gateway ended")  # what a failure tells that no busy machine explains
FIELD = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|\S*)')


def merged(base, changes):
    """`base` with `changes` laid over it; a None takes a key away."""
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    result = dict(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(base[key], value) if key in base else value
    return result


REPEATABLE = {"read_only": True, "idempotent": True}

# The codes of what was not carried out in any part.
UNSENT = {"upstream_unavailable", "overloaded", "deadline_exceeded"}

# For an upstream of which many calls are held until all of them are in the gateway, which takes a while on a busy machine,
# and it sheds what has waited for long.
PATIENT = {"timeout": "120s", "queue": {"wait": "120s"}}


# So few exchanges at once that a second call waits in the line, for as long as it takes.
ONE_AT_A_TIME = {"upstreams": {"array": {**PATIENT, "concurrency": 1}}}


def one_sent_and_one_waiting(gateway, provider, later):
    """Two calls of a gateway with ONE_AT_A_TIME, held: request `sent` is at the provider, `waits` in the line. To be had after release()."""
    provider.hold()
    sent = later(lambda: gateway.call("echo", {"n": 1}, x_request_id="sent"))
    provider.until_deliveries(1)
    waits = later(lambda: gateway.call("echo", {"n": 2}, x_request_id="waits"))
    gateway.until_metric("batch_waiting_items", 1)
    return sent, waits


def standard(provider):
    """Two upstreams at one provider, and tools of every kind."""
    return {
        "listen": "127.0.0.1:0",
        "admin": {"listen": "127.0.0.1:0"},
        "workers": 2,
        "upstreams": {
            "array": {"dialect": "jsonrpc", "endpoints": [{"url": provider.url("/rpc")}]},
            "rest": {"dialect": "rest", "endpoints": [{"url": provider.url("/api")}]},
        },
        "tools": {
            "echo": {"upstream": "array", "annotations": REPEATABLE, "description": "Answers its arguments."},
            "cached": {"upstream": "array", "annotations": REPEATABLE, "cache": {"ttl": "1h", "scope": "shared"}},
            "write": {"upstream": "array", "description": "Has an effect."},
            "item": {"upstream": "rest", "annotations": REPEATABLE,
                     "request": {"method": "GET", "path": "/items/{id}", "query": {"q": "{q}"}}},
            "send": {"upstream": "rest", "request": {"method": "POST", "path": "/send", "body": "{arguments}"}},
        },
    }


def log_fields(line):
    """One log line, logfmt or JSON, as a dict of texts."""
    if line.startswith("{"):
        return json.loads(line)
    fields = {}
    for name, value in FIELD.findall(line):
        fields[name] = json.loads(value) if value.startswith('"') else value
    return fields


class Gateway:
    def __init__(self, directory, config, environment=None, before=(), options=(), pass_fds=()):
        """before: a command that ends by becoming what it is given, in whose world the gateway is to live.
        options: further ones of `jitney serve`."""
        self.directory = Path(directory)
        self.config = config
        self.config_path = self.directory / "jitney.yaml"
        self.log_path = self.directory / "jitney.log"
        self.environment = environment or {}
        self.before = before
        self.options = options
        self.pass_fds = pass_fds
        self.process = None
        self.addresses = {}
        self.ended_by_test = False

    # ---- life ----

    def spawn(self):
        """Start it, without waiting for anything."""
        # by way of JSON: YAML would write what occurs twice as anchor and alias, which jitney does not take
        self.config_path.write_text(yaml.safe_dump(json.loads(json.dumps(self.config)), sort_keys=False))
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen([*self.before, JITNEY, "serve", "-c", self.config_path, *self.options], stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **self.environment},
                                            pass_fds=self.pass_fds)

    def start(self):
        self.spawn()
        listeners = self.listener_count()
        until(lambda: self.process.poll() is not None or len(self.events("listening")) >= listeners,
              "the gateway listens")
        assert self.process.poll() is None, f"the gateway ended with {self.process.returncode}:\n{self.log()}"
        for event in self.events("listening"):
            self.addresses.setdefault(event["listener"], []).append(event["address"])
        return self

    def listener_count(self):
        def count(listen):
            return len(listen) if isinstance(listen, list) else int(listen != "off")

        return count(self.config.get("listen", "")) + count(self.config.get("admin", {}).get("listen", ""))

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=STOP_SECONDS):
        return self.process.wait(seconds)

    def refuses(self, *said):
        """Start it: it ends at once, because of its configuration, and its log says all this."""
        self.spawn()
        assert self.wait() == 2, self.log()
        log = self.log()
        assert all(text in log for text in said) and not any(word in log for word in REPORTS), log[-12000:]
        self.process = None

    def stop(self):
        """Ask it to end and return its exit status."""
        self.ended_by_test = True
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait()

    def finish(self):
        """After the test: it must end well, with nothing to complain about."""
        if self.process is None:
            return
        if not self.ended_by_test and self.process.poll() is not None:
            raise AssertionError(f"the gateway ended by itself with {self.process.returncode}:\n{self.log()}")
        try:
            status = self.stop()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the gateway did not end within {STOP_SECONDS} s:\n{self.log()[-3000:]}") from None
        found = [word for word in REPORTS if word in self.log()]
        assert not found, f"{found} in the gateway's log:\n{self.log()[-12000:]}"
        assert status == 0, f"the gateway ended with {status}:\n{self.log()[-3000:]}"

    def kill(self):
        """Only when all else has failed."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    # ---- what it says ----

    def log(self):
        if self.process and self.process.poll() is None:
            time.sleep(LOG_GATHERS_SECONDS)
        return self.log_path.read_text(errors="backslashreplace") if self.log_path.exists() else ""

    def events(self, name=None):
        """Its log lines as dicts, those of one event or all. The last line may still be on its way: left out."""
        lines = self.log().rpartition("\n")[0].splitlines()
        parsed = [log_fields(line) for line in lines if "event=" in line or line.startswith("{")]
        return [fields for fields in parsed if name is None or fields.get("event") == name]

    def fds(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def threads(self, name=None):
        """How many there are, of that name or all."""
        names = [path.read_text().strip() for path in Path(f"/proc/{self.process.pid}/task").glob("*/comm")]
        return sum(name in (None, each) for each in names)

    def resident_bytes(self):
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def resident_growth(self, work, enough, times=4):
        """The least that a round of work left: what leaks is left by every round, what a busy machine scatters in the allocator
        is not. Ends with the first that leaves no more than enough, which freed pages may take a second or two to show."""
        grown = []
        while not grown or (min(grown) > enough and len(grown) < times):
            before = self.resident_bytes()
            work()
            limit = time.monotonic() + 3
            while self.resident_bytes() - before > enough and time.monotonic() < limit:
                time.sleep(0.1)
            grown.append(self.resident_bytes() - before)
        return min(grown)

    def cpu_seconds(self):
        """What it has computed so far, threads and kernel together."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    # ---- talking to it ----

    def address(self, listener="data", index=0):
        """As connect() takes it."""
        text = self.addresses[listener][index]
        if text.startswith("unix:"):
            return text[len("unix:"):]
        host, _, port = text.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def port(self):
        return self.address()[1]

    @property
    def admin_port(self):
        return self.address("admin")[1]

    def url(self, path="/", listener="data"):
        return "http://{}:{}{}".format(*self.address(listener), path)

    def connect(self, listener="data", index=0):
        return Raw(self.address(listener, index))

    def request(self, method, path, body=None, headers=(), listener="data"):
        """One request on a connection of its own."""
        if isinstance(body, str):
            body = body.encode()
        with self.connect(listener) as connection:
            return connection.request(method, path, body, headers)

    def get(self, path, listener="data", **headers):
        return self.request("GET", path, None, dashed(headers), listener)

    def call(self, tool, arguments=None, **headers):
        """Call a tool. arguments: a document, or bytes as they are. Headers: cache_control="no-cache"."""
        body = arguments if isinstance(arguments, bytes) else json.dumps(arguments or {}).encode()
        return self.request("POST", f"/v1/tools/{tool}", body, dashed(headers))

    def batch(self, calls, **headers):
        return self.request("POST", "/v1/batch", json.dumps({"calls": calls}).encode(), dashed(headers))

    def told(self, request_id, count=1):
        """Its calls as /admin/calls has them, once they are over: that is when the reply is out, so its reader may be quicker."""
        def all_of_them():
            calls = self.get(f"/admin/calls/{request_id}", "admin").json()["calls"]
            return calls if len(calls) >= count else None

        return until(all_of_them, f"{count} calls of {request_id} are told")

    def metrics(self):
        reply = self.get("/metrics")
        assert reply.status == 200, reply
        return Metrics(reply.body.decode())

    def until_metric(self, name, value, **labels):
        """Wait for a metric to be exactly this."""
        until(lambda: self.metrics().sum(name, **labels) == value, f"{name} {labels} is {value}")

    def load(self, *words, **options):
        """bench/load against it; returns its report. Flags by their names, with _ for -; words as they are."""
        command = [str(LOAD), "--connect", "{}:{}".format(*self.address()), *words]
        for name, value in options.items():
            command += ["--" + name.replace("_", "-")] + ([] if value is True else [str(value)])
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout)


def dashed(headers):
    return {name.replace("_", "-"): value for name, value in headers.items()}
