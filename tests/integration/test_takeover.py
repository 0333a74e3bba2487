# SPDX-License-Identifier: Apache-2.0
"""jitney serve --takeover: a new process serves on the same sockets, and nobody notices; or it does not, and the old one goes on."""
import collections
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from harness.arrivals import Arrivals, come
from harness.poll import until
from harness.wire import request_bytes
from test_mcp_modern import LISTEN, Stream, modern

ROUNDS = int(os.environ.get("JITNEY_TAKEOVERS", "2"))
MESSAGE = struct.Struct("@8sIIQ256s")
HELLO, WELCOME, ASK, OFFER, READY, YOURS, REFUSED = range(1, 8)


@pytest.fixture
def begin(make, tmp_path):
    """begin(changes) gives a gateway that others may take over from."""
    return lambda changes=None, **options: make({"takeover": {"socket": str(tmp_path / "door")}, **(changes or {})},
                                                **options).start()


@pytest.fixture
def succeed(make):
    """succeed(gateway, changes) gives its successor, which is not started yet."""
    def build(gateway, changes=None, options=("--takeover",), **more):
        successor = make(changes, config=gateway.config, options=options, **more)
        return successor

    return build


def take_over(old, new):
    new.start()
    old.ended_by_test = True
    return new


def ended(gateway):
    assert gateway.wait() == 0, gateway.log()[-2000:]


def refused(new):
    """It must not have come to be; what it said."""
    new.refuses()
    return new.log()


def say(connection, kind, number=0, text=b"", protocol=1):
    connection.send(MESSAGE.pack(b"jitney", protocol, kind, number, text))


def hear(connection):
    try:
        data, fds, _, _ = socket.recv_fds(connection, MESSAGE.size, 128)
    except ConnectionResetError:    # it has not read all that was said; what it said is there
        data, fds, _, _ = socket.recv_fds(connection, MESSAGE.size, 128)
    for fd in fds:
        os.close(fd)
    if not data:
        return None
    _, _, kind, number, text = MESSAGE.unpack(data)
    return kind, number, text.rstrip(b"\0").decode(), len(fds)


@pytest.fixture
def knock(tmp_path):
    """knock() is a connection to the door, as a successor has it."""
    made = []

    def arrives(connection):
        try:
            connection.connect(str(tmp_path / "door"))
        except (FileNotFoundError, ConnectionRefusedError):     # it is made a moment after clients are served
            return False
        return True

    def connect():
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.settimeout(20)
        made.append(connection)
        until(lambda: arrives(connection), "the door is there")
        return connection

    yield connect
    for connection in made:
        connection.close()


# ---- it goes well ---------------------------------------------------------------------------------------------------


def test_under_load_nobody_is_refused_and_no_call_is_lost(begin, succeed, provider, tmp_path):
    """Kept connections, and ones for each call, over TCP and a unix socket; each write reaches the provider once."""
    path = tmp_path / "s"
    gateway = begin({"listen": ["127.0.0.1:0", f"unix:{path}"]})
    kinds = [Arrivals(gateway.address(), "write"), Arrivals(gateway.address(), "echo", kept=True),
             Arrivals(str(path), "echo", 2), Arrivals(str(path), "echo", 2, kept=True)]
    with kinds[0], kinds[1], kinds[2], kinds[3]:
        for _ in range(ROUNDS):
            come(kinds)
            successor = take_over(gateway, succeed(gateway))
            come(kinds)
            ended(gateway)
            assert path.exists()
            gateway = successor
    assert [kind.failures for kind in kinds] == [[]] * 4
    writes = collections.Counter(call["params"]["n"] for delivery in provider.deliveries if delivery.rpc
                                 for call in delivery.calls if call["method"] == "write")
    assert len(writes) == kinds[0].served and set(writes.values()) == {1}
    gateway.stop()
    assert not path.exists()


def test_the_old_one_drains_and_says_when_it_has_ended(begin, succeed, provider):
    old = begin()
    with old.connect() as idle, old.connect() as busy:
        assert idle.request("GET", "/healthz").header("connection") is None
        provider.hold()
        busy.send(request_bytes("POST", "/v1/tools/echo", b'{"n":1}'))
        provider.until_deliveries(1)
        new = take_over(old, succeed(old))
        until(lambda: old.events("draining"), "it drains")
        assert new.get("/readyz").json()["status"] == "ready"
        assert idle.request("GET", "/readyz").json()["status"] == "draining"    # who is connected is served to the end
        assert not new.events("predecessor_ended")
        provider.release()
        reply = busy.reply("POST")
        assert (reply.status, reply.header("connection")) == (200, "close")
        ended(old)
    assert old.log().splitlines()[-1].endswith('event=stopped message="jitney 0.1.0"')
    until(lambda: new.events("predecessor_ended"), "the new one hears of the end")
    assert [event["event"] for event in new.events()][:1] == ["took_over"]


def test_other_addresses_and_numbers_of_workers(begin, succeed, tmp_path):
    """What is in both configurations is taken over, what is new is opened, what is gone is closed."""
    first, second = tmp_path / "first", tmp_path / "second"
    gateway = begin({"listen": ["127.0.0.1:0", f"unix:{first}"], "workers": 1})
    port = gateway.port
    for workers in (3, 1):
        before = gateway.process.pid
        successor = take_over(gateway, succeed(gateway, {"listen": ["127.0.0.1:0", f"unix:{second}"], "workers": workers,
                                                         "admin": {"listen": "off"}}))
        assert successor.events("took_over")[0]["message"] == f"from process {before}"
        ended(gateway)
        assert successor.port == port
        assert second.exists() and not first.exists()
        assert all(successor.call("echo", {"n": n}).status == 200 for n in range(20))
        gateway = successor
    gateway.stop()
    assert not second.exists()


@pytest.fixture
def short():
    """A folder whose name leaves room for a socket's, and which others may look into."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def test_the_door_is_found_by_the_first_address(make, short):
    """Nothing needs to be said but --takeover."""
    environment = {"XDG_RUNTIME_DIR": str(short)}
    changes = {"listen": [f"unix:{short}/s"], "admin": {"listen": "off"}}
    old = make(changes, environment=environment).start()
    door = [name for name in os.listdir(short) if name.endswith(".takeover")]
    assert len(door) == 1 and door[0].startswith(f"jitney-{os.geteuid()}-unix_")
    assert (short / door[0]).stat().st_mode & 0o777 == 0o600
    new = take_over(old, make(changes, environment=environment, options=("--takeover",)))
    ended(old)
    elsewhere = make({**changes, "takeover": {"socket": str(short / "elsewhere")}}, environment=environment,
                     options=(f"--takeover={short / door[0]}",))
    take_over(new, elsewhere)
    ended(new)
    assert (short / "elsewhere").exists() and not (short / door[0]).exists()


def test_programs_behind_end_before_the_last_line(begin, succeed):
    server = Path(__file__).parent / "harness" / "stdio_server.py"
    stdio = {"dialect": "mcp-stdio", "command": sys.executable, "args": [str(server)], "timeout": "15s", "trust_hints": True,
             "names": "plain", "pool": {"min": 1, "max": 1}}
    old = begin({"upstreams": {"programs": stdio}})
    pid = until(lambda: (reply := old.call("pid")).status == 200 and reply.json(), "the program answers")
    new = take_over(old, succeed(old))
    assert new.call("pid").status == 200     # its own program was there before it took over
    ended(old)
    assert not Path(f"/proc/{pid}").exists()
    assert old.events()[-1]["event"] == "stopped" and not old.events("children_left")


def test_event_streams_are_ended(begin, succeed):
    old = begin({"limits": {"idle_timeout": "300ms"}})
    stream = Stream(old, modern("subscriptions/listen", LISTEN))
    stream.event()
    take_over(old, succeed(old))
    ended(old)
    assert stream.ended()


def test_answers_are_handed_on_by_the_disk_tier(begin, succeed, provider, tmp_path):
    old = begin({"cache": {"disk": {"path": str(tmp_path / "disk"), "timeout": "5s"}}})
    assert old.call("cached", {"n": 1}).status == 200
    new = take_over(old, succeed(old))
    ended(old)
    until(lambda: new.get("/readyz").json()["components"]["disk"]["status"] == "up", "the new one has the disk")
    before = len(provider.deliveries)
    assert "hit" in new.call("cached", {"n": 1}).header("cache-status")
    assert len(provider.deliveries) == before
    assert not new.events("disk_cache_unavailable")


def test_a_purge_between_the_two_holds(begin, succeed, provider, tmp_path, later):
    """The old one's snapshot still has the answer."""
    old = begin({"cache": {"disk": {"path": str(tmp_path / "disk"), "timeout": "5s"}}})
    assert old.call("cached", {"n": 1}).status == 200
    with old.connect() as kept:
        kept.request("GET", "/healthz")
        new = take_over(old, succeed(old))
        purge = later(new.request, "DELETE", "/admin/cache?tool=cached", None, {}, "admin")
        assert new.get("/admin/config", "admin").status == 200
    assert purge.result(20).status == 200
    ended(old)
    until(lambda: new.get("/readyz").json()["components"]["disk"]["status"] == "up", "the new one has the disk")
    before = len(provider.deliveries)
    assert new.call("cached", {"n": 1}).status == 200
    assert len(provider.deliveries) == before + 1


# ---- it does not ----------------------------------------------------------------------------------------------------


def goes_on(gateway, why=None):
    if why:
        until(lambda: any(why in event["message"] for event in gateway.events("takeover_failed")), f"it says: {why}")
    assert gateway.call("echo", {"n": 1}).status == 200
    assert not gateway.events("draining")


def test_a_start_that_fails_changes_nothing(begin, succeed, tmp_path):
    path = tmp_path / "s"
    old = begin({"listen": ["127.0.0.1:0", f"unix:{path}"]})
    assert "jitney.yaml:" in refused(succeed(old, {"workers": "many"}))
    goes_on(old)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        occupied = "127.0.0.1:{}".format(taken.getsockname()[1])
        assert "cannot listen" in refused(succeed(old, {"listen": ["127.0.0.1:0", f"unix:{path}", occupied]}))
    goes_on(old, "has ended before it was ready")
    assert "listens on no address" in refused(succeed(old, {"listen": f"unix:{tmp_path}/other", "admin": {"listen": "off"}}))
    goes_on(old)
    assert path.exists() and not (tmp_path / "other").exists()
    take_over(old, succeed(old))    # and the next one succeeds
    ended(old)


@pytest.fixture
def begin_slow(begin, succeed, serve):
    """A gateway, and a successor of it that has asked and waits for a list of tools that does not come."""
    def run():
        old = begin()
        slow = succeed(old, {"upstreams": {"silent": {"dialect": "mcp", "endpoints": [{"url": serve(fail_list=500).url()}]}}})
        slow.spawn()
        until(lambda: old.events("takeover_asked"), "it asks")
        return old, slow
    return run


def test_killed_before_it_is_ready(begin_slow, succeed):
    """It waits for a list of tools, and accepts nothing meanwhile; another one is refused; then it is killed."""
    old, slow = begin_slow()
    assert "another takeover is under way" in refused(succeed(old))
    with Arrivals(old.address(), "echo", 2) as arrivals:
        until(lambda: arrivals.served > 20, "callers are served")
        slow.process.send_signal(signal.SIGKILL)
        slow.process.wait()
        slow.process = None
        goes_on(old, "has ended before it was ready")
    assert arrivals.failures == []
    take_over(old, succeed(old))
    ended(old)


def test_a_signal_ends_the_start(begin_slow):
    old, slow = begin_slow()
    slow.ended_by_test = True
    slow.signal(signal.SIGTERM)
    assert slow.wait() == 2 and "the running gateway goes on" in slow.log()
    slow.process = None
    goes_on(old)


@pytest.mark.parametrize("words", [(HELLO,), (HELLO, ASK), (HELLO, ASK, ASK, ASK)])
def test_a_successor_that_dies_in_the_middle(begin, knock, words):
    old = begin()
    connection = knock()
    for n, kind in enumerate(words):
        say(connection, kind, 10**9 if kind == HELLO else n - 1)
        assert hear(connection)[0] in (WELCOME, OFFER)
    connection.close()
    goes_on(old, "has ended before it was ready")
    assert hear_welcome(knock)[0] == WELCOME


def hear_welcome(knock):
    connection = knock()
    say(connection, HELLO, 10**9)
    return hear(connection)


def test_who_is_not_ready_in_time_is_given_up(begin, knock):
    old = begin()
    connection = knock()
    say(connection, HELLO, 50_000)     # it may take 50 ms
    assert hear(connection)[0] == WELCOME
    assert hear(connection) == (REFUSED, 0, "was not ready in time", 0)
    assert hear(connection) is None
    goes_on(old, "was not ready in time")


def test_strange_words_are_refused(begin, knock):
    old = begin()
    for words in (lambda c: say(c, HELLO, protocol=2), lambda c: c.send(b"GET / HTTP/1.1"), lambda c: say(c, READY),
                  lambda c: say(c, ASK), lambda c: say(c, 77)):
        connection = knock()
        words(connection)
        assert hear(connection)[0] == REFUSED
    until(lambda: len(old.events("takeover_failed")) == 5, "each is told")
    goes_on(old)
    assert hear_welcome(knock)[0] == WELCOME


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_gets_nothing(start, short):
    old = start({"takeover": {"socket": str(short / "door")}})
    (short / "door").chmod(0o666)     # as if the mode did not keep him out already
    script = ("import os, socket, sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET);"
              "os.setuid(65534); s.connect(sys.argv[1]); print(s.recv(400))")
    told = subprocess.run([sys.executable, "-c", script, short / "door"], capture_output=True, text=True, check=True).stdout
    assert "not of the running gateway's user" in told
    goes_on(old, "not of the running gateway's user")


def test_without_a_gateway_there_is_nothing_to_take_over(make, tmp_path):
    alone = make({"takeover": {"socket": str(tmp_path / "door")}}, options=("--takeover",))
    assert "no gateway to take over from" in refused(alone)
    off = make({"takeover": {"socket": "off"}}, options=("--takeover",))
    assert "--takeover=PATH" in refused(off)


def test_a_place_where_no_door_can_be_is_told(start):
    gateway = start({"takeover": {"socket": "/nowhere/door"}})
    said = until(lambda: gateway.events("takeover_not_offered"), "it is told a moment after clients are served")
    assert "/nowhere/door" in said[0]["message"]
    assert gateway.call("echo").status == 200


def test_a_killed_gateway_leaves_a_door_that_the_next_one_replaces(begin, make, tmp_path):
    old = begin()
    until((tmp_path / "door").exists, "its door is there")
    old.process.kill()
    old.process.wait()
    old.process = None
    assert (tmp_path / "door").exists()
    new = begin()
    assert not new.events("takeover_not_offered")
