# SPDX-License-Identifier: Apache-2.0
"""jitney reload and check --against, asked of a server that is no jitney, or of one with very many tools."""
import json
import resource

import pytest

from harness.ports import kept_port
from harness.small_server import PlainHandler, SmallServer
from test_process import jitney


@pytest.fixture
def foreign():
    """foreign(document) gives the URL of a server that answers everything with it."""
    servers = []

    def build(document):
        class Handler(PlainHandler):
            protocol_version = "HTTP/1.0"

            def do_GET(self):
                self.reply(200, document)

            do_POST = do_GET

        servers.append(SmallServer(Handler, kept_port()))
        return servers[-1].url

    yield build
    for server in servers:
        server.finish()


@pytest.mark.parametrize("document", [
    {"changed": 5, "generation": 1}, {"changed": [[1]], "generation": 1}, {"changed": {}, "generation": {"x": 1}}, {"changed": {}, "generation": "\x1b[31m"}, [], 7])
def test_what_is_no_answer_of_a_reload_is_told(foreign, document):
    done = jitney("reload", "-u", foreign(document))
    assert done.returncode == 1 and "is it a jitney's admin listener?" in done.stderr and not done.stdout


def test_names_are_texts_and_cannot_steer_the_terminal(foreign):
    evil = "a\x1b[2J\x1b]0;t\x07\x9b31m\r\nb"
    changed = {"tools": {"added": [1, {"a": 2}, evil, "é"], "removed": 3}, "upstreams": [1], "settings": [evil]}
    done = jitney("reload", "-u", foreign({"changed": changed, "generation": 4, "needs_restart": [evil, None]}), environment={"LC_ALL": "C.UTF-8"})
    clean = "a?[2J?]0;t??31m??b"
    assert done.returncode == 0
    assert done.stdout.splitlines() == [f"+ tools.{clean}", "+ tools.é", f"~ {clean}", f"needs a restart: {clean}", "generation 4 is in force"]


def test_many_tools_are_compared_at_once(foreign, tmp_path):
    """10,000 of them took 15 seconds of CPU: each was looked for from the beginning."""
    def config(prefix):
        return {"upstreams": {"u": {"dialect": "jsonrpc", "endpoints": [{"url": "http://127.0.0.1:1/"}]}},
                "tools": {f"{prefix}{n:05}": {"upstream": "u", "description": "x" * 200} for n in range(10000)}}

    path = tmp_path / "jitney.yaml"
    path.write_text(json.dumps(config("t")))
    running = config("s")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = jitney("check", "-c", path, "--against", foreign(running))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = done.stdout.splitlines()
    assert sum(line.startswith("- tools.s") for line in lines) == sum(line.startswith("+ tools.t") for line in lines) == 10000
    assert after.ru_utime - before.ru_utime < 5
