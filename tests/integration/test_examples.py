# SPDX-License-Identifier: Apache-2.0
"""The programs of examples/processes.yaml at work: a Tcl script and a WebAssembly module as pooled tools."""
import json
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from harness.poll import until

TOP = Path(__file__).resolve().parents[2]


@pytest.fixture
def gateway(make):
    """The example without npm's server, which needs the network; run from the top of the tree by its scripts' paths."""
    config = yaml.safe_load((TOP / "examples" / "processes.yaml").read_text())
    del config["upstreams"]["files"]
    for upstream in config["upstreams"].values():
        upstream["args"] = [str(TOP / arg) if arg.startswith("examples/") else arg for arg in upstream["args"]]
        upstream["timeout"] = "20s"
    return make(config={**config, "listen": "127.0.0.1:0", "admin": {"listen": "127.0.0.1:0"}}).start()


def answer(gateway, tool, **arguments):
    reply = gateway.call(tool, arguments)
    assert reply.status == 200, reply.body
    return json.loads(reply.body)


def starts(gateway, upstream):
    return gateway.metrics().sum("upstream_process_starts_total", upstream=upstream)


def test_a_tcl_script_answers_call_after_call(gateway):
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda n: answer(gateway, "words", text="to be or not " * n), range(1, 60)))
    assert said == [{"words": 4 * n, "characters": 13 * n} for n in range(1, 60)]
    assert starts(gateway, "tcl") <= 4


def test_a_tcl_script_evaluates_for_strangers(gateway):
    assert answer(gateway, "calculate", expression="6 * 7") == "42"
    for bad in ("1 +", "[exec id]", "[while 1 {}]"):
        reply = gateway.call("calculate", {"expression": bad})
        assert json.loads(reply.body)["code"] == "tool_error", reply.body
    assert answer(gateway, "calculate", expression="1 + 1") == "2"


def test_a_wasm_module_is_new_for_every_call(gateway):
    until(lambda: starts(gateway, "wasm") >= 1, "it is started before it is needed")
    texts = ["123456789", "", "a" * 1000, "\u00e9\u4e16"] + [str(n) for n in range(50)]
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda text: answer(gateway, "crc32", text=text), texts))
    assert said == [{"crc32": f"{zlib.crc32(text.encode()):08x}"} for text in texts]
    assert gateway.metrics().sum("upstream_process_crashes_total") == 0
