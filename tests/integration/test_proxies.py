# SPDX-License-Identifier: Apache-2.0
"""The files in examples/proxy/, run by the proxies they are for: only addresses and paths are filled in."""
import getpass
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

from harness.gateway import TOP
from harness.poll import until
from harness.ports import free_port
from harness.provider import close, echo
from harness.wire import Raw, request_bytes

EXAMPLES = TOP / "examples" / "proxy"
ACME = {"Authorization": "Bearer acme-CHANGE-ME"}
GLOBEX = {"Authorization": "Bearer globex-CHANGE-ME"}
STOP_SECONDS = 20


def filled_in(name, *changes):
    """An example with texts replaced, each of which must occur."""
    text = (EXAMPLES / name).read_text()
    for old, new in changes:
        assert old in text, f"{name} has no {old!r} any more"
        text = text.replace(old, new)
    return text


class Proxy:
    """One proxy process. `backend`: host:port, or unix:/path."""

    binary = None

    def __init__(self, directory, backend):
        self.directory, self.backend = directory, backend
        self.port = free_port()
        self.log_path = directory / "log"
        self.process = None

    def start(self):
        environment = {**os.environ, "XDG_DATA_HOME": str(self.directory), "XDG_CONFIG_HOME": str(self.directory)}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            env=environment)
        until(lambda: self.process.poll() is not None or self.listens(), f"{self.binary} listens")
        assert self.process.poll() is None, f"{self.binary} ended with {self.process.returncode}:\n{self.log()}"
        return self

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def log(self):
        return self.log_path.read_text(errors="backslashreplace")[-4000:]

    def stop(self):
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.binary} did not end within {STOP_SECONDS} s:\n{self.log()}") from None

    # ---- talking through it ----

    def connect(self):
        return Raw(("127.0.0.1", self.port))

    def request(self, method, path, body=None, headers=()):
        with self.connect() as connection:
            return connection.request(method, path, body, headers)

    def call(self, tool, arguments=None, **headers):
        body = json.dumps(arguments or {}).encode()
        return self.request("POST", f"/v1/tools/{tool}", body, {name.replace("_", "-"): v for name, v in headers.items()})


class Nginx(Proxy):
    binary = "nginx"

    def command(self):
        site = filled_in("nginx.conf", ("server 127.0.0.1:8080;", f"server {self.backend};"),
                         ("listen 127.0.0.1:8088;", f"listen 127.0.0.1:{self.port};"),
                         ("access_log /var/log/nginx/jitney.log", f"access_log {self.directory}/access.log"))
        (self.directory / "site.conf").write_text(site)
        # what Debian's /etc/nginx/nginx.conf says around it, with every path in a directory of the test's own
        user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
        places = " ".join(f"{kind}_temp_path {self.directory}/{kind};"
                          for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (self.directory / "nginx.conf").write_text(
            f"daemon off; worker_processes 2; pid {self.directory}/nginx.pid; error_log stderr; {user}\n"
            f"events {{ }}\nhttp {{ {places} include {self.directory}/site.conf; }}\n")
        return [self.binary, "-e", "stderr", "-p", self.directory, "-c", self.directory / "nginx.conf"]


class Caddy(Proxy):
    binary = "caddy"

    def command(self):
        backend = self.backend.replace("unix:", "unix/")
        site = filled_in("Caddyfile", ("reverse_proxy 127.0.0.1:8080 ", f"reverse_proxy {backend} "),
                         ("http://:8088 ", f"http://:{self.port} "))
        (self.directory / "Caddyfile").write_text("{\n\tadmin off\n}\n" + site)
        return [self.binary, "run", "--adapter", "caddyfile", "--config", self.directory / "Caddyfile"]


@pytest.fixture(params=[Nginx, Caddy], ids=lambda kind: kind.binary)
def in_front(request):
    """in_front("127.0.0.1:80") gives a proxy that serves with that backend."""
    kind = request.param
    if not shutil.which(kind.binary):
        pytest.skip(f"{kind.binary} is not installed (Debian: apt-get install {kind.binary})")
    with tempfile.TemporaryDirectory(prefix="jitney-proxy-") as directory:
        proxies = []

        def build(backend):
            proxies.append(kind(Path(directory), backend))
            return proxies[-1].start()

        yield build
        for proxy in proxies:
            proxy.stop()


TENANTS = {
    "trusted_proxies": ["127.0.0.1/32"],
    "identity": {"tenant_header": "X-Tenant"},
    "tools": {"cached": {"cache": {"scope": "tenant"}}},
}


@pytest.fixture
def gateway(start):
    return start(TENANTS)


@pytest.fixture
def proxy(in_front, gateway):
    return in_front("127.0.0.1:{}".format(gateway.port))


def test_a_call_and_its_headers_come_through(proxy):
    reply = proxy.call("cached", {"n": 1}, **ACME)
    assert reply.status == 200, reply
    assert reply.json() == {"echo": {"n": 1}}
    assert reply.header("content-type") == "application/json"
    assert "fwd=miss" in reply.header("cache-status") and reply.header("x-batch-size") == "1"
    assert "hit" in proxy.call("cached", {"n": 1}, **ACME).header("cache-status")


def test_problems_come_through_as_they_are(proxy):
    reply = proxy.call("nothing_here", **ACME)
    assert reply.status == 404 and reply.code == "unknown_tool"
    assert reply.header("content-type") == "application/problem+json"


def test_a_hundred_calls_share_few_connections(proxy, gateway):
    with proxy.connect() as connection:
        for number in range(100):
            reply = connection.request("POST", "/v1/tools/echo", json.dumps({"n": number}).encode(), ACME)
            assert reply.json() == {"echo": {"n": number}}
    # the counts are taken over a connection of their own
    assert gateway.metrics().sum("connections_total") <= 5


def test_who_has_no_key_is_refused_in_the_gateways_words(proxy, provider):
    for headers in ({}, {"Authorization": "Bearer ACME-change-me"}, {"X_Tenant": "acme"}):
        reply = proxy.call("echo", **headers)
        assert reply.status == 401 and reply.code == "unauthorized" and reply.json()["retryable"] is False
        assert reply.header("www-authenticate") == "Bearer"
        assert reply.header("content-type") == "application/problem+json"
        assert reply.header("x-request-id") == reply.json()["request_id"]
    assert not provider.deliveries


def test_mcp_clients_come_through(proxy, provider):
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"n": 1}}}
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Host": "localhost"}
    refused = proxy.request("POST", "/mcp", json.dumps(call).encode(), headers)
    assert refused.status == 401 and refused.code == "unauthorized" and not provider.deliveries
    reply = proxy.request("POST", "/mcp", json.dumps(call).encode(), {**headers, **ACME})
    assert reply.status == 200, reply
    assert json.loads(reply.json()["result"]["content"][0]["text"]) == {"echo": {"n": 1}}


def test_the_gateway_believes_the_proxy_about_tenants(proxy, gateway, provider):
    """That the next test means something: the proxy's word and the same word sent by hand are one tenant."""
    assert "miss" in proxy.call("cached", {"q": "same"}, **ACME).header("cache-status")
    assert "hit" in gateway.call("cached", {"q": "same"}, X_Tenant="acme").header("cache-status")
    assert "miss" in gateway.call("cached", {"q": "same"}, X_Tenant="globex").header("cache-status")
    assert len(provider.calls) == 2


@pytest.mark.parametrize("name", ["X-Tenant", "x-tenant", "X_Tenant"])
def test_a_tenant_that_a_client_claims_is_not_believed(proxy, gateway, provider, name):
    assert "miss" in gateway.call("cached", {"q": "secret"}, X_Tenant="acme").header("cache-status")
    headers = {**GLOBEX, name: "acme"}
    body = b'{"q":"secret"}'
    assert "miss" in proxy.request("POST", "/v1/tools/cached", body, headers).header("cache-status")
    assert "hit" in proxy.request("POST", "/v1/tools/cached", body, headers).header("cache-status")
    assert len(provider.calls) == 2


def test_a_request_id_passes_through(proxy, gateway):
    reply = proxy.call("echo", X_Request_Id="from-the-client-7", **ACME)
    assert reply.header("x-request-id") == "from-the-client-7"
    until(lambda: [event for event in gateway.events("call") if event["request_id"] == "from-the-client-7"],
          "the gateway's log has the client's id")


def test_who_brings_no_request_id_gets_one(proxy, gateway):
    given = proxy.call("echo", **ACME).header("x-request-id")
    assert len(given) >= 32, "the proxy's id, not the gateway's of 16 digits"
    until(lambda: [event for event in gateway.events("call") if event["request_id"] == given], "it is in the log")


def test_the_inside_cannot_be_seen_from_outside(proxy):
    for path in ("/metrics", "/readyz", "/admin/config", "/"):
        assert proxy.request("GET", path, None, ACME).status == 404
    assert proxy.request("GET", "/healthz").status == 200
    assert proxy.request("GET", "/v1/tools", None, ACME).status == 200
    assert proxy.request("GET", "/openapi.json").status == 401


def test_a_body_that_is_too_large_is_told_so(proxy, provider):
    reply = proxy.call("echo", {"text": "x" * (9 << 20)}, **ACME)
    assert reply.status == 413 and reply.json()["code"] == "payload_too_large", reply
    assert not provider.calls


def test_ndjson_arrives_item_by_item(proxy, provider):
    """Each item is let go only when the one before it has been read."""
    gates = {number: threading.Event() for number in ("1", "2", "3")}

    def when_let_go(delivery, wire):
        assert gates[delivery.path.split("/")[3][0]].wait(20)
        echo(delivery, wire)

    provider.behaviour = when_let_go
    calls = [{"id": number, "tool": "item", "arguments": {"id": number, "q": "x"}} for number in gates]
    with proxy.connect() as connection:
        connection.send(request_bytes("POST", "/v1/batch", json.dumps({"calls": calls}).encode(),
                                      {"Accept": "application/x-ndjson", **ACME}))
        for number in ("2", "3", "1"):
            gates[number].set()
            if number == "2":
                head = connection.head()
                assert head.status == 200 and head.header("content-type") == "application/x-ndjson"
            chunk = connection.chunk()
            assert chunk, proxy.log()
            line = json.loads(chunk)
            assert line["id"] == number and line["status"] == 200
        assert connection.chunk() == b""


@pytest.mark.parametrize("rude", [False, True], ids=["close", "reset"])
def test_a_client_that_leaves_is_noticed_by_the_gateway(proxy, gateway, provider, rude):
    provider.hold()
    connection = proxy.connect()
    connection.send(request_bytes("POST", "/v1/tools/echo", b"{}", ACME))
    provider.until_deliveries(1)
    if rude:
        connection.reset()
    else:
        connection.close()
    gateway.until_metric("clients_gone_total", 1)
    gateway.until_metric("in_flight_requests", 0)
    provider.release()


def test_a_client_that_leaves_in_the_middle_of_ndjson_is_noticed(proxy, gateway, provider):
    proxy.call("cached", {"n": 7}, **ACME)
    provider.hold()
    calls = [{"id": "slow", "tool": "echo"}, {"id": "fast", "tool": "cached", "arguments": {"n": 7}}]
    connection = proxy.connect()
    connection.send(request_bytes("POST", "/v1/batch", json.dumps({"calls": calls}).encode(),
                                  {"Accept": "application/x-ndjson", **ACME}))
    connection.head()
    connection.chunk()
    connection.close()
    gateway.until_metric("clients_gone_total", 1)
    gateway.until_metric("in_flight_requests", 0)
    provider.release()


def test_a_call_that_is_lost_is_not_sent_again(in_front, provider):
    """The provider plays a gateway that dies: first on a kept connection, where proxies like to try once more."""
    proxy = in_front(f"127.0.0.1:{provider.port}")
    assert proxy.call("write", {"n": 1}, **ACME).status == 200
    for count in (2, 3):
        provider.next(close)
        reply = proxy.call("write", {"n": count}, **ACME)
        assert reply.status == 502 and reply.code == "outcome_unknown" and reply.json()["retryable"] is False
        assert reply.header("content-type") == "application/problem+json"
        assert len(provider.deliveries) == count


def test_a_gateway_that_is_not_there_is_said_in_json(in_front):
    reply = in_front(f"127.0.0.1:{free_port()}").call("echo", **ACME)
    assert reply.status == 502 and reply.code == "outcome_unknown"
    assert reply.header("x-request-id") == reply.json()["request_id"]


def test_a_unix_socket_between_them(in_front, start, provider):
    with tempfile.TemporaryDirectory(prefix="jitney-") as directory:
        path = f"{directory}/jitney.sock"
        gateway = start({**TENANTS, "trusted_proxies": [], "listen": f"unix:{path}"})
        proxy = in_front(f"unix:{path}")
        assert "miss" in proxy.call("cached", {"n": 1}, **ACME).header("cache-status")
        assert "hit" in proxy.call("cached", {"n": 1}, **ACME).header("cache-status")
        assert "miss" in proxy.call("cached", {"n": 1}, **GLOBEX).header("cache-status")
        assert len(provider.calls) == 2
        assert gateway.stop() == 0
