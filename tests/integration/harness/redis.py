# SPDX-License-Identifier: Apache-2.0
"""A redis-server of the test's own, and a fake one that says what the test wants. Ended by their handles."""
import shutil
import signal
import socket
import subprocess
import threading

from .poll import until
from .ports import free_port, kept_port, stop_accepting

SERVER = shutil.which("redis-server")


class Redis:
    def __init__(self, directory, *options):
        self.directory, self.options = directory, options
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.process = None
        self.password = None

    def start(self):
        self.process = subprocess.Popen(
            [SERVER, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.directory),
             "--daemonize", "no", "--loglevel", "warning", *self.options],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        until(self.answers, "redis-server answers")
        return self

    def answers(self):
        assert self.process.poll() is None, f"redis-server ended with {self.process.returncode}"
        try:
            self.ask("PING")
            return True
        except OSError:
            return False

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def ask(self, *words):
        """One command; the reply as Python has it; an error reply as a str beginning with a minus."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            stream = connection.makefile("rwb")
            if self.password:
                stream.write(encode("AUTH", self.password))
                stream.flush()
                read_reply(stream)
            stream.write(encode(*words))
            stream.flush()
            return read_reply(stream)

    def keys(self, pattern="*"):
        return sorted(self.ask("KEYS", pattern))

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()


def encode(*words):
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def read_reply(stream):
    line = stream.readline()
    if not line:
        raise ConnectionError("closed")
    kind, rest = line[:1], line[1:-2]
    if kind == b"+":
        return rest.decode()
    if kind == b"-":
        return "-" + rest.decode()
    if kind == b":":
        return int(rest)
    if kind == b"$":
        if int(rest) < 0:
            return None
        return stream.read(int(rest) + 2)[:-2]
    return [read_reply(stream) for _ in range(int(rest))]


class FakeRedis:
    """Answers each command with what `behaviour(words)` returns: bytes, or None for nothing at all."""

    def __init__(self, behaviour):
        self.behaviour = behaviour
        self.commands = []
        self.listener = socket.create_server(("127.0.0.1", kept_port()))
        self.port = self.listener.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"
        self.connections = []
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        stream = connection.makefile("rwb")
        try:
            while True:
                words = read_reply(stream)
                self.commands.append(words)
                answer = self.behaviour(words)
                if answer:
                    stream.write(answer)
                    stream.flush()
        except (OSError, ValueError):
            connection.close()

    def finish(self):
        stop_accepting(self.listener, self.thread)
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def polite(words):
    """What a healthy, empty Redis says."""
    word = words[0].upper()
    return {b"GETRANGE": b"$0\r\n\r\n", b"DEL": b":0\r\n", b"PING": b"+PONG\r\n"}.get(word, b"+OK\r\n")


