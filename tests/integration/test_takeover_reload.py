# SPDX-License-Identifier: Apache-2.0
"""A takeover and a reload beside each other; and a predecessor that is gone before it has handed over all."""
import signal
import socket
import subprocess
import sys

import pytest

from harness.mcp_server import McpServer
from harness.poll import until
from harness.ports import free_port
from harness.reload import reload, reloaded, write
from harness.wire import Raw
from test_takeover import begin, ended, short, succeed, take_over  # noqa: F401: fixtures

# A gateway that welcomes whoever comes, hands over so many messages of its listener's sockets, and is killed.
DOOMED = """
import os, signal, socket, struct, sys
message = struct.Struct("@8sIIQ256s")
door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
door.bind(sys.argv[1])
door.listen(1)
sockets = []
for _ in range(2):
    each = socket.socket()
    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    each.bind(("127.0.0.1", int(sys.argv[2])))
    each.listen(8)
    each.setblocking(False)
    sockets.append(each)
print("ready", flush=True)
peer, _ = door.accept()
def say(kind, number, text=b"", fds=()):
    socket.send_fds(peer, [message.pack(b"jitney", 1, kind, number, text)], fds)
for n in range(int(sys.argv[3])):
    _, _, kind, number, _ = message.unpack(peer.recv(message.size))
    if n == 0:
        say(2, 2, b"0.1.0")
    else:
        say(4, 0, b"jitney-127.0.0.1_" + sys.argv[2].encode(), [each.fileno() for each in sockets])
peer.recv(message.size)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def silent():
    """An MCP server that does not list its tools: whoever waits for them waits."""
    server = McpServer()
    server.fail_list = 10**6
    yield server
    server.finish()


@pytest.mark.parametrize("words", [0, 1, 2])
def test_a_predecessor_that_is_killed_over_it_does_not_end_the_new_one(make, tmp_path, words):
    """Before its first word, before the first sockets, before the door: the new one starts with what it has."""
    door, port = tmp_path / "door", free_port()
    with subprocess.Popen([sys.executable, "-c", DOOMED, door, str(port), str(words)], stdout=subprocess.PIPE) as doomed:
        assert doomed.stdout.readline() == b"ready\n"
        gateway = make({"listen": f"127.0.0.1:{port}", "takeover": {"socket": str(door)}}, options=("--takeover",))
        gateway.start()
    assert gateway.call("echo", {"n": 1}).status == 200
    assert f"process {doomed.pid} has ended" in gateway.events("predecessor_died")[0]["message"]
    until(lambda: gateway.events("predecessor_ended"), "it is seen to be gone")
    assert door.exists() and not gateway.events("takeover_not_offered")
    successor = make(config=gateway.config, options=("--takeover",))     # and it can be taken over from
    take_over(gateway, successor)
    ended(gateway)
    assert successor.events("took_over")


def test_a_predecessor_that_is_killed_while_the_new_one_starts(begin, succeed, silent):  # noqa: F811
    old = begin({"listen": f"127.0.0.1:{free_port()}"})
    new = succeed(old, {"upstreams": {"silent": {"dialect": "mcp", "endpoints": [{"url": silent.url()}]}}})
    new.spawn()
    until(lambda: old.events("takeover_asked"), "it asks")
    old.process.kill()
    old.process.wait()
    old.process = None
    until(lambda: len(new.events("listening")) == 2, "it serves at once, and waits for no list")
    assert new.events("predecessor_died") and not new.events("took_over")
    new.addresses = {event["listener"]: [event["address"]] for event in new.events("listening")}
    assert new.call("echo", {"n": 1}).status == 200


def test_what_a_reload_changed_while_a_takeover_waits_is_told(begin, succeed, silent):  # noqa: F811
    """The generation that the new one began with is gone when it says where it listens."""
    old = begin({"listen": f"127.0.0.1:{free_port()}"})
    new = succeed(old, {"upstreams": {"silent": {"dialect": "mcp", "endpoints": [{"url": silent.url()}]}},
                        "mcp": {"await_lists": "60s"}})
    new.spawn()
    until(lambda: old.events("takeover_asked"), "it asks")
    added = f"127.0.0.1:{free_port()}"
    write(new, {"listen": [old.config["listen"], added]})
    new.signal(signal.SIGHUP)
    until(lambda: new.events("config_reloaded"), "it has another configuration")
    write(new, {"upstreams": {"silent": None}, "tools": {"fresh": {"upstream": "array"}}})
    new.signal(signal.SIGHUP)
    until(lambda: new.events("ready"), "it serves")
    old.ended_by_test = True
    ended(old)
    told = [(event["listener"], event["address"]) for event in new.events("listening")]
    assert sorted(address for listener, address in told if listener == "data") == sorted([old.config["listen"], added])
    assert len(told) == 3 and "6 tools" in new.events("ready")[0]["message"]
    with socket.create_connection(tuple(added.split(":"))):
        pass


def test_the_door_follows_the_first_address(make, short):  # noqa: F811
    """A reload has changed `listen`: who starts with the new file finds the door by it; the old door is gone."""
    ports = [free_port() for _ in range(3)]
    place = {"environment": {"RUNTIME_DIRECTORY": str(short)}}
    gateway = make({"listen": f"127.0.0.1:{ports[0]}"}, **place).start()

    def doors():
        return [int(path.stem.rpartition("_")[2]) for path in short.glob("*.takeover")]

    assert doors() == [ports[0]]
    for port in ports[1:]:
        reloaded(gateway, {"listen": f"127.0.0.1:{port}"})
        until(lambda: doors() == [port], "the door is where a successor looks for it")
    reloaded(gateway, {"tools": {"write": {"description": "Other words."}}})
    assert doors() == ports[2:]
    successor = make(config=gateway.config, options=("--takeover",), **place)
    take_over(gateway, successor)
    ended(gateway)
    assert doors() == ports[2:] and successor.call("echo", {"n": 1}).status == 200


# ---- paths ----------------------------------------------------------------------------------------------------------


def answers(path):
    with Raw(path) as there:
        return there.request("GET", "/healthz").status == 200


@pytest.fixture
def waiting(begin, succeed, silent):  # noqa: F811
    """waiting(old's listen, new's listen): a gateway, and a successor that has opened its addresses and serves when the test
    says so."""
    def build(before, after):
        old = begin({"listen": before})
        new = succeed(old, {"listen": after, "mcp": {"await_lists": "60s"},
                            "upstreams": {"silent": {"dialect": "mcp", "endpoints": [{"url": silent.url()}]}}})
        new.spawn()
        until(lambda: old.events("takeover_asked"), "it asks")
        until(lambda: silent.seen, "it has opened all it has")
        return old, new

    def go_on(old, new):
        silent.fail_list = None
        until(lambda: new.events("ready"), "it serves")
        old.ended_by_test = True
        ended(old)

    build.go_on = go_on
    return build


def test_a_path_of_one_that_starts_is_nobody_elses(waiting, make, short):  # noqa: F811
    """It is bound, and listens only when its predecessor has gone: nobody answers there, and yet nobody has left it."""
    port, path = f"127.0.0.1:{free_port()}", short / "s"
    old, new = waiting(port, [port, f"unix:{path}"])
    assert path.exists()
    third = make({"listen": f"unix:{path}"})
    third.refuses()
    assert "in use" in third.log()
    write(old, {"listen": [port, f"unix:{path}"]})
    status, told = reload(old)
    assert status == 422 and "in use" in told["errors"][0]
    waiting.go_on(old, new)
    assert answers(path)


def test_a_reload_of_the_old_one_takes_no_path_from_the_new_one(waiting, short):  # noqa: F811
    """The old one has handed it over, and then closes it."""
    port, path = f"127.0.0.1:{free_port()}", short / "s"
    old, new = waiting([port, f"unix:{path}"], [port, f"unix:{path}"])
    reloaded(old, {"listen": port})
    waiting.go_on(old, new)
    assert answers(path)


@pytest.mark.parametrize("good", [True, False])
def test_what_a_reload_took_out_another_puts_back(waiting, short, good):  # noqa: F811
    """It is handed over, and so still there: the old one serves there again, until the new one does."""
    port, other, path = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}", short / "s"
    every = [port, other, f"unix:{path}"]
    old, new = waiting(every, every)
    with Raw(path) as kept:     # so that the seats of before stay, too
        kept.request("GET", "/healthz")
        reloaded(old, {"listen": port})
        reloaded(old, {"listen": every})
        assert answers(path) and answers(tuple(other.split(":")))
    if good:
        waiting.go_on(old, new)
    else:
        new.process.kill()
        new.process.wait()
        new.process = None
        until(lambda: old.events("takeover_failed"), "the old one goes on")
    assert answers(path) and answers(tuple(other.split(":")))


def test_a_path_that_was_handed_over_in_vain_goes(waiting, short):  # noqa: F811
    port, path = f"127.0.0.1:{free_port()}", short / "s"
    old, new = waiting([port, f"unix:{path}"], [port, f"unix:{path}"])
    reloaded(old, {"listen": port})
    new.process.kill()
    new.process.wait()
    new.process = None
    until(lambda: not path.exists(), "nobody listens there any more")
    assert answers(tuple(port.split(":")))
