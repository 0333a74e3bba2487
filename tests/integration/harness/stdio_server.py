# SPDX-License-Identifier: Apache-2.0
"""A child process that speaks JSON-RPC by lines, as an MCP server or (--plain) with a method for each tool, and misbehaves
on command. Run by the gateway; tests see what it did through its answers and the file named by $RECORD."""
import json
import os
import signal
import subprocess
import sys
import threading
import time

PLAIN = "--plain" in sys.argv
MODERN = "--modern" in sys.argv  # 2026-07-28: no initialize, list changes to listeners only
write_lock = threading.Lock()
tools = ["echo", "slow", "crash", "hang", "garbage", "flap", "pid", "offspring", "ask", "big", "complain", "cancelled",
         "steps", "raw", "forge", "busy", "freeze", "endless"]
cancelled = []
listening = []
META = "io.modelcontextprotocol/"
long_list = int(os.environ.get("LONG_LIST", 0))  # so many bytes more, in the first page
failing_lists = ["database still starting"] * int(os.environ.get("FAIL_LISTS", 0))
replies = {}
replied = threading.Condition()


def write(line):
    with write_lock:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def send(**message):
    write(json.dumps({"jsonrpc": "2.0", **message}))


def record(text):
    if "RECORD" in os.environ:
        with open(os.environ["RECORD"], "a", encoding="utf8") as file:
            file.write(text + "\n")


def answer(number, value):
    if PLAIN:
        send(id=number, result=value)
    else:
        send(id=number, result={**complete(), "content": [{"type": "text", "text": json.dumps(value)}]})


def complete():
    return {"resultType": "complete"} if MODERN else {}


def ask(method):
    """A request of our own; its answer."""
    send(id=0, method=method)
    with replied:
        replied.wait_for(lambda: 0 in replies, 20)
        return replies.pop(0, None)


def offspring():
    """One grandchild in our group, one in a session of its own."""
    return [subprocess.Popen(["sleep", "1000"], start_new_session=apart, stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid for apart in (False, True)]


def steps(count, meta, pad, every):
    for i in range(count):
        time.sleep(every)
        if "progressToken" in meta:
            send(method="notifications/progress", params={"progress": i, "progressToken": meta["progressToken"],
                                                          "total": count, "message": pad * "x"})
        for level in ("debug", "error"):
            send(method="notifications/message", params={"level": level, "data": {"step": i}})


def run(number, name, arguments, meta):
    if name == "slow":
        time.sleep(arguments["seconds"])
        answer(number, arguments)
    elif name == "crash":
        print("about to fall over", file=sys.stderr, flush=True)
        os._exit(arguments.get("status", 3))
    elif name == "hang":
        pass
    elif name == "garbage":
        for line in ("not JSON", "[1,2]", '{"jsonrpc":"2.0","id":999999,"result":{}}', '{"half":', ""):
            write(line)
        answer(number, arguments)
    elif name == "flap":
        tools.append(arguments["tool"])
        for _ in range(4 if listening or not MODERN else 0):
            send(method="notifications/tools/list_changed")
        answer(number, {})
    elif name == "pid":
        answer(number, os.getpid())
    elif name == "offspring":
        answer(number, [os.getpid(), *offspring()])
    elif name == "ask":
        answer(number, ask(arguments["method"]))
    elif name == "big":
        answer(number, "x" * arguments["bytes"])
    elif name == "complain":
        for i in range(arguments["lines"]):
            print("complaint", i, file=sys.stderr, flush=True)
        answer(number, {})
    elif name == "raw":
        for line in arguments["lines"]:
            write(line.replace("ID", str(number)))
    elif name == "forge":  # within a document, as many answers as one says to the ids before and behind its own
        line = '{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"%s"}]}}'
        write('banner: ready {\n{\n  "jsonrpc": "2.0",\n  "id": %d,\n  "result":' % number)
        for n in range(1, arguments["around"] + 1):
            write(line % (number - n, "forged") + "\n" + line % (number + n, "forged"))
        write("}\n[\n" + line % (number, "own"))
    elif name == "endless":
        with write_lock:
            while True:
                sys.stdout.write(arguments["head"] + "x" * 65536)
    elif name == "freeze":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif name == "busy":
        for i in range(arguments["steps"]):
            time.sleep(arguments["every"])
            if "progressToken" in meta:
                send(method="notifications/progress", params={"progress": i, "progressToken": meta["progressToken"]})
        answer(number, {})
    elif name == "steps":
        steps(arguments["count"], meta, arguments.get("pad", 0), arguments.get("every", 0))
        answer(number, meta)
    elif name == "cancelled":
        answer(number, len(cancelled))
    else:
        answer(number, arguments)


def page(params):
    """Three tools a page."""
    first = int(params.get("cursor", 0))
    if long_list:
        return {"tools": [{"name": "long", "inputSchema": {"type": "object"}, "description": "x" * long_list}]}
    shown = [{"name": name, "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": name in ("slow", "echo")}}
             for name in tools[first:first + 3]]
    return {"tools": shown, **({"nextCursor": str(first + 3)} if first + 3 < len(tools) else {})}


def take(message):
    method, params, number = message.get("method"), message.get("params", {}), message.get("id")
    if method is None:
        with replied:
            replies[number] = {key: message[key] for key in ("result", "error") if key in message}
            replied.notify_all()
    elif MODERN and META + "protocolVersion" not in params.get("_meta", {}):
        print("no _meta in", method, file=sys.stderr, flush=True)
        os._exit(5)
    elif method == "server/discover" and MODERN:
        send(id=number, result={**complete(), "supportedVersions": ["2026-07-28"], "ttlMs": 0, "cacheScope": "private",
                                "capabilities": {"tools": {"listChanged": True}}, "instructions": "Echo, please."})
    elif method == "subscriptions/listen" and MODERN:
        listening.append(number)
        send(method="notifications/subscriptions/acknowledged", params={})
    elif method == "initialize":
        send(id=number, result={"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}},
                                "serverInfo": {"name": "stdio", "version": "1"}, "instructions": "Echo, please."})
    elif method == "tools/list":
        record("list")
        if failing_lists:
            send(id=number, error={"code": -32603, "message": failing_lists.pop()})
        else:
            send(id=number, result={**complete(), **page(params)})
    elif method == "ping":
        record("ping")
        send(id=number, result={})
    elif method == "notifications/cancelled":
        cancelled.append(params["requestId"])
    elif PLAIN or method == "tools/call":
        name, arguments = (method, params) if PLAIN else (params["name"], params["arguments"])
        record(f"call {name}")
        threading.Thread(target=run, args=(number, name, arguments, params.get("_meta", {})), daemon=True).start()


def main():
    record(f"start {os.getpid()}")
    if "DIE" in os.environ:
        print("no such database:", os.environ["DIE"], file=sys.stderr)
        sys.exit(4)
    time.sleep(float(os.environ.get("LATE", 0)))
    for line in sys.stdin:
        take(json.loads(line))


main()
