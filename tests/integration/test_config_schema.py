# SPDX-License-Identifier: Apache-2.0
"""The JSON Schema that editors use, judged by an independent reader of it."""
import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

TOP = Path(__file__).resolve().parents[2]
UPSTREAM = {"dialect": "rest", "endpoints": [{"url": "http://h"}]}


@pytest.fixture(scope="module")
def schema():
    schema = json.loads((TOP / "docs/jitney.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("path", sorted((TOP / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_examples_are_valid(schema, path):
    assert [error.message for error in schema.iter_errors(yaml.safe_load(path.read_text()))] == []


@pytest.mark.parametrize("good", [
    {},
    {"tools": None, "upstreams": None},
    {"listen": "127.0.0.1:80"},
    {"listen": ["127.0.0.1:80", "unix:/x"]},
    {"workers": "auto"},
    {"workers": 3},
    {"alerts": {"webhook": "https://hooks.example/x"}},
    {"alerts": {"webhook": {"url": "https://hooks.example/x"}, "p99": {"warning": "250ms", "critical": "1s"}}},
    {"workers": "${N}"},
    {"drain_timeout": 0},
    {"drain_timeout": "5s"},
    {"log": {"access": "${ACCESS}"}},
    {"upstreams": {"s": UPSTREAM | {"headers": {"X-Version": 2}}}},
    {"upstreams": {"s": UPSTREAM | {"http": 2}, "t": UPSTREAM | {"http": 1.1}, "u": UPSTREAM | {"http": "1.1"}}},
    {"upstreams": {"s": {"dialect": "mcp-stdio", "command": "npx", "args": ["-y", "x"], "env": {"N": 1}, "memory": "1GiB"}}},
])
def test_good_configurations_are_valid(schema, good):
    assert [error.message for error in schema.iter_errors(good)] == []


@pytest.mark.parametrize("bad", [
    {"liisten": "127.0.0.1:80"},
    {"limits": {"bodyy": "1MiB"}},
    {"limits": None},
    {"listen": []},
    {"workers": 0},
    {"alerts": {"webhook": 1}},
    {"alerts": {"p99": "1s"}},
    {"workers": 257},
    {"workers": "two"},
    {"drain_timeout": 10},
    {"drain_timeout": "10 s"},
    {"drain_timeout": "010s"},
    {"limits": {"body": "8KB"}},
    {"limits": {"body": 0}},
    {"log": {"level": "loud"}},
    {"log": {"access": "yes"}},
    {"upstreams": {"s": {"dialect": "rest"}}},
    {"upstreams": {"s": UPSTREAM | {"dialect": "mcp-stdio", "command": "cat"}}},
    {"upstreams": {"s": UPSTREAM | {"endpoints": []}}},
    {"upstreams": {"a b": UPSTREAM}},
    {"tools": {"t": {}}},
    {"tools": {"a/b": {"upstream": "s"}}},
    {"tools": {"t": {"upstream": "s", "cache": {"scope": "shared"}}}},
])
def test_bad_configurations_are_not(schema, bad):
    assert not schema.is_valid(bad)
