# SPDX-License-Identifier: Apache-2.0
"""Providers that speak HTTP/2: many calls on one connection, and what becomes of each when its stream or the connection does not hold."""
import json
import subprocess
import threading

import pytest
from h2.errors import ErrorCodes

from harness.gateway import JITNEY, PATIENT
from harness.http2_provider import Http2Provider
from harness.poll import given_time, until

ECHO = {"annotations": {"read_only": True}}


@pytest.fixture
def providers(papers):
    """providers(handle, tls=…, …) gives a provider."""
    made = []

    def build(handle, tls=True, **how):
        made.append(Http2Provider(handle, (papers / "good.pem", papers / "good.key") if tls else None, **how))
        return made[-1]

    yield build
    for provider in made:
        provider.finish()


@pytest.fixture
def behind(start, papers):
    """behind(provider, http) gives a gateway in front of it that sends each call by itself."""

    def build(provider, http="auto", **settings):
        changes = {"endpoints": [{"url": provider.url()}], "http": http, "batch": {"mode": "off"}, "concurrency": 100,
                   "pool": {"connect_timeout": "60s"}, **PATIENT, **settings}
        if provider.context:
            changes["ca_file"] = str(papers / "authority.pem")
        return start({"workers": 1, "upstreams": {"array": changes}})

    return build


def echo(request):
    request.answer(lambda arguments: arguments)


class Held:
    """Keeps requests until so many are there, then answers all."""

    def __init__(self, count, answer=echo):
        self.count, self.answer, self.kept, self.lock = count, answer, [], threading.Lock()

    def __call__(self, request):
        with self.lock:
            self.kept.append(request)
            due = self.kept if len(self.kept) >= self.count else []
        for each in due:
            self.answer(each)


def test_without_tls_it_has_to_be_known(providers, behind, make):
    """By libcurl 8 or newer; an older one says so before anything runs."""
    provider = providers(echo, tls=False)
    gateway = make({"upstreams": {"array": {"endpoints": [{"url": provider.url()}], "http": "2"}}})
    gateway.config_path.write_text(json.dumps(gateway.config))
    checked = subprocess.run([JITNEY, "check", "-c", gateway.config_path], capture_output=True, text=True, timeout=30, check=False)
    if checked.returncode:
        assert "upstreams.array.http: without TLS it needs libcurl 8.0.0 or newer" in checked.stderr
        return
    gateway = behind(provider, "2")
    for n in range(5):
        assert gateway.call("echo", {"n": n}).json() == {"n": n}
    assert provider.connections() == 1


@pytest.mark.parametrize("http", ["auto", "2"])
def test_many_calls_share_one_connection(providers, behind, together, http):
    provider = providers(Held(40))
    gateway = behind(provider, http)
    replies = together(lambda n: gateway.call("echo", {"n": n}), range(40))
    assert [reply.json() for reply in replies] == [{"n": n} for n in range(40)]
    assert provider.connections() == 1
    metrics = gateway.metrics()
    assert metrics.sum("upstream_multiplexed_total", upstream="array") == 40
    assert metrics.sum("upstream_connects_total", upstream="array") == 1
    gateway.until_metric("upstream_connections", 0, upstream="array", state="busy")


@pytest.mark.parametrize("http, tls", [("auto", False), ("1.1", True)])
def test_where_it_is_not_agreed_on_it_is_not_spoken(start, provider, providers, behind, http, tls):
    """auto without TLS, and 1.1 with a provider that would speak it."""
    if tls:
        spoken = providers(echo)
        gateway = behind(spoken, http)
        reply = gateway.call("echo", {"n": 1})
        assert reply.status == 502 and not spoken.requests      # it took 1.1 at its word, and speaks only frames
    else:
        gateway = start({"upstreams": {"array": {"http": http}}})
        assert gateway.call("echo", {"n": 1}).json() == {"echo": {"n": 1}}
    assert gateway.metrics().sum("upstream_multiplexed_total", upstream="array") == 0


def test_a_kept_connection_may_speak_up(providers, behind):
    """A ping and new settings out of turn are no answers: the connection is used again, and later answers are their askers'."""
    provider = providers(echo)
    gateway = behind(provider)
    for n in range(5):
        assert gateway.call("echo", {"n": n}).json() == {"n": n}
        provider.peers[0].ping()
    assert provider.connections() == 1


def test_answers_out_of_order_are_their_askers(providers, behind, together):
    def backwards(request):
        with kept.lock:
            ready = sorted(kept.kept, key=lambda each: -each.number) if len(kept.kept) >= 30 else []
            kept.kept = [] if ready else kept.kept
        for each in ready:
            echo(each)

    kept = Held(0, backwards)
    kept.count = 1
    provider = providers(lambda request: (kept.kept.append(request), backwards(request)))
    gateway = behind(provider)
    replies = together(lambda n: gateway.call("echo", {"n": n, "text": "x" * (n * 997)}), range(30))
    assert [reply.json()["n"] for reply in replies] == list(range(30))
    assert all(len(reply.json()["text"]) == n * 997 for n, reply in enumerate(replies))


@pytest.mark.parametrize("code", [ErrorCodes.REFUSED_STREAM, ErrorCodes.INTERNAL_ERROR])
def test_a_stream_that_is_reset_takes_no_other_with_it(providers, behind, together, code):
    """A write whose stream is reset: nobody knows, and it is not sent again. The others have their answers."""
    bad = {13}

    def answer(request):
        if request.call()["params"]["n"] in bad:
            request.reset(code)
        else:
            echo(request)

    provider = providers(Held(30, answer))
    gateway = behind(provider)
    replies = together(lambda n: gateway.call("write", {"n": n}), range(30))
    for n, reply in enumerate(replies):
        if n not in bad:
            assert reply.json() == {"n": n}
            continue
        assert reply.status == 502 and reply.json()["code"] == "outcome_unknown", reply
    arrived = [request.call()["params"]["n"] for request in provider.requests]
    assert sorted(arrived) == list(range(30))


def test_what_may_be_repeated_is_after_a_farewell(providers, behind, together):
    """GOAWAY: what was not looked at goes again, what was is answered, and does not. They travel on no more than a connection each (libcurl
    7.88: one for all, now and then; one more is opened, and not used, now and then)."""
    first, used = [], set()

    def handle(request):
        used.add(request.peer)
        if request.peer is not provider.peers[0]:
            echo(request)
            return
        first.append(request)
        if len(first) < 20:
            return
        looked_at = sorted(first, key=lambda each: each.stream)[:10]     # streams need not arrive in the order of their numbers
        request.peer.say_farewell(looked_at[-1].stream)
        for each in looked_at:
            echo(each)
        request.peer.say_no_more()

    provider = providers(handle)
    gateway = behind(provider)
    replies = together(lambda n: gateway.call("echo", {"n": n}), range(20))
    assert [reply.json() for reply in replies] == [{"n": n} for n in range(20)]
    assert len(provider.requests) == 30
    counted = gateway.metrics()
    repeats = counted.sum("upstream_repeats_total", upstream="array")
    assert (repeats, counted.sum("attempts_total", upstream="array", kind="retry")) in ((10, 0), (9, 1))
    assert 2 <= len(used) <= 11
    gateway.until_metric("in_flight", 0)


def test_a_lost_connection_never_writes_twice(providers, behind, together):
    """It is cut with writes on it: each is told once, and none comes again."""
    def handle(request):
        if len(provider.requests) % 10 == 0:
            request.peer.hang_up()
        else:
            echo(request)

    provider = providers(handle)
    gateway = behind(provider)
    replies = together(lambda n: gateway.call("write", {"n": n}), range(200))
    arrived = [request.call()["params"]["n"] for request in provider.requests]
    assert len(arrived) == len(set(arrived))
    assert {reply.status for reply in replies} <= {200, 502, 503}
    for n, reply in enumerate(replies):
        if reply.status == 200:
            assert reply.json() == {"n": n} and n in arrived
        elif reply.json()["code"] != "outcome_unknown":
            assert n not in arrived, reply
    assert any(reply.status == 502 for reply in replies)


def test_a_caller_that_leaves_resets_its_stream_only(providers, behind):
    """And the connection goes on. libcurl says so with the next request at the latest."""
    provider = providers(lambda request: echo(request) if request.call()["params"].get("n") else None)
    gateway = behind(provider)
    assert gateway.call("echo", {"n": 1}).json() == {"n": 1}

    def sent(milliseconds):
        assert gateway.call("echo", {"n": 0}, x_request_timeout_ms=milliseconds).status == 504
        return any(request.call()["params"] == {"n": 0} for request in provider.requests)

    given_time(sent, 200)
    assert gateway.call("echo", {"n": 2}).json() == {"n": 2}
    until(lambda: provider.gone, "its stream was reset")
    assert provider.connections() == 1


def test_more_calls_than_streams(providers, behind, together):
    """A provider that takes eight at a time: what is over goes by further connections or waits, and all are answered."""
    provider = providers(echo, streams=8)
    gateway = behind(provider)
    replies = together(lambda n: gateway.call("echo", {"n": n}), range(120))
    assert [reply.json() for reply in replies] == [{"n": n} for n in range(120)]


def test_an_answer_over_the_cap_ends_its_stream_only(providers, behind):
    provider = providers(lambda request: request.answer(lambda arguments: "x" * arguments["bytes"]))
    gateway = behind(provider, answer="64KiB")
    assert gateway.call("echo", {"bytes": 10}).json() == "x" * 10
    reply = gateway.call("echo", {"bytes": 1 << 20})
    assert reply.status == 502 and "over the cap" in reply.json()["detail"]
    assert gateway.call("echo", {"bytes": 50000}).json() == "x" * 50000
    assert provider.connections() == 1


def calls_of(tool, count):
    return [{"id": n, "tool": tool, "arguments": {"n": n}} for n in range(count)]


def test_who_waits_for_anothers_connection_waits_no_longer_than_for_ones_own(start, black_hole):
    """Only when a connection is there is it known whether others may share it; libcurl 7.88 minds no time of theirs until then."""
    gateway = start({"workers": 1, "upstreams": {"array": {
        "endpoints": [{"url": f"https://127.0.0.1:{black_hole.port}/rpc"}], "http": "auto", "batch": {"mode": "off"}, "concurrency": 100,
        "pool": {"connect_timeout": "300ms"}, **PATIENT}}})
    replies = gateway.batch(calls_of("write", 30)).json()["results"]
    assert [reply["error"]["code"] for reply in replies] == ["upstream_unavailable"] * 30
    assert gateway.metrics().sum("upstream_connects_total", upstream="array") <= 10      # not one after the other


def test_who_waits_for_a_connection_is_not_forgotten_over_others(start, providers, black_hole, papers, later):
    """Thirty wait for a provider that is not there; thirty others' connection comes about, and all of them use it."""
    provider = providers(echo)
    provider.welcome.clear()
    common = {"http": "auto", "batch": {"mode": "off"}, "concurrency": 100, "ca_file": str(papers / "authority.pem"),
              "pool": {"connect_timeout": "60s"}, **PATIENT}
    gateway = start({"workers": 1, "tools": {"dark": {"upstream": "dark"}}, "upstreams": {
        "array": {"endpoints": [{"url": provider.url()}], **common},
        "dark": {"dialect": "jsonrpc", "endpoints": [{"url": f"https://127.0.0.1:{black_hole.port}/rpc"}], **common}}})
    dark = later(gateway.batch, calls_of("dark", 30))
    gateway.until_metric("in_flight_requests", 30)
    call = later(gateway.batch, calls_of("write", 30))
    gateway.until_metric("in_flight_requests", 60)
    provider.welcome.set()
    assert [reply["result"] for reply in call.result(20).json()["results"]] == [{"n": n} for n in range(30)]
    assert not dark.done()
    assert provider.connections() == 1
