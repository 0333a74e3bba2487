# SPDX-License-Identifier: Apache-2.0
"""The last lists of MCP servers outlive a restart, in a file that is believed as far as a stranger's."""
import json
import os
import sys
from pathlib import Path

import pytest

from harness.mcp_lists import listed, lists, upstream
from harness.mcp_server import tool
from harness.poll import until
from test_reload import reloaded

STDIO = Path(__file__).parent / "harness" / "stdio_server.py"


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "kept.lists"


@pytest.fixture
def behind(make, kept):
    def build(upstreams, **config):
        return make(config={"listen": "127.0.0.1:0", "admin": {"listen": "127.0.0.1:0"}, "workers": 2,
                            "upstreams": upstreams, "mcp": {"lists": str(kept)}, **config}).start()

    return build


def settle(gateway):
    until(lambda: all(entry["list"] == "fresh" for entry in lists(gateway).values()), "all have spoken")


@pytest.fixture
def left(serve, behind):
    """What a gateway in front of two servers, m and n, has left behind; the servers are silent now."""
    m = serve([tool("echo"), tool("old", description="As it was.")], instructions="Ask m.")
    n = serve([tool("write")], era="modern")
    gateway = behind({"m": upstream(m), "n": upstream(n)})
    settle(gateway)
    assert gateway.stop() == 0
    for server in (m, n):
        server.hold_open = True
    return m, n


def rpc(gateway, method):
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"protocolVersion": "2025-11-25"}}
    return json.loads(gateway.request("POST", "/mcp", json.dumps(message), [("Content-Type", "application/json")]).body)


def test_tools_are_there_before_their_servers(left, behind, kept, later):
    m, n = left
    gateway = behind({"m": upstream(m), "n": upstream(n)})
    assert set(listed(gateway)) == {"m__echo", "m__old", "n__write"}
    assert len(rpc(gateway, "tools/list")["result"]["tools"]) == 3, "at once, not after await_lists"
    assert "Ask m." in rpc(gateway, "initialize")["result"]["instructions"]
    assert gateway.get("/readyz").status == 200
    assert [entry["list"] for entry in lists(gateway).values()] == ["kept", "kept"]
    assert all(0 <= entry["age_ms"] < 60000 for entry in lists(gateway).values())
    assert gateway.metrics().sum("upstream_tools_stale") == 2
    assert len(gateway.events("list_kept")) == 2
    known = later(gateway.call, "m__echo", {"n": 1})
    new = later(gateway.call, "m__new", {"n": 2})
    assert gateway.call("m__none", {}, x_request_timeout_ms="200").code == "upstream_unavailable", "nobody knows yet"
    m.tools = [tool("echo"), tool("old", description="Another one."), tool("new")]
    for server in (m, n):
        server.released.set()
    assert known.result(20).status == 200 and new.result(20).status == 200
    settle(gateway)
    assert set(listed(gateway)) == {"m__echo", "m__old", "m__new", "n__write"}
    assert gateway.call("m__none", {}).code == "unknown_tool"
    assert [event["tool"] for event in gateway.events("tool_changed")] == ["m__old"], "over the restart too"
    assert gateway.metrics().sum("upstream_tools_stale") == 0
    assert oct(kept.stat().st_mode)[-3:] == "600"


def test_without_the_option_nothing_is_kept(left, behind):
    m, n = left
    assert not listed(behind({"m": upstream(m), "n": upstream(n)}, mcp={}))


def test_a_server_that_fails_keeps_what_was_kept(left, behind, kept):
    m, n = left
    m.hold_open, m.refuse_open = False, 500
    for _ in range(2):
        gateway = behind({"m": upstream(m), "n": upstream(n)})
        until(lambda: "500" in lists(gateway)["m"].get("why", ""), "it has failed")
        assert (lists(gateway)["m"]["list"], lists(gateway)["m"]["shown"]) == ("kept", 2)
        assert gateway.stop() == 0


DAMAGES = {
    "empty": lambda text: b"",
    "cut": lambda text: text[:-1],
    "cut in half": lambda text: text[:len(text) // 2],
    "one byte": lambda text: text.replace(b"As it was.", b"As it wAs."),
    "longer": lambda text: text + b"x",
    "of another kind": lambda text: text.replace(b"jitney-lists 1", b"jitney-lists 2"),
    "no text": lambda text: os.urandom(5000),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_passed_over_and_told_once(left, behind, kept, damage):
    m, n = left
    kept.write_bytes(DAMAGES[damage](kept.read_bytes()))
    gateway = behind({"m": upstream(m), "n": upstream(n)})
    assert not listed(gateway)
    assert [entry["list"] for entry in lists(gateway).values()] == ["awaited", "awaited"]
    assert len(gateway.events("lists_not_used")) == 1 and not gateway.events("list_kept")
    for server in (m, n):
        server.released.set()
    settle(gateway)
    assert gateway.stop() == 0
    again = behind({"m": upstream(m), "n": upstream(n)})
    assert len(again.events("list_kept")) == 2, "the file is whole again"


@pytest.mark.parametrize("what", ["directory", "fifo", "link"])
def test_what_is_no_file_is_not_read(left, behind, kept, what):
    m, n = left
    kept.rename(kept.with_suffix(".real"))
    if what == "directory":
        kept.mkdir()
    elif what == "fifo":
        os.mkfifo(kept)
    else:
        kept.symlink_to(kept.with_suffix(".real"))
    gateway = behind({"m": upstream(m), "n": upstream(n)})
    assert not listed(gateway)
    assert len(gateway.events("lists_not_used")) == 1


def test_a_list_counts_for_its_own_server_only(left, serve, behind):
    m, n = left
    other = serve([tool("other")], hold_open=True)
    gateway = behind({"m": upstream(other), "moved": upstream(m), "n": upstream(n)})
    assert set(listed(gateway)) == {"n__write"}, "m is another server, moved another name"
    assert not gateway.events("lists_not_used"), "that is no damage"
    other.released.set()
    m.released.set()
    n.released.set()
    settle(gateway)
    assert gateway.stop() == 0


@pytest.mark.parametrize("change", [{}, {"args": [str(STDIO), "--other"]}, {"env": {"OTHER": "1"}}, {"cwd": "/"}])
def test_a_programs_list_counts_for_the_same_command(behind, change):
    def program(**changes):
        return {"p": {"dialect": "mcp-stdio", "command": sys.executable, "args": [str(STDIO)], **changes}}

    gateway = behind(program())
    settle(gateway)
    assert gateway.stop() == 0
    again = behind(program(**change))
    assert len(again.events("list_kept")) == (0 if change else 1)
    settle(again)


@pytest.mark.parametrize("token", ["mine", "another"])
def test_a_list_counts_for_the_same_account(serve, behind, token):
    m = serve([tool("echo")])
    gateway = behind({"m": upstream(m, headers={"Authorization": "Bearer mine"})})
    settle(gateway)
    assert gateway.stop() == 0
    again = behind({"m": upstream(m, headers={"Authorization": f"Bearer {token}"})})
    assert len(again.events("list_kept")) == (token == "mine")
    settle(again)


def test_a_file_that_cannot_be_written_is_told_once(serve, behind, kept):
    kept.with_suffix(".lists.new").mkdir()
    m = serve([tool("echo")], list_changed=True)
    gateway = behind({"m": upstream(m)})
    settle(gateway)
    until(lambda: gateway.events("lists_not_written"), "it is told")
    m.change_tools([tool("echo"), tool("more")])
    until(lambda: "m__more" in listed(gateway), "all goes on")
    assert gateway.stop() == 0
    assert len(gateway.events("lists_not_written")) == 1


def test_without_the_option_lists_are_beside_the_disk_tier(serve, behind, tmp_path):
    m = serve([tool("echo")])
    config = {"mcp": {}, "cache": {"disk": {"path": str(tmp_path / "cache")}}}
    gateway = behind({"m": upstream(m)}, **config)
    settle(gateway)
    assert gateway.stop() == 0
    m.hold_open = True
    assert (tmp_path / "cache" / "mcp.lists").exists()
    again = behind({"m": upstream(m)}, **config)
    assert set(listed(again)) == {"m__echo"}
    m.released.set()


def test_a_reload_does_not_make_one_servers_list_anothers(left, serve, behind):
    """What is shown until the new server has spoken is not kept as what it said."""
    m, n = left
    for server in (m, n):
        server.released.set()
    gateway = behind({"m": upstream(m), "n": upstream(n, tools_refresh="1s")})
    settle(gateway)
    other = serve([tool("other")], hold_open=True)
    reloaded(gateway, {"upstreams": {"m": {"endpoints": [{"url": other.url()}]}}})
    n.tools = [tool("write"), tool("more")]
    until(lambda: "n__more" in listed(gateway), "another list has changed, and is kept")
    assert gateway.stop() == 0
    again = behind({"m": upstream(other), "n": upstream(n, tools_refresh="1s")})
    assert "upstream n" in again.events("list_kept")[0]["message"] and len(again.events("list_kept")) == 1
    other.released.set()
    settle(again)


def test_lists_are_kept_from_the_reload_on_that_says_so(left, behind, kept):
    m, n = left
    for server in (m, n):
        server.released.set()
    kept.unlink()
    gateway = behind({"m": upstream(m), "n": upstream(n)}, mcp={"list_ttl": "1m"})
    settle(gateway)
    reloaded(gateway, {"mcp": {"lists": str(kept)}})
    assert gateway.stop() == 0
    assert len(behind({"m": upstream(m), "n": upstream(n)}).events("list_kept")) == 2
