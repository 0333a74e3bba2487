#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A provider of tools that is a plain REST service: one call, one request.

GET /v1/forecast/CITY?days=N, POST /v1/mail, and GET /stats for what came. A request costs 10 ms of (simulated) work.
Prints its port, then serves until it is ended.
"""
import json
import threading
import time
from urllib.parse import parse_qs, unquote, urlsplit

from plain_http import PlainHandler, serve

REQUEST_SECONDS = 0.010
SKIES = ("sun", "cloud", "rain")


class Office:
    """What the service remembers: the mails it was given, and how many requests came."""

    def __init__(self):
        self.lock = threading.Lock()
        self.mails = []
        self.requests = 0

    def send(self, mail):
        with self.lock:
            self.mails.append(mail)
            return len(self.mails)

    def count(self):
        with self.lock:
            self.requests += 1

    def stats(self):
        with self.lock:
            return {"requests": self.requests, "calls": self.requests, "mails": len(self.mails)}


class Handler(PlainHandler):
    office = Office()

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/stats":
            return self.reply(200, self.office.stats())
        self.work()
        if not url.path.startswith("/v1/forecast/"):
            return self.reply(404, {"error": "no such page"})
        city = unquote(url.path.rsplit("/", 1)[1])
        try:
            days = int(parse_qs(url.query).get("days", ["1"])[0])
        except ValueError:
            return self.reply(400, {"error": "days is not a number"})
        skies = [SKIES[(len(city) + day) % len(SKIES)] for day in range(min(days, 14))]
        return self.reply(200, {"city": city, "days": skies})

    def do_POST(self):
        body = self.body()
        self.work()
        if self.path != "/v1/mail":
            return self.reply(404, {"error": "no such page"})
        try:
            mail = json.loads(body)
            to = mail["to"]
        except (ValueError, KeyError, TypeError):
            return self.reply(400, {"error": "a mail needs an address in 'to'"})
        return self.reply(201, {"number": self.office.send(mail), "to": to})

    def work(self):
        self.office.count()
        time.sleep(REQUEST_SECONDS)


if __name__ == "__main__":
    serve(Handler, __doc__)
