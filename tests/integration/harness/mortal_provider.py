#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A JSON-RPC provider to be killed: a process of its own that writes each call's number to a file before it answers.

mortal_provider.py PORT RECORD HOLD: while the file HOLD exists, what has been recorded is not answered.
"""
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        calls = request if isinstance(request, list) else [request]
        record = "".join(f"{call['params']['n']}\n" for call in calls)
        descriptor = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, record.encode())
        os.close(descriptor)
        while os.path.exists(sys.argv[3]):
            time.sleep(0.005)
        answers = [{"jsonrpc": "2.0", "id": call["id"], "result": call["params"]["n"]} for call in calls]
        body = json.dumps(answers if isinstance(request, list) else answers[0]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 256


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
