# SPDX-License-Identifier: Apache-2.0
"""What tenants have cost: calls, errors and time at providers since the start, of as many as are kept, and of the others together."""
import subprocess

from harness import provider as behave
from harness.gateway import JITNEY, PATIENT
from harness.poll import until
from test_stats import named, stats

NAMED = {"trusted_proxies": ["127.0.0.1/32"], "identity": {"tenant_header": "X-Tenant"}}


def figures(tenant):
    return tenant["calls"], tenant["errors"]


def all_of(gateway, calls):
    """The document, once so many have been counted: that is when a reply is out, so its reader may be quicker."""
    document = stats(gateway)
    return document if sum(tenant["calls"] for tenant in document["tenants"]) + document["other_tenants"]["calls"] == calls else None


def test_each_tenant_has_its_calls_errors_and_time(start, provider):
    gateway = start(NAMED)
    assert stats(gateway)["tenants"] == []
    provider.next(behave.after(.2))
    gateway.call("item", {"id": 1, "q": "a"}, x_tenant="acme")
    for _ in range(2):
        gateway.call("cached", {"n": 1}, x_tenant="acme")
    provider.next(behave.status(500))
    gateway.call("write", x_tenant="globex")
    gateway.call("write")
    found = until(lambda: all_of(gateway, 4), "all are counted")["tenants"]
    acme, globex = named(found, "acme"), named(found, "globex")
    assert found == [acme, globex], "who has cost most is first"
    assert figures(acme) == (3, 0) and figures(globex) == (1, 1) and acme["upstream_us"] >= 200000
    now = stats(gateway)["at"]
    assert now - 60 < acme["since"] <= globex["since"] <= now
    assert stats(gateway)["other_tenants"] == {"calls": 0, "errors": 0, "upstream_us": 0}
    top = subprocess.run([JITNEY, "top", "--once", "--view", "tenants", "-u", gateway.url("", "admin")], capture_output=True, text=True, timeout=60, check=True)
    assert [line.split()[0] for line in top.stdout.splitlines()[-3:]] == ["TENANT", "acme", "globex"], top.stdout


def test_nobody_is_believed_who_is_not_trusted(start):
    gateway = start({"trusted_proxies": ["192.0.2.1/32"], "identity": {"tenant_header": "X-Tenant"}})
    assert gateway.call("echo", x_tenant="acme", x_request_id="one").status == 200
    gateway.told("one")
    assert stats(gateway)["tenants"] == []


def test_what_is_shared_is_paid_once(start, provider, later):
    """Three calls in one request to the provider, in parts; who joins another's call pays nothing."""
    gateway = start({**NAMED, "workers": 1, "upstreams": {"array": {**PATIENT, "concurrency": 1}}})
    provider.hold()
    calls = [later(lambda: gateway.call("echo", {"n": 0}, x_tenant="t0"))]
    provider.until_deliveries(1)
    calls += [later(lambda n=n: gateway.call("cached", {"n": n}, x_tenant=f"t{n}")) for n in range(1, 4)]
    gateway.until_metric("batch_waiting_items", 3)
    joins = later(lambda: gateway.call("cached", {"n": 1}, x_tenant="late"))
    gateway.until_metric("in_flight_requests", 5)
    provider.next(behave.after(.3))
    provider.release()
    assert all(call.result(20).status == 200 for call in [*calls, joins])
    found = until(lambda: all_of(gateway, 5), "all are counted")["tenants"]
    batch = gateway.get("/admin/calls?limit=100", "admin").json()["calls"]
    shared = {call["tenant"]: sum(part["us"] for part in call["timeline"] if part["what"] == "upstream") // call["batch_size"] for call in batch}
    for name in ("t1", "t2", "t3"):
        assert abs(named(found, name)["upstream_us"] - shared[name]) <= 1, (found, batch)
    assert named(found, "late")["upstream_us"] == 0 or named(found, "t1")["upstream_us"] == 0, "one of the two has asked first"


def test_of_very_many_those_are_kept_who_call(start):
    gateway = start({**NAMED, "workers": 1})
    with gateway.connect() as connection:
        for n in range(300):
            assert connection.request("POST", "/v1/tools/cached", b'{"n":1}', {"Content-Type": "application/json", "X-Tenant": f"tenant-{n}"}).status == 200
            connection.request("POST", "/v1/tools/cached", b'{"n":1}', {"Content-Type": "application/json", "X-Tenant": "constant"})
    document = until(lambda: all_of(gateway, 600), "all are counted")
    assert len(document["tenants"]) == 256 and named(document["tenants"], "constant")["calls"] == 300
    assert document["other_tenants"]["calls"] == 300 - 255


def test_a_name_stands_once_whatever_its_bytes(start):
    """Bytes that are no UTF-8 are shown as '?', and who reads the list by name finds all of it."""
    gateway = start({**NAMED, "workers": 2})
    names = [b"\xff", b"\xfe", b"?", b'"},{"name":"acme', "Käse \u202e\u2028".encode(), b"__proto__", b"\xc3", b"a\tb"]
    for name in names * 3:
        with gateway.connect() as connection:
            assert connection.request("POST", "/v1/tools/cached", b'{"n":1}', {"Content-Type": "application/json", "X-Tenant": name.decode("latin-1")}).status == 200
    found = until(lambda: all_of(gateway, 3 * len(names)), "all are counted")["tenants"]
    assert {tenant["name"]: tenant["calls"] for tenant in found} == {"?": 12, '"},{"name":"acme': 3, "Käse \u202e\u2028": 3, "__proto__": 3, "a\tb": 3}
    assert len(found) == 5
