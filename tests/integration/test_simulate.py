# SPDX-License-Identifier: Apache-2.0
"""jitney simulate: a real access log goes in, a table and a plot come out."""
import subprocess
import xml.etree.ElementTree

import pytest

from harness.gateway import JITNEY


def simulate(*options, stdin=None):
    return subprocess.run([JITNEY, "simulate", *options], input=stdin, capture_output=True, text=True, timeout=60, check=False)


def rows(text):
    table = text.split("failed\n")[1]
    return [line.split() for line in table.splitlines()]


def test_a_made_up_load_is_tried_in_all_modes(tmp_path):
    plot = tmp_path / "plot.svg"
    done = simulate("--rate", "3000", "--seconds", "2", "--slots", "4", "--windows", "1ms,5ms", "--items", "100", "--plot", str(plot))
    assert done.returncode == 0, done.stderr
    assert [row[:3] for row in rows(done.stdout)] == [
        ["off", "-", "1"], ["adaptive", "1ms", "100"], ["adaptive", "5ms", "100"], ["fixed", "1ms", "100"], ["fixed", "5ms", "100"]]
    requests = {(row[0], row[1]): int(row[3]) for row in rows(done.stdout)}
    assert requests["fixed", "5ms"] < requests["fixed", "1ms"] < requests["off", "-"]
    assert xml.etree.ElementTree.parse(plot).getroot().tag.endswith("svg")
    assert done.stderr == ""


def test_a_world_takes_the_place_of_the_provider():
    listed = [line.split()[0] for line in simulate("--help").stdout.split("Worlds:\n")[1].splitlines()]
    assert len(listed) > 15 and "bimodal" in listed
    for world in listed:
        done = simulate("--rate", "20", "--seconds", "5", "--world", world, "--modes", "off", "--timeout", "60s")
        assert done.returncode == 0 and f"({world})" in done.stdout, (world, done.stderr)
        assert len(rows(done.stdout)) == 1


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_the_log_of_a_gateway_is_replayed(start, together, form):
    jitney = start({"log": {"format": form}})
    assert all(answer.status == 200 for answer in together(lambda n: jitney.call("echo", {"n": n}), range(60)))
    for _ in range(5):
        assert jitney.call("cached", {"n": 1}).status == 200
    jitney.stop()
    log = str(jitney.log_path)
    done = simulate(log, "--modes", "off,adaptive", "--windows", "5ms", "--items", "10")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("61 calls to a provider"), done.stdout
    assert "of 65 calls" in done.stdout
    assert rows(done.stdout)[0][3] == "61"
    one = simulate(log, "--tool", "cached", "--modes", "off")
    assert one.stdout.startswith("1 calls to a provider"), one.stdout


def test_wrong_words_are_named():
    for options, word in [
        ([], "name either a LOG or a --rate"), (["a.log", "--rate", "5"], "name either"), (["--rate", "-3"], "-3: not a value"),
        (["--rate", "5", "--windows", "1ms,soon"], "1ms,soon: not a value"), (["a.log", "b.log"], "b.log: one log"),
        (["--rate", "5", "--world", "mars"], "mars: not a value"), (["--rate", "5", "--world", "slots", "--slots", "3"], "slots: a --world"),
        (["--rate", "5", "--modes", "on"], "on: not a value"), (["--nonsense"], "an option is not known"),
    ]:
        done = simulate(*options)
        assert done.returncode == 2, options
        assert word in done.stderr, (options, done.stderr)


def test_a_log_that_is_none_says_so(tmp_path):
    done = simulate("-", stdin="hello\n")
    assert done.returncode == 1 and "1 lines, 0 calls" in done.stderr
    done = simulate(str(tmp_path / "missing"))
    assert done.returncode == 1 and "No such file" in done.stderr
