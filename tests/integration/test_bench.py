# SPDX-License-Identifier: Apache-2.0
"""The load generator and the bare provider, against this harness' own: what they report must be so."""
import json
import subprocess

import pytest

from harness import provider as behave
from harness.gateway import LOAD
from harness.poll import given_time
from harness.wire import Raw


def load(provider, *options, status=0):
    done = subprocess.run([LOAD, "--connect", f"127.0.0.1:{provider.port}", *map(str, options)], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == status, done
    return json.loads(done.stdout)


def test_it_makes_all_calls_and_checks_each_answer(provider):
    report = load(provider, "--callers", 8, "--calls", 100, "--path", "/a%d?b=%%", "--body", '{"n":%d}',
                  "--expect", '{"method": "POST", "path": "/a%d?b=%%", "body": {"n": %d}}')
    assert (report["calls"], report["answered"], report["wrong"], report["statuses"]) == (100, 100, 0, {"200": 100})
    assert report["p50_us"] <= report["p90_us"] <= report["p99_us"] <= report["max_us"]
    assert provider.connection_count == 8
    assert sorted(json.loads(delivery.body)["n"] for delivery in provider.deliveries) == list(range(100))


def test_it_tells_wrong_answers(provider):
    report = load(provider, "--calls", 5, "--body", "{}", "--expect", "something else", status=1)
    assert report["wrong"] == 5


def test_a_part_of_an_answer_can_be_asked_for(provider):
    assert load(provider, "--calls", 12, "--body", '{"n":"%d."}', "--contains", '"%d."')["wrong"] == 0
    assert load(provider, "--calls", 5, "--body", "{}", "--contains", "something else", status=1)["wrong"] == 5


def test_it_counts_statuses_and_failures(provider):
    provider.next(behave.status(404), behave.close, behave.garbage)
    report = load(provider, "--calls", 5, status=1)
    assert report["statuses"] == {"200": 2, "404": 1}
    assert report["answered"] == 3
    assert report["errors"] == {"connect": 0, "closed": 1, "timeout": 0, "protocol": 1}


def test_a_call_that_hangs_times_out(provider):
    def one_answered(milliseconds):
        """For the other one that must be time enough."""
        provider.next(behave.hang)
        report = load(provider, "--calls", 2, "--timeout", milliseconds / 1000, status=1)
        assert report["errors"]["timeout"] >= 1 and report["errors"]["timeout"] + report["answered"] == 2
        return report["answered"] == 1

    given_time(one_answered, 200)


def test_nobody_there(provider):
    provider.stop()
    assert load(provider, "--calls", 3, status=1)["errors"]["connect"] == 3


def test_numbers_can_repeat(provider):
    load(provider, "--calls", 10, "--distinct", 3, "--path", "/%d")
    assert [delivery.path for delivery in provider.deliveries] == [f"/{n % 3}" for n in range(10)]


def test_all_callers_start_at_once(provider):
    provider.hold()
    process = subprocess.Popen([LOAD, "--connect", f"127.0.0.1:{provider.port}", "--callers", "50", "--calls", "50",
                                "--at-once"], stdout=subprocess.PIPE)
    provider.until_deliveries(50)
    assert provider.connection_count == 50
    provider.release()
    assert json.loads(process.communicate(timeout=20)[0])["answered"] == 50


def test_a_rate_is_kept(provider):
    report = load(provider, "--callers", 4, "--calls", 40, "--rate", 200)
    assert report["seconds"] >= 39 / 200


def test_chunked_answers_are_read(provider):
    provider.behaviour = lambda _, wire: wire.raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n")
    assert load(provider, "--calls", 5, "--expect", "hello world")["wrong"] == 0


@pytest.fixture
def bare():
    process = subprocess.Popen([LOAD.parent / "provider", "--delay-ms", "1"], stdout=subprocess.PIPE, text=True)
    yield Raw(("127.0.0.1", int(process.stdout.readline())))
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_bare_provider_echoes_and_counts(bare):
    call = {"jsonrpc": "2.0", "id": 7, "method": "m", "params": {"a": [1, {"b": '"]}\\'}]}}
    answer = {"jsonrpc": "2.0", "id": 7, "result": {"echo": call["params"]}}
    assert bare.request("POST", "/rpc", json.dumps(call).encode()).json() == answer
    assert bare.request("POST", "/rpc", json.dumps([call, call, call]).encode()).json() == [answer] * 3
    assert bare.request("PUT", "/a?b", b'{"c":1}').json() == {"method": "PUT", "path": "/a?b", "body": {"c": 1}}
    assert bare.request("POST", "/rpc", b"[]").status == 400
    assert bare.request("GET", "/stats").json() == {"requests": 3, "calls": 5, "max_batch": 3, "connections": 1}
