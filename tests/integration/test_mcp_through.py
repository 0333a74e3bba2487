# SPDX-License-Identifier: Apache-2.0
"""MCP clients in front, MCP servers behind: what goes through, and how."""
import json

import pytest

from harness.mcp_client import Client, Stream, message, modern
from harness.mcp_server import McpServer, tool
from harness.poll import until

ERAS = ("legacy", "modern")
SERVER = "io.modelcontextprotocol/serverInfo"


@pytest.fixture
def through(make):
    """through(era of the server, ...) gives the server and a gateway that has its tools."""
    servers = []

    def build(era, **changes):
        server = McpServer(era, **changes)
        servers.append(server)
        upstream = {"dialect": "mcp", "endpoints": [{"url": server.url()}], "names": "plain", "timeout": "8s"}
        gateway = make(config={"listen": "127.0.0.1:0", "admin": {"listen": "127.0.0.1:0"}, "workers": 2,
                               "upstreams": {"m": upstream}}).start()
        until(lambda: listed(gateway), "the tools are there")
        return server, gateway

    yield build
    for server in servers:
        server.finish()


def listed(gateway):
    return {each["name"]: each for each in Client(gateway).ask("tools/list").json()["result"]["tools"]}


@pytest.mark.parametrize("behind", ERAS)
def test_a_result_goes_through_in_either_era(through, behind):
    server, gateway = through(behind)
    client = Client(gateway)
    old = client.call("echo", {"a": 1.5}).json()["result"]
    new = client.call_modern("echo", {"a": 1.5}).json()["result"]
    assert json.loads(old["content"][0]["text"]) == json.loads(new["content"][0]["text"]) == {"a": 1.5}
    assert new["resultType"] == "complete"
    assert SERVER in new["_meta"]
    assert [seen.message["params"]["arguments"] for seen in server.calls("echo")] == [{"a": 1.5}] * 2


@pytest.mark.parametrize("behind", ERAS)
def test_a_failing_tool_keeps_its_own_words(through, behind):
    _, gateway = through(behind)
    for result in (Client(gateway).call("fail").json()["result"], Client(gateway).call_modern("fail").json()["result"]):
        assert result["isError"] is True
        assert result["content"][0]["type"] == "text"


@pytest.mark.parametrize("behind", ERAS)
def test_mirrored_arguments_are_checked_in_front_and_mirrored_behind(through, behind):
    server, gateway = through(behind)
    client = Client(gateway)
    assert "x-mcp-header" in listed(gateway)["region"]["inputSchema"]["properties"]["region"]
    assert client.call_modern("region", {"region": "us", "n": 1}).json()["error"]["code"] == -32020
    assert server.calls("region") == []
    fine = client.call_modern("region", {"region": "us", "n": 1}, Mcp_Param_Region="us", Mcp_Param_N="1")
    assert "result" in fine.json(), fine
    if behind == "modern":
        assert server.calls("region")[0].headers["mcp-param-region"] == "us"


@pytest.mark.parametrize("behind", ERAS)
def test_whoever_listens_hears_of_a_changed_list(through, behind):
    server, gateway = through(behind, list_changed=True)
    streams = [Stream(gateway, modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, n))
               for n in range(4)]
    for stream in streams:
        assert stream.event()["method"] == "notifications/subscriptions/acknowledged"
    server.change_tools([tool("echo"), tool("fresh")])
    for n, stream in enumerate(streams):
        event = stream.event()
        assert event["method"] == "notifications/tools/list_changed"
        assert event["params"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": n}
        stream.close()
    assert set(listed(gateway)) == {"echo", "fresh"}


@pytest.mark.parametrize("behind", ERAS)
def test_the_servers_instructions_are_passed_on(through, behind):
    _, gateway = through(behind, instructions='Ask "echo" first.\n' + 3000 * "ü")
    client = Client(gateway)
    old = client.ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}}).json()["result"]
    new = client.ask_modern("server/discover").json()["result"]
    assert old["instructions"] == new["instructions"]
    assert old["instructions"].startswith('m: Ask "echo" first.\nüü')
    assert 4090 <= len(old["instructions"].encode()) - len("m: ") <= 4096  # whole characters


def test_an_array_of_initialize_does_not_multiply_them(through):
    _, gateway = through("legacy", instructions="Ask.")
    reply = Client(gateway).send([message("initialize", {"protocolVersion": "2025-03-26"}, n) for n in range(3)])
    assert [len(each["result"].get("instructions", "")) for each in reply.json()] == [0, 0, 0]
