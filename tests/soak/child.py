# SPDX-License-Identifier: Apache-2.0
"""A program behind the gateway, MCP or (--plain) JSON-RPC by lines, that is slow, falls over, babbles and reorders by dice.

Writes are recorded, one token a line, in the file that $RECORD names, before anything else happens.
"""
import itertools
import json
import os
import random
import re
import sys
import threading
import time

PLAIN = "--plain" in sys.argv
MISCHIEF = float(os.environ["MISCHIEF"])
dice = random.Random(int(os.environ["SEED"]) + os.getpid())
record = os.open(os.environ["RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
lock = threading.Lock()
versions = itertools.count()


def write(text):
    with lock:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def send(request_id, result):
    write(json.dumps({"jsonrpc": "2.0", "id": request_id, "result": result}))


def list_tools():
    """Another list each time: descriptions change, a tool comes and goes."""
    version = next(versions)
    names = ("echo", "write", "extra") if version % 2 else ("echo", "write")
    return [{"name": name, "description": f"{name}, version {version}", "inputSchema": {"type": "object"},
             "annotations": {"readOnlyHint": name != "write"}} for name in names]


def calm():
    return os.path.exists(os.environ["CALM"])


def run(request_id, name, arguments):
    if name.endswith("write"):
        os.write(record, (re.search(r"W\d+W", json.dumps(arguments)).group() + f" {os.getpid()}\n").encode())
    made = {"args": arguments, "stamp": f"P{os.getpid()}"}
    roll = 1 if calm() else dice.random() / MISCHIEF
    if roll < 0.1:
        os._exit(3)
    elif roll < 0.2:
        write(dice.choice(["not JSON", "[1,2]", '{"jsonrpc":"2.0","id":99999999,"result":{}}', "", '{"half":']))
    elif roll < 0.3:
        return None     # no answer at all
    elif roll < 0.6:
        time.sleep(dice.uniform(0, 0.3))
    elif roll < 0.7:
        print("a complaint", file=sys.stderr, flush=True)
    elif roll < 0.9 and not PLAIN:
        write('{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}')
    return send(request_id, made if PLAIN else {"content": [{"type": "text", "text": json.dumps(made)}]})


def take(message):
    method, params, request_id = message.get("method"), message.get("params", {}), message.get("id")
    if method == "initialize":
        send(request_id, {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {"listChanged": True}},
                          "serverInfo": {"name": "child", "version": "1"}})
    elif method == "tools/list":
        send(request_id, {"tools": list_tools()})
    elif request_id is not None and (PLAIN or method == "tools/call"):
        name, arguments = (method, params) if PLAIN else (params["name"], params["arguments"])
        threading.Thread(target=run, args=(request_id, name, arguments), daemon=True).start()


for line in sys.stdin:
    take(json.loads(line))
