# SPDX-License-Identifier: Apache-2.0
"""The disk tier: answers outlive the gateway, whatever becomes of the file; purges reach it; calls never wait for it."""
import json
import os
import random
import signal
import subprocess
import time

import pytest

from harness import provider as behave
from harness.poll import until
from test_cache import verdict
from test_redis import detail

COUNT = 30


@pytest.fixture
def place(tmp_path):
    return tmp_path / "kept"


@pytest.fixture
def tier(place):
    def settings(**options):
        return {"cache": {"disk": {"path": str(place), "timeout": "5s", **options}}}

    return settings


def up(gateway):
    until(lambda: gateway.metrics().sum("disk_up") == 1, "the disk tier is open")
    until(lambda: not page(gateway)["loading"], "what was kept is loaded")
    return gateway


def kill(gateway):
    """At once, as a crash of the process would."""
    gateway.ended_by_test = True
    gateway.signal(signal.SIGKILL)
    gateway.wait()
    gateway.process = None


def page(gateway):
    return gateway.get("/admin/cache", listener="admin").json()["disk"]


def fill(gateway, count=COUNT):
    for number in range(count):
        assert verdict(gateway.call("cached", {"q": number})) == "miss"
    until(lambda: page(gateway)["entries"] == count, f"{count} answers on the disk")


def verdicts(gateway, count=COUNT):
    return [verdict(gateway.call("cached", {"q": number})) for number in range(count)]


# ---- what it is for ----

def test_answers_outlive_the_gateway(start, tier, provider):
    first = up(start(tier()))
    body = first.call("cached", {"q": 0}).body
    first.stop()
    second = up(start(tier()))
    assert page(second)["loaded"] == 1
    reply = second.call("cached", {"q": 0})
    assert (verdict(reply), detail(reply), reply.body) == ("hit", "memory", body)
    assert len(provider.calls) == 1


def test_answers_outlive_a_kill(start, tier, provider):
    first = up(start(tier()))
    fill(first)
    kill(first)
    second = up(start(tier()))
    assert verdicts(second) == ["hit"] * COUNT
    assert len(provider.calls) == COUNT


def test_what_memory_has_no_room_for_is_found_on_the_disk(start, tier, provider):
    small = {"cache": {**tier()["cache"], "memory": {"size": "64KiB"}}}
    gateway = up(start(small))
    fill(gateway, 200)
    replies = [gateway.call("cached", {"q": number}) for number in range(200)]
    assert [verdict(reply) for reply in replies] == ["hit"] * 200
    assert {detail(reply) for reply in replies} >= {"disk"}
    assert gateway.metrics().sum("cache_requests_total", tier="disk", result="hit") > 0
    assert len(provider.calls) == 200


def test_without_a_snapshot_it_is_asked_after_a_restart(start, tier, provider):
    first = up(start(tier(snapshot="0")))
    fill(first)
    first.stop()
    second = up(start(tier(snapshot="0")))
    reply = second.call("cached", {"q": 1})
    assert (verdict(reply), detail(reply)) == ("hit", "disk")
    assert detail(second.call("cached", {"q": 1})) == "memory"


# ---- purges ----

PURGES = {
    "everything": ("", {"cached": "miss", "other": "miss"}),
    "tool": ("?tool=cached", {"cached": "miss", "other": "hit"}),
    "prefix": ("?prefix=oth", {"cached": "hit", "other": "miss"}),
    "tag": ("?tag=red", {"cached": "hit", "other": "miss"}),
}
OTHER = {"upstream": "array", "annotations": {"read_only": True}, "cache": {"ttl": "1h", "scope": "shared", "tags": ["red"]}}


@pytest.mark.parametrize("what", PURGES)
def test_purges_hold_after_a_kill(start, tier, provider, what):
    query, expected = PURGES[what]
    settings = {**tier(), "tools": {"other": OTHER}}
    first = up(start(settings))
    first.call("cached")
    first.call("other")
    until(lambda: page(first)["entries"] == 2, "both on the disk")
    reply = first.request("DELETE", f"/admin/cache{query}", listener="admin").json()
    gone = list(expected.values()).count("miss")
    assert reply == {"purged": gone, "disk": {"status": "done", "purged": gone}}
    kill(first)
    second = up(start(settings))
    assert {tool: verdict(second.call(tool)) for tool in expected} == expected


# ---- what may become of the file ----

def damage_header(path):
    path.write_bytes(b"This is no database at all." + path.read_bytes()[27:])


def damage_middle(path):
    data = bytearray(path.read_bytes())
    for at in range(4096, len(data)):
        data[at] ^= 0x55
    path.write_bytes(bytes(data))


def damage_cut(path):
    os.truncate(path, path.stat().st_size // 2 + 100)


def damage_empty(path):
    os.truncate(path, 0)


@pytest.mark.parametrize("damage", [damage_header, damage_middle, damage_cut, damage_empty])
def test_a_damaged_file_is_begun_anew(start, tier, place, provider, damage):
    first = up(start(tier()))
    fill(first)
    first.stop()
    damage(place / "cache.db")
    second = start(tier())
    assert all(word in ("hit", "miss") for word in verdicts(second))
    until(lambda: second.metrics().sum("disk_up") == 1, "the disk tier is open again")
    verdicts(second)
    second.call("cached", {"q": "new"})
    until(lambda: page(second)["entries"] > 0, "it is in use again")
    second.stop()
    third = up(start(tier()))
    assert verdict(third.call("cached", {"q": "new"})) == "hit"


def test_another_programs_database_is_left_alone(start, tier, place):
    sqlite3 = pytest.importorskip("sqlite3")
    place.mkdir()
    with sqlite3.connect(place / "cache.db") as database:
        database.execute("create table mine (a)")
    database.close()
    before = (place / "cache.db").read_bytes()
    gateway = start(tier())
    until(lambda: page(gateway)["status"] == "down", "it is refused")
    assert "another program's" in page(gateway)["detail"]
    assert verdict(gateway.call("cached")) == "miss"
    until(lambda: gateway.events("disk_cache_unavailable"), "it is told")
    gateway.stop()
    assert (place / "cache.db").read_bytes() == before


def test_a_second_gateway_on_the_path_goes_without(start, tier, provider):
    first, second = up(start(tier())), start(tier())
    until(lambda: page(second)["status"] == "down", "it is refused")
    event = until(lambda: second.events("disk_cache_unavailable"), "it is told")[0]
    assert "another process" in event["message"]
    assert second.get("/readyz").json()["components"]["disk"]["status"] == "down"
    assert second.get("/readyz").status == 200
    fill(first)
    assert verdict(second.call("cached", {"q": 1})) == "miss"
    assert verdict(second.call("cached", {"q": 1})) == "hit"
    first.stop()
    until(lambda: page(second)["status"] == "up", "it takes over")


def test_a_directory_that_cannot_be_made(start, place):
    place.write_text("a file")
    gateway = start({"cache": {"disk": {"path": str(place / "below")}}})
    until(lambda: page(gateway)["status"] == "down", "it is refused")
    assert "cannot make the directory" in page(gateway)["detail"]
    assert verdict(gateway.call("cached")) == "miss"


def test_twenty_kills_in_the_middle_of_writes(start, tier, place, provider):
    chance = random.Random(4)
    for number in range(20):
        gateway = start(tier())
        until(lambda: gateway.metrics().sum("disk_up") == 1, "open")
        limit = time.monotonic() + chance.uniform(0.02, 0.15)
        made = 0
        while time.monotonic() < limit:
            assert gateway.call("cached", {"round": number, "q": made}).status == 200
            made += 1
        kill(gateway)
        assert not gateway.events("disk_cache_recreated")
    last = up(start(tier()))
    assert not last.events("disk_cache_recreated")
    calls = len(provider.calls)
    assert verdict(last.call("cached", {"round": 0, "q": 0})) == "hit"
    assert len(provider.calls) == calls


# ---- bounds ----

def test_it_stays_within_its_size(start, tier, place, provider):
    gateway = up(start({**tier(size="1MiB", compress="0")}))
    blob = "x" * 4000
    for number in range(600):
        gateway.call("cached", {"q": number, "blob": blob})
    until(lambda: gateway.metrics().sum("cache_evictions_total", tier="disk", reason="size") > 300, "it makes room")
    assert (place / "cache.db").stat().st_size <= 1 << 20
    assert page(gateway)["bytes"] <= 1 << 20
    assert page(gateway)["status"] == "up"
    gateway.stop()
    again = up(start({**tier(size="1MiB", compress="0")}))
    assert verdict(again.call("cached", {"q": 599, "blob": blob})) == "hit"


def test_what_is_larger_than_it_may_be_is_begun_anew(start, tier, place):
    first = up(start(tier(compress="0")))
    for number in range(300):
        first.call("cached", {"q": number, "blob": "x" * 5000})
    until(lambda: page(first)["entries"] == 300, "all on the disk")
    first.stop()
    second = up(start(tier(size="1MiB")))
    assert "larger than cache.disk.size" in second.events("disk_cache_recreated")[0]["message"]


def test_a_full_disk(start, tier, place, provider):
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a small disk takes the right to mount one")
    try:
        gateway = up(start(tier(compress="0")))
        blob = "x" * 5000
        for number in range(400):
            assert gateway.call("cached", {"q": number, "blob": blob}).status == 200
        until(lambda: gateway.metrics().sum("disk_errors_total", reason="full") > 0, "it is full")
        assert gateway.call("cached", {"q": 0, "blob": blob}).status == 200
        until(lambda: gateway.metrics().sum("disk_up") == 1, "it is begun anew")
        assert "full" in gateway.events("disk_cache_recreated")[0]["message"]
        assert gateway.stop() == 0
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_disk_and_redis_exclude_each_other(make, tier):
    gateway = make({"cache": {**tier()["cache"], "redis": {"url": "redis://127.0.0.1:1"}}})
    gateway.refuses("exclude each other")


def test_a_purge_of_all_needs_no_second_file_of_that_size(start, tier, place, provider):
    """cache B8: it was one transaction, so the log of writes grew as large as what was purged: 43.8 MiB for 44, and gigabytes
    where there are gigabytes; and the tier was deaf until it had ended."""
    gateway, count = up(start(tier(size="64MiB"))), 1500
    provider.behaviour = behave.answering(b'"' + os.urandom(8_000).hex().encode() + b'"')     # nothing to compress
    for first in range(0, count, 300):
        calls = [{"id": n, "tool": "cached", "arguments": {"q": n}} for n in range(first, first + 300)]
        assert {result["status"] for result in gateway.request("POST", "/v1/batch", json.dumps({"calls": calls}).encode()).json()["results"]} == {200}
    until(lambda: page(gateway)["entries"] == count, "all are on the disk")
    assert gateway.request("DELETE", "/admin/cache?tool=cached", listener="admin").status == 200
    until(lambda: page(gateway)["entries"] == 0, "none is")
    written = (place / "cache.db-wal").stat().st_size    # it never shrinks, so that is the most it was
    assert 0 < written < 8 << 20 < (place / "cache.db").stat().st_size
