# SPDX-License-Identifier: Apache-2.0
"""Identical calls in progress share one fetch."""
from harness import provider as behave
from harness.poll import given_time, until
from harness.wire import request_bytes


def ask(gateway, count, later, tool="cached", **arguments):
    return [later(gateway.call, tool, arguments or {"q": "same"}) for _ in range(count)]


def test_200_identical_calls_are_one(gateway, provider, later):
    provider.hold()
    futures = ask(gateway, 200, later)
    gateway.until_metric("in_flight_requests", 200)
    provider.release()
    replies = [future.result(20) for future in futures]
    assert {reply.status for reply in replies} == {200}
    assert {reply.body for reply in replies} == {replies[0].body}
    assert len(provider.calls) == 1
    assert gateway.metrics().sum("coalesced_total", tool="cached") == 199
    collapsed = [reply for reply in replies if "collapsed" in reply.header("cache-status")]
    assert len(collapsed) == 199


def test_uncached_but_repeatable_calls_share_as_well(gateway, provider, later):
    provider.hold()
    futures = ask(gateway, 20, later, "echo")
    gateway.until_metric("coalesced_total", 19)
    provider.release()
    assert {future.result(20).status for future in futures} == {200}
    assert len(provider.calls) == 1


def test_calls_that_are_not_repeatable_are_never_merged(gateway, provider, later):
    provider.hold()
    futures = ask(gateway, 20, later, "write")
    gateway.until_metric("in_flight_requests", 20)
    provider.release()
    assert {future.result(20).status for future in futures} == {200}
    assert len(provider.calls) == 20
    assert gateway.metrics().sum("coalesced_total") == 0


def test_the_leader_leaves_and_the_others_get_their_answer(gateway, provider, later):
    provider.hold()
    with gateway.connect() as leader:
        leader.send(request_bytes("POST", "/v1/tools/cached", b'{"q":"same"}'))
        provider.until_deliveries(1)
        futures = ask(gateway, 5, later)
        gateway.until_metric("in_flight_requests", 6)
    gateway.until_metric("clients_gone_total", 1)
    gateway.until_metric("in_flight_requests", 5)
    provider.release()
    assert {future.result(20).status for future in futures} == {200}
    assert len(provider.calls) == 1


def test_when_all_leave_the_fetch_is_given_up(gateway, provider):
    provider.hold()
    connections = [gateway.connect() for _ in range(3)]
    for connection in connections:
        connection.send(request_bytes("POST", "/v1/tools/cached", b"{}"))
    gateway.until_metric("in_flight_requests", 3)
    for connection in connections:
        connection.close()
    gateway.until_metric("in_flight_requests", 0)
    gateway.until_metric("batch_in_flight", 0)
    provider.release()
    assert gateway.call("cached").status == 200


def test_each_waits_only_until_its_own_deadline(gateway, provider, later):
    provider.hold()
    patient = later(gateway.call, "cached")
    provider.until_deliveries(1)
    hurried = gateway.call("cached", X_Request_Timeout_Ms="100")
    assert hurried.status == 504, hurried
    provider.release()
    assert patient.result(20).status == 200
    assert len(provider.calls) == 1


def test_a_hurried_leader_does_not_hurry_the_others(gateway, provider, later):
    provider.hold()

    def joined(milliseconds):
        arguments = {"within": milliseconds}
        hurried = later(gateway.call, "cached", arguments, X_Request_Timeout_Ms=str(milliseconds))
        until(lambda: hurried.done() or any(call["params"] == arguments for call in provider.calls), "it leads")
        patient = later(gateway.call, "cached", arguments)
        until(lambda: hurried.done() or gateway.metrics().sum("coalesced_total") == 1, "the other has joined")
        assert hurried.result(20).status == 504
        return patient if gateway.metrics().sum("coalesced_total") == 1 else None

    patient = given_time(joined, 300)
    provider.release()
    reply = patient.result(20)
    assert reply.status == 200, reply


def test_an_error_goes_to_all_who_share_it(gateway, provider, later):
    provider.hold()
    provider.behaviour = behave.failing(5, "no")
    futures = ask(gateway, 10, later)
    gateway.until_metric("in_flight_requests", 10)
    provider.release()
    assert {future.result(20).code for future in futures} == {"tool_error"}
    assert len(provider.calls) == 1
    provider.behaviour = behave.echo
    assert gateway.call("cached", {"q": "same"}).status == 200


def test_different_identities_do_not_share(start, provider, later):
    gateway = start({"tools": {"cached": {"cache": {"scope": "caller"}}}})
    provider.hold()
    futures = [later(gateway.call, "cached", None, Authorization=f"Bearer {key}") for key in ("a", "b", "a", "b")]
    gateway.until_metric("in_flight_requests", 4)
    provider.release()
    assert {future.result(20).status for future in futures} == {200}
    assert len(provider.calls) == 2


def test_no_cache_does_not_join_an_older_flight_wrongly(gateway, provider, later):
    """What was asked for before a caller wants a new answer does not know what that caller may have written since."""
    provider.hold()
    first = later(gateway.call, "cached")
    provider.until_deliveries(1)
    second = later(gateway.call, "cached", None, Cache_Control="no-cache")
    until(lambda: gateway.metrics().sum("in_flight_requests") == 2, "both wait")
    provider.release()
    assert first.result(20).status == second.result(20).status == 200
    assert len(provider.calls) == 2


def test_max_age_joins_no_flight_that_is_older(gateway, provider, later):
    """An answer's age counts from when its provider was asked, whether or not it has come yet."""
    provider.hold()
    first = later(gateway.call, "cached")
    provider.until_deliveries(1)
    others = [later(gateway.call, "cached", None, Cache_Control=control) for control in ("max-age=0", "max-age=600")]
    until(lambda: gateway.metrics().sum("in_flight_requests") == 3, "all wait")
    provider.release()
    assert {reply.status for reply in [first.result(20), *(other.result(20) for other in others)]} == {200}
    assert len(provider.calls) == 2
