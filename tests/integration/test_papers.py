# SPDX-License-Identifier: Apache-2.0
"""What people read and copy: the examples, the manual page, the shell's completion, the configurations in the docs."""
import os
import re
import subprocess
from pathlib import Path

import pytest

from test_process import jitney

TOP = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((TOP / "examples").glob("*.yaml"))
PAGES = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]
COMMANDS = re.findall(r"^  (\w+)  +\S", jitney("help").stdout, re.M)


def variables_of(text):
    """A likely value for each variable of the environment that a configuration names: ports differ."""
    names = re.findall(r"\$\{([A-Z][A-Z0-9_]*)\}", text)
    return {name: "http://127.0.0.1:9" if name.endswith("_URL") else str(4242 + i) for i, name in enumerate(names)}


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A PATH on which the programs that papers name are found: what they do is not asked, and not every machine has them."""
    directory = tmp_path_factory.mktemp("programs")
    for name in ("npx", "uvx", "node"):
        (directory / name).write_text("#!/bin/sh\n")
        (directory / name).chmod(0o755)
    return {"PATH": f"{os.environ['PATH']}:{directory}"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_a_good_configuration(path, programs):
    done = jitney("check", "-c", path, environment={**variables_of(path.read_text()), **programs})
    assert done.returncode == 0, done.stderr


def configurations():
    """The YAML blocks of the docs that stand for a whole file: they name providers."""
    for page in PAGES:
        for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.M | re.S)):
            if re.search(r"^upstreams:", block, re.M) and "…" not in block:
                yield pytest.param(block, id=f"{page.name}-{number}")


@pytest.mark.parametrize("text", configurations())
def test_a_configuration_in_the_docs_is_a_good_one(text, tmp_path, programs):
    path = tmp_path / "jitney.yaml"
    secret = tmp_path / "secret"
    secret.write_text("x\n")
    path.write_text(re.sub(r"\$\{file:[^}]*\}", f"${{file:{secret}}}", text))
    done = jitney("check", "-c", path, environment={**variables_of(text), **programs})
    assert (done.returncode, done.stderr) == (0, "")


def completions(*words):
    """What the shell offers in place of the last word."""
    script = f'. "{TOP}/packaging/jitney.bash"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _jitney; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", script, "bash", *words], capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.split()


def test_the_shell_completes_every_command():
    assert set(completions("jitney", "")) == {*COMMANDS, "--help"}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_shell_completes_every_option(command):
    told = set(re.findall(r"(?<![\w-])--[a-z-]+", jitney(command, "--help").stdout))
    assert set(completions("jitney", command, "--")) == told | {"--help"}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_manual_page_tells_of_every_command(command):
    page = (TOP / "packaging" / "jitney.1").read_text()
    assert re.search(rf"^\.It Cm {command}\b", page, re.M)
    assert re.search(rf"^\.Cm {command}$", page, re.M)


def test_the_api_tells_of_every_path():
    page = (TOP / "docs" / "api.md").read_text()
    paths = re.findall(r'\{ PATH\("(/[^"]*)"\), (?:NULL|&\w+), \{', (TOP / "gateway" / "server" / "routes.c").read_text())
    assert len(paths) > 10
    names = {"/admin/endpoints/{*}": "/admin/endpoints/{upstream}/{index}/drain", "/admin/calls/{*}": "/admin/calls/{request_id}"}
    assert [path for path in paths if f"`{names.get(path, path).replace('{}', '{tool}')}`" not in page] == []


def test_the_map_shows_files_that_are_there_and_every_thread():
    page = (TOP / "ARCHITECTURE.md").read_text()
    there = {path.relative_to(TOP).as_posix() for path in TOP.glob("[bcgmu]*/**/*.[ch]")}
    there |= {path.relative_to(TOP).as_posix() for path in TOP.glob("tests/**/*.[ch]")}
    names = {path.rsplit("/", 1)[1] for path in there}
    shown = set(re.findall(r"(?<![\w*])[a-z_/]+\.[ch]\b", page))
    assert {name for name in shown if name not in there | names} == set()
    starters = {path for path in there if "pthread_create(" in (TOP / path).read_text()
                and not path.startswith(("tests/", "bench/"))}
    assert starters - shown == set()


def events():
    """The rows of base/log_events.h: identifier, name, level, fields, when."""
    text = (TOP / "base" / "log_events.h").read_text()
    return re.findall(r'^\tX\((\w+), "(\w+)", (\w+), "([^"]*)", "([^"]*)"\)', text, re.M)


def test_the_docs_show_every_event_of_the_log():
    page = (TOP / "docs" / "operations.md").read_text()
    rows = [f"| `{name}` | {level.lower()} | {when} | `{fields}` |" for _, name, level, fields, when in events()]
    shown = re.findall(r"^\| `\w+` \| (?:error|warn|info|debug) \| .*$", page, re.M)
    assert len(rows) > 40 and shown == rows


def test_every_event_is_written_somewhere_with_the_fields_of_its_row():
    known = {identifier: set(fields.split()) for identifier, _, _, fields, _ in events()}
    used = set()
    for path in TOP.glob("[bcgmu]*/**/*.c"):
        text = path.read_text()
        used |= set(re.findall(r"&EVENT_(\w+)", text))
        assert "(struct log_event){" not in text, f"{path}: an event has its row in base/log_events.h"
        # from the line's begin to its end; what is written in between are its fields
        for identifiers, body in re.findall(r"log_begin\(&line, ([^;]*?)\)\)(.*?)log_end\(&line\)", text, re.S):
            fields = set(re.findall(r'log_(?:text|cstr|u64|seconds)\(&line, "(\w+)"', body))
            for identifier in re.findall(r"&EVENT_(\w+)", identifiers):
                assert fields <= known[identifier], (path, identifier, fields - known[identifier])
    assert used == set(known)
