# SPDX-License-Identifier: Apache-2.0
"""Who may, by Host and Origin: every path of both listeners, before anything runs."""
import json
import re
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
CALL = b'{"n":1}'


def routes():
    """(listener, path, method) of everything that is served, as the table of routes has it."""
    text = (TOP / "gateway" / "server" / "routes.c").read_text()
    for listener in ("data", "admin"):
        table = re.search(rf"{listener}_routes\[\] = \{{(.*?)\n\}};", text, re.S).group(1)
        for path, methods in re.findall(r'\{ PATH\("(/[^"]*)"\), (?:NULL|&\w+), \{(.*?)\} \},', table, re.S):
            for method in re.findall(r"HTTP_(\w+)", methods):
                yield listener, path.replace("{}", "echo"), "POST" if method == "METHOD_COUNT" else method


ROUTES = sorted(set(routes()))
STRANGERS = {
    "no host and port": {"Host": "localhost:1@evil.example"},
    "rebinding": {"Host": "evil.example:8080", "Origin": "http://evil.example:8080"},
    "rebinding of a plain request": {"Host": "evil.example"},
    "another site": {"Origin": "https://evil.example"},
    "a page without a name": {"Origin": "null"},
    "another address": {"Origin": "http://192.0.2.7"},
    "nearly ours": {"Origin": "http://localhost.evil.example"},
}


def test_the_table_of_routes_was_read():
    assert len(ROUTES) > 20 and ("admin", "/admin/drain", "POST") in ROUTES and ("data", "/v1/batch", "POST") in ROUTES


@pytest.mark.parametrize("kind", STRANGERS)
def test_no_path_serves_strangers(gateway, provider, kind):
    refused = 0
    for listener, path, method in ROUTES:
        for body in (CALL, b"") if method == "POST" else (None,):
            headers = {**STRANGERS[kind], **({"Content-Type": "application/json"} if body else {})}
            reply = gateway.request(method, path, body, headers, listener)
            assert reply.status == 403, (listener, method, path, reply)
            assert reply.header("access-control-allow-origin") is None
            refused += 1
            error = reply.json()
            assert "forbidden" in json.dumps(error) and ("jsonrpc" in error) == (path == "/mcp")
    assert not provider.deliveries and gateway.metrics().sum("rejected_total", reason="origin") == refused
    assert gateway.call("echo", CALL).status == 200


def test_the_authority_of_a_target_counts_without_a_host(gateway, provider):
    """HTTP/1.0 needs no Host; an absolute target names one all the same."""
    for host, status in (("evil.example", 403), ("localhost", 200)):
        with gateway.connect() as connection:
            connection.send(f"POST http://{host}/v1/tools/echo HTTP/1.0\r\nContent-Length: 0\r\n\r\n".encode())
            assert connection.reply().status == status
    assert len(provider.deliveries) == 1


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_that_hides_where_it_is_runs_nothing(gateway, provider, site):
    headers = {"Sec-Fetch-Site": site}
    assert gateway.request("POST", "/v1/tools/echo", b"", headers).status == 403
    assert gateway.request("POST", "/admin/drain", b"", headers, "admin").status == 403
    assert gateway.request("DELETE", "/admin/cache", None, headers, "admin").status == 403
    assert not provider.deliveries
    assert gateway.request("GET", "/v1/tools", None, headers).status == 200     # a link that somebody followed


@pytest.mark.parametrize("headers", [
    {}, {"Host": "localhost"}, {"Host": "a.localhost:99"}, {"Host": "127.0.0.1"}, {"Host": "[::1]:8081"}, {"Host": "192.0.2.7"},
    {"Origin": "http://localhost:3000"}, {"Host": "127.0.0.1:1", "Origin": "http://127.0.0.1:2"},
    {"Host": "192.0.2.7:8081", "Origin": "http://192.0.2.7:8081"}, {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"}])
def test_programs_and_pages_of_this_machine_may(gateway, headers):
    json_type = {"Content-Type": "application/json"}
    assert gateway.request("POST", "/v1/tools/echo", CALL, {**json_type, **headers}).status == 200
    assert gateway.request("GET", "/admin/config", None, headers, "admin").status == 200
    assert gateway.request("DELETE", "/admin/cache", None, headers, "admin").status == 200
    assert gateway.request("DELETE", "/admin/cache", b"{}", {**json_type, **headers}, "admin").status == 200


@pytest.mark.parametrize("where", [{"allowed_hosts": ["Gateway.example"]}, {"mcp": {"allowed_hosts": ["Gateway.example"]}}])
def test_allowed_hosts_hold_for_every_path_and_for_their_pages(start, where):
    gateway = start(where)
    ours = {"Host": "gateway.EXAMPLE:443", "Origin": "https://gateway.example"}
    assert gateway.request("GET", "/v1/tools", None, ours).status == 200
    assert gateway.request("GET", "/admin/config", None, ours, "admin").status == 200
    assert gateway.request("DELETE", "/admin/cache", None, ours, "admin").status == 200
    assert gateway.request("GET", "/v1/tools", None, {"Host": "a.gateway.example"}).status == 403
    assert gateway.request("GET", "/v1/tools", None, {**ours, "Origin": "https://other.example"}).status == 403


def test_a_star_lets_any_host_in_and_no_page(start):
    gateway = start({"allowed_hosts": ["*"]})
    assert gateway.request("GET", "/v1/tools", None, {"Host": "any.example"}).status == 200
    assert gateway.request("DELETE", "/admin/cache", None, {"Origin": "https://evil.example"}, "admin").status == 403


def test_allowed_origins_are_of_the_data_listener(start):
    gateway = start({"mcp": {"allowed_origins": ["https://app.example"]}})
    page = {"Origin": "https://app.example"}
    assert gateway.request("POST", "/v1/tools/echo", CALL, {**page, "Content-Type": "application/json"}).status == 200
    assert gateway.request("DELETE", "/admin/cache", None, page, "admin").status == 403


@pytest.mark.parametrize("method, path", [("POST", "/admin/drain"), ("DELETE", "/admin/cache")])
@pytest.mark.parametrize("body, content_type, status", [
    (b"{}", "text/plain", 415), (b"", "application/x-www-form-urlencoded", 415), (b"{}", None, 415),
    (b"[]", "application/json", 400), (b'{"x":1}', "application/json", 400), (b"{", "application/json", 400)])
def test_what_changes_something_takes_an_empty_object_as_json(gateway, method, path, body, content_type, status):
    headers = {"Content-Type": content_type}
    reply = gateway.request(method, path, body, headers, "admin")
    assert reply.status == status, reply
    assert gateway.call("echo", CALL).status == 200 and gateway.get("/readyz").status == 200


@pytest.mark.parametrize("body", [b"{}", b"", None])
def test_a_program_may_drain(gateway, body):
    gateway.ended_by_test = True
    assert gateway.request("POST", "/admin/drain", body, {"Content-Type": "application/json"}, "admin").status == 202
    assert gateway.wait() == 0
