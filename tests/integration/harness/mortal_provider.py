#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A JSON-RPC provider to be killed: a process of its own that writes each call's number to a file before it answers.

mortal_provider.py PORT RECORD HOLD: while the file HOLD exists, what has been recorded is not answered.
"""
import json
import os
import sys
import time

from small_server import PlainHandler, SmallServer


class Handler(PlainHandler):
    def do_POST(self):
        request = json.loads(self.body())
        calls = request if isinstance(request, list) else [request]
        record = "".join(f"{call['params']['n']}\n" for call in calls)
        descriptor = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, record.encode())
        os.close(descriptor)
        while os.path.exists(sys.argv[3]):
            time.sleep(0.005)
        answers = [{"jsonrpc": "2.0", "id": call["id"], "result": call["params"]["n"]} for call in calls]
        self.reply(200, answers if isinstance(request, list) else answers[0])


if __name__ == "__main__":
    server = SmallServer(Handler, int(sys.argv[1]))
    print(server.port, flush=True)
    server.thread.join()
