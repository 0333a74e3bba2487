# SPDX-License-Identifier: Apache-2.0
"""Tools that MCP servers list, as callers and operators see them."""
import json
import os
import subprocess
import time

import pytest

from harness.mcp_lists import listed, lists, upstream
from harness.mcp_server import HINTS, tool
from harness.poll import until
from harness.wire import request_bytes


@pytest.fixture
def behind(make):
    def build(upstreams, tools=None, **config):
        return make(config={"listen": "127.0.0.1:0", "admin": {"listen": "127.0.0.1:0"}, "workers": 2,
                            "upstreams": upstreams, "tools": tools or {}, **config}).start()

    return build


def test_names_globs_overrides_and_constants(serve, behind):
    server = serve([tool("echo", inputSchema={"type": "object", "properties": {"key": {}, "q": {}}, "required": ["key"]}),
                    tool("fs.read"), tool("secret_one")])
    gateway = behind({"m": upstream(server, expose={"deny": ["secret_*"]})},
                     {"say": {"upstream": "m", "tool": "echo", "description": "Says it", "arguments": {"key": "K"}}})
    tools = until(lambda: len(listed(gateway)) == 2 and listed(gateway), "the list is there")
    assert set(tools) == {"say", "m__fs_read"}
    assert tools["say"]["description"] == "Says it"
    assert tools["say"]["inputSchema"] == {"type": "object", "properties": {"q": {}}, "required": []}
    assert gateway.call("say", {"q": 1, "key": "mine"}).status == 200
    assert server.calls("echo")[0].message["params"]["arguments"] == {"key": "K", "q": 1}
    assert gateway.call("m__secret_one", {}).status == 404


def test_streams_that_close_at_once_are_opened_less_and_less_often(serve, behind):
    server = serve([tool("echo")], list_changed=True, close_streams=True)
    behind({"m": upstream(server)})
    gets = until(lambda: (found := [seen.at for seen in server.seen if seen.verb == "GET"])[3:] and found,
                 "it is tried a fourth time")
    assert gets[3] - gets[2] > 3.5, "the wait doubles: 1 s, 2 s, 4 s"
    assert len(server.of("tools/list")) <= len(gets) + 1


def test_a_storm_of_changes_is_not_followed(serve, behind):
    server = serve([tool("echo")], list_changed=True)
    gateway = behind({"m": upstream(server, names="plain")})
    until(lambda: "echo" in listed(gateway), "the list is there")
    end = time.monotonic() + 4
    while time.monotonic() < end:
        server.change_tools([tool("echo"), tool(f"n{len(server.seen)}")])
        time.sleep(0.02)
    assert len(server.of("tools/list")) <= 9, "at 0, 0.1, 0.3, 0.7, 1.5, 3.1 s or so"
    last = server.tools[1]["name"]
    until(lambda: last in listed(gateway), "the last change is seen in the end")


def bomb(bytes_wanted):
    """A tool whose schema has as many properties in anyOf as beside it."""
    properties = {f"p{i}": {} for i in range(bytes_wanted // 26)}
    return tool("bomb", inputSchema={"type": "object", "properties": properties,
                                     "anyOf": [{"properties": {f"q{i}": {} for i in range(len(properties))}}]})


def test_a_schema_bomb_holds_up_nobody(serve, behind):
    """What one server lists costs in proportion to its length, within bounds, and no stop waits for it."""
    dud, heavy, fine = serve([bomb(600 << 10)]), serve([bomb(200 << 10)]), serve([tool("echo")])
    huge = serve([tool(f"t{i}", description="x" * 1000) for i in range(6000)])
    gateway = behind({"dud": upstream(dud), "heavy": upstream(heavy), "huge": upstream(huge), "fine": upstream(fine)})
    until(lambda: {"fine__echo", "heavy__bomb"} <= set(listed(gateway)), "the others' tools are there")
    until(lambda: lists(gateway)["dud"]["refused"], "the bomb is refused")
    assert "262144 are allowed" in lists(gateway)["dud"]["refused"][0]["why"]
    until(lambda: "too large" in lists(gateway)["huge"].get("why", ""), "so is a list that is too long")
    assert gateway.stop() == 0


def test_a_call_that_comes_before_its_list_waits_for_it(serve, behind, later):
    server = serve([tool("echo")], hold_open=True)
    gateway = behind({"m": upstream(server)})
    assert gateway.get("/readyz").status == 503 and gateway.get("/readyz").json()["status"] == "starting"
    futures = [later(gateway.call, "m__echo", {"n": n}) for n in range(5)]
    gone = gateway.connect()
    gone.send(request_bytes("POST", "/v1/tools/m__echo", b"{}"))
    assert gateway.call("other", {}).code == "unknown_tool", "no server would call its tool so"
    hurried = gateway.call("m__echo", {}, x_request_timeout_ms="200")
    assert (hurried.status, hurried.code) == (503, "upstream_unavailable"), hurried
    assert "m: it has not said yet which tools it has" in json.loads(hurried.body)["detail"]
    gone.reset()
    server.released.set()
    assert [future.result(20).status for future in futures] == [200] * 5
    assert len(server.calls("echo")) == 5
    until(lambda: gateway.get("/readyz").status == 200, "it is ready")
    assert gateway.call("m__none", {}).code == "unknown_tool"


def rpc(gateway, method, **params):
    reply = gateway.request("POST", "/mcp", json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}),
                            [("Content-Type", "application/json"), ("Host", "localhost")])
    return json.loads(reply.body)


def test_an_mcp_client_that_comes_first_sees_the_whole_list(serve, behind, later):
    slow, quick = serve([tool("a")], hold_open=True), serve([tool("b")])
    gateway = behind({"slow": upstream(slow), "quick": upstream(quick)})
    seen = later(rpc, gateway, "tools/list")
    called = later(rpc, gateway, "tools/call", name="slow__a", arguments={})
    until(lambda: "quick__b" in listed(gateway), "one list is there")
    slow.released.set()
    assert {entry["name"] for entry in seen.result(20)["result"]["tools"]} == {"slow__a", "quick__b"}
    assert called.result(20)["result"]["content"]


def test_an_mcp_client_is_told_that_a_list_is_awaited(serve, behind):
    server = serve([tool("a")], refuse_open=500)
    gateway = behind({"m": upstream(server)}, mcp={"await_lists": "300ms"})
    assert rpc(gateway, "tools/list")["result"]["tools"] == []
    error = rpc(gateway, "tools/call", name="m__a", arguments={})["error"]
    assert (error["code"], error["data"]["code"]) == (503, "upstream_unavailable"), error


def test_the_first_lists_are_not_waited_for_for_ever(serve, behind):
    server = serve([tool("echo")], refuse_open=500)
    gateway = behind({"m": upstream(server)}, mcp={"await_lists": "1500ms"})
    reply = gateway.call("m__echo", {})
    assert (reply.status, reply.code) == (503, "upstream_unavailable"), reply
    assert "500" in json.loads(reply.body)["detail"], "the reason is told"
    assert gateway.get("/readyz").status == 200
    server.refuse_open = None
    assert until(lambda: gateway.call("m__echo", {}).status == 200, "it is there at last")


def test_a_stop_does_not_wait_for_lists(serve, behind):
    server = serve([tool("echo")], hold_open=True)
    gateway = behind({"m": upstream(server)}, workers=1)
    with gateway.connect() as connection:
        assert connection.request("GET", "/healthz").status == 200
        connection.send(request_bytes("POST", "/v1/tools/m__echo", b"{}"))
        assert gateway.call("m__echo", {}, x_request_timeout_ms="100").status == 503, "the first one is waiting by then"
        gateway.stop()
        assert connection.reply().status == 503


def test_a_tool_that_has_gone_is_unknown_and_comes_back(serve, behind):
    server = serve([tool("echo", **HINTS)])
    gateway = behind({"m": upstream(server, names="plain", tools_refresh="1s", trust_hints=True,
                                    cache={"ttl": "60s", "scope": "shared"})})
    until(lambda: "echo" in listed(gateway), "the list is there")
    assert gateway.call("echo", {}).status == 200
    server.tools = []
    until(lambda: "echo" not in listed(gateway), "the tool has gone")
    assert gateway.call("echo", {}).code == "unknown_tool"
    server.tools = [tool("echo", inputSchema={"type": "object", "properties": {"n": {}}}, **HINTS)]
    until(lambda: "echo" in listed(gateway), "the tool is back")
    assert gateway.call("echo", {}).status == 200
    assert len(server.calls("echo")) == 2  # another schema: what was kept is not served


def test_clashes_and_refusals_are_shown(serve, behind):
    one = serve([tool("same"), tool("s", inputSchema={"type": "string"}), tool("x" * 70)])
    two = serve([tool("same")])
    gateway = behind({"one": upstream(one, names="plain"), "two": upstream(two, names="plain")})
    until(lambda: all(entry["list"] == "fresh" for entry in lists(gateway).values()), "both lists are there")
    shown = lists(gateway)
    refused = {entry["tool"]: entry["why"] for each in shown.values() for entry in each["refused"]}
    assert set(refused) == {"same", "s", "x" * 70}
    assert "names: prefixed" in refused["same"] and "of type object" in refused["s"] and "64" in refused["x" * 70]
    assert set(listed(gateway)) == {"same"}
    assert gateway.events("tool_refused")
    assert gateway.metrics().sum("upstream_tools_refused") == 3


def test_a_server_that_fails_is_stale_everywhere_and_delays_nobody(serve, behind):
    good, bad = serve([tool("a")]), serve([tool("b")])
    gateway = behind({"good": upstream(good), "bad": upstream(bad, tools_refresh="1s", timeout="2s")})
    until(lambda: set(listed(gateway)) == {"good__a", "bad__b"}, "both lists are there")
    bad.fail_list = 500
    until(lambda: lists(gateway)["bad"]["list"] == "stale", "the list is stale")
    assert set(listed(gateway)) == {"good__a", "bad__b"}
    assert lists(gateway)["bad"]["why"]
    assert lists(gateway)["good"]["list"] == "fresh"
    ready = json.loads(gateway.get("/readyz").body)["components"]["upstreams"]["bad"]["tools"]
    assert ready["list"] == "stale"
    assert gateway.metrics().sum("upstream_tools_stale", upstream="bad") == 1
    bad.fail_list = None
    until(lambda: lists(gateway)["bad"]["list"] == "fresh", "the list is fresh again")


def test_fifty_servers_with_a_thousand_tools_are_listed_at_once(serve, behind):
    servers = [serve([tool(f"t{n}") for n in range(20)]) for _ in range(50)]
    gateway = behind({f"s{n}": upstream(server) for n, server in enumerate(servers)})
    until(lambda: len(listed(gateway)) == 1000, "all tools are there")
    assert len(json.loads(gateway.get("/v1/tools").body)["tools"]) == 1000


def test_rest_callers_may_have_the_whole_result(serve, behind):
    gateway = behind({"m": upstream(serve([tool("echo")]))})
    until(lambda: listed(gateway), "the list is there")
    whole = gateway.call("m__echo?full=1", {"a": 1})
    assert "content" in json.loads(whole.body)
    assert "content" not in json.loads(gateway.call("m__echo", {"a": 1}).body)


def test_an_imported_configuration_passes_the_check(tmp_path):
    client = tmp_path / "mcp.json"
    client.write_text(json.dumps({"mcpServers": {
        "web": {"type": "http", "url": "https://example.com/mcp", "headers": {"Authorization": "Bearer HUSH"}},
        "off": {"command": "npx", "disabled": True}}}))
    jitney = os.environ["JITNEY"]
    made = subprocess.run([jitney, "import", client], capture_output=True, text=True, check=True).stdout
    assert "HUSH" not in made and "WEB_AUTHORIZATION" in made
    config = tmp_path / "jitney.yaml"
    config.write_text(made)
    check = subprocess.run([jitney, "check", "-c", config], env={**os.environ, "WEB_AUTHORIZATION": "x"},
                           capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stderr
    assert subprocess.run([jitney, "import", tmp_path / "none"], capture_output=True, check=False).returncode == 1
