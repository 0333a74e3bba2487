# SPDX-License-Identifier: Apache-2.0
"""jitney perf beside a real gateway: what it counts must be what was called; nothing here asks how fast."""
import csv
import io
import json
import os
import re
import signal
import socket
import subprocess
import time
import xml.etree.ElementTree
from pathlib import Path

import pytest

from harness.admin_stand_in import StandIn, numbers
from harness.gateway import JITNEY, merged
from harness.poll import until
from harness.terminal import Terminal
from test_papers import completions


def run(*words, environment=None, text=None):
    return subprocess.run([JITNEY, "perf", *map(str, words)], capture_output=True, text=True, timeout=60, check=False, input=text,
                          env={**os.environ, **(environment or {})})


def at(gateway):
    return ("-u", gateway.url(""), "--admin", gateway.url("", "admin"))


def bench(gateway, *words):
    """A benchmark's document."""
    done = run("benchmark", *words, "--json", *at(gateway))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def only_step(document):
    (step,) = document["steps"]
    return step


# ---- benchmark: what is called ---------------------------------------------------------------------------------------


def test_as_many_calls_as_asked_for_reach_the_tool(gateway):
    document = bench(gateway, "echo", '{"n":1}', "--count", 300, "--callers", 7)
    step = only_step(document)
    assert (document["load"], document["callers"], document["what"], document["jitney_perf"]) == ("closed", 7, "echo", 1)
    assert (step["calls"], step["answered"], step["failed"], step["statuses"], step["rate"]) == (300, 300, 0, {"200": 300}, None)
    assert 0 < step["p50_us"] <= step["p90_us"] <= step["p99_us"] <= step["p999_us"] <= step["max_us"] <= step["seconds"] * 1e6
    assert gateway.metrics().sum("requests_total", tool="echo", outcome="ok") == 300
    rss = document["rss_bytes"]
    assert 1 << 20 < rss["idle"] <= rss["loaded"] and 1 << 20 < rss["after"] <= rss["loaded"]
    assert document["version"] == json.loads(gateway.get("/admin/stats", "admin").body)["version"]


def test_numbered_arguments_go_around(gateway, provider):
    bench(gateway, "send", '{"n":%d,"again":"%d","other":"100%"}', "--distinct", 3, "--count", 9, "--callers", 1)
    bodies = [json.loads(delivery.body) for delivery in provider.deliveries]
    assert bodies == [{"n": n % 3, "again": str(n % 3), "other": "100%"} for n in range(9)]


def test_a_file_of_calls_is_gone_through_in_turn(gateway, provider, tmp_path):
    path = tmp_path / "calls"
    path.write_text('{"tool":"send","arguments":{"a":1}}\n\n{"tool":"item","arguments":{"id":"x y","q":1}}\r\n{"tool":"send"}\n')
    document = bench(gateway, "--calls", path, "--count", 6, "--callers", 1)
    assert only_step(document)["statuses"] == {"200": 6} and document["what"] == str(path)
    seen = [(delivery.method, delivery.path.split("?")[0], delivery.body) for delivery in provider.deliveries]
    assert seen == 2 * [("POST", "/api/send", b'{"a":1}'), ("GET", "/api/items/x%20y", b""), ("POST", "/api/send", b"{}")]


@pytest.mark.parametrize("line, wrong", [
    ("{", "not a JSON object"), ("[]", "not a JSON object"), ('{"arguments":{}}', '"tool" is missing'), ('{"tool":1}', '"tool" is missing'),
    ('{"tool":"a","arguments":[]}', '"arguments" is no object'),
])
def test_a_wrong_line_of_calls_is_named(tmp_path, line, wrong):
    path = tmp_path / "calls"
    path.write_text('{"tool":"a"}\n' + line + "\n")
    done = run("benchmark", "--calls", path)
    assert done.returncode == 2 and f"{path}:2: {wrong}" in done.stderr, done.stderr


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_a_log_is_played_again(start, provider, form):
    first = start({"log": {"format": form}})
    for n in range(5):
        assert first.call("cached", {"n": n % 2}).status == 200
    assert first.call("send", {"n": 1}).status == 200
    first.stop()
    second = start()
    document = bench(second, "--log", first.log_path, '{"id":"7"}', "--speed", 1000)
    assert document["load"] == "log" and only_step(document)["statuses"] == {"200": 6}
    assert second.metrics().sum("requests_total", tool="cached") == 5 and second.metrics().sum("requests_total", tool="send") == 1
    assert json.loads(provider.deliveries[-1].body or b"{}") == {"id": "7"} or provider.deliveries[-1].rpc
    done = run("benchmark", "--log", second.config_path, *at(second))
    assert done.returncode == 2 and "no calls in them; is it an access log" in done.stderr


# ---- benchmark: how ----------------------------------------------------------------------------------------------------


def test_what_a_pause_does_to_the_calls_behind_it_is_told(gateway, provider, later):
    """One caller, calls due each 5 ms, an answer that is held: those that could not begin meanwhile have waited as well."""
    provider.hold()
    future = later(bench, gateway, "send", "{}", "--rate", 200, "--count", 100, "--callers", 1)
    provider.until_deliveries(1)
    until(lambda: json.loads(gateway.get("/admin/stats", "admin").body)["uptime_s"] >= 2, "two seconds have passed")
    provider.release()
    step = only_step(future.result(60))
    assert step["answered"] == 100 and step["rate"] == 200
    assert step["p50_us"] > 100000, "half of the calls were due while it was held"


def test_a_sweep_says_how_many_calls_hold_each_bound(gateway, tmp_path):
    document = bench(gateway, "cached", "--sweep", "--seconds", "0.1", "--callers", 4, "--svg", tmp_path / "plot.svg")
    assert document["load"] == "sweep" and len(document["steps"]) == 12
    assert document["steps"][0]["rate"] is None and all(step["rate"] > 0 for step in document["steps"][1:])
    fastest = document["steps"][0]["calls_per_second"]
    assert [round(step["rate"] / fastest, 2) for step in document["steps"][1:]] == [.05, .1, .2, .3, .4, .5, .6, .7, .8, .9, 1]
    assert [row["p99_us"] for row in document["under"]] == [1000, 5000, 10000, 50000, 100000]
    for row in document["under"]:
        held = [step["calls_per_second"] for step in document["steps"][1:] if step["p99_us"] <= row["p99_us"] and not step["failed"]]
        assert row["calls_per_second"] == max(held, default=0)
    picture = xml.etree.ElementTree.parse(tmp_path / "plot.svg")
    assert len(picture.findall(".//{*}polyline")) == 3


def test_table_csv_and_a_curve(gateway, tmp_path):
    done = run("benchmark", "cached", "--count", 50, "--svg", tmp_path / "plot.svg", *at(gateway))
    assert done.returncode == 0 and done.stderr == "", done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("cached: closed load, 64 callers, jitney ")
    assert lines[2].split() == ["WANTED/S", "CALLS/S", "CALLS", "FAILED", "MEAN", "P50", "P90", "P99", "P99.9", "MAX"]
    assert lines[3].split()[:2] == ["as", "fast"] and lines[3].split()[3:5] == ["50", "0"]
    assert re.match(r"gateway's memory: .* before, .* at most, .* after$", lines[-1])
    (line,) = xml.etree.ElementTree.parse(tmp_path / "plot.svg").findall(".//{*}polyline")
    assert len(line.get("points").split()) == 14
    done = run("benchmark", "cached", "--count", 50, "--rate", 1000, "--csv", *at(gateway))
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert (float(row["rate"]), row["calls"], row["failed"]) == (1000, "50", "0")


def test_refusals_and_lost_connections_are_counted(gateway, nobody):
    done = run("benchmark", "nobody", "--count", 20, *at(gateway))
    assert done.returncode == 1 and "failed:  status 404: 20\n" in done.stdout
    done = run("benchmark", "echo", "--count", 20, "-u", nobody, "--admin", nobody)
    assert done.returncode == 1 and "failed:  connect: 20\n" in done.stdout
    assert f"memory is not measured: cannot connect to {nobody}: connection refused; --admin URL" in done.stderr
    assert json.loads(run("benchmark", "echo", "--count", 1, "-u", nobody, "--admin", nobody, "--json").stdout)["rss_bytes"]["idle"] is None


def test_bytes_that_nobody_asked_for_are_no_answer(provider):
    """A whole answer behind an answer: the connection ends there, and the next call has its own."""
    both = b"".join(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n{}" % status for status in (200, 500))
    provider.behaviour = lambda _, wire: wire.raw(both)
    done = run("benchmark", "x", "--count", 40, "--callers", 2, "--json", "-u", provider.url(""), "--admin", "unix:/nowhere")
    assert only_step(json.loads(done.stdout))["statuses"] == {"200": 40}, done.stdout
    assert provider.connection_count == 40


def test_who_cannot_connect_tries_again_a_while_later(nobody):
    done = run("benchmark", "x", "--seconds", 1, "--callers", 2, "--json", "-u", nobody, "--admin", nobody)
    step = only_step(json.loads(done.stdout))
    assert step["errors"]["connect"] == step["calls"] and 2 <= step["calls"] <= 2 * 11


def test_a_call_without_an_answer_times_out(gateway, provider):
    provider.hold()
    done = run("benchmark", "send", "--count", 3, "--callers", 3, "--timeout", "0.3", *at(gateway))
    assert done.returncode == 1 and "failed:  timeout: 3\n" in done.stdout, done.stdout


def test_ctrl_c_prints_what_was_measured(gateway):
    process = subprocess.Popen([JITNEY, "perf", "benchmark", "cached", "--seconds", "600", "--json", *at(gateway)],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: gateway.metrics().sum("requests_total", tool="cached") > 1000, "calls come")   # a call each caller is under way
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=20)
    document = json.loads(out)
    assert process.returncode == 1 and error == "" and document["interrupted"] is True
    step = only_step(document)
    assert 100 < step["answered"] <= gateway.metrics().sum("requests_total", tool="cached") and step["failed"] == 0


def test_ctrl_c_waits_for_no_answer(tmp_path):
    """Of an admin listener that says nothing: not before a benchmark, not in a monitor."""
    with StandIn(numbers()) as stand_in:
        stand_in.going.clear()
        for words in (("benchmark", "x", "-u", stand_in.url, "--admin", stand_in.url), ("monitor", "-u", stand_in.url, "-t", "3600")):
            asked = len(stand_in.asked)
            process = subprocess.Popen([JITNEY, "perf", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            until(lambda: len(stand_in.asked) > asked, "it is asked")
            process.send_signal(signal.SIGINT)
            out, error = process.communicate(timeout=20)
            assert process.returncode == 1 and error == "", (words, out, error)


def test_progress_is_for_terminals_only(gateway):
    script = f'{JITNEY} perf benchmark cached --seconds 600 {" ".join(at(gateway))} 2>/dev/tty'
    with Terminal(["sh", "-c", script]) as terminal:
        terminal.until_shows(r"^step 1 of 1, as fast as answers come: \d s, \d+ answered, p99 ")
        terminal.type("\x03")
        terminal.until_shows(r"^cached: closed load, 64 callers, jitney .*; interrupted")


# ---- benchmark: where --------------------------------------------------------------------------------------------------


def test_over_a_unix_socket(start, tmp_path):
    gateway = start({"listen": f"unix:{tmp_path}/data", "admin": {"listen": f"unix:{tmp_path}/admin"}})
    done = run("benchmark", "cached", "--count", 20, "--json",
               environment={"JITNEY_URL": f"unix:{tmp_path}/data", "JITNEY_ADMIN_URL": f"unix:{tmp_path}/admin"})
    document = json.loads(done.stdout)
    assert only_step(document)["statuses"] == {"200": 20} and document["rss_bytes"]["idle"] > 0
    assert gateway.process.poll() is None


@pytest.mark.skipif(not socket.has_ipv6 or not Path("/proc/net/if_inet6").read_text(), reason="no IPv6")
def test_over_ipv6(start):
    gateway = start({"listen": "[::1]:0"})
    done = run("benchmark", "cached", "--count", 20, "--json", "-u", f"[::1]:{gateway.port}", "--admin", gateway.url("", "admin"))
    assert done.returncode == 0 and only_step(json.loads(done.stdout))["statuses"] == {"200": 20}, done.stderr


def test_base_path_host_and_headers(provider):
    done = run("benchmark", "a/b", "--count", 1, "-H", "X-Key: 1", "-u", f"http://localhost:{provider.port}/base/", "--admin", "unix:/nowhere")
    assert done.returncode == 0, done.stderr
    delivery = provider.deliveries[0]
    assert delivery.path == "/base/v1/tools/a%2Fb" and delivery.body == b"{}"
    assert delivery.headers["host"] == f"localhost:{provider.port}" and delivery.headers["x-key"] == "1"


@pytest.mark.parametrize("words, said", [
    ((), "name a TOOL, or --calls FILE"), (("a", "b", "c"), "a word too many"), (("a", "[]"), "ARGUMENTS is one JSON object, not []"),
    (("a", "-c", "0"), "--callers wants a number from 1 to 60000"), (("a", "-r", "-1"), "--rate wants calls a second"),
    (("a", "-r", "5", "--sweep"), "--sweep and --rate exclude"), (("a", "--json", "--csv"), "--json and --csv exclude"),
    (("--log", "x", "-r", "5"), "a --log has its own times"), (("--log", "x", "--calls", "y"), "exclude each other"),
    (("a", "-s", "x"), "--seconds wants"), (("a", "--fail-over", "ten"), "--fail-over wants"), (("a", "-n", "1.5"), "--count wants"),
    (("a", "-u", "https://x"), "over plain HTTP"), (("a", "-u", "http://x:y"), "it wants http://HOST:PORT"), (("a", "-u", "http://[::1"), "it wants"),
    (("a", "-u", "http://127.0.0.1:1?q"), "it wants"), (("a", "-u", "unix:" + "x" * 200), "too long for a socket"),
    (("--calls", "/no/such"), "/no/such: No such file"), (("--log", "/no/such"), "/no/such: No such file"),
    (("a", "--compare", "/no/such"), "/no/such: No such file"), (("a", "--nonsense"), "an option is not known"), (("a", "-H", "A: b\r\nC: d"), "--header wants 'Name: value' in one line"),
])
def test_wrong_words_are_named(words, said):
    done = run("benchmark", *words)
    assert done.returncode == 2 and done.stdout == "" and said in done.stderr.splitlines()[-1], done.stderr


# ---- compare -----------------------------------------------------------------------------------------------------------


def changed(document, **figures):
    step = {**only_step(document), **figures}
    return {**document, "steps": [step]}


def test_what_is_worse_than_before_fails(gateway, tmp_path):
    now = bench(gateway, "cached", "--count", 200)
    path = tmp_path / "before.json"
    words = ("benchmark", "cached", "--count", 200, "--compare", path, *at(gateway))
    huge = {"idle": 1 << 40, "loaded": 1 << 40, "after": 1 << 40}
    slow = merged(changed(now, calls_per_second=1, p50_us=10**9, p90_us=10**9, p99_us=10**9), {"rss_bytes": huge})
    path.write_text(json.dumps(slow))
    done = run(*words)
    assert done.returncode == 0 and not re.search(r" worse$", done.stdout, re.M), done.stdout
    assert re.search(r"^calls/s +1 .* \+", done.stdout, re.M) and re.search(r"^memory at most +1\.0 TiB ", done.stdout, re.M)
    path.write_text(json.dumps(changed(slow, calls_per_second=1e9, p99_us=1)))
    done = run(*words)
    assert done.returncode == 1 and "2 figures are worse by 10% or more" in done.stderr, done.stdout
    assert re.search(r"^calls/s .*worse$", done.stdout, re.M) and re.search(r"^p99 .*worse$", done.stdout, re.M)
    assert run(*words, "--fail-over", "1000%").returncode == 1, "p99 is more than eleven times a microsecond"
    path.write_text(json.dumps(changed(slow, calls_per_second=1e9)))
    assert run(*words, "--fail-over", "100%").returncode == 0


@pytest.mark.parametrize("text, said", [
    ("x", "it is not JSON"), ("{}", "it is not what jitney perf benchmark --json prints"),
    ('{"jitney_perf":1,"load":"open","callers":64}', "it is of another kind of load"),
    ('{"jitney_perf":1,"load":"closed","callers":3}', "it is of another number of callers"),
])
def test_what_cannot_be_compared_is_said(gateway, tmp_path, text, said):
    path = tmp_path / "before.json"
    path.write_text(text)
    done = run("benchmark", "cached", "--count", 5, "--compare", path, *at(gateway))
    assert done.returncode == 2 and f"{path}: {said}" in done.stderr and done.stdout == ""
    assert gateway.metrics().sum("requests_total") == 0, "it is said before anything is called"


# ---- monitor, profile, cache-stats -------------------------------------------------------------------------------------


def test_monitor_prints_rows():
    with StandIn(numbers()) as stand_in:
        done = run("monitor", "-u", stand_in.url, "-n", 3, "-i", "0.1")
        lines = done.stdout.splitlines()
        assert done.returncode == 0 and lines[0].split() == ["CALLS/S", "ERR/S", "P50", "P99", "HITS", "REQ/S", "FULL", "OPEN", "BUSY", "RSS"]
        assert [line.split()[1:] for line in lines[1:]] == 3 * [["12.5", "0", "900us", "15ms", "25%", "3", "4.10", "3", "50%", "50.0", "MiB"]]
        rows = [json.loads(line) for line in run("monitor", "-u", stand_in.url, "-n", 2, "-i", "0.1", "--json").stdout.splitlines()]
        assert [row["p99_us"] for row in rows] == [15000, 15000] and rows[0]["at"] < rows[1]["at"]
        stand_in.document["rates"]["1s"]["p99_us"] = None
        (row,) = csv.DictReader(io.StringIO(run("monitor", "-u", stand_in.url, "-n", 1, "--csv").stdout))
        assert row["p99_us"] == "" and row["rss_bytes"] == str(50 << 20) and row["busy_ratio"] == "0.5"


def test_monitor_goes_on_when_there_is_no_answer(make, tmp_path):
    gateway = make({"admin": {"listen": f"unix:{tmp_path}/admin"}})
    process = subprocess.Popen([JITNEY, "perf", "monitor", "-u", f"unix:{tmp_path}/admin", "-i", "0.1", "--json"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "no answer: cannot connect to unix:" in process.stderr.readline()
    gateway.start()
    assert json.loads(process.stdout.readline())["calls"] == 0
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 0


def test_a_monitor_does_not_make_up_for_a_silence():
    """Rows whose time has passed are left out: they would be the same row many times, and as many questions at once."""
    with StandIn(numbers()) as stand_in:
        with subprocess.Popen([JITNEY, "perf", "monitor", "-u", stand_in.url, "-i", "0.2", "-t", "1", "-n", "12", "--json"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline()
            stand_in.going.clear()
            for _ in range(3):
                assert "did not answer within 1 s" in process.stderr.readline()
            stand_in.going.set()
            resumed = time.monotonic()
            assert process.wait(30) == 0
            assert time.monotonic() - resumed > 0.9, "seven rows at least, and six intervals between them"


def test_a_profile_is_written(gateway, tmp_path):
    path = tmp_path / "out"
    done = run("profile", "-s", 1, "-o", path, "-u", gateway.url("", "admin"))
    assert done.returncode == 0 and f"{path}: {path.stat().st_size} bytes" in done.stderr
    assert path.read_bytes()[:2] == b"\x1f\x8b", "pprof's files are gzip"
    done = run("profile", "-s", 1, "-f", "svg", "-o", "-", "-u", gateway.url("", "admin"))
    assert done.returncode == 0 and "<svg" in done.stdout
    done = run("profile", "-s", 1, "-f", "folded", "-u", gateway.url("", "admin"))
    assert done.returncode == 0 and all(re.match(r".* \d+$", line) for line in done.stdout.splitlines())
    for words, said in ((("-s", "0"), "--seconds wants a whole number"), (("-f", "xml"), "--format wants pprof"), (("x",), "words after")):
        done = run("profile", *words)
        assert done.returncode == 2 and said in done.stderr


def test_cache_stats_are_those_of_the_cache(gateway):
    gateway.call("cached", {"n": 1})
    done = run("cache-stats", "-u", gateway.url("", "admin"))
    assert done.returncode == 0 and re.search(r"^memory +up +1 ", done.stdout, re.M)


def test_what_perf_takes_is_named():
    assert run("--help").returncode == 0
    for words in ((), ("dance",)):
        done = run(*words)
        assert done.returncode == 2 and "it takes benchmark, monitor, profile or cache-stats" in done.stderr


@pytest.mark.parametrize("command", ["benchmark", "monitor", "profile", "cache-stats"])
def test_the_shell_completes_them(command):
    assert command in completions("jitney", "perf", "")
    told = set(re.findall(r"(?<![\w-])--[a-z-]+", run(command, "--help").stdout))
    assert set(completions("jitney", "perf", command, "--")) == told | {"--help"}
