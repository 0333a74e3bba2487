# SPDX-License-Identifier: Apache-2.0
"""A server whose answers a test writes by hand: the handler of the demo's providers, on a thread of its own."""
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "examples" / "demo"))

from plain_http import PlainHandler     # noqa: E402, F401


class SmallServer(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True               # one that waits for what never comes holds up nobody's end

    def __init__(self, handler, port, context=None):
        """context: of ssl; it speaks TLS then."""
        super().__init__(("127.0.0.1", port), handler)
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.port = self.server_address[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def finish(self):
        self.shutdown()
        self.server_close()
        self.thread.join()
