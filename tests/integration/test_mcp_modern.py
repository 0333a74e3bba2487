# SPDX-License-Identifier: Apache-2.0
"""POST /mcp as clients of 2026-07-28 use it: every request for itself, mirrored headers, subscriptions."""
import base64

import pytest

from harness import provider as behave
from harness.mcp_client import MODERN, Client, Stream, message, mirrored, modern, posted
from harness.poll import until

VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
SERVER = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"

REGIONAL = {"type": "object", "properties": {
    "region": {"type": "string", "x-mcp-header": "Region"},
    "count": {"type": "integer", "x-mcp-header": "Count"},
    "dry": {"type": "boolean", "x-mcp-header": "Dry"},
    "query": {"type": "string"},
    "deep": {"type": "object", "properties": {"er": {"type": "string", "x-mcp-header": "Deeper"}}},
    "list": {"type": "array", "items": {"type": "object", "properties": {"no": {"x-mcp-header": "No"}}}}}}


@pytest.fixture
def regional(start):
    return Client(start({"tools": {"echo": {"input_schema": REGIONAL}}}))


def encoded(text):
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def refused(reply, status, code):
    assert reply.status == status, reply
    document = reply.json()
    assert document["id"] == 1
    assert document["error"]["code"] == code, document
    return document["error"]


# ---- what there is ----

def test_discover_says_what_is_spoken(client):
    result = client.ask_modern("server/discover").json()["result"]
    assert result["resultType"] == "complete"
    assert result["supportedVersions"] == [MODERN]
    assert result["capabilities"] == {"tools": {"listChanged": True}, "logging": {}}
    assert (result["ttlMs"], result["cacheScope"]) == (60000, "public")
    assert result["_meta"][SERVER]["name"] == "jitney"


def test_the_list_says_how_long_it_may_be_kept(start):
    client = Client(start({"mcp": {"list_ttl": "5s"}}))
    result = client.ask_modern("tools/list").json()["result"]
    assert result["resultType"] == "complete"
    assert (result["ttlMs"], result["cacheScope"]) == (5000, "public")
    assert [tool["name"] for tool in result["tools"]] == ["cached", "echo", "item", "send", "write"]
    assert result["_meta"][SERVER]["name"] == "jitney"


def test_a_call_gets_its_result(client):
    reply = client.call_modern("echo", {"q": "hello"})
    assert reply.status == 200
    assert reply.header("mcp-session-id") is None
    result = reply.json()["result"]
    assert result["resultType"] == "complete"
    assert result["structuredContent"] == {"echo": {"q": "hello"}}
    assert result["_meta"][SERVER]["name"] == "jitney"


def test_a_failure_says_who_says_so(client, provider):
    provider.behaviour = behave.failing(-32000, "no")
    result = client.call_modern("write").json()["result"]
    assert (result["resultType"], result["isError"]) == ("complete", True)
    assert {SERVER, "jitney/error"} == set(result["_meta"])


@pytest.mark.parametrize("method", ["initialize", "ping", "logging/setLevel", "resources/list", "nonsense"])
def test_a_method_that_is_not_there_is_not_found(client, method):
    refused(client.ask_modern(method), 404, -32601)


def test_both_eras_are_served_side_by_side(client):
    assert "resultType" not in client.call("echo").json()["result"]
    assert "resultType" in client.call_modern("echo").json()["result"]
    assert client.call("echo", MCP_Protocol_Version="2025-06-18").status == 200


def test_a_notification_is_accepted(client):
    document = modern("notifications/cancelled", number=None)
    assert client.send(document, **mirrored(document)).status == 202


def test_the_callers_trace_goes_on(client, gateway):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert client.ask_modern("tools/call", {"name": "echo"}, meta={"traceparent": trace}, Mcp_Name="echo").status == 200
    until(lambda: gateway.events("call"), "the call is in the log")
    assert gateway.events("call")[0]["trace_id"] == trace[3:35]


# ---- what every request has to say ----

def test_a_request_without_meta_is_refused(client, provider):
    document = message("tools/call", {"name": "echo"})
    refused(client.send(document, **mirrored(document)), 400, -32602)
    refused(client.ask_modern("tools/list", meta={VERSION: None}), 400, -32602)
    refused(client.ask_modern("tools/list", meta={CAPABILITIES: None}), 400, -32602)
    refused(client.ask_modern("tools/list", meta={CAPABILITIES: []}), 400, -32602)
    assert provider.deliveries == []


def test_the_client_need_not_say_its_name(client):
    assert client.ask_modern("tools/list", meta={"io.modelcontextprotocol/clientInfo": None}).status == 200


def test_a_version_that_nobody_speaks_is_refused_with_those_that_are(client):
    error = refused(client.ask_modern("tools/list", meta={VERSION: "2099-01-01"},
                                      MCP_Protocol_Version="2099-01-01"), 400, -32022)
    assert error["data"]["supported"] == [MODERN]
    assert error["data"]["requested"] == "2099-01-01"


@pytest.mark.parametrize("headers", [
    {"MCP_Protocol_Version": None}, {"MCP_Protocol_Version": "2025-11-25"}, {"Mcp_Method": None},
    {"Mcp_Method": "tools/list"}, {"Mcp_Method": "TOOLS/CALL"}, {"Mcp_Name": None}, {"Mcp_Name": "write"},
    {"Mcp_Name": ""}, {"Mcp_Name": "=?base64?%%%?="}, {"Mcp_Name": "=?base64?d3JpdGU=?="}])
def test_a_header_that_does_not_match_is_refused(client, provider, headers):
    refused(client.call_modern("echo", **headers), 400, -32020)
    assert provider.deliveries == []


@pytest.mark.parametrize("name", ["echo", " echo ", encoded("echo")])
def test_a_header_may_have_blanks_and_come_encoded(client, name):
    assert client.call_modern("echo", Mcp_Name=name).status == 200


def test_a_header_that_comes_twice_is_refused(client):
    assert client.call_modern("echo", mcp_name="echo").status == 400


def test_an_unknown_tool_is_an_error_of_the_protocol(client):
    assert refused(client.call_modern("nope"), 200, -32602)["data"]["code"] == "unknown_tool"


# ---- mirrored arguments ----

@pytest.mark.parametrize("arguments, headers", [
    ({}, {}), ({"query": "x"}, {}), ({"region": None}, {}),
    ({"region": "us-west1"}, {"Mcp_Param_Region": "us-west1"}),
    ({"region": "us-west1"}, {"MCP_PARAM_REGION": " us-west1\t"}),
    ({"region": "häh"}, {"Mcp_Param_Region": encoded("häh")}),
    ({"region": " x "}, {"Mcp_Param_Region": encoded(" x ")}),
    ({"region": ""}, {"Mcp_Param_Region": ""}),
    ({"count": 42}, {"Mcp_Param_Count": "42"}), ({"count": 42.0}, {"Mcp_Param_Count": "42"}),
    ({"count": -7}, {"Mcp_Param_Count": "-7.0"}),
    ({"dry": True}, {"Mcp_Param_Dry": "true"}), ({"dry": False}, {"Mcp_Param_Dry": "false"}),
    ({"deep": {"er": "a"}}, {"Mcp_Param_Deeper": "a"}),
    ({"list": [{"no": "x"}]}, {}), ({}, {"Mcp_Param_Unknown": "x"})])
def test_arguments_that_are_mirrored_well_go_on(regional, arguments, headers):
    assert regional.call_modern("echo", arguments, **headers).status == 200


@pytest.mark.parametrize("arguments, headers", [
    ({"region": "us-west1"}, {}), ({"region": "us-west1"}, {"Mcp_Param_Region": "us-west2"}),
    ({"region": "us-west1"}, {"Mcp_Param_Region": "US-WEST1"}),
    ({"region": "a"}, {"Mcp_Param_Region": "a", "mcp_param_region": "a"}),
    ({"region": "h\u00e4h"}, {"Mcp_Param_Region": "h\u00e4h"}),
    ({"region": "Hello"}, {"Mcp_Param_Region": "=?base64?SGVsbG8?="}),
    ({"region": "Hello"}, {"Mcp_Param_Region": "=?base64?SGVs!G8=?="}),
    ({"region": "Hello"}, {"Mcp_Param_Region": "=?BASE64?SGVsbG8=?="}),
    ({}, {"Mcp_Param_Region": "us-west1"}), ({"region": None}, {"Mcp_Param_Region": "null"}),
    ({"count": 42}, {"Mcp_Param_Count": "43"}), ({"count": 42}, {"Mcp_Param_Count": "42x"}),
    ({"count": 42}, {"Mcp_Param_Count": "0x2a"}), ({"count": 42}, {"Mcp_Param_Count": ""}),
    ({"dry": True}, {"Mcp_Param_Dry": "True"}), ({"dry": True}, {"Mcp_Param_Dry": "1"}),
    ({"deep": {"er": "a"}}, {"Mcp_Param_Deeper": "b"})])
def test_arguments_that_are_mirrored_badly_are_refused(regional, provider, arguments, headers):
    refused(regional.call_modern("echo", arguments, **headers), 400, -32020)
    assert provider.deliveries == []


def test_older_clients_mirror_nothing(regional):
    assert "result" in regional.call("echo", {"region": "us-west1"}).json()


# ---- cancellation ----

def test_a_client_that_closes_has_cancelled(gateway, client, provider, later):
    provider.hold()
    first = later(client.call_modern, "write", {"n": 1})
    provider.until_deliveries(1)
    with gateway.connect() as connection:
        connection.send(posted(modern("tools/call", {"name": "write", "arguments": {"n": 2}})))
        gateway.until_metric("in_flight_requests", 2)
    gateway.until_metric("requests_total", 1, tool="write", outcome="cancelled")
    provider.release()
    assert "result" in first.result(20).json()


# ---- subscriptions ----

LISTEN = {"notifications": {"toolsListChanged": True, "promptsListChanged": True}}


@pytest.mark.parametrize("number", [1, 0, "listen:0"])
def test_a_stream_is_acknowledged_first(gateway, number):
    stream = Stream(gateway, modern("subscriptions/listen", LISTEN, number))
    assert stream.head.status == 200
    assert stream.head.header("content-type") == "text/event-stream"
    assert stream.head.header("x-accel-buffering") == "no"
    assert stream.event() == {
        "jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
        "params": {"_meta": {SUBSCRIPTION: number}, "notifications": {"toolsListChanged": True}}}
    gateway.until_metric("mcp_subscriptions", 1)
    stream.close()
    gateway.until_metric("mcp_subscriptions", 0)


def test_what_is_not_there_is_not_acknowledged(gateway):
    stream = Stream(gateway, modern("subscriptions/listen", {"notifications": {"promptsListChanged": True}}))
    assert stream.event()["params"]["notifications"] == {}
    stream.close()


def test_streams_are_bounded_in_number(start):
    gateway = start({"mcp": {"subscriptions": 2}})
    streams = [Stream(gateway, modern("subscriptions/listen", LISTEN, n)) for n in range(2)]
    for stream in streams:
        stream.event()
    error = refused(Client(gateway).ask_modern("subscriptions/listen", LISTEN), 200, 503)
    assert error["data"]["code"] == "overloaded"
    assert gateway.metrics().sum("rejected_total", reason="subscriptions") == 1
    streams[0].close()
    gateway.until_metric("mcp_subscriptions", 1)
    again = Stream(gateway, modern("subscriptions/listen", LISTEN))
    again.event()
    again.close()
    streams[1].close()


@pytest.mark.parametrize("params", [{}, {"notifications": []}])
def test_a_stream_of_nothing_is_refused(client, params):
    refused(client.ask_modern("subscriptions/listen", params), 200, -32602)


def test_a_stop_ends_the_streams_at_once(start):
    gateway = start({"drain_timeout": "1h"})
    streams = [Stream(gateway, modern("subscriptions/listen", LISTEN, n)) for n in range(4)]
    for stream in streams:
        stream.event()
    assert gateway.stop() == 0
    assert all(stream.ended() for stream in streams)
