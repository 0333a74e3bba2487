# SPDX-License-Identifier: Apache-2.0
"""Connections that are kept and quiet: they cost little, and nothing of what their clients have begun to say is lost."""
from concurrent.futures import ThreadPoolExecutor

from harness.gateway import SANITIZED
from harness.poll import until
from harness.wire import request_bytes

COUNT, QUIET_BYTES, WAITING_BYTES = 600, 8 * 1024, 15 * 1024
LONG = {f"X-{n:02}": "a" * 92 for n in range(70)}


def asked(connection, number):
    """A long head: all of the memory that a connection has is written to."""
    reply = connection.request("POST", "/v1/tools/echo", b'{"n": %d}' % number, LONG)
    assert (reply.status, reply.json()) == (200, {"echo": {"n": number}}), reply


def test_a_quiet_connection_gives_its_memory_back(start, provider):
    """14 KiB of the library's each, of which it needs nothing between two requests: 4,000 agents held 75 MB."""
    gateway = start({"workers": 2, "limits": {"header_timeout": "60s"}})
    connections = [gateway.connect() for _ in range(COUNT)]
    before = gateway.resident_bytes()
    for number, connection in enumerate(connections):
        asked(connection, number)
    began, waits = connections[0], connections[1]
    asked(began, 1)
    began.send(b"GET /hea")         # read by the library at once, and kept where memory is given back
    provider.hold()
    waits.send(request_bytes("POST", "/v1/tools/write", b'{"n": "held"}'))
    until(lambda: SANITIZED or gateway.resident_bytes() - before < COUNT * QUIET_BYTES, "memory has gone back")
    began.send(b"lthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert began.reply().status == 200
    provider.release()
    assert waits.reply().json() == {"echo": {"n": "held"}}
    with ThreadPoolExecutor(8) as pool:     # and each can go on, with heads as long as before
        list(pool.map(lambda pair: asked(pair[1], pair[0] + 5000), enumerate(connections)))


def test_a_call_that_waits_holds_what_it_needs(start, provider):
    """Its head, and what was made of it: the rest of its connection's memory, of which the request before it had written to all, goes back."""
    gateway = start({"workers": 2, "limits": {"header_timeout": "60s"}, "upstreams": {"array": {"timeout": "60s"}}})
    connections = [gateway.connect() for _ in range(COUNT)]
    before = gateway.resident_bytes()
    for number, connection in enumerate(connections):
        asked(connection, number)
    provider.hold()
    for number, connection in enumerate(connections):
        connection.send(request_bytes("POST", "/v1/tools/write", b'{"n": %d}' % number))
    gateway.until_metric("in_flight_requests", COUNT)
    until(lambda: SANITIZED or gateway.resident_bytes() - before < COUNT * WAITING_BYTES, "memory has gone back")
    provider.release()
    for number, connection in enumerate(connections):
        assert connection.reply().json() == {"echo": {"n": number}}
        asked(connection, number)
