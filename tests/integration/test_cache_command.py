# SPDX-License-Identifier: Apache-2.0
"""jitney cache: answers from one gateway to another, what a gateway holds, and dropping it, by the command line."""
import base64
import json
import random
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from harness.gateway import JITNEY, SANITIZED
from harness.poll import until
from harness.redis import SERVER
from harness.wire import request_bytes
from test_cache import verdict
from test_redis import detail, tier, up

COUNT = 200


def run(gateway, *words, **options):
    return subprocess.run([JITNEY, "cache", *words, "-u", gateway.url("", "admin")], capture_output=True, timeout=60,
                          check=False, **options)


def table(text):
    lines = [line.split() for line in text.decode().splitlines()]
    return {line[0]: line for line in lines}


def fill(gateway, count=COUNT):
    for number in range(count):
        gateway.call("cached", {"q": number})


def export(gateway, path, *words):
    done = run(gateway, "export", str(path), *words)
    assert done.returncode == 0, done.stderr
    return path.read_text().splitlines()


def post(gateway, lines):
    return gateway.request("POST", "/admin/cache/import", "\n".join(lines) + "\n", listener="admin")


def test_answers_go_from_one_gateway_to_another(start, provider, tmp_path):
    one, other = start(), start()
    fill(one)
    lines = export(one, tmp_path / "kept")
    assert json.loads(lines[0])["jitney_cache"] == 1
    assert json.loads(lines[-1]) == {"end": COUNT}
    done = run(other, "import", str(tmp_path / "kept"))
    assert done.returncode == 0, done.stderr
    assert table(done.stdout)["imported"][1] == str(COUNT)
    assert [verdict(other.call("cached", {"q": number})) for number in range(COUNT)] == ["hit"] * COUNT
    assert len(provider.calls) == COUNT
    again = run(other, "import", "-", input=(tmp_path / "kept").read_bytes())
    assert table(again.stdout)["known"][1] == str(COUNT)


@pytest.mark.skipif(SERVER is None, reason="no redis-server")
def test_what_was_imported_is_served_where_a_fleet_shares_a_redis(start, provider, redis, tmp_path):
    one, other = start(), up(start(tier(redis.url)))
    fill(one, 5)
    export(one, tmp_path / "kept")
    assert run(other, "import", str(tmp_path / "kept")).returncode == 0
    replies = [other.call("cached", {"q": number}) for number in range(5)]
    assert [verdict(reply) for reply in replies] == ["hit"] * 5
    assert [detail(reply) for reply in replies] == ["memory"] * 5, "not by way of Redis"
    assert len(provider.calls) == 5


def test_the_most_wanted_come_first(start, tmp_path):
    gateway = start()
    fill(gateway, 20)
    for _ in range(3):
        gateway.call("cached", {"q": 7})
    lines = export(gateway, tmp_path / "kept", "--limit", "1")
    assert json.loads(lines[-1]) == {"end": 1}
    assert b'{"q":7}' in base64.b64decode(lines[1])


def test_a_gateway_ends_while_an_export_is_read_by_nobody(start):
    gateway = start({"drain_timeout": "100ms"})
    for number in range(64):
        gateway.call("cached", {"q": f"{number}" + "x" * 100_000})
    with gateway.connect("admin") as reader:
        reader.send(b"GET /admin/cache/export HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: "export" in {task.read_text().strip() for task in
                                   Path(f"/proc/{gateway.process.pid}/task").glob("*/comm")}, "the export is under way")
        gateway.ended_by_test = True
        gateway.signal(signal.SIGTERM)
        assert gateway.wait() == 0


def test_an_import_reaches_the_disk(start, tmp_path, provider):
    one = start()
    fill(one, 10)
    export(one, tmp_path / "kept")
    settings = {"cache": {"disk": {"path": str(tmp_path / "disk"), "timeout": "5s"}}}
    second = start(settings)
    second.until_metric("disk_up", 1)
    assert run(second, "import", str(tmp_path / "kept")).returncode == 0
    second.until_metric("cache_entries", 10, tier="disk")
    second.stop()
    third = start(settings)
    third.until_metric("disk_up", 1)
    assert verdict(third.call("cached", {"q": 3})) == "hit"
    assert len(provider.calls) == 10


def test_exports_of_other_versions_are_refused_with_reason(start, tmp_path):
    gateway = start()
    fill(gateway, 2)
    lines = export(gateway, tmp_path / "kept")
    for name, what in [("jitney_cache", "layout is 9"), ("key_scheme", "scheme of keys is 9"), ("value_format", "format of values is 9")]:
        head = json.dumps({**json.loads(lines[0]), name: 9})
        reply = post(gateway, [head, *lines[1:]])
        assert (reply.status, reply.json()["code"]) == (400, "invalid_request")
        assert what in reply.json()["detail"] and "Nothing was imported." in reply.json()["detail"]
        (tmp_path / "other").write_text("\n".join([head, *lines[1:]]) + "\n")
        done = run(gateway, "import", str(tmp_path / "other"))
        assert done.returncode == 1 and what in done.stderr.decode()


@pytest.mark.parametrize("head", ["", "{}", "not json", '{"jitney_cache":"1"}', "[" * 1000])
def test_what_is_no_export_is_refused(start, head):
    reply = post(start(), [head, "AAAA"])
    assert reply.status == 400 and "not the head" in reply.json()["detail"]


def test_damaged_lines_are_counted_and_the_others_taken(start, tmp_path):
    one, other = start(), start()
    fill(one, 8)
    head, *values, end = export(one, tmp_path / "kept")
    raw = bytearray(base64.b64decode(values[2]))
    raw[-1] ^= 1
    bad = ["!!!!", "AAA", values[1][:-8], base64.b64encode(raw).decode(), "\x00" * 8]
    assert post(other, [head, values[0], *bad, values[7], end]).json() == {
        "imported": 2, "known": 0, "no_room": 0, "expired": 0, "damaged": len(bad)}


def test_a_file_that_ends_early_is_told_of(start, tmp_path):
    one, other = start(), start()
    fill(one, 5)
    lines = export(one, tmp_path / "kept")
    (tmp_path / "cut").write_text("\n".join(lines[:4]) + "\n")
    done = run(other, "import", str(tmp_path / "cut"))
    assert done.returncode == 1 and "ends early" in done.stderr.decode()
    assert table(done.stdout)["imported"][1] == "3"


def large(delivery, wire):
    """400 KB that cannot be packed to less than half of it."""
    wire.answer([{"jsonrpc": "2.0", "id": call["id"], "result": random.Random(call["params"]["n"]).randbytes(200000).hex()}
                 for call in delivery.calls])


def test_a_large_export_to_a_slow_reader_stays_small_in_memory(start, provider, tmp_path):
    gateway = start()
    provider.behaviour = large
    for n in range(60):                                         # 16 MiB once packed: more than sockets hold
        gateway.call("cached", {"n": n})
    before = gateway.resident_bytes()
    with gateway.connect("admin") as reader:
        reader.send(b"GET /admin/cache/export HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert reader.socket.recv(10)
        refused = gateway.get("/admin/cache/export", listener="admin")
        assert (refused.status, refused.json()["code"]) == (503, "overloaded")
        for n in range(60):
            assert verdict(gateway.call("cached", {"n": n})) == "hit"
        assert gateway.resident_bytes() - before < 40 << 20
    # the reader has left: the next one may begin
    assert json.loads(export(gateway, tmp_path / "kept")[-1]) == {"end": 60}


def test_an_export_keeps_nothing_that_memory_has_let_go_of(start, provider):
    gateway = start({"cache": {"memory": {"size": "64MiB"}}, "limits": {"body_timeout": "10m"}})    # for the reader
    provider.behaviour = large
    for n in range(300):                                        # as it will be, whoever exports: full, and its heap used
        gateway.call("cached", {"n": n})
    before = gateway.resident_bytes()
    with gateway.connect("admin") as reader:
        reader.send(request_bytes("GET", "/admin/cache/export"))
        assert reader.socket.recv(10, socket.MSG_PEEK)
        for n in range(300, 600):
            gateway.call("cached", {"n": n})
        if not SANITIZED:                                       # what is freed stays in quarantine
            assert gateway.resident_bytes() - before < 24 << 20
        head, *values, end = reader.reply().body.splitlines()
    assert json.loads(head)["jitney_cache"] == 1
    assert json.loads(end) == {"end": len(values)}, "those that were left when it was their turn"


def test_an_export_does_not_outlive_the_gateway(start):
    gateway = start({"drain_timeout": "1s"})
    chance = random.Random(2)
    for _ in range(60):
        gateway.call("cached", {"blob": chance.randbytes(200000).hex()})
    with gateway.connect("admin") as reader:
        reader.send(b"GET /admin/cache/export HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert reader.socket.recv(10)
        assert gateway.stop() == 0


def test_stats_and_purge(start, tmp_path):
    gateway = start({"cache": {"disk": {"path": str(tmp_path / "disk")}}})
    gateway.until_metric("disk_up", 1)
    fill(gateway, 3)
    gateway.call("cached", {"q": 1})
    gateway.until_metric("cache_entries", 3, tier="disk")
    done = run(gateway, "stats")
    assert done.returncode == 0
    rows = table(done.stdout)
    assert rows["memory"][1:3] == ["up", "3"] and rows["disk"][1:3] == ["up", "3"]
    lines = done.stdout.decode().splitlines()
    assert len({len(line) for line in lines}) == 1, "aligned"
    assert run(gateway, "purge").returncode == 2
    assert run(gateway, "purge", "tol=x").returncode == 2
    assert run(gateway, "purge", "tool=nobody").returncode == 1
    assert run(gateway, "count").returncode == 2 and run(gateway, "count", "tool=nobody").returncode == 1
    for what in ("tool=cached", "prefix=ca", "all"):
        assert run(gateway, "count", what).stdout == b"memory  3\ndisk    3\n", what
    assert run(gateway, "count", "prefix=x").stdout == b"memory  0\ndisk    0\n"
    purged = run(gateway, "purge", "tool=cached")
    assert purged.returncode == 0 and purged.stdout == b"memory  3\ndisk    3\n"
    assert run(gateway, "purge", "all").stdout == b"memory  0\ndisk    0\n"


def test_a_gateway_that_is_not_there():
    done = subprocess.run([JITNEY, "cache", "stats", "-u", "http://127.0.0.1:1"], capture_output=True, timeout=30, check=False)
    assert done.returncode == 1 and b"cannot connect" in done.stderr
