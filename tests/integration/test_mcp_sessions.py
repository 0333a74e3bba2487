# SPDX-License-Identifier: Apache-2.0
"""Sessions with legacy MCP servers: none is left behind."""
import json

import pytest

from harness.poll import until
from test_reload import reloaded


@pytest.fixture
def behind(make):
    def build(*servers, **config):
        gateway = make(config={
            "listen": "127.0.0.1:0", "admin": {"listen": "127.0.0.1:0"}, "workers": 2, "upstreams": {
                f"m{n}": {"dialect": "mcp", "endpoints": [{"url": server.url()}], "timeout": "8s"}
                for n, server in enumerate(servers)}, **config}).start()
        until(lambda: all(entry["list"] == "fresh" for entry in
                          json.loads(gateway.get("/admin/tools", "admin").body)["lists"]), "the tools are there")
        return gateway

    return build


def deletes(server):
    return [seen for seen in server.seen if seen.verb == "DELETE"]


def ended(gateway, how):
    return gateway.metrics().sum("upstream_mcp_session_ends_total", result=how)


def test_a_stop_ends_the_sessions_of_all_servers(serve, behind):
    servers = [serve() for _ in range(5)] + [serve(era="modern"), serve(sessions=False)]
    gateway = behind(*servers)
    assert [len(server.known) for server in servers] == [1, 1, 1, 1, 1, 0, 0]
    assert gateway.stop() == 0
    assert [server.known for server in servers] == [set()] * 7
    assert [len(deletes(server)) for server in servers] == [1, 1, 1, 1, 1, 0, 0]
    assert deletes(servers[0])[0].headers["mcp-protocol-version"] == "2025-11-25"


@pytest.mark.parametrize("fault", [{"hold_delete": True}, {"refuse_delete": 500}, {"refuse_delete": 405}])
def test_a_server_that_does_not_let_a_session_end_holds_up_no_stop(serve, behind, fault):
    server = serve(**fault)
    gateway = behind(server)
    assert gateway.stop() == 0
    assert len(deletes(server)) == 1
    assert len(gateway.events("mcp_session_left")) == (0 if fault == {"refuse_delete": 405} else 1)


def test_a_session_that_was_replaced_is_ended_after_its_last_call(serve, behind, later):
    """400 may be about a call: then the session lives on at the server, and others' calls in it."""
    server = serve(lost_status=400)
    gateway = behind(server)
    first = set(server.known)
    held = later(gateway.call, "m0__hold", {"n": 1})
    until(lambda: server.calls("hold"), "a call is in the session")
    server.forgetful = True
    assert gateway.call("m0__write", {}).status == 503
    server.forgetful = False
    until(lambda: len(server.known) == 2 and gateway.call("m0__write", {}).status == 200, "there is another session")
    assert not deletes(server), "somebody is still in the old one"
    server.released.set()
    assert held.result(20).status == 200, "and was answered"
    until(lambda: ended(gateway, "ended") == 1, "the old one is ended")
    assert len(server.known) == 1 and not first & server.known
    assert gateway.stop() == 0
    assert not server.known


def test_a_server_that_refuses_delete_is_counted_and_not_asked_again(serve, behind):
    server = serve(refuse_delete=405)
    gateway = behind(server)
    server.forget_sessions()
    gateway.call("m0__write", {})
    until(lambda: ended(gateway, "refused") == 1, "it was told")
    assert len(deletes(server)) == 1


def test_a_session_that_could_not_be_confirmed_is_ended(serve, behind):
    server = serve(era="legacy")
    gateway = behind(server)
    server.refuse_initialized = 500
    server.forget_sessions()
    gateway.call("m0__write", {})
    until(lambda: len(server.of("initialize")) >= 3, "it is tried again")
    server.refuse_initialized = None
    until(lambda: gateway.call("m0__write", {}).status == 200, "it works at last")
    until(lambda: len(server.known) == 1, "no other session is left")


@pytest.mark.parametrize("change", ["gone", "another"])
def test_a_reload_ends_the_session_of_a_server_that_it_takes_away(serve, behind, later, change):
    old, new = serve(), serve()
    gateway = behind(old)
    held = later(gateway.call, "m0__hold", {"n": 1})
    until(lambda: old.calls("hold"), "a call is in the session")
    reloaded(gateway, {"upstreams": {"m0": None} if change == "gone" else {"m0": {"endpoints": [{"url": new.url()}]}}})
    assert not deletes(old), "somebody is still in it"
    old.released.set()
    assert held.result(20).status == 200
    until(lambda: not old.known, "the session is ended when its last call is")
    assert gateway.stop() == 0
