# SPDX-License-Identifier: Apache-2.0
"""Providers over TLS: who is trusted, how a refusal is told, and that sessions are resumed."""
import contextlib
import json
import os
import socket
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness.gateway import JITNEY
from harness.poll import until
from harness.ports import kept_port, stop_accepting
from harness.reload import reloaded
from test_process import jitney


class Provider(ThreadingHTTPServer):
    """JSON-RPC over TLS. `keep`: whether connections are kept; `resumed`: of each connection a request came by, whether its session was."""

    daemon_threads = True

    def __init__(self, papers, name, keep=True, version=None, wants=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.keep, self.resumed, self.lock = keep, [], threading.Lock()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(papers / f"{name}.pem", papers / f"{name}.key")
        if version:
            self.context.set_ciphers("ALL:@SECLEVEL=0")
            self.context.minimum_version = ssl.TLSVersion.TLSv1
            self.context.maximum_version = version
        if wants:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(wants)
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)
        self.thread.start()

    def finish(self):
        self.shutdown()
        self.server_close()
        self.thread.join()

    def handle_error(self, request, client_address):
        """A handshake that the gateway breaks off is what some tests want."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        self.request = self.server.context.wrap_socket(self.request, server_side=True, do_handshake_on_connect=False)
        try:
            self.request.do_handshake()
        except ssl.SSLError:
            while os.read(self.request.fileno(), 4096):     # an early end would take the alert away with it
                pass
            raise
        super().setup()
        self.counted = False

    def do_POST(self):
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.counted:
            self.counted = True
            with self.server.lock:
                self.server.resumed.append(self.request.session_reused)
        body = json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": {"secret": True}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if not self.server.keep:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def providers(papers):
    """providers(certificate) gives a provider that has it."""
    made = []

    def build(name, **how):
        made.append(Provider(papers, name, **how))
        return made[-1]

    yield build
    for provider in made:
        provider.finish()


@pytest.fixture
def behind(start, papers, providers):
    """behind(certificate) gives a gateway in front of a provider that has it."""

    def build(name, authority="authority", host="127.0.0.1", keep=True):
        provider = providers(name, keep=keep)
        settings = {"endpoints": [{"url": f"https://{host}:{provider.server_port}/rpc"}], "pool": {"connect_timeout": "60s"}}
        if authority:
            settings["ca_file"] = str(papers / f"{authority}.pem")
        return start({"workers": 1, "upstreams": {"array": settings}}), provider

    return build


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_certificate_of_the_right_name_and_authority_passes(behind, host):
    gateway, provider = behind("good", host=host)
    for _ in range(3):
        assert gateway.call("write").json() == {"secret": True}
    assert provider.resumed == [False]
    # a name may have two addresses, and the provider is at the last of them: a socket for each that is tried
    addresses = {found[4][0] for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    assert 1 <= gateway.metrics().sum("upstream_connects_total", upstream="array") <= len(addresses)


def test_an_address_of_a_name_must_show_the_names_certificate(start, papers, providers, names):
    """The connection goes to an address; who is asked for, and who must be there, is the name."""
    good = providers("good")
    asked = []
    good.context.sni_callback = lambda _, name, __: asked.append(name)
    names.addresses["provider.example.test"] = ["127.0.0.1"]
    names.addresses["other.example.test"] = ["127.0.0.1"]
    upstreams = {"array": "provider", "rest": "other"}
    gateway = start({"upstreams": {upstream: {"endpoints": [{"url": f"https://{name}.example.test:{good.server_port}/rpc"}],
                                              "ca_file": str(papers / "authority.pem")} for upstream, name in upstreams.items()}},
                    before=names.before)
    for _ in range(3):
        assert gateway.call("write").json() == {"secret": True}
    assert asked == ["provider.example.test"]
    reply = gateway.call("send")
    assert reply.status == 503 and "its certificate is for another host" in reply.json()["detail"]


@pytest.mark.parametrize("name, authority, reason", [
    ("elsewhere", "authority", "its certificate is for another host"),
    ("good", "stranger", "its certificate: unable to get local issuer certificate"),
    ("good", None, "its certificate: unable to get local issuer certificate"),
    ("expired", "authority", "its certificate: certificate has expired"),
])
def test_any_other_certificate_is_refused_and_nothing_is_sent(behind, name, authority, reason):
    gateway, provider = behind(name, authority)
    reply = gateway.call("write")
    assert reply.status == 503 and reply.code == "upstream_unavailable" and reply.json()["retryable"], reply
    assert f"cannot trust https://127.0.0.1:{provider.server_port}/rpc: {reason}" in reply.json()["detail"], reply
    assert not provider.resumed
    until(lambda: gateway.events("endpoint_not_reached"), "the log says so")
    assert reason in gateway.events("endpoint_not_reached")[0]["reason"]
    metrics = gateway.metrics()
    assert metrics.sum("upstream_healthy", upstream="array") == 0
    # it would be the same the next time: not tried again, and no neighbour is searched for
    assert metrics.sum("upstream_requests_total", upstream="array", outcome="upstream_unavailable") == 1
    assert metrics.sum("upstream_connects_total", upstream="array") == 1


def test_calls_go_to_the_endpoint_whose_certificate_is_good(start, papers, providers):
    bad, good = providers("expired"), providers("good")
    urls = [{"url": f"https://127.0.0.1:{provider.server_port}/rpc"} for provider in (bad, good)]
    gateway = start({"workers": 1, "upstreams": {"array": {"endpoints": urls, "ca_file": str(papers / "authority.pem")}}})
    for _ in range(6):
        assert gateway.call("write").json() == {"secret": True}
    assert not bad.resumed and good.resumed == [False]
    metrics = gateway.metrics()
    assert metrics.sum("attempts_total", upstream="array", kind="failover", outcome="ok") == 1
    assert metrics.sum("endpoint_state", upstream="array", endpoint=urls[0]["url"], state="ejected") == 1


def test_a_provider_that_wants_a_client_certificate_is_asked_once(start, papers, providers):
    """TLS 1.3 lets the request leave before it tells; it has not been read, so nothing was carried out."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        provider = providers("good", version=version, wants=papers / "authority.pem")
        settings = {"endpoints": [{"url": f"https://127.0.0.1:{provider.server_port}/rpc"}], "ca_file": str(papers / "authority.pem")}
        gateway = start({"workers": 1, "upstreams": {"array": settings}})
        for number, tool in enumerate(("write", "echo")):
            reply = gateway.call(tool)
            assert reply.code == "upstream_unavailable" and "cannot speak TLS with https" in reply.json()["detail"], reply
            assert gateway.metrics().sum("attempts_total", upstream="array") == number + 1, (version, reply)
        assert gateway.metrics().sum("attempts_total", upstream="array", outcome="unsent") == 2, version
        assert not provider.resumed


@pytest.fixture
def clear_port():
    """Of a server that answers whatever it is sent with HTTP in the clear."""
    with socket.create_server(("127.0.0.1", kept_port())) as listener:
        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(ConnectionError):
                    connection.recv(5)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(4096):
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        stop_accepting(listener, thread)


@pytest.mark.parametrize("speaks", ["clear", "old"])
def test_who_speaks_no_tls_that_will_do_is_asked_once(start, papers, providers, clear_port, speaks):
    port = clear_port if speaks == "clear" else providers("good", version=ssl.TLSVersion.TLSv1_1).server_port
    settings = {"endpoints": [{"url": f"https://127.0.0.1:{port}/rpc"}], "ca_file": str(papers / "authority.pem")}
    gateway = start({"workers": 1, "upstreams": {"array": settings}})
    reply = gateway.call("write")
    assert reply.code == "upstream_unavailable" and "cannot speak TLS with https://127.0.0.1" in reply.json()["detail"], reply
    assert gateway.metrics().sum("attempts_total", upstream="array") == 1


def test_a_provider_that_does_not_keep_connections_gets_its_sessions_back(behind):
    gateway, provider = behind("good", keep=False)
    for _ in range(5):
        assert gateway.call("echo").status == 200
    assert provider.resumed == [False] + [True] * 4
    assert gateway.metrics().sum("upstream_connects_total", upstream="array") == 5


def test_what_one_provider_may_show_another_may_not(start, papers, behind):
    """Two upstreams, one with an authority of its own: handles and sessions are shared, trust is not."""
    gateway, provider = behind("good")
    url = f"https://127.0.0.1:{provider.server_port}/api"
    both = start({"workers": 1, "upstreams": {"array": gateway.config["upstreams"]["array"], "rest": {"endpoints": [{"url": url}]}}})
    for _ in range(2):
        assert both.call("echo").status == 200
        assert both.call("send").code == "upstream_unavailable"
    assert len(provider.resumed) == 1


def test_another_authority_by_the_same_name_is_taken_up(start, papers, providers, tmp_path):
    """A watched gateway hears of it. What the old one has let in counts no more: neither its connections nor its sessions,
    nor what curl keeps of the file. Half a file is refused, and then nothing changes."""
    provider, own = providers("good"), tmp_path / "ca.pem"

    def put(text):
        own.with_suffix(".new").write_text(text)
        own.with_suffix(".new").rename(own)

    stranger, authority = ((papers / f"{name}.pem").read_text() for name in ("stranger", "authority"))
    put(authority)
    url = f"https://127.0.0.1:{provider.server_port}/rpc"
    gateway = start({"workers": 1, "reload": {"watch": True},
                     "upstreams": {"array": {"endpoints": [{"url": url}], "ca_file": str(own)}}})
    assert gateway.call("echo").status == 200
    for number, (text, status) in enumerate(((stranger, 503), (authority, 200), (stranger + authority, 200), (stranger, 503))):
        put(text)
        until(lambda: len(gateway.events("config_reloaded")) == number + 1, "it is read anew")
        assert json.loads(gateway.events("config_reloaded")[-1]["changed"])["upstreams"]["changed"] == ["array"]
        assert gateway.call("echo").status == status
    assert provider.resumed == [False] * 2, "the same authorities find the connection again that they have let in; no others do"
    for refused, reason in ((authority[:len(authority) // 2], "is no list of certificates"), ("", "holds no certificate")):
        before = len(gateway.events("config_refused"))
        put(refused)
        until(lambda: len(gateway.events("config_refused")) > before, "it is refused")
        assert f"upstreams.array.ca_file: {reason}" in gateway.events("config_refused")[-1]["reason"]
    assert gateway.metrics().sum("config_generation") == 5


def test_check_against_sees_another_authority_by_the_same_name(start, papers, tmp_path):
    own = tmp_path / "ca.pem"
    own.write_text((papers / "authority.pem").read_text())
    gateway = start({"upstreams": {"array": {"endpoints": [{"url": "https://127.0.0.1:1/rpc"}], "ca_file": str(own)}}})

    def against():
        return jitney("check", "-c", gateway.config_path, "--against", gateway.url("", "admin")).stdout.splitlines()[1:]

    assert against() == ["what runs is the same, but for what is shown as ***"]
    own.write_text((papers / "stranger.pem").read_text())
    assert against() == [f"~ files.{own}"]
    assert reloaded(gateway, {})["changed"]["upstreams"]["changed"] == ["array"]
    assert against() == ["what runs is the same, but for what is shown as ***"]


def test_a_bundle_of_many_authorities_is_taken_apart_once(start, papers, providers, tmp_path):
    """Each connection would cost as much as the bundle is long."""
    provider, own = providers("good", keep=False), tmp_path / "ca.pem"
    own.write_text((papers / "stranger.pem").read_text() * 3000 + (papers / "authority.pem").read_text())
    url = f"https://127.0.0.1:{provider.server_port}/rpc"
    gateway = start({"workers": 1, "upstreams": {"array": {"endpoints": [{"url": url}], "ca_file": str(own)}}})
    before = gateway.cpu_seconds()
    for _ in range(10):
        assert gateway.call("echo").status == 200
    assert len(provider.resumed) == 10
    assert gateway.cpu_seconds() - before < 1


def test_an_authority_that_is_not_there_is_a_mistake(tmp_path):
    path = tmp_path / "jitney.yaml"
    path.write_text("upstreams: { s: { dialect: rest, endpoints: [ { url: https://h } ], ca_file: missing.pem } }\n")
    done = subprocess.run([JITNEY, "check", "-c", path], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2 and "1:78: upstreams.s.ca_file: No such file or directory" in done.stderr
