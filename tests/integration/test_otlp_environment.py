# SPDX-License-Identifier: Apache-2.0
"""Where traces and metrics go, by OpenTelemetry's variables: one for all signals, and one for each that beats it
(specification, protocol/exporter); over TLS, compressed, and when the collector wants them again."""
import datetime
import email.utils
import gzip
import time

import pytest

from harness.collector import Collector
from harness.poll import until

METRICS = {"tracing": {"otlp": {"metrics": True, "sample": "100%"}}}
OFTEN = {"OTEL_METRIC_EXPORT_INTERVAL": "100"}
ALL = "OTEL_EXPORTER_OTLP_"


@pytest.fixture
def collectors(papers):
    made = []

    def build(*how):
        made.append(Collector(*how))
        return made[-1]

    yield build
    for one in made:
        one.finish()


def paths(collector):
    return {path for path, _, _ in collector.requests}


def headers_of(collector, path):
    return next(headers for where, headers, _ in collector.requests if where == path)


def test_a_signals_own_endpoint_is_taken_as_it_is(start, collectors, provider):
    everything, traces = collectors(), collectors()
    gateway = start(METRICS, environment={**OFTEN, ALL + "ENDPOINT": everything.url + "/base/", ALL + "TRACES_ENDPOINT": traces.url + "/its/own/"})
    gateway.call("write")
    until(lambda: traces.spans("/its/own/") and everything.points(), "both are told")
    assert paths(traces) == {"/its/own/"} and paths(everything) == {"/base/v1/metrics"}


def test_an_own_endpoint_without_a_path_is_the_root(start, collectors, provider):
    traces = collectors()
    gateway = start({"tracing": {"otlp": {"sample": "100%"}}}, environment={ALL + "TRACES_ENDPOINT": traces.url})
    gateway.call("write")
    until(lambda: traces.spans("/"), "it is told")
    assert paths(traces) == {"/"}


def test_a_signal_without_an_endpoint_is_told_to_nobody(start, collectors, provider):
    metrics = collectors()
    gateway = start(METRICS, environment={**OFTEN, ALL + "METRICS_ENDPOINT": metrics.url + "/m"})
    gateway.call("write", traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    until(lambda: metrics.points("/m"), "metrics are told")
    assert gateway.threads("traces") == 0 and gateway.threads("metrics") == 1 and paths(metrics) == {"/m"}
    told = provider.deliveries[-1].headers["traceparent"]
    assert told.endswith("-b7ad6b7169203331-01"), "calls are not traced: what the caller said goes on as it came"


def test_the_files_endpoint_is_for_all_signals(start, collectors, provider):
    file, other = collectors(), collectors()
    gateway = start({"tracing": {"otlp": {"endpoint": file.url, "metrics": True, "sample": "100%"}}},
                    environment={**OFTEN, ALL + "TRACES_ENDPOINT": other.url, ALL + "METRICS_ENDPOINT": other.url})
    gateway.call("write")
    until(lambda: file.spans() and file.points(), "both are told there")
    assert not other.requests


def test_headers_and_timeouts_are_each_signals_own(start, collectors, provider):
    one = collectors()
    gateway = start(METRICS, environment={**OFTEN, ALL + "ENDPOINT": one.url, ALL + "HEADERS": "key=all,more=yes",
                                          ALL + "TRACES_HEADERS": "key=of%20traces"})
    gateway.call("write")
    until(lambda: one.spans() and one.points(), "both are told")
    traces, metrics = headers_of(one, "/v1/traces"), headers_of(one, "/v1/metrics")
    assert traces["key"] == "of traces" and "more" not in traces, "they take the place of all of the others"
    assert metrics["key"] == "all" and metrics["more"] == "yes"


def test_a_signals_own_timeout_beats_the_other(start, collectors, provider):
    one = collectors()
    one.hangs = True
    gateway = start({"tracing": {"otlp": {"sample": "100%"}}},
                    environment={ALL + "ENDPOINT": one.url, ALL + "TIMEOUT": "3600000", ALL + "TRACES_TIMEOUT": "50"})
    gateway.call("write")
    until(lambda: gateway.metrics().sum("otlp_requests_total", signal="traces", result="repeated") >= 1, "it is given up and tried again")


@pytest.mark.parametrize("how, packed", [
    ({ALL + "COMPRESSION": "gzip"}, {"traces", "metrics"}), ({ALL + "COMPRESSION": "GZIP", ALL + "TRACES_COMPRESSION": "none"}, {"metrics"}),
    ({ALL + "TRACES_COMPRESSION": "gzip"}, {"traces"}), ({}, set())])
def test_what_is_sent_is_compressed_if_that_is_wanted(start, collectors, provider, how, packed):
    one = collectors()
    gateway = start(METRICS, environment={**OFTEN, ALL + "ENDPOINT": one.url, **how})
    for n in range(20):
        gateway.call("write", {"n": n})
    until(lambda: one.spans() and one.points(), "both are told, and can be read")
    for signal in ("traces", "metrics"):
        _, headers, body = next(each for each in one.requests if each[0] == f"/v1/{signal}")
        assert headers.get("Content-Encoding") == ("gzip" if signal in packed else None)
        assert body.startswith(b"\x1f\x8b") == (signal in packed)
        assert signal not in packed or len(body) < len(gzip.decompress(body))


def test_compression_by_the_file(start, collectors, provider):
    one = collectors()
    gateway = start({"tracing": {"otlp": {"endpoint": one.url, "compression": "gzip", "sample": "100%"}}}, environment={ALL + "COMPRESSION": "none"})
    gateway.call("write")
    until(lambda: one.spans(), "it is told")
    assert headers_of(one, "/v1/traces")["Content-Encoding"] == "gzip"


@pytest.mark.parametrize("how", ["file", "all", "own"])
def test_a_collector_over_tls_is_trusted_by_the_authority_that_is_named(start, papers, collectors, provider, how):
    one, right, wrong = collectors(papers), str(papers / "authority.pem"), str(papers / "stranger.pem")
    environment = {"file": {ALL + "CERTIFICATE": wrong}, "all": {ALL + "CERTIFICATE": right},
                   "own": {ALL + "CERTIFICATE": wrong, ALL + "TRACES_CERTIFICATE": right}}[how]
    otlp = {"sample": "100%", **({"ca_file": right} if how == "file" else {})}
    gateway = start({"tracing": {"otlp": otlp}}, environment={ALL + "ENDPOINT": one.url, **environment})
    gateway.call("write")
    assert len(one.until(lambda found: found, "it is told")) == 2


@pytest.mark.parametrize("authority", [None, "stranger"])
def test_a_collector_that_nobody_vouches_for_is_told_nothing(start, papers, collectors, provider, authority):
    one = collectors(papers)
    environment = {ALL + "CERTIFICATE": str(papers / f"{authority}.pem")} if authority else {}
    gateway = start({"tracing": {"otlp": {"sample": "100%"}}}, environment={ALL + "ENDPOINT": one.url, **environment})
    gateway.call("write")
    until(lambda: gateway.metrics().sum("otlp_requests_total", signal="traces", result="repeated") >= 1, "it is tried again")
    assert gateway.stop() == 0
    assert "cannot trust" in gateway.events("traces_not_sent")[0]["message"] and not one.requests


@pytest.mark.parametrize("environment, said", [
    ({ALL + "TRACES_ENDPOINT": "collector"}, ALL + "TRACES_ENDPOINT"), ({ALL + "METRICS_ENDPOINT": "grpc://c:1"}, ALL + "METRICS_ENDPOINT"),
    ({ALL + "TRACES_HEADERS": "no pair"}, ALL + "TRACES_HEADERS"), ({ALL + "METRICS_HEADERS": "key=1,content-length=3"}, ALL + "METRICS_HEADERS"),
    ({ALL + "HEADERS": "Transfer-Encoding=chunked"}, ALL + "HEADERS"), ({ALL + "TIMEOUT": "soon"}, ALL + "TIMEOUT"),
    ({ALL + "METRICS_TIMEOUT": "0"}, ALL + "METRICS_TIMEOUT"),
    ({ALL + "ENDPOINT": "https://127.0.0.1:1", ALL + "TRACES_CERTIFICATE": "/nowhere.pem"}, ALL + "TRACES_CERTIFICATE: No such file")])
def test_a_mistake_is_told_by_the_name_of_its_variable(make, environment, said):
    gateway = make(METRICS, environment={ALL + "ENDPOINT": "http://127.0.0.1:1", **environment})
    gateway.spawn()
    assert gateway.wait() == 2
    assert f"environment variable {said}" in gateway.log()
    gateway.process = None


def test_words_that_are_not_known_are_warned_of_and_passed_over(start, collectors, provider):
    one = collectors()
    gateway = start({"tracing": {"otlp": {"sample": "100%"}}}, environment={
        ALL + "ENDPOINT": one.url, ALL + "COMPRESSION": "zstd", ALL + "TRACES_PROTOCOL": "grpc"})
    gateway.call("write")
    one.until(lambda found: found, "it is told, as it is")
    assert f"warning: environment variable {ALL}COMPRESSION: " in gateway.log()
    assert f"warning: environment variable {ALL}TRACES_PROTOCOL: only http/protobuf is spoken" in gateway.log()


def test_a_certificate_is_for_tls_alone(start, collectors, provider):
    one = collectors()
    gateway = start({"tracing": {"otlp": {"sample": "100%"}}}, environment={ALL + "ENDPOINT": one.url, ALL + "CERTIFICATE": "/nowhere.pem"})
    gateway.call("write")
    one.until(lambda found: found, "it is not asked for")


# ---- Retry-After ----

def date_in(seconds):
    return datetime.datetime.fromtimestamp(time.time() + seconds, datetime.timezone.utc)


def test_a_date_is_waited_for(start, collectors, provider):
    """Four seconds ahead at least, where the pause of its own before the second try is one and a half at most."""
    one, at, tries = collectors(), date_in(5).replace(microsecond=0), []

    class Noted(list):
        def pop(self, at=0):
            tries.append(time.time())
            return super().pop(at)

    one.answers = Noted([(503, {"Retry-After": email.utils.format_datetime(at, usegmt=True)}, b""), (200, {}, b"")])
    gateway = start({"tracing": {"otlp": {"endpoint": one.url, "sample": "100%"}}})
    gateway.call("write")
    until(lambda: len(tries) == 2, "it is sent again")
    assert tries[1] >= at.timestamp() - .1


@pytest.mark.parametrize("wish", ["Sun, 06 Nov 1994 08:49:37 GMT", "0"])
def test_a_date_that_is_past_is_now(start, collectors, provider, wish):
    one = collectors()
    one.answers = [(503, {"Retry-After": wish}, b"")] * 4
    gateway = start({"tracing": {"otlp": {"endpoint": one.url, "sample": "100%"}}})
    gateway.call("write")
    until(lambda: gateway.metrics().sum("otlp_spans_total", result="sent") == 2, "the fifth try is taken")
    assert len(one.requests) == 5
