# SPDX-License-Identifier: Apache-2.0
"""jitney top on a terminal of the test's own, beside a real gateway: views, keys, sizes, restarts, and how it ends."""
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from harness.admin_stand_in import StandIn, numbers, tool, upstream
from harness.gateway import JITNEY, ONE_AT_A_TIME, one_sent_and_one_waiting
from harness.poll import until
from harness.terminal import Terminal

FAST = ("--interval", "0.1")
SERVER = Path(__file__).parent / "harness" / "stdio_server.py"


def top(url, *options, **terminal):
    return Terminal([JITNEY, "top", "-u", url, *FAST, *options], **terminal)


def admin(gateway):
    return gateway.url("", "admin")


def run(*options, environment=None):
    return subprocess.run([JITNEY, "top", *options], capture_output=True, text=True, timeout=30, check=False,
                          stdin=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})})


def quits(terminal):
    """It ends well, without a word, and the terminal is as it was."""
    assert terminal.wait() == 0
    assert terminal.process.stderr.read().decode() == ""
    until(lambda: not terminal.screen.alternate, "the screen is given back")
    assert terminal.modes_are_back() and terminal.screen.unknown == []


def rows(terminal):
    """The table's rows: what stands between the titles and the last line."""
    lines = terminal.text()
    titles = next(i for i, line in enumerate(lines) if re.match(r" *(UPSTREAM|TOOL|TIER|LEFT AT|ALERT) ", line))
    return [line for line in lines[titles + 1:-1] if line]


def test_each_view_shows_what_the_gateway_says(start, provider):
    program = {"dialect": "mcp-stdio", "command": sys.executable, "args": [str(SERVER)]}
    gateway = start({"upstreams": {"program": program}})
    for n in range(3):
        assert gateway.call("cached", {"n": n % 2}).status == 200
    with top(admin(gateway)) as terminal:
        terminal.until_shows(rf"^jitney \S+  pid {gateway.process.pid}  generation 1  up 00:00:\d\d$")
        terminal.until_shows(r"^All 3 upstreams are well\.$")
        terminal.until_shows(r"^array +well +\d")
        assert all(len(line) <= 80 for line in terminal.text())
        terminal.type("2")
        terminal.until_shows(r"^cached +\S+ +3 ")
        terminal.type("3")
        terminal.until_shows(r"^\d\d:\d\d:\d\d\.\d{3} +\d+ +1 +\S+ +\S+ +idle +1 +ok +cached$")
        terminal.type("4")
        terminal.until_shows(r"^memory +2 +\d")
        terminal.type("5")
        terminal.until_shows(r"^UPSTREAM +RUNNING .* PIDS$")
        terminal.until_shows(r"^program +1 .* \d+$")
        terminal.type("6")
        terminal.until_shows(r"^No alert fires\.$")
        terminal.type("7")
        terminal.until_shows(r"^No call is under way\.$")
        terminal.type("8")
        terminal.until_shows(r"^No trusted proxy has named a tenant\.$")
        terminal.until_shows(r" \[8 tenants\]$", "all views are named in 80 columns")
        terminal.type("\t")
        terminal.until_shows(r"^\[1 upstreams\]", "Tab goes on to the first view")
        terminal.type("q")
        quits(terminal)


def test_the_sick_come_first_with_their_reason(start, provider, nobody):
    gateway = start({"upstreams": {"zombie": {"dialect": "jsonrpc", "endpoints": [{"url": nobody + "/rpc"}]}},
                     "tools": {"dead": {"upstream": "zombie"}}})
    gateway.call("echo")
    until(lambda: gateway.call("dead").code == "upstream_unavailable" and gateway.events("endpoint_state"), "it is ejected")
    with top(admin(gateway)) as terminal:
        terminal.until_shows(r"^zombie: (down|fails)")
        terminal.until_shows(r"^zombie +down .*cannot conn")
        until(lambda: [row.split()[0] for row in rows(terminal)] == ["zombie", "array", "rest"], "the sick one is the first")
        terminal.type("q")
        quits(terminal)
    done = run("--once", "-u", admin(gateway))
    assert done.returncode == 0 and re.search(r"^zombie: down \(.*onnect", done.stdout, re.M), done.stdout
    assert re.findall(r"^(\w+)  +(?:down|well)", done.stdout, re.M) == ["zombie", "array", "rest"]


def test_rows_are_sorted_and_filtered():
    tools = [tool("alpha", 5, 0, 900), tool("Beta", 70, 2, 5000), tool("gamma", 1, 0, 2500000)]
    with StandIn(numbers(tools=tools)) as stand_in, top(stand_in.url, "--view", "tools", "--sort", "calls") as terminal:
        terminal.until_shows("gamma")
        first = [row.split()[0] for row in rows(terminal)]
        assert first == ["Beta", "alpha", "gamma"]
        terminal.type("r")
        terminal.until_shows(r"^by CALLS, reversed  ")
        assert [row.split()[0] for row in rows(terminal)] == ["gamma", "alpha", "Beta"]
        terminal.type("r" + "s" * 5)
        terminal.until_shows(r"^by P99  ")
        assert [row.split()[0] for row in rows(terminal)] == ["gamma", "Beta", "alpha"]
        assert [row.split()[-1] for row in rows(terminal)] == ["2.5s", "5.0ms", "900us"]
        terminal.type("SSSSSSS")
        terminal.until_shows(r"^by TOOL  ")
        assert [row.split()[0] for row in rows(terminal)] == ["alpha", "Beta", "gamma"]
        terminal.type("/Q!\x7f\x7fbe")
        terminal.until_shows(r"^filter: be_")
        terminal.type("\r")
        terminal.until_shows(r"^filter: be  by TOOL  q quit")
        assert [row.split()[0] for row in rows(terminal)] == ["Beta"]
        terminal.type("/x\r")
        terminal.until_shows(r"^Nothing has this in its name\.$")
        terminal.type("\x1b")
        terminal.until_shows("gamma")
        terminal.type("?")
        terminal.until_shows(r"^Keys of jitney top$")
        terminal.type("x")
        terminal.until_shows("gamma")
        terminal.type("q")
        quits(terminal)


def test_many_rows_scroll():
    tools = [tool(f"tool_{i:04}", 2000 - i) for i in range(1000)]
    with StandIn(numbers(tools=tools)) as stand_in, top(stand_in.url, "-V", "tools", "-s", "CALLS") as terminal:
        terminal.until_shows(r"  1-17 of 1000 ")
        assert rows(terminal)[0].startswith("tool_0000") and len(rows(terminal)) == 17
        terminal.type("\x1b[6~")
        terminal.until_shows(r"  18-34 of 1000 ")
        terminal.type("jj\x1bOA")
        terminal.until_shows(r"  19-35 of 1000 ")
        terminal.type("1" + "\x1b[6~" * 300 + "2G")
        terminal.until_shows(r"  984-1000 of 1000 ")
        assert rows(terminal)[-1].startswith("tool_0999")
        terminal.type("g")
        terminal.until_shows(r"  1-17 of 1000 ")
        terminal.type("q")
        quits(terminal)


def test_a_pause_holds_the_picture():
    with StandIn(numbers(tools=[tool("one", 41)])) as stand_in, top(stand_in.url, "-V", "tools") as terminal:
        terminal.until_shows(r"^one +\S+ +41 ")
        terminal.type(" ")
        terminal.until_shows(r"^paused at \d\d:\d\d:\d\d ")
        stand_in.document["tools"] = [tool("one", 42)]
        asked = len(stand_in.asked)
        terminal.type("r")
        terminal.until_shows(", reversed")
        assert any(re.match(r"one +\S+ +41 ", line) for line in terminal.text())
        assert len(stand_in.asked) <= asked + 1, "nothing is asked but what was under way"
        terminal.type(" ")
        terminal.until_shows(r"^one +\S+ +42 ")
        terminal.type("q")
        quits(terminal)


def test_it_fits_every_size(gateway):
    """Whatever the environment says: LINES and COLUMNS are often exported, by pytest-xdist for one."""
    with top(admin(gateway), environment={"LINES": "24", "COLUMNS": "80"}) as terminal:
        terminal.until_shows(r"^array +well")
        for lines, columns in ((40, 160), (12, 40), (3, 10), (1, 1), (24, 80)):
            terminal.resize(lines, columns)
            if lines >= 12:
                terminal.until_shows(r"^array +well", f"rows at {lines} x {columns}")
                terminal.until_shows(r"q quit  ", f"keys at {lines} x {columns}")
        assert terminal.process.poll() is None
        terminal.type("q")
        quits(terminal)


def test_it_outlives_the_gateway(make, tmp_path):
    path = tmp_path / "admin.sock"
    gateway = make({"admin": {"listen": f"unix:{path}"}})
    with top(f"unix:{path}") as terminal:
        terminal.until_shows(r"^no answer since the start: cannot connect to unix:")
        gateway.start()
        terminal.until_shows(rf"^jitney \S+  pid {gateway.process.pid} ")
        assert gateway.stop() == 0
        terminal.until_shows(r"^no answer since \d\d:\d\d:\d\d: ")
        terminal.until_shows(r"^array +well", "what was seen last stays")
        gateway.ended_by_test = False
        gateway.log_path.rename(tmp_path / "first.log")
        gateway.start()
        terminal.until_shows(rf"^jitney \S+  pid {gateway.process.pid} ")
        terminal.until_shows(r"q quit  ")
        terminal.type("q")
        quits(terminal)


def test_a_gateway_that_hangs_holds_no_key_up():
    with StandIn(numbers(upstreams=[upstream("slow")])) as stand_in, top(stand_in.url, "-t", "0.3", columns=120) as terminal:
        terminal.until_shows(r"^slow +well")
        stand_in.going.clear()
        terminal.until_shows(r"^no answer since .* did not answer within 0\.3 s")
        terminal.type("2")
        terminal.until_shows(r"\[2 tools\]")
        stand_in.going.set()
        terminal.until_shows(r"q quit  ")
        terminal.type("q")
        quits(terminal)


def test_quitting_does_not_wait_for_an_answer():
    with StandIn(numbers()) as stand_in, top(stand_in.url, "-t", "3600") as terminal:
        terminal.until_shows(r"^jitney 9\.9 ")
        stand_in.going.clear()
        until(lambda: stand_in.asked and len(stand_in.asked) > 1, "it asks again")
        terminal.type("q")
        quits(terminal)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_gives_the_terminal_back(gateway, number):
    with top(admin(gateway)) as terminal:
        terminal.until_shows(r"^array +well")
        assert not terminal.modes_are_back()
        if number == signal.SIGINT:
            terminal.type("\x03")
        else:
            terminal.process.send_signal(number)
        quits(terminal)


SHELL = """
import os, signal, sys
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
child = os.fork()
if child == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpgrp())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
_, status = os.waitpid(child, os.WUNTRACED)
os.tcsetpgrp(0, os.getpgrp())
print("stopped" if os.WIFSTOPPED(status) else "ended", flush=True)
sys.stdin.readline()
os.tcsetpgrp(0, child)
os.kill(child, signal.SIGCONT)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_stopped_and_continued_it_draws_again(gateway):
    """As a shell with job control does it."""
    with Terminal([sys.executable, "-c", SHELL, JITNEY, "top", "-u", admin(gateway), *FAST]) as terminal:
        terminal.until_shows(r"^array +well")
        terminal.type("\x1a")
        terminal.until_shows(r"^stopped$")
        assert not terminal.screen.alternate and terminal.modes_are_back()
        terminal.resize(40, 130)
        terminal.type("\r")
        terminal.until_shows(r"^UPSTREAM .* COST ", "it has the whole width")
        until(lambda: terminal.screen.alternate and re.search(r"q quit  ", terminal.text()[39]), "the last line is the last one")
        terminal.type("q")
        quits(terminal)


def test_names_cannot_steer_the_terminal():
    evil = "a\x1b[2J\x1b]0;title\x07\x9b31m\r\nb"
    document = numbers(upstreams=[upstream(evil, "ejected", evil)], tools=[tool(evil, 3)], version=evil)
    with StandIn(document) as stand_in:
        with top(stand_in.url) as terminal:
            terminal.until_shows(r"^a\?\[2J\?\]0;title\?\?31m\?\?b: down \(a\?\[2J")
            terminal.type("q")
            quits(terminal)
        done = run("--once", "-u", stand_in.url, *FAST)
        assert done.returncode == 0 and re.search(r"^a\?\[2J\?\]0;", done.stdout, re.M)
        assert not set(done.stdout) & set("\x1b\x07\x9b\r")


def test_batches_are_put_together_from_their_calls():
    def call(name, batch, queue, upstream_us, outcome="ok"):
        return {"tool": name, "outcome": outcome, "started_at": 1796000000.0, "batch_id": batch, "batch_size": 2, "attempts": 1,
                "timeline": [{"what": "queue", "us": queue}, {"what": "upstream", "us": upstream_us}]}

    calls = [call("two", 8, 3000, 20000), call("one", 8, 1000, 40000, "tool_error"), {"tool": "hit", "timeline": []}, call("one", 7, 0, 500)]
    with StandIn(numbers(), calls=calls) as stand_in:
        done = run("--once", "-u", stand_in.url, *FAST, "--view", "batches")
    lines = [re.split(r"  +", line.strip()) for line in done.stdout.splitlines()[-2:]]
    assert [line[1:] for line in lines] == [["8", "2", "3.0ms", "40ms", "1", "ok, tool_error", "two, one"],
                                            ["7", "2", "0us", "500us", "1", "ok", "one"]], done.stdout


def test_calls_under_way_are_seen_while_they_are(start, provider, later):
    gateway = start(ONE_AT_A_TIME)
    first, second = one_sent_and_one_waiting(gateway, provider, later)
    with top(admin(gateway), "--view", "calls") as terminal:
        terminal.until_shows(r"^echo +\S+ +provider +\S+ +\d+ +1 +1 +sent$")
        terminal.until_shows(r"^echo +\S+ +line +\S+ .* waits$")
        assert [line.split()[-1] for line in rows(terminal)] == ["sent", "waits"], "who has waited longest is first"
        terminal.type("3")
        terminal.until_shows(r"^\d\d:\d\d:\d\d\.\d{3} +\d+ +1 +\S+ +\S+ +idle +1 +under way +echo$")
        terminal.type("7")
        provider.release()
        terminal.until_shows(r"^No call is under way\.$")
        terminal.type("q")
        quits(terminal)
    assert first.result(20).status == second.result(20).status == 200


def test_alerts_stand_in_the_head_and_have_a_view():
    alerts = [{"alert": "JitneySlow", "severity": "warning", "kind": "tool", "subject": "find", "detail": "p99 is 2.0 s", "since": 1795999000},
              {"alert": "JitneyUpstreamDown", "severity": "critical", "kind": "upstream", "subject": "files", "detail": "Nobody is there.",
               "since": 1795999900},
              {"alert": "JitneyFull", "severity": "critical", "kind": "gateway", "subject": "", "detail": "No memory.", "since": 1795999900}]
    document = numbers(upstreams=[upstream("files", "ejected", "x"), upstream("lame", "ejected", "y")], alerts=alerts)
    with StandIn(document) as stand_in, top(stand_in.url, columns=150) as terminal:
        terminal.until_shows(r"^files: JitneyUpstreamDown \(Nobody is there\.\); JitneyFull \(No memory\.\); lame: down \(y\); "
                             r"find: JitneySlow \(p99 is 2\.0 s\)$")
        terminal.type("6")
        terminal.until_shows(r"^JitneyUpstreamDown +critical +files +\d+s +Nobody is there\.$")
        until(lambda: [row.split()[0] for row in rows(terminal)] == ["JitneyFull", "JitneyUpstreamDown", "JitneySlow"], "the critical ones first")
        terminal.type("q")
        quits(terminal)


def test_how_many_are_sick_stands_in_front():
    document = numbers(upstreams=[upstream(f"u{i}", "ejected", "x" * 70) for i in range(40)])
    with StandIn(document) as stand_in:
        lines = run("--once", "-u", stand_in.url, *FAST).stdout.splitlines()
    assert lines[3].startswith("40 signs of trouble, the worst: u0: down (xxx") and "; u1: down" in lines[3]


def test_a_wide_terminal_shows_all_columns():
    document = numbers(upstreams=[upstream("u", cost_fixed_us=5000, cost_item_us=50, window_us=2500)])
    with StandIn(document) as stand_in, top(stand_in.url, columns=200) as terminal:
        terminal.until_shows(r"^UPSTREAM +STATE +REQ/S +ERRORS +OPEN +OF +LINE +P50 +P99 +FULL +LEFT +COST +WINDOW +FOR +WHY$")
        terminal.until_shows(r"^u +well +\S+ +0 +1 +8 +0 +5\.0ms +7\.0ms +10 +100% +5\.0ms\+50us +2\.5ms +- +left: full 7, idle 3$")
        terminal.type("q")
        quits(terminal)


def test_for_how_long_an_upstream_is_not_well():
    document = numbers(upstreams=[upstream("u")])
    document["upstreams"][0].update(condition="sick", sign="down", since=document["at"] - 3600)    # the stand-in's time goes on with each look
    with StandIn(document) as stand_in, top(stand_in.url, columns=200) as terminal:
        terminal.until_shows(r"^u +down .* (60|61|62|63|64)m +left: ")
        terminal.type("q")
        quits(terminal)


def test_once_and_json(gateway):
    gateway.call("echo")
    done = run("--json", "-u", admin(gateway))
    assert done.returncode == 0 and done.stdout.count("\n") == 1
    page = json.loads(done.stdout)
    assert page["totals"]["calls"] == 1 and {"tools", "upstreams", "rates"} <= set(page)
    done = run("-1", "--view", "tools", "--filter", "ECH", environment={"JITNEY_ADMIN_URL": admin(gateway)})
    assert done.returncode == 0 and re.findall(r"^(\w+) +\S+ +1 ", done.stdout, re.M) == ["echo"], done.stdout


def test_it_asks_with_headers_under_a_base_path():
    with StandIn(numbers()) as stand_in:
        assert run("--json", "-u", stand_in.url, "-H", "X-Key: 1").returncode == 0
        path, headers = stand_in.asked[0]
        assert path == "/base/admin/stats" and headers["X-Key"] == "1"
        done = run("--once", "-u", stand_in.url.replace("/base", "/other"))
        assert done.returncode == 1 and "/admin/stats with 404; is it a jitney's admin listener?" in done.stderr


@pytest.mark.skipif(not socket.has_ipv6 or not Path("/proc/net/if_inet6").read_text(), reason="no IPv6")
def test_it_speaks_ipv6(start):
    gateway = start({"admin": {"listen": "[::1]:0"}})
    done = run("--json", "-u", f"http://[::1]:{gateway.admin_port}")
    assert done.returncode == 0 and json.loads(done.stdout)["generation"] == 1


@pytest.mark.parametrize("words, said", [
    (("--view", "cats"), "--view wants upstreams, tools"), (("--sort", "p98"), "--sort wants the title"),
    (("--interval", "0"), "--interval wants a number of seconds"), (("-1", "-j"), "exclude each other"),
    (("x",), "there are words after the options"), (("--nonsense",), "an option is not known"),
    (("--filter", "x" * 64), "63 bytes at most"), (("-t", "soon"), "--timeout wants"), ((), "this is not a terminal; --once prints"),
])
def test_wrong_words_are_named(words, said):
    done = run(*words)
    assert done.returncode == 2 and done.stdout == "" and said in done.stderr.splitlines()[-1]


def test_every_view_is_named_wherever_views_are():
    names = re.split(r", | or ", re.search(r"--view wants ([^;]+);", run("--view", "cats").stderr)[1])
    packaging = Path(__file__).resolve().parents[2] / "packaging"
    assert f"compgen -W '{' '.join(names)}' " in (packaging / "jitney.bash").read_text()
    assert f".Sy {' , '.join(names[:-1])}\nor\n.Sy {names[-1]} .\n" in (packaging / "jitney.1").read_text()
    with StandIn(numbers()) as stand_in:
        assert [run("--once", "-u", stand_in.url, *FAST, "--view", name).returncode for name in names] == [0] * len(names)
        with top(stand_in.url) as terminal:
            terminal.type(str(len(names)))
            terminal.until_shows(rf" \[{len(names)} {names[-1]}\]$")
            terminal.type("?")
            terminal.until_shows(rf"^ +1 to {len(names)}, Tab", "help has all keys")
            terminal.resize(24, 120)
            terminal.until_shows(r"^one waits\. Calls")
            assert max(len(line) for line in terminal.text()) <= 80, "nothing is cut where there are 80 columns"


def test_the_head_has_room_for_its_units_in_80_columns():
    document = numbers()
    document["rates"]["10s"].update(requests=12345.6, saved_requests=123456.7, mean_batch=123.4)
    document["process"]["rss_bytes"] = 1 << 35
    with StandIn(document) as stand_in:
        lines = run("--once", "-u", stand_in.url, *FAST).stdout.splitlines()
    assert lines[2].endswith("GiB") and len(lines[2]) <= 80, lines[2]


def test_a_terminal_that_is_not_known_is_said(gateway):
    with top(admin(gateway), term="no-such-thing") as terminal:
        assert terminal.wait() == 2
        assert "of a kind that is not known here (TERM)" in terminal.process.stderr.read().decode()
        assert terminal.modes_are_back()


def test_nobody_there_is_said(nobody):
    done = run("--once", "-u", nobody)
    assert done.returncode == 1 and done.stderr == f"jitney top: cannot connect to {nobody}: connection refused\n"
