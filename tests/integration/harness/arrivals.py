# SPDX-License-Identifier: Apache-2.0
"""Callers that come without end, on new connections or kept ones: whoever is refused, reset or not answered is told."""
import itertools
import json
import threading

from .poll import until
from .wire import Raw, request_bytes


class Arrivals:
    """with Arrivals(address, tool) as arrivals: ...; arrivals.failures says what went wrong, arrivals.served how many went well."""

    def __init__(self, address, tool, callers=4, kept=False):
        """kept: a connection serves until an answer says that it is the last."""
        self.address, self.tool, self.kept = address, tool, kept
        self.numbers = itertools.count()
        self.failures, self.served = [], 0
        self.mutex = threading.Lock()
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=self._call) for _ in range(callers)]

    def _call_once(self, number, connection):
        """The connection, if it may be used again."""
        body = json.dumps({"n": number}).encode()
        connection = connection or Raw(self.address)
        connection.send(request_bytes("POST", f"/v1/tools/{self.tool}", body))
        reply = connection.reply("POST")
        assert reply.status == 200 and reply.json() == {"echo": {"n": number}}, reply
        if self.kept and reply.header("connection") != "close":
            return connection
        connection.close()
        return None

    def _call(self):
        connection = None
        while not self.ending.is_set():
            number = next(self.numbers)
            try:
                connection = self._call_once(number, connection)
            except Exception as failure:  # all that can go wrong is what the test asks about
                connection = None
                with self.mutex:
                    self.failures.append((number, repr(failure)))
            else:
                with self.mutex:
                    self.served += 1
        if connection:
            connection.close()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        for thread in self.threads:
            thread.join()


def come(kinds):
    """Wait until callers of each kind have been served."""
    before = [kind.served for kind in kinds]
    until(lambda: all(kind.served > served + 20 for kind, served in zip(kinds, before)), "callers are served")
