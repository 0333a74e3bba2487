# SPDX-License-Identifier: Apache-2.0
"""Writes over connections that die, one request in a hundred, at every place where one can: each is carried out once at most.

JITNEY_WRITES=100000 pytest tests/integration/test_at_most_once.py is the long form, of some minutes.
"""
import asyncio
import collections
import itertools
import json
import os
import random
import threading

import pytest

from harness.gateway import PATIENT, UNSENT
from harness.wire import request_bytes

WRITES = int(os.environ.get("JITNEY_WRITES", 3000))
AGENTS = 40
SECONDS = 60 + WRITES / 40     # a wait, no claim: so long on a machine that does something else
ENDS = ("before all of it", "read", "read, reset", "half a head", "half an answer", "answered", "answered, reset", "stray")


class MortalConnections:
    """JSON-RPC, single and in arrays. One request in `every` is its connection's last, or all but; as many are refused unread."""

    def __init__(self, seed, every):
        self.dice, self.every = random.Random(seed), every
        self.next_ends = itertools.cycle(ENDS)
        self.done = collections.Counter()       # token -> how often it was carried out
        self.ends = collections.Counter()
        self.connections, self.largest = 0, 0
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.server = self.run(self.listen())
        self.port = self.server.sockets[0].getsockname()[1]

    def run(self, what):
        return asyncio.run_coroutine_threadsafe(what, self.loop).result(SECONDS)

    async def listen(self):
        return await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=1024)

    async def close(self):
        self.server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def finish(self):
        self.run(self.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def serve(self, reader, writer):
        self.connections += 1
        try:
            while await self.exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def carry_out(self, body):
        calls = json.loads(body)
        many = calls if isinstance(calls, list) else [calls]
        self.largest = max(self.largest, len(many))
        self.done.update(call["params"]["k"] for call in many)
        results = [{"jsonrpc": "2.0", "id": call["id"], "result": call["params"]} for call in many]
        return json.dumps(results if isinstance(calls, list) else results[0]).encode()

    async def exchange(self, reader, writer):
        """False: the connection has come to its end."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        end = next(self.next_ends) if self.dice.random() < 1 / self.every else None
        self.ends[end] += 1
        if end == "before all of it":
            await reader.readexactly(length // 2)
            return False
        body = await reader.readexactly(length)
        if not end and self.dice.random() < 1 / self.every:
            self.ends["refused"] += 1
            writer.write(b"HTTP/1.1 %d No\r\nContent-Length: 2\r\n\r\nno" % self.dice.choice([413, 429]))
            return True
        answer = self.carry_out(body)
        if end == "read, reset":
            writer.transport.abort()
        if end in ("read", "read, reset"):
            return False
        whole = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer
        cut = {"half a head": 24, "half an answer": len(whole) - len(answer) // 2 - 1}.get(end, len(whole))
        writer.write(whole[:cut] + (whole if end == "stray" else b""))
        await writer.drain()
        if end == "answered, reset":
            writer.transport.abort()
        return end in (None, "stray")


async def call(address, numbers, told):
    reader, writer = await asyncio.open_connection(*address)
    for number in numbers:
        token = f"W{number}"
        body = json.dumps({"k": token}).encode()
        writer.write(request_bytes("POST", "/v1/tools/write", body, {"Authorization": f"Bearer {number % 3}"}))
        head = await reader.readuntil(b"\r\n\r\n")
        reply = json.loads(await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])))
        told[token] = "ok" if head.startswith(b"HTTP/1.1 200") else reply["code"]
        assert told[token] != "ok" or reply == {"k": token}, (token, reply)
    writer.close()


async def call_all(address, told):
    numbers = iter(range(WRITES))
    await asyncio.wait_for(asyncio.gather(*(call(address, numbers, told) for _ in range(AGENTS))), SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [{"mode": "off"}, {"mode": "fixed", "items": 8, "window": "2ms"}], ids=["single", "arrays"])
def test_writes_over_dying_connections_are_carried_out_once_at_most(start, batch):
    seed = random.SystemRandom().randrange(1 << 30)
    provider, told = MortalConnections(seed, 100 if batch["mode"] == "off" else 25), {}
    try:
        gateway = start({"log": {"access": False}, "upstreams": {"array": {
            "endpoints": [{"url": f"http://127.0.0.1:{provider.port}/"}], "batch": batch, **PATIENT}}})
        asyncio.run(call_all(gateway.address(), told))
        words = collections.Counter(told.values())
        print(f"seed {seed}: {len(told)} writes, {dict(words)}; connections {provider.connections}, {dict(provider.ends)}")
        assert len(told) == WRITES
        twice = {token: count for token, count in provider.done.items() if count > 1}
        assert not twice, (seed, twice)
        wrong = {token: word for token, word in told.items()
                 if (word == "ok" and not provider.done[token]) or (word in UNSENT and provider.done[token])}
        assert not wrong, (seed, wrong)
        assert all(provider.ends[end] for end in ENDS) and provider.ends["refused"], provider.ends
        assert words["ok"] > WRITES * 0.8 and words["outcome_unknown"], words
        assert (provider.largest > 1) == (batch["mode"] == "fixed")
    finally:
        provider.finish()
