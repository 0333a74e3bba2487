# SPDX-License-Identifier: Apache-2.0
"""POST /v1/embeddings and the openai-embeddings dialect, against a provider that follows the published wire."""
import base64
import json
import shutil
import struct
import subprocess
import threading

import pytest

from harness.gateway import PATIENT

REPEATABLE = {"read_only": True}


def vector(value):
    """What the provider makes of an input: a different one for each."""
    text = value if isinstance(value, str) else ",".join(map(str, value))
    return [float(len(text)), float(sum(text.encode()) % 251), 0.5]


def tokens(value):
    return len(value.split()) if isinstance(value, str) else len(value)


def embeddings(delivery, wire):
    """OpenAI's: refuses what it would refuse, answers in reverse order."""
    asked = json.loads(delivery.body)
    inputs = asked["input"]
    kinds = {type(value) for value in inputs}
    if len(kinds) != 1 or len(inputs) > 2048 or any("poison" in value for value in inputs if isinstance(value, str)):
        return wire.answer({"error": {"message": "bad input", "type": "invalid_request_error", "param": "input",
                                      "code": None}}, 400)
    data = []
    for index, value in enumerate(inputs):
        found = vector(value)
        if asked.get("encoding_format") == "base64":
            found = base64.b64encode(struct.pack("<3f", *found)).decode()
        data.append({"object": "embedding", "index": index, "embedding": found})
    used = sum(map(tokens, inputs))
    return wire.answer({"object": "list", "data": data[::-1], "model": asked["model"],
                        "usage": {"prompt_tokens": used, "total_tokens": used}})


def embedder_with(start, provider, workers):
    provider.behaviour = embeddings
    return start({
        "workers": workers,
        "upstreams": {"openai": {**PATIENT, "dialect": "openai-embeddings", "endpoints": [{"url": provider.url("/v1")}],
                                 "headers": {"Authorization": "Bearer secret"}}},
        "tools": {"embed": {"upstream": "openai", "annotations": REPEATABLE, "models": ["small", "large"],
                            "cache": {"ttl": "1h", "scope": "shared"}}},
    })


@pytest.fixture
def embedder(start, provider):
    return embedder_with(start, provider, 1)


@pytest.fixture
def wide_embedder(start, provider):
    """Its calls travel between workers: how many share a request depends on when they arrive."""
    return embedder_with(start, provider, 2)


def ask(gateway, value, model="small", **settings):
    body = json.dumps({"model": model, "input": value, **settings}).encode()
    return gateway.request("POST", "/v1/embeddings", body)


def asked(provider):
    return [json.loads(delivery.body) for delivery in provider.deliveries]


def vectors(reply):
    assert reply.status == 200, reply
    document = reply.json()
    assert document["object"] == "list" and document["model"]
    assert [item["index"] for item in document["data"]] == list(range(len(document["data"])))
    return [item["embedding"] for item in document["data"]]


def test_a_list_of_inputs_is_one_request_and_comes_back_in_order(embedder, provider):
    inputs = [f"word {'x' * (n + 1)}" for n in range(20)]
    reply = ask(embedder, inputs)
    assert vectors(reply) == [vector(value) for value in inputs]
    assert reply.json()["usage"] == {"prompt_tokens": 40, "total_tokens": 40}
    assert [delivery.path for delivery in provider.deliveries] == ["/v1/embeddings"]
    assert asked(provider) == [{"model": "small", "input": inputs}]


@pytest.mark.parametrize("value, sent", [("one text", ["one text"]), ([5, 6, 7], [[5, 6, 7]]),
                                         ([[1, 2], [3]], [[1, 2], [3]])])
def test_every_form_of_input_is_taken(embedder, provider, value, sent):
    assert vectors(ask(embedder, value)) == [vector(item) for item in sent]
    assert asked(provider) == [{"model": "small", "input": sent}]


def test_each_input_is_cached_by_itself_and_equal_ones_are_sent_once(embedder, provider):
    ask(embedder, ["a", "b"])
    reply = ask(embedder, ["b", "c", "c", "a"])
    assert vectors(reply) == [vector(value) for value in "bcca"]
    assert [each["input"] for each in asked(provider)] == [["a", "b"], ["c"]]
    assert reply.json()["usage"]["total_tokens"] == 1
    assert reply.json()["x_jitney"] == {"usage_estimated": True, "unbilled_inputs": 3}


def test_base64_is_kept_as_it_came(embedder):
    reply = ask(embedder, "text", encoding_format="base64")
    assert vectors(reply) == [base64.b64encode(struct.pack("<3f", *vector("text"))).decode()]


def test_clients_share_requests_and_their_usage_adds_up(wide_embedder, provider, together):
    provider.hold()
    replies = []

    def release_when_all_wait(number):
        return ask(wide_embedder, f"input number {number} {'w ' * number}")

    runner = threading.Thread(target=lambda: replies.extend(together(release_when_all_wait, range(64))))
    runner.start()
    wide_embedder.until_metric("in_flight_requests", 64)
    provider.release()
    runner.join()
    assert [vectors(reply) for reply in replies] == [[vector(f"input number {n} {'w ' * n}")] for n in range(64)]
    assert len(provider.deliveries) <= 12
    billed = sum(tokens(value) for each in asked(provider) for value in each["input"])
    assert sum(reply.json()["usage"]["prompt_tokens"] for reply in replies) == billed
    assert any("x_jitney" in reply.json() for reply in replies)


def test_what_differs_in_a_setting_or_kind_shares_no_request(wide_embedder, provider, together):
    asks = [("a1", {}), ("a2", {"dimensions": 8}), ("a3", {"model": "large"}), ([1, 2], {}), ("a4", {"user": "ann"}),
            ("a5", {"encoding_format": "base64"})] * 4
    replies = together(lambda each: ask(wide_embedder, each[0], **each[1]), asks)
    assert {reply.status for reply in replies} == {200}
    for each in asked(provider):
        assert len({type(value) for value in each["input"]}) == 1
    assert {(each["model"], each.get("dimensions"), each.get("user"), each.get("encoding_format"))
            for each in asked(provider)} >= {("small", None, None, None), ("small", 8, None, None),
                                             ("large", None, None, None)}


def test_more_inputs_than_one_batch_holds_are_cut_and_joined(wide_embedder, provider):
    inputs = [f"n{n}" for n in range(250)]
    assert vectors(ask(wide_embedder, inputs)) == [vector(value) for value in inputs]
    assert sum(len(each["input"]) for each in asked(provider)) == 250
    assert max(len(each["input"]) for each in asked(provider)) <= 100


def test_no_request_has_more_estimated_tokens_than_the_provider_takes(embedder, provider):
    inputs = [[n] * 100_000 for n in range(7)]  # two bytes a token: batch.bytes alone would let five together
    assert vectors(ask(embedder, inputs)) == [vector(value) for value in inputs]
    sent = [sum(map(len, each["input"])) for each in asked(provider)]
    assert sum(sent) == 700_000 and max(sent) <= 300_000 and len(sent) < 7


def test_usage_that_is_not_the_providers_own_is_marked_in_the_header(embedder):
    assert ask(embedder, "alone").header("x-usage-estimated") is None
    merged = ask(embedder, ["first", "second", "third", "fourth"])
    assert ("x_jitney" in merged.json()) == (merged.header("x-usage-estimated") == "true")
    again = ask(embedder, "alone")
    assert again.header("x-usage-estimated") == "true" and again.json()["usage"]["prompt_tokens"] == 0


def test_one_input_that_is_refused_harms_no_other_caller(wide_embedder, provider, crowd):
    replies = crowd(wide_embedder, lambda n: ask(wide_embedder, "poison" if n == 9 else f"fine {n}"), range(16))
    assert [reply.status for reply in replies] == [400 if n == 9 else 200 for n in range(16)]
    assert replies[9].json()["error"]["message"] == "bad input"
    assert vectors(replies[10]) == [vector("fine 10")]
    assert max(len(each["input"]) for each in asked(provider)) > 1


def test_a_call_with_an_idempotency_key_shares_no_request(embedder, provider, together):
    def one(n):
        body = json.dumps({"model": "small", "input": f"keyed {n}"}).encode()
        return embedder.request("POST", "/v1/embeddings", body, {"Idempotency-Key": f"k{n}"})

    replies = together(one, range(12))
    assert [vectors(reply) for reply in replies] == [[vector(f"keyed {n}")] for n in range(12)]
    assert {len(each["input"]) for each in asked(provider)} == {1}


def test_the_tools_own_path_takes_one_input_or_a_list(embedder):
    one = embedder.call("embed", {"model": "small", "input": "a"}).json()
    assert one["data"] == [{"index": 0, "object": "embedding", "embedding": vector("a")}]
    many = embedder.call("embed", {"model": "small", "input": ["b", "c"]}).json()
    assert [item["embedding"] for item in many["data"]] == [vector("b"), vector("c")]
    assert many["usage"] == {"prompt_tokens": 2, "total_tokens": 2} and "x_jitney" not in many


def test_the_providers_refusal_is_passed_on_in_its_own_words(embedder):
    reply = ask(embedder, "poison")
    assert reply.status == 400
    assert reply.json() == {"error": {"message": "bad input", "type": "invalid_request_error", "param": "input",
                                      "code": None}}


@pytest.mark.parametrize("body, status, code", [
    (b"{", 400, "invalid_json"), (b"[]", 400, "invalid_request"), (b'{"model":"small"}', 400, "invalid_request"),
    (b'{"input":"a"}', 400, "invalid_request"), (b'{"model":"small","input":""}', 400, "invalid_request"),
    (b'{"model":"small","input":[]}', 400, "invalid_request"), (b'{"model":"other","input":"a"}', 404, "model_not_found"),
    (b'{"model":"small","input":["a",5]}', 400, "invalid_request"),
])
def test_what_cannot_be_asked_is_refused_in_openais_form(embedder, body, status, code):
    reply = embedder.request("POST", "/v1/embeddings", body)
    assert reply.status == status, reply
    error = reply.json()["error"]
    assert error["code"] == code and error["message"] and error["type"] == "invalid_request_error"


def test_a_provider_without_our_credentials_is_the_gateways_trouble(embedder, provider):
    provider.behaviour = lambda _, wire: wire.answer({"error": {"message": "bad key sk-1"}}, 401)
    reply = ask(embedder, "a")
    assert reply.status == 502 and reply.json()["error"]["type"] == "server_error"
    assert "sk-1" not in reply.body.decode()


def test_openais_own_client_works_unchanged(embedder, tmp_path):
    npm, node = shutil.which("npm"), shutil.which("node")
    if not npm or not node:
        pytest.skip("needs node and npm")
    try:
        done = subprocess.run([npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "openai"], cwd=tmp_path,
                              capture_output=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("npm install openai takes too long here")
    if done.returncode != 0:
        pytest.skip("npm install openai does not work here")
    (tmp_path / "ask.mjs").write_text("""
        import OpenAI from 'openai';
        const client = new OpenAI({ apiKey: 'any', baseURL: process.argv[2], maxRetries: 0 });
        const answer = await client.embeddings.create({ model: 'small', input: ['a', 'bc', 'a'] });
        let refused;
        try { await client.embeddings.create({ model: 'small', input: 'poison' }); }
        catch (error) { refused = { status: error.status, message: error.error.message, param: error.param }; }
        console.log(JSON.stringify({ vectors: answer.data.map(item => Array.from(item.embedding)), refused }));
    """)
    done = subprocess.run([node, "ask.mjs", embedder.url("/v1")], cwd=tmp_path, capture_output=True, text=True, timeout=30,
                          check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["vectors"] == [vector("a"), vector("bc"), vector("a")]
    assert said["refused"] == {"status": 400, "message": "bad input", "param": "input"}
