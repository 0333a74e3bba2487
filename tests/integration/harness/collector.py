# SPDX-License-Identifier: Apache-2.0
"""A collector (OTLP over HTTP with protobuf): keeps what it is sent, and answers as the test wants.
Messages: https://github.com/open-telemetry/opentelemetry-proto, trace/v1/trace.proto and metrics/v1/metrics.proto."""
import gzip
import ssl
import struct
import threading

from .poll import until
from .ports import kept_port
from .protobuf import double, encoded, fields
from .small_server import PlainHandler, SmallServer

KINDS = {1: "internal", 2: "server", 3: "client"}


def text(message, number):
    return message[number][0].decode() if number in message else ""


def value(data):
    (number, (got, *_)), = fields(data).items()
    return {1: lambda: got.decode(), 3: lambda: got, 4: lambda: double(got)}[number]()


def attributes(pairs):
    return {text(pair, 1): value(pair[2][0]) for pair in map(fields, pairs)}


class Span:
    def __init__(self, data, resource):
        message = fields(data)
        self.resource = resource
        self.trace, self.id = message[1][0].hex(), message[2][0].hex()
        self.state = text(message, 3)
        self.parent = message.get(4, [b""])[0].hex()
        self.name, self.kind = text(message, 5), KINDS[message[6][0]]
        self.start, self.end = message[7][0], message[8][0]
        self.attributes = attributes(message.get(9, []))
        self.events = [(text(each, 2), each[1][0], attributes(each.get(3, []))) for each in map(fields, message.get(11, []))]
        self.links = [(each[1][0].hex(), each[2][0].hex()) for each in map(fields, message.get(13, []))]
        status = fields(message[15][0]) if 15 in message else {}
        self.failed, self.message = status.get(3, [0])[0] == 2, text(status, 2)
        assert len(self.trace) == 32 and len(self.id) == 16 and len(self.parent) in (0, 16) and self.end >= self.start

    def __repr__(self):
        return f"<{self.kind} {self.name} {self.attributes}>"


class Point:
    """A data point of metrics/v1/metrics.proto: NumberDataPoint or HistogramDataPoint."""

    def __init__(self, metric, kind, data, resource):
        message = fields(data)
        self.name, self.kind, self.unit, self.resource = text(metric, 1), kind, text(metric, 3), resource
        self.tags = attributes(message.get(9 if kind == "histogram" else 7, []))
        self.start, self.time = message.get(2, [0])[0], message[3][0]
        if kind == "histogram":
            self.count, self.sum = message[4][0] if 4 in message else 0, double(message[5][0])
            self.buckets = struct.unpack("<%dQ" % (len(message[6][0]) // 8), message[6][0])
            self.bounds = struct.unpack("<%dd" % (len(message[7][0]) // 8), message[7][0])
            assert len(self.buckets) == len(self.bounds) + 1 and sum(self.buckets) == self.count
        else:
            self.value = double(message[4][0]) if 4 in message else struct.unpack("<q", struct.pack("<Q", message[6][0]))[0]

    def samples(self):
        """As Prometheus has it: (name, labels) and what it says."""
        if self.kind != "histogram":
            yield (self.name, frozenset(self.tags.items())), self.value
            return
        below = 0
        for bound, count in zip((*self.bounds, float("inf")), self.buckets):
            below += count
            yield (self.name + "_bucket", frozenset({**self.tags, "le": bound}.items())), below
        yield (self.name + "_sum", frozenset(self.tags.items())), self.sum
        yield (self.name + "_count", frozenset(self.tags.items())), self.count


def points_of(metric, resource):
    (field, kind), = [(number, word) for number, word in ((5, "gauge"), (7, "sum"), (9, "histogram")) if number in metric]
    data = fields(metric[field][0])
    if kind != "gauge":
        assert data[2] == [2], "cumulative"
    assert kind != "sum" or data[3] == [1], "monotonic"
    return [Point(metric, kind, each, resource) for each in data[1]]


class Collector:
    """papers, name: over TLS, with that certificate (harness/papers.py)."""

    def __init__(self, papers=None, name="good"):
        self.lock = threading.Lock()
        self.requests = []  # (path, headers, body)
        self.answers = []  # (status, headers, body) for the next ones; then 200
        self.hangs = False
        self.let_go = threading.Event()
        collector = self

        class Handler(PlainHandler):
            protocol_version = "HTTP/1.0"  # who is not answered is hung up on

            def do_POST(self):
                body = self.body()
                with collector.lock:
                    collector.requests.append((self.path, dict(self.headers), body))
                    status, headers, answer = collector.answers.pop(0) if collector.answers else (200, {}, b"")
                if collector.hangs:
                    collector.let_go.wait(60)
                    return
                self.reply(status, answer, **headers)

        context = None
        if papers:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(papers / f"{name}.pem", papers / f"{name}.key")
        self.server = SmallServer(Handler, kept_port(), context)
        self.url = self.server.url

    def finish(self):
        self.let_go.set()
        self.server.finish()

    def spans(self, path="/v1/traces"):
        """All of all requests so far."""
        return [Span(each, resource) for each, resource in self.told(path)]

    def points(self, path="/v1/metrics"):
        """All of metrics in all requests so far."""
        return [point for each, resource in self.told(path) for point in points_of(fields(each), resource)]

    def told(self, path):
        """path: where a signal is sent to, or the end of it."""
        found = []
        with self.lock:
            bodies = [gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body
                      for where, headers, body in self.requests if where.endswith(path)]
        for body in bodies:
            for group in map(fields, fields(body).get(1, [])):
                resource = attributes(fields(group[1][0]).get(1, []))
                for scope in map(fields, group[2]):
                    assert text(fields(scope[1][0]), 1) == "jitney"
                    found += [(each, resource) for each in scope[2]]
        return found

    def snapshots(self):
        """Metrics by when they were taken: [{(name, labels): value}]."""
        by_time = {}
        for point in self.points():
            by_time.setdefault(point.time, {}).update(point.samples())
        return [by_time[time] for time in sorted(by_time)]

    def until(self, condition, what):
        """Wait until the spans are so; returns them."""
        return until(lambda: condition(self.spans()) and self.spans(), what)


def call_many(gateway):
    """300 calls of seven kinds at once: traced, and all are answered."""
    reply = gateway.batch([{"id": str(n), "tool": "cached", "arguments": {"n": n % 7}} for n in range(300)])
    assert reply.status == 200 and all(each["status"] == 200 for each in reply.json()["results"])


def partial(rejected, why):
    """An answer that takes a request but for some spans."""
    return encoded(1, encoded(1, rejected) + encoded(2, why))
