# SPDX-License-Identifier: Apache-2.0
"""A stand-in for systemd: hears sd_notify datagrams, keeps a descriptor store, hands descriptors over (sd_listen_fds)."""
import array
import os
import socket
import sys
import threading
import time

from .poll import until

# $LISTEN_PID is the pid of the process that is started, and the descriptors begin with 3: it becomes what it is given.
BECOME = """
import os, sys
fds = [int(fd) for fd in sys.argv[1].split(",") if fd]
high = [os.dup(fd) for fd in fds]
high = [os.dup2(fd, 1000 + n) for n, fd in enumerate(high)]
for n, fd in enumerate(high):
    os.dup2(fd, 3 + n)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = str(len(fds))
os.execvp(sys.argv[2], sys.argv[2:])
"""


class ServiceManager:
    def __init__(self, path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.messages = []     # a dict each
        self.store = []        # (name, descriptor)
        self.units = []        # (name, descriptor): of socket units
        self.mutex = threading.Lock()
        self.thread = threading.Thread(target=self._hear, daemon=True)
        self.thread.start()

    # ---- hearing ----

    def _hear(self):
        while True:
            data, ancillary, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(4 * 253))
            if not data:
                return
            message = dict(line.split("=", 1) for line in data.decode().splitlines() if "=" in line)
            message["arrived"] = time.monotonic()
            fds = array.array("i")
            for level, kind, part in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds.frombytes(part[:len(part) - len(part) % fds.itemsize])
            with self.mutex:
                self._keep(message, fds)
                self.messages.append(message)

    def _keep(self, message, fds):
        name = message.get("FDNAME", "stored")
        if message.get("FDSTORE") == "1":
            self.store += [(name, fd) for fd in fds]
        if message.get("FDSTOREREMOVE") == "1":
            for _, fd in [kept for kept in self.store if kept[0] == name]:
                os.close(fd)
            self.store = [kept for kept in self.store if kept[0] != name]

    def heard(self, name, value="1"):
        """How often."""
        with self.mutex:
            return sum(message.get(name) == value for message in self.messages)

    def last(self, name):
        with self.mutex:
            return next((message[name] for message in reversed(self.messages) if name in message), None)

    def arrived(self, name):
        """When, each."""
        with self.mutex:
            return [message["arrived"] for message in self.messages if name in message]

    def until_heard(self, name, times=1):
        until(lambda: self.heard(name) >= times, f"{name}=1 is heard {times} times")

    # ---- handing over ----

    def options(self, **environment):
        """How a Gateway is made that this manager starts."""
        handed = self.units + self.store
        names = {"LISTEN_FDNAMES": ":".join(name for name, _ in handed)} if handed else {}
        fds = [fd for _, fd in handed]
        return {"environment": {"NOTIFY_SOCKET": self.path, **names, **environment}, "pass_fds": fds,
                "before": [sys.executable, "-c", BECOME, ",".join(map(str, fds))] if fds else ()}

    def listen(self, name):
        """A socket unit's: its address, as it stands in the configuration."""
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        self.units.append((name, listener.detach()))
        return self.address(-1)

    def address(self, n):
        return self._address_of(self.units[n][1])

    def stored_addresses(self):
        """Of its descriptor store, which has TCP sockets only."""
        with self.mutex:
            return {self._address_of(fd) for _, fd in self.store}

    @staticmethod
    def _address_of(fd):
        with socket.socket(fileno=os.dup(fd)) as listener:
            return "{}:{}".format(*listener.getsockname())

    def finish(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.path)
        self.thread.join()
        self.socket.close()
        for _, fd in self.store + self.units:
            os.close(fd)
