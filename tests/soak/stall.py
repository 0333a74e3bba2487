# SPDX-License-Identifier: Apache-2.0
"""Who is late when an answer does not come: this process, the machine, or the gateway, and where in it. Looked at once that is so."""
import asyncio
import collections
import fcntl
import json
import shutil
import subprocess
import termios
import time
from pathlib import Path

BEAT_SECONDS = 0.05
KEPT_SECONDS = 120
CALLS_SHOWN = 12
STACK_FRAMES = 14


class Pulse:
    """How late this process' own event loop is: clients and providers live in it, so what it does not do looks like the gateway's."""

    def __init__(self):
        self.late = collections.deque()     # (when, by how many seconds), beats that were late by more than themselves
        self.stood = 0                      # seconds of all of them
        self.due = float("inf")             # of the beat under way

    def note(self):
        """What the beat under way is late by so far. It beats on from now."""
        now = time.monotonic()
        if now - self.due > BEAT_SECONDS:
            self.late.append((now, now - self.due))
            self.stood += now - self.due
        while self.late and self.late[0][0] < now - KEPT_SECONDS:
            self.late.popleft()
        self.due = now + BEAT_SECONDS

    async def beat(self):
        """Until it is cancelled: answers are awaited beyond the end of a round."""
        while True:
            self.due = time.monotonic() + BEAT_SECONDS
            await asyncio.sleep(BEAT_SECONDS)
            self.note()

    async def within(self, seconds, what):
        """What `what` returns. TimeoutError: not within so many seconds; those in which this process stood still do not count."""
        task = asyncio.ensure_future(what)
        stood, left = self.stood, seconds
        try:
            while not (await asyncio.wait({task}, timeout=left))[0]:
                self.note()
                stood, left = self.stood, self.stood - stood
                if left <= 0:
                    raise asyncio.TimeoutError
            return task.result()
        finally:
            task.cancel()

    def told(self, seconds):
        late = [by for when, by in self.late if when > time.monotonic() - seconds]
        return f"this process: late by {sum(late):.2f} s of the last {seconds} s, {max(late, default=0):.2f} s at a time"


def unread(client):
    """Bytes that this side has received and not read, and where the connection's bytes lie on both of its ends."""
    if not client.writer or client.writer.is_closing():
        return f"the connection has ended: {client.reader and client.reader.exception()!r}"
    end = client.writer.get_extra_info("socket")
    waiting = int.from_bytes(fcntl.ioctl(end.fileno(), termios.FIONREAD, b"\0" * 4), "little")
    ports = (end.getsockname()[1], client.address[1])
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        local, remote = (int(words[n].rpartition(":")[2], 16) for n in (1, 2))
        if (local, remote) in (ports, ports[::-1]):
            out, come = (int(queue, 16) for queue in words[4].split(":"))
            found.append(f"{'client' if local == ports[0] else 'gateway'}: {out} unsent, {come} unread")
    return (f"connection of {time.monotonic() - client.opened:.1f} s, {'fresh' if client.fresh else 'kept'}; {waiting} bytes in the socket, "
            f"{len(client.reader._buffer)} in the reader; {'; '.join(found)}")


def threads(pid):
    """name -> seconds it ran, seconds it waited for a processor, its state"""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        ran, waited, _ = (int(word) for word in (task / "schedstat").read_text().split())
        found[f"{(task / 'comm').read_text().strip()}/{task.name}"] = (
            ran / 1e9, waited / 1e9, (task / "stat").read_text().rpartition(")")[2].split()[0])
    return found


def threads_told(pid, seconds=1.0):
    before = threads(pid)
    time.sleep(seconds)
    lines = [f"{name}: {state}, ran {ran - before[name][0]:.2f} s, waited for a processor {waited - before[name][1]:.2f} s"
             for name, (ran, waited, state) in threads(pid).items() if name in before]
    return f"of one second, load {Path('/proc/loadavg').read_text().split()[0]}:\n    " + "\n    ".join(lines)


def stacks(pid):
    if not shutil.which("gdb"):
        return "no gdb here"
    done = subprocess.run(["gdb", "-p", str(pid), "-batch", "-ex", f"thread apply all backtrace {STACK_FRAMES}"], check=False,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    return "\n".join("    " + line for line in done.stdout.splitlines() if line.startswith(("Thread", "#")))


def of_gateway(gateway):
    """What it says itself, if it still says anything."""
    calls = json.loads(gateway.get(f"/admin/calls?limit={CALLS_SHOWN}", listener="admin").body)
    gauges = [line for line in gateway.get("/metrics", listener="admin").body.decode().splitlines()
              if line.startswith(("jitney_in_flight", "jitney_batch_waiting", "jitney_batch_in_flight", "jitney_connections",
                                  "jitney_upstream_connections", "jitney_loop_lag", "jitney_worker_busy", "jitney_redis"))
              and "_bucket" not in line and not line.endswith(" 0")]
    return "\n    ".join(["calls, newest first:", *(json.dumps(call) for call in calls["calls"]), *gauges])


async def told(soak, client, seconds):
    """All of it. Each part in a thread, since it may be what hangs."""
    parts = [soak.pulse.told(seconds)]
    for part in ((unread, client), (threads_told, soak.gateway.process.pid), (of_gateway, soak.gateway), (stacks, soak.gateway.process.pid)):
        try:
            parts.append(await asyncio.to_thread(*part))
        except Exception as failed:     # what cannot be asked any more is a finding too
            parts.append(f"{part[0].__name__}: {failed!r}")
    return "\n  ".join(parts)
