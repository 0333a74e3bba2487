# SPDX-License-Identifier: Apache-2.0
"""MCP servers over HTTP behind the gateway: both eras, and servers that misbehave."""
import json
import time

import pytest

from harness.mcp_server import HINTS, tool
from harness.poll import until

QUICK = {"timeout": "8s", "trust_hints": True}


@pytest.fixture
def behind(make):
    """behind(server, {changes to the upstream}) gives a gateway in front of it that has its tools."""
    def build(server, upstream=None, tools=1, wait=True):
        config = {"listen": "127.0.0.1:0", "admin": {"listen": "127.0.0.1:0"}, "workers": 2, "upstreams": {
            "m": {"dialect": "mcp", "endpoints": [{"url": server.url()}], **QUICK, **(upstream or {})}}}
        gateway = make(config=config).start()
        if wait:
            # each worker gets the list by mail: connections spread over both
            until(lambda: all(len(names(gateway)) >= tools for _ in range(8)), "the tools are there")
        return gateway

    return build


def names(gateway):
    return [entry["name"] for entry in json.loads(gateway.get("/v1/tools?format=mcp").body)["tools"]]


ERAS = pytest.mark.parametrize("era", ["legacy", "modern"])


@ERAS
@pytest.mark.parametrize("sse", [False, True])
def test_tools_are_listed_and_called(serve, behind, era, sse):
    server = serve(era=era, sse=sse)
    gateway = behind(server)
    assert "m__echo" in names(gateway)
    reply = gateway.call("m__echo", {"a": 1.5})
    assert (reply.status, json.loads(reply.body)) == (200, {"a": 1.5})
    assert reply.header("content-type") == "application/json"
    opens = gateway.metrics().sum("upstream_mcp_opens_total", upstream="m", result=era)
    assert opens == 1
    sent = server.calls("echo")[0]
    assert sent.headers["accept"] == "application/json, text/event-stream"
    if era == "legacy":
        assert sent.headers["mcp-session-id"] in server.known
        assert sent.headers["mcp-protocol-version"] == "2025-11-25"
        assert server.methods()[:3] == ["server/discover", "initialize", "notifications/initialized"]
    else:
        assert "mcp-session-id" not in sent.headers
        assert "initialize" not in server.methods()


def test_streams_with_crlf_and_noise_are_read(serve, behind):
    server = serve(sse=True, newline="\r\n")
    gateway = behind(server)
    assert json.loads(gateway.call("m__odd", {"n": 1}).body) == {"n": 1}


def test_a_servers_ping_is_answered_in_mid_call(serve, behind):
    server = serve()
    gateway = behind(server, {"pool": {"max": 1}})
    assert gateway.call("m__ping").body == b"pong"
    assert gateway.call("m__ask").body == b"-32601"
    assert gateway.metrics().sum("upstream_mcp_pings_total", upstream="m") == 1


def test_a_tools_error_is_told_with_its_text(serve, behind):
    reply = behind(serve()).call("m__fail")
    problem = json.loads(reply.body)
    assert (reply.status, problem["code"]) == (502, "tool_error")
    assert "it did not work" in problem["detail"]


@pytest.mark.parametrize("status", [404, 400])
def test_a_lost_session_is_opened_anew_silently(serve, behind, status):
    server = serve(lost_status=status)
    gateway = behind(server)
    assert gateway.call("m__echo", {"n": 1}).status == 200
    server.forget_sessions()
    replies = [gateway.call("m__echo", {"n": n}) for n in range(2, 5)]
    assert [json.loads(reply.body) for reply in replies] == [{"n": n} for n in range(2, 5)]
    assert gateway.metrics().sum("upstream_mcp_sessions_lost_total", upstream="m") == 1
    assert len(server.of("initialize")) == 2


@pytest.mark.parametrize("status", [404, 400])
def test_a_get_that_is_refused_in_two_sessions_costs_no_third(serve, behind, status):
    server = serve(list_changed=True, refuse_stream=status)
    gateway = behind(server)
    until(lambda: len([seen for seen in server.seen if seen.verb == "GET"]) >= 2, "it was tried again")
    replies = [gateway.call("m__write", {"n": n}) for n in range(20)]
    assert [json.loads(reply.body) for reply in replies] == [{"n": n} for n in range(20)]
    assert len(server.of("initialize")) == 2
    assert len([seen for seen in server.seen if seen.verb == "GET"]) == 2


@pytest.mark.parametrize("status", [404, 400])
def test_a_list_that_is_refused_in_two_sessions_has_failed(serve, behind, status):
    server = serve(fail_list=status)
    gateway = behind(server, {"tools_refresh": "50ms"}, wait=False)
    failed = lambda: gateway.metrics().sum("upstream_list_failures_total", upstream="m")
    until(lambda: failed() >= 4, "it has failed")
    assert len(server.of("tools/list")) <= 2 * failed() + 4
    opened = len(server.of("initialize"))
    assert 2 <= opened <= 9
    server.fail_list = None
    until(lambda: "m__echo" in names(gateway), "the tools are there")


def test_a_server_that_forgets_each_session_at_once_is_not_pressed(serve, behind):
    server = serve(list_changed=True)
    gateway = behind(server, {"timeout": "2s"})
    server.forgetful = True
    begun = time.monotonic()
    for n in range(7):
        assert gateway.call("m__write", {"n": n}).status == 503
    paced = len(server.of("initialize")[4:])
    assert 1 < paced <= 1 + (time.monotonic() - begun) / 0.9      # after some it is once a second
    server.forgetful = False
    until(lambda: gateway.call("m__write", {"n": 1}).status == 200, "it works again")


def test_many_calls_open_a_lost_session_once(serve, behind, together):
    server = serve()
    gateway = behind(server)
    server.forget_sessions()
    replies = together(lambda n: gateway.call("m__echo", {"n": n}), range(12))
    assert [json.loads(reply.body) for reply in replies] == [{"n": n} for n in range(12)]
    assert len(server.of("initialize")) == 2


def test_a_write_is_not_sent_again_when_its_session_is_lost(serve, behind):
    server = serve()
    gateway = behind(server)
    server.forget_sessions()
    reply = gateway.call("m__write", {"n": 1})
    problem = json.loads(reply.body)
    assert (reply.status, problem["code"], problem["retryable"]) == (503, "upstream_unavailable", True)
    assert len(server.calls("write")) == 1
    assert json.loads(gateway.call("m__write", {"n": 2}).body) == {"n": 2}


def test_a_write_that_is_refused_again_and_again_costs_the_others_one_session(serve, behind):
    """Each refusal of a call that is not repeated was taken for a lost session: everybody's was opened anew, and from the
    fourth on all waited a second for it."""
    server = serve()
    gateway = behind(server)
    replies = [gateway.call("m__bad", {"n": n}) for n in range(6) if gateway.call("m__write", {"n": n}).status == 200]
    assert [reply.code for reply in replies] == ["upstream_unavailable"] + ["upstream_error"] * 5
    assert gateway.call("m__write", {"n": 7}).status == 200
    assert len(server.of("initialize")) == 2 and gateway.metrics().sum("upstream_mcp_sessions_lost_total") == 1


def test_a_stream_that_breaks_off_is_taken_up_again(serve, behind):
    server = serve()
    gateway = behind(server)
    assert json.loads(gateway.call("m__cut", {"n": 1}).body) == {"n": 1}
    assert len(server.calls("cut")) == 1
    resumed = [seen for seen in server.seen if seen.verb == "GET"]
    assert [seen.headers["last-event-id"] for seen in resumed] == ["7-a"]


def test_what_was_sent_is_not_told_unsent_because_its_stream_cannot_be_taken_up(serve, behind):
    """Its last event's id holds a control character, which no header may: the write was told invalid_request, as if never sent."""
    server = serve()
    gateway = behind(server)
    reply = gateway.call("m__cut", {"n": 1, "at": "7\u0001a"})
    assert (reply.status, reply.code) == (502, "outcome_unknown"), reply.body
    assert len(server.calls("cut")) == 1 and not [seen for seen in server.seen if seen.verb == "GET"]


def test_a_stream_left_open_after_the_answer_costs_nobody(serve, behind):
    server = serve()
    gateway = behind(server, {"pool": {"max": 1}, "timeout": "1m"})
    for n in range(3):
        assert json.loads(gateway.call("m__linger", {"n": n}).body) == {"n": n}


def test_a_call_that_nobody_waits_for_is_cancelled(serve, behind):
    server = serve()
    gateway = behind(server)
    with gateway.connect() as connection:
        connection.send(b"POST /v1/tools/m__hold HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                        b"Content-Length: 2\r\n\r\n{}")
        until(lambda: server.calls("hold"), "the call is there")
    until(lambda: server.of("notifications/cancelled"), "the server is told")
    cancelled = server.of("notifications/cancelled")[0].message["params"]["requestId"]
    assert cancelled == server.calls("hold")[0].message["id"]


def test_pages_are_followed(serve, behind):
    server = serve(pages=[[tool("a")], [tool("b")], [tool("c"), tool("d")]])
    gateway = behind(server, tools=4)
    assert names(gateway) == ["m__a", "m__b", "m__c", "m__d"]


@ERAS
def test_a_changed_list_is_read_again(serve, behind, era):
    server = serve(era=era, list_changed=True)
    gateway = behind(server, {"pool": {"max": 1}})
    until(lambda: server.streams, "the gateway listens")
    assert gateway.call("m__echo", {"n": 1}).status == 200  # the stream takes no place in the pool
    server.change_tools([tool("echo", **HINTS), tool("fresh")])
    until(lambda: names(gateway) == ["m__echo", "m__fresh"], "the new list is shown")


def test_the_last_good_list_stays_when_the_server_fails(serve, behind):
    server = serve()
    gateway = behind(server, {"tools_refresh": "50ms"})
    before = names(gateway)
    server.fail_list = 500
    until(lambda: gateway.metrics().sum("upstream_list_failures_total", upstream="m") > 0, "a list failed")
    assert names(gateway) == before
    assert json.loads(gateway.call("m__echo", {"n": 1}).body) == {"n": 1}


def test_arguments_are_mirrored_into_headers(serve, behind):
    server = serve(era="modern")
    gateway = behind(server)
    reply = gateway.call("m__region", {"region": "eu", "n": 7})
    assert (reply.status, json.loads(reply.body)) == (200, {"region": "eu", "n": 7})
    assert server.calls("region")[0].headers["mcp-param-n"] == "7"


def test_a_pinned_modern_server_is_not_probed(serve, behind):
    server = serve(era="modern")
    gateway = behind(server, {"protocol": "2026-07-28"})
    assert gateway.call("m__echo").status == 200
    assert "server/discover" not in server.methods()


def test_calls_go_as_arrays_where_that_is_switched_on(serve, behind, together):
    server = serve(version="2025-03-26")
    gateway = behind(server, {"batch": {"mode": "fixed", "window": "5s", "items": 8}})
    replies = together(lambda n: gateway.call("m__echo", {"n": n}), range(8))
    assert [json.loads(reply.body) for reply in replies] == [{"n": n} for n in range(8)]
    assert any(isinstance(seen.message, list) for seen in server.seen)


def test_one_call_s_error_does_not_switch_arrays_off(serve, behind, together):
    """-32600 under a call's own id is that call's: it was taken for a refusal of the array, for good, and all were sent again."""
    server = serve(version="2025-03-26")
    gateway = behind(server, {"batch": {"mode": "fixed", "window": "5s", "items": 10}})
    replies = together(lambda n: gateway.call("m__echo", {"n": n, "invalid": n == 0}), range(10))
    assert [reply.status for reply in replies[1:]] == [200] * 9 and replies[0].status != 200
    sent = [call for seen in server.seen for call in (seen.message if isinstance(seen.message, list) else [seen.message])
            if call and call.get("method") == "tools/call"]
    assert len(sent) == 10 and not gateway.events("mcp_arrays_refused")


def test_arrays_are_switched_off_where_they_are_refused(serve, behind, together):
    server = serve(arrays=False)
    gateway = behind(server, {"batch": {"mode": "fixed", "window": "5s", "items": 8}})
    arrays = []
    for _ in range(2):
        replies = together(lambda n: gateway.call("m__echo", {"n": n}), range(8))
        assert [json.loads(reply.body) for reply in replies] == [{"n": n} for n in range(8)]
        arrays.append(len([seen for seen in server.seen if isinstance(seen.message, list)]))
    assert arrays[0] == arrays[1] > 0
    assert gateway.events("mcp_arrays_refused")


def test_a_server_that_comes_late_is_waited_for(serve, behind):
    server = serve(refuse_open=503)
    gateway = behind(server, wait=False)
    until(lambda: gateway.metrics().sum("upstream_mcp_opens_total", upstream="m", result="failed") > 0, "it failed")
    assert gateway.events("mcp_not_opened")
    server.refuse_open = None
    until(lambda: "m__echo" in names(gateway), "the tools are there")
    assert gateway.call("m__echo").status == 200


def test_many_calls_share_one_session(serve, behind, together):
    server = serve(sse=True)
    gateway = behind(server, {"batch": {"in_flight": 32}})
    replies = together(lambda n: gateway.call("m__echo", {"n": n}), range(32))
    assert [json.loads(reply.body) for reply in replies] == [{"n": n} for n in range(32)]
    assert len(server.of("initialize")) == 1
    ids = [seen.message["id"] for seen in server.of("tools/call")]
    assert len(ids) == len(set(ids))


LIARS = {"dead": {}, "slow": {"hold_open": True}, "refusing": {"refuse_open": 500}, "lying": {"pages": [{"no": "list"}]},
         "endless": {"next_cursor": "0"}}


@pytest.mark.parametrize("kind", LIARS)
def test_a_bad_server_does_not_delay_a_good_one(serve, make, kind):
    bad, good = serve(**LIARS[kind]), serve()
    if kind == "dead":
        bad.finish()
    config = {"listen": "127.0.0.1:0", "admin": {"listen": "127.0.0.1:0"}, "workers": 1, "upstreams": {
        name: {"dialect": "mcp", "endpoints": [{"url": server.url()}], **QUICK}
        for name, server in (("bad", bad), ("good", good))}}
    gateway = make(config=config).start()
    until(lambda: "good__echo" in names(gateway), "the good server's tools are there")
    assert gateway.call("good__echo").status == 200
    if kind != "slow":
        until(lambda: gateway.metrics().sum("upstream_list_failures_total", upstream="bad") > 0, "the bad one is known")
    assert not [name for name in names(gateway) if name.startswith("bad")]
