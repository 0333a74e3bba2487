# SPDX-License-Identifier: Apache-2.0
"""An answer is its caller's: whatever a provider leaves out, adds or echoes, and whatever an argument holds."""
import json
import time
from urllib.parse import unquote

from harness.gateway import PATIENT

READ = {"read_only": True}


def gathered(gateway, provider, later, first, calls):
    """The calls (tool, arguments, headers) while the provider is busy with `first`, so that they leave together."""
    provider.hold()
    before = later(gateway.call, *first)
    provider.until_deliveries(1)
    futures = [later(lambda call=call: gateway.call(call[0], call[1], **call[2])) for call in calls]
    gateway.until_metric("batch_waiting_items", len(calls))
    provider.release()
    before.result(20)
    return [future.result(20) for future in futures]


def positions(start, provider):
    return start({"workers": 1, "cache": {"memory": {"size": "16MiB"}}, "upstreams": {"list": {
        **PATIENT, "dialect": "envelope", "envelope": {"item": "{arguments}"}, "endpoints": [{"url": provider.url("")}],
        "batch": {"in_flight": 1}}}, "tools": {
            "read": {"upstream": "list", "annotations": READ, "cache": {"ttl": "5m", "scope": "shared"}},
            "write": {"upstream": "list"}}})


def left_out(name):
    """Answers by position, and leaves out who is called so."""
    def behaviour(delivery, wire):
        wire.answer([{"secret_of": call["id"]} for call in json.loads(delivery.body) if call["id"] != name])
    return behaviour


def test_who_is_left_out_of_a_list_shifts_nobody(start, provider, later):
    gateway = positions(start, provider)
    provider.behaviour = left_out("bob")
    names = ["alice", "bob", "carol", "dave"]
    for repeat in range(2):  # fetched, then from memory
        calls = [("read", {"id": name}, {}) for name in names]
        replies = [gateway.call(tool, arguments) for tool, arguments, _ in calls] if repeat else \
            gathered(gateway, provider, later, ("read", {"id": "first"}), calls)
        for name, reply in zip(names, replies):
            if name == "bob":
                assert (reply.status, reply.json()["code"]) == (502, "upstream_error"), reply
            else:
                assert (reply.status, reply.json()) == (200, {"secret_of": name}), reply


def test_what_a_provider_says_unasked_gives_nobody_the_next_ones_answer(start, provider):
    """It speaks of itself just as a request is on its way, and answers that later: the next one is not given that."""
    def behaviour(delivery, wire):
        thing = json.loads(delivery.body)["variables"]["n"]
        if thing == 1:
            wire.answer({"event": "hello"})
            time.sleep(.1)
        wire.answer({"data": {"thing": {"of": thing}}})

    gateway = start({"workers": 1, "upstreams": {"shop": {
        "dialect": "graphql", "endpoints": [{"url": provider.url("/graphql")}], "batch": {"mode": "off"}}}, "tools": {
            "thing": {"upstream": "shop", "operation": "query ($n: Int!) { thing(n: $n) { of } }"}}})
    provider.behaviour = behaviour
    assert gateway.call("thing", {"n": 0}).json() == {"thing": {"of": 0}}
    assert gateway.call("thing", {"n": 1}).status == 502
    for n in range(2, 5):
        assert gateway.call("thing", {"n": n}).json() == {"thing": {"of": n}}


def test_a_body_where_http_has_none_is_nobodys_answer(start, provider):
    """With HEAD, and with a 204 that says how long it is: it comes late, when the next request may have left."""
    def behaviour(delivery, wire):
        if delivery.path.startswith("/none"):
            status = "204 No Content" if delivery.method == "DELETE" else "200 OK"
            wire.raw(f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: 44\r\n\r\n".encode())
            time.sleep(.05)
            wire.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n\"EVIL\"")
        else:
            wire.answer({"path": delivery.path})

    gateway = start({"workers": 1, "upstreams": {"web": {"dialect": "rest", "endpoints": [{"url": provider.url("")}]}}, "tools": {
        "head": {"upstream": "web", "request": {"method": "HEAD", "path": "/none/{n}"}},
        "delete": {"upstream": "web", "request": {"method": "DELETE", "path": "/none/{n}"}},
        "get": {"upstream": "web", "request": {"method": "GET", "path": "/some/{n}"}}}})
    provider.behaviour = behaviour
    for n, tool in enumerate(("head", "delete") * 4):
        assert gateway.call(tool, {"n": n}).json() is None
        assert gateway.call("get", {"n": n}).json() == {"path": f"/some/{n}"}


def test_writes_of_a_list_that_is_not_whole_are_unknown(start, provider, later):
    gateway = positions(start, provider)
    provider.behaviour = left_out("bob")
    calls = [("write", {"id": name}, {}) for name in ("alice", "bob", "carol")]
    replies = gathered(gateway, provider, later, ("write", {"id": "first"}), calls)
    assert [(reply.status, reply.json()["code"]) for reply in replies] == [(502, "outcome_unknown")] * 3
    assert len(provider.deliveries) == 2  # none was sent twice


def rpc_calls(delivery):
    said = json.loads(delivery.body)
    return said if isinstance(said, list) else [said]


def echoing_422(delivery, wire):
    """As FastAPI does: with all of its input."""
    if "poison" in delivery.body.decode():
        return wire.answer({"detail": [{"loc": ["body"], "input": json.loads(delivery.body)}]}, 422)
    answers = [{"jsonrpc": "2.0", "id": call["id"], "result": "done"} for call in rpc_calls(delivery)]
    return wire.answer(answers if delivery.body.startswith(b"[") else answers[0])


def test_nobody_reads_anothers_arguments_and_no_stranger_fails_a_write(start, provider, later):
    gateway = start({"workers": 1, "upstreams": {"rpc": {
        **PATIENT, "dialect": "jsonrpc", "endpoints": [{"url": provider.url("")}], "batch": {"in_flight": 1}}},
        "tools": {"pay": {"upstream": "rpc"}}})
    provider.behaviour = echoing_422
    alice, mallory = {"authorization": "Bearer alice"}, {"authorization": "Bearer mallory"}
    replies = gathered(gateway, provider, later, ("pay", {"n": 0}), [
        ("pay", {"card": "4111-ALICE"}, alice), ("pay", {"card": "4222-ALICE"}, alice),
        ("pay", {"card": "poison"}, mallory), ("pay", {"card": "5111-MALLORY"}, mallory)])
    assert [reply.status for reply in replies] == [200, 200, 502, 502]
    for reply in replies[2:]:
        assert "4111" not in reply.body.decode() and "5111" not in reply.body.decode(), reply
        assert "status 422; the request held 2 calls" in reply.json()["detail"]


def test_writes_that_were_too_many_are_sent_in_smaller_requests(start, provider, later):
    def behaviour(delivery, wire):
        if len(rpc_calls(delivery)) > 2:
            return wire.answer({"error": "too many"}, 413)
        return echoing_422(delivery, wire)

    gateway = start({"workers": 1, "upstreams": {"rpc": {
        **PATIENT, "dialect": "jsonrpc", "endpoints": [{"url": provider.url("")}], "batch": {"in_flight": 1}}},
        "tools": {"pay": {"upstream": "rpc"}}})
    provider.behaviour = behaviour
    replies = gathered(gateway, provider, later, ("pay", {"n": 0}), [("pay", {"n": n}, {}) for n in range(1, 9)])
    assert [reply.status for reply in replies] == [200] * 8


def test_no_argument_leaves_its_path(start, provider):
    gateway = start({"upstreams": {"web": {"dialect": "rest", "endpoints": [{"url": provider.url("/v1")}]}}, "tools": {
        "forecast": {"upstream": "web", "request": {"method": "GET", "path": "/forecast/{city}"}},
        "file": {"upstream": "web", "request": {"method": "GET", "path": "/files/{name+}"}},
        "login": {"upstream": "web", "request": {
            "path": "/login", "headers": {"Content-Type": "application/x-www-form-urlencoded"},
            "body": "user={user}&role=guest"}}}})
    provider.behaviour = lambda delivery, wire: wire.answer({"path": delivery.path, "body": delivery.body.decode()})
    for city in ("../admin/users", "a/../../admin/keys", "..%2fadmin", "%2e%2e", "..;x", "..\\admin", "%252e%252e%252f"):
        for tool, argument in (("forecast", "city"), ("file", "name")):
            reply = gateway.call(tool, {argument: city})
            assert (reply.status, reply.json()["code"]) == (400, "invalid_request"), (city, reply)
            assert f"'{argument}'" in reply.json()["detail"]
    assert provider.deliveries == []
    assert gateway.call("forecast", {"city": "São Paulo"}).json()["path"] == "/v1/forecast/S%C3%A3o%20Paulo"
    assert gateway.call("file", {"name": "a/b c"}).json()["path"] == "/v1/files/a/b%20c"
    said = gateway.call("login", {"user": "bob&role=admin&x="}).json()["body"]
    assert [unquote(part) for part in said.split("&")] == ["user=bob&role=admin&x=", "role=guest"]


def test_json_that_is_none_is_never_kept_nor_put_into_another_document(start, provider):
    gateway = start({"cache": {"memory": {"size": "16MiB"}}, "upstreams": {"web": {
        "dialect": "rest", "endpoints": [{"url": provider.url("")}]}}, "tools": {
            "read": {"upstream": "web", "annotations": READ, "cache": {"ttl": "5m", "scope": "shared"}}}})
    for body in (b'{"a":', b'{"a":1}}', b'{"a":1},"cache":"hit"', b"\xff", b"NaN"):
        provider.behaviour = lambda delivery, wire, body=body: wire.raw(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        reply = gateway.batch([{"tool": "read", "arguments": {"n": 1}}])
        assert reply.json()["results"][0]["status"] == 502, reply
    provider.behaviour = lambda delivery, wire: wire.answer({"good": 1})
    assert gateway.call("read", {"n": 1}).json() == {"good": 1}


# ---- what an id tells ----

WHOLE, FIRST, SECOND = 1 << 64, 0xbf58476d1ce4e5b9, 0x94d049bb133111eb


def mixed(number):
    """random_mix (base/random.h)."""
    number = (number ^ number >> 30) * FIRST % WHOLE
    number = (number ^ number >> 27) * SECOND % WHOLE
    return number ^ number >> 31


def unmixed(number):
    """What it was made of: the function keeps no secret."""
    def unshifted(value, by):
        found = value
        for _ in range(64 // by):
            found = value ^ found >> by
        return found

    number = unshifted(number, 31) * pow(SECOND, -1, WHOLE) % WHOLE
    number = unshifted(number, 27) * pow(FIRST, -1, WHOLE) % WHOLE
    return unshifted(number, 30)


def between(first, second):
    """How many steps lie between two ids, if they are steps of a sequence."""
    return (unmixed(second) - unmixed(first)) * pow(0x9e3779b97f4a7c15, -1, WHOLE) % WHOLE


def test_ids_do_not_tell_how_much_others_ask(start, provider):
    assert between(mixed(5), mixed(5 + 8 * 0x9e3779b97f4a7c15 % WHOLE)) == 8
    gateway = start({"workers": 1, "tracing": {"otlp": {"endpoint": "http://127.0.0.1:9", "sample": "100%"}}})

    def ids():
        reply = gateway.call("echo", {"q": 1})
        return [int(reply.header("x-request-id"), 16), int(provider.deliveries[-1].headers["traceparent"].split("-")[1][:16], 16)]

    first = ids()
    for _ in range(7):
        gateway.call("echo", {"q": 1})
    for one, other in zip(first, ids()):
        assert between(one, other) > 1000
