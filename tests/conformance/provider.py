#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The tools that the official suite calls, as a provider behind the gateway: `provider.py` serves /mcp (an MCP server of
2025-11-25) and /rest/{tool} on a free port, which it prints; `provider.py --stdio` is an MCP server on its own stdin."""
import base64
import itertools
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PNG = ("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==")
WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA="
ERROR = "This tool intentionally returns an error for testing"

SCHEMA_2020 = {
    "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
    "$defs": {"address": {"$anchor": "addressDef", "type": "object",
                          "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
    "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"},
                   "contactMethod": {"type": "string", "enum": ["phone", "email"]},
                   "phone": {"type": "string"}, "email": {"type": "string"}},
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]}, "else": {"required": ["email"]}, "additionalProperties": False}
MIRRORED = {"type": "object", "required": ["region", "query"],
            "properties": {"region": {"type": "string", "x-mcp-header": "Region"}, "query": {"type": "string"}}}
ANYTHING = {"type": "object"}
PAUSE_SECONDS = 0.05  # between words of a call, as the suite wants it


def text(words):
    return {"type": "text", "text": words}


def image():
    return {"type": "image", "data": PNG, "mimeType": "image/png"}


def resource(uri, kind, words):
    return {"type": "resource", "resource": {"uri": uri, "mimeType": kind, "text": words}}


# name: (schema, arguments to content)
TOOLS = {
    "echo": (ANYTHING, lambda arguments: [text(json.dumps(arguments))]),
    "test_simple_text": (ANYTHING, lambda _: [text("This is a simple text response for testing.")]),
    "test_image_content": (ANYTHING, lambda _: [image()]),
    "test_audio_content": (ANYTHING, lambda _: [{"type": "audio", "data": WAV, "mimeType": "audio/wav"}]),
    "test_embedded_resource": (ANYTHING, lambda _: [
        resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")]),
    "test_multiple_content_types": (ANYTHING, lambda _: [
        text("Multiple content types test:"), image(),
        resource("test://mixed-content-resource", "application/json", '{"test":"data","value":123}')]),
    "test_error_handling": (ANYTHING, None),
    "test_tool_with_progress": (ANYTHING, lambda _: [text("Done, with progress.")]),
    "test_tool_with_logging": (ANYTHING, lambda _: [text("Done, with logging.")]),
    "json_schema_2020_12_tool": (SCHEMA_2020, lambda arguments: [text(json.dumps(arguments))]),
    "test_x_mcp_header": (MIRRORED, lambda arguments: [text(json.dumps(arguments))]),
}


def result_of(params):
    make = TOOLS[params["name"]][1]
    if make is None:
        return {"content": [text(ERROR)], "isError": True}
    return {"content": make(params.get("arguments") or {})}


def words(message):
    """What the server says of a call before its result."""
    params = message.get("params") or {}
    name, token = params.get("name"), params.get("_meta", {}).get("progressToken")
    for i in range(3) if message.get("method") == "tools/call" else ():
        if name == "test_tool_with_progress" and token is not None:
            yield {"jsonrpc": "2.0", "method": "notifications/progress",
                   "params": {"progressToken": token, "progress": 50 * i, "total": 100}}
        elif name == "test_tool_with_logging":
            yield {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": f"step {i}"}}
        else:
            return
        time.sleep(PAUSE_SECONDS)


def answer(message):
    """The response to an MCP message, or None."""
    method, params = message.get("method"), message.get("params") or {}
    if "id" not in message:
        return None
    if method == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                  "serverInfo": {"name": "suite", "version": "1"}}
    elif method == "tools/list":
        result = {"tools": [{"name": name, "description": f"The suite's {name}.", "inputSchema": schema}
                            for name, (schema, _) in TOOLS.items()]}
    elif method == "tools/call" and params.get("name") in TOOLS:
        result = result_of(params)
    elif method == "ping":
        result = {}
    else:
        code = -32602 if method == "tools/call" else -32601
        return {"jsonrpc": "2.0", "id": message["id"], "error": {"code": code, "message": "not here"}}
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def rest_answer(name, arguments):
    """Status, content type and bytes of a tool that is no MCP server's."""
    if TOOLS[name][1] is None:
        return 500, "application/json", json.dumps({"error": ERROR}).encode()
    first = result_of({"name": name, "arguments": arguments})["content"][0]
    if first["type"] in ("image", "audio"):
        return 200, first["mimeType"], base64.b64decode(first["data"])
    if first["type"] == "resource":
        return 200, "application/octet-stream", b"\xff" + first["resource"]["text"].encode()
    kind = "application/json" if first["text"].startswith("{") else "text/plain"
    return 200, kind, first["text"].encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status, kind, body):
        self.send_response(status)
        if body:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.reply(405, "", b"")

    def do_POST(self):
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        if self.path.startswith("/rest/"):
            self.reply(*rest_answer(self.path.removeprefix("/rest/"), document))
            return
        response = answer(document)
        if response is None:
            self.reply(202, "", b"")
        elif first := next(before := words(document), None):
            self.stream(first, before, response)
        else:
            self.reply(200, "application/json", json.dumps(response).encode())

    def stream(self, first, rest, response):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for message in itertools.chain([first], rest, [response]):
            self.wfile.write(f"event: message\ndata: {json.dumps(message)}\n\n".encode())
        self.close_connection = True

    def log_message(self, *_):
        pass


def serve_stdio():
    lock = threading.Lock()

    def say(message):
        with lock:
            print(json.dumps(message), flush=True)

    def serve(message):
        for word in words(message):
            say(word)
        say(answer(message))

    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message and "method" in message:
            threading.Thread(target=serve, args=(message,), daemon=True).start()


def serve_http():
    ThreadingHTTPServer.request_queue_size = 256  # its own 5 makes the kernel reset some of 200 connections at once
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve_stdio() if "--stdio" in sys.argv[1:] else serve_http()
