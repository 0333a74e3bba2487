# SPDX-License-Identifier: Apache-2.0
"""A collector of traces (OTLP over HTTP with protobuf): keeps what it is sent, and answers as the test wants.
Messages: https://github.com/open-telemetry/opentelemetry-proto, trace/v1/trace.proto."""
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .poll import until
from .protobuf import double, encoded, fields

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


class Collector:
    def __init__(self):
        self.lock = threading.Lock()
        self.requests = []  # (path, headers, body)
        self.answers = []  # (status, headers, body) for the next ones; then 200
        self.hangs = False
        self.let_go = threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with collector.lock:
                    collector.requests.append((self.path, dict(self.headers), body))
                    status, headers, answer = collector.answers.pop(0) if collector.answers else (200, {}, b"")
                if collector.hangs:
                    collector.let_go.wait(60)
                    return
                self.send_response(status)
                for name, content in headers.items():
                    self.send_header(name, content)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def url(self):
        return "http://127.0.0.1:{}".format(self.server.server_address[1])

    def finish(self):
        self.let_go.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def spans(self):
        """All of all requests so far."""
        found = []
        with self.lock:
            bodies = [body for _, _, body in self.requests]
        for body in bodies:
            for group in map(fields, fields(body).get(1, [])):
                resource = attributes(fields(group[1][0]).get(1, []))
                for scope in map(fields, group[2]):
                    assert text(fields(scope[1][0]), 1) == "jitney"
                    found += [Span(each, resource) for each in scope[2]]
        return found

    def until(self, condition, what):
        """Wait until the spans are so; returns them."""
        return until(lambda: condition(self.spans()) and self.spans(), what)


def partial(rejected, why):
    """An answer that takes a request but for some spans."""
    return encoded(1, encoded(1, rejected) + encoded(2, why))
