# SPDX-License-Identifier: Apache-2.0
"""A request refused as a whole: the culprit is told, everybody else is answered."""
from harness import provider as behave
from harness.gateway import PATIENT

WIDE = {"upstreams": {"array": {**PATIENT, "batch": {"window": "10s", "items": 100, "in_flight": 8}}}}


def gathered(gateway, provider, later, count):
    """`count` calls that leave in one batch once the provider is released."""
    provider.hold()
    first = later(gateway.call, "echo", {"n": -1})
    provider.until_deliveries(1)
    futures = [later(gateway.call, "echo", {"n": n}) for n in range(count)]
    gateway.until_metric("batch_waiting_items", count)
    provider.release()
    assert first.result(20).status == 200
    return [future.result(20) for future in futures]


def refusing(refused, status, headers=()):
    """Refuses every request for which refused(delivery) holds."""
    def behaviour(delivery, wire):
        if not refused(delivery):
            behave.echo(delivery, wire)
        elif status:
            wire.answer({"error": "not this one"}, status, headers)
        else:
            wire.close()
    return behaviour


def has(poison):
    return lambda delivery: any(call["params"]["n"] == poison for call in delivery.calls)


def test_a_poison_among_many_is_told_alone(start, provider, later):
    gateway = start(WIDE)
    provider.behaviour = refusing(has(13), 400)
    replies = gathered(gateway, provider, later, 60)
    assert [n for n, reply in enumerate(replies) if reply.status != 200] == [13]
    assert replies[13].code == "upstream_error"
    assert len(provider.deliveries) <= 2 + 6 + 2
    assert gateway.metrics().sum("batch_bisections_total") >= 1


def test_a_poison_that_makes_the_provider_hang_up_is_told_alone(start, provider, later):
    gateway = start(WIDE)
    provider.behaviour = refusing(has(5), 0)
    replies = gathered(gateway, provider, later, 20)
    assert [n for n, reply in enumerate(replies) if reply.status != 200] == [5]


def test_what_is_too_large_is_halved(start, provider, later):
    gateway = start(WIDE)
    provider.behaviour = refusing(lambda delivery: len(delivery.calls) > 10, 413)
    replies = gathered(gateway, provider, later, 40)
    assert {reply.status for reply in replies} == {200}


def test_a_provider_without_arrays_is_sent_singles(start, provider, later):
    gateway = start(WIDE)
    provider.behaviour = refusing(lambda delivery: len(delivery.calls) > 1, 400)
    replies = gathered(gateway, provider, later, 40)
    assert {reply.status for reply in replies} == {200}


def test_after_429_the_lane_waits_and_nobody_is_refused(start, provider, later):
    gateway = start(WIDE)
    refused = []

    def once(delivery):
        if len(delivery.calls) > 1 and not refused:
            refused.append(delivery)
            return True
        return False

    provider.behaviour = refusing(once, 429, {"Retry-After": "1"})
    replies = gathered(gateway, provider, later, 10)
    assert {reply.status for reply in replies} == {200}
    assert len(provider.deliveries) == 3
