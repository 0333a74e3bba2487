# SPDX-License-Identifier: Apache-2.0
"""HTTP as ordinary clients speak it."""
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess

import pytest

from harness.poll import until
from harness.wire import Raw, request_bytes

CALL = request_bytes("POST", "/v1/tools/echo", b'{"n":1}')


def test_a_connection_is_kept(gateway):
    with gateway.connect() as connection:
        for n in range(50):
            reply = connection.request("POST", "/v1/tools/echo", b'{"n":%d}' % n)
            assert reply.status == 200 and reply.json() == {"echo": {"n": n}}
            assert reply.header("connection") != "close"
    assert gateway.metrics().sum("connections_total") <= 3


def test_errors_keep_the_connection_when_the_framing_is_sound(gateway):
    with gateway.connect() as connection:
        for path, body, status in (("/v1/tools/nothing", b"{}", 404), ("/v1/tools/echo", b"{", 400), ("/nothing", b"{}", 404),
                                   ("/v1/tools/item", b"{}", 400)):
            assert connection.request("POST", path, body).status == status
        assert connection.request("POST", "/v1/tools/echo", b"{}").status == 200


def test_pipelined_requests_are_answered_in_order(gateway, provider):
    count = 40
    with gateway.connect() as connection:
        connection.send(b"".join(
            request_bytes("POST", "/v1/tools/echo", b'{"n":%d}' % n) if n % 3 else request_bytes("GET", "/healthz")
            for n in range(count)))
        for n in range(count):
            reply = connection.reply()
            assert reply.status == 200
            if n % 3:
                assert reply.json() == {"echo": {"n": n}}


def test_pipelined_requests_in_odd_pieces(gateway):
    stream = b"".join(request_bytes("POST", "/v1/tools/echo", b'{"n":%d}' % n) for n in range(20))
    with gateway.connect() as connection:
        for at in range(0, len(stream), 37):
            connection.send(stream[at:at + 37])
        assert [connection.reply().json()["echo"]["n"] for _ in range(20)] == list(range(20))


def chunked(*pieces, extension=b"", trailer=b""):
    body = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)
    return (b"POST /v1/tools/echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n" + trailer + b"\r\n")


def test_a_chunk_extension_is_ignored_or_refused(gateway):
    """libmicrohttpd 1.0 counts the line feed behind an extension to the chunk, and then refuses it."""
    with gateway.connect() as connection:
        connection.send(chunked(b'{"n":1}', extension=b";name=value"))
        reply = connection.reply()
        assert reply.status == 400 or reply.json() == {"echo": {"n": 1}}


@pytest.mark.parametrize("request_", [
    chunked(b'{"n":1}'), chunked(b'{"n"', b":", b"1}"), chunked(b'{"n":1}', trailer=b"X-Sum: 1\r\n"),
], ids=["one", "three", "trailer"])
def test_chunked_bodies(gateway, request_):
    with gateway.connect() as connection:
        for _ in range(3):
            connection.send(request_)
            assert connection.reply().json() == {"echo": {"n": 1}}
        for byte in request_:
            connection.send(bytes([byte]))
        assert connection.reply().json() == {"echo": {"n": 1}}


def test_expect_100_continue(gateway):
    with gateway.connect() as connection:
        connection.send(b"POST /v1/tools/echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n")
        assert connection.reply(keep_informational=True).status == 100
        connection.send(b'{"n":1}')
        assert connection.reply().json() == {"echo": {"n": 1}}


def test_expect_is_answered_413_at_once_when_the_body_is_too_large(gateway):
    with gateway.connect() as connection:
        connection.send(b"POST /v1/tools/echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n")
        assert connection.reply(keep_informational=True).status == 413


@pytest.mark.parametrize("path", ["/healthz", "/v1/tools", "/openapi.json", "/metrics"])
def test_head_is_get_without_a_body(gateway, path):
    with gateway.connect() as connection:
        head = connection.request("HEAD", path)
        body = connection.request("GET", path)
    assert head.status == body.status == 200
    assert head.header("content-type") == body.header("content-type")
    assert head.body == b""
    if path != "/metrics":
        assert head.header("content-length") == body.header("content-length")


@pytest.mark.parametrize("path, allowed", [
    ("/v1/tools/echo", {"GET", "HEAD", "POST", "OPTIONS"}), ("/v1/batch", {"POST", "OPTIONS"}),
    ("/v1/tools", {"GET", "HEAD", "OPTIONS"}), ("/healthz", {"GET", "HEAD", "OPTIONS"}),
])
def test_options_and_405_name_what_is_allowed(gateway, path, allowed):
    reply = gateway.request("OPTIONS", path)
    assert reply.status == 204
    assert set(re.split(r",\s*", reply.header("allow"))) == allowed
    for method in {"GET", "POST", "PUT", "DELETE", "PATCH"} - allowed:
        refused = gateway.request(method, path, b"{}" if method != "GET" else None)
        assert refused.status == 405 and refused.code == "method_not_allowed", (method, refused)
        assert set(re.split(r",\s*", refused.header("allow"))) == allowed


def test_options_of_everything(gateway):
    reply = gateway.request("OPTIONS", "*", headers={"X-Request-Id": "star-1"})
    assert reply.status == 204 and reply.header("x-request-id") == "star-1"


def test_http_1_0_closes_unless_asked(gateway):
    with gateway.connect() as connection:
        connection.send(b"POST /v1/tools/echo HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n" + b'{"n":1}')
        raw = connection.rest()
    assert raw.startswith(b"HTTP/1.") and b" 200 " in raw.split(b"\r\n")[0] and raw.endswith(b'{"echo": {"n": 1}}')


def test_ndjson_for_http_1_0_is_not_chunked(gateway):
    body = json.dumps({"calls": [{"id": "a", "tool": "echo", "arguments": {}}]}).encode()
    with gateway.connect() as connection:
        connection.send(b"POST /v1/batch HTTP/1.0\r\nContent-Type: application/json\r\nAccept: application/x-ndjson\r\nContent-Length: %d\r\n\r\n" % len(body)
                        + body)
        raw = connection.rest()
    head, _, rest = raw.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert json.loads(rest)["id"] == "a"


def test_connection_close_is_honoured(gateway):
    with gateway.connect() as connection:
        reply = connection.request("POST", "/v1/tools/echo", b"{}", {"Connection": "close"})
        assert reply.status == 200 and reply.header("connection").lower() == "close"
        assert connection.rest() == b""


def test_a_unix_socket(start, tmp_path):
    path = tmp_path / "jitney.sock"
    gateway = start({"listen": ["127.0.0.1:0", f"unix:{path}"]})
    with Raw(path) as connection:
        for _ in range(3):
            assert connection.request("POST", "/v1/tools/echo", b"{}").status == 200
    assert gateway.stop() == 0
    assert not path.exists()


def test_a_stale_unix_socket_is_taken_over(start, tmp_path):
    path = tmp_path / "jitney.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    start({"listen": f"unix:{path}"})
    with Raw(path) as connection:
        assert connection.request("GET", "/healthz").status == 200


@pytest.mark.parametrize("comes", ["before it drains", "while it drains"])
def test_a_draining_gateway_leaves_its_successors_unix_socket_alone(start, provider, tmp_path, comes):
    """One that comes before has taken a name that somebody else has removed: the old one still thinks that it is its own."""
    path = tmp_path / "jitney.sock"
    old = start({"listen": f"unix:{path}"})
    provider.hold()
    with Raw(path) as connection:
        connection.send(CALL)
        provider.until_deliveries(1)
        old.ended_by_test = True
        if comes == "before it drains":
            path.unlink()
            new = start({"listen": f"unix:{path}"})
            old.signal(signal.SIGTERM)
        else:
            old.signal(signal.SIGTERM)
            until(lambda: not path.exists(), "the name is free")
            new = start({"listen": f"unix:{path}"})
        provider.release()
        assert connection.reply().status == 200
    assert old.wait() == 0
    with Raw(path) as connection:
        assert connection.request("GET", "/healthz").status == 200
    assert new.stop() == 0
    assert not path.exists()


def test_metrics_may_be_left_to_the_admin_listener(start):
    gateway = start({"admin": {"metrics": "admin"}})
    assert gateway.get("/metrics").status == 404
    assert b"jitney_worker_busy_ratio" in gateway.get("/metrics", "admin").body
    assert gateway.get("/healthz").status == 200


def test_a_worker_tells_how_busy_it_is(start):
    gateway = start({"workers": 2})
    until(lambda: gateway.metrics().sum("worker_loop_lag_seconds", worker="1") > 0, "a turn has been measured")
    assert 0 <= gateway.metrics().sum("worker_busy_ratio", worker="0") <= 1


def test_ipv6(start):
    gateway = start({"listen": ["[::1]:0", "127.0.0.1:0"]})
    hosts = {gateway.address(index=index)[0] for index in (0, 1)}
    assert hosts == {"::1", "127.0.0.1"}
    for index in (0, 1):
        with gateway.connect(index=index) as connection:
            assert connection.request("POST", "/v1/tools/echo", b"{}").status == 200


def test_pythons_http_client(gateway):
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    for n in range(10):
        connection.request("POST", "/v1/tools/echo", json.dumps({"n": n}), {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.status == 200 and json.load(response) == {"echo": {"n": n}}
    connection.request("POST", "/v1/tools/echo", iter([b'{"n"', b":11}"]), {"Content-Type": "application/json"},
                       encode_chunked=True)
    assert json.load(connection.getresponse()) == {"echo": {"n": 11}}
    connection.close()


def tool(name):
    path = shutil.which(name)
    if not path:
        pytest.skip(f"{name} is not installed")
    return path


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_curl(gateway):
    json_type = ("-H", "Content-Type: application/json")
    curl = (tool("curl"), "-sS", "--fail-with-body")
    url = gateway.url("/v1/tools/echo")
    assert json.loads(run(*curl, *json_type, "-d", '{"n":1}', url)) == {"echo": {"n": 1}}
    assert json.loads(run(*curl, *json_type, "-H", "Transfer-Encoding: chunked", "-d", '{"n":1}', url)) == {"echo": {"n": 1}}
    assert json.loads(run(*curl, *json_type, "--http1.0", "-d", '{"n":1}', url)) == {"echo": {"n": 1}}
    # an upgrade to HTTP/2 may be offered; it is not taken
    assert json.loads(run(*curl, *json_type, "--http2", "-d", '{"n":1}', url)) == {"echo": {"n": 1}}
    large = json.dumps({"a": "x" * 2_000_000})
    assert len(run(*curl, *json_type, "-d", "@-", url, input=large)) > 2_000_000
    head = run(*curl, "-I", gateway.url("/v1/tools"))
    assert head.startswith("HTTP/1.1 200")


def test_curls_own_content_type_is_refused_with_advice(gateway):
    """`curl -d` without -H says application/x-www-form-urlencoded."""
    problem = json.loads(run(tool("curl"), "-sS", "-d", "{}", gateway.url("/v1/tools/echo")))
    assert problem["code"] == "unsupported_media_type" and "Content-Type: application/json" in problem["detail"]


@pytest.mark.slow
def test_wrk(gateway, tmp_path):
    script = tmp_path / "call.lua"
    script.write_text('wrk.method = "POST"\nwrk.body = \'{"n":1}\'\nwrk.headers["Content-Type"] = "application/json"\n')
    gateway.call("cached", {"n": 1})
    output = run(tool("wrk"), "-t1", "-c16", "-d1s", "-s", script, gateway.url("/v1/tools/cached"))
    assert "Non-2xx" not in output and "Socket errors" not in output, output
    assert int(re.search(r"(\d+) requests in", output)[1]) > 100


@pytest.mark.slow
def test_ab(gateway, tmp_path):
    body = tmp_path / "body"
    body.write_text('{"n":1}')
    for flags in ((), ("-k",)):
        output = run(tool("ab"), "-q", *flags, "-n", 500, "-c", 8, "-p", body, "-T", "application/json",
                     gateway.url("/v1/tools/cached"))
        assert re.search(r"Complete requests:\s+500", output) and re.search(r"Failed requests:\s+0", output), output
        assert "Non-2xx" not in output


@pytest.mark.slow
def test_h2load(gateway, tmp_path):
    body = tmp_path / "body"
    body.write_text('{"n":1}')
    output = run(tool("h2load"), "--h1", "-n", 1000, "-c", 8, "-m", 4, "-d", body, "-H", "content-type: application/json",
                 gateway.url("/v1/tools/cached"))
    assert re.search(r"1000 succeeded, 0 failed, 0 errored", output), output


def test_a_half_closed_client_does_no_harm(gateway, provider):
    """front F15: it has left (docs/api.md). Nothing of it stays, though the provider has not answered and the client has not closed."""
    provider.hold()
    with gateway.connect() as connection:
        connection.send(CALL)
        provider.until_deliveries(1)
        connection.socket.shutdown(socket.SHUT_WR)
        gateway.until_metric("in_flight_requests", 0)
        assert connection.rest() == b""
        gateway.until_metric("connections", 1)      # who asks
    assert gateway.metrics().sum("clients_gone_total") == 1
    provider.release()
    assert gateway.call("echo").status == 200


def test_many_connections_at_once(gateway):
    connections = [gateway.connect() for _ in range(300)]
    try:
        for connection in connections:
            connection.send(CALL)
        assert {connection.reply().status for connection in connections} == {200}
    finally:
        for connection in connections:
            connection.close()
    gateway.until_metric("connections", 1)


def test_calls_that_wait_are_spread_over_small_daemons(start, provider):
    """front F8: whenever the HTTP library resumes a request it walks all that are suspended in the same daemon. With 8,000 in
    one, each other call cost eight times as much."""
    def loops():
        found = 0
        for entry in os.scandir(f"/proc/{gateway.process.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):        # closed since it was listed
                found += os.readlink(entry.path) == "anon_inode:[eventpoll]"
        return found

    gateway, count = start({"workers": 1}), 600
    before = loops()
    provider.hold()
    connections = [gateway.connect() for _ in range(count)]
    for connection in connections:
        connection.send(CALL)
    gateway.until_metric("in_flight_requests", count)
    assert loops() - before >= count // 128
    provider.release()
    assert {connection.reply().status for connection in connections} == {200}
    for connection in connections:
        connection.close()
    until(lambda: loops() <= before, "those that are not needed have ended")
