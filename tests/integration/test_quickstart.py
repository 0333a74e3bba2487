# SPDX-License-Identifier: Apache-2.0
"""What a newcomer copies, run as it is written: docs/quickstart.md and README's own configuration. Only ports and the place of the binary differ."""
import re
import shlex
import socket
import subprocess
from pathlib import Path

import pytest

from harness.gateway import JITNEY
from harness.poll import until
from harness.ports import free_port

TOP = Path(__file__).resolve().parents[2]
PORTS = ("8080", "8081", "9001")


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) == 0


class Page:
    """The blocks of a page, with free ports in place of those written, and commands that are ended with the test."""

    def __init__(self, path, directory):
        self.ports = {port: str(free_port()) for port in PORTS}
        self.directory, self.running = directory, []
        text = path.read_text()
        for old, new in self.ports.items():
            text = re.sub(rf"(?<=127\.0\.0\.1:){old}\b|(?<=--port ){old}\b", new, text)
        self.text = text

    def blocks(self, kind):
        return re.findall(rf"^```{kind}\n(.*?)^```", self.text, re.M | re.S)

    def commands(self):
        """Every line of every shell block, without its comment."""
        return [shlex.split(line, comments=True) for block in self.blocks("sh") for line in block.splitlines() if line.strip()]

    def configure(self):
        block = next(block for block in self.blocks("yaml") if "upstreams:" in block)
        # the admin listener is at its default in what people copy
        (self.directory / "jitney.yaml").write_text(f"{block}admin: {{ listen: 127.0.0.1:{self.ports['8081']} }}\n")

    def run(self, words):
        words = [str(self.directory / "jitney.yaml") if word == "jitney.yaml" else word for word in words]
        words[0] = str(JITNEY) if words[0] == "build/jitney" else words[0]
        if words[-1] == "&" or "serve" in words:
            self.running.append(subprocess.Popen([word for word in words if word != "&"], cwd=TOP, stdout=subprocess.DEVNULL,
                                                 stderr=subprocess.DEVNULL))
            port = self.ports["8080" if "serve" in words else "9001"]
            until(lambda: listens(port) or self.running[-1].poll() is not None, f"{words} listens")
            return None
        return subprocess.run(shlex.join(words).replace(" '|' ", " | "), shell=True, cwd=TOP, capture_output=True, text=True,
                              timeout=30, check=False)

    def stop(self):
        for process in reversed(self.running):
            process.terminate()
        for process in self.running:
            process.wait(20)


@pytest.fixture
def page(tmp_path):
    made = []

    def build(name):
        made.append(Page(TOP / name, tmp_path))
        made[0].configure()
        return made[0]

    yield build
    for each in made:
        each.stop()


def ran(page, begins):
    """The outputs of the page's commands that begin so, all run in order up to them."""
    return [page.run(words) for words in page.commands() if words[:len(begins)] == begins]


def test_the_quickstart_as_it_is_written(page):
    quickstart = page("docs/quickstart.md")
    assert ["./dev", "build"] in quickstart.commands()
    ran(quickstart, ["python3"])
    ran(quickstart, ["build/jitney", "serve"])
    call, = [words for words in quickstart.commands() if words[:2] == ["curl", "-i"]]
    first, second = quickstart.run(call), quickstart.run(call)
    assert "HTTP/1.1 200 OK" in first.stdout and "Cache-Status: jitney; fwd=miss; stored" in first.stdout, first
    assert re.search(r"^Cache-Status: jitney; hit", second.stdout, re.M) and re.search(r"^Age: \d", second.stdout, re.M), second
    line = re.search(r"`(jitney_cache_requests_total\{[^`]*)`", quickstart.text)[1]
    shown, = ran(quickstart, ["curl", "-s"])
    assert line in shown.stdout.splitlines(), shown


def test_readmes_own_configuration_answers_the_call_it_shows(page):
    readme = page("README.md")
    provider = next(words for words in readme.commands() if words[0] == "python3")
    readme.run(provider)
    check, = ran(readme, ["build/jitney", "check"])
    assert check.returncode == 0, check
    readme.run(["build/jitney", "serve", "-c", "jitney.yaml"])
    reply = readme.run(next(words for words in readme.commands() if words[:2] == ["curl", "-i"]))
    for line in ("HTTP/1.1 200 OK", "Content-Type: application/json", "Cache-Status: jitney; fwd=miss; stored", "X-Batch-Size: 1"):
        assert line in readme.text and line in reply.stdout.replace("\r", ""), (line, reply)
