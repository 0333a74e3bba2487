# SPDX-License-Identifier: Apache-2.0
"""An MCP server over HTTP that speaks either era of the protocol, and misbehaves on demand."""
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .poll import until
from .ports import kept_port

MODERN = "2026-07-28"
META = "io.modelcontextprotocol/"


def tool(name, **more):
    return {"name": name, "description": f"Tool {name}.", "inputSchema": {"type": "object"}, **more}


HINTS = {"annotations": {"readOnlyHint": True}}
TOOLS = [tool("echo", **HINTS), tool("write"), tool("bad"), tool("lines"), tool("fail"), tool("ping"), tool("ask"), tool("cut"), tool("linger"),
         tool("hold"), tool("odd"), tool("steps", **HINTS),
         tool("region", inputSchema={"type": "object", "properties": {
             "region": {"type": "string", "x-mcp-header": "Region"}, "n": {"type": "integer", "x-mcp-header": "N"}}})]


class Seen:
    """One request as it came."""

    def __init__(self, verb, headers, message):
        self.verb, self.headers, self.message = verb, headers, message
        self.at = time.monotonic()

    @property
    def method(self):
        return self.message.get("method") if isinstance(self.message, dict) else None

    def __repr__(self):
        return f"<{self.verb} {json.dumps(self.message)[:150]}>"


class McpServer:
    def __init__(self, era="legacy", port=0, **changes):
        self.era = era
        self.version = "2025-11-25"
        self.sessions = era == "legacy"  # mint Mcp-Session-Id
        self.forgetful = False           # no session is known to tools/call
        self.lost_status = 404           # for a session that is not known
        self.sse = False                 # answers as event streams
        self.newline = "\n"
        self.arrays = True
        self.pages = None                # lists of tools; None: one page
        self.next_cursor = None          # on every page
        self.list_changed = False
        self.close_streams = False       # a GET stream ends at once
        self.refuse_stream = None        # an HTTP status instead of a GET stream
        self.ttl_ms = 0
        self.instructions = None
        self.fail_list = None            # an HTTP status instead of the list
        self.refuse_open = None          # an HTTP status for initialize and server/discover
        self.refuse_delete = None        # an HTTP status for DELETE; the session stays
        self.hold_delete = False         # no answer to it before finish()
        self.refuse_initialized = None   # an HTTP status for notifications/initialized
        self.hold_open = False           # no answer to them before finish()
        self.released = threading.Event()
        self.step = threading.Semaphore(1000000)  # tool steps takes one each time
        self.__dict__.update(changes)
        self.tools = list(TOOLS)
        self.seen = []
        self.replies = {}                # to our own requests, by id
        self.known = set()               # sessions
        self.streams = []                # open streams of list changes
        self.left = {}                   # what a cut stream still has to say, by event id
        self.lock = threading.Lock()
        self.number = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *args):
                pass

            def do_POST(self):
                Exchange(server, self).post()

            def do_GET(self):
                Exchange(server, self).get()

            def do_DELETE(self):
                Exchange(server, self).delete()

        class Server(ThreadingHTTPServer):
            request_queue_size = 256

        self.httpd = Server(("127.0.0.1", port or kept_port()), Handler)
        self.httpd.daemon_threads = True
        self.port = self.httpd.server_address[1]
        threading.Thread(target=self.httpd.serve_forever, args=(0.01,), daemon=True).start()

    def url(self):
        return f"http://127.0.0.1:{self.port}/mcp"

    def finish(self):
        self.released.set()
        self.httpd.shutdown()
        self.httpd.server_close()

    def next_number(self):
        with self.lock:
            self.number += 1
            return self.number

    def methods(self):
        return [seen.method for seen in self.seen]

    def of(self, method):
        return [seen for seen in self.seen if seen.method == method]

    def calls(self, name):
        return [seen for seen in self.of("tools/call") if seen.message["params"]["name"] == name]

    def forget_sessions(self):
        self.known.clear()

    def change_tools(self, tools):
        """Another list, and word of it to whoever listens."""
        self.tools = tools
        until(lambda: self.streams, "somebody listens")
        for exchange, note in list(self.streams):
            exchange.event(note)


class Exchange:
    """One HTTP request."""

    def __init__(self, server, handler):
        self.server, self.handler = server, handler
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.streaming = False

    # ---- writing ----

    def plain(self, status, document=None, **headers):
        body = b"" if document is None else json.dumps(document).encode()
        self.handler.send_response(status)
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), value)
        if body:
            self.handler.send_header("Content-Type", "application/json")
        self.handler.send_header("Content-Length", str(len(body)))
        self.handler.end_headers()
        self.handler.wfile.write(body)

    def begin_stream(self):
        self.streaming = True
        self.handler.send_response(200)
        self.handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.handler.send_header("Transfer-Encoding", "chunked")
        self.handler.end_headers()

    def chunk(self, text):
        data = text.replace("\n", self.server.newline).encode()
        self.handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.handler.wfile.flush()

    def event(self, document, event_id=None, retry=None):
        if not self.streaming:
            self.begin_stream()
        lines = ["event: message"]
        if event_id is not None:
            lines.append(f"id: {event_id}")
        if retry is not None:
            lines.append(f"retry: {retry}")
        lines.append("data: " + ("" if document is None else json.dumps(document)))
        self.chunk("\n".join(lines) + "\n\n")

    def end_stream(self):
        self.handler.wfile.write(b"0\r\n\r\n")

    def give(self, document, **headers):
        if self.streaming or (self.server.sse and not headers):
            self.event(document)
            self.end_stream()
        else:
            self.plain(200, document, **headers)

    def result(self, request_id, result):
        if self.server.era == "modern":
            result = {"resultType": "complete", **result}
        return {"jsonrpc": "2.0", "id": request_id, "result": result}

    def error(self, request_id, code, message, status=200):
        document = {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}}
        self.plain(status, document)

    # ---- reading ----

    def session_is_known(self, method=None):
        if self.server.forgetful and method == "tools/call":
            return False
        return not self.server.sessions or self.headers.get("mcp-session-id") in self.server.known

    def lost(self):
        self.error(None, -32000, "Bad Request: no valid session", self.server.lost_status)

    def post(self):
        body = self.handler.rfile.read(int(self.headers["content-length"]))
        message = json.loads(body)
        self.server.seen.append(Seen("POST", self.headers, message))
        if isinstance(message, list):
            return self.array(message)
        method, request_id = message.get("method"), message.get("id")
        if method is None:
            self.server.replies[request_id] = message
            return self.plain(202)
        if self.server.hold_open:
            self.server.released.wait(60)
        if self.server.refuse_open and method in ("initialize", "server/discover"):
            return self.error(request_id, -32000, "not now", self.server.refuse_open)
        if method == "initialize" and self.server.era == "legacy":
            return self.initialize(request_id)
        if self.server.era == "modern":
            wrong = self.modern_fault(message)
            if wrong:
                return self.error(request_id, -32020, wrong, 400)
        elif method == "server/discover":
            return self.error(request_id, -32601, "Method not found")
        elif not self.session_is_known(method):
            return self.lost()
        if method == "notifications/initialized" and self.server.refuse_initialized:
            return self.plain(self.server.refuse_initialized)
        if request_id is None:
            return self.plain(202)
        return self.answer(method, message)

    def modern_fault(self, message):
        meta = message.get("params", {}).get("_meta", {})
        if meta.get(META + "protocolVersion") != MODERN or META + "clientCapabilities" not in meta:
            return "no _meta"
        if self.headers.get("mcp-protocol-version") != MODERN or self.headers.get("mcp-method") != message["method"]:
            return "headers differ"
        if message["method"] == "tools/call":
            params = message["params"]
            if self.headers.get("mcp-name") != params["name"]:
                return "Mcp-Name differs"
            if params["name"] == "region" and self.headers.get("mcp-param-region") != params["arguments"].get("region"):
                return "Mcp-Param-Region differs"
        return None

    def initialize(self, request_id):
        headers = {}
        if self.server.sessions:
            session = f"session-{self.server.next_number()}"
            self.server.known.add(session)
            headers["Mcp_Session_Id"] = session
        self.give(self.result(request_id, {
            "protocolVersion": self.server.version, "serverInfo": {"name": "test", "version": "1"},
            "capabilities": {"tools": {"listChanged": self.server.list_changed}}, **self.instructions()}), **headers)

    def instructions(self):
        return {"instructions": self.server.instructions} if self.server.instructions else {}

    def answer(self, method, message):
        request_id, server = message["id"], self.server
        if method == "server/discover":
            self.give(self.result(request_id, {
                "supportedVersions": [MODERN], "ttlMs": 0, "cacheScope": "private",
                "capabilities": {"tools": {"listChanged": server.list_changed}}, **self.instructions()}))
        elif method == "tools/list":
            self.list(request_id, message.get("params", {}).get("cursor"))
        elif method == "tools/call":
            params = message["params"]
            self.call(request_id, params["name"], params.get("arguments", {}), params.get("_meta", {}))
        elif method == "subscriptions/listen" and server.list_changed:
            note = {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": {}}
            self.event(note)
            self.listen()
        else:
            self.error(request_id, -32601, "Method not found", 404 if server.era == "modern" else 200)

    def list(self, request_id, cursor):
        if self.server.fail_list:
            return self.error(request_id, -32000, "no list", self.server.fail_list)
        pages = self.server.pages or [self.server.tools]
        at = int(cursor or 0)
        more = {"nextCursor": str(at + 1)} if at + 1 < len(pages) else {}
        if self.server.next_cursor:
            more["nextCursor"] = self.server.next_cursor
        if self.server.era == "modern":
            more.update(ttlMs=self.server.ttl_ms, cacheScope="private")
        return self.give(self.result(request_id, {"tools": pages[at], **more}))

    def array(self, messages):
        if not self.server.arrays or self.server.era == "modern":
            return self.error(None, -32600, "no arrays here", 400)
        if not self.session_is_known():
            return self.lost()
        asked = [(message["id"], message["params"].get("arguments", {})) for message in reversed(messages)]
        for request_id, arguments in sorted(asked, key=lambda one: not one[1].get("invalid")):
            if arguments.get("invalid"):
                self.event({"jsonrpc": "2.0", "id": request_id, "error": {"code": -32600, "message": "it is not valid"}})
            else:
                self.event(self.result(request_id, text(json.dumps(arguments))))
        return self.end_stream()

    def ask(self, method):
        """A request of ours in mid-call, and what came back."""
        number = self.server.next_number()
        self.event({"jsonrpc": "2.0", "id": number, "method": method, "params": {}})
        return until(lambda: self.server.replies.get(number), f"an answer to {method}")

    def steps(self, count, meta, pad, every):
        """Word of a call: its progress if that is wanted, and a message of each of two levels."""
        for i in range(count):
            self.server.step.acquire(timeout=30)
            time.sleep(every)
            if "progressToken" in meta:
                self.event({"jsonrpc": "2.0", "method": "notifications/progress", "params": {
                    "progress": i, "progressToken": meta["progressToken"], "total": count, "message": pad * "x"}})
            for level in ("debug", "error"):
                self.event({"jsonrpc": "2.0", "method": "notifications/message",
                            "params": {"level": level, "data": {"step": i}}})

    def call(self, request_id, name, arguments, meta):
        say = json.dumps(arguments)
        if name == "steps":
            self.steps(arguments["count"], meta, arguments.get("pad", 0), arguments.get("every", 0))
        if name == "bad":       # as some say that they do not like a request
            return self.error(None, -32600, "Bad Request", 400)
        if name == "fail":
            return self.give(self.result(request_id, {**text("it did not work"), "isError": True}))
        if name == "ping":
            say = "pong" if self.ask("ping").get("result") == {} else "none"
        elif name == "ask":
            say = str(self.ask("sampling/createMessage")["error"]["code"])
        elif name == "odd":
            self.chunked_noise()
        elif name == "cut":
            at = arguments.get("at", "7-a")
            self.server.left[at] = self.result(request_id, text(say))
            self.event(None, event_id=at, retry=20)
            return self.end_stream()
        elif name == "lines":     # data of several lines, and its event does not end
            self.begin_stream()
            self.chunk('data: {"jsonrpc":"2.0",\ndata: "result":"' + "x" * arguments["bytes"] + '",\ndata:\n')
            self.server.released.wait(30)
            return None
        elif name == "hold":
            self.event({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}})
            self.server.released.wait(30)
        elif name == "linger":
            self.event(self.result(request_id, text(say)))
            self.server.released.wait(30)
            return None
        elif name not in [tool["name"] for tool in self.server.tools]:
            return self.error(request_id, -32602, f"Unknown tool: {name}")
        return self.give(self.result(request_id, text(say)))

    def chunked_noise(self):
        """Comments, notifications, an answer to nobody, an event that is no JSON."""
        self.event({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}})
        self.chunk(": keep-alive\n\n")
        self.chunk("data: {\"jsonrpc\":\n")
        self.chunk("data: \"2.0\",\"id\":999999,\"result\":{}}\n\n")
        self.chunk("data: nonsense\n\n")

    def listen(self):
        note = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
        self.server.streams.append((self, note))
        self.server.released.wait(60)

    def get(self):
        self.server.seen.append(Seen("GET", self.headers, {}))
        if self.headers.get("last-event-id"):
            self.event(self.server.left.pop(self.headers["last-event-id"]), event_id="8-a")
            return self.end_stream()
        if not self.server.list_changed or self.server.era == "modern":
            return self.plain(405)
        if self.server.refuse_stream:
            return self.plain(self.server.refuse_stream)
        self.begin_stream()
        self.chunk(": hello\n\n")
        return self.end_stream() if self.server.close_streams else self.listen()

    def delete(self):
        self.server.seen.append(Seen("DELETE", self.headers, {}))
        if self.server.hold_delete:
            self.server.released.wait(60)
        if self.server.refuse_delete:
            return self.plain(self.server.refuse_delete)
        self.server.known.discard(self.headers.get("mcp-session-id"))
        return self.plain(200)


def text(say):
    return {"content": [{"type": "text", "text": say}]}
