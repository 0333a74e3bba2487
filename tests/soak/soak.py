#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Everything at once, for a while: one gateway with every dialect, providers and programs that misbehave, a Redis that is
frozen and killed, clients that leave or read slowly, tenants with equal calls, and what chaos.py aims. Afterwards:

- every answer was its caller's own, no answer of a tenant or caller was seen by another,
- no call that may not be repeated reached a provider twice, none that was refused unsent reached it at all,
- gauges, descriptors and memory are where they were, the log holds no error, the gateway ends with 0.

It goes in rounds; between two of them all is quiet for a moment and what is held then is noted (--samples FILE: as CSV and, beside it,
a plot). From --seconds 1800 on, resident memory must not rise by more than 1 MiB an hour after the first ten minutes.

soak.py [--seconds N] [--seed N] [--disk] [--rate CALLS_A_SECOND] [--samples FILE] JITNEY
"""
import argparse
import asyncio
import collections
import itertools
import json
import logging
import os
import random
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import chaos
import stall
from client import Client, Gone, Wrong
from samples import Samples

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))
parser = argparse.ArgumentParser()
parser.add_argument("jitney")
parser.add_argument("--seconds", type=float, default=20)
parser.add_argument("--seed", type=int, default=None)
parser.add_argument("--agents", type=int, default=80)
parser.add_argument("--rate", type=float, default=None, help="requests a second of all agents together; without: as many as go")
parser.add_argument("--samples", type=Path, default=None, help="where what was held after each round is written")
parser.add_argument("--disk", action="store_true", help="a disk tier instead of Redis")
parser.add_argument("--keep", action="store_true", help="keep the directory with log and configuration")
options = parser.parse_args()
os.environ["JITNEY"] = options.jitney
logging.getLogger("asyncio").setLevel(logging.ERROR)

from harness.gateway import REPORTS, SANITIZED, Gateway  # noqa: E402
from harness.mcp_client import META, MODERN  # noqa: E402
from harness.redis import Redis  # noqa: E402
from provider import REFUSALS, TOKEN, Provider, number_of  # noqa: E402

MISCHIEF = 0.15
ROUND_SECONDS = 30
QUIET_SECONDS = 2
ANSWER_SECONDS = 30 if SANITIZED else 12
GROWTH_BYTES = 96 << 20 if SANITIZED else 12 << 20
READ = {"annotations": {"read_only": True}}
UNSENT = {"overloaded", "deadline_exceeded", "not_cached", "invalid_request"}
GAUGES = ("in_flight_requests", "in_flight_bytes", "reply_bytes", "batch_waiting_items", "batch_in_flight",
          "mcp_subscriptions")
QUERY = "query ($id: ID!) { user(id: $id) { own stamp } }"
MUTATION = "mutation ($id: ID!) { put(id: $id) { own stamp } }"


def kept(scope, ttl="300ms"):
    grace = {"stale_while_revalidate": "300ms", "stale_if_error": "2s"} if scope != "caller" else {}
    return {**READ, "cache": {"ttl": ttl, "scope": scope, **grace}}


def upstreams(port, directory, seed):
    url = f"http://127.0.0.1:{port}"
    child = {"command": sys.executable, "timeout": "1s",
             "env": {"RECORD": str(directory / "record"), "CALM": str(directory / "calm"), "SEED": str(seed),
                     "MISCHIEF": str(MISCHIEF)},
             "pool": {"min": 1, "max": 2, "calls": 16, "max_calls": 300, "restart_backoff": "20ms", "idle_timeout": "1s"}}
    made = {
        "rpc": {"dialect": "jsonrpc", "endpoints": [{"url": url + "/rpc"}, {"url": url.replace("127.0.0.1", "localhost") +
                                                                             "/rpc"}]},
        "fixed": {"dialect": "jsonrpc", "endpoints": [{"url": url + "/rpc"}], "batch": {"mode": "fixed", "items": 8}},
        "paced": {"dialect": "jsonrpc", "endpoints": [{"url": url + "/rpc"}], "rate": {"requests": "20/s"}},
        "rest": {"dialect": "rest", "endpoints": [{"url": url + "/api"}]},
        "keys": {"dialect": "rest", "endpoints": [{"url": url}]},
        "graph": {"dialect": "envelope", "endpoints": [{"url": url + "/graph"}], "envelope": {"preset": "microsoft-graph"}},
        "odata": {"dialect": "envelope", "endpoints": [{"url": url + "/odata"}], "envelope": {"preset": "odata-json"}},
        "bulk": {"dialect": "envelope", "endpoints": [{"url": url + "/es"}], "envelope": {"preset": "elasticsearch-bulk"}},
        "embed": {"dialect": "openai-embeddings", "endpoints": [{"url": url + "/v1"}]},
        "alias": {"dialect": "graphql", "endpoints": [{"url": url + "/gql"}]},
        "array": {"dialect": "graphql", "endpoints": [{"url": url + "/gqla"}], "graphql": {"merge": "array"}},
        "mcp": {"dialect": "mcp", "endpoints": [{"url": url + "/mcp"}], "trust_hints": True},
        "stdio": {"dialect": "mcp-stdio", "args": [str(HERE / "child.py")], **child},
        "lines": {"dialect": "jsonrpc-stdio", "args": [str(HERE / "child.py"), "--plain"], **child},
    }
    for upstream in made.values():
        upstream.setdefault("timeout", "1s")
        upstream.setdefault("pool", {"idle_timeout": "1s", "max": 8})
        upstream["queue"] = {"items": 300}
    return made


def tools():
    post = {"method": "POST", "path": "/users", "body": "{arguments}"}
    user = {"method": "GET", "path": "/users/{k}"}
    return {
        "echo": {"upstream": "rpc", **READ}, "shared": {"upstream": "rpc", "method": "echo", **kept("shared")},
        "tenant": {"upstream": "rpc", "method": "echo", **kept("tenant")},
        "caller": {"upstream": "rpc", "method": "echo", **kept("caller")},
        "big": {"upstream": "rpc", **kept("shared", "2s")}, "write": {"upstream": "rpc"},
        "fixed_echo": {"upstream": "fixed", "method": "echo", **READ}, "fixed_write": {"upstream": "fixed", "method": "write"},
        "paced_echo": {"upstream": "paced", "method": "echo", **READ},
        "item": {"upstream": "rest", **kept("tenant"), "request": {"method": "GET", "path": "/items/{k}"}},
        "send": {"upstream": "rest", "request": {"method": "POST", "path": "/send", "body": "{arguments}"}},
        "keys": {"upstream": "keys", **kept("shared"), "request": {"path": "/keys", "method": "GET", "key_list": {
            "parameter": "ids", "argument": "k", "list": "items", "key": "id"}}},
        "graph": {"upstream": "graph", **kept("caller"), "request": user}, "graph_post": {"upstream": "graph", "request": post},
        "odata": {"upstream": "odata", **READ, "request": user}, "odata_post": {"upstream": "odata", "request": post},
        "bulk": {"upstream": "bulk"},
        "embed": {"upstream": "embed", **kept("shared"), "models": ["m"]},
        "alias": {"upstream": "alias", "operation": QUERY, **READ}, "alias_put": {"upstream": "alias", "operation": MUTATION},
        "array": {"upstream": "array", "operation": QUERY, **READ}, "array_put": {"upstream": "array", "operation": MUTATION},
        "lines_echo": {"upstream": "lines", "method": "echo", **READ}, "lines_write": {"upstream": "lines", "method": "write"},
    }


NAMES = [*tools(), "mcp__echo", "mcp__write", "stdio__echo", "stdio__write"]
WRITES = {"write", "fixed_write", "send", "graph_post", "odata_post", "bulk", "alias_put", "array_put", "lines_write",
          "mcp__write", "stdio__write"}
PLAIN = {"item", "send"}
TENANT, CALLER = {"tenant", "item"}, {"caller", "graph", "echo", "mcp__echo"}


def arguments(tool, token):
    if tool == "bulk":
        return {"index": "i", "document": {"k": token}}
    if tool == "embed":
        return {"model": "m", "input": token}
    return {"id": token} if tool.startswith(("alias", "array")) else {"k": token}


class Soak:
    def __init__(self, seed):
        self.seed = seed
        self.round = 0
        self.starvation = None
        self.pulse = stall.Pulse()
        self.samples = Samples(options.samples)
        self.arguments = arguments
        self.numbers = itertools.count(1000)
        self.outcomes = collections.defaultdict(collections.Counter)
        self.seen = {}              # stamp -> whose answer it is
        self.owed = {}              # token of a write -> the word of its answer
        self.gateway = self.provider = None
        self.end = 0
        self.calls = 0

    # ---- judging ----

    def judge(self, who, tool, token, word, text, headers=None):
        """One call's end: `word` ok or the problem's code, `text` all that was said."""
        self.calls += 1
        self.outcomes[tool][word] += 1
        tokens = set(TOKEN.findall(text))
        if tokens - {token}:
            raise Wrong(f"{tool} {token} got what belongs to {tokens - {token}}: {text[:600]} {headers or ''}\n" +
                        self.history(text))
        if tool in WRITES:
            self.owed[token] = word
        if word == "internal":
            raise Wrong(f"{tool} {token}: {text[:600]}")
        if word != "ok":
            return
        if tool == "embed":
            if f"[{number_of(token)},0.5]" not in text.replace(" ", ""):
                raise Wrong(f"embed {token} got {text[:600]}")
        elif not tokens and tool in PLAIN and '"stamp"' not in text:
            return      # garbage of a provider that may say what it likes
        elif not tokens:
            raise Wrong(f"{tool} {token} got an answer without its token: {text[:600]}")
        if tool in TENANT | CALLER:
            self.judge_identity(who, tool, text)

    def history(self, text):
        """What the provider knows of the answers that are in here."""
        stamps = re.findall(r"S\d+S", text)
        return "\n".join(str(entry)[:3000] for entry in self.provider.history
                         if any(stamp.encode() in entry[3] for stamp in stamps))

    def judge_identity(self, who, tool, text):
        stamp = text.replace("\\", "").replace(" ", "").partition('"stamp":"')[2].partition('"')[0]
        owner = (tool, who[0]) if tool in TENANT else (tool, *who)
        if self.seen.setdefault(stamp, owner) != owner:
            raise Wrong(f"{stamp}, made for {self.seen[stamp]}, was given to {owner}")

    def judge_http(self, who, tool, token, status, headers, body):
        text = body.decode()
        if status == 200:
            return self.judge(who, tool, token, "ok", text, headers)
        if headers.get("content-type") != "application/problem+json":
            raise Wrong(f"{tool} {token}: {status} {headers} {text[:600]}")
        return self.judge(who, tool, token, json.loads(text)["code"], text)

    # ---- agents ----

    def pick(self, dice, tool=None):
        """A tool and a token: now and then one that others ask for as well."""
        tool = tool or dice.choice(NAMES)
        if tool in WRITES:
            return tool, f"W{next(self.numbers)}W"
        return tool, f"T{dice.randrange(30) if dice.random() < 0.5 else next(self.numbers)}T"

    async def rest(self, client, dice, who, headers):
        slowly = dice.random() < 0.03
        tool, token = self.pick(dice, "big" if slowly else None)
        await client.send(f"/v1/tools/{tool}", json.dumps(arguments(tool, token)).encode(), headers)
        if dice.random() < 0.06:
            await asyncio.sleep(dice.choice([0, 0.001, 0.01, 0.1]))
            raise Gone
        self.judge_http(who, tool, token, *await client.receive(slowly))

    async def batch(self, client, dice, who, headers):
        picked = [self.pick(dice) for _ in range(dice.randrange(1, 12))]
        lines = await self.send_batch(client, picked, dice, headers)
        if dice.random() < 0.05:
            await asyncio.sleep(dice.uniform(0, 0.02))
            raise Gone
        self.judge_batch(who, picked, lines, *await client.receive())

    async def send_batch(self, client, picked, dice, headers):
        """Whether lines were asked for."""
        calls = [{"id": n, "tool": tool, "arguments": arguments(tool, token)} for n, (tool, token) in enumerate(picked)]
        lines = dice.random() < 0.5
        accept = {"Accept": "application/x-ndjson"} if lines else {}
        await client.send("/v1/batch", json.dumps({"calls": calls}).encode(), {**headers, **accept})
        return lines

    def judge_batch(self, who, picked, lines, status, head, body):
        if status != 200:
            if status == 503:
                return
            raise Wrong(f"a batch: {status} {head} {body[:600]}")
        results = [json.loads(line) for line in body.splitlines()] if lines else json.loads(body)["results"]
        if sorted(result["id"] for result in results) != list(range(len(picked))):
            raise Wrong(f"of {picked}: {body[:900]}")
        for result in results:
            tool, token = picked[result["id"]]
            word = result["error"]["code"] if "error" in result else "ok"
            self.judge(who, tool, token, word, json.dumps(result))

    async def mcp(self, client, dice, who, headers):
        tool, token = self.pick(dice)
        request_id = next(self.numbers)
        message = {"jsonrpc": "2.0", "id": request_id, "method": "tools/call",
                   "params": {"name": tool, "arguments": arguments(tool, token)}}
        mirrored = {"Accept": "application/json, text/event-stream"}
        if dice.random() < 0.5:
            message["params"]["_meta"] = META
            mirrored.update({"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": tool})
        await client.send("/mcp", json.dumps(message).encode(), {**headers, **mirrored})
        if dice.random() < 0.05:
            raise Gone
        status, head, body = await client.receive()
        text = body.decode()
        if "event-stream" in head.get("content-type", ""):
            text = [line for line in text.splitlines() if line.startswith("data: ")][-1].removeprefix("data: ")
        answer = json.loads(text)
        if answer.get("id") != request_id:
            raise Wrong(f"id {request_id}: {status} {text[:600]}")
        self.judge_mcp(who, tool, token, answer, text)

    def judge_mcp(self, who, tool, token, answer, text):
        failed = "error" in answer or answer["result"].get("isError")
        self.judge(who, tool, token, self.mcp_word(text) if failed else "ok", text)

    @staticmethod
    def mcp_word(text):
        return "internal" if '"code":-32603' in text.replace(" ", "") else "mcp error"

    def goes_on(self, rest_seconds=0):
        """Whether the round lasts, but for so many seconds at its end."""
        return time.monotonic() < self.end - rest_seconds

    async def sleep(self, seconds):
        """But not beyond the round's end."""
        await asyncio.sleep(min(seconds, max(self.end - time.monotonic(), 0)))

    async def ask_once(self, client, dice, who, headers, ask, seconds=ANSWER_SECONDS):
        """What an agent does, and how it may end: within so many seconds."""
        try:
            await self.pulse.within(seconds, ask(client, dice, who, headers))
        except Gone:
            client.close(dice.random() < 0.5)
        except (asyncio.IncompleteReadError, ConnectionError) as ended:
            if not self.starvation.excuses(client):
                age = time.monotonic() - client.opened
                raise Wrong(f"the gateway closed a connection that had been asked, {age:.1f} s old, "
                            f"{'its first request' if client.fresh else 'a kept one'}: {ended!r}") from ended
            client.close()
        except asyncio.TimeoutError:
            what = getattr(ask, "func", ask).__name__
            raise Wrong(f"no answer within {seconds} s ({what})\n  " + await stall.told(self, client, seconds)) from None

    async def agent(self, number):
        dice = random.Random(f"{self.seed}/{self.round}/{number}")
        client = Client(self.gateway.address())
        while self.goes_on():
            tenant = f"tenant{dice.randrange(3)}"
            who = (tenant, f"Bearer {dice.randrange(2)}")
            headers = {"X-Tenant": tenant, "Authorization": who[1]}
            if dice.random() < 0.1:
                headers["X-Request-Timeout-Ms"] = str(dice.choice([1, 5, 50, 500]))
            if dice.random() < 0.1:
                headers["Cache-Control"] = dice.choice(["no-cache", "no-store", "max-age=1", "only-if-cached"])
            if dice.random() < 0.2:
                headers["Priority"] = f"u={dice.randrange(8)}"
            ask = dice.choices([self.rest, self.batch, self.mcp], [6, 2, 2])[0]
            await self.ask_once(client, dice, who, headers, ask)
            if dice.random() < 0.02:
                client.close()
            if options.rate:
                await self.sleep(dice.expovariate(options.rate / options.agents))
        client.close()

    async def disturb_redis(self, redis):
        dice = random.Random(f"{self.seed}/{self.round}/redis")
        while self.goes_on(1):
            await asyncio.sleep(dice.uniform(0.2, 1.5))
            if dice.random() < 0.5:
                redis.freeze()
                await asyncio.sleep(dice.uniform(0.05, 0.6))
                redis.thaw()
            else:
                redis.kill()
                await asyncio.sleep(dice.uniform(0, 0.5))
                await asyncio.to_thread(redis.start)

    # ---- the whole ----

    async def watch_memory(self, seen):
        while self.goes_on():
            await asyncio.sleep(0.5)
            seen.append(self.gateway.resident_bytes())

    async def run_for(self, seconds, redis):
        """One round. Returns what the gateway held meanwhile, on average."""
        self.round += 1
        self.end = time.monotonic() + seconds
        seen = [self.gateway.resident_bytes()]
        todo = [*(self.agent(n) for n in range(options.agents)), *chaos.tasks(self), self.watch_memory(seen)]
        if redis:
            todo.append(self.disturb_redis(redis))
        tasks = [asyncio.create_task(each) for each in todo]
        done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for task in done:
            task.result()
        return sum(seen) / len(seen)

    async def run_rounds(self, redis):
        """Halves of a short run, half minutes of a long one. Returns how much more was held after the second half than after the first,
        and the descriptors after the first."""
        rounds = 2 * max(1, round(options.seconds / (2 * ROUND_SECONDS)))
        began = time.monotonic()
        for number in range(rounds):
            busy = await self.run_for(options.seconds / rounds, redis)
            await self.settle()
            await asyncio.sleep(QUIET_SECONDS)     # what a burst took goes back to the system meanwhile
            resident, fds = self.gateway.resident_bytes(), self.gateway.fds()
            self.samples.add(time.monotonic() - began, resident, fds, self.gateway.threads(), self.calls, busy)
            if number == rounds // 2 - 1:
                half, half_fds = resident, fds
        return resident - half, half_fds

    async def settle(self):
        """Wait until nothing is under way; what is held then."""
        limit = time.monotonic() + 30
        while True:
            metrics = await asyncio.to_thread(self.gateway.metrics)
            busy = {name: metrics.sum(name) for name in GAUGES if metrics.sum(name)}
            busy.update({"connections": metrics.sum("connections")} if metrics.sum("connections") > 1 else {})
            exchanges = metrics.sum("upstream_connections", state="busy")
            busy.update({"exchanges": exchanges} if exchanges > 1 else {})     # one is the stream of list changes
            if not busy:
                return
            if time.monotonic() > limit:
                raise Wrong(f"30 s after the last call: {busy}")
            await asyncio.sleep(0.1)

    async def fewer_descriptors(self, baseline):
        limit = time.monotonic() + 20
        while self.gateway.fds() > baseline + 24:   # kept connections and a process more or less
            if time.monotonic() > limit:
                raise Wrong(f"{self.gateway.fds()} descriptors, {baseline} before")
            await asyncio.sleep(0.2)

    async def every_tool_works(self):
        """With a provider that behaves, after a while every tool does what it should."""
        dice = random.Random(self.seed)
        client = Client(self.gateway.address())
        headers = {"X-Tenant": "tenant0", "Authorization": "Bearer 0", "Cache-Control": "no-cache"}
        limit = time.monotonic() + 30
        for tool in NAMES:
            while True:
                token = self.pick(dice, tool)[1]
                await client.send(f"/v1/tools/{tool}", json.dumps(arguments(tool, token)).encode(), headers)
                status, head, body = await client.receive()
                self.judge_http(("tenant0", "Bearer 0"), tool, token, status, head, body)
                if status == 200:
                    break
                if time.monotonic() > limit:
                    raise Wrong(f"{tool} does not recover: {status} {body[:600]}")
                await asyncio.sleep(0.1)
        client.close()

    def judge_writes(self, directory):
        record = directory / "record"
        arrivals = self.provider.writes
        for line in record.read_text().splitlines() if record.exists() else []:
            token, process = line.split()
            arrivals[token].append([process, "stdio", 1, "answered or not"])
        counts = collections.Counter({token: sum(arrival[3] not in REFUSALS for arrival in came)
                                      for token, came in arrivals.items()})
        twice = [token for token, count in counts.items() if count > 1]
        refused = sum(len(came) > 1 for came in arrivals.values()) - len(twice)
        print(f"  writes:        {len(arrivals)}, {refused} of them again after {' or '.join(sorted(REFUSALS))}")
        if twice:
            stories = [f"  {token}, told {self.owed.get(token)}: {arrivals[token]}" for token in twice[:20]]
            raise Wrong(f"{len(twice)} writes that arrived more than once (connection, path, calls in it, what came of it):\n" +
                        "\n".join(stories))
        for token, word in self.owed.items():
            if word == "ok" and not counts[token]:
                raise Wrong(f"{token} was answered well and never arrived")
            if word in UNSENT and counts[token]:
                raise Wrong(f"{token} was answered {word} and arrived: {arrivals[token]}")

    def judge_log(self):
        log = self.gateway.log()
        found = [line for line in log.splitlines()
                 if any(word in line for word in REPORTS) or "outcome=internal" in line or
                 ("level=error" in line and "event=alert_firing" not in line)]     # that providers fail is what it is for
        if found:
            raise Wrong("in the log: " + "\n".join(found[:10]))

    async def run(self, directory):
        self.provider = Provider(self.seed, MISCHIEF)
        port = await self.provider.start()
        redis = None
        cache = {"memory": {"size": "4MiB"}}
        if options.disk:
            cache["disk"] = {"path": str(directory / "disk"), "size": "64MiB"}
        else:
            redis = await asyncio.to_thread(Redis(directory / "redis").start)
            cache["redis"] = {"url": redis.url}
        self.gateway = Gateway(directory, {
            "listen": "127.0.0.1:0", "admin": {"listen": "127.0.0.1:0"}, "workers": 2, "log": {"access": False},
            # these clients may be kept from the processor for long between connecting and asking
            "limits": {"header_timeout": "60s"}, "trusted_proxies": ["127.0.0.1"], "identity": {"tenant_header": "X-Tenant"}, "cache": cache,
            "upstreams": upstreams(port, directory, self.seed), "tools": tools()})
        beat = asyncio.create_task(self.pulse.beat())
        try:
            await asyncio.to_thread(self.gateway.start)
            await self.every_tool_works()
            self.starvation = chaos.Starvation(self.gateway.process.pid)
            grown, fds = await self.run_rounds(redis)
            self.provider.mischief = 0
            (directory / "calm").touch()
            await self.every_tool_works()
            await self.settle()
            await self.fewer_descriptors(fds)
            self.judge_writes(directory)
            if self.samples.complaint():
                raise Wrong(self.samples.complaint())
            if grown > GROWTH_BYTES:
                raise Wrong(f"{grown >> 20} MiB more memory after the second half")
            await asyncio.to_thread(self.gateway.finish)
            self.judge_log()
            return grown, fds
        finally:
            beat.cancel()
            self.gateway.kill()
            if redis:
                redis.kill()
            await self.provider.finish()


def main():
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 30)
    print(f"soak: {options.jitney}, {options.seconds:.0f} s, seed {seed}{', disk' if options.disk else ''}", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="jitney-soak-"))
    soak = Soak(seed)
    try:
        grown, fds = asyncio.run(soak.run(directory))
    except (Wrong, AssertionError) as wrong:
        print(f"FAILED (seed {seed}, log in {directory}): {wrong}")
        return 1
    finally:
        for tool, outcomes in sorted(soak.outcomes.items()):
            print(f"  {tool:14}", ", ".join(f"{word} {count}" for word, count in outcomes.most_common()))
        mcp = soak.provider.mcp
        print(f"  chaos:          {mcp.changes} changes of a list, {mcp.lost} sessions lost, {soak.starvation.times} times no descriptor")
        soak.samples.plot()
        print("  provider:     ", ", ".join(f"{what} {count}" for what, count in sorted(soak.provider.did.items())))
    print(f"soak: {soak.calls} calls, each with its own answer; {grown / 1048576:+.1f} MiB in the second half, {fds} descriptors")
    if not options.keep:
        shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
