# SPDX-License-Identifier: Apache-2.0
"""An MCP client by hand, so that tests can also send what no client would. One message a connection."""
import json
import socket

from .wire import request_bytes

MODERN = "2026-07-28"
META = {"io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {}}


def message(method, params=None, number=1):
    """A request; without an id (number None) a notification."""
    made = {"jsonrpc": "2.0", "method": method}
    if number is not None:
        made["id"] = number
    if params is not None:
        made["params"] = params
    return made


def modern(method, params=None, number=1, meta=None):
    """A request of 2026-07-28. meta: changes; a None takes a key away."""
    whole = {name: value for name, value in {**META, **(meta or {})}.items() if value is not None}
    return message(method, {**(params or {}), "_meta": whole}, number)


def mirrored(document, **changes):
    """The headers that 2026-07-28 wants with a message. changes: header names with _; a None takes it away."""
    headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": document.get("method")}
    if document.get("method") == "tools/call":
        headers["Mcp-Name"] = document["params"]["name"]
    headers.update({name.replace("_", "-"): value for name, value in changes.items()})
    return headers


def posted(document):
    """The bytes of a correct client's request."""
    headers = {**mirrored(document), "Host": "localhost"}
    return request_bytes("POST", "/mcp", json.dumps(document).encode(), headers)


class Client:
    def __init__(self, gateway):
        self.gateway = gateway

    def send(self, document, method="POST", **headers):
        """A document, or bytes as they are."""
        body = document if isinstance(document, (bytes, type(None))) else json.dumps(document).encode()
        defaults = {"Host": "localhost:8080", "Accept": "application/json, text/event-stream"}
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.gateway.request(method, "/mcp", body, {**defaults, **given})

    def ask(self, method, params=None, number=1, **headers):
        return self.send(message(method, params, number), **headers)

    def ask_modern(self, method, params=None, number=1, meta=None, **headers):
        """What a correct client sends, but for the changes."""
        document = modern(method, params, number, meta)
        return self.send(document, **mirrored(document, **headers))

    def call(self, tool, arguments=None, **headers):
        return self.ask("tools/call", {"name": tool, "arguments": arguments or {}}, **headers)

    def call_modern(self, tool, arguments=None, **headers):
        return self.ask_modern("tools/call", {"name": tool, "arguments": arguments or {}}, **headers)


class Stream:
    """A request whose answer is a stream, as that of subscriptions/listen."""

    def __init__(self, gateway, document):
        self.connection = gateway.connect()
        self.text = ""
        self.connection.send(posted(document))
        self.head = self.connection.head()

    def event(self):
        """The next event's document."""
        while "\n\n" not in self.text:
            chunk = self.connection.chunk()
            assert chunk, "the stream has ended"
            self.text += chunk.decode()
        event, _, self.text = self.text.partition("\n\n")
        lines = [line for line in event.split("\n") if not line.startswith(":")]
        assert lines[0] == "event: message"
        return json.loads("\n".join(line.removeprefix("data: ") for line in lines[1:]))

    def ended(self):
        """Wait for the proper end of the stream."""
        self.connection.socket.settimeout(30)
        try:
            return self.connection.chunk() == b""
        except socket.timeout:
            return False

    def close(self):
        self.connection.close()
