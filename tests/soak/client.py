# SPDX-License-Identifier: Apache-2.0
"""An agent's connection to the gateway, and what can come of asking."""
import asyncio
import time


class Wrong(Exception):
    """A broken promise."""


class Gone(Exception):
    """The connection ended."""


class Client:
    """One connection of an agent's, made anew whenever it has ended. limit: bytes it takes beyond what is being read."""

    def __init__(self, address, limit=1 << 22):
        self.address, self.limit = address, limit
        self.reader = self.writer = None
        self.fresh = True       # nothing has come on this connection yet
        self.opened = 0         # when it was begun

    async def open(self):
        if not self.writer:
            self.opened = time.monotonic()
            self.reader, self.writer = await asyncio.open_connection(*self.address, limit=self.limit)
            self.fresh = True

    def close(self, rudely=False):
        if self.writer:
            self.writer.transport.abort() if rudely else self.writer.close()
        self.writer = None

    async def send(self, path, body, headers):
        await self.open()
        lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json",
                 f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in headers.items())]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await self.writer.drain()

    async def chunks(self):
        body = b""
        while True:
            size = int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16)
            data = await self.reader.readexactly(size + 2)
            if not size:
                return body
            body += data[:-2]

    async def receive(self, slowly=False):
        """Status, content type, body."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.fresh = False
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if headers.get("transfer-encoding") == "chunked":
            body = await self.chunks()
        else:
            left, body = int(headers.get("content-length", 0)), b""
            while left:
                part = await self.reader.readexactly(min(left, 40000 if slowly else left))
                if slowly:
                    await asyncio.sleep(0.02)
                body, left = body + part, left - len(part)
        if headers.get("connection", "").lower() == "close":
            self.close()
        return int(lines[0].split(" ")[1]), headers, body
