# SPDX-License-Identifier: Apache-2.0
"""POST /v1/tools/{tool}: results, statuses, problems, headers."""
import json
import re

import pytest

from harness import provider as behave
from harness.gateway import PATIENT, UNSENT
from harness.poll import given_time, until
from harness.wire import request_bytes

PROBLEM_KEYS = {"type", "title", "status", "detail", "code", "request_id", "retryable"}


def check_problem(reply, status, code, retryable):
    assert reply.status == status, reply
    assert reply.header("content-type") == "application/problem+json"
    problem = reply.json()
    assert problem["code"] == code
    assert PROBLEM_KEYS <= set(problem) <= PROBLEM_KEYS | {"upstream", "retry_after"}
    after = reply.header("retry-after")
    assert problem.get("retry_after") == (int(after) if after else None)
    assert problem["status"] == status
    assert problem["retryable"] is retryable
    assert problem["request_id"] == reply.header("x-request-id")
    assert problem["title"] and problem["detail"] and isinstance(problem["type"], str)
    return problem


def test_a_call_gets_its_result(gateway, provider):
    reply = gateway.call("echo", {"q": "hello"})
    assert reply.status == 200
    assert reply.header("content-type") == "application/json"
    assert reply.json() == {"echo": {"q": "hello"}}
    assert provider.deliveries[0].calls[0]["method"] == "echo"
    assert provider.deliveries[0].calls[0]["jsonrpc"] == "2.0"


def test_an_empty_body_is_an_empty_object(gateway, provider):
    reply = gateway.request("POST", "/v1/tools/echo", b"")
    assert reply.status == 200, reply
    assert provider.calls[0].get("params", {}) == {}


def test_a_post_without_any_body_is_an_empty_object(gateway):
    with gateway.connect() as connection:
        connection.send(b"POST /v1/tools/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        assert connection.reply().status == 200


def test_a_rest_call_fills_its_templates(gateway, provider):
    reply = gateway.call("item", {"id": "a b;c?ü", "q": "x&y=1"})
    assert reply.status == 200, reply
    assert provider.deliveries[0].method == "GET"
    assert provider.deliveries[0].path == "/api/items/a%20b%3Bc%3F%C3%BC?q=x%26y%3D1"
    assert provider.deliveries[0].body == b""


def test_a_rest_post_carries_the_arguments_as_they_came(gateway, provider):
    text = b'{ "to":"ada@example.org", "n" : 1.00, "n2":1e400 }'
    provider.behaviour = behave.answering(1)
    assert gateway.call("send", text).status == 200
    assert provider.deliveries[0].method == "POST"
    assert provider.deliveries[0].path == "/api/send"
    assert provider.deliveries[0].body == text
    assert provider.deliveries[0].headers["content-type"].startswith("application/json")


@pytest.mark.parametrize("text", [
    b"1.0", b"1e400", b"-0", b"123456789012345678901234567890123456", b'{ "a" : [ 1.00 , 2E+3 ] }',
    b'"\\u00e9\\ud83d\\ude00\\/"', b"null", b"true", b"[]", b'"' + "ü€😀".encode() + b'"',
])
def test_a_result_keeps_its_bytes(gateway, provider, text):
    provider.behaviour = behave.answering(text)
    assert gateway.call("echo").body == text
    assert gateway.call("cached").body == text
    assert gateway.call("cached").body == text


@pytest.mark.parametrize("text", [b'{"n":1.0}', b'{"n":1e400}', b'{"n":123456789012345678901234567890123456}',
                                  b'{"s":"\\u00e9\\ud83d\\ude00"}', b'{ "a" : [ 1 , 2 ] }'])
def test_arguments_travel_as_the_bytes_they_came_in(gateway, provider, text):
    provider.behaviour = behave.answering(1)
    assert gateway.call("echo", text).status == 200
    assert text in provider.deliveries[0].body


def test_the_configured_method_and_headers_are_sent(start, provider):
    gateway = start({"tools": {"echo": {"method": "web.search"}},
                     "upstreams": {"array": {"headers": {"Authorization": "Bearer ${TOKEN}", "X-Plain": "yes"}}}},
                    environment={"TOKEN": "s3cret"})
    assert gateway.call("echo", {"q": 1}).status == 200
    assert provider.calls[0]["method"] == "web.search"
    assert provider.deliveries[0].headers["authorization"] == "Bearer s3cret"
    assert provider.deliveries[0].headers["x-plain"] == "yes"


def test_the_callers_own_headers_do_not_reach_the_provider(gateway, provider):
    gateway.request("POST", "/v1/tools/echo", b"{}", {"Authorization": "Bearer mine", "Cookie": "a=b", "X-Odd": "1"})
    assert not {"cookie", "x-odd"} & set(provider.deliveries[0].headers)
    assert "authorization" not in provider.deliveries[0].headers


# ---- headers of answers ----


def test_a_request_id_is_made_or_kept(gateway):
    own, other = gateway.call("echo"), gateway.call("echo")
    assert own.header("x-request-id") and own.header("x-request-id") != other.header("x-request-id")
    assert gateway.call("echo", X_Request_Id="abc-1.2_3").header("x-request-id") == "abc-1.2_3"


def test_a_request_id_that_is_not_fit_is_replaced(gateway):
    for bad in ("a b", 'a"b', "x" * 300):
        assert gateway.call("echo", X_Request_Id=bad).header("x-request-id") not in (None, bad)


def test_an_answer_says_how_it_came_about(gateway):
    reply = gateway.call("cached", {"n": 1})
    assert re.fullmatch(r"jitney; fwd=miss; stored", reply.header("cache-status"))
    assert reply.header("x-batch-size") == "1"
    names = re.findall(r"(\w+)(?:;[^,]*)?", reply.header("server-timing").replace(" ", ""))
    assert {"cache", "queue", "upstream"} <= set(names)
    for part in reply.header("server-timing").split(","):
        assert re.fullmatch(r"\s*\w+;dur=[0-9.]+\s*", part), part
    again = gateway.call("cached", {"n": 1})
    assert again.header("cache-status").startswith("jitney; hit; ttl=")
    assert "detail=memory" in again.header("cache-status")
    assert again.header("age").isdigit()


def test_an_answer_says_no_more_than_it_must(start):
    gateway = start({"reply_headers": "minimal"})
    for _ in range(2):
        reply = gateway.call("cached", {"n": 1})
        assert reply.status == 200 and reply.json()
        assert set(reply.headers) == {"content-type", "content-length", "date", "etag", "x-request-id"}
    assert gateway.call("cached", {"n": 1}, If_None_Match=reply.header("etag")).status == 304
    assert "cache-status" not in gateway.call("missing").headers


def test_an_answer_not_stored_says_so(gateway):
    for tool in ("echo", "write"):     # not for the cache by configuration: "bypass" (RFC 9211, 2.2)
        assert gateway.call(tool).header("cache-status") == "jitney; fwd=bypass"
    assert gateway.call("cached", Cache_Control="no-store").header("cache-status") == "jitney; fwd=request"


# ---- problems ----


@pytest.mark.parametrize("body", [b"{", b"nonsense", b'{"a":1}{', b"{'a':1}", b'{"a":01}', b'{"a":1,"a":2}', b'{"a":NaN}',
                                  b'{"a":"\xff"}', b'{"a":"\\ud800"}', b"\xef\xbb\xbf{}"])
def test_invalid_json(gateway, provider, body):
    check_problem(gateway.call("echo", body), 400, "invalid_json", False)
    assert not provider.deliveries


@pytest.mark.parametrize("body", [b"[]", b"1", b'"text"', b"null"])
def test_arguments_must_be_an_object(gateway, body):
    check_problem(gateway.call("echo", body), 400, "invalid_request", False)


def test_too_deep_json_is_refused(gateway):
    reply = gateway.call("echo", b'{"a":' + b"[" * 200 + b"]" * 200 + b"}")
    assert reply.status == 400 and reply.code in ("invalid_json", "invalid_request")


def test_a_missing_rest_argument_is_named(gateway, provider):
    problem = check_problem(gateway.call("item", {"q": "1"}), 400, "invalid_request", False)
    assert "id" in problem["detail"]
    assert not provider.deliveries


def test_unknown_tool(gateway):
    check_problem(gateway.call("nothing_here"), 404, "unknown_tool", False)
    assert gateway.metrics().sum("rejected_total", reason="unknown_tool") == 1


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/tools/echo/more", "/v2/tools/echo", "/v1/tool"])
def test_not_found(gateway, path):
    check_problem(gateway.get(path), 404, "not_found", False)


@pytest.mark.parametrize("headers", [{"Content-Type": "text/xml"}, {"Content-Type": None}, {"Content-Type": "multipart/form-data; boundary=x"},
                                     {"Content-Encoding": "gzip"}])
def test_unsupported_media_type(gateway, provider, headers):
    check_problem(gateway.request("POST", "/v1/tools/echo", b"{}", headers), 415, "unsupported_media_type", False)
    assert not provider.deliveries


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/problem+json"])
def test_json_media_types_are_taken(gateway, kind):
    assert gateway.request("POST", "/v1/tools/echo", b"{}", {"Content-Type": kind}).status == 200


def test_payload_too_large(start, provider):
    gateway = start({"limits": {"body": "1KiB"}})
    check_problem(gateway.call("echo", b'{"a":"' + b"x" * 2000 + b'"}'), 413, "payload_too_large", False)
    assert gateway.call("echo", b'{"a":"' + b"x" * 900 + b'"}').status == 200
    assert len(provider.deliveries) == 1


def test_headers_too_large(gateway):
    reply = gateway.call("echo", X_Long="x" * 9000)
    assert reply.status == 431


@pytest.mark.parametrize("value", ["abc", "-1", "1.5", "0", "99999999999999999999"])
def test_a_bad_timeout_header_is_refused(gateway, value):
    reply = gateway.call("echo", X_Request_Timeout_Ms=value)
    if reply.status != 200:
        check_problem(reply, 400, "invalid_request", False)
    else:
        assert value == "99999999999999999999"


def test_a_bad_cache_control_is_refused(gateway):
    check_problem(gateway.call("cached", Cache_Control="max-age=soon"), 400, "invalid_request", False)


def test_tool_error_carries_what_the_provider_said(gateway, provider):
    provider.behaviour = behave.failing(-32000, "no such city", {"city": "Atlantis"})
    problem = check_problem(gateway.call("echo"), 502, "tool_error", False)
    assert "no such city" in json.dumps(problem["upstream"])
    assert "Atlantis" in json.dumps(problem["upstream"])


@pytest.mark.parametrize("number", [500, 502, 503])
def test_a_failing_provider_is_an_upstream_error(gateway, provider, number):
    provider.behaviour = behave.status(number)
    reply = gateway.call("echo")
    assert reply.status in (502, 503) and reply.code in ("upstream_error", "upstream_unavailable"), reply
    assert reply.json()["upstream"]["status"] == number


def test_a_rest_refusal_is_a_tool_error(gateway, provider):
    provider.behaviour = behave.status(404, b'{"error":"no such item"}')
    problem = check_problem(gateway.call("item", {"id": 1, "q": 2}), 502, "tool_error", False)
    assert problem["upstream"]["status"] == 404
    assert "no such item" in json.dumps(problem["upstream"])


def test_rate_limited_passes_retry_after_on(gateway, provider):
    provider.behaviour = behave.status(429, Retry_After="7")
    reply = gateway.call("echo")
    check_problem(reply, 429, "rate_limited", True)
    assert reply.header("retry-after") == "7"


def test_who_cannot_wait_as_long_as_the_provider_asks_is_told_so_at_once(start, provider):
    gateway = start({"tools": {tool: {"timeout": "60s"} for tool in ("cached", "item")}})
    provider.behaviour = behave.status(429, Retry_After="7")
    for tool in "cached", "item", "item":
        reply = gateway.call(tool, {"id": 1, "q": 2}, x_request_timeout_ms="2000")
        check_problem(reply, 429, "rate_limited", True)
        assert reply.header("retry-after") in ("7", "8")
    assert len(provider.deliveries) == 2  # an upstream each: the third was not sent


def test_upstream_unavailable(gateway, provider):
    provider.stop()
    check_problem(gateway.call("echo"), 503, "upstream_unavailable", True)
    check_problem(gateway.call("write"), 503, "upstream_unavailable", True)


def test_outcome_unknown_for_a_write_whose_answer_is_lost(gateway, provider):
    provider.behaviour = behave.close
    check_problem(gateway.call("write"), 502, "outcome_unknown", False)
    check_problem(gateway.call("send"), 502, "outcome_unknown", False)
    assert len(provider.deliveries) == 2


def test_a_lost_answer_of_a_read_is_an_upstream_error(gateway, provider):
    provider.behaviour = behave.close
    check_problem(gateway.call("echo"), 502, "upstream_error", True)


def test_a_deadline_while_the_provider_works(gateway, provider):
    provider.behaviour = behave.hang
    reply = gateway.call("echo", X_Request_Timeout_Ms="100")
    assert reply.status == 504 and reply.code in ("upstream_timeout", "deadline_exceeded"), reply

    def sent(milliseconds):
        reply = gateway.call("write", {"within": milliseconds}, X_Request_Timeout_Ms=str(milliseconds))
        return reply if reply.code not in UNSENT else None

    check_problem(given_time(sent), 502, "outcome_unknown", False)
    until(lambda: [call["method"] for call in provider.calls].count("write") == 1, "what was said not to be sent was not")


def test_upstream_timeout(start, provider):
    def sent(milliseconds):
        reply = start({"upstreams": {"array": {"timeout": f"{milliseconds}ms"}}}).call("echo")
        return reply if reply.code not in UNSENT else None

    provider.behaviour = behave.hang
    check_problem(given_time(sent, 150), 504, "upstream_timeout", True)


def test_a_tools_own_timeout(start, provider):
    gateway = start({"tools": {"echo": {"timeout": "100ms"}}})
    provider.behaviour = behave.hang
    reply = gateway.call("echo")
    assert reply.status == 504, reply


def test_not_cached(gateway, provider):
    check_problem(gateway.call("cached", Cache_Control="only-if-cached"), 504, "not_cached", False)
    assert not provider.deliveries


def test_a_full_queue_is_overloaded(start, provider, later):
    gateway = start({"upstreams": {"array": {**PATIENT, "batch": {"in_flight": 1, "items": 1}, "queue": {"items": 2, "wait": "120s"}}}})
    provider.hold()
    first = later(gateway.call, "echo", {"n": 0})
    provider.until_deliveries(1)
    waiting = [later(gateway.call, "echo", {"n": n}) for n in (1, 2)]
    gateway.until_metric("batch_waiting_items", 2)
    reply = gateway.call("echo", {"n": 3})
    check_problem(reply, 503, "overloaded", True)
    assert int(reply.header("retry-after")) >= 1
    assert gateway.metrics().sum("rejected_total", reason="queue_items") == 1
    provider.release()
    assert [future.result(20).status for future in [first, *waiting]] == [200] * 3


def test_the_in_flight_limit_is_overloaded(start, provider, later):
    gateway = start({"limits": {"in_flight": 2}})
    provider.hold()
    waiting = [later(gateway.call, "echo", {"n": n}) for n in (0, 1)]
    gateway.until_metric("in_flight_requests", 2)
    check_problem(gateway.call("echo", {"n": 2}), 503, "overloaded", True)
    assert gateway.metrics().sum("rejected_total", reason="in_flight") == 1
    provider.release()
    assert [future.result(20).status for future in waiting] == [200] * 2
    assert gateway.call("echo", {"n": 3}).status == 200


def test_an_answer_beyond_its_cap_is_refused(start, provider):
    gateway = start({"upstreams": {"array": {"answer": "64KiB"}}})
    provider.behaviour = behave.answering("x" * 100_000)
    reply = gateway.call("echo")
    assert reply.status == 502 and reply.code == "upstream_error", reply
    assert reply.json()["retryable"] is False and len(provider.deliveries) == 1, "it would be as long the next time"
    provider.behaviour = behave.echo
    assert gateway.call("echo").status == 200


def test_large_arguments_and_results_pass(gateway, provider):
    text = json.dumps({"a": "x" * 3_000_000}).encode()
    reply = gateway.call("echo", text)
    assert reply.status == 200 and len(reply.body) > 3_000_000


def test_calls_are_counted_by_tool_and_outcome(gateway, provider):
    gateway.call("echo")
    provider.next(behave.failing(1, "no"))
    gateway.call("echo")
    until(lambda: gateway.metrics().sum("requests_total") == 2, "both calls are counted")
    assert gateway.metrics().sum("requests_total", tool="echo", outcome="ok") == 1
    assert gateway.metrics().sum("requests_total", tool="echo", outcome="tool_error") == 1
    assert gateway.metrics().sum("request_duration_seconds_count", tool="echo") == 2
    assert gateway.metrics().sum("in_flight_requests") == 0
    gateway.until_metric("in_flight_bytes", 0)


def test_a_client_that_leaves_is_noticed(gateway, provider):
    provider.hold()
    with gateway.connect() as connection:
        connection.send(request_bytes("POST", "/v1/tools/echo", b"{}"))
        provider.until_deliveries(1)
    gateway.until_metric("clients_gone_total", 1)
    gateway.until_metric("in_flight_requests", 0)
    provider.release()
    assert gateway.call("echo").status == 200


def test_traceparent_and_idempotency_key_go_with_a_lone_call(gateway, provider):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    gateway.call("write", {}, traceparent=trace, Idempotency_Key="key-1")
    headers = provider.deliveries[0].headers
    assert headers.get("idempotency-key") == "key-1"
    assert headers.get("traceparent", "").split("-")[1:2] == ["0af7651916cd43dd8448eb211c80319c"]


# ---- retryable: what would happen if the same call were sent again ----------------------------------------------------

@pytest.mark.parametrize("tool, retryable", [("echo", True), ("write", False)])
def test_a_500_is_retryable_only_for_calls_that_may_be_repeated(gateway, provider, tool, retryable):
    provider.behaviour = behave.status(500)
    reply = gateway.call(tool)
    assert reply.code == "upstream_error" and reply.json()["retryable"] is retryable, reply


def test_refused_credentials_are_not_worth_a_retry(gateway, provider):
    provider.behaviour = behave.status(401)
    assert gateway.call("echo").json()["retryable"] is False
