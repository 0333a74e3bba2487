# SPDX-License-Identifier: Apache-2.0
"""The process: signals, start, command line."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml

from harness import provider as behave
from harness.gateway import JITNEY, SANITIZED, standard
from harness.poll import until
from harness.reload import reloaded
from harness.wire import Closed, request_bytes


def jitney(*arguments, environment=None, text=None):
    """Run a command to its end."""
    return subprocess.run([JITNEY, *map(str, arguments)], capture_output=True, text=True, timeout=30, check=False,
                          input=text, env={**os.environ, **(environment or {})})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(start, provider, later, number):
    gateway = start()
    provider.hold()
    futures = [later(gateway.call, "echo", {"n": n}) for n in range(10)]
    gateway.until_metric("in_flight_requests", 10)
    gateway.ended_by_test = True
    gateway.signal(number)
    until(lambda: refused(gateway), "no new connections are taken")
    assert gateway.process.poll() is None
    provider.release()
    assert [future.result(20).status for future in futures] == [200] * 10
    assert gateway.wait() == 0


def refused(gateway):
    try:
        gateway.connect().close()
        return False
    except ConnectionError:
        return True


def test_a_kept_connection_is_told_to_close_while_draining(start, provider, later):
    gateway = start()
    provider.hold()
    with gateway.connect() as kept:
        assert kept.request("GET", "/healthz").status == 200
        future = later(gateway.call, "echo")
        provider.until_deliveries(1)
        gateway.ended_by_test = True
        gateway.signal(signal.SIGTERM)
        until(lambda: refused(gateway), "it drains")
        try:
            assert kept.request("GET", "/healthz").header("connection").lower() == "close"
        except (Closed, ConnectionError):
            pass               # an idle connection may be closed as well
    provider.release()
    reply = future.result(20)
    assert reply.status == 200 and reply.header("connection").lower() == "close"
    assert gateway.wait() == 0


def test_readyz_says_no_while_draining_or_is_gone(start, provider, later):
    gateway = start()
    provider.hold()
    future = later(gateway.call, "echo")
    provider.until_deliveries(1)
    with gateway.connect("admin") as admin, gateway.connect() as kept:
        gateway.ended_by_test = True
        gateway.signal(signal.SIGTERM)
        until(lambda: refused(gateway), "it drains")
        for connection in (admin, kept):
            try:
                assert connection.request("GET", "/readyz").status in (503, 404)
            except (Closed, ConnectionError):
                pass
    provider.release()
    assert future.result(20).status == 200
    assert gateway.wait() == 0


def test_a_drain_ends_after_its_timeout(start, provider, later):
    gateway = start({"drain_timeout": "300ms"})
    provider.hold()
    future = later(gateway.call, "echo")
    provider.until_deliveries(1)
    gateway.ended_by_test = True
    gateway.signal(signal.SIGTERM)
    reply = future.result(20)
    assert reply.status == 503 and reply.code == "shutting_down", reply
    gateway.wait()


def test_a_second_signal_ends_it_at_once(start, provider):
    gateway = start({"drain_timeout": "60s"})
    provider.hold()
    with gateway.connect() as connection:
        connection.send(request_bytes("POST", "/v1/tools/echo", b"{}"))
        provider.until_deliveries(1)
        gateway.ended_by_test = True
        gateway.signal(signal.SIGTERM)
        until(lambda: refused(gateway), "it drains")
        gateway.signal(signal.SIGTERM)
        assert gateway.wait(10) != 0
    provider.release()
    gateway.process = None


def test_readiness_goes_before_the_listeners_do(start):
    """drain_notice: whoever asks on a new connection is told, and all calls are taken meanwhile; a reload may shorten it."""
    gateway = start({"drain_notice": "10m"})
    reloaded(gateway, {"drain_notice": "2s"})
    gateway.ended_by_test = True
    gateway.signal(signal.SIGTERM)
    until(lambda: gateway.get("/readyz").status == 503, "who asks is told")
    for n in range(5):
        reply = gateway.call("echo", {"n": n})
        assert reply.status == 200 and reply.header("connection") is None, "as if nothing had happened"
    assert gateway.get("/readyz", "admin").json()["status"] == "draining" and gateway.get("/healthz").status == 200
    until(lambda: refused(gateway), "then it listens no more")
    assert gateway.wait(10) == 0


def test_who_asks_for_a_drain_twice_loses_nobody(start, provider, later):
    """A second signal ends all at once; a second POST /admin/drain is only heard."""
    gateway = start({"drain_notice": "1s"})
    provider.hold()
    call = later(gateway.call, "echo")
    provider.until_deliveries(1)
    gateway.ended_by_test = True
    assert gateway.request("POST", "/admin/drain", listener="admin").status == 202
    until(lambda: gateway.events("draining"), "the signal has been heard, and the next one would end the process")
    assert {gateway.request("POST", "/admin/drain", listener="admin").status for _ in range(2)} == {202}
    provider.release()
    assert call.result(20).status == 200 and gateway.wait() == 0


def test_a_second_signal_ends_the_notice(start):
    gateway = start({"drain_notice": "10m"})
    gateway.ended_by_test = True
    gateway.signal(signal.SIGTERM)
    until(lambda: gateway.get("/readyz").status == 503, "it has heard")
    gateway.signal(signal.SIGTERM)
    assert gateway.wait(10) == -signal.SIGTERM
    gateway.process = None


def test_an_idle_gateway_ends_at_once_though_clients_stay_connected(start):
    gateway = start({"drain_timeout": "60s"})
    with gateway.connect() as connection:
        assert connection.request("GET", "/healthz").status == 200
        gateway.ended_by_test = True
        gateway.signal(signal.SIGTERM)
        assert gateway.wait(10) == 0


@pytest.mark.parametrize("workers", [1, 4])
def test_stop_under_load(start, later, workers):
    """Several times: a request may come in at any moment of the stop. What is answered is answered right."""
    for _ in range(8):
        gateway = start({"workers": workers, "log": {"access": False}})
        load = later(gateway.load, callers=50, seconds=1, path="/v1/tools/echo", body='{"n":%d}', timeout=5)
        until(lambda: gateway.metrics().sum("requests_total") > 0, "there is load")  # pylint: disable=cell-var-from-loop
        assert gateway.stop() == 0, gateway.log()[-1000:]
        report = load.result(60)
        assert report["wrong"] == 0 and report["errors"]["timeout"] == 0
        assert set(report["statuses"]) <= {"200", "503"}, report


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP])
def test_the_log_is_opened_anew(start, tmp_path, number):
    path = tmp_path / "gateway0" / "jitney.log" # where the harness reads
    rotated = path.with_suffix(".1")
    gateway = start({"log": {"file": str(path)}})
    gateway.call("echo")
    until(lambda: "event=call" in path.read_text(), "a line")
    path.rename(rotated)
    gateway.signal(number)
    until(path.exists, "it is there again")
    gateway.call("echo")
    until(lambda: "event=call" in path.read_text(), "lines go to the new file")
    assert rotated.read_text().count("event=call") == 1


@pytest.mark.skipif(SANITIZED, reason="a sanitizer wants to be loaded first")
def test_signals_before_main_are_kept(start, tmp_path):
    """While the constructors of libraries run nobody has said yet what is to happen: by default the process ends."""
    source, library = tmp_path / "early.c", tmp_path / "early.so"
    source.write_text("#include <signal.h>\n#include <unistd.h>\n"
                      "__attribute__((constructor)) static void rotate(void)\n"
                      "{\n\tkill(getpid(), SIGUSR1);\n\tkill(getpid(), SIGHUP);\n}\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True, timeout=60)
    gateway = start(environment={"LD_PRELOAD": str(library)})
    until(lambda: len(gateway.events("log_reopened")) == 2, "both are heard")
    gateway.until_metric("config_reloads_total", 1, result="ok")
    assert subprocess.run([JITNEY, "version"], env={**os.environ, "LD_PRELOAD": str(library)}, check=False,
                          capture_output=True, timeout=30).returncode == -signal.SIGUSR1, "who serves nobody ends"


def test_probes_are_no_news(start):
    """Every few seconds and for ever: a line each at `info` would bury the calls."""
    gateway = start()
    for path in ("/healthz", "/readyz", "/metrics"):
        for listener in ("data", "admin"):
            assert gateway.get(path, listener).status == 200
    assert gateway.get("/no/such/page").status == 404
    until(lambda: gateway.events("request"), "what is no probe is told")
    assert [event["path"] for event in gateway.events("request")] == ["/no/such/page"]


# ---- starting -------------------------------------------------------------------------------------------------------


def one_line(done):
    """A start that fails says why in one line, with status 2."""
    assert done.returncode == 2, done
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def write(directory, document, name="jitney.yaml"):
    path = directory / name
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False))
    return path


def test_a_port_that_is_taken(tmp_path, provider):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        path = write(tmp_path, {**standard(provider), "listen": f"127.0.0.1:{port}"})
        assert str(port) in one_line(jitney("serve", "-c", path))


def test_a_second_gateway_on_the_same_port(start, tmp_path, provider):
    """SO_REUSEPORT must not let two gateways share a port by mistake."""
    gateway = start()
    path = write(tmp_path, {**standard(provider), "listen": f"127.0.0.1:{gateway.port}"})
    assert str(gateway.port) in one_line(jitney("serve", "-c", path))
    assert gateway.call("echo").status == 200


def test_a_configuration_that_is_not_there(tmp_path):
    assert "nowhere.yaml" in one_line(jitney("serve", "-c", tmp_path / "nowhere.yaml"))
    assert "nowhere.yaml" in one_line(jitney("check", "-c", tmp_path / "nowhere.yaml"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_configuration_that_may_not_be_read(tmp_path, provider):
    path = write(tmp_path, standard(provider))
    path.chmod(0)
    assert "ermission" in one_line(jitney("serve", "-c", path))


def test_a_directory_is_no_configuration(tmp_path):
    one_line(jitney("serve", "-c", tmp_path))


def test_an_address_that_is_not_ours(tmp_path, provider):
    path = write(tmp_path, {**standard(provider), "listen": "192.0.2.1:8080"})
    assert "192.0.2.1" in one_line(jitney("serve", "-c", path))


def test_a_log_file_that_cannot_be_written(tmp_path, provider):
    path = write(tmp_path, {**standard(provider), "log": {"file": "/nonexistent/jitney.log"}})
    line = one_line(jitney("serve", "-c", path))
    assert line.count("cannot open the log") == 1 and "/nonexistent/jitney.log" in line


def test_a_path_that_is_a_secret_is_not_said(tmp_path, provider):
    path = write(tmp_path, {**standard(provider), "log": {"file": "${PLACE}/jitney.log"}})
    assert one_line(jitney("serve", "-c", path, environment={"PLACE": "/nonexistent/hush"})) == "jitney: cannot start: cannot open the log ***: No such file or directory"


def test_check_warns_of_arguments_that_the_schema_does_not_know(tmp_path):
    path = write(tmp_path, """\
upstreams: { a: { dialect: rest, endpoints: [ { url: "http://127.0.0.1:1" } ] } }
tools:
  t:
    upstream: a
    request: { method: POST, path: "/x/{cty}", query: { q: "{q}{days?}" }, headers: { X: "{x}" }, body: "{arguments}" }
    input_schema: { type: object, properties: { city: {}, days: {} }, required: [ city, z ] }
  open: { upstream: a, request: { path: "/{any}" }, input_schema: { type: object, properties: { a: {} }, additionalProperties: true } }
  bare: { upstream: a, request: { path: "/{any}" } }
""")
    done = jitney("check", "-c", path)
    assert done.returncode == 0 and done.stdout.startswith(f"{path}: valid: 3 tools, 1 upstream, ")
    said = "no property of input_schema is called"
    assert done.stderr.splitlines() == [f"{path}:{place}: warning: tools.t.{what}: {said} {name}" for place, what, name in [
        ("6:71", "input_schema.required", "z"), ("5:30", "request.path", "cty"), ("5:48", "request.query", "q"),
        ("5:76", "request.headers", "x")]]


def test_check_says_when_there_is_nothing_to_call(tmp_path):
    done = jitney("check", "-c", write(tmp_path, "workers: 1\n"))
    assert done.returncode == 0
    assert done.stdout.endswith(": valid: 0 tools, 0 upstreams, 1 worker; without upstreams there is nothing to call\n")


def test_every_mistake_is_named_with_its_place(tmp_path):
    path = write(tmp_path, """\
listen: 127.0.0.1:99999
worker: 2
limits:
    body: 8 parsecs
    json_depth: 1
upstreams:
    search:
        dialect: jsonrpk
        endpoints: [ { url: http://127.0.0.1:9/rpc } ]
tools:
    one:
        upstream: serach
    two:
        upstream: search
        timeout: soon
""")
    for command in ("check", "serve"):
        done = jitney(command, "-c", path)
        assert done.returncode == 2
        errors = (done.stderr + done.stdout).strip().splitlines()
        places = [tuple(map(int, match.groups())) for match in
                  (re.match(re.escape(str(path)) + r":(\d+):(\d+): .+", line) for line in errors) if match]
        assert len(places) == len(errors), errors
        assert {line for line, _ in places} == {1, 2, 4, 5, 8, 12, 15}
        assert places == sorted(places)


def test_check_likes_a_good_configuration(tmp_path, provider):
    done = jitney("check", "-c", write(tmp_path, standard(provider)))
    assert done.returncode == 0 and not done.stderr, done


def test_check_likes_the_examples():
    example = Path(__file__).resolve().parents[2] / "examples" / "demo.yaml"
    ports = {"SEARCH_PORT": "9001", "OFFICE_PORT": "9002", "DEMO_PORT": "8080", "DEMO_ADMIN_PORT": "8081"}
    done = jitney("check", "-c", example, environment=ports)
    assert done.returncode == 0, done.stderr


def test_check_prints_a_schema_that_knows_the_standard_configuration(provider):
    jsonschema = pytest.importorskip("jsonschema")
    done = jitney("check", "--schema")
    assert done.returncode == 0, done.stderr
    schema = json.loads(done.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(standard(provider))
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({**standard(provider), "worker": 2})


def test_a_missing_variable_is_named(tmp_path, provider):
    document = standard(provider)
    document["upstreams"]["array"]["headers"] = {"Authorization": "Bearer ${NOT_THERE_AT_ALL}"}
    done = jitney("check", "-c", write(tmp_path, document))
    assert done.returncode == 2 and "NOT_THERE_AT_ALL" in done.stderr


def test_secrets_come_from_files(start, tmp_path, provider):
    secret = tmp_path / "token"
    secret.write_text("from-a-file\n")
    gateway = start({"upstreams": {"array": {"headers": {"Authorization": "Bearer ${file:%s}" % secret}}}})
    assert gateway.call("echo").status == 200
    assert provider.deliveries[0].headers["authorization"] == "Bearer from-a-file"


def test_it_is_healthy_though_no_provider_can_be_reached(start, provider, black_hole):
    """A start that waited for any of them would wait for a minute."""
    provider.stop()
    away = {"dialect": "jsonrpc", "pool": {"connect_timeout": "1m"}, "health": {"tcp": True, "timeout": "1m"},
            "endpoints": [{"url": f"http://127.0.0.1:{black_hole.port}/rpc"}]}
    gateway = start({"upstreams": {f"away{n}": away for n in range(20)}})
    assert gateway.get("/healthz").status == 200
    assert gateway.get("/readyz").status in (200, 503)


# ---- the other commands ---------------------------------------------------------------------------------------------


def test_call(start, provider):
    gateway = start()
    done = jitney("call", "echo", '{"n":1}', "--url", gateway.url("").rstrip("/"))
    assert done.returncode == 0 and json.loads(done.stdout) == {"echo": {"n": 1}}, done
    done = jitney("call", "echo", "--url", gateway.url("").rstrip("/"))
    assert done.returncode == 0, done
    provider.behaviour = behave.failing(1, "the tool said no")
    done = jitney("call", "echo", '{"n":2}', "--url", gateway.url("").rstrip("/"))
    assert done.returncode == 1 and "the tool said no" in done.stdout + done.stderr, done
    done = jitney("call", "nothing_here", "--url", gateway.url("").rstrip("/"))
    assert done.returncode == 1 and "nothing_here" in done.stdout + done.stderr


def test_call_without_a_gateway():
    done = jitney("call", "echo", "--url", "http://127.0.0.1:1")
    assert done.returncode == 1 and done.stderr
    done = jitney("call", "echo", "-t", "1e-9")     # rounded down it would be no bound at all
    assert done.returncode == 2 and "--timeout wants a number of seconds" in done.stderr


def test_tools(start):
    gateway = start()
    done = jitney("tools", "--url", gateway.url("").rstrip("/"))
    assert done.returncode == 0 and "echo" in done.stdout and "send" in done.stdout, done
    done = jitney("tools", "--url", gateway.url("").rstrip("/"), "--format", "openai")
    assert done.returncode == 0 and '"function"' in done.stdout


def test_version():
    done = jitney("version")
    assert done.returncode == 0
    assert re.fullmatch(r"jitney \d+\.\d+\.\d+\nmalloc: (libc|jemalloc [\d._]+|mimalloc [\d._]+)\n", done.stdout), done.stdout


def test_what_others_say_cannot_steer_a_terminal(start, provider):
    """Descriptions are an MCP server's, errors a provider's: control characters, and those that turn text round, are none of them."""
    evil = "\x1b[2J\u009b2J\u202eevil"
    gateway = start({"tools": {"echo": {"description": "Says " + evil}}})
    url = gateway.url("").rstrip("/")
    provider.behaviour = lambda delivery, wire: wire.answer({"jsonrpc": "2.0", "id": json.loads(delivery.body)["id"], "error": {"message": evil}})
    for done, text in ((jitney("tools", "--url", url).stdout, "Says"), (jitney("call", "echo", "{}", "--url", url).stderr, "tool_error")):
        assert text in done and "evil" in done
        assert not set("\x1b\u009b\u202e") & set(done), repr(done)


@pytest.mark.parametrize("command", [(), ("serve",), ("check",), ("call",), ("tools",), ("version",)])
def test_help(command):
    done = jitney(*command, "--help")
    assert done.returncode == 0 and "jitney" in done.stdout and not done.stderr


@pytest.mark.parametrize("arguments", [(), ("fly",), ("serve",), ("check",), ("serve", "-x"), ("serve", "-c"), ("call",),
                                       ("call", "a", "{}", "more"), ("version", "more")])
def test_wrong_usage(arguments):
    done = jitney(*arguments)
    assert done.returncode == 2 and done.stderr and len(done.stderr) < 2000


SPY = """
import os, sys
def parent(pid):
    return next(int(line.split()[1]) for line in open(f"/proc/{pid}/status") if line.startswith("PPid:"))
keeper = os.getppid()
warden = parent(keeper)
found = []
for who, pid in (("keeper", keeper), ("warden", warden), ("gateway", parent(warden))):
    for file in ("environ", "mem", "maps"):
        try:
            open(f"/proc/{pid}/{file}", "rb").close()
            found.append(f"{who} {file}")
        except PermissionError:
            pass
open(sys.argv[1], "w").write("\\n".join([*found, "end"]))
sys.stdin.read()
"""
NOBODY = 65534


@pytest.mark.parametrize("core_dumps", [False, True])
def test_a_program_cannot_read_the_gateways_memory_or_environment(core_dumps):
    """As the same user, who is not root: root may read everything."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o777)
        shutil.copy(JITNEY, directory / "jitney")
        (directory / "spy.py").write_text(SPY)
        (directory / "jitney.yaml").write_text(json.dumps({
            "listen": "127.0.0.1:0", "admin": {"listen": "off"}, "workers": 1, "core_dumps": core_dumps,
            "upstreams": {"spy": {"dialect": "mcp-stdio", "command": "/usr/bin/python3",
                                  "args": [str(directory / "spy.py"), str(directory / "found")]}}}))
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen([directory / "jitney", "serve", "-c", directory / "jitney.yaml"], stderr=log,
                                       stdin=subprocess.DEVNULL, **user)
        try:
            until(lambda: (directory / "found").exists() and "end" in (directory / "found").read_text(),
                  "the program has looked")
        finally:
            process.terminate()
            process.wait(30)
        found = (directory / "found").read_text().split("\n")
        assert found == (["gateway environ", "gateway mem", "gateway maps"] if core_dumps else []) + ["end"]


def test_it_says_what_it_dies_of(start):
    gateway = start()
    gateway.signal(signal.SIGUSR2)
    gateway.signal(signal.SIGXFSZ)
    assert gateway.call("echo").status == 200
    gateway.ended_by_test = True
    gateway.signal(signal.SIGQUIT)
    assert gateway.wait() == -signal.SIGQUIT
    last = gateway.events()[-1]
    assert last["event"] == "died" and last["name"] == "Quit" and "jitney+0x" in last["backtrace"], last
    gateway.process = None
