# SPDX-License-Identifier: Apache-2.0
"""What the scripts of ./dev bench make of what they have seen; what they start and measure is for people to run."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))
import frontier  # noqa: E402
import loads  # noqa: E402
import machine  # noqa: E402
import peers  # noqa: E402

CPUINFO = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 7B13\nstepping\t: 0\n\nprocessor\t: 1\nmodel name\t: AMD EPYC 7B13\n"


def test_the_processor_is_named():
    assert machine.processor(CPUINFO) == "AMD EPYC 7B13"
    assert machine.processor("processor\t: 0\nBogoMIPS\t: 50.00\n")  # elsewhere the architecture


def test_the_allocator_is_named():
    assert machine.allocator("jitney 0.1.0\nmalloc: jemalloc 5.3.0_0\n") == "jemalloc 5.3.0_0"
    assert machine.allocator("jitney 0.1.0\n") == "unknown"


def test_the_head_names_all_that_figures_depend_on():
    head = machine.head({"processor": "P", "cores": 2, "kernel": "6.1", "jitney": "1.0", "libraries": {"libcurl": "8.1"}, "peers": {"nginx": "1.2"},
                         "load_average": 0.5})
    assert head == "P, 2 cores, Linux 6.1, load average 0.50\njitney 1.0, libcurl 8.1; nginx 1.2\n"


def point(rate, p99_ms, failed=0):
    return {"rate": rate, "p99_us": p99_ms * 1000, "failed": failed}


def test_the_frontier_is_the_highest_rate_that_was_held():
    """A hiccup at a lower rate does not count; a failure does, however quick all others were."""
    points = [point(2000, 0.5), point(3000, 70), point(4000, 0.9), point(6000, 4), point(8000, 3, failed=1), point(10_000, 200)]
    assert frontier.frontier(points) == {1: 4000, 5: 6000, 10: 6000, 50: 6000, 100: 6000}
    assert frontier.frontier([point(2000, 200)]) == dict.fromkeys(frontier.BOUNDS_MS)


def test_a_bound_is_not_held_by_reaching_it():
    assert frontier.held(point(1, 0.999), 1) and not frontier.held(point(1, 1), 1)


def test_who_has_failed_twice_leaves_the_sweep():
    good, slow, failed = point(2000, 1), point(3000, 100), point(4000, 1, failed=1)
    assert not frontier.given_up([]) and not frontier.given_up([slow]) and not frontier.given_up([slow, good])
    assert frontier.given_up([good, slow, failed])


def test_rates_rise_to_the_last():
    rates = list(frontier.rates(1.5))
    assert rates == sorted(set(rates)) and rates[0] == frontier.FIRST and frontier.LAST / 1.5 < rates[-1] <= frontier.LAST


def test_all_calls_that_are_due_are_asked_for():
    class Bench:
        build, processes = pathlib.Path("build"), {"jitney": type("Subject", (), {"port": 80})}

    argv = loads.load_argv(Bench, loads.SERIES["jitney, hit"], 2000, 2, 256)
    assert argv[argv.index("--calls") + 1] == "4000" and argv[argv.index("--seconds") + 1] == "6"


def test_a_table_of_the_frontier_has_what_was_not_held():
    found = {"frontier": {"jitney, hit": frontier.frontier([point(2000, 3)])}, "memory_mib": {"jitney": {"idle": 8, "under load": 9.25, "recovered": 8}}}
    lines = frontier.table(found).splitlines()
    assert lines[2].split() == ["jitney,", "hit", "-", "2,000", "2,000", "2,000", "2,000"]
    assert lines[-1].split() == ["jitney", "8.0", "9.2", "8.0"]


def test_an_installer_that_fails_is_told_by_its_last_line():
    with pytest.raises(peers.Unfit, match="not installed: no such thing"):
        peers.attempt([sys.executable, "-c", "print('first'); print('no such thing'); exit(1)"])
    with pytest.raises(peers.Unfit, match="not installed: "):
        peers.attempt(["/nowhere/installer"])


def test_what_is_installed_is_not_installed_again(tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "attempt", lambda argv: pytest.fail("nothing is to be run"))
    program = tmp_path / "npm" / "a" / "node_modules/.bin" / "b"
    program.parent.mkdir(parents=True)
    program.touch()
    assert peers.install(tmp_path, "npm", "a", "b") == program


def test_an_installer_is_told_what_else_it_is_to_take(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(peers, "attempt", ran.append)
    with pytest.raises(peers.Unfit, match="has no program mcpo"):
        peers.install(tmp_path, "pip", "mcpo", "mcpo", ("mcp<2",))
    assert [argv[-2:] for argv in ran] == [["venv", str(tmp_path / "pip/mcpo")], ["mcpo", "mcp<2"]]


def test_a_peer_that_was_not_measured_has_its_reason_in_its_row():
    figures = {"cpu_us": 20.0, "calls_per_second": 9000.0, "p50_us": 1000, "p99_us": 2000, "failed": 0, "rss_idle_mib": 20, "rss_after_mib": 21}
    lines = peers.table({"jitney": figures, "mcpo": {"not_measured": "not installed: no pip"}}).splitlines()
    assert lines[1].split() == ["jitney", "MCP", "20.0", "1.00", "9,000", "1.00", "1.0", "2.0", "20.0", "21.0", "0"]
    assert lines[2].split(maxsplit=1) == ["mcpo", "not installed: no pip"]
