# SPDX-License-Identifier: Apache-2.0
"""The provider's MCP server: one session at a time, which is lost when somebody says so; a list of tools that changes; streams on which
that is told, and which end by dice."""
import itertools
import json

TOOLS = ("echo", "write")
CHANGED = b'data: {"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n\n'


class McpServer:
    def __init__(self, dice, result):
        self.dice, self.result = dice, result
        self.sessions = (f"session-{n}" for n in itertools.count(1))
        self.session = next(self.sessions)
        self.version = 0            # of the list
        self.streams = set()
        self.lost = self.changes = 0

    def lose_session(self):
        self.session = next(self.sessions)
        self.lost += 1

    async def change_list(self):
        self.version += 1
        self.changes += 1
        for writer in list(self.streams):
            if self.dice.random() < 0.1:
                writer.close()
                continue
            writer.write(CHANGED)

    async def listen(self, reader, writer):
        """An open stream, until either side has enough of it."""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        self.streams.add(writer)
        try:
            await reader.read(1)
        finally:
            self.streams.discard(writer)

    def knows(self, headers):
        """Whether the session is not named, or the one there is."""
        return headers.get("mcp-session-id", self.session) == self.session

    def list_tools(self):
        """Descriptions change all the time, a tool comes and goes."""
        names = TOOLS + (("extra",) if self.version % 3 == 0 else ())
        return [{"name": name, "description": f"{name}, version {self.version}", "inputSchema": {"type": "object"},
                 "annotations": {"readOnlyHint": name != "write"}} for name in names]

    def answer(self, path, body):
        message = json.loads(body)
        method, params, request_id = message.get("method"), message.get("params", {}), message.get("id")
        if request_id is None:
            return 202, b""
        if method == "server/discover":
            return 200, {"jsonrpc": "2.0", "id": request_id, "error": {"code": -32601, "message": "Method not found"}}
        if method == "initialize":
            result = {"protocolVersion": "2025-11-25", "serverInfo": {"name": "soak", "version": "1"},
                      "capabilities": {"tools": {"listChanged": True}}}
        elif method == "tools/list":
            result = {"tools": self.list_tools()}
        elif method == "tools/call":
            made = self.result(params["name"], params["arguments"])
            result = {"content": [{"type": "text", "text": json.dumps(made)}]}
        else:
            result = {}
        return 200, {"jsonrpc": "2.0", "id": request_id, "result": result}
