# SPDX-License-Identifier: Apache-2.0
"""What aims at the gateway's weak places beside the agents of soak.py, each for as long as a round lasts: lists of tools that
change, sessions that are lost, descriptors that are taken away, readers that do not read, batches and arrays without measure."""
import asyncio
import functools
import json
import random
import resource
import time

from client import Client, Gone, Wrong

SLOW_READERS = 6
GIANT_CALLS = 2000
ARRAY_CALLS = 60
BIGS = 12               # large answers of a slow reader's one reply
PATIENCE_SECONDS = 60   # a giant's calls begin as it is read, a few at a time, and many of them time out
STARVED_SECONDS = 1.0   # so long after the descriptors are back a connection may still turn out to have been turned away


class Starvation:
    """Now the gateway has no descriptor, now it has enough."""

    def __init__(self, pid):
        self.pid = pid
        self.until = 0          # when what it did is over
        self.times = 0

    def excuses(self, client):
        """Whether this connection may have been turned away without a word: it is new, and there was no descriptor for it when
        it was made, or when the gateway got to it."""
        return client.fresh and client.opened < self.until

    async def run(self, soak, dice):
        before = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        try:
            while soak.goes_on(1):
                await asyncio.sleep(dice.uniform(0.5, 4))
                self.until = float("inf")
                self.times += 1
                resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (soak.gateway.fds(), before[1]))
                await asyncio.sleep(dice.uniform(0.02, 0.4))
                resource.prlimit(self.pid, resource.RLIMIT_NOFILE, before)
                self.until = time.monotonic() + STARVED_SECONDS
        finally:
            resource.prlimit(self.pid, resource.RLIMIT_NOFILE, before)
            self.until = time.monotonic() + STARVED_SECONDS


async def change_lists(soak, dice):
    while soak.goes_on():
        await asyncio.sleep(dice.choice([0.01, 0.05, 0.3, 1]))
        await soak.provider.mcp.change_list()


async def lose_sessions(soak, dice):
    while soak.goes_on():
        await asyncio.sleep(dice.uniform(0.2, 2))
        soak.provider.mcp.lose_session()


async def read_slowly(soak, client, dice, who, headers):
    """Asks for much, and takes it late, in small pieces, or never."""
    picked = [soak.pick(dice, "big") for _ in range(BIGS)]
    lines = await soak.send_batch(client, picked, dice, headers)
    await asyncio.sleep(dice.uniform(0.1, 2))
    if dice.random() < 0.5:
        raise Gone
    soak.judge_batch(who, picked, lines, *await client.receive(slowly=True))


async def ask_for_giants(soak, client, dice, who, headers):
    """More than any queue holds: what finds no room is refused and never sent, all else is answered."""
    picked = [soak.pick(dice) for _ in range(dice.randrange(GIANT_CALLS // 4, GIANT_CALLS))]
    lines = await soak.send_batch(client, picked, dice, headers)
    if dice.random() < 0.2:
        await asyncio.sleep(dice.uniform(0, 0.2))
        raise Gone
    soak.judge_batch(who, picked, lines, *await client.receive())


async def ask_for_array(soak, client, dice, who, headers):
    """Calls and lists in one JSON-RPC array; some of the tools are there at times only."""
    picked = [soak.pick(dice) for _ in range(ARRAY_CALLS)]
    messages = [{"jsonrpc": "2.0", "id": n, "method": "tools/call", "params": {"name": tool, "arguments": soak.arguments(tool, token)}}
                for n, (tool, token) in enumerate(picked)]
    extra = [{"jsonrpc": "2.0", "id": f"list{n}", "method": "tools/list"} for n in range(5)]
    extra += [{"jsonrpc": "2.0", "id": f"extra{n}", "method": "tools/call", "params": {"name": name, "arguments": {"k": "T1T"}}}
              for n, name in enumerate(("mcp__extra", "stdio__extra"))]
    await client.send("/mcp", json.dumps(messages + extra).encode(), {**headers, "Accept": "application/json"})
    if dice.random() < 0.1:
        raise Gone
    status, head, body = await client.receive()
    if status == 503:
        return
    answers = json.loads(body)
    if status != 200 or len(answers) != len(messages) + len(extra):
        raise Wrong(f"an array: {status} {head} {body[:600]}")
    for answer in answers:
        if isinstance(answer["id"], int):
            tool, token = picked[answer["id"]]
            soak.judge_mcp(who, tool, token, answer, json.dumps(answer))


async def be_client(soak, dice, ask, limit, rest_seconds):
    """One that does nothing else, again and again, with so much rest on average that others get through."""
    client = Client(soak.gateway.address(), limit)
    headers = {"X-Tenant": "tenant0", "Authorization": "Bearer 0"}
    while soak.goes_on():
        await soak.ask_once(client, dice, ("tenant0", "Bearer 0"), headers, functools.partial(ask, soak), PATIENCE_SECONDS)
        await soak.sleep(dice.expovariate(1 / rest_seconds))
    client.close()


def tasks(soak):
    def dice(name):
        return random.Random(f"{soak.seed}/{soak.round}/{name}")

    yield soak.starvation.run(soak, dice("descriptors"))
    yield change_lists(soak, dice("lists"))
    yield lose_sessions(soak, dice("sessions"))
    for n in range(SLOW_READERS):
        yield be_client(soak, dice(f"slow {n}"), read_slowly, 1 << 16, 1)
    yield be_client(soak, dice("giant"), ask_for_giants, 1 << 22, 4)
    yield be_client(soak, dice("array"), ask_for_array, 1 << 22, 1)
