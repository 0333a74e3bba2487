# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 as bytes on a socket, for what http.client is too polite to send or to see."""
import json
import socket
import struct

LIMIT_SECONDS = 20


class Reply:
    """One answer: status, headers (names in lower case, the last of a name), body bytes."""

    def __init__(self, status, reason, headers, body):
        self.status, self.reason, self.headers, self.body = status, reason, headers, body

    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The problem's code."""
        return self.json()["code"]

    def header(self, name):
        return self.headers.get(name.lower())

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:300]!r}>"


class Closed(Exception):
    """The peer has closed before a whole answer was there; `got` is what came."""

    def __init__(self, got):
        super().__init__(f"closed after {got[:300]!r}")
        self.got = got


def request_bytes(method, path, body=None, headers=()):
    headers = dict(headers)
    lines = [f"{method} {path} HTTP/1.1", f"Host: {headers.pop('Host', 'localhost')}"]
    if body is not None:
        headers.setdefault("Content-Type", "application/json")
        headers.setdefault("Content-Length", str(len(body)))
    lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")


class Raw:
    """A connection. `address`: (host, port) or the path of a unix socket."""

    def __init__(self, address):
        if isinstance(address, (tuple, list)):
            self.socket = socket.create_connection(address, LIMIT_SECONDS)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(LIMIT_SECONDS)
            self.socket.connect(str(address))
        self.pending = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.socket.sendall(data)

    def offer(self, data):
        """As send; an answer that comes before the whole request was taken is an answer, as for any client (RFC 9112, 9.6)."""
        try:
            self.send(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # without an answer, reading says that it was closed

    def request(self, method, path, body=None, headers=()):
        self.offer(request_bytes(method, path, body, headers))
        return self.reply(method)

    def close(self):
        self.socket.close()

    def reset(self):
        """Leave rudely: the peer sees a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def receive(self):
        """More bytes, or Closed."""
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            raise Closed(self.pending)
        self.pending += data

    def rest(self):
        """All bytes until the peer closes."""
        try:
            while True:
                self.receive()
        except Closed:
            got, self.pending = self.pending, b""
            return got

    def closed(self):
        """Whether the peer has closed, without waiting. What it sent before is kept."""
        self.socket.setblocking(False)
        try:
            self.receive()
            return False
        except BlockingIOError:
            return False
        except Closed:
            return True
        finally:
            self.socket.settimeout(LIMIT_SECONDS)

    def take(self, count):
        while len(self.pending) < count:
            self.receive()
        taken, self.pending = self.pending[:count], self.pending[count:]
        return taken

    def line(self):
        while b"\r\n" not in self.pending:
            self.receive()
        line, _, self.pending = self.pending.partition(b"\r\n")
        return line.decode("latin-1")

    def head(self):
        """Status line and headers of the next answer."""
        version, status, reason = (self.line().split(" ", 2) + [""])[:3]
        assert version in ("HTTP/1.1", "HTTP/1.0"), version
        headers = {}
        while True:
            line = self.line()
            if not line:
                return Reply(int(status), reason, headers, b"")
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()

    def chunk(self):
        """One chunk of a chunked body; b"" is the last."""
        size = int(self.line().split(";")[0], 16)
        data = self.take(size)
        assert self.take(2) == b"\r\n"
        return data

    def reply(self, method="GET", keep_informational=False):
        """The next whole answer."""
        reply = self.head()
        while 100 <= reply.status < 200 and not keep_informational:
            reply = self.head()
        if method == "HEAD" or reply.status in (204, 304) or reply.status < 200:
            return reply
        if reply.header("transfer-encoding") == "chunked":
            reply.body = b"".join(iter(self.chunk, b""))
        elif reply.header("content-length") is not None:
            reply.body = self.take(int(reply.header("content-length")))
        else:
            reply.body = self.rest()
        return reply
