# SPDX-License-Identifier: Apache-2.0
"""A provider that speaks every dialect and misbehaves by dice. Writes that reach it are counted before all else."""
import asyncio
import collections
import itertools
import json
import random
import re
from urllib.parse import parse_qs, unquote, urlsplit

from mcp_server import McpServer

TOKEN = re.compile(r"T\d+T|W\d+W")   # of a call that may be repeated, of one that may not
WRITE = re.compile(r"W\d+W")
GRAPH_MAX = 20
BIG = 300_000
STATUS = {200: "OK", 202: "Accepted", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
          413: "Content Too Large", 429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable"}

REFUSALS = {"413", "429"}      # a status that says itself that nothing was carried out


class Hangup(Exception):
    """The connection ends here."""


def number_of(token):
    return int(token.strip("TW"))


def rpc_error(request_id, text):
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": -32000, "message": f"no {text}"}}


class Provider:
    def __init__(self, seed, mischief):
        self.dice = random.Random(seed)
        self.mischief = mischief      # share of requests that go wrong
        self.writes = collections.defaultdict(list)     # token -> its arrivals: [on which connection, path, with how many, what came of it]
        self.did = collections.Counter()
        self.stamps = itertools.count(1)
        self.history = collections.deque(maxlen=3000)     # what was asked, what was answered: for those who look for a culprit
        self.writers = set()
        self.server = None
        self.mcp = McpServer(self.dice, self.result)
        self.paths = {"/rpc": self.rpc, "/api": self.api, "/keys": self.keys, "/graph": self.graph, "/odata": self.graph,
                      "/es": self.bulk, "/v1": self.embeddings, "/gql": self.alias, "/gqla": self.array,
                      "/mcp": self.mcp.answer}

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=1024)
        return self.server.sockets[0].getsockname()[1]

    async def finish(self):
        self.server.close()
        for writer in list(self.writers):
            writer.close()
        await self.server.wait_closed()

    # ---- what calls get ----

    def stamp(self):
        return f"S{next(self.stamps)}S"

    def result(self, tool, arguments):
        """What every call's answer holds."""
        made = {"args": arguments, "stamp": self.stamp()}
        if tool == "big":
            made["fill"] = "x" * BIG
        return made

    def item_fails(self):
        return self.dice.random() < self.mischief / 4

    def shuffled(self, items):
        """In another order, at times with one missing or twice."""
        items = list(items)
        self.dice.shuffle(items)
        roll = self.dice.random()
        if len(items) > 1 and roll < self.mischief / 4:
            self.did["item missing" if roll < self.mischief / 8 else "item twice"] += 1
            if roll < self.mischief / 8:
                items.pop()
            else:
                items.append(items[0])
        return items

    # ---- dialects: path, body -> status, answer (bytes or a document) ----

    def rpc_one(self, call):
        made = self.result(call["method"], call["params"])
        if self.item_fails():
            return rpc_error(call["id"], call["params"]["k"])
        return {"jsonrpc": "2.0", "id": call["id"], "result": made}

    def rpc(self, path, body):
        calls = json.loads(body)
        if isinstance(calls, dict):
            return 200, self.rpc_one(calls)
        return 200, self.shuffled([self.rpc_one(call) for call in calls])

    def api(self, path, body):
        place = urlsplit(path)
        arguments = json.loads(body) if body else {"k": unquote(place.path.rpartition("/")[2]),
                                                   **{name: values[0] for name, values in parse_qs(place.query).items()}}
        return 200, self.result("write" if body else "item", arguments)

    def keys(self, path, body):
        keys = unquote(urlsplit(path).query.removeprefix("ids=")).split(",")
        return 200, {"items": self.shuffled([{"id": key, **self.result("keys", {"k": key})} for key in keys])}

    def graph_one(self, request):
        token = TOKEN.search(request["url"] + json.dumps(request.get("body"))).group()
        made = self.result("write" if request["method"] == "POST" else "user", {"k": token})
        if self.item_fails():
            return {"id": request["id"], "status": 404, "body": {"error": {"code": "NotFound", "message": token}}}
        return {"id": request["id"], "status": 200, "headers": {"Content-Type": "application/json"}, "body": made}

    def graph(self, path, body):
        requests = json.loads(body)["requests"]
        if path.startswith("/graph") and len(requests) > GRAPH_MAX:
            return 400, {"error": {"message": "more than 20"}}
        return 200, {"responses": self.shuffled([self.graph_one(request) for request in requests])}

    def bulk(self, path, body):
        lines, items, failed = body.decode().splitlines(), [], False
        for action, document in zip(lines[0::2], lines[1::2]):
            document = json.loads(document)
            made = self.result("write", document)
            name = json.loads(action)["index"]["_index"]
            if self.item_fails():
                failed = True
                items.append({"index": {"_index": name, "status": 400, "error": {"reason": document["k"]}}})
            else:
                items.append({"index": {"_index": name, "_id": made["stamp"], "status": 201, "result": document["k"]}})
        return 200, {"took": 1, "errors": failed, "items": items}

    def embeddings(self, path, body):
        asked = json.loads(body)
        inputs = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
        data = [{"object": "embedding", "index": index, "embedding": [number_of(text), 0.5]}
                for index, text in enumerate(inputs)]
        return 200, {"object": "list", "data": data[::-1], "model": asked["model"],
                     "usage": {"prompt_tokens": len(inputs), "total_tokens": len(inputs)}}

    def gql_one(self, request):
        variables = request["variables"]
        field = "put" if "mutation" in request["query"] else "user"
        tool = "write" if field == "put" else "user"
        data, errors = {}, []
        for name, value in variables.items():
            place = field if name == "id" else name.removesuffix("id") + field
            made = self.result(tool, {"k": value})
            if self.item_fails():
                data[place] = None
                errors.append({"message": f"no {value}", "path": [place]})
            else:
                data[place] = {"own": value, "stamp": made["stamp"]}
        return {"data": data, **({"errors": errors} if errors else {})}

    def alias(self, path, body):
        return 200, self.gql_one(json.loads(body))

    def array(self, path, body):
        asked = json.loads(body)
        return 200, [self.gql_one(each) for each in asked] if isinstance(asked, list) else self.gql_one(asked)

    # ---- HTTP, and what goes wrong ----

    async def serve(self, reader, writer):
        self.writers.add(writer)
        try:
            while True:
                await self.exchange(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, Hangup):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    async def exchange(self, reader, writer):
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        verb, path, _ = lines[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if verb == "GET" and path.startswith("/mcp"):
            await self.mcp.listen(reader, writer)
            raise Hangup
        if verb == "DELETE":
            return await self.say(writer, 200, b"")
        tokens = WRITE.findall(path + body.decode())
        arrival = [f"{writer.get_extra_info('peername')[1]}", path, len(tokens), "answered"]
        for token in tokens:
            self.writes[token].append(arrival)
        if path.startswith("/mcp") and not self.mcp.knows(headers):
            arrival[3] = "404 session"
            return await self.say(writer, 404, b"")
        wrong = self.dice.random() < self.mischief
        if wrong and self.dice.random() < 0.5:
            return await self.refuse(writer, arrival)        # nothing was done
        status, answer = self.paths["/" + path.split("/")[1].split("?")[0]](path, body)
        answer = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.history.append((id(writer), path, body, answer))
        if wrong:
            return await self.spoil(writer, status, answer, arrival)
        if self.dice.random() < 0.1:
            await asyncio.sleep(self.dice.uniform(0, 0.1))
        return await self.say(writer, status, answer)

    async def say(self, writer, status, body, *headers, claim=None):
        head = [f"HTTP/1.1 {status} {STATUS[status]}", f"Content-Length: {len(body) if claim is None else claim}",
                f"Mcp-Session-Id: {self.mcp.session}", *headers]
        if body:
            head.append("Content-Type: application/json")
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        await writer.drain()

    async def refuse(self, writer, arrival):
        """As a whole, with nothing done. Where the status itself says so, a write may come again: docs/batching.md."""
        what = self.dice.choice(["400", "413", "429", "500", "503", "503 later", "hang up", "reset"])
        self.did[what] += 1
        arrival[3] = what
        if what == "hang up":
            raise Hangup
        if what == "reset":
            writer.transport.abort()
            raise Hangup
        later = ["Retry-After: 1"] if what in ("429", "503 later") else []
        await self.say(writer, int(what.split(" ")[0]), b'{"error":{"message":"not this"}}', *later)

    async def spoil(self, writer, status, body, arrival):
        """It was done, but the answer suffers."""
        what = self.dice.choice(["slow", "hang", "garbage", "half", "trickle", "lost", "close", "extra"])
        self.did[what] += 1
        arrival[3] = what
        if what == "slow":
            await asyncio.sleep(self.dice.uniform(0.05, 0.5))
        elif what == "hang":
            await asyncio.sleep(2)
        elif what == "garbage":
            body = self.dice.choice([b"<html>oops</html>", b"{", b"[]", b"{}", b"null", b"\xff\xfe", b"", body[:-1]])
        elif what == "half":
            await self.say(writer, status, body[:len(body) // 2], claim=len(body))
            raise Hangup
        elif what == "lost":
            raise Hangup
        elif what == "trickle":
            return await self.trickle(writer, status, body)
        elif what == "close":
            await self.say(writer, status, body, "Connection: close")
            raise Hangup
        elif what == "extra":
            body += b" garbage after the end"
        return await self.say(writer, status, body)

    async def trickle(self, writer, status, body):
        await self.say(writer, status, body[:1], claim=len(body))
        cuts = sorted(self.dice.randrange(1, len(body) + 1) for _ in range(6)) if body else []
        at = 1
        for cut in [*cuts, len(body)]:
            await asyncio.sleep(0.005)
            writer.write(body[at:cut] if cut > at else b"")
            at = max(at, cut)
        await writer.drain()
