# SPDX-License-Identifier: Apache-2.0
"""Stands in for an admin listener: one document under a base path, and how often it was asked for."""
import threading

from .ports import kept_port
from .small_server import PlainHandler, SmallServer


def numbers(**changes):
    """A document as /admin/stats makes it, with changes."""
    rates = {"span_s": 10, "calls": 12.5, "errors": 0, "requests": 3, "saved_requests": 9.5, "error_ratio": 0, "hit_ratio": 0.25,
             "mean_batch": 4.1, "p50_us": 900, "p99_us": 15000}
    return {"at": 1796000000.25, "version": "9.9", "generation": 4, "uptime_s": 90061, "process": {"pid": 77, "rss_bytes": 50 << 20},
            "workers": [{"busy_ratio": 0.25, "lag_us": 1500}, {"busy_ratio": 0.5, "lag_us": 20}],
            "totals": {"calls": 100, "in_flight": 3}, "rates": {"1s": rates, "10s": rates, "5m": rates},
            "tools": [], "upstreams": [], "cache": [], "processes": [], **changes}


def tool(name, calls=0, errors=0, p99_us=None):
    return {"name": name, "calls": calls, "errors": errors, "saved_requests": 0, "p50_us": p99_us, "p99_us": p99_us}


def upstream(name, state="up", reason=None, **changes):
    endpoint = {"url": "http://x", "healthy": state == "up", "state": state, "weight": 1, "requests": 1}
    if reason is not None:
        endpoint["reason"] = reason
    return {"name": name, "dialect": "jsonrpc", "worker": 0, "requests": 10, "errors": 0, "saved_requests": 90, "p50_us": 5000,
            "p99_us": 7000, "waiting": 0, "in_flight": 1, "limit": 8, "expected_wait_us": 0, "shed": 0, "retry_budget": 1.0,
            "flushes": {"full": 7, "idle": 3}, "endpoints": [endpoint], "condition": "well" if state == "up" else "sick",
            "sign": "well" if state == "up" else "down", "why": "" if state == "up" else reason or "", **changes}


class StandIn:
    """with StandIn({...}) as admin: ... admin.url; admin.document may change; while `held`, it does not answer."""

    def __init__(self, document, base="/base", calls=()):
        self.document, self.base, self.calls = document, base, list(calls)
        self.asked = []
        self.going = threading.Event()
        self.going.set()
        stand_in = self

        class Handler(PlainHandler):
            protocol_version = "HTTP/1.0"

            def do_GET(self):
                stand_in.asked.append((self.path, dict(self.headers)))
                stand_in.going.wait(60)
                document = stand_in.answer(self.path)
                try:
                    self.reply(*(200, document) if document is not None else (404, b"no such page"))
                except OSError:
                    pass    # nobody waits for it any more

        self.server = SmallServer(Handler, kept_port())
        self.url = self.server.url + base

    def answer(self, path):
        if path == self.base + "/admin/stats":
            self.document["at"] += 1
            return self.document
        return {"calls": self.calls} if path.startswith(self.base + "/admin/calls") else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.going.set()
        self.server.finish()
