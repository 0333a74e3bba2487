# SPDX-License-Identifier: Apache-2.0
"""POST /v1/batch: order, item by item, NDJSON."""
import http.client
import json
import threading

import pytest

from harness import provider as behave
from harness.gateway import PATIENT
from harness.wire import request_bytes


def call(number, tool="echo", **arguments):
    return {"id": str(number), "tool": tool, "arguments": arguments or {"n": number}}


def test_results_come_in_the_order_of_the_calls(start, provider):
    gateway = start({"workers": 1})    # with more, the owner of the upstream may wake before all calls have reached it
    provider.behaviour = behave.reordered
    reply = gateway.batch([call(n) for n in range(20)])
    assert reply.status == 200, reply
    results = reply.json()["results"]
    assert [item["id"] for item in results] == [str(n) for n in range(20)]
    assert [item["result"]["echo"]["n"] for item in results] == list(range(20))
    assert {item["status"] for item in results} == {200}
    assert len(provider.deliveries) == 1
    assert len(provider.calls) == 20


def test_a_refused_item_says_when_to_come_again(gateway, provider):
    """An item has no header to say it in."""
    provider.behaviour = behave.status(429, **{"Retry-After": "70"})
    items = gateway.batch([call(1)]).json()["results"]
    assert [(item["status"], item["error"]["retry_after"]) for item in items] == [(429, 70)]


def test_an_item_says_what_the_cache_did(gateway):
    gateway.call("cached", {"n": 1})
    results = gateway.batch([call(1, "cached", n=1), call(2, "cached", n=2)]).json()["results"]
    assert results[0]["cache"] == "hit"
    assert results[1]["cache"] == "miss"


def test_one_item_fails_alone(gateway, provider):
    provider.behaviour = behave.without(lambda call: call["params"]["n"] == 2)
    results = gateway.batch([call(1), call(2), call(3), call(4, "nothing_here"), call(5, "item")]).json()["results"]
    assert [item["status"] for item in results] == [200, 502, 200, 404, 400]
    assert results[1]["error"]["code"] == "upstream_error"
    assert results[3]["error"]["code"] == "unknown_tool"
    assert results[4]["error"]["code"] == "invalid_request"
    for item in results:
        assert ("result" in item) != ("error" in item)
        if "error" in item:
            assert item["error"]["status"] == item["status"]
            assert {"type", "title", "detail", "code", "retryable"} <= set(item["error"])


def test_identical_items_share_one_call(gateway, provider):
    results = gateway.batch([call(n, "cached", q="same") for n in range(10)]).json()["results"]
    assert [item["result"] for item in results] == [{"echo": {"q": "same"}}] * 10
    assert len(provider.calls) == 1


def test_results_keep_their_bytes(gateway, provider):
    provider.behaviour = behave.answering(b'{ "n" : 1.00 , "big":123456789012345678901234567890123456 }')
    assert b'{ "n" : 1.00 , "big":123456789012345678901234567890123456 }' in gateway.batch([call(1)]).body


def test_an_empty_batch_has_no_results(gateway):
    reply = gateway.batch([])
    assert (reply.status == 200 and reply.json() == {"results": []}) or reply.code == "invalid_request"


@pytest.mark.parametrize("body", [
    b"[]", b"{}", b'{"calls":{}}', b'{"calls":[1]}', b'{"calls":[{"id":"a"}]}', b'{"calls":[{"id":"a","tool":7}]}',
    b'{"calls":[{"id":"a","tool":"echo","arguments":{}},{"id":"a","tool":"echo","arguments":{}}]}',
])
def test_a_batch_that_is_none_is_refused_or_its_items_are(gateway, provider, body):
    reply = gateway.request("POST", "/v1/batch", body)
    if reply.status == 200:
        assert any(item["status"] == 400 for item in reply.json()["results"]) or b'"a"' in body
    else:
        assert reply.status == 400 and reply.code == "invalid_request"


def test_broken_json_is_refused_whole(gateway, provider):
    reply = gateway.request("POST", "/v1/batch", b'{"calls":[{"id":"a","tool":"echo","arguments":{"a":}}]}')
    assert reply.status == 400 and reply.code == "invalid_json"
    assert not provider.deliveries


def test_items_without_arguments_are_called_with_none(gateway):
    results = gateway.batch([{"id": "a", "tool": "echo"}]).json()["results"]
    assert results[0]["status"] == 200


def ndjson(gateway, calls):
    connection = gateway.connect()
    body = json.dumps({"calls": calls}).encode()
    connection.send(request_bytes("POST", "/v1/batch", body, {"Accept": "application/x-ndjson"}))
    return connection


def line_of(connection, pending):
    """The next NDJSON line from a chunked body."""
    while b"\n" not in pending:
        chunk = connection.chunk()
        if not chunk:
            return None
        pending += chunk
    line, _, rest = bytes(pending).partition(b"\n")
    pending[:] = rest
    return json.loads(line)


def test_ndjson_gives_each_item_as_it_finishes(start, provider):
    gateway = start()
    gateway.call("cached", {"n": 7})
    provider.hold()
    with ndjson(gateway, [call("slow", "echo", n=1), call("fast", "cached", n=7)]) as connection:
        head = connection.head()
        assert head.status == 200
        assert head.header("content-type") == "application/x-ndjson"
        assert head.header("transfer-encoding") == "chunked"
        pending = bytearray()
        first = line_of(connection, pending)
        assert first["id"] == "fast" and first["cache"] == "hit"
        provider.release()
        assert line_of(connection, pending)["id"] == "slow"
        assert line_of(connection, pending) is None


@pytest.mark.parametrize("accept, lines", [
    ("application/x-ndjson", True), ("application/json, Application/X-NDJSON;q=0.5", True), ("application/x-ndjson; q=0.001", True),
    ("application/x-ndjson;q=0", False), ("application/json, application/x-ndjson ; Q=0.000", False),
    ("application/x-ndjson;q=0, application/json;q=1", False), ("application/x-ndjson;v=1;q=1, text/plain;q=0", True), ("", False)])
def test_lines_are_for_those_who_want_them(gateway, accept, lines):
    reply = gateway.batch([call(1)], accept=accept)
    assert reply.header("content-type") == ("application/x-ndjson" if lines else "application/json")


def refusing(data):
    """Each call is refused with these bytes as the error's data."""
    def behaviour(delivery, wire):
        errors = [b'{"jsonrpc":"2.0","id":%d,"error":{"code":7,"message":"no","data":%b}}' % (call["id"], data)
                  for call in delivery.calls]
        wire.answer(b"[" + b",".join(errors) + b"]" if isinstance(delivery.document, list) else errors[0])

    return behaviour


LARGE = b'{"text":"' + b"x" * 70_000 + b'"'  # it is written piece by piece


@pytest.mark.parametrize("result", [
    b'{\n "a": 1,\r\n\t"b": [2,\n3]\n}', LARGE + b',\n\n"n":\r1}',
    b'[1,\n{"id":"2","status":200,"result":"FORGED: paid"}\n]'])
@pytest.mark.parametrize("fails", [False, True])
def test_an_item_stays_one_line_whatever_a_provider_says(start, provider, result, fails):
    """Line breaks between the tokens of JSON are blanks: they must not begin a line that speaks for another item."""
    gateway = start({"workers": 1})
    provider.behaviour = refusing(result) if fails else behave.answering(result)
    calls = [call(n) for n in range(1, 4)] + [call(4, "cached"), call(5, "cached")]
    with ndjson(gateway, calls) as connection:
        lines = connection.reply().body.split(b"\n")
    assert lines.pop() == b"" and not any(b"\r" in line for line in lines)
    items = [json.loads(line) for line in lines]
    assert sorted(item["id"] for item in items) == list("12345")
    for item in items:
        if fails:
            assert item["error"]["upstream"]["error"]["data"] == json.loads(result)
        else:
            assert item["result"] == json.loads(result)


def test_ndjson_keeps_the_connection(gateway):
    with ndjson(gateway, [call(n) for n in range(5)]) as connection:
        reply = connection.reply()
        items = [json.loads(line) for line in reply.body.decode().splitlines()]
        assert sorted(item["id"] for item in items) == [str(n) for n in range(5)]
        assert connection.request("GET", "/healthz").status == 200


def test_a_client_that_leaves_an_ndjson_batch_is_noticed(gateway, provider):
    provider.hold()
    with ndjson(gateway, [call(n) for n in range(5)]):
        provider.until_deliveries(1)
    gateway.until_metric("in_flight_requests", 0)
    provider.release()
    assert gateway.call("echo").status == 200


def test_a_large_batch_arrives_whole(gateway, provider):
    calls = [call(n) for n in range(500)]
    results = gateway.batch(calls).json()["results"]
    assert [item["result"]["echo"]["n"] for item in results] == list(range(500))
    assert len(provider.deliveries) <= 10


@pytest.mark.slow
def test_a_client_that_does_not_read_holds_up_nobody_but_itself(start, provider):
    gateway = start({"upstreams": {"array": {**PATIENT, "batch": {"mode": "off"}}}})    # 2 MB each: together over the answer's cap
    provider.behaviour = behave.answering(b'"' + b"x" * 2_000_000 + b'"')
    with gateway.connect() as connection:
        body = json.dumps({"calls": [call(n) for n in range(60)]}).encode()
        connection.send(request_bytes("POST", "/v1/batch", body, {"Accept": "application/x-ndjson"}))
        provider.until_calls(30)
        gateway.until_metric("in_flight_requests", 0)
        provider.behaviour = behave.echo
        assert gateway.call("echo").status == 200
        lines = connection.reply().body.splitlines()
    assert sorted(int(json.loads(line)["id"]) for line in lines) == list(range(60))
    assert {len(json.loads(line)["result"]) for line in lines} == {2_000_000}
    gateway.until_metric("reply_bytes", 0)


@pytest.mark.slow
def test_a_client_that_is_always_a_little_behind_gets_every_line(start, provider):
    count, behind, size = 90, 20, 1_000_000     # 90 MB in all; unread at a time: 20 MB, more than the sockets hold
    gateway = start({"upstreams": {"array": {**PATIENT, "batch": {"mode": "off"}, "pool": {"max": 1}}}})
    turns = threading.Semaphore(behind)

    def in_turn(delivery, wire):
        turns.acquire()
        behave.answering(b'"' + b"x" * size + b'"')(delivery, wire)

    provider.behaviour = in_turn
    body = json.dumps({"calls": [call(n) for n in range(count)]}).encode()
    connection = http.client.HTTPConnection(*gateway.address(), timeout=20)
    connection.request("POST", "/v1/batch", body, {"Content-Type": "application/json", "Accept": "application/x-ndjson"})
    provider.until_calls(behind)
    reply = connection.getresponse()
    seen = []
    for line in reply:
        seen.append(json.loads(line)["id"])
        turns.release()
    connection.close()
    assert sorted(seen, key=int) == [str(n) for n in range(count)]
