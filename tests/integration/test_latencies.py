# SPDX-License-Identifier: Apache-2.0
"""What the log, the pages, the metrics and `jitney simulate` say of how long calls take, beside what the provider and the client have
measured of the same calls, by the same clock: each lies within the next one, whatever the machine does meanwhile."""
import subprocess
import time

import pytest

from harness import provider as behave
from harness.gateway import JITNEY
from harness.poll import until

ROUNDED = 2e-6  # seconds: two figures of whole microseconds
COUNT = 32


@pytest.fixture
def measured(provider):
    """Seconds from when the provider had a call's request whole to when it answered, by the call's number."""
    spans = {}

    def behaviour(delivery, wire):
        begun = time.monotonic()
        time.sleep(0.02 + 0.001 * len(delivery.calls))
        taken = time.monotonic() - begun
        spans.update({call["params"]["n"]: taken for call in delivery.calls})
        behave.echo(delivery, wire)

    provider.behaviour = behaviour
    return spans


def ask(gateway, n):
    """One call; what its client has measured, and the reply."""
    begun = time.monotonic()
    reply = gateway.call("echo", {"n": n}, x_request_id=f"call-{n}")
    taken = time.monotonic() - begun
    assert reply.status == 200
    return taken, reply


def lines_of(gateway, count):
    """The log's line of each call, by its number."""
    until(lambda: len(gateway.events("call")) >= count, "every call is in the log")
    return {int(line["request_id"].removeprefix("call-")): line for line in gateway.events("call")}


@pytest.mark.parametrize("at_once", [1, 8])
def test_each_figure_lies_within_the_next(start, together, measured, at_once):
    gateway = start()
    asked = {}
    for first in range(0, COUNT, at_once):
        numbers = range(first, first + at_once)
        asked.update(zip(numbers, together(lambda n: ask(gateway, n), numbers)))
    lines = lines_of(gateway, COUNT)
    assert len(lines) == len(measured) == COUNT
    for n, (client, reply) in asked.items():
        line = lines[n]
        total, queue, upstream = (float(line[name]) for name in ("seconds", "queue_seconds", "upstream_seconds"))
        assert measured[n] <= upstream + ROUNDED, (n, line)
        assert queue + upstream <= total + ROUNDED, (n, line)
        assert total <= client + ROUNDED, (n, line)
        timing = dict(part.strip().split(";dur=") for part in reply.headers["server-timing"].split(","))
        assert float(timing["queue"]) == pytest.approx(queue * 1000, abs=0.002)
        assert float(timing["upstream"]) == pytest.approx(upstream * 1000, abs=0.002)
        shown, = gateway.get(f"/admin/calls/call-{n}", "admin").json()["calls"]
        assert shown["total_us"] == round(total * 1e6)
        assert {part["what"]: part["us"] for part in shown["timeline"]}["upstream"] == round(upstream * 1e6)


def test_metrics_are_the_sum_of_the_log(start, together, measured):
    gateway = start()
    together(lambda n: ask(gateway, n), range(COUNT))
    lines = lines_of(gateway, COUNT).values()
    metrics = gateway.metrics()
    for metric, name in (("request_duration_seconds", "seconds"), ("batch_wait_seconds", "queue_seconds")):
        assert metrics.sum(f"{metric}_count") == COUNT
        assert metrics.sum(f"{metric}_sum") == pytest.approx(sum(float(line[name]) for line in lines), abs=COUNT * ROUNDED), metric
    batches = {line["batch_id"]: float(line["upstream_seconds"]) for line in lines}  # an array's calls are answered together here
    assert metrics.sum("upstream_duration_seconds_count") == len(batches)
    assert metrics.sum("upstream_duration_seconds_sum") >= sum(batches.values()) - COUNT * ROUNDED


def test_what_is_learned_lies_between_the_provider_and_the_log(start, measured):
    gateway = start()
    for n in range(COUNT):
        ask(gateway, n)
    lines = lines_of(gateway, COUNT).values()
    array, = [upstream for upstream in gateway.get("/admin/upstreams", "admin").json()["upstreams"] if upstream["name"] == "array"]
    known = [shown for shown in array["classes"] if shown["learned_exchange_us"]]
    assert known
    for shown in known:
        learned = (shown["learned_exchange_us"] + shown["learned_item_us"]) / 1e6
        assert min(measured.values()) <= learned + ROUNDED and learned <= max(float(line["upstream_seconds"]) for line in lines) + ROUNDED


def test_a_replay_answers_as_the_log_says(start, measured):
    gateway = start()
    clients = [ask(gateway, n)[0] for n in range(COUNT)]
    lines_of(gateway, COUNT)
    gateway.stop()
    done = subprocess.run([JITNEY, "simulate", str(gateway.log_path), "--modes", "off,adaptive", "--items", "10"], capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode == 0 and done.stdout.startswith(f"{COUNT} calls to a provider"), (done.stdout, done.stderr)
    rows = [line.split() for line in done.stdout.split("failed\n")[1].splitlines()]
    assert rows and all(row[-1] == "0" for row in rows)
    printed = 1e-5  # two digits of a millisecond
    for row in rows:
        p50, p99 = float(row[-3]) / 1000, float(row[-2]) / 1000
        assert min(measured.values()) - printed <= p50 <= max(clients) + printed, (row, sorted(clients))
        assert row[0] != "off" or p99 <= max(clients) + printed, (row, sorted(clients))  # in a batch it may wait for another
