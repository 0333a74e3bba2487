# SPDX-License-Identifier: Apache-2.0
"""Redis over TLS: authorities, names, client certificates, what is refused, and a proxy in between that misbehaves."""
import json
import shutil
import socket
import subprocess
import threading

import pytest


from harness.gateway import JITNEY, merged, standard
from harness.poll import until
from harness.ports import free_port, kept_port, stop_accepting
from harness.redis import SERVER, Redis
from test_cache import verdict
from test_redis import detail, tier, up

SSL_TOOL = shutil.which("openssl")
pytestmark = pytest.mark.skipif(SERVER is None or SSL_TOOL is None, reason="no redis-server, or no openssl")


def openssl(*words):
    subprocess.run([SSL_TOOL, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Papers:
    """An authority of the test's own, and what it has signed."""

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self.ca, self.ca_key = directory / "ca.pem", directory / "ca.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                "-subj", "/CN=test authority", "-keyout", str(self.ca_key), "-out", str(self.ca))

    def sign(self, name, names, days="2", authority=None):
        """names: an extension of its own, or the names it is for. authority: who signs it, instead of the first."""
        key, request, paper = (self.directory / f"{name}.{end}" for end in ("key", "csr", "pem"))
        extension = self.directory / f"{name}.ext"
        extension.write_text(names if "=" in names else f"subjectAltName={names}\n")
        ca, ca_key = authority or (self.ca, self.ca_key)
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
                "-keyout", str(key), "-out", str(request))
        openssl("x509", "-req", "-in", str(request), "-CA", str(ca), "-CAkey", str(ca_key), "-CAcreateserial",
                "-days", days, "-extfile", str(extension), "-out", str(paper))
        return paper, key


@pytest.fixture
def papers(tmp_path):
    return Papers(tmp_path / "papers")


class SecureRedis(Redis):
    def __init__(self, directory, papers, names="IP:127.0.0.1,DNS:localhost", clients="no"):
        super().__init__(directory)
        self.paper, self.key = papers.sign("server", names)
        self.tls_port = free_port()
        self.options = ("--tls-port", str(self.tls_port), "--tls-cert-file", str(self.paper), "--tls-key-file",
                        str(self.key), "--tls-ca-cert-file", str(papers.ca), "--tls-auth-clients", clients)

    @property
    def url(self):
        return f"rediss://127.0.0.1:{self.tls_port}"


@pytest.fixture
def secure(tmp_path, papers):
    made = []

    def run(**options):
        made.append(SecureRedis(tmp_path / f"secure{len(made)}", papers, **options))
        try:
            return made[-1].start()
        except AssertionError:
            pytest.skip("this redis-server has no TLS")

    yield run
    for server in made:
        server.kill()


def test_answers_are_shared_over_tls(start, secure, papers, provider):
    redis = secure()
    one, other = [up(start(tier(redis.url, ca_file=str(papers.ca)))) for _ in range(2)]
    for number in range(20):
        one.call("cached", {"q": number, "text": "x" * 20_000})
    until(lambda: len([name for name in redis.keys("jitney:1:*") if len(name) == 73]) == 20, "stored")
    replies = [other.call("cached", {"q": number, "text": "x" * 20_000}) for number in range(20)]
    assert {(verdict(reply), detail(reply)) for reply in replies} == {("hit", "redis")}
    assert len(provider.calls) == 20
    purged = one.request("DELETE", "/admin/cache?tool=cached", listener="admin").json()
    assert purged["fleet"] == "published"
    until(lambda: other.metrics().sum("cache_entries", tier="memory") == 0, "heard over TLS")


def test_a_name_is_asked_for_and_checked(start, secure, papers):
    redis = secure(names="DNS:localhost")
    up(start(tier(f"rediss://localhost:{redis.tls_port}", ca_file=str(papers.ca))))
    up(start(tier(redis.url, ca_file=str(papers.ca), server_name="localhost")))
    gateway = start(tier(redis.url, ca_file=str(papers.ca)))
    until(lambda: gateway.events("redis_failed"), "refused")
    assert "IP address mismatch" in gateway.events("redis_failed")[0]["message"]
    assert gateway.call("cached").status == 200


def test_an_unknown_authority_is_refused(start, secure, papers, tmp_path):
    redis = secure()
    gateway = start(tier(redis.url, ca_file=str(Papers(tmp_path / "others").ca)))
    until(lambda: gateway.events("redis_failed"), "refused")
    assert "not to be trusted" in gateway.events("redis_failed")[0]["message"]
    assert gateway.metrics().sum("redis_up") == 0
    several = tmp_path / "several.pem"
    several.write_bytes((tmp_path / "others" / "ca.pem").read_bytes() + papers.ca.read_bytes())
    assert not up(start(tier(redis.url, ca_file=str(several)))).events("redis_failed")


def test_a_client_certificate_is_shown(start, secure, papers):
    redis = secure(clients="yes")
    paper, key = papers.sign("client", "DNS:client")
    up(start(tier(redis.url, ca_file=str(papers.ca), cert_file=str(paper), key_file=str(key)))).call("cached")
    without = start(tier(redis.url, ca_file=str(papers.ca)))
    until(lambda: without.events("redis_failed"), "refused")
    assert without.metrics().sum("redis_up") == 0


def test_a_client_certificate_is_shown_with_its_chain(start, secure, papers):
    """The server knows the first authority only: it believes the client if the one in between is shown as well."""
    redis = secure(clients="yes")
    between = papers.sign("between", "basicConstraints=critical,CA:TRUE\n")
    paper, key = papers.sign("client", "DNS:client", authority=between)
    chain = papers.directory / "chain.pem"
    chain.write_bytes(paper.read_bytes() + between[0].read_bytes())
    gateway = up(start(tier(redis.url, ca_file=str(papers.ca), cert_file=str(chain), key_file=str(key))))
    gateway.until_metric("redis_up", 1)
    without = start(tier(redis.url, ca_file=str(papers.ca), cert_file=str(paper), key_file=str(key)))
    until(lambda: without.events("redis_failed"), "refused")
    assert without.metrics().sum("redis_up") == 0 and not gateway.events("redis_failed")


def test_papers_that_are_renewed_are_taken_up(start, secure, papers, tmp_path):
    """By themselves where the file is watched: an authority, then a certificate with its key. What stays the same keeps its
    connections."""
    redis = secure(clients="yes")
    own = tmp_path / "own"
    own.mkdir()

    def put(name, source):
        part = own / (name + ".new")
        part.write_bytes(source.read_bytes())
        part.rename(own / name)

    paper, key = papers.sign("first", "DNS:first")
    put("ca_file", Papers(tmp_path / "others").ca)
    put("cert_file", paper)
    put("key_file", key)
    gateway = start({**tier(redis.url, **{name: str(own / name) for name in ("ca_file", "cert_file", "key_file")}),
                     "reload": {"watch": True}, "workers": 1})
    until(lambda: gateway.events("redis_failed"), "the server is not believed")
    put("ca_file", papers.ca)
    gateway.until_metric("redis_up", 1)
    settings = json.loads(gateway.events("config_reloaded")[-1]["changed"])["settings"]
    assert settings == ["cache.redis.ca_file"] and gateway.events("redis_connected")
    before = len(gateway.events("redis_connected"))
    put("ca_file", papers.ca)      # the same once more
    paper, key = papers.sign("second", "DNS:second")
    put("cert_file", paper)        # until the key is there, too, it does not fit: refused, and nothing has changed
    until(lambda: any("key_file" in event["reason"] for event in gateway.events("config_refused")), "it is refused")
    assert len(gateway.events("redis_connected")) == before and gateway.metrics().sum("redis_up") == 1
    put("key_file", key)
    until(lambda: len(gateway.events("redis_connected")) > before, "both are taken up")
    settings = json.loads(gateway.events("config_reloaded")[-1]["changed"])["settings"]
    assert settings == ["cache.redis.cert_file", "cache.redis.key_file"]
    gateway.until_metric("redis_up", 1)
    assert gateway.call("cached", {"n": 1}).status == 200


def test_tls_to_a_server_that_has_none(start, redis, papers):
    gateway = start(tier(redis.url.replace("redis:", "rediss:"), ca_file=str(papers.ca)))
    until(lambda: gateway.events("redis_failed"), "told")
    assert "TLS" in gateway.events("redis_failed")[0]["message"]
    assert gateway.call("cached").status == 200


class Proxy:
    """Bytes in small pieces, both ways; cut on demand."""

    def __init__(self, port):
        self.port, self.connections = port, []
        self.listener = socket.create_server(("127.0.0.1", kept_port()))
        self.own_port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.port))
            self.connections += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self.carry, args=(source, sink), daemon=True).start()

    def carry(self, source, sink):
        try:
            while piece := source.recv(777):
                for at in range(0, len(piece), 111):
                    sink.sendall(piece[at:at + 111])
        except OSError:
            pass
        for one in (source, sink):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        cut, self.connections = self.connections, []
        for one in cut:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def finish(self):
        stop_accepting(self.listener, self.thread)
        self.cut()


def test_a_proxy_in_between_that_cuts_and_crumbles(start, secure, papers, provider):
    redis = secure()
    proxy = Proxy(redis.tls_port)
    try:
        gateway = up(start(tier(f"rediss://127.0.0.1:{proxy.own_port}", ca_file=str(papers.ca))))
        for turn in range(3):
            for number in range(5):
                assert gateway.call("cached", {"q": number, "turn": turn, "text": "y" * 5000}).status == 200
            connects = gateway.metrics().sum("redis_connects_total")
            proxy.cut()
            assert gateway.call("cached", {"q": "while it is away", "turn": turn}).status == 200
            until(lambda: gateway.metrics().sum("redis_connects_total") > connects, "made anew")
            up(gateway)
        assert gateway.metrics().sum("redis_errors_total", reason="damaged") == 0
    finally:
        proxy.finish()


@pytest.mark.parametrize("options, wrong", [
    ({"ca_file": "/nowhere.pem"}, "ca_file /nowhere.pem: No such file or directory"),
    ({"ca_file": "{ca}", "cert_file": "{ca}"}, "cert_file and key_file go together"),
    ({"ca_file": "{ca}", "cert_file": "{ca}", "key_file": "{ca}"}, "key_file"),
    ({"url": "redis://127.0.0.1", "ca_file": "{ca}"}, "is for TLS"),
])
def test_papers_that_are_of_no_use_are_told_by_check(tmp_path, provider, papers, options, wrong):
    settings = {name: value.format(ca=papers.ca) for name, value in {"url": "rediss://127.0.0.1", **options}.items()}
    path = tmp_path / "jitney.yaml"
    path.write_text(json.dumps(merged(standard(provider), {"cache": {"redis": settings}})))
    done = subprocess.run([JITNEY, "check", "-c", str(path)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert wrong in done.stderr + done.stdout
