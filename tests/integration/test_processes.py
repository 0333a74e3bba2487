# SPDX-License-Identifier: Apache-2.0
"""Programs behind the gateway: MCP servers and others by lines, pooled, crashing, hanging, and gone when it is gone."""
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from harness.mcp_client import Client
from harness.gateway import SANITIZED
from harness.poll import until
from harness.wire import request_bytes
from test_process import jitney

SERVER = Path(__file__).parent / "harness" / "stdio_server.py"


@pytest.fixture
def behind(make, tmp_path):
    """behind({changes to the upstream}) gives a gateway in front of the child server; .record: what that did."""
    def build(upstream=None, plain=False, ready=True, environment=None, **config):
        record = tmp_path / "record"
        base = {"dialect": "jsonrpc-stdio" if plain else "mcp-stdio", "command": sys.executable,
                "args": [str(SERVER)] + (["--plain"] if plain else []), "timeout": "15s",
                "env": {"RECORD": str(record), **(environment or {})},
                "pool": {"min": 1, "max": 1, "restart_backoff": "20ms"}}
        names = ("echo", "slow", "crash", "hang", "garbage", "pid", "offspring", "ask", "big", "complain", "cancelled",
                 "flap", "raw", "forge", "busy", "freeze", "endless")
        gateway = make(config={"listen": "127.0.0.1:0", "admin": {"listen": "127.0.0.1:0"}, "workers": 2,
                               "upstreams": {"p": {**base, **(upstream or {})}},
                               "tools": {name: {"upstream": "p", "annotations": {"read_only": name == "slow"}}
                                         for name in names}, **config})
        gateway.record = lambda: record.read_text().split("\n") if record.exists() else []
        gateway.start()
        if ready:
            until(lambda: gateway.events("process_ready") or plain, "a process is ready")
        return gateway

    return build


def result(reply):
    assert reply.status == 200, reply.body
    return json.loads(reply.body)


def listing(gateway):
    return json.loads(gateway.get("/admin/tools", "admin").body)["lists"][0]


def problem(reply):
    body = json.loads(reply.body)
    return body["code"], body["detail"]


def test_an_answer_too_long_among_others_fails_at_once(behind):
    gateway = behind({"answer": "100KiB"})
    others = [gateway.connect() for _ in range(3)]
    for n, other in enumerate(others):
        other.send(request_bytes("POST", "/v1/tools/hang", b'{"n": %d}' % n))
    until(lambda: gateway.record().count("call hang") == 3, "others are in the process")
    code, detail = problem(gateway.call("big", {"bytes": 1000000}))
    assert (code, "longer than 102400 bytes" in detail) == ("upstream_error", True), detail
    for other in others:
        other.close()


def test_a_list_that_fails_is_asked_for_again(behind):
    gateway = behind({"tools_refresh": "1s"}, environment={"FAIL_LISTS": "2"})
    until(lambda: "database still starting" in listing(gateway).get("why", ""), "its own words are told")
    assert listing(gateway)["list"] == "awaited"
    until(lambda: listing(gateway)["list"] == "fresh", "the list is there in the end")
    assert gateway.request("POST", "/v1/tools/busy", b'{"steps": 0, "every": 0}').status == 200
    lists = gateway.record().count("list")
    until(lambda: gateway.record().count("list") > lists, "it is read again from time to time")


def test_a_process_that_dies_while_it_lists_is_not_the_last_word(behind):
    gateway = behind({"pool": {"min": 2, "max": 2, "restart_backoff": "20ms"}, "tools_refresh": "1s"})
    until(lambda: listing(gateway)["list"] == "fresh", "the list is there")
    for _ in range(3):
        lists = gateway.record().count("list")
        gateway.call("crash")
        until(lambda: gateway.record().count("list") > lists, "the other one is asked")
    until(lambda: listing(gateway)["list"] == "fresh", "and answers")


def test_a_list_too_long_for_a_line_fails_at_once(behind):
    """Not after the 30 s that a list may take."""
    gateway = behind({"answer": "64KiB"}, environment={"LONG_LIST": "100000"})
    until(lambda: "its answer to tools/list is longer" in listing(gateway).get("why", ""), "the reason is told")
    assert not gateway.events("process_crashed")


def test_an_answer_too_long_that_says_last_whose_it_is_is_waited_for(behind, later):
    gateway = behind({"answer": "64KiB", "timeout": "60s"})
    other = later(gateway.call, "slow", {"seconds": 2})
    until(lambda: "call slow" in gateway.record(), "another call is in the process")
    line = '{"result":{"content":[{"type":"text","text":"%s"}]},"jsonrpc":"2.0","id":ID}' % ("x" * 100000)
    code, detail = problem(gateway.call("raw", {"lines": [line]}))
    assert (code, "longer than 65536 bytes" in detail) == ("upstream_error", True), detail
    assert other.result(20).status == 200


def test_an_answer_too_long_that_says_not_whose_it_is_is_everybodys(behind, later):
    gateway = behind({"answer": "64KiB", "timeout": "60s"})
    others = [later(gateway.call, "hang", {"n": n}) for n in range(3)]
    until(lambda: gateway.record().count("call hang") == 3, "others are in the process")
    line = '{"result":{"text":"%s"},"id":ID,"jsonrpc":"2.0"}' % ("x" * 100000)
    code, detail = problem(gateway.call("raw", {"lines": [line]}))
    assert (code, "says not whose it is; whether the call was carried out is not known" in detail) == (
        "outcome_unknown", True), detail
    for other in others:
        assert problem(other.result(20))[0] == "outcome_unknown"
    assert result(gateway.call("cancelled")) == 4, "the process is told that nobody waits for them, and works on"
    assert not gateway.events("process_crashed")


def test_a_line_too_long_that_is_no_answer_fails_nobody(behind):
    gateway = behind({"answer": "64KiB", "timeout": "60s"})
    line = '{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"%s"}}' % ("x" * 100000)
    answer = '{"jsonrpc":"2.0","id":ID,"result":{"content":[{"type":"text","text":"fine"}]}}'
    assert gateway.call("raw", {"lines": [line, answer]}).body == b"fine"


@pytest.mark.parametrize("head", ["", '{"jsonrpc":"2.0","id":999999,'])
def test_a_line_without_an_end_ends_its_process(behind, later, head):
    gateway = behind({"answer": "64KiB", "timeout": "600s", "pool": {"max": 1}})
    others = [later(gateway.call, "hang", {"n": n}) for n in range(3)]
    until(lambda: gateway.record().count("call hang") == 3, "others are in the process")
    others.append(later(gateway.call, "endless", {"head": head}))
    for other in others:
        assert problem(other.result(30))[0] == "outcome_unknown"
    until(lambda: gateway.events("process_crashed"), "it is replaced")
    assert "did not end it within 5 s" in gateway.events("process_crashed")[0]["reason"]
    assert gateway.call("echo", {"n": 1}).status == 200


ANSWER = '"jsonrpc":"2.0","id":ID,"result":{"content":[{"type":"text","text":"%s"}]}'


def test_an_answer_that_is_no_json_fails_its_own_call_at_once(behind):
    gateway = behind({"timeout": "60s"})
    other = gateway.connect()
    other.send(request_bytes("POST", "/v1/tools/slow", b'{"seconds": 2}'))
    for line in ("{" + ANSWER % "a\tb" + "}",                                     # a raw tab
                 '{"jsonrpc":"2.0","id":ID,"result":{"n":NaN}}', '{"result":{"a":1,"a":2},"jsonrpc":"2.0","id":ID}',
                 '{"jsonrpc":"2.0","id":ID,"result":{"half":'):
        code, detail = problem(gateway.call("raw", {"lines": ["noise", line]}))
        assert code == "upstream_error" and "has answered, but not in JSON that can be read: " in detail, (line, detail)
    assert other.reply().status == 200, "the process and the others' calls are left alone"
    assert not gateway.events("process_crashed")


def test_what_looks_like_anothers_answer_is_none(behind, later):
    """Lines of a document over several lines, and of a log of what a caller sent, under the ids that others would have if
    they were counted."""
    gateway = behind({"timeout": "60s"})
    before = [later(gateway.call, "slow", {"seconds": 2, "n": n}) for n in range(3)]
    until(lambda: gateway.record().count("call slow") == 3, "others are in the process")
    assert gateway.call("forge", {"around": 12}).body == b"own"
    for n, other in enumerate(before):
        assert result(other.result(20)) == {"seconds": 2, "n": n}
    assert not gateway.events("process_crashed")


def test_who_guesses_ids_is_not_listened_to(behind):
    gateway = behind({"timeout": "60s"})
    code, detail = problem(gateway.call("forge", {"around": 60}))
    assert code == "outcome_unknown" and "it answered 101 requests that it was never sent" in detail, detail
    until(lambda: len(gateway.events("process_ready")) == 2, "it is replaced")
    assert gateway.call("echo", {"n": 1}).status == 200


def test_an_answer_says_that_it_is_one(behind):
    gateway = behind({"timeout": "60s"})
    code, detail = problem(gateway.call("raw", {"lines": ['{"id":ID,"result":{"content":[]}}']}))
    assert code == "upstream_error" and 'there is no "jsonrpc": "2.0" in it' in detail, detail


def test_one_that_is_slow_is_asked_before_it_is_ended(behind, later):
    gateway = behind({"timeout": "300ms"})
    for future in [later(gateway.call, "hang", {"n": n}) for n in range(4)]:
        assert future.result(20).status in (502, 504)
    until(lambda: "ping" in gateway.record(), "it is asked whether it is there")
    assert result(until(lambda: (reply := gateway.call("echo", {"a": 1})).status == 200 and reply, "it works on")) == {"a": 1}
    assert not gateway.events("process_crashed") and len(gateway.events("process_ready")) == 1


def test_one_that_is_frozen_is_ended_and_that_is_said(behind, later):
    gateway = behind({"timeout": "300ms"})
    gateway.call("freeze")
    for future in [later(gateway.call, "hang", {"n": n}) for n in range(3)]:
        assert future.result(20).status in (502, 503, 504)
    crashed = until(lambda: gateway.events("process_crashed"), "it is ended")
    assert "was ended by the gateway: it let" in crashed[0]["reason"] and "did not answer a ping" in crashed[0]["reason"]
    until(lambda: len(gateway.events("process_ready")) == 2, "and replaced")


@pytest.mark.skipif(SANITIZED, reason="a sanitizer build cannot read so much a second")
def test_a_program_that_writes_nothing_but_noise_is_not_kept(behind):
    gateway = behind({"command": "sh", "args": ["-c", "read x; yes '{\"jsonrpc\":\"2.0\",\"method\":\"noise\"}'"]}, ready=False)
    crashed = until(lambda: gateway.events("process_not_started"), "it is ended")
    assert "were no answers" in crashed[0]["reason"], crashed
    assert gateway.get("/healthz").status == 200


def test_the_last_line_comes_after_the_programs_have_ended(behind):
    gateway = behind({"args": ["-c", "trap '' TERM; while read x; do :; done; sleep 1"], "command": "sh"}, ready=False)
    until(lambda: gateway.metrics().sum("upstream_processes") == 1, "it runs")
    keepers = children_of(gateway.process.pid)
    gateway.stop()
    assert gateway.events()[-1]["event"] == "stopped"
    assert not any(Path(f"/proc/{pid}").exists() for pid in keepers)


def children_of(pid):
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_half_a_surrogate_pair_is_mended(behind):
    gateway = behind()
    reply = gateway.call("raw", {"lines": ["{" + ANSWER % "hello \\ud83d \\ud83d\\ude00 \\\\ud83d \\ude00" + "}"]})
    assert reply.status == 200 and reply.body.decode() == "hello \ufffd \U0001f600 \\ud83d \ufffd", reply


def test_a_pinned_modern_server_is_never_asked_to_initialize(behind):
    gateway = behind({"protocol": "2026-07-28", "args": [str(SERVER), "--modern"]})
    assert result(gateway.call("echo", {"a": 1})) == {"a": 1}
    assert result(gateway.call("flap", {"tool": "fresh"})) == {}
    until(lambda: gateway.request("POST", "/v1/tools/p__fresh", b"{}").status == 200, "it tells of changed tools")
    abandoned = gateway.connect()
    abandoned.send(request_bytes("POST", "/v1/tools/slow", b'{"seconds": 5}'))
    until(lambda: "call slow" in gateway.record(), "it is under way")
    abandoned.close()
    until(lambda: result(gateway.call("cancelled")) == 1, "it is cancelled")
    assert not gateway.events("process_crashed")


@pytest.mark.parametrize("pinned", [{}, {"protocol": "2026-07-28", "args": [str(SERVER), "--modern"]}])
def test_a_programs_instructions_are_passed_on(behind, pinned):
    gateway = behind(pinned)
    until(lambda: listing(gateway)["list"] == "fresh", "the list is there")
    opening = lambda: Client(gateway).ask("initialize", {"protocolVersion": "2025-11-25"}).json()["result"]
    until(lambda: opening().get("instructions") == "p: Echo, please.", "they are passed on")


def test_a_legacy_server_pinned_as_modern_is_refused_with_a_reason(behind):
    gateway = behind({"protocol": "2026-07-28", "pool": {"min": 1, "max": 1, "start_timeout": "300ms"}}, ready=False)
    said = until(lambda: gateway.events("process_not_started"), "it is not ready")
    assert "server/discover" in said[0]["reason"]


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def processes(gateway, name="upstream_processes"):
    return gateway.metrics().sum(name, upstream="p")


PLAIN = pytest.mark.parametrize("plain", [False, True])


@PLAIN
def test_calls_go_in_and_come_out(behind, plain):
    gateway = behind(plain=plain)
    assert result(gateway.call("echo", {"a": 1.50, "b": "line\nend"})) == {"a": 1.50, "b": "line\nend"}
    assert result(gateway.call("echo", b'{\n "a":\r\n 1 }')) == {"a": 1}


@PLAIN
def test_calls_share_a_process_and_overtake_each_other(behind, plain, together):
    gateway = behind(plain=plain)
    replies = together(lambda i: gateway.call("slow", {"seconds": (8 - i) / 20, "i": i}), range(8))
    assert [result(reply)["i"] for reply in replies] == list(range(8))
    assert processes(gateway) == 1


def test_the_tools_are_listed_page_by_page_and_anew_when_they_change(behind):
    gateway = behind({"trust_hints": True})
    names = lambda: [tool["name"] for tool in json.loads(gateway.get("/v1/tools?format=mcp").body)["tools"]]
    until(lambda: gateway.record().count("list") >= 4, "the list has been read")
    before = gateway.record().count("list")
    gateway.call("flap", {"tool": "new"})
    until(lambda: "p__new" in names(), "the new tool is there")
    assert result(gateway.call("p__new", {"x": 1})) == {"x": 1}
    assert gateway.record().count("list") <= before + 10  # two readings of five pages: four notices are one


def test_requests_of_the_server_are_answered(behind):
    gateway = behind()
    assert result(gateway.call("ask", {"method": "ping"})) == {"result": {}}
    assert result(gateway.call("ask", {"method": "roots/list"}))["error"]["code"] == -32601


@PLAIN
def test_garbage_is_passed_over_and_counted(behind, plain):
    gateway = behind(plain=plain)
    assert result(gateway.call("garbage", {"a": 1})) == {"a": 1}
    assert processes(gateway, "upstream_process_unparsed_lines_total") == 4
    assert result(gateway.call("echo", {"b": 1})) == {"b": 1}


def test_an_answer_that_is_too_long_fails_its_call_only(behind):
    gateway = behind({"answer": "64KiB"})
    assert problem(gateway.call("big", {"bytes": 1000000})) == (
        "upstream_error", "p: the answer is longer than 65536 bytes (upstreams.*.answer)")
    assert len(result(gateway.call("big", {"bytes": 50000}))) == 50000


@PLAIN
def test_a_crash_is_told_to_those_it_may_have_hurt(behind, plain):
    gateway = behind(plain=plain)
    result(gateway.call("echo", {}))
    code, detail = problem(gateway.call("crash", {"status": 3}))
    assert code == "outcome_unknown"
    assert "exited with status 3 (its last words: about to fall over)" in detail
    assert result(gateway.call("echo", {"a": 1})) == {"a": 1}  # by a new one
    assert gateway.record().count("call crash") == 1
    assert processes(gateway, "upstream_process_crashes_total") == 1


def test_a_call_that_may_be_repeated_is_sent_once_more(behind, together):
    gateway = behind()

    def one(i):
        if i == 0:
            return gateway.call("slow", {"seconds": 1})
        until(lambda: "call slow" in gateway.record(), "it is under way")
        return gateway.call("crash")

    slow, crash = together(one, range(2))
    assert result(slow) == {"seconds": 1}
    assert problem(crash)[0] == "outcome_unknown"
    assert gateway.record().count("call slow") == 2


def test_what_does_not_start_is_refused_with_the_reason(behind):
    gateway = behind(environment={"DIE": "db"}, ready=False)
    until(lambda: len(gateway.events("process_not_started")) >= 3, "it has tried")
    code, detail = problem(gateway.call("echo", {}))
    assert code == "upstream_unavailable"
    assert "p: its process exited with status 4 (its last words: no such database: db)" in detail


def test_a_server_that_does_not_come_up_is_listed_with_the_reason(behind):
    gateway = behind(environment={"DIE": "db"}, ready=False)

    def why():
        return listing(gateway).get("why")
    until(why, "the list says why it is awaited")
    assert "its last words: no such database: db" in why()


def test_a_server_that_is_started_by_calls_lists_its_tools_before_any(behind):
    gateway = behind({"pool": {"min": 0, "max": 1}})
    until(lambda: listing(gateway)["list"] == "fresh", "its tools are listed")
    assert len([line for line in gateway.record() if line.startswith("start")]) == 1


def test_a_worn_process_is_replaced_also_where_calls_start_them(behind):
    gateway = behind({"pool": {"min": 0, "max": 1, "max_calls": 5}})
    first = result(gateway.call("pid"))
    until(lambda: result(gateway.call("pid")) != first, "a new one has taken over")
    until(lambda: gone(first), "the worn one is gone")


def test_calls_wait_for_a_process_that_starts(behind):
    gateway = behind(environment={"LATE": "0.5"}, ready=False)
    assert result(gateway.call("echo", {"a": 1})) == {"a": 1}


def test_a_full_process_gets_help_and_the_helper_goes_when_idle(behind, together):
    gateway = behind({"pool": {"min": 1, "max": 3, "calls": 2, "idle_timeout": "300ms"}})
    replies = together(lambda i: gateway.call("slow", {"seconds": 0.7, "i": i}), range(12))
    assert [result(reply)["i"] for reply in replies] == list(range(12))
    assert len({line for line in gateway.record() if line.startswith("start")}) == 3
    until(lambda: processes(gateway) == 1, "the helpers have gone")
    assert processes(gateway, "upstream_process_crashes_total") == 0


def test_a_worn_process_is_replaced_between_calls(behind):
    gateway = behind({"pool": {"max": 1, "max_calls": 5}})
    first = result(gateway.call("pid"))
    until(lambda: result(gateway.call("pid")) != first, "a new one has taken over")
    until(lambda: gone(first), "the worn one is gone")
    assert processes(gateway, "upstream_process_crashes_total") == 0


def test_a_process_that_hangs_and_cannot_be_asked_is_replaced(behind):
    gateway = behind({"timeout": "300ms"}, plain=True)
    before = result(until(lambda: (reply := gateway.call("pid")).status == 200 and reply, "it has started"))
    for _ in range(3):
        assert problem(gateway.call("hang"))[0] == "outcome_unknown"
    until(lambda: gateway.events("process_crashed"), "it is given up")
    until(lambda: gone(before), "it is gone")
    until(lambda: gateway.call("pid").status == 200, "there is a new one")


def test_a_caller_that_leaves_cancels_its_call(behind):
    gateway = behind()
    raw = gateway.connect()
    raw.send(b"POST /v1/tools/hang HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
    until(lambda: "call hang" in gateway.record(), "it is under way")
    raw.close()
    until(lambda: result(gateway.call("cancelled")) == 1, "the server knows")


def test_a_call_that_expires_among_others_is_cancelled_alone(behind, later):
    gateway = behind({"batch": {"mode": "fixed", "window": "10s", "items": 3}})
    others = [later(gateway.call, "slow", {"seconds": 1.5, "i": i}) for i in range(2)]
    gateway.until_metric("batch_waiting_items", 2)
    hang = gateway.call("hang", x_request_timeout_ms=600)
    assert hang.header("x-batch-size") == "3"
    assert problem(hang)[0] in ("deadline_exceeded", "outcome_unknown")
    assert [result(other.result(20))["i"] for other in others] == [0, 1]
    assert result(gateway.call("cancelled")) == 1


def test_complaints_are_logged_but_not_without_end(behind):
    gateway = behind()
    result(gateway.call("complain", {"lines": 500}))
    until(lambda: processes(gateway, "upstream_process_stderr_lines_total") == 500, "all are counted")
    logged = gateway.events("process_stderr")
    assert 20 <= len(logged) < 200
    assert logged[0]["text"] == "complaint 0"


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_nothing_survives_the_gateway(behind, how):
    gateway = behind()
    pids = result(gateway.call("offspring"))
    assert len(pids) == 3 and not any(gone(pid) for pid in pids)
    if how == "stop":
        assert gateway.stop() == 0
        assert all(gone(pid) for pid in pids)
    else:
        gateway.signal(signal.SIGKILL)
        gateway.wait()
        gateway.process = None
        until(lambda: all(gone(pid) for pid in pids), "nothing is left")


def test_many_crashes_leave_no_descriptor_and_no_process(behind):
    gateway = behind({"pool": {"max": 1, "restart_backoff": "1ms"}})
    result(gateway.call("echo", {}))
    before, pids = gateway.fds(), []
    for _ in range(30):
        pids += result(until(lambda: (lambda r: r if r.status == 200 else None)(gateway.call("offspring")), "an answer"))
        gateway.call("crash")
    until(lambda: all(gone(pid) for pid in pids), "no process is left")
    until(lambda: gateway.call("echo", {}).status == 200, "it works")
    until(lambda: gateway.fds() <= before, "no descriptor is left")


@pytest.mark.parametrize("options, complaints", [
    ("command: no-such-program", ["1:48: upstreams.p.command: there is no program 'no-such-program' in PATH; install it, or write its path"]),
    ("command: no-such-program -y x", ["1:48: upstreams.p.command: there is no program 'no-such-program -y x' in PATH: command is the program alone, "
                                       "its arguments go into args"]),
    ("cwd: /no/such/place, command: no-such-program", ["1:44: upstreams.p.cwd: No such file or directory",
                                                       "1:69: upstreams.p.command: there is no program 'no-such-program' in PATH; install it, or write its path"]),
    ("cwd: /no/such/place, command: ./tool", ["1:44: upstreams.p.cwd: No such file or directory"]),
])
def test_a_missing_program_is_found_by_check(tmp_path, options, complaints):
    path = tmp_path / "missing.yaml"
    path.write_text(f"upstreams: {{ p: {{ dialect: mcp-stdio, {options} }} }}\n")
    done = jitney("check", "-c", path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [f"{path}:{complaint}" for complaint in complaints]


def members(gateway):
    return gateway.get("/admin/stats", "admin").json()["processes"][0]["members"]


def test_each_process_is_shown_with_its_pid(behind, together):
    gateway = behind({"pool": {"min": 2, "max": 2, "restart_backoff": "20ms"}}, plain=True)
    two = until(lambda: [m for m in [members(gateway)] if [p["state"] for p in m] == ["ready", "ready"]], "both are ready")[0]
    pids = {result(reply) for reply in together(lambda _: gateway.call("pid"), range(16))}
    assert pids <= {m["pid"] for m in two} and len({m["pid"] for m in two}) == 2
    until(lambda: sum(m["served"] for m in members(gateway)) >= 16 and all(m["rss_bytes"] > 0 for m in members(gateway)), "what they did is seen with the next look at them")
    gone = two[0]["pid"]
    os.kill(gone, signal.SIGKILL)
    after = until(lambda: [m for m in [members(gateway)] if len(m) == 2 and gone not in {p["pid"] for p in m}], "another one is there")[0]
    assert {p["pid"] for p in after} & {p["pid"] for p in two} == {two[1]["pid"]}
    assert all(two[0]["started_at"] - 60 < p["started_at"] < two[0]["started_at"] + 600 for p in after)
