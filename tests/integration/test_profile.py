# SPDX-License-Identifier: Apache-2.0
"""GET /debug/pprof/...: where the CPU time goes, who holds memory, what the threads do."""
import gzip
import os
import signal
import threading
import xml.etree.ElementTree as ElementTree

import pytest

from harness.gateway import SANITIZED
from harness.poll import until
from harness.protobuf import fields, packed
from harness.wire import request_bytes


# pprof's messages: https://github.com/google/pprof/blob/main/proto/profile.proto

class Profile:
    def __init__(self, reply):
        message = fields(gzip.decompress(reply.body))
        self.texts = [text.decode() for text in message[6]]
        assert self.texts[0] == ""
        self.types = [tuple(self.texts[fields(each)[n][0]] for n in (1, 2)) for each in message[1]]
        self.modules = [self.texts[fields(each)[5][0]] for each in message.get(3, [])]
        functions = {fields(each)[1][0]: self.texts[fields(each)[2][0]] for each in message.get(5, [])}
        locations = {}
        for each in map(fields, message.get(4, [])):
            locations[each[1][0]] = functions[fields(each[4][0])[1][0]]
        self.samples = []  # ({type: value}, thread, functions from the innermost)
        for each in map(fields, message.get(2, [])):
            label = fields(each[3][0]) if 3 in each else {}
            assert not label or self.texts[label[1][0]] == "thread"
            self.samples.append((dict(zip([kind for kind, _ in self.types], packed(each[2]))),
                                 self.texts[label[2][0]] if label else None,
                                 [locations[number] for number in packed(each[1])]))
        self.duration_ns = message.get(10, [0])[0]
        self.period_ns = message.get(12, [0])[0]

    def functions(self):
        return {name for _, _, stack in self.samples for name in stack}


def profile(gateway, query=""):
    reply = gateway.get(f"/debug/pprof/profile{query}", "admin")
    assert reply.status == 200, reply
    return reply


@pytest.fixture
def busy(gateway):
    """Callers who keep it busy for as long as the test takes."""
    over = threading.Event()

    def call():
        while not over.is_set():
            try:
                gateway.batch([{"id": str(n), "tool": "cached", "arguments": {"n": n % 7}} for n in range(200)])
            except OSError:  # the test has stopped it
                return

    callers = [threading.Thread(target=call) for _ in range(2)]
    for caller in callers:
        caller.start()
    yield gateway
    over.set()
    for caller in callers:
        caller.join()


def test_pprof_shows_our_functions_and_their_threads(busy):
    reply = profile(busy, "?seconds=2")
    assert reply.header("content-type") == "application/octet-stream" and reply.header("cache-control") == "no-store"
    found = Profile(reply)
    assert found.types == [("samples", "count"), ("cpu", "nanoseconds")] and found.period_ns == 10_000_000
    assert 1_900_000_000 < found.duration_ns
    assert found.samples and found.modules[0].endswith("jitney")
    assert {thread for _, thread, _ in found.samples} <= {"jitney", "log", "registry", "reload", "observer", "jemalloc_bg_thd", *(f"worker {n}" for n in range(8))}
    assert any(thread.startswith("worker ") for _, thread, _ in found.samples)
    assert all(values["cpu"] == values["samples"] * 10_000_000 or values["cpu"] > values["samples"] * 10_000_000
               for values, _, _ in found.samples)
    if not SANITIZED:  # those run handlers late
        assert {"worker_turn", "run_worker"} <= found.functions(), found.functions()
        assert any(stack[-1] in ("clone3", "__clone3", "clone", "[libc.so.6]") for _, _, stack in found.samples)


def test_folded_and_svg_for_the_eye(busy):
    reply = until(lambda: (some := profile(busy, "?seconds=1&format=folded")).body and some, "it was let run in that second")
    assert reply.header("content-type").startswith("text/plain")
    lines = reply.body.decode().splitlines()
    assert lines and all(line.rpartition(" ")[2].isdigit() and ";" in line for line in lines)
    assert any(line.startswith("worker ") for line in lines)
    reply = until(lambda: b"worker " in (some := profile(busy, "?seconds=1&format=svg")).body and some, "and in that one")
    assert reply.header("content-type") == "image/svg+xml"
    picture = ElementTree.fromstring(reply.body)
    titles = [each.text for each in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert titles[0].startswith("all (") and any(title.startswith("worker ") for title in titles)


def test_nobody_busy_is_a_profile_too(gateway):
    assert Profile(profile(gateway, "?seconds=1")).types[1] == ("cpu", "nanoseconds")


@pytest.mark.parametrize("query", ["?seconds=0", "?seconds=61", "?seconds=x", "?seconds=", "?format=png", "?hz=1000", "?seconds=1&x"])
def test_what_cannot_be_meant_is_refused(gateway, query):
    reply = gateway.get(f"/debug/pprof/profile{query}", "admin")
    assert reply.status == 400 and "seconds" in reply.json()["detail"], reply


def test_one_at_a_time_and_its_end_with_the_askers_connection(gateway):
    with gateway.connect("admin") as asker:
        asker.send(request_bytes("GET", "/debug/pprof/profile?seconds=60"))
        until(lambda: gateway.threads("profile") == 1, "the profile is being taken")
        reply = gateway.get("/debug/pprof/profile?seconds=1", "admin")
        assert reply.status == 429 and 1 <= int(reply.header("retry-after")) <= 61, reply
        assert "one at a time" in reply.json()["detail"]
    until(lambda: gateway.threads("profile") == 0, "nobody waits, so it ends")
    until(lambda: gateway.get("/debug/pprof/profile?seconds=1", "admin").status == 200, "the next one may begin")


def test_a_stop_ends_it_with_what_there_is(busy):
    with busy.connect("admin") as asker:
        asker.send(request_bytes("GET", "/debug/pprof/profile?seconds=60"))
        until(lambda: busy.threads("profile") == 1, "the profile is being taken")
        busy.signal(signal.SIGTERM)
        reply = asker.reply()
        assert reply.status == 200 and Profile(reply).duration_ns < 60_000_000_000
    busy.ended_by_test = True
    assert busy.wait() == 0


def test_only_the_admin_listener_has_it(gateway):
    for path in ("profile", "heap", "threads"):
        assert gateway.get(f"/debug/pprof/{path}").status == 404
        assert gateway.request("POST", f"/debug/pprof/{path}", listener="admin").status == 405


@pytest.mark.skipif(SANITIZED, reason="the sanitizers' own handlers take these signals")
@pytest.mark.parametrize("number", [signal.SIGPROF, signal.SIGSEGV])
def test_a_process_that_was_profiled_dies_as_before(gateway, number):
    profile(gateway, "?seconds=1")
    os.kill(gateway.process.pid, number)
    gateway.ended_by_test = True
    assert gateway.wait() == -number
    last = gateway.events()[-1]
    assert (last["event"], last["signal"]) == ("died", str(int(number))), last
    gateway.process = None


def test_threads_are_named_and_their_loops_measured(gateway):
    gateway.call("echo", {"n": 1})
    page = gateway.get("/debug/pprof/threads", "admin").json()
    assert [worker["worker"] for worker in page["workers"]] == [0, 1]
    assert all(0 <= worker["busy_ratio"] <= 1 and worker["lag_us"] >= 0 for worker in page["workers"])
    assert {"worker 0", "worker 1"} <= {thread["name"] for thread in page["threads"]}
    assert page["thread_count"] == len(page["threads"]) == gateway.threads()
    assert all({"tid", "state", "user_us", "kernel_us"} <= set(thread) for thread in page["threads"])


def test_heap_is_what_the_accounts_say(gateway):
    gateway.call("cached", {"n": 1, "text": "x" * 100_000})
    page = gateway.get("/debug/pprof/heap?format=json", "admin").json()
    held = {each["name"]: each["bytes"] for each in page["holders"]}
    assert held["memory_tier"] == gateway.metrics().sum("cache_bytes", tier="memory") > 100_000
    assert sum(held.values()) <= page["resident_bytes"] * 1.1 and held["rest_of_resident_memory"] > 1 << 20
    reply = gateway.get("/debug/pprof/heap", "admin")
    found = Profile(reply)
    assert found.types == [("inuse_space", "bytes")]
    assert ("memory_tier", "cache") in [tuple(stack) for _, _, stack in found.samples]
    lines = gateway.get("/debug/pprof/heap?format=folded", "admin").body.decode().splitlines()
    assert any(line.startswith("inuse_space;cache;memory_tier ") for line in lines)
    ElementTree.fromstring(gateway.get("/debug/pprof/heap?format=svg", "admin").body)
    assert gateway.get("/debug/pprof/heap?format=png", "admin").status == 400
