# SPDX-License-Identifier: Apache-2.0
"""Lines of the log say who asked: the address, through proxies that are trusted and no others, the tenant, the MCP client."""
import http.client
import json

import pytest

from harness.poll import until

TRUSTED = {"trusted_proxies": ["127.0.0.1/32", "10.0.0.0/8"], "identity": {"tenant_header": "X-Tenant"}}


def post(gateway, path, document, headers=()):
    return gateway.request("POST", path, json.dumps(document).encode(), dict(headers))


def line(gateway, event="call"):
    return until(lambda: gateway.events(event), "its line")[-1]


@pytest.mark.parametrize("forwarded, client", [
    (None, "127.0.0.1"),
    ("203.0.113.7", "203.0.113.7"),
    ("198.51.100.1, 203.0.113.7", "203.0.113.7"),           # the first is what the client itself claimed
    ("203.0.113.7,10.1.2.3 , 10.4.5.6", "203.0.113.7"),     # two proxies of ours in a row
    ("2001:db8::1", "2001:db8::1"),
    ("unknown", "127.0.0.1"),
    ("198.51.100.1, evil event=call", "127.0.0.1"),
    ("10.1.1.1", "10.1.1.1"),                               # nobody but proxies: the farthest known
    (", ,", "127.0.0.1"),
])
def test_the_client_behind_trusted_proxies(start, forwarded, client):
    gateway = start(TRUSTED)
    headers = {"X_Forwarded_For": forwarded} if forwarded else {}
    assert gateway.call("echo", {}, X_Tenant="acme", **headers).status == 200
    assert (line(gateway)["client"], line(gateway)["tenant"]) == (client, "acme")


def test_whoever_is_not_trusted_is_not_believed(start):
    gateway = start({"trusted_proxies": [], "identity": {"tenant_header": "X-Tenant"}})
    gateway.call("echo", {}, X_Tenant="acme", X_Forwarded_For="203.0.113.7")
    assert line(gateway)["client"] == "127.0.0.1" and "tenant" not in line(gateway)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.10.200.9", "127.255.99.100"])
def test_an_address_is_written_as_it_is(start, address):
    gateway = start()
    client = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30, source_address=(address, 0))
    client.request("POST", "/v1/tools/echo", b"{}", {"Content-Type": "application/json"})
    assert client.getresponse().status == 200
    client.close()
    assert line(gateway)["client"] == address


def test_several_lines_of_the_header_are_none(start):
    gateway = start(TRUSTED)
    body = b"{}"
    with gateway.connect() as connection:
        connection.send(b"POST /v1/tools/echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                        b"X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-For: 203.0.113.8\r\n\r\n%b" % (len(body), body))
        assert connection.reply().status == 200
    assert line(gateway)["client"] == "127.0.0.1"


def test_calls_of_a_batch_and_other_requests_have_it_too(start):
    gateway = start(TRUSTED)
    post(gateway, "/v1/batch", {"calls": [{"id": "a", "tool": "echo", "arguments": {}}]}, headers={"X-Forwarded-For": "203.0.113.7"})
    assert line(gateway)["client"] == line(gateway, "request")["client"] == "203.0.113.7"


def test_a_modern_mcp_client_says_its_name(start):
    gateway = start()
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "probe \"one\" " + "x" * 100, "version": "1"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {}, "_meta": meta}}
    reply = post(gateway, "/mcp", message, headers={"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28",
                                                   "Mcp-Method": "tools/call", "Mcp-Name": "echo"})
    assert reply.status == 200, reply
    assert line(gateway)["mcp_client"].startswith("probe ") and len(line(gateway)["mcp_client"]) <= 48
    for odd in (5, {"name": 5}, {}, []):
        meta["io.modelcontextprotocol/clientInfo"] = odd
        post(gateway, "/mcp", message, headers={"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28",
                                               "Mcp-Method": "tools/call", "Mcp-Name": "echo"})
    assert json.loads(gateway.get("/healthz").body)


def test_a_legacy_mcp_client_says_its_name_once(start):
    gateway = start()
    post(gateway, "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "legacy", "version": "1"}}},
        headers={"Accept": "application/json, text/event-stream"})
    assert line(gateway, "request")["mcp_client"] == "legacy"
