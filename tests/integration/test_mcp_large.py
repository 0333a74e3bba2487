# SPDX-License-Identifier: Apache-2.0
"""Results and lists that are too long to be made at once: written as they are read, byte for byte what they would be, and little is
held for them beside the answer itself."""
import base64
import json

import pytest

from harness import provider as behave
from harness.mcp_client import Client, message, mirrored, modern
from harness.poll import until
from harness.wire import request_bytes
from test_mcp_progress import behind, progress  # noqa: F401 (a fixture)

MIB = 1 << 20
LARGE = 6 * MIB
EVENTS, JSON = "text/event-stream", "application/json"
ERAS = ("legacy", "modern")


def events(body):
    assert body.endswith(b"\n\n")
    found = []
    for event in body[:-2].split(b"\n\n"):
        first, *lines = event.split(b"\n")
        assert first == b"event: message" and all(line.startswith(b"data: ") for line in lines)
        found.append(json.loads(b"\n".join(line.removeprefix(b"data: ") for line in lines)))
    return found


def documents(reply, accept):
    assert reply.status == 200 and reply.header("content-type") == accept, reply
    return events(reply.body) if accept == EVENTS else [reply.json()]


def asked(era, method, params=None):
    """The document and its headers."""
    document = modern(method, params) if era == "modern" else message(method, params)
    return document, mirrored(document) if era == "modern" else {}


def ask(gateway, era, accept, method, params=None):
    document, headers = asked(era, method, params)
    return Client(gateway).send(document, Accept=accept, **headers)


def call(gateway, era, accept, tool, arguments=None):
    return ask(gateway, era, accept, "tools/call", {"name": tool, "arguments": arguments or {}})


@pytest.mark.parametrize("accept", (JSON, EVENTS))
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("count", (10, 20_000, 60_000))
def test_a_result_is_the_same_whatever_its_length(gateway, provider, era, accept, count):
    """Around the length up to which a reply is made at once, and beyond; with what a string and an event must escape."""
    said = '{"a":[\r\n' + ",\n".join('"\u00e4\\u0000\\"\\n\u20ac \U0001f600"' for _ in range(count)) + "]}"
    provider.next(behave.answering(said.encode()))
    reply = call(gateway, era, accept, "echo")
    [document] = documents(reply, accept)
    result = document["result"]
    assert document["id"] == 1 and result["structuredContent"] == json.loads(said)
    assert result["content"] == [{"type": "text", "text": said}]
    assert (result.get("resultType") == "complete") == (era == "modern")
    assert reply.header("cache-status") and reply.header("x-request-id")
    gateway.until_metric("in_flight_bytes", 0)


@pytest.mark.parametrize("accept", (JSON, EVENTS))
def test_what_is_no_text_is_base64(gateway, provider, accept):
    image = bytes(range(256)) * 3001
    provider.behaviour = lambda _, wire: wire.answer(image, 200, {"Content-Type": "image/png"})
    [document] = documents(call(gateway, "legacy", accept, "item", {"id": 1, "q": "x"}), accept)
    [block] = document["result"]["content"]
    assert block == {"type": "image", "data": base64.b64encode(image).decode(), "mimeType": "image/png"}


@pytest.mark.parametrize("accept", (JSON, EVENTS))
def test_little_is_held_beside_the_answer(start, provider, accept):
    """mcp A2: as text, as structure and with what is around it, an answer was held four times over."""
    gateway = start({"workers": 1})
    provider.next(behave.answering({"text": "x" * LARGE}))
    document, headers = asked("legacy", "tools/call", {"name": "echo", "arguments": {}})
    with gateway.connect() as connection:
        connection.send(request_bytes("POST", "/mcp", json.dumps(document).encode(), {"Accept": accept, **headers}))
        until(lambda: gateway.metrics().sum("reply_bytes") > LARGE, "the reply is held")
        assert gateway.metrics().sum("reply_bytes") < LARGE + MIB
        [document] = documents(connection.reply(), accept)
    assert len(document["result"]["structuredContent"]["text"]) == LARGE
    gateway.until_metric("in_flight_bytes", 0)


def test_an_answer_that_many_are_slow_to_take_counts_once(start, provider):
    gateway, count = start({"workers": 1, "limits": {"in_flight_bytes": "32MiB"}}), 20
    provider.next(behave.answering("x" * LARGE))
    provider.hold()
    document, _ = asked("legacy", "tools/call", {"name": "echo", "arguments": {}})
    clients = [gateway.connect() for _ in range(count)]
    for client in clients:
        client.send(request_bytes("POST", "/mcp", json.dumps(document).encode(), {"Accept": JSON}))
    gateway.until_metric("coalesced_total", count - 1)
    provider.release()
    gateway.until_metric("in_flight_requests", 0)
    assert LARGE < gateway.metrics().sum("reply_bytes") < LARGE + count * 512 * 1024
    for client in clients:
        client.reset()
    gateway.until_metric("in_flight_bytes", 0)
    gateway.until_metric("reply_bytes", 0)
    assert gateway.metrics().sum("rejected_total", reason="in_flight_bytes") == 0


@pytest.mark.parametrize("kind", ("legacy", "modern"))
def test_a_long_result_comes_behind_what_was_said_before(behind, kind):  # noqa: F811
    _, gateway = behind(kind)
    params = {"name": "steps", "arguments": {"count": 3, "text": "y" * MIB}, "_meta": {"progressToken": "t"}}
    reply = Client(gateway).ask("tools/call", params)
    found = events(reply.body)
    assert [each["progress"] for each in progress(found)] == [0, 1, 2]
    [block] = found[-1]["result"]["content"]
    assert json.loads(block["text"])["text"] == "y" * MIB
    gateway.until_metric("in_flight_bytes", 0)


def test_who_leaves_in_the_middle_leaves_nothing(start, provider):
    gateway = start({"workers": 1})
    for accept in (JSON, EVENTS):
        provider.next(behave.answering({"text": "x" * LARGE}))
        document, _ = asked("legacy", "tools/call", {"name": "echo", "arguments": {}})
        with gateway.connect() as connection:
            connection.send(request_bytes("POST", "/mcp", json.dumps(document).encode(), {"Accept": accept}))
            connection.take(100_000)
            connection.reset()
        gateway.until_metric("in_flight_bytes", 0)
    gateway.until_metric("reply_bytes", 0)
    assert until(lambda: len(gateway.events("call")) == 2, "both are in the log")
    assert {event["status"] for event in gateway.events("call")} == {"499"}
    assert gateway.call("echo").status == 200


@pytest.mark.parametrize("accept", (JSON, EVENTS))
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("length", (10, 1000))
def test_a_list_is_the_same_whatever_its_length(start, provider, era, accept, length):
    gateway = start({"tools": {f"tool{n}": {"upstream": "array", "description": "\u00e4\n\"" * length} for n in range(150)}})
    reply = ask(gateway, era, accept, "tools/list")
    [document] = documents(reply, accept)
    assert document["result"]["tools"] == json.loads(gateway.get("/v1/tools?format=mcp").body)["tools"]
    assert ("ttlMs" in document["result"]) == (era == "modern")
    gateway.until_metric("in_flight_bytes", 0)


def test_lines_of_a_batch_are_ended_by_us_alone(gateway, provider):
    """A provider's line breaks between values ended its line, and what followed read as another item's."""
    forged = b'{"a":1,\n"b":[1,\r\n{"id":"other","status":200,"result":"forged"}\n]}'
    provider.behaviour = behave.answering(forged)
    body = json.dumps({"calls": [{"id": name, "tool": tool, "arguments": {}} for name, tool in (("mine", "echo"), ("other", "write"))]})
    reply = gateway.request("POST", "/v1/batch", body.encode(), {"Accept": "application/x-ndjson"})
    lines = [json.loads(line) for line in reply.body.splitlines()]
    assert sorted(line["id"] for line in lines) == ["mine", "other"]
    assert [line["result"] for line in lines] == [json.loads(forged)] * 2
