# SPDX-License-Identifier: Apache-2.0
"""Word of calls under way: progress and log messages of MCP servers on their way to whoever asked for them."""
import json
import sys
import threading

import pytest

from harness.mcp_client import Client
from harness.mcp_server import McpServer
from harness.poll import until
from test_processes import SERVER

BEHIND = ("legacy", "modern", "stdio")
LEVEL = "io.modelcontextprotocol/logLevel"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def behind(make):
    """behind(kind) gives the server (None: a process) and a gateway that has its tool `steps`."""
    servers = []

    def build(kind, **options):
        server, upstream = None, {"dialect": "mcp-stdio", "command": sys.executable, "args": [str(SERVER)]}
        if kind != "stdio":
            server = McpServer(kind)
            servers.append(server)
            upstream = {"dialect": "mcp", "endpoints": [{"url": server.url()}]}
        gateway = make(config={"listen": "127.0.0.1:0", "admin": {"listen": "127.0.0.1:0"}, "workers": 2,
                               "upstreams": {"m": {**upstream, "names": "plain", "timeout": "20s", **options}},
                               "tools": {"steps": {"upstream": "m", "annotations": {"read_only": True}}}}).start()
        # declared, it is there before the list: a call from before and one from after do not share a flight
        until(lambda: all("pid" in names(gateway) or "odd" in names(gateway) for _ in range(20)), "all workers have it")
        return server, gateway

    yield build
    for server in servers:
        server.finish()


def names(gateway):
    return [each["name"] for each in Client(gateway).ask("tools/list").json()["result"]["tools"]]


def events(reply):
    """The documents of an event stream."""
    assert reply.headers["content-type"] == "text/event-stream", reply.body
    texts = [event.split("data: ", 1)[1] for event in reply.body.decode().split("\n\n") if "data: " in event]
    return [json.loads(text) for text in texts]


def call(gateway, era, arguments, meta, **headers):
    client, params = Client(gateway), {"name": "steps", "arguments": arguments}
    if era == "modern":
        return client.ask_modern("tools/call", params, 7, meta, **headers)
    return client.ask("tools/call", {**params, "_meta": meta}, 7, **headers)


def progress(documents):
    return [each["params"] for each in documents if each.get("method") == "notifications/progress"]


def messages(documents):
    return [each["params"] for each in documents if each.get("method") == "notifications/message"]


@pytest.mark.parametrize("era", ("legacy", "modern"))
@pytest.mark.parametrize("kind", BEHIND)
def test_progress_comes_before_the_result_under_the_callers_own_token(behind, kind, era):
    _, gateway = behind(kind)
    for n, token in enumerate(("tok-\u00e9\"", 0, 12345678901234567890)):
        documents = events(call(gateway, era, {"count": 3, "n": n}, {"progressToken": token}))
        assert [(each["progressToken"], each["progress"], each["total"]) for each in progress(documents)] == [
            (token, i, 3) for i in range(3)]
        assert documents[-1]["id"] == 7
        assert "result" in documents[-1]
        assert [each for each in documents if "id" in each] == documents[-1:]


@pytest.mark.parametrize("kind", BEHIND)
def test_who_asks_for_nothing_or_takes_no_stream_gets_json(behind, kind):
    server, gateway = behind(kind)
    plain = call(gateway, "legacy", {"count": 2}, {"progressToken": 1}, Accept="application/json")
    assert plain.headers["content-type"] == "application/json"
    asked = call(gateway, "modern", {"count": 2, "n": 1}, {})
    assert asked.headers["content-type"] == "application/json"
    assert gateway.request("POST", "/v1/tools/steps", b'{"count": 2, "n": 2}').status == 200
    if server:
        assert all("progressToken" not in seen.message["params"].get("_meta", {}) for seen in server.calls("steps"))


def test_tokens_are_no_part_of_the_key(behind):
    server, gateway = behind("legacy")
    server.step = threading.Semaphore(0)
    replies = {}

    def ask(token):
        replies[token] = call(gateway, "legacy", {"count": 2}, {"progressToken": token})

    threads = [threading.Thread(target=ask, args=(f"client {i}",)) for i in range(5)]
    for thread in threads:
        thread.start()
    until(lambda: gateway.metrics().sum("coalesced_total") == 4, "all share one flight")
    server.step.release(2)
    for thread in threads:
        thread.join()
    assert len(server.calls("steps")) == 1
    for token, reply in replies.items():
        assert [each["progressToken"] for each in progress(events(reply))] == [token] * 2


@pytest.mark.parametrize("kind", BEHIND)
def test_log_messages_come_as_grave_as_they_were_asked_for(behind, kind):
    _, gateway = behind(kind)
    both = {"level": "debug", "data": {"step": 0}}, {"level": "error", "data": {"step": 0}}
    assert messages(events(call(gateway, "modern", {"count": 1}, {LEVEL: "debug"}))) == list(both)
    assert messages(events(call(gateway, "modern", {"count": 1, "n": 1}, {LEVEL: "warning"}))) == [both[1]]
    none = call(gateway, "modern", {"count": 1, "n": 2}, {LEVEL: "loud"})
    assert none.headers["content-type"] == "application/json"
    assert messages(events(call(gateway, "legacy", {"count": 1, "n": 3}, {}))) == list(both)


@pytest.mark.parametrize(("level", "code"), [("debug", None), ("emergency", None), ("loud", -32602), (3, -32602)])
def test_a_level_is_checked(behind, level, code):
    _, gateway = behind("stdio")
    document = Client(gateway).ask("logging/setLevel", {"level": level}).json()
    assert document.get("error", {}).get("code") == code
    assert code or document["result"] == {}


@pytest.mark.parametrize("kind", BEHIND)
def test_a_client_that_is_behind_loses_progress_but_not_its_result(behind, kind):
    _, gateway = behind(kind)
    connection = gateway.connect()
    body = json.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
        "name": "steps", "arguments": {"count": 3000, "pad": 20000}, "_meta": {"progressToken": 1}}}).encode()
    connection.send(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: application/json, text/event-stream\r\n"
                    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    until(lambda: gateway.metrics().sum("mcp_notifications_total", result="dropped") > 100, "some is dropped", seconds=60)
    connection.head()
    text = b""
    while chunk := connection.chunk():
        text += chunk
    events_seen = text.decode().split("\n\n")
    assert json.loads(events_seen[-2].split("data: ", 1)[1])["id"] == 7
    assert len(events_seen) < 3000 * 3
    connection.close()


@pytest.mark.parametrize("kind", BEHIND)
def test_a_client_that_leaves_amid_progress_harms_nobody(behind, kind):
    server, gateway = behind(kind)
    for n in range(20):
        connection = gateway.connect()
        body = json.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
            "name": "steps", "arguments": {"count": 200, "n": n}, "_meta": {"progressToken": 1}}}).encode()
        connection.send(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: application/json, text/event-stream\r\n"
                        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        connection.head()
        connection.close()
    assert len(progress(events(call(gateway, "legacy", {"count": 3, "n": "last"}, {"progressToken": "x"})))) == 3
    until(lambda: gateway.metrics().sum("in_flight_requests") == 0, "nothing is left")


@pytest.mark.parametrize("era", ("legacy", "modern"))
@pytest.mark.parametrize("kind", BEHIND)
def test_a_trace_goes_on_in_meta(behind, kind, era):
    server, gateway = behind(kind)
    for n, (state, told) in enumerate([("a=1,b=2", "a=1,b=2"), ("a=" + "x" * 511, None), (7, None), ("a=\u00e4", None)]):
        reply = call(gateway, era, {"count": 0, "n": n}, {"traceparent": TRACE, "tracestate": state}).json()
        meta = server.calls("steps")[-1].message["params"]["_meta"] if server else json.loads(reply["result"]["content"][0]["text"])
        assert meta["traceparent"].split("-")[1] == TRACE.split("-")[1] and meta.get("tracestate") == told, state


@pytest.mark.parametrize("kind", BEHIND)
def test_progress_puts_the_deadline_off_and_not_for_ever(behind, kind):
    _, gateway = behind(kind, timeout="1200ms", progress_timeout="5s")
    long = events(call(gateway, "legacy", {"count": 5, "every": 0.6, "n": 1}, {"progressToken": 1}))
    assert len(progress(long)) == 5 and "isError" not in long[-1]["result"], long[-1]
    mute = events(call(gateway, "legacy", {"count": 5, "every": 0.6, "n": 2}, {}, accept="text/event-stream"))
    assert mute[-1]["result"]["isError"], "who asks for no progress has the timeout"
    endless = events(call(gateway, "legacy", {"count": 30, "every": 0.6, "n": 3}, {"progressToken": 2}))
    assert endless[-1]["result"]["isError"] and 3 <= len(progress(endless)) <= 9, endless
    hurried = events(call(gateway, "legacy", {"count": 5, "every": 0.6, "n": 4}, {"progressToken": 3},
                          x_request_timeout_ms="1500"))
    assert hurried[-1]["result"]["isError"], "a caller's own deadline stands"
