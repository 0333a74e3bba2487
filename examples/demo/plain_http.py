# SPDX-License-Identifier: Apache-2.0
"""The HTTP side of the demo's providers: connections stay open, a reply is one write, a port of one's own choice."""
import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class PlainHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"          # keep connections open
    disable_nagle_algorithm = True
    wbufsize = -1                          # one write for head and body

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def reply(self, status, body=b"", **headers):
        """Headers with _ for -; a body that is not bytes goes as JSON."""
        if not isinstance(body, bytes):
            body = json.dumps(body, separators=(",", ":")).encode()
            headers = {"Content_Type": "application/json", **headers}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_):
        pass


def serve(handler, description):
    """Print the port, then serve until it is ended."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    server = ThreadingHTTPServer(("127.0.0.1", parser.parse_args().port), handler)
    print(server.server_address[1], flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
