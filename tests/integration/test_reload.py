# SPDX-License-Identifier: Apache-2.0
"""A new configuration while the gateway runs: what has changed is in force, what has not goes on, what is wrong is refused."""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.gateway import SANITIZED, merged, standard
from harness.mcp_server import HINTS, McpServer, tool
from harness.poll import until
from harness.reload import NOTHING, in_force, pulse, reload, reloaded, write
from harness.wire import request_bytes
from test_cache import verdict
from test_process import jitney

SERVER = Path(__file__).parent / "harness" / "stdio_server.py"
STDIO = {"dialect": "mcp-stdio", "command": sys.executable, "args": [str(SERVER)], "timeout": "15s",
         "pool": {"min": 1, "max": 1, "restart_backoff": "20ms"}}


def test_the_reply_says_what_happened(start):
    gateway = start()
    told = reloaded(gateway, {"tools": {"write": {"description": "Another."}, "send": None,
                                        "fresh": {"upstream": "array"}},
                              "mcp": {"list_ttl": "5m"}, "limits": {"in_flight": 77}, "workers": 3})
    assert told == {"generation": 2, "unchanged": 5, "needs_restart": ["workers"],
                    "changed": {"tools": {"added": ["fresh"], "removed": ["send"], "changed": ["write"]},
                                "upstreams": NOTHING, "settings": ["limits.in_flight", "mcp.list_ttl"]}}
    assert gateway.call("fresh").status == 200
    assert gateway.call("send").status == 404
    now = in_force(gateway)
    assert (now["generation"], now["asked_by"], len(now["hash"])) == (2, "POST /admin/reload", 64)
    assert now["last_reload"]["result"] == "ok" and now["last_reload"]["changed"] == told["changed"]
    assert now["tools"]["write"]["description"] == "Another."
    assert now["mcp"]["list_ttl"] == "5m" and now["limits"]["in_flight"] == 77 and now["workers"] == 2
    metrics = gateway.metrics()
    assert metrics.sum("config_generation") == 2 and metrics.sum("config_last_reload_success") == 1
    assert metrics.sum("config_reloads_total", result="ok") == 1
    assert metrics.sum("config_last_reload_timestamp_seconds") > 1e9
    assert gateway.events("config_reloaded")[0]["generation"] == "2"


def test_nothing_changed_is_no_new_generation(start):
    gateway = start()
    status, told = reload(gateway)
    assert (status, told["generation"], told["unchanged"]) == (200, 1, 7)
    assert told["changed"] == {"tools": NOTHING, "upstreams": NOTHING, "settings": []}


def test_hup_reloads_and_usr1_does_not(start):
    gateway = start()
    write(gateway, {"tools": {"fresh": {"upstream": "array"}}})
    gateway.signal(signal.SIGUSR1)
    until(lambda: gateway.events("log_reopened"), "the log is opened anew")
    assert gateway.call("fresh").status == 404
    gateway.signal(signal.SIGHUP)
    until(lambda: gateway.events("config_reloaded"), "it is read anew")
    assert gateway.call("fresh").status == 200
    assert in_force(gateway)["asked_by"] == "signal HUP"


BAD = [
    ("tools: [\n", "jitney.yaml:"),
    ("", "jitney.yaml: the file is empty"),
    ("\0\1\2", "jitney.yaml:"),
    ("[1, 2]", "jitney.yaml:1:1"),
    ("listen: 127.0.0.1:0\nnonsense: 1\n", "jitney.yaml:2:1: unknown key \"nonsense\""),
    ("listen: 127.0.0.1:99999\n", "jitney.yaml:1:9"),
    ("workers: many\n", "jitney.yaml:1:10"),
    ("workers: 0\n", "jitney.yaml:1:10"),
    ("limits: { body: lots }\n", "jitney.yaml:1:17"),
    ("limits: { body_timeout: 3 }\n", "jitney.yaml:1:25"),
    ("upstreams: { p: { dialect: nosuch, endpoints: [ { url: \"http://h\" } ] } }\n", "jitney.yaml:1:28"),
    ("upstreams: { p: { dialect: jsonrpc } }\n", "jitney.yaml:1:14"),
    ("upstreams: { p: { dialect: jsonrpc, endpoints: [] } }\n", "jitney.yaml:1:48"),
    ("upstreams: { p: { dialect: jsonrpc, endpoints: [ { url: \"ftp://h\" } ] } }\n", "jitney.yaml:1:57"),
    ("upstreams: { \"a b\": { dialect: jsonrpc, endpoints: [ { url: \"http://h\" } ] } }\n", "jitney.yaml:1:14"),
    ("tools: { t: { upstream: nobody } }\n", "jitney.yaml:1:25"),
    ("tools: { t: {} }\n", "jitney.yaml:1:10"),
    ("listen: [ 127.0.0.1:1, 127.0.0.1:1 ]\n", "jitney.yaml:1:24"),
    ("mcp: { allowed_origins: [ nowhere ] }\n", "jitney.yaml:1:27"),
    ("listen: ${NOT_IN_THE_ENVIRONMENT}\n", "jitney.yaml:1:9"),
    ("listen: ${file:/no/such/file}\n", "jitney.yaml:1:9"),
    ("listen: 127.0.0.1:1\nlisten: 127.0.0.1:2\n", "jitney.yaml:2:1"),
]


def test_a_bad_file_changes_nothing_and_says_where(start):
    gateway = start()
    for number, (text, where) in enumerate(BAD):
        gateway.config_path.write_text(text)
        status, told = reload(gateway)
        assert status == 422 and any(where in error for error in told["errors"]), (text, told)
        assert in_force(gateway)["last_reload"]["errors"] == told["errors"]
        assert gateway.metrics().sum("config_reloads_total", result="failed") == number + 1
        assert gateway.metrics().sum("config_last_reload_success") == 0
    assert in_force(gateway)["generation"] == 1
    assert gateway.call("echo", {"a": 1}).status == 200
    assert where in gateway.events("config_refused")[-1]["reason"]
    write(gateway, {})
    assert reload(gateway)[0] == 200


@pytest.mark.parametrize("kind", ["upstreams", "tools"])
def test_names_for_which_there_is_no_room_take_none(start, provider, kind):
    """A file with more new names than metrics have room for is refused, and none of its names uses that room up."""
    entry = {"upstreams": {"dialect": "jsonrpc", "endpoints": [{"url": provider.url("/rpc")}]},
             "tools": {"upstream": "array"}}[kind]
    room = {"upstreams": 256, "tools": 1024}[kind]
    gateway = start()
    write(gateway, {kind: {f"many{n}": entry for n in range(room + 1)}})
    for _ in range(2):
        status, told = reload(gateway)
        assert status == 422 and "more new names" in told["errors"][0]
    write(gateway, {kind: {f"many{n}": None for n in range(room + 1)}})
    told = reloaded(gateway, {kind: {f"other{n}": entry for n in range(room)}})
    assert len(told["changed"][kind]["added"]) == room


def test_half_a_file_and_none(start):
    gateway = start()
    write(gateway, {}, whole=False)
    assert reload(gateway)[0] == 422
    gateway.config_path.unlink()
    status, told = reload(gateway)
    assert status == 422 and "No such file" in told["errors"][0]
    assert gateway.call("echo").status == 200
    write(gateway, {"tools": {"fresh": {"upstream": "array"}}})
    assert reload(gateway)[0] == 200
    assert gateway.call("fresh").status == 200


def test_a_pipe_that_says_nothing_is_given_up(start):
    """The reload that reads it ends, so that the next one is heard, and the process can end."""
    gateway = start()
    gateway.config_path.unlink()
    os.mkfifo(gateway.config_path)
    status, told = reload(gateway)
    assert status == 422 and "has not ended within" in told["errors"][0]
    assert gateway.call("echo").status == 200


def test_a_link_is_followed_to_where_it_leads_now(start):
    gateway = start()
    first, second = gateway.directory / "first", gateway.directory / "second"
    for number, folder in enumerate((first, second)):
        folder.mkdir()
        gateway.config_path.rename(folder / "jitney.yaml") if number == 0 else None
    second.joinpath("jitney.yaml").write_text(
        first.joinpath("jitney.yaml").read_text().replace("  write:", "  fresh:"))
    link = gateway.directory / "..data"
    link.symlink_to(first)
    gateway.config_path.symlink_to(Path("..data") / "jitney.yaml")
    assert reload(gateway)[1]["generation"] == 1
    swapped = gateway.directory / "..new"
    swapped.symlink_to(second)
    swapped.rename(link)
    told = reload(gateway)[1]
    assert told["changed"]["tools"] == {"added": ["fresh"], "removed": ["write"], "changed": []}


def test_what_stays_keeps_its_connections_answers_and_processes(start, provider):
    gateway = start({"upstreams": {"child": STDIO}})
    until(lambda: gateway.events("tools_listed"), "its tools are there")
    pid = json.loads(gateway.call("child__pid").body)
    first = gateway.call("cached", {"a": 1})
    connects = gateway.metrics().sum("upstream_connects_total")
    for number in range(20):
        told = reloaded(gateway, {"tools": {"write": {"description": f"Number {number}."}}})
        assert told["changed"]["upstreams"] == NOTHING
        assert json.loads(gateway.call("child__pid").body) == pid
        assert gateway.call("cached", {"a": 1}).body == first.body
        assert gateway.call("echo", {"n": number}).status == 200
    metrics = gateway.metrics()
    assert metrics.sum("upstream_connects_total") - connects <= 1, "the workers' first ones"
    assert metrics.sum("upstream_process_starts_total") == 1
    assert len(gateway.events("tools_listed")) == 1
    assert len([call for call in provider.calls if call["params"] == {"a": 1}]) == 1


def test_what_was_purged_by_tag_does_not_come_back_with_its_tool(start, provider):
    """The tool is gone, or has other tags, when the tag is purged, or when its answer is looked at."""
    cache = {"ttl": "1h", "scope": "shared", "tags": ["news"]}
    paper = {"upstream": "array", "annotations": {"read_only": True}, "cache": cache}
    gateway = start({"tools": {"cached": {"cache": cache}, "paper": paper}})
    whole = gateway.config["tools"]["cached"]
    for without in (None, {"cache": {"tags": ["old"]}}):
        assert [verdict(gateway.call("cached", {"q": 1})) for _ in range(2)] == ["miss", "hit"]
        reloaded(gateway, {"tools": {"cached": without}})
        purged = gateway.request("DELETE", "/admin/cache?tag=news", listener="admin").json()
        assert "memory" not in purged, purged  # all of it has been looked at
        reloaded(gateway, {"tools": {"cached": whole}})
        assert verdict(gateway.call("cached", {"q": 1})) == "miss"
        gateway.request("DELETE", "/admin/cache", listener="admin")


def test_an_upstream_that_changed_is_another_one(start, provider):
    gateway = start()
    assert gateway.call("echo").status == 200
    told = reloaded(gateway, {"upstreams": {"array": {"refreshes": 7}, "more": {
        "dialect": "jsonrpc", "endpoints": [{"url": provider.url("/rpc")}]}},
        "tools": {"echo": {"upstream": "more"}}})
    assert told["changed"]["upstreams"] == {"added": ["more"], "removed": [], "changed": ["array"]}
    assert told["changed"]["tools"]["changed"] == ["echo"]
    assert gateway.call("echo").status == 200 and gateway.call("write").status == 200
    assert gateway.metrics().sum("batch_items_count", upstream="more") == 1
    assert gateway.metrics().sum("batch_items_count", upstream="array") == 2, "it counts on under its name"


def test_calls_under_way_end_as_they_began(start, provider, later):
    gateway = start()
    provider.hold()
    calls = [later(gateway.call, tool, {"id": n, "q": n}) for n in range(10) for tool in ("echo", "item", "write")]
    until(lambda: gateway.metrics().sum("in_flight_requests") == 30, "they are under way")
    reloaded(gateway, {"upstreams": {"array": {"timeout": "7s"}, "rest": None},
                       "tools": {"item": None, "send": None}})
    provider.release()
    assert {call.result(20).status for call in calls} == {200}
    assert gateway.call("item").status == 404


def test_a_hundred_reloads_leave_nothing_behind(start):
    gateway = start()

    def around(count):
        for number in range(count):
            reloaded(gateway, {"upstreams": {"array": {"timeout": f"{8 + number % 2}s"}},
                               "tools": {"write": {"description": f"Number {number}."}}})
            assert gateway.call("write").status == 200

    around(20)
    until(lambda: gateway.metrics().sum("in_flight_requests") == 0, "nothing is under way")
    files = gateway.fds()
    grown = gateway.resident_growth(lambda: around(100), 1 << 20, 1 if SANITIZED else 4)
    assert SANITIZED or grown <= 1 << 20
    until(lambda: gateway.fds() <= files, "no descriptor is left")


RELOADS = int(os.environ.get("JITNEY_RELOADS", "10"))  # heavy: 200
RATE = int(os.environ.get("JITNEY_RELOAD_RATE", "240"))  # calls a second, all together; heavy: 2000
MCP_CALL = ('{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"TOOL","arguments":{"n":%d}}}')
MCP_HEADERS = ("Accept: application/json, text/event-stream", "MCP-Protocol-Version: 2025-06-18")


def shift(number):
    """Something of every kind: a tool, limits, options that are adjusted, an upstream that is built anew."""
    return {"tools": {"write": {"description": f"Number {number}."}}, "limits": {"body": f"{8 + number % 2}MiB"},
            "upstreams": {"array": {"timeout": f"{8 + number % 2}s", "queue": {"items": 9000 + number}},
                          "child": {"pool": {"calls": 32 + number % 2}}, "rest": {"headers": {"X-Number": str(number)}}}}


def open_all(gateway, provider, later, count):
    """As many connections as there may ever be: another one later on is there because one was lost."""
    before = len(provider.deliveries)
    provider.hold()
    calls = []
    for number in range(count):
        calls.append(later(gateway.call, "echo", {"opens": number}))
        provider.until_deliveries(before + number + 1)
    provider.release()
    assert {call.result(60).status for call in calls} == {200}
    gateway.until_metric("upstream_connects_total", count, upstream="array")


def test_reloads_under_load_cost_nobody_anything(start, provider, later):
    """REST and MCP, kept and not, a program behind: no call fails, no connection is cold, no kept answer is asked for."""
    gateway = start({"log": {"access": False}, "upstreams": {"child": STDIO, "array": {"concurrency": 4}}})
    until(lambda: gateway.events("tools_listed"), "its tools are there")
    tools = ("echo", "cached", "child__echo")
    seconds = max(1, RELOADS / 10)

    def load(tool, mcp, **how):
        body = MCP_CALL.replace("TOOL", tool) if mcp else '{"n":%d}'
        headers = [word for header in MCP_HEADERS for word in ("--header", header)] if mcp else []
        return later(gateway.load, *headers, callers=4, rate=RATE // 6, distinct=50, timeout=20, body=body,
                     path="/mcp" if mcp else "/v1/tools/" + tool, **how)

    for warm in [load(tool, mcp, calls=100) for tool in tools for mcp in (False, True)]:
        assert set(warm.result(60)["statuses"]) == {"200"}
    open_all(gateway, provider, later, 4)
    before = gateway.metrics()
    kept = len([call for call in provider.calls if call["method"] == "cached"])
    loads = [load(tool, mcp, seconds=seconds) for tool in tools for mcp in (False, True)]
    number = 0
    while not all(load.done() for load in loads) or number < RELOADS:
        number += 1
        assert reloaded(gateway, shift(number))["needs_restart"] == []
    for load in loads:
        report = load.result(60)
        assert report["wrong"] == 0 and set(report["statuses"]) == {"200"}, report
        assert not any(report["errors"].values()), report
    after = gateway.metrics()
    assert after.sum("upstream_process_starts_total") == 1
    assert after.sum("upstream_connects_total", upstream="array") == before.sum("upstream_connects_total", upstream="array")
    assert len([call for call in provider.calls if call["method"] == "cached"]) == kept >= 50
    print(f"{number} reloads beside {sum(load.result()['calls'] for load in loads)} calls")


def test_a_rate_is_not_reloaded(start, provider, later):
    """What the provider allows does not begin anew with each generation that changes something else of its upstream."""
    gateway = start({"upstreams": {"array": {"rate": {"requests": "10/s"}, "batch": {"mode": "off"},
                                             "queue": {"wait": "1m"}, "timeout": "30s"}},
                     "tools": {"write": {"timeout": "60s"}}})
    calls = [later(gateway.call, "write", {"n": n}) for n in range(60)]
    provider.until_calls(10)
    beginning, before = time.monotonic(), len(provider.calls)
    for number in range(10):
        reloaded(gateway, {"upstreams": {"array": {"refreshes": 10 + number % 2}}})
        calls += [later(gateway.call, "write", {"n": n}) for n in range(5)]
        threading.Event().wait(0.1)
    took, sent = time.monotonic() - beginning, len(provider.calls) - before
    assert sent <= 10 * (took + 1) + 10, f"{sent} in {took:.1f} s"
    assert {call.result(60).status for call in calls} == {200}


def test_reloads_beside_lists_that_change(make, provider, later):
    """An MCP server over HTTP lists now these and now those tools, programs run, and every 50 ms there is a reload, of
    which each third changes the server's own options: calls fail in no moment."""
    server = McpServer(list_changed=True, tools=[tool("echo", **HINTS), tool("odd")])
    config = merged(standard(provider), {"upstreams": {
        "child": STDIO, "m": {"dialect": "mcp", "endpoints": [{"url": server.url()}], "timeout": "8s"}}})
    gateway = make(config=config).start()
    until(lambda: gateway.call("m__echo").status == 200 and gateway.call("child__echo").status == 200, "all is there")
    ended = threading.Event()

    def ask(name):
        outcomes = []
        while not ended.is_set():
            outcomes.append(gateway.call(name, {"n": len(outcomes)}).status)
        return outcomes

    asked = [later(ask, name) for name in ("m__echo", "child__echo", "echo", "cached")]
    try:
        for number, _ in enumerate(pulse(4)):
            server.tools = [tool("echo", **HINTS), tool("odd" if number % 2 else "even")]
            for exchange, note in list(server.streams):
                with contextlib.suppress(OSError): # of a session that a reload has ended
                    exchange.event(note)
            told = reloaded(gateway, {
                "upstreams": {"m": {"refreshes": 10 + number // 3 % 2}},
                "tools": {"write": {"description": f"Number {number}."}}})
            assert told["generation"] == number + 2
    finally:
        ended.set()
        outcomes = [status for ask in asked for status in ask.result(60)]
        server.finish()
    assert set(outcomes) == {200} and len(outcomes) > 20
    assert gateway.metrics().sum("upstream_process_starts_total") == 1


@pytest.mark.slow
def test_a_thousand_reloads_leave_nothing_behind(start):
    gateway = start({"log": {"access": False}})

    def around(count):
        for number in range(count):
            reloaded(gateway, {"upstreams": {"array": {"timeout": f"{8 + number % 2}s"}},
                               "tools": {"write": {"description": f"Number {number}."}}})
        assert gateway.call("write").status == 200

    around(100)
    files = gateway.fds()
    grown = gateway.resident_growth(lambda: around(1000), 1 << 20, 1 if SANITIZED else 4)
    assert SANITIZED or grown <= 1 << 20
    until(lambda: gateway.fds() <= files, "no descriptor is left")


# ---- watching ------------------------------------------------------------------------------------------------------


def events_of(gateway, count):
    until(lambda: len(gateway.events("config_reloaded")) == count, f"{count} reloads")


def test_a_save_is_a_reload_and_a_burst_of_them_is_one(start):
    gateway = start({"reload": {"watch": True}})
    write(gateway, {"tools": {"fresh": {"upstream": "array"}}})
    events_of(gateway, 1)
    assert in_force(gateway)["asked_by"] == "watch"
    text = gateway.config_path.read_text()
    for number in range(30):
        gateway.config_path.write_text(text.replace("Has an effect.", f"Number {number}."))
    until(lambda: in_force(gateway)["tools"]["write"]["description"] == "Number 29.", "the last one is in force")
    assert len(gateway.events("config_reloaded")) <= 10, "far fewer than there were saves"
    gateway.config_path.with_name("other").write_text("nobody's business")
    write(gateway, {"tools": {"fresh": None}})
    until(lambda: gateway.call("fresh").status == 404, "the next one is in force")


def test_a_watched_file_that_is_wrong_or_gone_changes_nothing(start):
    gateway = start({"reload": {"watch": True, "debounce": "5ms"}})
    gateway.config_path.write_text("nonsense: [")
    until(lambda: gateway.events("config_refused"), "it is refused")
    gateway.config_path.unlink()
    until(lambda: "No such file" in gateway.events("config_refused")[-1]["reason"], "it is missed")
    assert gateway.call("echo").status == 200
    write(gateway, {"tools": {"fresh": {"upstream": "array"}}})
    until(lambda: gateway.call("fresh").status == 200, "it is back")


def test_a_watched_file_without_an_end_is_too_large(start):
    """What it leads to is looked at no further than a configuration may be long: nothing waits for its end."""
    gateway = start({"reload": {"watch": True, "debounce": "5ms"}})
    good = gateway.config_path.read_text()
    endless = gateway.config_path.with_name("endless")
    endless.symlink_to("/dev/zero")
    endless.replace(gateway.config_path)
    until(lambda: gateway.events("config_refused"), "it has been read, and was too large")
    gateway.config_path.unlink()
    gateway.config_path.write_text(good.replace("Has an effect.", "Has another."))
    until(lambda: in_force(gateway)["tools"]["write"]["description"] == "Has another.", "the next one is in force")


def test_a_rotated_secret_is_a_reload(start, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("one")
    gateway = start({"reload": {"watch": True}, "upstreams": {"array": {
        "headers": {"Authorization": f"${{file:{secret}}}"}}}})
    new = secret.with_suffix(".new")
    new.write_text("two")
    new.rename(secret)
    events_of(gateway, 1)
    assert json.loads(gateway.events("config_reloaded")[0]["changed"])["upstreams"]["changed"] == ["array"]
    assert "two" not in gateway.log()


def test_a_mistake_that_is_undone_is_no_failure_any_more(start):
    """What is on disk is what runs: nobody need be woken."""
    gateway = start({"reload": {"watch": True}})
    text = gateway.config_path.read_text()
    gateway.config_path.write_text("nonsense: 1\n")
    gateway.until_metric("config_last_reload_success", 0)
    gateway.config_path.write_text(text)
    gateway.until_metric("config_last_reload_success", 1)
    now = in_force(gateway)
    assert now["generation"] == 1 and now["last_reload"]["result"] == "ok"


def test_a_file_that_is_named_before_it_is_there_is_waited_for(start, tmp_path):
    """The refused file's names are watched, too; that watch begins with a look, which tells the same mistake no second time."""
    gateway = start({"reload": {"watch": True}})
    secret = tmp_path / "elsewhere" / "secret"
    secret.parent.mkdir()
    write(gateway, {"upstreams": {"array": {"headers": {"Authorization": f"${{file:{secret}}}"}}}})
    until(lambda: gateway.events("config_refused"), "it is refused")
    assert "No such file" in gateway.events("config_refused")[0]["reason"]
    secret.write_text("one")
    events_of(gateway, 1)
    assert len(gateway.events("config_refused")) == 1
    assert gateway.metrics().sum("config_reloads_total", result="failed") == 1


def test_the_links_of_kubernetes_are_followed(start):
    gateway = start({"reload": {"watch": True}})
    first, second = gateway.directory / "..1", gateway.directory / "..2"
    first.mkdir()
    second.mkdir()
    text = gateway.config_path.read_text()
    first.joinpath("jitney.yaml").write_text(text)
    second.joinpath("jitney.yaml").write_text(text.replace("Has an effect.", "Another."))
    link = gateway.directory / "..data"
    link.symlink_to(first.name)
    gateway.config_path.unlink()
    gateway.config_path.symlink_to("..data/jitney.yaml")
    swapped = gateway.directory / "..new"
    swapped.symlink_to(second.name)
    swapped.rename(link)
    until(lambda: in_force(gateway)["tools"]["write"]["description"] == "Another.", "the other folder counts")
    second.joinpath("jitney.yaml").write_text(text.replace("Has an effect.", "A third."))
    until(lambda: in_force(gateway)["tools"]["write"]["description"] == "A third.", "behind the link as well")


@pytest.mark.parametrize("how", ["link", "rename", "anew"])
def test_a_folder_on_the_way_may_be_another_one(start, tmp_path, provider, how):
    """Releases are switched by a link to a folder, or by folders that are renamed; some tools make the folder anew."""
    first, second, current = tmp_path / "1", tmp_path / "2", tmp_path / "current"
    for folder in (first, second):
        (folder / "secrets").mkdir(parents=True)
        (folder / "secrets" / "token").write_text(folder.name)
    current.symlink_to(first) if how == "link" else first.rename(current)
    gateway = start({"reload": {"watch": True},
                     "upstreams": {"array": {"headers": {"X-Token": f"${{file:{current}/secrets/token}}"}}}})

    def sent():
        assert gateway.call("echo", {"n": len(provider.deliveries)}).status == 200
        return provider.deliveries[-1].headers["x-token"]

    assert sent() == "1"
    if how == "link":
        (tmp_path / "new").symlink_to(second)
        (tmp_path / "new").rename(current)
    elif how == "rename":
        current.rename(tmp_path / "old")
        second.rename(current)
    else:
        shutil.rmtree(current)
        until(lambda: gateway.events("config_refused"), "that it is gone is heard of")
        second.rename(current)
    until(lambda: sent() == "2", "what stands there now counts")
    (current / "secrets" / "token").write_text("3")
    until(lambda: sent() == "3", "and is watched")


FEW_WATCHES = ["unshare", "-Ur", "sh", "-c", 'echo 0 >/proc/sys/user/max_inotify_watches && exec "$@"', "sh"]


def test_that_nothing_can_be_watched_is_told(start):
    if subprocess.run([*FEW_WATCHES, "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("no user namespaces here")
    gateway = start({"reload": {"watch": True}}, before=FEW_WATCHES)
    told = until(lambda: gateway.events("config_refused"), "it is told")
    assert told[0]["asked_by"] == "watch" and "max_user_watches" in told[0]["reason"]
    assert gateway.call("echo").status == 200


def test_a_file_is_waited_for_whose_folder_is_not_there_yet(start, tmp_path):
    token = tmp_path / "mounted" / "secrets" / "token"
    gateway = start({"reload": {"watch": True}})
    write(gateway, {"upstreams": {"array": {"headers": {"X-Token": f"${{file:{token}}}"}}}})
    until(lambda: gateway.events("config_refused"), "it is not there")
    token.parent.mkdir(parents=True)
    token.write_text("here")
    until(lambda: gateway.metrics().sum("config_generation") == 2, "it has come")


# ---- commands ------------------------------------------------------------------------------------------------------


def test_commands_show_what_differs_and_what_happened(start):
    gateway = start()
    url = gateway.url("", "admin")
    assert "what runs is the same" in jitney("check", "-c", gateway.config_path, "--against", url).stdout
    write(gateway, {"tools": {"fresh": {"upstream": "array"}, "send": None, "write": {"description": "Another."}},
                    "limits": {"in_flight": 77}, "workers": 3})
    shown = jitney("check", "-c", gateway.config_path, "--against", url).stdout.splitlines()
    assert set(shown[1:]) == {"+ tools.fresh", "- tools.send", "~ tools.write", "~ limits.in_flight", "~ workers"}
    done = jitney("reload", "-u", url)
    assert done.returncode == 0 and done.stdout.splitlines() == [
        "+ tools.fresh", "- tools.send", "~ tools.write", "~ limits.in_flight", "needs a restart: workers",
        "generation 2 is in force"]
    gateway.config_path.write_text("nonsense: 1\n")
    done = jitney("reload", "-u", url)
    assert done.returncode == 1 and "jitney.yaml:1:1: unknown key" in done.stderr


def test_who_asks_too_late_is_told_so_at_once(start):
    """The drain, which waits for whoever asks, is not held up."""
    gateway = start({"drain_timeout": "2m"})
    gateway.config_path.unlink()
    os.mkfifo(gateway.config_path)      # who reads it waits for a while
    with gateway.connect("admin") as first, gateway.connect("admin") as second:
        for one in (first, second):
            one.send(request_bytes("POST", "/admin/reload"))
            assert gateway.get("/healthz", "admin").status == 200
        gateway.signal(signal.SIGTERM)
        assert second.reply("POST").code == "shutting_down"
    assert gateway.wait() == 0
    gateway.ended_by_test = True
