# SPDX-License-Identifier: Apache-2.0
"""GET /v1/tools in every format, and the OpenAPI description."""
import json

import pytest

SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
TOOLS = {"tools": {"search": {"upstream": "array", "description": "Search <the> \"web\".\nTwo lines, ü.",
                              "input_schema": SCHEMA, "annotations": {"read_only": True, "idempotent": True}}}}


@pytest.fixture
def gateway(start):
    return start(TOOLS)


def listed(gateway, form):
    reply = gateway.get(f"/v1/tools?format={form}" if form else "/v1/tools")
    assert reply.status == 200 and reply.header("content-type").startswith("application/json"), reply
    return reply.json()


def entries(document):
    """The list, whatever it is wrapped in."""
    if isinstance(document, list):
        return document
    return document.get("tools") or document["functionDeclarations"]


def named(gateway, form):
    found = entries(listed(gateway, form))
    if form == "gemini" and "functionDeclarations" in json.dumps(found)[:60]:
        found = found[0]["functionDeclarations"]
    by_name = {entry.get("name") or entry["function"]["name"]: entry for entry in found}
    assert set(by_name) == {"cached", "echo", "item", "search", "send", "write"}
    return by_name["search"]


def test_jitney(gateway):
    for form in ("", "jitney"):
        tool = named(gateway, form)
        assert tool["description"] == TOOLS["tools"]["search"]["description"]
        assert tool["input_schema"] == SCHEMA


def test_mcp(gateway):
    tool = named(gateway, "mcp")
    assert tool["inputSchema"] == SCHEMA
    assert tool["annotations"]["readOnlyHint"] is True and tool["annotations"]["idempotentHint"] is True


def test_openai(gateway):
    tool = named(gateway, "openai")
    assert tool["type"] == "function"
    assert tool["function"]["parameters"] == SCHEMA


def test_openai_responses(gateway):
    tool = named(gateway, "openai-responses")
    assert tool["type"] == "function" and tool["parameters"] == SCHEMA


def test_anthropic(gateway):
    assert named(gateway, "anthropic")["input_schema"] == SCHEMA


def test_gemini(gateway):
    tool = named(gateway, "gemini")
    assert SCHEMA in (tool.get("parameters"), tool.get("parametersJsonSchema"))


def test_an_unknown_format_is_refused(gateway):
    reply = gateway.get("/v1/tools?format=yaml")
    assert reply.status == 400 and reply.code == "invalid_request"


@pytest.mark.parametrize("form", ["", "mcp", "openai", "openai-responses", "anthropic", "gemini"])
def test_one_tool(gateway, form):
    reply = gateway.get("/v1/tools/search" + (f"?format={form}" if form else ""))
    assert reply.status == 200 and "search" in json.dumps(reply.json())
    missing = gateway.get("/v1/tools/nothing_here")
    assert missing.status == 404 and missing.code == "unknown_tool"


@pytest.mark.parametrize("path", ["/v1/tools", "/v1/tools?format=mcp", "/v1/tools/search", "/openapi.json"])
def test_etag_and_304(gateway, path):
    first = gateway.get(path)
    etag = first.header("etag")
    assert etag.startswith('"') and etag.endswith('"')
    for match in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        again = gateway.get(path, If_None_Match=match)
        assert again.status == 304 and again.header("etag") == etag and again.body == b"", match
    assert gateway.get(path, If_None_Match='"other"').status == 200
    head = gateway.request("HEAD", path)
    assert head.status == 200 and head.header("etag") == etag
    assert head.header("content-length") == str(len(first.body))


def test_etags_differ_by_format(gateway):
    etags = {gateway.get(f"/v1/tools?format={form}").header("etag") for form in ("jitney", "mcp", "openai", "gemini")}
    assert len(etags) == 4


# The parts of the OpenAPI 3.1 meta-schema (spec.openapis.org/oas/3.1/schema) that this document can get wrong.
OPENAPI = {
    "type": "object",
    "required": ["openapi", "info", "paths"],
    "properties": {
        "openapi": {"type": "string", "pattern": r"^3\.1\.\d+$"},
        "info": {"type": "object", "required": ["title", "version"],
                 "properties": {"title": {"type": "string"}, "version": {"type": "string"}}},
        "jsonSchemaDialect": {"type": "string"},
        "servers": {"type": "array", "items": {"type": "object", "required": ["url"]}},
        "paths": {"type": "object", "propertyNames": {"pattern": "^/"},
                  "additionalProperties": {"$ref": "#/$defs/path"}},
        "components": {"type": "object", "propertyNames": {"enum": [
            "schemas", "responses", "parameters", "examples", "requestBodies", "headers", "securitySchemes", "links",
            "callbacks", "pathItems"]}},
        "webhooks": {}, "security": {"type": "array"}, "tags": {"type": "array"}, "externalDocs": {"type": "object"},
    },
    "patternProperties": {"^x-": {}},
    "additionalProperties": False,
    "$defs": {
        "path": {"type": "object",
                 "propertyNames": {"pattern": "^(x-.*|summary|description|servers|parameters|get|put|post|delete|options|head"
                                              "|patch|trace|\\$ref)$"},
                 "patternProperties": {"^(get|put|post|delete|options|head|patch|trace)$": {"$ref": "#/$defs/operation"}}},
        "operation": {
            "type": "object",
            "propertyNames": {"pattern": "^(x-.*|tags|summary|description|externalDocs|operationId|parameters|requestBody"
                                         "|responses|callbacks|deprecated|security|servers)$"},
            "properties": {
                "operationId": {"type": "string"},
                "parameters": {"type": "array", "items": {"anyOf": [
                    {"required": ["$ref"]},
                    {"required": ["name", "in"], "properties": {"in": {"enum": ["query", "header", "path", "cookie"]}},
                     "anyOf": [{"required": ["schema"]}, {"required": ["content"]}]}]}},
                "requestBody": {"anyOf": [{"required": ["$ref"]}, {"required": ["content"], "properties": {
                    "content": {"$ref": "#/$defs/content"}}}]},
                "responses": {"type": "object", "minProperties": 1,
                              "propertyNames": {"pattern": "^([1-5](\\d\\d|XX)|default|x-.*)$"},
                              "additionalProperties": {"anyOf": [{"required": ["$ref"]}, {"required": ["description"],
                                                       "properties": {"content": {"$ref": "#/$defs/content"}}}]}},
            }},
        "content": {"type": "object", "propertyNames": {"pattern": "^[^/]+/[^/]+$"},
                    "additionalProperties": {"type": "object", "properties": {"schema": {
                        "$ref": "https://json-schema.org/draft/2020-12/schema"}}}},
    },
}


def references(document):
    """All $ref in it."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key == "$ref" and isinstance(value, str):
                yield value
            else:
                yield from references(value)
    elif isinstance(document, list):
        for value in document:
            yield from references(value)


def test_openapi_is_valid(gateway):
    jsonschema = pytest.importorskip("jsonschema")
    document = gateway.get("/openapi.json").json()
    jsonschema.Draft202012Validator(OPENAPI).validate(document)
    for reference in references(document):
        assert reference.startswith("#/"), reference
        part = document
        for step in reference[2:].split("/"):
            part = part[step.replace("~1", "/").replace("~0", "~")]
    operations = [operation for path in document["paths"].values() for operation in path.values()
                  if isinstance(operation, dict)]
    ids = [operation["operationId"] for operation in operations if "operationId" in operation]
    assert len(ids) == len(set(ids))


def test_openapi_has_one_operation_a_tool(gateway):
    paths = gateway.get("/openapi.json").json()["paths"]
    for tool in ("cached", "echo", "item", "search", "send", "write"):
        operation = paths[f"/v1/tools/{tool}"]["post"]
        assert "requestBody" in operation and "200" in operation["responses"]
    body = paths["/v1/tools/search"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == SCHEMA or "$ref" in body


@pytest.mark.parametrize("workers", [1, 3])
def test_the_catalogue_is_the_same_on_every_worker(start, workers):
    gateway = start({**TOOLS, "workers": workers})
    assert len({gateway.get("/v1/tools").body for _ in range(10)}) == 1
