# SPDX-License-Identifier: Apache-2.0
"""An address that neither takes a connection nor refuses it."""
import socket


class BlackHole:
    """A listener that accepts nobody and whose queue is full: connections to it neither come about nor fail."""

    def __init__(self):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.port = self.listener.getsockname()[1]
        self.crowd = []
        for _ in range(8):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", self.port))
            self.crowd.append(one)

    def finish(self):
        for one in [*self.crowd, self.listener]:
            one.close()
