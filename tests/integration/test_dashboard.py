# SPDX-License-Identifier: Apache-2.0
"""The admin listener's page: all of it from the binary, readable without scripts, open to no other page."""
import json
import pathlib
import re
import shutil
import subprocess

import pytest

from harness import provider as behave
from harness.browser import DRIVER, Browser
from harness.gateway import PATIENT
from harness.poll import until
from harness.reload import reload

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "gateway" / "admin" / "dashboard"
CHROMIUM = shutil.which("chromium")


def page(gateway, path="/"):
    reply = gateway.get(path, "admin")
    assert reply.status == 200, reply
    policy = reply.header("content-security-policy")
    assert policy.startswith("default-src 'self';") and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert reply.header("x-content-type-options") == "nosniff"
    return reply


def test_the_files_are_those_of_the_tree(gateway):
    for name, kind in (("dashboard.js", "text/javascript"), ("dashboard.css", "text/css")):
        reply = page(gateway, "/" + name)
        assert reply.header("content-type").startswith(kind) and reply.body == (FOLDER / name).read_bytes()
        assert gateway.get("/" + name).status == 404, "the data listener has no such path"


def test_it_is_small_and_loads_nothing_foreign(gateway):
    all_of_it = b"".join(page(gateway, path).body for path in ("/", "/dashboard.js", "/dashboard.css"))
    assert len(all_of_it) < 80 * 1024
    foreign = [url for url in re.findall(rb"https?://[^\s\"'`)]+", all_of_it)
               if not url.startswith((b"http://www.w3.org/2000/svg", b"http://www.w3.org/1999/xhtml", b"http://127.0.0.1"))]
    assert foreign == []
    assert b"innerHTML" not in all_of_it and b"eval(" not in all_of_it
    assert not re.search(rb"<script(?! src=dashboard\.js)|\son\w+=|\sstyle=", page(gateway).body), "nothing inline: the policy forbids it"


def test_without_scripts_it_is_a_table(gateway, provider):
    gateway.call("echo", {"n": 1})
    text = page(gateway).body.decode()
    assert re.search(r"<th scope=row>echo<td>1<td>[0-9.]+ ms<td>[0-9.]+ ms", text)
    assert "<p>5 tools, 2 upstreams, 2 workers, up for " in text
    assert re.search(r"<th scope=row>array<td class=text><span class=good>well</span><td>1 of 1<td>1", text)
    provider.stop()
    gateway.call("send", {"n": 2})
    text = page(gateway).body.decode()
    assert re.search(r"<th scope=row>rest<td class=text><span class=bad>down</span><td>0 of 1.*<td class=\"text long\">cannot connect", text)
    assert text.index("<th scope=row>rest") < text.index("<th scope=row>array"), "the sick first"


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_the_script_is_one():
    subprocess.run(["node", "--check", str(FOLDER / "dashboard.js")], check=True, capture_output=True, timeout=60)


@pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")
@pytest.mark.parametrize("view, shown", [
    ("overview", ["calls a second", "Who is sick", "p99"]), ("upstreams", ["Endpoints", "array", "drain"]), ("bus", ["Why they left", "echo"]),
    ("cache", ["memory", "purge"]), ("tools", ["echo", "p99"]), ("calls", ["upstream_error", "where its time went"]), ("processes", ["No upstream is a program", "lists its tools itself"]),
    ("alerts", ["What fires", "reload_failed", "Conditions", "Nobody is told"]), ("tools/echo", ["Answers its arguments.", "Changes nothing", "what to say", "not from memory"])])
def test_a_browser_draws_every_view(start, provider, nobody, tmp_path, view, shown):
    schema = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "description": "what to say"}, "n": {"type": "integer"}}}
    gateway = start({"tools": {"echo": {"input_schema": schema}}, "alerts": {"reload_failed": {"for": "0"}},
                     "upstreams": {"gone": {"dialect": "rest", "endpoints": [{"url": nobody}], "health": {"tcp": True, "interval": "100ms"}}}})
    until(lambda: any(u["condition"] != "well" for u in gateway.get("/admin/stats", "admin").json()["upstreams"]), "one is sick and stays it, however long a browser takes to begin")
    if view == "alerts":
        gateway.config_path.write_text("nonsense: [")
        assert reload(gateway)[0] == 422
        until(lambda: gateway.get("/admin/alerts", "admin").json()["alerts"], "it fires")
    gateway.call("echo", {"n": 1})
    provider.next(behave.status(500))
    gateway.call("write")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync",
               "--disable-component-update", f"--user-data-dir={tmp_path}/browser", "--virtual-time-budget=4000", "--enable-logging=stderr", "--v=0")
    done = subprocess.run([CHROMIUM, *options, "--dump-dom", gateway.url("/", "admin") + "#" + view], capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    drawn = done.stdout.split("<main>")[1]
    assert [word for word in shown if word not in drawn] == [], drawn[:3000]
    current = re.search(r'<a[^>]*aria-current="page"[^>]*>', done.stdout)[0]
    assert f'href="#{view.split("/")[0]}"' in current
    assert "CONSOLE" not in done.stderr, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_a_tool_can_be_called_from_the_page_and_from_no_other(gateway, provider):
    """As from the data listener, with what no foreign page can send."""
    def post(headers, tool="write", body=b'{"n":1}'):
        return gateway.request("POST", f"/admin/tools/{tool}", body, headers, "admin")

    own = {"Content-Type": "application/json", "Origin": gateway.url("", "admin").rstrip("/")}
    reply = post(own)
    assert reply.status == 200 and reply.json() == {"echo": {"n": 1}} and reply.header("cache-status")
    assert [call["tool"] for call in gateway.told(reply.header("x-request-id"))] == ["write"]
    for headers, status in (({**own, "Origin": "https://evil.example"}, 403), ({"Origin": own["Origin"], "Content-Type": "text/plain"}, 415),
                            ({"Content-Type": "application/x-www-form-urlencoded"}, 415)):
        assert post(headers).status == status, headers
    assert len(provider.deliveries) == 1
    assert post(own, "nothing").status == 404 and post(own, body=b"{").code == "invalid_json"
    definition = gateway.get("/admin/tools/echo", "admin").json()
    assert definition["name"] == "echo" and definition["annotations"]["read_only"]
    assert gateway.get("/admin/tools/echo").status == 404, "the data listener has no such path"


@pytest.fixture
def browser(tmp_path):
    if not CHROMIUM or not DRIVER:
        pytest.skip("chromium or chromedriver is not installed")
    browser = Browser(tmp_path / "driven")
    yield browser
    browser.finish()


SCROLLED = "return [...document.querySelectorAll('.scroll')].filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.ariaLabel)"  # tables that do not fit
VIEWS = ("overview", "upstreams", "bus", "cache", "tools", "calls", "processes", "alerts", "tools/write")


def test_every_view_fits_a_phone(start, provider, browser):
    gateway = start({"alerts": {"upstream_down": {"for": "0"}}})
    gateway.call("echo")
    provider.stop()
    until(lambda: gateway.call("echo").status == 503 and gateway.get("/admin/alerts", "admin").json()["alerts"], "something is wrong")
    for view in VIEWS:
        browser.open("about:blank")
        browser.open(gateway.url("/", "admin") + "#" + view, 360, 740)
        until(lambda: browser.run("return !!document.querySelector('nav a[aria-current]') && document.querySelector('main').children.length > 0"), view)
        assert browser.run("return document.documentElement.scrollWidth") <= 360, view
        assert browser.run(SCROLLED) == [], view
    assert browser.complaints() == []


def test_a_tool_is_called_by_keyboard_alone(start, browser):
    """From the form that its schema makes to status, body, headers and time line."""
    schema = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}, "n": {"type": "integer"}, "loud": {"type": "boolean"}}}
    gateway = start({"tools": {"echo": {"input_schema": schema}}})
    browser.open(gateway.url("/", "admin") + "#tools/echo")
    until(lambda: browser.run("return !!document.querySelector('#arg-text')"), "the form is there")
    assert browser.run("return [...document.querySelectorAll('.bench :is(input, select, textarea)')].every((e) => e.labels.length || e.ariaLabel)")
    browser.run("document.querySelector('#arg-text').focus()")
    browser.keys("hello <b>\ue00412\ue004\ue004\ue004\ue004\ue007")
    until(lambda: browser.run("return !!document.querySelector('pre')"), "the answer is there")
    shown = browser.run("return document.querySelector('[aria-live]').innerText")
    assert "200 OK" in shown and "hello <b>" in shown and '"n": 12' in shown and "cache-status" in shown and "upstream" in shown
    assert "loud" not in browser.run("return document.querySelector('pre').innerText"), "what is not filled in is not sent"
    assert browser.complaints() == []


def test_names_of_arguments_hide_nothing_and_numbers_keep_their_digits(start, provider, browser):
    names = ["raw", "fresh", "elements", "querySelectorAll", "submit", "__proto__", "id"]
    schema = {"type": "object", "properties": {**{name: {"type": "string"} for name in names}, "n": {"type": "integer"}, "x": {"type": "number"}}}
    gateway = start({"tools": {"echo": {"input_schema": schema}}})
    browser.open(gateway.url("/", "admin") + "#tools/echo")
    until(lambda: browser.run("return !!document.querySelector('#arg-x')"), "the form is there")
    for name in names:
        browser.run(f"document.getElementById('arg-{name}').value = 'of {name}'")
    browser.run("document.querySelector('#arg-n').value = '12345678901234567890'; document.querySelector('#arg-x').value = '1e300'; document.querySelector('.bench button').click()")
    until(lambda: provider.deliveries, "it is called")
    sent = provider.deliveries[0].body.decode()
    assert all(f'"{name}":"of {name}"' in sent for name in names) and '"n":12345678901234567890' in sent and '"x":1e300' in sent, sent
    browser.open(gateway.url("/", "admin") + "#tools/%")
    until(lambda: "%: " in browser.run("return document.querySelector('main').innerText"), "there is no such tool, and the page says so")


def test_what_a_stranger_has_named_fits_a_phone_and_is_only_text(start, provider, browser):
    markup, backwards, long = "<img src=x onerror=alert(1)><script>alert(2)</script>", "\u202eevil\u2066 \u05e9\u05dc\u05d5\u05dd", "x" * 4096
    schema = {"type": "object", "properties": {markup: {"type": "string", "description": markup + long}, backwards: {"type": "string", "enum": [markup, long]},
                                               "y" * 900: {"type": "integer", "default": markup}, "z": {"type": "string", "maxLength": 9999, "default": long}}}
    gateway = start({"tools": {"k" * 64: {"upstream": "rest", "description": markup + long, "input_schema": schema, "request": {"method": "POST", "path": "/x", "body": "{arguments}"}}},
                     "upstreams": {"u" * 64: {"dialect": "rest", "endpoints": [{"url": provider.url("/" + "p" * 200)}]}},
                     "trusted_proxies": ["127.0.0.1/32"], "identity": {"tenant_header": "X-Tenant"}})
    provider.behaviour = behave.status(500, json.dumps({"error": markup + backwards + long}).encode())
    for tenant in (markup, backwards.encode().decode("latin-1"), "w" * 128):
        assert gateway.call("k" * 64, x_tenant=tenant, x_request_id="r" * 128).status == 502
    gateway.told("r" * 128, 3)
    for width in (360, 1400):
        for view in (*VIEWS[:-1], "tools/" + "k" * 64):
            browser.open("about:blank")
            browser.open(gateway.url("/", "admin") + "#" + view, width, 740)
            until(lambda: browser.run("return !!document.querySelector('nav a[aria-current]') && !!document.querySelector('main p, main table, main form')"), view)
            if view == "calls":
                until(lambda: browser.run("return document.querySelectorAll('tbody button').length") == 6, "three calls of three tenants")
                browser.run("[...document.querySelectorAll('tbody button')].at(-1).click()")
            assert browser.run("return document.documentElement.scrollWidth") <= width, view
            assert browser.run(SCROLLED) == [], (view, width)
            assert browser.run("return document.querySelectorAll('main img, main script').length") == 0
    assert browser.complaints() == []


def test_one_of_a_batchs_calls_opens_with_the_others(start, browser):
    """They have one request id, and have begun together."""
    gateway = start()
    gateway.batch([{"id": str(n), "tool": "echo", "arguments": {"n": n}} for n in range(5)])
    browser.open(gateway.url("/", "admin") + "#calls")
    until(lambda: browser.run("return document.querySelectorAll('tbody button').length") == 5, "all are there")
    sizes = [call["batch_size"] for call in gateway.get("/admin/calls", "admin").json()["calls"]]
    assert max(sizes) > 1
    browser.run(f"document.querySelectorAll('tbody button')[{sizes.index(max(sizes))}].click()")
    until(lambda: browser.run("return document.querySelectorAll('.story .fall').length") == max(sizes), "those that left with it are drawn")
    assert browser.run("return document.querySelectorAll('.story').length") == 1
    assert browser.complaints() == []


def shown(browser):
    return browser.run("return document.querySelector('main').innerText")


def test_the_bus_says_why_each_batch_left(start, provider, browser):
    gateway = start({"upstreams": {"rest": {"batch": {"mode": "off"}}}})
    gateway.call("echo")
    gateway.call("item", {"id": 1, "q": "a"})
    browser.open(gateway.url("/", "admin") + "#bus")
    until(lambda: "nothing was under way" in shown(browser) and "each call travels alone" in shown(browser), "both are told")
    assert browser.complaints() == []


def test_a_purge_says_first_what_it_would_drop(gateway, browser):
    for n in range(7):
        gateway.call("cached", {"n": n})
    browser.open(gateway.url("/", "admin") + "#cache")
    until(lambda: browser.run("return !!document.querySelector('form.last input')"), "the form is there")
    browser.run("window.asked = []; window.confirm = (text) => { asked.push(text); return asked.length > 1; }; window.told = []; window.alert = (text) => told.push(text); document.querySelector('form.last input').focus()")
    browser.keys("cached\ue007")
    until(lambda: re.search(r"tool cached: 7 answers \([0-9.]+ (KiB|B)\) in memory\.", shown(browser)), "Enter counts")
    assert browser.run("return asked.length") == 0
    press = "document.querySelector('form.last button[value=purge]').click()"
    browser.run(press)
    until(lambda: browser.run("return asked.length") == 1, "it asks")
    assert browser.run("return asked[0]").startswith("Drop what is kept by tool cached: 7 answers (")
    assert gateway.get("/admin/cache/count?tool=cached", "admin").json()["memory"]["entries"] == 7, "no is no"
    browser.run(press)
    until(lambda: gateway.get("/admin/cache/count?tool=cached", "admin").json()["memory"]["entries"] == 0, "yes is yes")
    until(lambda: not browser.run("return document.querySelector('form.last button[value=purge]').disabled"), "it can be pressed again")
    assert browser.run("return told[0]") == "Dropped: 7 from memory."
    browser.run("const input = document.querySelector('form.last input'); input.value = 'nobody'; " + press)
    until(lambda: "There is no such tool" in shown(browser), "what cannot be purged is said")
    assert browser.run("return asked.length") == 2


def test_a_call_is_seen_while_it_is_under_way(start, provider, later, browser):
    """Where it is and for how long, and so is its batch; then it has come back."""
    gateway = start({"upstreams": {"array": PATIENT}})
    provider.hold()
    call = later(lambda: gateway.call("echo", {"n": 1}))
    provider.until_deliveries(1)
    browser.open(gateway.url("/", "admin") + "#calls")
    until(lambda: "at the provider" in (row := browser.run("return (document.querySelector('tbody tr') || document.body).innerText")) and "so far" in row, "it is told")
    browser.run("document.querySelector('tbody button').click()")
    until(lambda: "Now at the provider. Left in batch" in shown(browser), "its story is open")
    browser.open(gateway.url("/", "admin") + "#bus")
    until(lambda: "so far" in shown(browser), "its batch is under way")
    provider.release()
    assert call.result(20).status == 200
    until(lambda: "so far" not in shown(browser) and "nothing was under way" in shown(browser), "it has come back")
    assert browser.complaints() == []


def test_calls_by_tenant_and_by_time(start, provider, browser):
    gateway = start({"trusted_proxies": ["127.0.0.1/32"], "identity": {"tenant_header": "X-Tenant"}})
    provider.next(behave.status(500))
    gateway.call("write", {"n": 0}, x_tenant="globex")
    for n in range(3):
        gateway.call("echo", {"n": n}, x_tenant="acme")
    browser.open(gateway.url("/", "admin") + "#calls")
    until(lambda: "Tenants, the dearest first" in shown(browser) and browser.run("return document.querySelector('tbody').rows.length") == 2, "both are there")
    assert sorted(browser.run("return [...document.querySelector('tbody').rows].map((r) => [0, 2, 3].map((i) => r.cells[i].innerText).join())")) == ["acme,3,0", "globex,1,1"]
    took = "return [...document.querySelectorAll('table')].at(-1).tBodies[0].rows.length"
    browser.run("const s = document.querySelector('select[aria-label=order]'); s.value = 'took'; s.dispatchEvent(new Event('change'))")
    until(lambda: "slowest first" in shown(browser), "they are sorted")
    browser.run("[...document.querySelectorAll('tbody button')].find((b) => b.innerText === 'globex').click()")
    until(lambda: browser.run(took) == 1 and "upstream_error" in shown(browser), "only that tenant's")
    assert browser.complaints() == [] and browser.run("return document.querySelector('input[aria-label=tenant]').value") == "globex"
