# SPDX-License-Identifier: Apache-2.0
"""The admin listener's page: all of it from the binary, readable without scripts, open to no other page."""
import pathlib
import re
import shutil
import subprocess

import pytest

from harness import provider as behave

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "gateway" / "admin" / "dashboard"
CHROMIUM = shutil.which("chromium")


def page(gateway, path="/"):
    reply = gateway.get(path, "admin")
    assert reply.status == 200, reply
    policy = reply.header("content-security-policy")
    assert policy.startswith("default-src 'self';") and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert reply.header("x-content-type-options") == "nosniff"
    return reply


def test_the_files_are_those_of_the_tree(gateway):
    for name, kind in (("dashboard.js", "text/javascript"), ("dashboard.css", "text/css")):
        reply = page(gateway, "/" + name)
        assert reply.header("content-type").startswith(kind) and reply.body == (FOLDER / name).read_bytes()
        assert gateway.get("/" + name).status == 404, "the data listener has no such path"


def test_it_is_small_and_loads_nothing_foreign(gateway):
    all_of_it = b"".join(page(gateway, path).body for path in ("/", "/dashboard.js", "/dashboard.css"))
    assert len(all_of_it) < 80 * 1024
    foreign = [url for url in re.findall(rb"https?://[^\s\"'`)]+", all_of_it)
               if not url.startswith((b"http://www.w3.org/2000/svg", b"http://www.w3.org/1999/xhtml", b"http://127.0.0.1"))]
    assert foreign == []
    assert b"innerHTML" not in all_of_it and b"eval(" not in all_of_it
    assert not re.search(rb"<script(?! src=dashboard\.js)|\son\w+=|\sstyle=", page(gateway).body), "nothing inline: the policy forbids it"


def test_without_scripts_it_is_a_table(gateway, provider):
    gateway.call("echo", {"n": 1})
    text = page(gateway).body.decode()
    assert re.search(r"<th scope=row>echo<td>1<td>[0-9.]+ ms<td>[0-9.]+ ms", text)
    assert re.search(r"<th scope=row>array<td class=text>up<td>1 of 1<td>1", text)
    provider.stop()
    gateway.call("echo", {"n": 2})
    assert re.search(r"<th scope=row>array<td class=text>down<td>0 of 1", page(gateway).body.decode())


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_the_script_is_one():
    subprocess.run(["node", "--check", str(FOLDER / "dashboard.js")], check=True, capture_output=True, timeout=60)


@pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")
@pytest.mark.parametrize("view, shown", [
    ("overview", ["calls a second", "Who is sick", "p99"]), ("upstreams", ["Endpoints", "array", "drain"]), ("bus", ["Why they left", "echo"]),
    ("cache", ["memory", "purge"]), ("tools", ["echo", "p99"]), ("calls", ["upstream_error", "where its time went"]), ("processes", ["No upstream is a program"])])
def test_a_browser_draws_every_view(gateway, provider, tmp_path, view, shown):
    gateway.call("echo", {"n": 1})
    provider.next(behave.status(500))
    gateway.call("write")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync",
               "--disable-component-update", f"--user-data-dir={tmp_path}/browser", "--virtual-time-budget=4000", "--enable-logging=stderr", "--v=0")
    done = subprocess.run([CHROMIUM, *options, "--dump-dom", gateway.url("/", "admin") + "#" + view], capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    drawn = done.stdout.split("<main>")[1]
    assert [word for word in shown if word not in drawn] == [], drawn[:3000]
    assert f'href="#{view}" aria-current="page"' in done.stdout
    assert "CONSOLE" not in done.stderr, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
