#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A provider of tools that speaks JSON-RPC 2.0 and takes arrays: the kind that batching is for.

POST /rpc with one call or an array of calls; GET /stats says how many requests and calls came. A request costs 10 ms of
(simulated) work whatever it carries, and every call a little more: so ten calls in one request are far cheaper than ten
requests. Prints its port, then serves until it is ended.
"""
import json
import threading
import time

from plain_http import PlainHandler, serve

REQUEST_SECONDS = 0.010
CALL_SECONDS = 0.000_05


def web_search(params):
    query = params["q"]
    return {"query": query, "best": "https://example.org/" + query.replace(" ", "-")}


def count_words(params):
    return {"words": len(params["text"].split())}


METHODS = {"web.search": web_search, "text.count": count_words}


class Stats:
    def __init__(self):
        self.lock = threading.Lock()
        self.numbers = {"requests": 0, "calls": 0, "max_batch": 0}

    def count(self, calls):
        with self.lock:
            self.numbers["requests"] += 1
            self.numbers["calls"] += calls
            self.numbers["max_batch"] = max(self.numbers["max_batch"], calls)

    def read(self):
        with self.lock:
            return dict(self.numbers)


def answer(call):
    """One JSON-RPC call object to its answer object."""
    try:
        method, params = METHODS[call["method"]], call.get("params", {})
    except (KeyError, TypeError, AttributeError):
        return error(call, -32601, "Method not found")
    try:
        return {"jsonrpc": "2.0", "id": call.get("id"), "result": method(params)}
    except (KeyError, TypeError, AttributeError):
        return error(call, -32602, "Invalid params")


def error(call, code, message):
    number = call.get("id") if isinstance(call, dict) else None
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}


class Handler(PlainHandler):
    stats = Stats()

    def do_POST(self):
        try:
            request = json.loads(self.body())
        except ValueError:
            return self.reply(400, error(None, -32700, "Parse error"))
        calls = request if isinstance(request, list) else [request]
        self.stats.count(len(calls))
        time.sleep(REQUEST_SECONDS + CALL_SECONDS * len(calls))
        answers = [answer(call) for call in calls]
        return self.reply(200, answers if isinstance(request, list) else answers[0])

    def do_GET(self):
        if self.path == "/stats":
            return self.reply(200, self.stats.read())
        return self.reply(404, {"error": "POST /rpc or GET /stats"})


if __name__ == "__main__":
    serve(Handler, __doc__)
