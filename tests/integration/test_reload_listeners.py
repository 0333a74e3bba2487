# SPDX-License-Identifier: Apache-2.0
"""Addresses that come and go while the gateway runs."""
import contextlib
import os
import socket
import threading

import pytest

from harness.poll import until
from harness.ports import free_port
from harness.reload import in_force, reload, reloaded, write
from harness.wire import Raw


def addresses(gateway):
    """Those listened on, as the log says, in the order of coming."""
    there = []
    for event in gateway.events():
        if event["event"] == "listening":
            there.append((event["listener"], event["address"]))
        elif event["event"] == "listening_no_more":
            there.remove((event["listener"], event["address"]))
    return there


def refused(address):
    try:
        Raw(address).close()
        return False
    except ConnectionRefusedError:
        return True


def test_a_new_address_is_opened_and_an_old_one_drained(start):
    gateway = start()
    old, port = gateway.address(), free_port()
    kept, idle = gateway.connect(), gateway.connect()
    assert kept.request("GET", "/healthz").status == 200 and idle.request("GET", "/healthz").status == 200
    told = reloaded(gateway, {"listen": ["127.0.0.1:0", f"127.0.0.1:{port}"]})
    assert told["changed"]["settings"] == ["listen"] and told["needs_restart"] == []
    with Raw(("127.0.0.1", port)) as new:
        assert new.request("GET", "/healthz").status == 200
    assert gateway.address() == old and kept.request("GET", "/healthz").header("connection") is None, "it is as it was"
    told = reloaded(gateway, {"listen": f"127.0.0.1:{port}", "drain_timeout": "1s"})
    until(lambda: refused(old), "the old address is gone")
    reply = kept.request("GET", "/healthz")
    assert (reply.status, reply.header("connection")) == (200, "close")
    until(idle.closed, "who says nothing is let go")
    assert [address for kind, address in addresses(gateway) if kind == "data"] == [f"127.0.0.1:{port}"]
    for connection in (kept, idle):
        connection.close()


def test_calls_at_an_address_that_goes_end_well(start, provider, later):
    gateway = start()
    old, port = gateway.address(), free_port()
    provider.hold()
    calls = [later(gateway.call, "write", {"n": n}) for n in range(4)]
    provider.until_calls(4)
    reloaded(gateway, {"listen": f"127.0.0.1:{port}", "drain_timeout": "0"})
    until(lambda: refused(old), "the old address is gone")
    provider.release()
    assert {call.result(20).status for call in calls} == {200}


def test_an_address_that_is_taken_is_refused_and_nothing_is_opened(start):
    gateway = start()
    first = free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        write(gateway, {"listen": [f"127.0.0.1:{first}", f"127.0.0.1:{taken}"], "tools": {"fresh": {"upstream": "array"}}})
        files = gateway.fds()
        status, told = reload(gateway)
        assert status == 422 and f"127.0.0.1:{taken}" in told["errors"][0] and "in use" in told["errors"][0]
        assert refused(("127.0.0.1", first)) and gateway.call("fresh").status == 404
        assert in_force(gateway)["listen"] == ["127.0.0.1:0"]
        until(lambda: gateway.fds() <= files, "no descriptor is left")
    assert reload(gateway)[0] == 200
    with Raw(("127.0.0.1", taken)) as there:
        assert there.request("POST", "/v1/tools/fresh", b"{}").status == 200


def test_an_address_grows_and_changes_its_purpose(start):
    port, other = free_port(), free_port()
    gateway = start({"listen": f"127.0.0.1:{port}", "admin": {"listen": f"127.0.0.1:{other}"}})
    reloaded(gateway, {"listen": f"0.0.0.0:{port}"})
    until(lambda: ("data", f"0.0.0.0:{port}") in addresses(gateway), "it listens everywhere")
    with Raw(("127.0.0.2", port)) as everywhere:
        assert everywhere.request("GET", "/healthz").status == 200
    told = reloaded(gateway, {"listen": f"127.0.0.1:{other}", "admin": {"listen": f"0.0.0.0:{port}"}})
    assert told["changed"]["settings"] == ["listen", "admin.listen"]
    gateway.addresses = {"data": [f"127.0.0.1:{other}"], "admin": [f"127.0.0.1:{port}"]}
    until(lambda: gateway.call("echo").status == 200, "callers go to the one")
    until(lambda: gateway.get("/admin/config", "admin").status == 200, "operators to the other")
    reloaded(gateway, {"admin": {"listen": "off"}})
    until(lambda: refused(("127.0.0.1", port)), "and then nowhere")
    assert gateway.call("echo").status == 200


def test_unix_sockets_come_and_go(start):
    gateway = start()
    path = gateway.directory / "here.sock"
    reloaded(gateway, {"listen": ["127.0.0.1:0", f"unix:{path}"]})
    with Raw(path) as there:
        assert there.request("GET", "/healthz").status == 200
    reloaded(gateway, {"listen": "127.0.0.1:0"})
    assert not path.exists()
    reloaded(gateway, {"listen": ["127.0.0.1:0", f"unix:{path}"]})
    with Raw(path) as there:
        assert there.request("GET", "/healthz").status == 200


def test_paths_that_look_alike_are_two(start):
    """A listener's name has no colons and no blanks; that of another path must be another one all the same."""
    gateway = start()
    paths = [gateway.directory / name for name in ("a_b", "a:b", "a b", "a%5Fb")]
    for path in paths:
        reloaded(gateway, {"listen": ["127.0.0.1:0", f"unix:{path}"]})
        assert [each.exists() for each in paths] == [each == path for each in paths]
        with Raw(path) as there:
            assert there.request("GET", "/healthz").status == 200
    reloaded(gateway, {"listen": ["127.0.0.1:0", *(f"unix:{path}" for path in paths)]})
    for path in paths:
        with Raw(path) as there:
            assert there.request("GET", "/healthz").status == 200


@pytest.mark.parametrize("what", ["folder", "file", "pipe", "link"])
def test_what_is_no_socket_is_left_alone_and_told(start, what):
    gateway = start()
    path = gateway.directory / "there"
    {"folder": path.mkdir, "file": lambda: path.write_text("precious"), "pipe": lambda: os.mkfifo(path),
     "link": lambda: path.symlink_to("nowhere")}[what]()
    before = os.lstat(path)
    write(gateway, {"listen": ["127.0.0.1:0", f"unix:{path}"]})
    status, told = reload(gateway)
    assert status == 422 and "something that is no socket" in told["errors"][0]
    assert os.lstat(path).st_ino == before.st_ino and gateway.call("echo").status == 200


def test_addresses_that_come_and_go_leave_nothing(start, later):
    """While others call at the one that stays, whose connections stay too."""
    gateway = start()
    ports = [free_port(), free_port()]
    ended = threading.Event()

    def ask():
        with gateway.connect() as kept:
            outcomes = set()
            while not ended.is_set():
                reply = kept.request("POST", "/v1/tools/echo", b"{}")
                outcomes.add((reply.status, reply.header("connection")))
            return outcomes

    asked = [later(ask) for _ in range(2)]
    try:
        for number in range(20):
            reloaded(gateway, {"listen": ["127.0.0.1:0", f"127.0.0.1:{ports[number % 2]}"], "drain_timeout": "0"})
            with Raw(("127.0.0.1", ports[number % 2])) as there:
                assert there.request("GET", "/healthz").status == 200
            if number == 3:
                files = gateway.fds()
    finally:
        ended.set()
    assert [one.result(20) for one in asked] == [{(200, None)}] * 2
    until(lambda: gateway.fds() <= files, "no descriptor is left")


def test_an_event_stream_at_an_address_that_goes_ends(start):
    gateway = start()
    port = free_port()
    body = (b'{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"_meta":{'
            b'"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},'
            b'"io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"}},"notifications":{"toolsListChanged":true}}}')
    with contextlib.closing(gateway.connect()) as stream:
        headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28",
                   "Mcp-Method": "subscriptions/listen"}
        lines = [f"{name}: {value}" for name, value in headers.items()]
        stream.send(("POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                     f"Content-Length: {len(body)}\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode() + body)
        until(lambda: stream.receive() or b"acknowledged" in stream.pending, "it is open")
        reloaded(gateway, {"listen": f"127.0.0.1:{port}"})
        assert stream.rest().endswith(b"0\r\n\r\n")
