# SPDX-License-Identifier: Apache-2.0
"""Under a service manager: what it is told, what it hands over, what it keeps for the next start."""
import ctypes
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from harness.arrivals import Arrivals, come
from harness.poll import until
from harness.ports import free_port
from harness.reload import reloaded
from harness.service_manager import ServiceManager
from harness.wire import Raw
from test_reload import write

RESTARTS = int(os.environ.get("JITNEY_TAKEOVERS", "1"))
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000


@pytest.fixture
def manager(tmp_path):
    manager = ServiceManager(tmp_path / "notify")
    yield manager
    manager.finish()


def free_address():
    return f"127.0.0.1:{free_port()}"


def test_it_is_told_of_start_reload_and_stop(start, manager):
    gateway = start(**manager.options())
    manager.until_heard("READY")
    assert manager.last("STATUS") == "Serving"
    write(gateway, {"tools": {"fresh": {"upstream": "array"}}})
    gateway.signal(signal.SIGHUP)
    manager.until_heard("RELOADING")
    manager.until_heard("READY", 2)
    assert 0 < int(manager.last("MONOTONIC_USEC"))
    assert gateway.call("fresh").status == 200
    gateway.config_path.write_text("nonsense: 1\n")
    gateway.signal(signal.SIGHUP)
    manager.until_heard("READY", 3)
    assert "was refused" in manager.last("STATUS")
    gateway.stop()
    manager.until_heard("STOPPING")
    assert int(manager.last("EXTEND_TIMEOUT_USEC")) > 10_000_000
    assert manager.heard("WATCHDOG") == 0


def test_programs_behind_hear_nothing_of_it(start, manager, tmp_path):
    """They would take for theirs what is meant for us."""
    told = tmp_path / "told"
    script = f"import os; open({str(told)!r}, 'w').write(repr(dict(os.environ)))"
    start({"upstreams": {"p": {"dialect": "mcp-stdio", "command": sys.executable, "args": ["-c", script]}},
           "mcp": {"await_lists": 0}}, **manager.options(WATCHDOG_USEC="60000000", FDSTORE="8"))
    environment = until(lambda: told.exists() and told.read_text(), "the program runs")
    assert not any(name in environment for name in ("NOTIFY_SOCKET", "WATCHDOG", "LISTEN", "FDSTORE"))


def stopped_thread(gateway, name):
    """Stop one thread of it as nothing else can: by ptrace. Returns what lets it go on."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    tasks = Path(f"/proc/{gateway.process.pid}/task")
    tid = next(int(task.name) for task in tasks.iterdir() if (task / "comm").read_text().strip() == name)
    if libc.ptrace(PTRACE_SEIZE, tid, None, None) != 0:
        pytest.skip("the kernel does not let us stop a thread")
    assert libc.ptrace(PTRACE_INTERRUPT, tid, None, None) == 0
    os.waitpid(tid, WALL)
    return lambda: libc.ptrace(PTRACE_DETACH, tid, None, None)


def test_the_watchdog_gets_no_sign_of_life_while_a_worker_is_stuck(start, manager):
    gateway = start({"core_dumps": True}, **manager.options(WATCHDOG_USEC="1500000"))   # no machine is as busy as that
    manager.until_heard("WATCHDOG", 2)
    go_on = stopped_thread(gateway, "worker 1")
    try:
        until(lambda: gateway.events("worker_stuck"), "it is told")
        heard = manager.heard("WATCHDOG")
    finally:
        go_on()
    manager.until_heard("WATCHDOG", heard + 3)
    assert len(gateway.events("worker_stuck")) == 1


def test_who_takes_over_is_watched_in_place_of_the_one_before(make, manager, tmp_path):
    """It is made the main process, and was not started by the service manager: nothing but the one before knows where that is."""
    first, second = free_address(), free_address()
    old = make({"takeover": {"socket": str(tmp_path / "door")}, "core_dumps": True, "listen": first},
               **manager.options(WATCHDOG_USEC="150000")).start()
    manager.until_heard("READY")
    for turn in range(2):
        until(lambda: (tmp_path / "door").exists(), "the door is there")
        new = make({"listen": [first, second]}, config=old.config, options=("--takeover",)).start()
        old.ended_by_test = True
        assert old.wait() == 0
        assert manager.last("MAINPID") == str(new.process.pid)
        manager.until_heard("READY", turn + 2)
        manager.until_heard("WATCHDOG", manager.heard("WATCHDOG") + 4)
        old = new
    assert manager.heard("STOPPING") == 0
    assert second in manager.stored_addresses()
    go_on = stopped_thread(new, "worker 1")
    try:
        until(lambda: new.events("worker_stuck"), "it is told")
    finally:
        go_on()
    new.stop()
    manager.until_heard("STOPPING")


def test_the_first_sign_of_life_after_a_takeover_is_given_in_time(make, manager, tmp_path):
    """Three are due in a span, and the one before may have given its last nearly a third of it ago. Nor is a worker taken for stuck
    that has only just been asked."""
    span = 15
    first = free_address()
    old = make({"takeover": {"socket": str(tmp_path / "door")}, "listen": first}, **manager.options(WATCHDOG_USEC=f"{span}000000")).start()
    until(lambda: (tmp_path / "door").exists(), "the door is there")
    new = make(config=old.config, options=("--takeover",)).start()
    old.ended_by_test = True
    assert old.wait() == 0
    taken = manager.arrived("MAINPID")[-1]
    signs = until(lambda: [at for at in manager.arrived("WATCHDOG") if at > taken], "it gives one", 2 * span)
    assert signs[0] - taken < span * 2 / 3
    assert not new.events("worker_stuck")


def test_sockets_of_socket_units(start, manager):
    """Who has connected before the start is served; nothing is closed at the end."""
    data, admin = manager.listen("jitney.socket"), manager.listen("jitney-admin.socket")
    stranger = manager.listen("another.socket")
    host, port = data.split(":")
    with Raw((host, int(port))) as early:
        gateway = start({"listen": data, "admin": {"listen": admin}}, **manager.options())
        assert early.request("GET", "/healthz").status == 200
    assert gateway.port == int(port)
    assert all(gateway.call("echo", {"n": n}).status == 200 for n in range(8))
    assert gateway.get("/admin/config", "admin").status == 200
    assert "another.socket" in gateway.events("listeners_not_used")[0]["message"]
    assert manager.store == []      # it has them already
    gateway.stop()
    for address in (data, admin, stranger):
        with socket.create_connection(tuple(address.split(":"))):
            pass


def test_a_restart_refuses_nobody(make, manager, tmp_path):
    """What listens is in the descriptor store: connections wait there for the next process."""
    data, other, path = free_address(), free_address(), tmp_path / "s"
    changes = {"listen": [data, f"unix:{path}"], "admin": {"listen": other}}
    gateway = make(changes, **manager.options()).start()
    manager.until_heard("FDSTORE", 3)
    assert len(manager.store) == 2 + 1 + 1
    kinds = [Arrivals(gateway.address(), "echo"), Arrivals(gateway.address(), "echo", kept=True), Arrivals(str(path), "echo", 2)]
    with kinds[0], kinds[1], kinds[2]:
        for _ in range(RESTARTS):
            come(kinds)
            gateway.stop()
            gateway = make(changes, **manager.options()).start()
        come(kinds)
    assert [kind.failures for kind in kinds] == [[]] * 3
    assert path.exists()
    assert len(manager.store) == 4 and not gateway.events("listeners_not_used")
    gateway.stop()
    make({"listen": data, "admin": {"listen": "off"}}, **manager.options()).start()
    until(lambda: len(manager.store) == 2, "what is not listened on any more is not kept")


def test_what_a_reload_opens_is_kept_too(start, manager):
    """And what it closes is not."""
    first, second = free_address(), free_address()
    gateway = start({"listen": first}, **manager.options())
    manager.until_heard("FDSTORE", 2)
    names = {name for name, _ in manager.store}
    reloaded(gateway, {"listen": [first, second]})
    until(lambda: len({name for name, _ in manager.store} - names) == 1, "the new one is kept")
    assert [name.replace("_", ":") for name in {name for name, _ in manager.store} - names] == [f"jitney-{second}"]
    reloaded(gateway, {"listen": second})
    until(lambda: not any(name == "jitney-" + first.replace(":", "_") for name, _ in manager.store), "the old one is not")


def test_the_units_are_in_order(tmp_path):
    """Without a systemd here there is nobody to ask."""
    folder = Path(__file__).resolve().parents[2] / "packaging"
    analyze = Path("/usr/bin/systemd-analyze")
    if not analyze.exists():
        pytest.skip("no systemd-analyze")
    for name in ("jitney.service", "jitney.socket"):
        text = (folder / name).read_text().replace("/usr/bin/jitney", "/bin/true")
        (tmp_path / name).write_text(text)
    done = subprocess.run([analyze, "verify", "--man=no", tmp_path / "jitney.service", tmp_path / "jitney.socket"], capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if "jitney" in line]
    assert done.returncode == 0 and said == []
