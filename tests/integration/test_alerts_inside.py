# SPDX-License-Identifier: Apache-2.0
"""Alerts that the gateway evaluates itself: what fires and clears, who is told, and that telling costs nobody anything."""
import http.server
import json
import signal
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
import yaml

from harness import provider as behave
from harness.poll import until
from harness.ports import kept_port
from harness.reload import reload, reloaded
from harness.small_server import PlainHandler
from test_process import jitney

TOP = Path(__file__).resolve().parents[2]
NOW = {"for": "0"}


class Receiver:
    """Takes posts, and answers as it is told: a status, or a status with Retry-After, or nothing at all."""

    def __init__(self, papers=None, name="good"):
        self.posts, self.answers, self.raw, self.hangs, self.over = [], [], b"", threading.Event(), threading.Event()
        receiver = self

        class Handler(PlainHandler):
            protocol_version = "HTTP/1.0"  # who is not answered is hung up on

            def do_POST(self):
                receiver.posts.append((self.path, dict(self.headers), json.loads(self.body()), time.monotonic()))
                if receiver.raw:
                    self.wfile.write(receiver.raw)
                    self.wfile.flush()
                    receiver.over.wait(20)
                    return
                if receiver.hangs.is_set():
                    receiver.over.wait(20)
                    return
                status, headers = receiver.answers.pop(0) if receiver.answers else (200, {})
                self.reply(status, **headers)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", kept_port()), Handler)
        self.server.daemon_threads = True
        self.scheme = "https" if papers else "http"
        if papers:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(papers / f"{name}.pem", papers / f"{name}.key")
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
            self.server.handle_error = lambda *_: None    # a handshake that the gateway breaks off is what a test wants
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.server.server_port}/hook?to=ops"

    def alerts(self):
        return [(alert["status"], alert["labels"]["alertname"], alert["labels"]["severity"]) for _, _, body, _ in list(self.posts)
                for alert in body["alerts"]]

    def close(self):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


def alerts(gateway, what="alerts"):
    reply = gateway.get("/admin/alerts", "admin")
    assert reply.status == 200, reply
    return reply.json()[what]


def words(gateway, what="alerts"):
    return {(alert["alert"], alert.get("severity")) for alert in alerts(gateway, what)}


def test_an_upstream_that_goes_and_comes_back(start, provider, receiver):
    """Fires, is seen everywhere, and clears everywhere."""
    gateway = start({"alerts": {"upstream_down": NOW, "endpoint_ejected": NOW, "tool_fails": {"warning": "0%"},
                                "webhook": {"url": receiver.url, "headers": {"Authorization": "Bearer t0ken"}}},
                     "upstreams": {"array": {"ejection": {"base": "100ms", "max": "100ms"}}}})
    gateway.call("echo")
    assert alerts(gateway) == [] and alerts(gateway, "webhook")["configured"]
    provider.stop()
    until(lambda: gateway.call("echo").status == 503 and ("upstream_down", "critical") in words(gateway), "it fires")
    down = until(lambda: [alert for alert in alerts(gateway) if alert["alert"] == "upstream_down" and "cannot connect" in alert["detail"]], "it says why")[0]
    assert down["kind"] == "upstream" and down["subject"] == "array", down
    assert abs(down["since"] - time.time()) < 30 and down["runbook_url"] == "docs/operations.md#jitneyupstreamdown"
    stats = gateway.get("/admin/stats", "admin").json()["alerts"]
    assert ("upstream_down", "critical") in {(alert["alert"], alert["severity"]) for alert in stats}
    gateway.until_metric("alerts_firing", 1, alert="upstream_down", severity="critical")
    event = until(lambda: [event for event in gateway.events("alert_firing") if event["alert"] == "upstream_down"], "it is in the log")[0]
    assert event["level"] == "error" and event["subject"] == "array" and event["severity"] == "critical"
    until(lambda: ("firing", "JitneyUpstreamDown", "critical") in receiver.alerts(), "it is posted")
    path, headers, body, _ = receiver.posts[0]
    assert path == "/hook?to=ops" and headers["Authorization"] == "Bearer t0ken" and headers["Content-Type"] == "application/json"
    assert body["version"] == "4" and body["status"] == "firing" and body["truncatedAlerts"] == 0
    assert all(alert["startsAt"].endswith("Z") and alert["annotations"]["summary"] for alert in body["alerts"])
    assert {alert["labels"]["instance"] for alert in body["alerts"]} == {socket.gethostname()[:64]}
    provider.start()
    until(lambda: gateway.call("echo").status == 200 and not alerts(gateway), "it is over")
    until(lambda: ("resolved", "JitneyUpstreamDown", "critical") in receiver.alerts(), "that is posted too")
    gateway.until_metric("alerts_firing", 0)
    until(lambda: [event for event in gateway.events("alert_cleared") if event["alert"] == "upstream_down"], "and in the log")
    gateway.until_metric("alert_posts_total", len(receiver.posts), result="ok")


def test_two_gateways_of_a_host_are_told_apart(start, receiver, tmp_path):
    """One's all-clear is not the other's; and a process that begins again is who it was."""
    tools = tmp_path / "sockets"
    tools.mkdir()
    changes = {"alerts": {"reload_failed": NOW, "webhook": {"url": receiver.url}}}
    prints = []
    for name in ("one", "two", "one"):
        gateway = start({**changes, "listen": f"unix:{tools}/{name}"})
        heard = len(receiver.posts)
        gateway.config_path.write_text("nonsense: [")
        gateway.signal(signal.SIGHUP)
        post = until(lambda: len(receiver.posts) > heard and receiver.posts[heard][2], "it is posted")  # noqa: B023
        alert = next(alert for alert in post["alerts"] if alert["labels"]["alertname"] == "JitneyReloadFailed")
        assert alert["labels"]["listen"] == f"unix:{tools}/{name}"
        prints.append(alert["fingerprint"])
        gateway.stop()
    assert prints[0] == prints[2] != prints[1]


def test_what_has_not_been_so_for_long_is_pending(start, provider):
    gateway = start({"alerts": {"upstream_down": {"for": "1h"}}})
    provider.stop()
    until(lambda: gateway.call("echo").status == 503 and words(gateway, "pending") >= {("upstream_down", None)}, "it is pending")
    assert not alerts(gateway) and gateway.metrics().sum("alerts_firing") == 0
    gateway.config_path.write_text("nonsense: [")
    assert reload(gateway)[0] == 422
    until(lambda: ("reload_failed", None) in words(gateway, "pending"), "so is the bad file")


def test_a_bad_file_and_lost_writes(start, provider):
    """What is of the gateway, and what is of a tool."""
    gateway = start({"alerts": {"reload_failed": {"severity": "critical", **NOW}, "outcome_unknown": {"warning": 1, "critical": 3},
                                "errors": {"warning": "10%", "critical": "0%", **NOW}}})
    before = gateway.config_path.read_text()
    gateway.config_path.write_text("nonsense: [")
    assert reload(gateway)[0] == 422
    until(lambda: words(gateway) == {("reload_failed", "critical")}, "the file is not in order")
    provider.next(behave.close)
    assert gateway.call("write").code == "outcome_unknown"
    until(lambda: ("outcome_unknown", "warning") in words(gateway), "one call of which nobody knows")
    provider.next(*10 * [behave.close])
    for _ in range(10):
        gateway.call("write")
    until(lambda: words(gateway) >= {("outcome_unknown", "critical"), ("errors", "warning")}, "eleven of them")
    unknown = next(alert for alert in alerts(gateway) if alert["alert"] == "outcome_unknown")
    assert unknown["subject"] == "write" and unknown["value"] == 11 and unknown["threshold"] == 3 and unknown["kind"] == "tool"
    told = [(event["alert"], event["severity"]) for event in gateway.events("alert_firing")]
    assert told.index(("outcome_unknown", "warning")) < told.index(("outcome_unknown", "critical"))
    gateway.config_path.write_text(before)
    assert reload(gateway)[0] == 200
    until(lambda: "reload_failed" not in dict(words(gateway)), "the file is in order")


def test_a_reload_changes_thresholds_and_takes_subjects_away(start, provider):
    gone = {"dialect": "jsonrpc", "endpoints": [{"url": "http://127.0.0.1:1/"}]}
    gateway = start({"upstreams": {"gone": gone}, "tools": {"lost": {"upstream": "gone", "annotations": {"read_only": True}}},
                     "alerts": {"upstream_down": NOW, "endpoint_ejected": {"severity": "off"}}})
    until(lambda: gateway.call("lost") and words(gateway) == {("upstream_down", "critical")}, "it is down")
    assert reloaded(gateway, {"alerts": {"upstream_down": {"severity": "warning"}}})["changed"]["settings"] == ["alerts.upstream_down.severity"]
    until(lambda: words(gateway) == {("upstream_down", "warning")}, "it is not as bad")
    reloaded(gateway, {"upstreams": {"gone": None}, "tools": {"lost": None}})
    until(lambda: not alerts(gateway), "who is not there is not sick")
    gateway.until_metric("alerts_firing", 0)
    assert gateway.events("alert_cleared")[-1]["subject"] == "gone"


def test_a_receiver_that_refuses_is_asked_again_and_given_up(start, provider, receiver):
    receiver.answers = [(503, {"Retry-After": "1"}), (429, {}), (200, {})]
    gateway = start({"alerts": {"reload_failed": NOW, "webhook": {"url": receiver.url}}})
    before = gateway.config_path.read_text()
    gateway.config_path.write_text("nonsense: [")
    reload(gateway)
    gateway.until_metric("alert_posts_total", 1, result="ok")
    assert len(receiver.posts) == 3 and len({json.dumps(post[2]) for post in receiver.posts}) == 1, "the same each time"
    assert gateway.metrics().sum("alert_posts_total", result="retried") == 2
    receiver.answers = [(403, {})]
    gateway.config_path.write_text(before)
    reload(gateway)
    gateway.until_metric("alert_posts_total", 1, result="failed")
    assert len(receiver.posts) == 4, "who says no for good is not asked again"
    assert "answered 403" in until(lambda: gateway.events("alert_not_posted"), "it is told")[0]["message"]
    assert "answered 403" in alerts(gateway, "webhook")["reason"] and "hook?to" not in gateway.log()


@pytest.mark.parametrize("behind", [
    b"Content-Length: 100000\r\n\r\n" + 100000 * b"x", b"Content-Length: 9\r\n\r\n", b"Content-Encoding: br\r\n\r\nx",
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"X-Half: a li"], ids=["long", "endless", "coded", "malformed", "half"])
def test_what_a_receiver_says_behind_its_status_is_its_own_affair(start, receiver, behind):
    """It has taken the post: a long page, or one that does not end, makes nobody be told five times."""
    receiver.raw = b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + behind
    gateway = start({"alerts": {"reload_failed": NOW, "webhook": {"url": receiver.url, "timeout": "1s"}}})
    gateway.config_path.write_text("nonsense: [")
    reload(gateway)
    gateway.until_metric("alert_posts_total", 1, result="ok")
    assert len(receiver.posts) == 1 and gateway.metrics().sum("alert_posts_total", result="retried") == 0


def test_a_receiver_that_hangs_costs_nobody_anything(start, provider, receiver):
    receiver.hangs.set()
    gateway = start({"alerts": {"reload_failed": NOW, "webhook": {"url": receiver.url, "timeout": "60s"}}})
    gateway.config_path.write_text("nonsense: [")
    reload(gateway)
    until(lambda: receiver.posts, "it is asked, and says nothing")
    for n in range(20):
        assert gateway.call("echo", {"n": n}).status == 200
    assert words(gateway) == {("reload_failed", "warning")} and alerts(gateway, "webhook")["waiting"] == 1
    began = time.monotonic()
    assert gateway.stop() == 0
    assert time.monotonic() - began < 15, "nor does the end wait for it"


@pytest.mark.parametrize("name, authority, said", [
    ("good", "authority", None), ("good", None, "unable to get local issuer certificate"), ("good", "stranger", "unable to get local issuer certificate"),
    ("expired", "authority", "certificate has expired"), ("elsewhere", "authority", "its certificate is for another host")])
def test_a_receiver_over_tls_must_be_who_it_says(start, papers, name, authority, said):
    receiver = Receiver(papers, name)
    try:
        webhook = {"url": receiver.url, "headers": {"Authorization": "Bearer t0ken"}}
        if authority:
            webhook["ca_file"] = str(papers / f"{authority}.pem")
        gateway = start({"alerts": {"reload_failed": NOW, "webhook": webhook}})
        gateway.config_path.write_text("nonsense: [")
        reload(gateway)
        if said is None:
            until(lambda: ("firing", "JitneyReloadFailed", "warning") in receiver.alerts(), "it is posted")
            assert receiver.posts[0][1]["Authorization"] == "Bearer t0ken"
        else:
            reason = until(lambda: alerts(gateway, "webhook").get("reason"), "it is not trusted, and that is said")
            assert reason.startswith(f"cannot trust https://127.0.0.1:{receiver.server.server_port}: ") and said in reason, reason
            assert not receiver.posts
    finally:
        receiver.close()


def test_an_authority_that_is_renewed_counts_with_the_next_post(start, papers, tmp_path):
    receiver, own = Receiver(papers), tmp_path / "own.pem"
    own.write_bytes((papers / "stranger.pem").read_bytes())
    try:
        gateway = start({"alerts": {"reload_failed": NOW, "webhook": {"url": receiver.url, "ca_file": str(own)}}})
        gateway.config_path.write_text("nonsense: [")
        reload(gateway)
        until(lambda: "cannot trust" in alerts(gateway, "webhook").get("reason", ""), "that of another is not enough")
        own.write_bytes((papers / "authority.pem").read_bytes())
        until(lambda: receiver.posts, "with the next attempt it is")
    finally:
        receiver.close()


def test_a_redirect_is_not_followed(start, receiver):
    other = Receiver()
    try:
        receiver.answers = [(307, {"Location": other.url})]
        gateway = start({"alerts": {"reload_failed": NOW, "webhook": {"url": receiver.url, "headers": {"Authorization": "Bearer t0ken"}}}})
        gateway.config_path.write_text("nonsense: [")
        reload(gateway)
        gateway.until_metric("alert_posts_total", 1, result="failed")
        assert "answered 307" in alerts(gateway, "webhook")["reason"] and len(receiver.posts) == 1 and not other.posts
    finally:
        other.close()


def test_a_reload_changes_who_is_told(start, provider, receiver, nobody):
    gateway = start({"alerts": {"reload_failed": NOW, "upstream_down": NOW, "webhook": {"url": nobody + "/"}}})
    provider.stop()
    until(lambda: gateway.call("echo").status == 503 and alerts(gateway), "something fires")
    until(lambda: gateway.metrics().sum("alert_posts_total", result="retried") >= 1, "nobody takes it")
    reloaded(gateway, {"alerts": {"webhook": receiver.url}})           # alone, as a text
    until(lambda: ("firing", "JitneyUpstreamDown", "critical") in receiver.alerts(), "what waited goes to the new one")
    posts = len(receiver.posts)
    reloaded(gateway, {"alerts": {"webhook": "", "upstream_down": {"severity": "off"}}})
    until(lambda: not alerts(gateway), "it is over")
    assert not alerts(gateway, "webhook")["configured"] and len(receiver.posts) == posts


@pytest.mark.parametrize("webhook, said", [
    ("ftp://h/", "the URL must begin with http:// or https://"), ({"url": "ftp://h/"}, "must begin with http:// or https://"), ({"url": "http:///x"}, "has no host"),
    ("http://h:99999/", "the URL is none: "), ("https://[::1/hook?to=x", "the URL is none: "), ("http://h:port/?x", "the URL is none: "),
    ({"url": "http://u:p@h/"}, "must not hold a user"), ({"url": "http://h/a b"}, "holds a blank"),
    ({"headers": {"A": "b"}}, "of no use without a url"), ({"url": "http://h/", "ca_file": "/dev/null"}, "is for a URL that begins with https://"),
    ({"ca_file": "/dev/null"}, "is for a URL that begins with https://"), ({"url": "https://h/", "ca_file": "/nowhere.pem"}, "alerts.webhook.ca_file: No such file"), ({"url": "http://h/", "timeout": "1ms"}, "must be between")])
def test_a_webhook_that_cannot_be_meant(tmp_path, webhook, said):
    path = tmp_path / "jitney.yaml"
    path.write_text(json.dumps({"alerts": {"webhook": webhook}}))
    done = jitney("check", "-c", path)
    assert done.returncode == 2 and said in done.stderr


def test_a_warning_that_comes_after_critical_is_warned_of(tmp_path):
    path = tmp_path / "jitney.yaml"
    path.write_text(json.dumps({"alerts": {"p99": {"critical": "1s"}, "retry_budget_spent": {"critical": "5%"}}}))
    done = jitney("check", "-c", path)
    assert done.returncode == 0 and done.stderr.count("never fires as a warning") == 1 and "alerts.p99:" in done.stderr


def test_there_is_one_inside_for_each_of_prometheus(gateway):
    """JitneyDown but: who is down says nothing; of the two burn rates one stands for both."""
    rules = yaml.safe_load((TOP / "packaging/prometheus/jitney.rules.yml").read_text())
    outside = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    inside = {condition["name"]: condition for condition in alerts(gateway, "conditions")}
    assert set(inside) == outside - {"JitneyDown", "JitneyErrorsBurnFast"}
    for name, condition in inside.items():
        if condition["alert"] not in ("errors", "p99"):
            assert name == "Jitney" + "".join(part.title() for part in condition["alert"].split("_"))


def test_pages_of_all_figures_are_written_beside_the_workers(start, provider):
    """With a thousand tools and fifty upstreams: a worker only sends them."""
    upstreams = {f"u{n}": {"dialect": "jsonrpc", "endpoints": [{"url": provider.url("/rpc")}]} for n in range(50)}
    tools = {f"t{n}": {"upstream": f"u{n % 50}"} for n in range(1000)}
    gateway = start({"workers": 1, "upstreams": upstreams, "tools": tools})

    def spent(name):
        """Of threads of that name, in ticks of 10 ms."""
        ticks = 0
        for task in Path(f"/proc/{gateway.process.pid}/task").iterdir():
            if (task / "comm").read_text().strip() == name:
                fields = (task / "stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks

    before = spent("worker 0"), spent("observer")
    for _ in range(200):
        page = gateway.get("/admin/stats", "admin").json()
        assert len(page["tools"]) == 1005 and len(page["upstreams"]) == 52
    worker, observer = spent("worker 0") - before[0], spent("observer") - before[1]
    assert worker < observer, (worker, observer)
