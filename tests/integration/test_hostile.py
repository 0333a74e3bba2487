# SPDX-License-Identifier: Apache-2.0
"""Requests that no honest client sends. Each is refused, counted by its reason, ends its connection, smuggles nothing."""
import contextlib
import random
import re
import socket
import ssl
import time

import pytest

from harness.gateway import SANITIZED, Gateway, standard
from harness.poll import until
from harness.provider import Provider

POST = b"POST /v1/tools/echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
SMUGGLED = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"

# name: (bytes, statuses that are fine, reason that must be counted). Status 0: closed without a word.
REFUSED = {
    # framing
    "length-and-chunked": (POST + b"Content-Length: 2\r\n" + CHUNKED + b"2\r\n{}\r\n0\r\n\r\n", {400}, "bad_framing"),
    "chunked-and-length": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n", {400}, "bad_framing"),
    "two-lengths": (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", {400}, "bad_framing"),
    "the-same-length-twice": (POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", {400}, "bad_framing"),
    "length-list": (POST + b"Content-Length: 2, 2\r\n\r\n{}", {400}, "bad_framing"),
    "length-plus": (POST + b"Content-Length: +2\r\n\r\n{}", {400}, "bad_framing"),
    "length-minus": (POST + b"Content-Length: -2\r\n\r\n{}", {400}, "bad_framing"),
    "length-hex": (POST + b"Content-Length: 0x2\r\n\r\n{}", {400}, "bad_framing"),
    "length-empty": (POST + b"Content-Length:\r\n\r\n{}", {400}, "bad_framing"),
    "length-words": (POST + b"Content-Length: 2 2\r\n\r\n{}", {400}, "bad_framing"),
    "length-overflow": (POST + b"Content-Length: 99999999999999999999999\r\n\r\n{}", {400, 413}, "bad_framing"),
    "length-beyond-the-limit": (POST + b"Content-Length: 999999999999\r\n\r\n{}", {413}, "body_size"),
    "blank-before-colon": (POST + b"Content-Length : 2\r\n\r\n{}", {400}, "bad_header"),
    "blank-before-colon-chunked": (POST + b"Transfer-Encoding : chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", {400}, "bad_header"),
    "gzip-chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", {400, 501}, "bad_framing"),
    "identity": (POST + b"Transfer-Encoding: identity\r\n\r\n", {400, 501}, "bad_framing"),
    "xchunked": (POST + b"Transfer-Encoding: xchunked\r\n\r\n", {400, 501}, "bad_framing"),
    "chunked-chunked": (POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", {400, 501}, "bad_framing"),
    "chunked-twice": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", {400, 501}, "bad_framing"),
    "chunked-behind-vt": (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n", {400, 501}, "bad_header"),
    "chunked-quoted": (POST + b"Transfer-Encoding: \"chunked\"\r\n\r\n", {400, 501}, "bad_framing"),
    "chunked-on-1.0": (b"POST /v1/tools/echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", {400}, "bad_framing"),
    "chunk-hex": (POST + CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n", {0, 400}, None),
    "chunk-minus": (POST + CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n", {0, 400}, None),
    "chunk-overflow": (POST + CHUNKED + b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n", {0, 400, 413}, None),
    "chunk-without-end": (POST + CHUNKED + b"2\r\n{}XX0\r\n\r\n", {0, 400}, None),
    # names and values
    "two-hosts": (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", {400}, "bad_framing"),
    "no-host": (b"GET /healthz HTTP/1.1\r\n\r\n", {400}, "bad_header"),
    "nul-in-value": (GET + b"X-Api: a\x00b\r\n\r\n", {400}, "bad_header"),
    "nul-in-name": (GET + b"X-A\x00pi: a\r\n\r\n", {400}, "bad_header"),
    "folded-value": (GET + b"X-Api: a\r\n b\r\n\r\n", {400}, "bad_framing"),
    "folded-length": (POST + b"Content-Length:\r\n 2\r\n\r\n{}", {400}, "bad_framing"),
    "folded-by-tab": (GET + b"X-Api: a\r\n\tb\r\n\r\n", {400}, "bad_framing"),
    "blank-first-line": (b"GET /healthz HTTP/1.1\r\n X-Api: a\r\nHost: localhost\r\n\r\n", {400}, "bad_framing"),
    "bare-cr-in-value": (GET + b"X-Api: a\rb\r\n\r\n", {400}, "bad_header"),
    "bare-cr-smuggles-a-header": (GET + b"X-Api: a\rContent-Length: 5\r\n\r\n", {400}, "bad_header"),
    "bare-lf": (b"GET /healthz HTTP/1.1\nHost: localhost\n\n", {400}, "bad_framing"),
    "one-bare-lf": (GET + b"X-Api: a\nX-B: b\r\n\r\n", {400}, "bad_framing"),
    # two faults whose bytes add up to a whole head
    "bare-lf-and-two-blanks": (b"GET  /healthz HTTP/1.1\nHost: localhost\r\n\r\n", {400}, "bad_framing"),
    "bare-lf-and-nul": (GET + b"X-Api: a\nX-B: b\x00\r\n\r\n", {400}, "bad_framing"),
    "bare-lf-and-nul-and-more": (GET + b"X-Api: a\nX-B: b\nX-C: d\x00e\r\n\r\n", {400}, "bad_framing"),
    "bare-lf-hides-a-length": (POST.replace(b"POST ", b"POST  ") + b"X-A: b\nContent-Length: 7\r\n\r\n{\"a\":1}", {400}, "bad_framing"),
    "no-name": (GET + b": value\r\n\r\n", {400}, "bad_header"),
    "no-colon": (GET + b"Nonsense\r\n\r\n", {400}, "bad_header"),
    "blank-in-name": (GET + b"X Api: a\r\n\r\n", {400}, "bad_header"),
    "bracket-in-name": (GET + b"X(Api): a\r\n\r\n", {400}, "bad_header"),
    "latin-in-name": (GET + b"X-\xc3\xa9: a\r\n\r\n", {400}, "bad_header"),
    "control-in-value": (GET + b"X-Api: a\x01b\r\n\r\n", {400}, "bad_header"),
    "delete-in-value": (GET + b"X-Api: a\x7fb\r\n\r\n", {400}, "bad_header"),
    "two-authorizations": (GET + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", {400}, "bad_header"),
    # the request line
    "no-slash": (b"GET healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", {400, 404}, "bad_target"),
    "absolute-without-a-host": (b"GET http:///healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", {400}, "bad_target"),
    "absolute-with-a-user": (b"GET http://u@localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", {400}, "bad_target"),
    "absolute-of-ftp": (b"GET ftp://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", {400}, "bad_target"),
    "connect": (b"CONNECT evil:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", {400, 405, 501}, "bad_target"),
    "encoded-nul": (b"GET /healthz%00x HTTP/1.1\r\nHost: localhost\r\n\r\n", {400}, "bad_target"),
    "blank-in-target": (b"GET /healthz x HTTP/1.1\r\nHost: localhost\r\n\r\n", {0, 400}, "bad_framing"),
    "bytes-in-target": (b"GET /h\xc3\xa9 HTTP/1.1\r\nHost: localhost\r\n\r\n", {400}, "bad_target"),
    "http-2.0": (b"GET /healthz HTTP/2.0\r\nHost: localhost\r\n\r\n", {400, 505}, "bad_framing"),
    "http-1.2": (b"GET /healthz HTTP/1.2\r\nHost: localhost\r\n\r\n", {400, 505}, "bad_framing"),
    "http-0.9": (b"GET /healthz\r\n\r\n", {0, 400, 505}, "bad_framing"),
    "odd-method": (b"G\x01T /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", {400, 405, 501}, "bad_framing"),
    "h2-preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}, "bad_target"),
    # sizes
    "long-header": (GET + b"X-Api: " + b"a" * 30_000 + b"\r\n\r\n", {431}, "head_size"),
    "many-headers": (GET + b"".join(b"X-%d: 1\r\n" % n for n in range(2000)) + b"\r\n", {431}, "head_size"),
    "many-cookies": (GET + b"Cookie: " + b"; ".join(b"k%d=v" % n for n in range(600)) + b"\r\n\r\n", {431}, "head_size"),
    "many-arguments-and-headers": (b"GET /healthz?" + b"&".join([b"a"] * 400) + b" HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 100 + b"\r\n",
                                   {0, 431}, "head_size"),   # 0 on a kept connection: the library has no memory for its page either
    "long-target": (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", {414, 431}, "head_size"),
    "longer-target": (b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", {0, 414, 431}, "head_size"),
}

# What comes behind a good head is the library's to refuse, in its own way.
BODIES = {"chunk-hex", "chunk-minus", "chunk-overflow", "chunk-without-end"}

ACCEPTED = {
    "absolute": b"POST http://localhost:80/v1/tools/echo?a=b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    "a-long-head": POST + b"".join(b"X-%02d: " % n + b"a" * 92 + b"\r\n" for n in range(78)) + b"Content-Length: 2\r\n\r\n{}",
    "one-long-header": POST + b"X-Api: " + b"a" * 8000 + b"\r\nContent-Length: 2\r\n\r\n{}",
    "tab-before-value": POST + b"Transfer-Encoding:\tchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "lower-case": b"POST /v1/tools/echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
    "chunked-in-capitals": POST + b"Transfer-Encoding: CHUNKED\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "leading-zeros": POST + b"Content-Length: 002\r\n\r\n{}",
    "blank-value": POST + b"X-Api:\r\nContent-Length: 2\r\n\r\n{}",
    "blanks-around-a-value": POST + b"X-Api: \t a \t \r\nContent-Length: 2\r\n\r\n{}",
    "utf-8-value": POST + b"X-Api: \xc3\xa9\r\nContent-Length: 2\r\n\r\n{}",
    "empty-line-first": b"\r\n" + POST + b"Content-Length: 2\r\n\r\n{}",
    "blank-in-quotes-in-list": POST + b"Accept: a, b\r\nAccept: c\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """One for all: what one request leaves behind would show with the next."""
    provider = Provider()
    folder = tmp_path_factory.mktemp("hostile")
    config = {**standard(provider), "listen": ["127.0.0.1:0", f"unix:{folder}/socket"], "limits": {"header_timeout": "1s", "body_timeout": "1s"}}
    gateway = Gateway(folder, config).start()
    gateway.provider = provider
    try:
        yield gateway
        gateway.finish()
    finally:
        gateway.kill()
        provider.finish()


def exchange(gateway, data, half_close=False):
    """Send, and take what comes until the other side closes."""
    with gateway.connect() as connection:
        try:
            connection.send(data)
            if half_close:
                connection.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        return connection.rest()


def status_of(raw):
    return int(raw.split(b" ", 2)[1]) if raw.startswith(b"HTTP/1.") else 0


def assert_nothing_more(gateway, raw, delivered, answers):
    assert b"components" not in raw, f"the smuggled request was answered: {raw}"
    assert len(re.findall(rb"HTTP/1\.[01] \d\d\d ", raw)) <= answers, f"more than one answer: {raw}"
    assert len(gateway.provider.deliveries) == delivered


@pytest.mark.parametrize("name", REFUSED)
def test_refused(gateway, name):
    data, fine, reason = REFUSED[name]
    before, delivered = gateway.metrics(), len(gateway.provider.deliveries)
    raw = exchange(gateway, data + SMUGGLED)
    assert status_of(raw) in fine, raw
    assert_nothing_more(gateway, raw, delivered, 1)
    if name not in BODIES:
        head = raw.partition(b"\r\n\r\n")[0].lower()
        assert b"application/problem+json" in head and b"x-request-id: " in head and b"connection: close" in head
        assert gateway.metrics().sum("rejected_total", reason=reason) == before.sum("rejected_total", reason=reason) + 1
        assert gateway.metrics().sum("rejected_total") == before.sum("rejected_total") + 1


def assert_in_our_way(raw, answers=1):
    assert b"application/problem+json" in raw and b"<html" not in raw.lower(), raw
    assert len(re.findall(rb"HTTP/1\.[01] \d\d\d ", raw)) == answers, raw


@pytest.mark.parametrize("name", REFUSED)
def test_refused_on_a_kept_connection(gateway, name):
    """There the library reads the head before we see it: what it refuses by itself is said by us before it does."""
    data, fine, _ = REFUSED[name]
    before, delivered = gateway.metrics().sum("rejected_total"), len(gateway.provider.deliveries)
    with gateway.connect() as connection:
        assert connection.request("GET", "/healthz").status == 200
        try:
            connection.send(data + SMUGGLED)
        except OSError:
            pass
        raw = connection.rest()
    assert status_of(raw) in fine | {413, 414, 431, 505}, raw
    assert_nothing_more(gateway, raw, delivered, 1)
    if raw:
        assert_in_our_way(raw)
    assert gateway.metrics().sum("rejected_total") <= before + 1


@pytest.mark.parametrize("before", [GET + b"\r\n", POST + CHUNKED + b"2\r\n{}\r\n0\r\n\r\n"], ids=["a head", "chunks"])
@pytest.mark.parametrize("name", ["length-words", "two-lengths", "http-2.0", "long-header", "chunk-hex"])
def test_refused_in_our_way_in_a_pipeline(gateway, name, before):
    """It is in the library's memory when the one before it is answered."""
    raw = exchange(gateway, before + REFUSED[name][0] + SMUGGLED)
    assert status_of(raw) == 200
    assert_in_our_way(raw, 2)


@pytest.mark.parametrize("listener", [0, 1], ids=["tcp", "unix"])
@pytest.mark.parametrize("innocent", [b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: loc", POST + CHUNKED + b"2\r"])
def test_nobody_is_refused_for_another(gateway, innocent, listener):
    """Whose head the library refuses it does not say: beside another whose head or chunk it has read in part, its own words stand."""
    rest = {b"GET /healthz HT": b"TP/1.1\r\nHost: localhost\r\n\r\n", POST + CHUNKED + b"2\r": b"\n{}\r\n0\r\n\r\n"}
    with gateway.connect(index=listener) as beside, gateway.connect(index=listener) as guilty:
        for connection in (beside, guilty):
            assert connection.request("GET", "/healthz").status == 200
        beside.send(innocent)
        until(lambda: guilty.request("GET", "/healthz").status == 200, "the gateway had a turn in which it read that")
        guilty.send(REFUSED["length-words"][0])
        assert status_of(guilty.rest()) == 400
        beside.send(rest.get(innocent, b"alhost\r\n\r\n"))
        assert beside.reply().status == 200
        assert beside.request("GET", "/healthz").status == 200


@pytest.mark.parametrize("quiet", [False, True], ids=["at once", "after a while"])
def test_refused_in_our_way_on_unix_sockets(start, provider, tmp_path, quiet):
    """Of those beside it, with as many bytes of requests behind them as of bodies, nothing more has been read."""
    gateway = start({"workers": 1, "listen": f"unix:{tmp_path}/socket"})
    with contextlib.ExitStack() as stack:
        beside, guilty, partial = [stack.enter_context(gateway.connect()) for _ in range(3)]
        for connection in (beside, guilty, partial):
            for body in (b"{}", b'{"text":"%s"}' % (b"x" * 100_000)):
                assert connection.request("POST", "/v1/tools/echo", body).status == 200
        until_quiet(gateway, quiet)
        guilty.send(REFUSED["length-words"][0] + SMUGGLED)
        raw = guilty.rest()
        assert status_of(raw) == 400
        assert_in_our_way(raw)
        until_quiet(gateway, quiet)
        partial.send(b"GET /healthz HT")
        until_quiet(gateway, quiet)
        assert beside.request("GET", "/healthz").status == 200
        partial.send(b"TP/1.1\r\nHost: localhost\r\n\r\n")
        assert partial.reply().status == 200


def until_quiet(gateway, quiet):
    over = time.monotonic() + (0.4 if quiet else 0)
    until(lambda: time.monotonic() > over and gateway.metrics(), "there was a turn in which they were quiet")


def test_a_head_that_the_library_gives_up_without_a_word_ends_like_others(start):
    """It fails at the arguments, and again at the next line, and tells nobody of the request's end (0.9.75)."""
    gateway, times = start({"workers": 1, "limits": {"header_timeout": "1s"}}), 20
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(gateway.connect()) for _ in range(times)]
        for connection in connections:
            assert connection.request("GET", "/healthz").status == 200
        for connection in connections:
            connection.send(REFUSED["many-arguments-and-headers"][0])
        for connection in connections:
            connection.rest()
    gateway.until_metric("connections", 1)
    assert gateway.metrics().sum("rejected_total") == times


def test_refused_in_our_way_on_connections_that_were_quiet(start):
    """There the door looks at the next head before the library does."""
    gateway = start({"workers": 1})
    names = [name for name in REFUSED if name not in BODIES]
    kept = {name: gateway.connect() for name in names}
    for connection in kept.values():
        assert connection.request("GET", "/healthz").status == 200
    until_quiet(gateway, True)
    before = gateway.metrics().sum("rejected_total")
    for number, name in enumerate(names):
        data, fine, _ = REFUSED[name]
        # the library is at work for the last one until it has closed it, and would read of all its connections
        gateway.until_metric("connections", len(names) - number + 1)
        kept[name].send(data + SMUGGLED)
        raw = kept[name].rest()
        assert status_of(raw) in fine - {0} and b"application/problem+json" in raw, (name, raw)
        assert len(re.findall(rb"HTTP/1\.[01] \d\d\d ", raw)) == 1, (name, raw)
    assert gateway.metrics().sum("rejected_total") == before + len(names)
    assert gateway.metrics().sum("connections") <= 2, "they are closed"


def test_a_body_without_end_is_cut_off_and_counted(gateway):
    """A chunked one says no length; there is no place for a reply before its end."""
    before = gateway.metrics().sum("rejected_total", reason="body_size")
    with gateway.connect() as connection:
        connection.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        with pytest.raises(OSError):
            while True:
                connection.send(b"100000\r\n" + b" " * 0x100000 + b"\r\n")
    gateway.until_metric("rejected_total", before + 1, reason="body_size")


def test_a_head_in_fragments_is_judged_whole(gateway):
    """The door looks again with each piece; a line that is wrong is refused before the head's end has come."""
    good = POST + b"X-Filler: " + b"a" * 900 + b"\r\nContent-Length: 2\r\n\r\n{}"
    for size in (1, 7, 300):
        with gateway.connect() as connection:
            for at in range(0, len(good), size):
                connection.send(good[at:at + size])
            assert connection.reply().status == 200
            assert connection.request("GET", "/healthz").status == 200
    with gateway.connect() as connection:
        connection.send(b"GET /healthz HTTP/1.1\r\nNonsense\r\n")      # and nothing more
        assert connection.reply().status == 400
        assert connection.rest() == b""


@pytest.mark.parametrize("each", [20, 40, 100, 1000])
def test_a_head_is_served_or_refused_whatever_its_headers(gateway, each):
    """The library's memory holds the head, a record for each header and the reply's head: where they do not fit it closes in silence."""
    seen = []
    for size in range(1024, 10_240, 128):
        head = b"GET /v1/tools HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        number = 0
        while len(head) < size:
            head += (b"X-%d: " % number).ljust(each - 2, b"v") + b"\r\n"
            number += 1
        seen.append(status_of(exchange(gateway, head + b"\r\n")))
    assert set(seen) == {200, 431}
    assert seen == sorted(seen), "what is refused at one size is refused at all larger ones"


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(gateway, name):
    with gateway.connect() as connection:
        for _ in range(2):
            connection.send(ACCEPTED[name])
            reply = connection.reply()
            assert reply.status == 200, reply


def test_tls_is_not_spoken_here(gateway):
    with socket.create_connection(gateway.address(), 10) as plain:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with pytest.raises((ssl.SSLError, OSError)):
            context.wrap_socket(plain)
    assert gateway.get("/healthz").status == 200


@pytest.mark.parametrize("depth", [65, 1000, 100_000])
def test_deep_json_is_refused(gateway, depth):
    before = gateway.metrics().sum("rejected_total", reason="bad_json")
    reply = gateway.call("echo", b'{"a":' + b"[" * depth + b"]" * depth + b"}")
    assert reply.status == 400 and reply.code == "invalid_json"
    assert gateway.metrics().sum("rejected_total", reason="bad_json") == before + 1


@pytest.mark.parametrize("method", [b"get", b"FETCH", b"POST1"])
def test_an_unknown_method_is_405(gateway, method):
    with gateway.connect() as connection:
        connection.send(method + b" /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.reply().status in (405, 501)


def test_random_damage_does_no_harm(gateway, together):
    rng = random.Random(7)
    good = POST + b"Content-Length: 2\r\n\r\n{}"

    def damaged(_):
        data = bytearray(good)
        for _ in range(rng.randint(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        return exchange(gateway, bytes(data), half_close=True)

    for _ in range(10):
        assert all(status_of(raw) in {0, 200, 400, 403, 404, 405, 413, 414, 415, 431, 501, 502, 503, 505}
                   for raw in together(damaged, range(40)))
    assert gateway.call("echo").status == 200


def test_nothing_is_left_behind(gateway):
    """Last of those that share a gateway: descriptors and memory are where they were."""
    def storm():
        for data, _, _ in REFUSED.values():
            exchange(gateway, data)

    storm()
    until(lambda: gateway.metrics().sum("connections") == 1, "all connections have ended")
    fds = gateway.fds()

    def storms():
        for _ in range(5):
            storm()
        until(lambda: gateway.metrics().sum("connections") == 1, "all connections have ended")

    grown = gateway.resident_growth(storms, 2 << 20, 1 if SANITIZED else 4)
    assert gateway.fds() <= fds + 2
    assert SANITIZED or grown < 2 << 20
    for gauge in ("in_flight_requests", "in_flight_bytes"):  # a reply just read, this page's own, may still be held
        gateway.until_metric(gauge, 0)


@pytest.mark.parametrize("head, reason", [(b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", "bad_framing"),
                                          (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Api: " + b"a" * 30_000 + b"\r\n\r\n", "head_size")],
                         ids=["length", "size"])
def test_what_the_library_refuses_by_itself_is_counted(gateway, head, reason):
    before = gateway.metrics().sum("rejected_total", reason=reason)
    with gateway.connect() as connection:
        assert connection.request("GET", "/healthz").status == 200
        connection.send(head)
        assert connection.rest()
    gateway.until_metric("rejected_total", before + 1, reason=reason)
