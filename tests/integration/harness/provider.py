# SPDX-License-Identifier: Apache-2.0
"""A provider in this process, one thread a connection, that records every delivery and misbehaves on command.

What it does with a request is a function of (delivery, wire): by default `echo`. `provider.next(f, g)` sets what the next
requests meet; `provider.behaviour = f` what all others do. `provider.hold()` keeps every request until `release()`.
"""
import collections
import json
import socket
import struct
import threading
import time

from .poll import until
from .ports import bound, kept_port, stop_accepting

LIMIT_SECONDS = 30
STEP_SECONDS = 0.01


class Delivery:
    """One request as it came."""

    def __init__(self, number, connection, method, path, headers, body):
        self.number = number              # from 0, over all connections
        self.connection = connection      # number of the connection
        self.method, self.path, self.headers, self.body = method, path, headers, body
        self.rpc = path == "/rpc"
        self.document = json.loads(body) if self.rpc and body else None

    @property
    def calls(self):
        """The JSON-RPC calls in it, in order; REST: the request is the call."""
        if not self.rpc:
            return [self]
        return self.document if isinstance(self.document, list) else [self.document]


class Wire:
    """The way back."""

    def __init__(self, provider, connection):
        self.provider, self.connection = provider, connection

    def raw(self, data):
        self.connection.sendall(data)

    def answer(self, body, status=200, headers=()):
        self.raw(answer_bytes(body, status, headers))

    def close(self):
        raise Hangup

    def reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Hangup

    def hang(self):
        """Never answer: wait until the peer leaves or the provider stops."""
        self.connection.settimeout(LIMIT_SECONDS)
        while self.connection.recv(4096):
            pass
        raise Hangup


class Hangup(Exception):
    """The connection is to be closed."""


def answer_bytes(body, status=200, headers=()):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **dict(headers)}
    lines = [f"HTTP/1.1 {status} Status"] + [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


# ---- behaviours -----------------------------------------------------------------------------------------------------


def result_of(call):
    """The JSON-RPC answer object that echo gives."""
    return {"jsonrpc": "2.0", "id": call["id"], "result": {"echo": call.get("params")}}


def echo(delivery, wire):
    if not delivery.rpc:
        body = json.loads(delivery.body) if delivery.body else None
        return wire.answer({"method": delivery.method, "path": delivery.path, "body": body})
    return answers(delivery, wire, [result_of(call) for call in delivery.calls])


def answers(delivery, wire, found):
    """JSON-RPC answer objects, as an array if the request was one."""
    wire.answer(found if isinstance(delivery.document, list) else found[0])


def answering(result):
    """Every call gets this result; bytes: these bytes."""
    text = result if isinstance(result, bytes) else json.dumps(result).encode()

    def behaviour(delivery, wire):
        if not delivery.rpc:
            return wire.answer(text)
        objects = [b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (call["id"], text) for call in delivery.calls]
        body = b",".join(objects)
        return wire.answer(b"[" + body + b"]" if isinstance(delivery.document, list) else body)

    return behaviour


def failing(code, message, data=None):
    """Every call gets this JSON-RPC error."""
    error = {"code": code, "message": message, **({"data": data} if data is not None else {})}
    return lambda delivery, wire: answers(
        delivery, wire, [{"jsonrpc": "2.0", "id": call["id"], "error": error} for call in delivery.calls])


def status(number, body=b'{"error":"no"}', **headers):
    return lambda _, wire: wire.answer(body, number, {name.replace("_", "-"): value for name, value in headers.items()})


def raw(data):
    """These bytes, then the end."""
    def behaviour(_, wire):
        wire.raw(data)
        wire.close()

    return behaviour


def hang(_, wire):
    wire.hang()


def reset(_, wire):
    wire.reset()


def close(_, wire):
    wire.close()


def truncate(delivery, wire):
    """The head and half of the body that echo would send."""
    body = json.dumps([result_of(call) for call in delivery.calls]).encode()
    wire.raw(answer_bytes(body)[:-(len(body) // 2)])
    wire.close()


def garbage(_, wire):
    wire.raw(b"\x00\x01\x02 this is no HTTP\r\n\r\n")
    wire.close()


def after(seconds):
    """As echo, that much later."""
    def behaviour(delivery, wire):
        time.sleep(seconds)
        echo(delivery, wire)

    return behaviour


def reordered(delivery, wire):
    answers(delivery, wire, [result_of(call) for call in reversed(delivery.calls)])


def without(predicate):
    """As echo, less the answers to some calls."""
    return lambda delivery, wire: answers(
        delivery, wire, [result_of(call) for call in delivery.calls if not predicate(call)])


def trickle(delivery, wire):
    """As echo, byte by byte."""
    for byte in answer_bytes([result_of(call) for call in delivery.calls]
                             if isinstance(delivery.document, list) else result_of(delivery.document)):
        wire.raw(bytes([byte]))


# ---- the provider ---------------------------------------------------------------------------------------------------


class Provider:
    def __init__(self, host="127.0.0.1", port=0):
        self.host = host
        self.lock = threading.Lock()
        self.behaviour = echo
        self.planned = collections.deque()
        self.deliveries = []
        self.gate = threading.Event()     # set: requests pass
        self.gate.set()
        self.connections = set()
        self.doomed = set()               # connections that are to end though their request is held
        self.connection_count = 0
        self.listener = None
        self.port = kept_port(host, port)
        self.failures = []
        self.start()

    def start(self):
        """Listen; after stop(), on the same port again."""
        self.listener = bound(self.host, self.port)
        self.listener.listen(1024)
        self.acceptor = threading.Thread(target=self.accept, args=(self.listener,), daemon=True)
        self.acceptor.start()

    def stop(self, rudely=True):
        """Refuse connections from now on and end those there are, with resets if rudely."""
        stop_accepting(self.listener, self.acceptor)
        self.cut(rudely)

    def cut(self, rudely=True):
        """End all connections."""
        with self.lock:     # a thread that closes one waits, or the descriptor would be another connection's by now
            connections = list(self.connections)
            self.doomed.update(connections)
            for connection in connections:
                try:
                    if rudely:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        connection.shutdown(socket.SHUT_RD)   # wakes its thread, which closes it
                    else:
                        connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        until(lambda: not any(connection in self.connections for connection in connections), "connections have ended")

    def finish(self):
        """After the test."""
        self.gate.set()
        if self.listener.fileno() >= 0:
            self.stop(rudely=False)
        assert not self.failures, self.failures

    # ---- for tests ----

    def url(self, path):
        return f"http://{self.host}:{self.port}{path}"

    def next(self, *behaviours):
        self.planned.extend(behaviours)

    def hold(self):
        self.gate.clear()

    def release(self):
        self.gate.set()

    @property
    def calls(self):
        """All calls delivered, in order."""
        with self.lock:
            return [call for delivery in self.deliveries for call in delivery.calls]

    def until_deliveries(self, count):
        until(lambda: len(self.deliveries) >= count, f"{count} requests have reached the provider")

    def until_calls(self, count):
        until(lambda: len(self.calls) >= count, f"{count} calls have reached the provider")

    # ---- threads ----

    def accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.connections.add(connection)
                self.connection_count += 1
                number = self.connection_count
            threading.Thread(target=self.serve, args=(connection, number), daemon=True).start()

    def serve(self, connection, number):
        try:
            reader = connection.makefile("rb")
            while self.serve_one(connection, number, reader):
                pass
        except (OSError, Hangup):
            pass
        except Exception as error:  # pylint: disable=broad-except  # shown by finish()
            self.failures.append(repr(error))
        finally:
            reader.close()
            with self.lock:
                connection.close()
                self.connections.discard(connection)
                self.doomed.discard(connection)

    def serve_one(self, connection, number, reader):
        line = reader.readline().decode("latin-1")
        if not line:
            return False
        method, path, _ = line.split(" ")
        headers = {}
        while (line := reader.readline().decode("latin-1").strip()):
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = reader.read(int(headers.get("content-length", 0)))
        if len(body) < int(headers.get("content-length", 0)):
            return False    # cut off: nobody could have acted on it
        with self.lock:
            delivery = Delivery(len(self.deliveries), number, method, path, headers, body)
            self.deliveries.append(delivery)
            behaviour = self.planned.popleft() if self.planned else self.behaviour
        while not self.gate.wait(STEP_SECONDS):
            if connection in self.doomed:
                raise Hangup
        behaviour(delivery, Wire(self, connection))
        return headers.get("connection", "").lower() != "close"
