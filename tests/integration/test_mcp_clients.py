# SPDX-License-Identifier: Apache-2.0
"""POST /mcp as clients of 2024-11-05 to 2025-11-25 use it, and what holds in both eras."""
import base64
import json

import pytest

from harness import provider as behave
from harness.gateway import UNSENT
from harness.mcp_client import Client, message, modern, mirrored
from harness.poll import given_time, until
from harness.wire import request_bytes

PNG = b"\x89PNG\r\n\x1a\n\0\0"


def error_of(reply, status, code):
    assert reply.status == status, reply
    assert reply.header("content-type") == "application/json"
    document = reply.json()
    assert document["jsonrpc"] == "2.0"
    assert document["error"]["code"] == code, document
    assert document["error"]["message"]
    assert document["error"]["data"]["request_id"] == reply.header("x-request-id")
    return document


# ---- the handshake ----

@pytest.mark.parametrize("asked, offered", [
    ("2025-11-25", "2025-11-25"), ("2025-06-18", "2025-06-18"), ("2025-03-26", "2025-03-26"),
    ("2024-11-05", "2024-11-05"), ("2024-10-07", "2024-10-07"), ("1999-01-01", "2025-11-25"), (None, "2025-11-25")])
def test_initialize_settles_on_a_version_that_both_know(client, asked, offered):
    params = {"capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    reply = client.ask("initialize", {**params, "protocolVersion": asked} if asked else params, number=0)
    assert reply.status == 200
    assert reply.header("mcp-session-id") is None
    result = reply.json()["result"]
    assert result["protocolVersion"] == offered
    assert result["capabilities"] == {"tools": {}, "logging": {}}
    assert result["serverInfo"]["name"] == "jitney"


def test_a_notification_is_accepted_and_gets_nothing(client):
    reply = client.ask("notifications/initialized", number=None)
    assert (reply.status, reply.body) == (202, b"")
    reply = client.ask("notifications/cancelled", {"requestId": 1}, number=None)
    assert (reply.status, reply.body) == (202, b"")


def test_a_response_to_nothing_is_accepted_and_gets_nothing(client):
    reply = client.send({"jsonrpc": "2.0", "id": 7, "result": {}})
    assert (reply.status, reply.body) == (202, b"")


def test_ping_is_answered(client):
    assert client.ask("ping").json() == {"jsonrpc": "2.0", "id": 1, "result": {}}


@pytest.mark.parametrize("raw", ["0", "-1", "1e3", "12345678901234567890", '"a\\u0041"', '""', "1.50"])
def test_an_id_comes_back_byte_for_byte(client, raw):
    body = b'{"jsonrpc":"2.0","id": %b ,"method":"ping"}' % raw.encode()
    assert client.send(body).body == b'{"jsonrpc":"2.0","id":%b,"result":{}}' % raw.encode()


@pytest.mark.parametrize("method", ["resources/list", "prompts/list", "server/discover",
                                    "subscriptions/listen", "nonsense"])
def test_a_method_that_is_not_there_is_an_error_clients_can_read(client, method):
    error_of(client.ask(method), 200, -32601)


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "HEAD"])
def test_there_is_no_stream_to_get_and_no_session_to_end(client, method):
    reply = client.send(None, method=method)
    assert reply.status == 405
    assert reply.header("allow") == "POST, OPTIONS"


# ---- tools ----

def test_tools_are_listed_whole(client, gateway):
    reply = client.ask("tools/list")
    result = reply.json()["result"]
    assert result == json.loads(gateway.get("/v1/tools?format=mcp").body)
    assert [tool["name"] for tool in result["tools"]] == ["cached", "echo", "item", "send", "write"]


def test_more_tools_than_a_page_holds_are_read_page_by_page(start, provider):
    names = [f"tool_{i:04}" for i in range(1203)]
    tools = {name: {"upstream": "array"} for name in names}
    client = Client(start({"tools": {**dict.fromkeys(("echo", "cached", "write", "item", "send")), **tools}}))
    found, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        result = client.ask("tools/list", {"cursor": cursor} if cursor else None).json()["result"]
        found += [tool["name"] for tool in result["tools"]]
        cursor = result.get("nextCursor")
        pages += 1
    assert found == names
    assert pages == 3
    error_of(client.ask("tools/list", {"cursor": "%%%"}), 200, -32602)
    error_of(client.ask("tools/list", {"cursor": 5}), 200, -32602)
    assert provider.deliveries == []


def test_a_call_gets_its_result(client, provider):
    reply = client.call("echo", {"q": "hello"})
    result = reply.json()["result"]
    assert result["structuredContent"] == {"echo": {"q": "hello"}}
    assert json.loads(result["content"][0]["text"]) == {"echo": {"q": "hello"}}
    assert "isError" not in result
    assert reply.header("server-timing") and reply.header("x-batch-size") == "1"
    assert provider.calls[0]["params"] == {"q": "hello"}


@pytest.mark.parametrize("params", [{"name": "echo"}, {"name": "echo", "arguments": None}])
def test_arguments_may_be_absent(client, provider, params):
    assert "result" in client.ask("tools/call", params).json()
    assert provider.calls[0].get("params", {}) == {}


@pytest.mark.parametrize("body, content", [
    (b'"plain \\u0041"', [{"type": "text", "text": "plain A"}]),
    (b"[1.00, 2]", [{"type": "text", "text": "[1.00, 2]"}]),
    (b"null", [{"type": "text", "text": "null"}]),
])
def test_what_is_no_object_is_text_alone(client, provider, body, content):
    provider.behaviour = behave.answering(body)
    assert client.call("write").json()["result"] == {"content": content}


@pytest.mark.parametrize("kind, body, content", [
    ("text/plain", "häh".encode(), {"type": "text", "text": "häh"}),
    ("image/png", PNG, {"type": "image", "data": base64.b64encode(PNG).decode(), "mimeType": "image/png"}),
    ("audio/wav", PNG * 700, {"type": "audio", "data": base64.b64encode(PNG * 700).decode(), "mimeType": "audio/wav"}),
    ("application/pdf", PNG, {"type": "resource", "resource": {
        "uri": "jitney:result", "blob": base64.b64encode(PNG).decode(), "mimeType": "application/pdf"}}),
])
def test_what_is_no_json_becomes_the_content_it_is(client, provider, kind, body, content):
    provider.behaviour = lambda _, wire: wire.answer(body, 200, {"Content-Type": kind})
    assert client.call("send", {"a": 1}).json()["result"]["content"] == [content]


def test_a_repeat_comes_from_memory_whoever_asks_how(client, gateway, provider):
    assert gateway.call("cached", {"q": 1}).status == 200
    reply = client.call("cached", {"q": 1})
    assert reply.header("cache-status").startswith("jitney; hit")
    assert reply.json()["result"]["structuredContent"] == {"echo": {"q": 1}}
    assert len(provider.calls) == 1


def test_calls_that_come_together_leave_together(client, gateway, provider, later):
    provider.hold()
    first = later(client.call, "echo", {"n": 0})
    provider.until_deliveries(1)
    rest = [later(client.call if n % 2 else client.call_modern, "echo", {"n": n}) for n in range(1, 9)]
    gateway.until_metric("in_flight_requests", 9)
    provider.release()
    for n, future in enumerate([first, *rest]):
        assert future.result(20).json()["result"]["structuredContent"] == {"echo": {"n": n}}
    assert len(provider.deliveries) < 9


# ---- failures ----

def test_a_failing_tool_is_a_result_the_model_can_read(client, provider):
    provider.behaviour = behave.failing(-32000, "the city is unknown", {"city": "Rom"})
    reply = client.call("write")
    assert reply.status == 200
    result = reply.json()["result"]
    assert result["isError"] is True
    assert "the city is unknown" in result["content"][0]["text"]
    assert '"Rom"' in result["content"][0]["text"]
    told = result["_meta"]["jitney/error"]
    assert told == {"code": "tool_error", "request_id": reply.header("x-request-id"), "retryable": False}


def test_a_provider_that_is_gone_is_a_result_too(start, provider):
    client = Client(start())
    provider.stop()
    result = client.call("echo").json()["result"]
    assert result["isError"] is True
    assert result["_meta"]["jitney/error"]["code"] == "upstream_unavailable"
    assert result["_meta"]["jitney/error"]["retryable"] is True
    assert "may be tried again" in result["content"][0]["text"]


def test_a_timeout_says_whether_the_call_may_have_taken_effect(start, provider):
    def results(milliseconds):
        """Of a write and a read, if the write has left in that time."""
        client = Client(start({"upstreams": {"array": {"timeout": f"{milliseconds}ms"}}}))
        wrote, read = (client.call(tool).json()["result"] for tool in ("write", "echo"))
        return (wrote, read) if wrote["_meta"]["jitney/error"]["code"] not in UNSENT else None

    provider.behaviour = behave.hang
    wrote, read = given_time(results)
    assert wrote["isError"] and read["isError"]
    assert "may have taken effect" in wrote["content"][0]["text"]
    assert "may have taken effect" not in read["content"][0]["text"]


def test_a_providers_rate_limit_is_a_result_with_its_delay(client, provider):
    provider.behaviour = behave.status(429, Retry_After="7")
    result = client.call("write").json()["result"]
    assert result["isError"] is True
    assert result["_meta"]["jitney/error"]["code"] == "rate_limited"
    assert result["_meta"]["jitney/error"]["retryAfterMs"] == 7000


def test_a_limit_of_the_gateway_is_an_error_of_the_protocol(start, provider, later):
    gateway = start({"limits": {"in_flight": 1}})
    client = Client(gateway)
    provider.hold()
    first = later(client.call, "write")
    provider.until_deliveries(1)
    document = error_of(client.call("write"), 200, 503)
    assert document["error"]["data"]["code"] == "overloaded"
    assert document["error"]["data"]["retryable"] is True
    assert document["error"]["data"]["retryAfterMs"] == 1000
    provider.release()
    assert "result" in first.result(20).json()


def test_a_tool_that_nobody_knows_is_an_error_of_the_protocol(client):
    document = error_of(client.call("nope"), 200, -32602)
    assert document["error"]["data"]["code"] == "unknown_tool"
    assert document["id"] == 1


@pytest.mark.parametrize("params", [None, {}, {"name": 5}, {"name": "echo", "arguments": [1]},
                                    {"name": "echo", "arguments": "x"}])
def test_params_that_are_none_are_an_error_of_the_protocol(client, provider, params):
    error_of(client.ask("tools/call", params), 200, -32602)
    assert provider.deliveries == []


@pytest.mark.parametrize("body, code", [
    (b"", -32700), (b"{", -32700), (b'{"a":1,"a":2}', -32700), (b"[" * 100 + b"]" * 100, -32700),
    (b"5", -32600), (b"[]", -32600), (b"{}", -32600), (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600),
    (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600), (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600),
    (b'{"jsonrpc":"2.0","id":1,"method":5}', -32600), (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', -32602),
    (b'{"jsonrpc":"2.0","id":"%b","method":"ping"}' % (b"x" * 300), -32600),
])
def test_what_is_no_message_is_refused(client, body, code):
    error_of(client.send(body), 400, code)


def test_only_json_is_read(client):
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        error_of(client.send(message("ping"), Content_Type=kind), 415, -32600)
    assert client.send(message("ping"), Content_Type="application/json; charset=utf-8").status == 200


# ---- arrays ----

def test_an_array_is_answered_as_an_array_in_order(client, provider):
    provider.behaviour = behave.reordered
    reply = client.send([
        message("tools/call", {"name": "echo", "arguments": {"n": 1}}, "a"), message("notifications/x", number=None),
        message("tools/call", {"name": "nope"}, "b"), message("ping", number=3), "nonsense",
        message("tools/call", {"name": "echo", "arguments": {"n": 2}}, "c")])
    assert reply.status == 200
    first, unknown, pong, nonsense, second = reply.json()
    assert (first["id"], first["result"]["structuredContent"]) == ("a", {"echo": {"n": 1}})
    assert (second["id"], second["result"]["structuredContent"]) == ("c", {"echo": {"n": 2}})
    assert (unknown["id"], unknown["error"]["code"]) == ("b", -32602)
    assert pong == {"jsonrpc": "2.0", "id": 3, "result": {}}
    assert (nonsense["id"], nonsense["error"]["code"]) == (None, -32600)


def test_an_array_that_asks_nothing_gets_nothing(client):
    reply = client.send([message("notifications/x", number=None), {"jsonrpc": "2.0", "id": 1, "result": {}}])
    assert (reply.status, reply.body) == (202, b"")


def test_an_array_of_the_modern_era_is_refused(client, provider):
    document = modern("tools/call", {"name": "echo"})
    error_of(client.send([document], **mirrored(document)), 400, -32600)
    reply = client.send([document])
    assert reply.json()[0]["error"]["code"] == -32600
    assert provider.deliveries == []


def test_more_messages_than_calls_allowed_are_refused(start):
    client = Client(start({"limits": {"in_flight": 3}}))
    error_of(client.send([message("ping", number=n) for n in range(4)]), 413, 413)


# ---- who may ----

@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "LOCALHOST", "a.localhost", "127.0.0.1", "127.9.9.9:80",
                                  "[::1]:8080", "192.0.2.7:80", "[2001:db8::1]"])
@pytest.mark.parametrize("origin", [None, "http://localhost:6274", "https://127.0.0.1", "http://[::1]:1"])
def test_loopback_is_welcome_by_every_name(client, host, origin):
    assert client.send(message("ping"), Host=host, Origin=origin).status == 200


@pytest.mark.parametrize("host, origin", [
    ("evil.example", None), ("evil.example:8080", "http://evil.example:8080"), ("localhost.evil.example", None),
    ("localhost", "http://evil.example"), ("localhost", "null"), ("localhost", "http://192.0.2.7"),
    ("localhost", "http://localhost.evil.example"), ("localhost", "file://localhost"), ("127.0.0.1.nip.io", None)])
@pytest.mark.parametrize("method", ["POST", "OPTIONS", "GET"])
def test_a_name_that_nobody_allowed_is_refused(client, gateway, host, origin, method):
    reply = client.send(message("ping") if method == "POST" else None, method=method, Host=host, Origin=origin)
    error_of(reply, 403, 403)
    assert reply.header("access-control-allow-origin") is None
    assert gateway.metrics().sum("rejected_total", reason="origin") == 1


def test_names_that_are_allowed_are_welcome(start):
    client = Client(start({"mcp": {"allowed_hosts": ["Tools.example.com"],
                                   "allowed_origins": ["https://inspector.example.com"]}}))
    reply = client.send(message("ping"), Host="tools.example.com:443", Origin="https://inspector.example.com")
    assert reply.status == 200
    assert reply.header("access-control-allow-origin") == "https://inspector.example.com"
    assert client.send(message("ping"), Origin="https://inspector.example.com:444").status == 403
    assert client.send(message("ping"), Host="other.example.com").status == 403


def test_a_star_allows_all(start):
    client = Client(start({"mcp": {"allowed_hosts": ["*"], "allowed_origins": ["*"]}}))
    assert client.send(message("ping"), Host="evil.example", Origin="null").status == 200


def test_a_browser_may_ask_first(client):
    reply = client.send(None, method="OPTIONS", Origin="http://localhost:6274",
                        Access_Control_Request_Method="POST", Access_Control_Request_Headers="mcp-param-region")
    assert reply.status == 204
    assert reply.header("access-control-allow-origin") == "http://localhost:6274"
    assert "POST" in reply.header("access-control-allow-methods")
    allowed = [name.strip().lower() for name in reply.header("access-control-allow-headers").split(",")]
    assert {"*", "authorization", "mcp-protocol-version", "mcp-method", "mcp-name", "last-event-id"} <= set(allowed)


def test_a_browser_may_read_every_answer(client):
    for reply in (client.send(message("ping"), Origin="http://localhost:1"), client.send(b"{", Origin="http://localhost:1"),
                  client.send(None, method="GET", Origin="http://localhost:1"),
                  client.call("echo", {"a": 1}, Origin="http://localhost:1"),
                  client.ask("x", number=None, Origin="http://localhost:1")):
        assert reply.header("access-control-allow-origin") == "http://localhost:1", reply
        assert "WWW-Authenticate" in reply.header("access-control-expose-headers")
        assert reply.header("vary") == "Origin"


# ---- tokens ----

def test_without_an_issuer_nobody_is_sent_anywhere(client, gateway):
    assert client.ask("ping").status == 200
    for path in ("", "/mcp"):
        assert gateway.get("/.well-known/oauth-protected-resource" + path).status == 404
    assert gateway.get("/.well-known/oauth-authorization-server").status == 404


def test_an_issuer_is_where_clients_without_a_token_are_sent(start):
    gateway = start({"mcp": {"issuer": "https://login.example.com"}, "trusted_proxies": ["127.0.0.1/32"]})
    client = Client(gateway)
    reply = client.ask("tools/list")
    error_of(reply, 401, 401)
    at = "http://localhost:8080/.well-known/oauth-protected-resource/mcp"
    assert reply.header("www-authenticate") == f'Bearer resource_metadata="{at}"'
    assert client.ask("tools/list", Authorization="Basic x").status == 401
    assert client.ask("tools/list", Authorization="Bearer x").status == 200
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "tools.example.com, inner"}
    for path in ("", "/mcp"):
        found = gateway.request("GET", "/.well-known/oauth-protected-resource" + path, None, forwarded)
        assert found.status == 200
        assert found.header("access-control-allow-origin") == "*"
        assert found.json()["resource"] == "https://tools.example.com/mcp"
        assert found.json()["authorization_servers"] == ["https://login.example.com"]
    challenge = client.ask("ping", **{name.replace("-", "_"): value for name, value in forwarded.items()})
    assert "https://tools.example.com/.well-known" in challenge.header("www-authenticate")


def test_forwarded_names_of_strangers_are_not_believed(start):
    gateway = start({"mcp": {"issuer": "https://login.example.com"}})
    reply = gateway.request("GET", "/.well-known/oauth-protected-resource", None,
                            {"Host": "localhost:1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"})
    assert reply.json()["resource"] == "http://localhost:1/mcp"


# ---- how it is answered ----

def test_who_takes_events_only_gets_an_event(client, provider):
    provider.behaviour = behave.answering(b'{\n "a":\r\n 1.0}')
    reply = client.call("write", Accept="text/event-stream")
    assert reply.header("content-type") == "text/event-stream"
    lines = reply.body.decode().split("\n")
    assert lines[0] == "event: message" and lines[-2:] == ["", ""]
    assert all(line.startswith("data: ") for line in lines[1:-2])
    document = json.loads("\n".join(line.removeprefix("data: ") for line in lines[1:-2]))
    assert document["result"]["structuredContent"] == {"a": 1.0}


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/json, text/event-stream"])
def test_everybody_else_gets_json(client, accept):
    assert client.call("echo", Accept=accept).header("content-type") == "application/json"


def test_a_client_that_leaves_takes_its_call_along(gateway, provider, later):
    provider.hold()
    first = later(Client(gateway).call, "write", {"n": 1})
    provider.until_deliveries(1)
    with gateway.connect() as connection:
        body = json.dumps(message("tools/call", {"name": "write", "arguments": {"n": 2}})).encode()
        connection.send(request_bytes("POST", "/mcp", body, {"Host": "localhost"}))
        gateway.until_metric("in_flight_requests", 2)
    gateway.until_metric("requests_total", 1, tool="write", outcome="cancelled")
    provider.release()
    assert "result" in first.result(20).json()
    gateway.until_metric("in_flight_requests", 0)


def test_what_was_asked_is_counted_and_logged(client, gateway):
    client.call("echo")
    client.call_modern("echo")
    client.send([message("tools/call", {"name": "echo"}), message("ping", number=2)])
    client.ask("made/up")
    figures = gateway.metrics()
    assert figures.sum("mcp_messages_total", method="tools/call", era="legacy") == 2
    assert figures.sum("mcp_messages_total", method="tools/call", era="modern") == 1
    assert figures.sum("mcp_messages_total", method="ping") == 1
    assert figures.sum("mcp_messages_total", method="other") == 1
    assert figures.sum("requests_total", tool="echo", outcome="ok") == 3
    until(lambda: len(gateway.events("call")) == 3, "three calls are in the log")
    assert {event["tool"] for event in gateway.events("call")} == {"echo"}
