# SPDX-License-Identifier: Apache-2.0
"""Key lists of the rest dialect, against a provider that decodes its query as web frameworks do."""
import json
from urllib.parse import parse_qs, unquote

import pytest

from harness.gateway import PATIENT

MAX = 20
NAMES = {"1": "one", "é &,#?": "odd", "a/b": "slash"}


def keys_of(delivery):
    """As sent (split before decoding), for what was asked and for the cap."""
    query = delivery.path.partition("?")[2]
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name == "ids":
            return [unquote(key) for key in value.split(",")]
    return parse_qs(query, keep_blank_values=True).get("sku", [])


def person(key, lang):
    return {"id": int(key) if key.isdigit() else key, "name": NAMES.get(key, f"name {key}"), "lang": lang}


def people(delivery, wire):
    keys, query = keys_of(delivery), parse_qs(delivery.path.partition("?")[2])
    if delivery.method != "GET" or delivery.body or len(keys) > MAX or len(set(keys)) < len(keys):
        return wire.answer({"error": "not like this"}, 400)
    if "poison" in keys:
        return wire.answer({"error": "poison is no key"}, 400)
    if delivery.path.startswith("/prices"):
        return wire.answer({key: {"amount": len(key)} for key in keys if key != "gone"})
    items = [person(key, query.get("lang", [""])[0]) for key in reversed(keys) if not key.startswith("gone")]
    return wire.answer({"total": len(items), "items": items, "next": None})


@pytest.fixture
def directory(start, provider):
    provider.behaviour = people
    tool = {"upstream": "people", "annotations": {"read_only": True}}
    return start({"workers": 1, "upstreams": {"people": {
        "dialect": "rest", "endpoints": [{"url": provider.url("")}], **PATIENT, "batch": {"in_flight": 1}}}, "tools": {
            "user": {**tool, "request": {"path": "/users", "query": {"lang": "{lang?}"}, "key_list": {
                "parameter": "ids", "argument": "id", "list": "items", "key": "id", "max": MAX}}},
            "price": {**tool, "request": {"path": "/prices", "key_list": {
                "parameter": "sku", "argument": "sku", "separator": "&sku=", "result": "amount", "missing": "null"}}},
            "plain": {**tool, "request": {"method": "GET", "path": "/users", "query": {"ids": "{id}"}}}}})


def test_each_caller_gets_the_item_with_its_key(directory, provider, call_all):
    odd = ["1", "é &#?", "a/b", "name with blanks"]
    keys = [odd[n] if n < len(odd) else f"gone{n}" if n % 10 == 7 else n if n % 2 else str(n) for n in range(60)]
    replies = call_all(directory, [("user", {"id": key}) for key in keys])
    for key, reply in zip(keys, replies):
        if str(key).startswith("gone"):
            assert (reply.status, reply.json()["code"]) == (502, "tool_error"), reply
            assert "nothing under this key" in reply.json()["detail"]
        else:
            assert (reply.status, reply.json()) == (200, person(str(key), "")), reply
    assert max(len(keys_of(delivery)) for delivery in provider.deliveries) == MAX
    alone = [keys_of(delivery)[0] for delivery in provider.deliveries[1:] if len(keys_of(delivery)) == 1]
    assert sorted(alone) == sorted(key for key in keys if str(key).startswith("gone"))  # asked once more, alone
    assert len(provider.deliveries) - len(alone) <= 5


def test_a_provider_with_pages_never_makes_what_exists_disappear(start, provider, call_all):
    """Three items a page: what is beyond the first page is there, and is cached as what it is."""
    def paged(delivery, wire):
        keys = [key for key in keys_of(delivery) if key != "none"]
        wire.answer({"items": [{"id": key, "name": f"name {key}"} for key in keys[:3]], "next": "/users?page=2"})

    provider.behaviour = paged
    gateway = start({"workers": 1, "cache": {"memory": {"size": "16MiB"}}, "upstreams": {"people": {
        "dialect": "rest", "endpoints": [{"url": provider.url("")}], **PATIENT, "batch": {"in_flight": 1}}}, "tools": {
            "user": {"upstream": "people", "annotations": {"read_only": True}, "cache": {"ttl": "5m", "scope": "shared"},
                     "request": {"path": "/users", "key_list": {
                         "parameter": "ids", "argument": "id", "list": "items", "key": "id", "missing": "null"}}}}})
    keys = [f"k{n}" for n in range(20)] + ["none"]
    for round in range(2):  # fetched, then from memory
        replies = call_all(gateway, [("user", {"id": key}) for key in keys]) if not round else \
            [gateway.call("user", {"id": key}) for key in keys]
        for key, reply in zip(keys, replies):
            wanted = None if key == "none" else {"id": key, "name": f"name {key}"}
            assert (reply.status, reply.json()) == (200, wanted), (key, reply)


def test_calls_that_differ_in_another_argument_do_not_share(directory, provider, call_all):
    calls = [("user", {"id": n, "lang": "de" if n % 2 else "fr"}) for n in range(30)]
    replies = call_all(directory, calls)
    assert [reply.json() for reply in replies] == [person(str(n), "de" if n % 2 else "fr") for n in range(30)]
    assert len(provider.deliveries) <= 4


def test_a_parameter_may_be_repeated_and_the_answer_an_object(directory, provider, call_all):
    keys = [f"k{n},{n}&x" for n in range(30)] + ["gone"]
    replies = call_all(directory, [("price", {"sku": key}) for key in keys])
    assert [reply.json() for reply in replies] == [len(key) for key in keys[:-1]] + [None]
    assert len(provider.deliveries) <= 5


def test_a_key_that_the_provider_refuses_spoils_no_other(directory, call_all):
    keys = [*range(1, 19), "poison"]
    replies = call_all(directory, [("user", {"id": key}) for key in keys])
    assert [reply.json() for reply in replies[:-1]] == [person(str(key), "") for key in keys[:-1]]
    assert (replies[-1].status, replies[-1].json()["upstream"]["status"]) == (502, 400)
    assert "poison is no key" in json.dumps(replies[-1].json())


def test_other_tools_of_the_upstream_are_sent_as_ever(directory, provider, call_all):
    calls = [("plain", {"id": f"x{n}"}) for n in range(10)]
    replies = call_all(directory, calls)
    assert [reply.json()["items"][0]["id"] for reply in replies] == [f"x{n}" for n in range(10)]
    assert len(provider.deliveries) == 10


def test_what_is_no_key_is_refused_before_anything_is_sent(directory, provider):
    for arguments, why in [({}, "is missing"), ({"id": ""}, "is empty"), ({"id": [1]}, "string or a number"),
                           ({"id": "1,2"}, "separates keys")]:
        reply = directory.call("user", arguments)
        assert reply.status == 400 and why in reply.json()["detail"], reply
    assert provider.deliveries == []
