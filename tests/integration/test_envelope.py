# SPDX-License-Identifier: Apache-2.0
"""The envelope dialect, against providers that follow the published rules of Microsoft Graph, Elasticsearch and OData."""
import json
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.gateway import PATIENT
from harness.poll import until

REPEATABLE = {"read_only": True}
GRAPH_MAX = 20
CALLERS = 30
CALLS = 100


def graph_refusal(wire, message):
    return wire.answer({"error": {"code": "BadRequest", "message": message}}, 400)


def graph_item(request):
    """What one request of a batch gets."""
    name = request["url"].removeprefix("/users/")
    if name.startswith("busy"):
        return {"id": request["id"], "status": 429, "headers": {"Retry-After": "7"},
                "body": {"error": {"code": "TooManyRequests", "message": f"{name} has to wait"}}}
    if name.startswith("gone"):
        return {"id": request["id"], "status": 404, "body": {"error": {"code": "NotFound", "message": name}}}
    return {"id": request["id"], "status": 200, "headers": {"Content-Type": "application/json"},
            "body": {"name": name, "method": request["method"]}}


def graph(delivery, wire):
    """Graph's $batch: at most 20 requests, ids that are unique strings, relative URLs; answers in any order."""
    requests = json.loads(delivery.body)["requests"]
    ids = {request["id"] for request in requests}
    if (delivery.method, delivery.path) != ("POST", "/v1.0/$batch"):
        return graph_refusal(wire, "not a batch")
    if not 1 <= len(requests) <= GRAPH_MAX:
        return graph_refusal(wire, f"{len(requests)} requests")
    if len(ids) < len(requests) or not all(isinstance(each, str) for each in ids):
        return graph_refusal(wire, "ids")
    if any("body" in request and "Content-Type" not in request.get("headers", {}) for request in requests):
        return graph_refusal(wire, "a body without its type")
    responses = [graph_item(request) for request in requests]
    random.shuffle(responses)
    return wire.answer({"responses": responses})


def found(index, query):
    """What one search of a batch gets."""
    if query["match"]["title"].startswith("bad"):
        error = {"type": "parsing_exception", "reason": f"cannot parse {query['match']['title']}"}
        return {"error": error, "status": 400}
    return {"took": 1, "hits": {"index": index, "title": query["match"]["title"]}, "status": 200}


def msearch(delivery, wire):
    """Elasticsearch's _msearch: lines in pairs, header and search, the last one with its newline; answers in order."""
    lines = delivery.body.split(b"\n")
    typed = delivery.headers["content-type"] == "application/x-ndjson"
    if (delivery.method, delivery.path) != ("POST", "/_msearch") or not typed or lines.pop() != b"" or len(lines) % 2:
        return wire.answer({"error": {"type": "illegal_argument_exception", "reason": "malformed"}, "status": 400}, 400)
    pairs = [(json.loads(header), json.loads(search)) for header, search in zip(lines[::2], lines[1::2])]
    return wire.answer({"took": 3, "responses": [found(header["index"], search["query"]) for header, search in pairs]})


def bulk_item(action, meta, document):
    """What one action of a bulk request gets."""
    item = {"_index": meta["_index"], "_id": meta.get("_id", "auto")}
    if action == "delete":
        return {action: {**item, "result": "not_found", "status": 404}}
    if document.get("title") == "full":
        reason = {"type": "es_rejected_execution_exception", "reason": "the queue is full"}
        return {action: {**item, "status": 429, "error": reason}}
    if document.get("title", "").startswith("bad"):
        reason = {"type": "mapper_parsing_exception", "reason": f"cannot map {document['title']}"}
        return {action: {**item, "status": 400, "error": reason}}
    return {action: {**item, "_title": document["title"], "result": "created", "status": 201}}


def bulk(delivery, wire):
    """Elasticsearch's _bulk: an action a line, a document behind all but delete, a newline at the end; items in order."""
    lines = delivery.body.split(b"\n")
    if (delivery.method, delivery.path) != ("POST", "/_bulk") or lines.pop() != b"":
        return wire.answer({"error": {"reason": "must be terminated by a newline"}, "status": 400}, 400)
    if delivery.headers["content-type"] != "application/x-ndjson":
        return wire.answer({"error": "Content-Type header is not supported", "status": 406}, 406)
    items, lines = [], [json.loads(line) for line in lines]
    while lines:
        (action, meta), = lines.pop(0).items()
        items.append(bulk_item(action, meta, None if action == "delete" else lines.pop(0)))
    failed = any(item["status"] >= 400 for each in items for item in each.values())
    return wire.answer({"took": 30, "errors": failed, "items": items})


def odata_item(request):
    if request["url"].startswith("/"):
        return {"id": request["id"], "status": 400, "body": {"error": {"message": "not relative"}}}
    if request["url"].startswith("Orders(gone"):
        return {"id": request["id"], "status": 404, "body": {"error": {"code": "404", "message": request["url"]}}}
    if request["method"].lower() == "delete":
        return {"id": request["id"], "status": 204}
    return {"id": request["id"], "status": 200, "headers": {"content-type": "application/json"},
            "body": {"url": request["url"], "sent": request.get("body")}}


def odata(delivery, wire):
    """OData 4.01's JSON batch: unique ids, relative URLs; it ends at the first error unless told to continue."""
    requests = json.loads(delivery.body)["requests"]
    if (delivery.method, delivery.path) != ("POST", "/service/$batch") or len({each["id"] for each in requests}) < len(requests):
        return wire.answer({"error": {"message": "malformed"}}, 400)
    responses = [odata_item(request) for request in requests]
    if "continue-on-error" not in delivery.headers.get("prefer", ""):
        first = next((n for n, each in enumerate(responses) if each["status"] >= 400), len(responses))
        responses = responses[:first + 1]
    random.shuffle(responses)
    return wire.answer({"responses": responses}, headers={"OData-Version": "4.01"})


def sizes(provider, size_of):
    return [size_of(delivery.body) for delivery in provider.deliveries]


def graph_size(body):
    return len(json.loads(body)["requests"])


def msearch_size(body):
    return body.count(b"\n") // 2


def gateway_for(start, upstream, tools):
    tools = {name: {"upstream": "batches", "annotations": REPEATABLE, **tool} for name, tool in tools.items()}
    return start({"workers": 1, "upstreams": {"batches": {"dialect": "envelope", **PATIENT, **upstream}}, "tools": tools})


@pytest.fixture
def directory(start, provider):
    provider.behaviour = graph
    return gateway_for(start, {"endpoints": [{"url": provider.url("/v1.0")}], "envelope": {"preset": "microsoft-graph"},
                               "batch": {"in_flight": 2}},
                       {"user": {"request": {"method": "GET", "path": "/users/{name}"}}})


@pytest.fixture
def index(start, provider):
    provider.behaviour = msearch
    body = '{"index": {index}}\n{"query": {"match": {"title": {title}}}}'
    return gateway_for(start, {"endpoints": [{"url": provider.url("")}], "batch": {"items": 20, "in_flight": 2},
                               "envelope": {"preset": "elasticsearch-msearch"}},
                       {"search": {"request": {"body": body}}})


@pytest.fixture
def documents(start, provider):
    provider.behaviour = bulk
    return gateway_for(start, {"endpoints": [{"url": provider.url("")}], "batch": {"items": 20, "in_flight": 2},
                               "envelope": {"preset": "elasticsearch-bulk"}},
                       {"index": {}, "delete": {"request": {"body": '{"delete": {"_index": {index}, "_id": {id}}}'}}})


@pytest.fixture
def orders(start, provider):
    provider.behaviour = odata
    return gateway_for(start, {"endpoints": [{"url": provider.url("/service")}], "batch": {"in_flight": 2},
                               "envelope": {"preset": "odata-json", "max": 20}},
                       {"order": {"request": {"method": "GET", "path": "/Orders({key})"}},
                        "change": {"request": {"method": "PATCH", "path": "/Orders({key})", "body": '{"Amount": {amount}}'}},
                        "drop": {"request": {"method": "DELETE", "path": "/Orders({key})"}}})


def from_many_callers(gateway, provider, tool, arguments):
    """Each of `arguments` called once, by 30 callers at once whose first calls meet a busy provider."""
    provider.hold()
    with ThreadPoolExecutor(CALLERS) as callers:
        futures = [callers.submit(gateway.call, tool, each) for each in arguments]
        gateway.until_metric("in_flight_requests", CALLERS)
        provider.release()
        return [future.result(30) for future in futures]


def test_a_hundred_graph_calls_of_thirty_callers_each_get_their_own_answer(directory, provider):
    names = [f"u{n}" for n in range(CALLS)]
    replies = from_many_callers(directory, provider, "user", [{"name": name} for name in names])
    assert [reply.status for reply in replies] == [200] * CALLS
    assert [reply.json() for reply in replies] == [{"name": name, "method": "GET"} for name in names]
    assert sum(sizes(provider, graph_size)) == CALLS
    assert 1 < max(sizes(provider, graph_size)) <= GRAPH_MAX
    assert len(provider.deliveries) < CALLS


def test_a_full_graph_batch_holds_twenty(directory, provider, crowd):
    replies = crowd(directory, lambda n: directory.call("user", {"name": f"u{n}"}), range(64))
    assert [reply.json()["name"] for reply in replies] == [f"u{n}" for n in range(64)]
    assert max(sizes(provider, graph_size)) == GRAPH_MAX


def test_a_busy_graph_item_is_its_own_callers_error_with_its_retry_after(directory, provider):
    names = ["busy" if n == 40 else "gone" if n == 41 else f"u{n}" for n in range(50)]
    provider.hold()
    with ThreadPoolExecutor(len(names)) as callers:
        futures = [callers.submit(directory.call, "user", {"name": name}) for name in names]
        directory.until_metric("in_flight_requests", len(names))
        provider.release()
        replies = dict(zip(names, (future.result(30) for future in futures)))
    busy, gone = replies.pop("busy"), replies.pop("gone")
    assert {name: reply.json()["name"] for name, reply in replies.items()} == {name: name for name in replies}
    assert (busy.status, busy.json()["upstream"]["status"], busy.header("retry-after")) == (429, 429, "7")
    assert "busy has to wait" in busy.body.decode()
    assert gone.json()["upstream"]["status"] == 404
    assert max(sizes(provider, graph_size)) <= GRAPH_MAX


def test_a_hundred_searches_of_thirty_callers_each_get_their_own_answer(index, provider):
    titles = [f"bad{n}" if n % 10 == 3 else f"t{n}\n{n}" for n in range(CALLS)]
    calls = [{"index": f"i{n % 3}", "title": title} for n, title in enumerate(titles)]
    replies = from_many_callers(index, provider, "search", calls)
    for call, reply in zip(calls, replies):
        if call["title"].startswith("bad"):
            assert reply.status >= 400 and f"cannot parse {call['title']}" in reply.body.decode(), reply
        else:
            assert reply.status == 200 and reply.json()["hits"] == call, reply
    assert sum(sizes(provider, msearch_size)) == CALLS
    assert 1 < max(sizes(provider, msearch_size)) <= 20


def bulk_size(body):
    return len([line for line in body.split(b"\n") if line.startswith((b'{"index":{"_index"', b'{"delete"'))])


def test_a_hundred_documents_are_indexed_and_deleted_in_order_of_their_calls(documents, provider, crowd):
    def call(n):
        if n % 10 == 4:
            return documents.call("delete", {"index": "books", "id": f"{n}"})
        title = "full" if n == 50 else f"bad{n}" if n % 10 == 3 else f"t{n}\n\\u0000\"{n}"
        return documents.call("index", {"index": f"i{n % 3}", "document": {"title": title}})

    replies = crowd(documents, call, range(CALLS))
    for n, reply in enumerate(replies):
        if n % 10 == 4:
            assert (reply.status, reply.json()["upstream"]["status"]) == (502, 404), reply
            assert reply.json()["upstream"]["error"]["_id"] == f"{n}"
        elif n == 50:
            assert (reply.status, reply.json()["upstream"]["status"]) == (429, 429), reply
        elif n % 10 == 3:
            assert (reply.status, reply.json()["upstream"]["status"]) == (502, 400), reply
            assert f"cannot map bad{n}" in reply.body.decode()
        else:
            assert reply.status == 200, reply
            assert reply.json() == {"_index": f"i{n % 3}", "_id": "auto", "_title": f"t{n}\n\\u0000\"{n}",
                                    "result": "created", "status": 201}
    assert sum(sizes(provider, bulk_size)) == CALLS
    assert 1 < max(sizes(provider, bulk_size)) <= 20


def test_orders_of_many_callers_go_on_after_an_error(orders, provider, crowd):
    def call(n):
        if n % 10 == 7:
            return orders.call("drop", {"key": n})
        if n % 10 == 5:
            return orders.call("change", {"key": n, "amount": n})
        return orders.call("order", {"key": f"gone{n}" if n % 10 == 3 else n})

    replies = crowd(orders, call, range(CALLS))
    for n, reply in enumerate(replies):
        if n % 10 == 3:
            assert (reply.status, reply.json()["upstream"]["status"]) == (502, 404), reply
            assert f"gone{n}" in reply.body.decode()
        elif n % 10 == 7:
            assert (reply.status, reply.json()) == (200, None), reply
        else:
            sent = {"Amount": n} if n % 10 == 5 else None
            assert (reply.status, reply.json()) == (200, {"url": f"Orders({n})", "sent": sent}), reply
    assert sum(sizes(provider, graph_size)) == CALLS
    assert 1 < max(sizes(provider, graph_size)) <= 20


def test_a_multi_status_answer_is_many_answers(start, provider, together):
    def multi_status(delivery, wire):
        keys = json.loads(delivery.body)
        return wire.answer({"results": [{"id": each["id"], "code": 207 if each["n"] % 2 else 200, "is": each["n"]}
                                        for each in keys]}, 207)

    provider.behaviour = multi_status
    gateway = gateway_for(start, {"endpoints": [{"url": provider.url("/many")}],
                                  "envelope": {"item": '{"id": {id}, "n": {n}}', "list": "results", "id": "id",
                                               "status": "code", "result": "is", "errors": "207, 400-599"}},
                          {"one": {}})
    replies = together(lambda n: gateway.call("one", {"n": n}), range(40))
    assert [(reply.status, n % 2) for n, reply in enumerate(replies)] == [(502 if n % 2 else 200, n % 2) for n in range(40)]
    assert [reply.json() for reply in replies[::2]] == list(range(0, 40, 2))


def test_a_batch_that_is_refused_as_a_whole_costs_the_culprit_only(directory, provider, together):
    def refuses_poison(delivery, wire):
        if b"/users/poison" in delivery.body:
            return graph_refusal(wire, "the poison")
        return graph(delivery, wire)

    provider.behaviour = refuses_poison
    names = ["poison" if n == 7 else f"u{n}" for n in range(32)]
    replies = together(lambda name: directory.call("user", {"name": name}), names)
    until(lambda: directory.metrics().sum("batch_in_flight") == 0, "all batches have completed")
    assert [name for name, reply in zip(names, replies) if reply.status != 200] == ["poison"]
    assert "the poison" in replies[7].body.decode()
