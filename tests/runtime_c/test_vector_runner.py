"""The vector runner (runtime_c/tools/vectors.c) itself: what passes, and how each kind of mismatch is told."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.runtime_c.toolchain import TOOLCHAINS, build

NATIVE = TOOLCHAINS["native"]
START = ["case echo", "grants fff", "memory 131072", "deadline 20000", "ports 1", "clock 1000", "start", "port 0 up"]


def run(path: Path, plugin: str, lines: list[str], *options: str) -> tuple[int, str]:
    """Exit status and output of the runner for a script on one of tests/plugins."""
    folder = build(NATIVE, "tools", "plugins")
    script = path / "script"
    script.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [str(folder / "tools" / "vectors"), str(folder / "plugins" / f"{plugin}.wasm"), str(script), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_a_script_that_fits_passes(tmp_path: Path) -> None:
    lines = ["# a comment", "", *START, "log init", "log port 0 up", "rx 0 6869", "tx 0 6869", "tx 0 -"]
    lines += ["rx 0 74", "advance 999", "advance 1", "log timer", "rx 0 6d", "metric orders 1"]
    lines += ["rx 0 21", "trap unreachable in", "port 0 down"]
    lines += ["case no log is granted", "grants 7", "ports 1", "refuse import hal.log is not granted"]
    assert run(tmp_path, "echo", lines) == (0, "2 cases passed\n")


def test_bytes_can_be_delivered_one_by_one(tmp_path: Path) -> None:
    lines = [*START, "rx 0 68696a", "tx 0 68696a"]
    assert run(tmp_path, "echo", lines, "--bytewise") == (0, "1 cases passed, bytes delivered one by one\n")


def test_timers_fire_at_their_exact_times(tmp_path: Path) -> None:
    """Three ticks of 250 us in one advance of 800 us; each sample carries the time of its tick."""
    head, tail = "20000000" + "01000002" + "00000000", "0000000000000000"
    ticks = "".join(
        head + seq.to_bytes(4, "little").hex() + (1000 + 250_000 * (seq + 1)).to_bytes(8, "little").hex() + tail
        for seq in range(3)
    )
    lines = ["case ticks", "grants fff", "out 0 1", "config fa000000", "clock 1000", "start", "advance 800"]
    assert run(tmp_path, "source", [*lines, f"out 0 {ticks}", "out 0 -"]) == (0, "1 cases passed\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("tx 0 00", "tx: expected 1 bytes, got 0; they differ from byte 0 on"),
        ("log something", 'no log contains "something"'),
        ("trap unreachable", 'no trap contains "unreachable", there is: none'),
        ("metric orders 1", "metric orders: expected 1, but it was never set"),
        ("out 0 -", "the case has no output ring"),
        ("in 0 00", "the case has no input ring"),
        ("rx 0 2", "bytes need an even number of hex digits"),
        ("rx 0 2g", '"2g" is not hex'),
        ("rx 1 00", '"1" is not a number up to 0'),
        ("rx 0 21", "unexpected trap in stage plugin: unreachable in"),
        ("port 0 sideways", '"sideways" is neither up nor down'),
        ("port", "an argument is missing"),
        ("start", "start comes before start"),
        ("reboot", 'unknown command "reboot"'),
    ],
)
def test_a_mismatch_is_told_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    status, output = run(tmp_path, "echo", [*START, line, "advance 1"])
    where = len(START) + (2 if line == "rx 0 21" else 1)
    assert status == 1
    assert f'script:{where}: case "echo": {message}' in output


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["grants 1"], 'script:1: case "none": a script begins with a case'),
        (["case a", "rx 0 00"], "rx comes after start"),
        (["case a", "grants 0", "start"], 'does not start: stage "plugin": import hal.log is not granted'),
        (["case a", "grants fff", "refuse nothing"], 'starts, though it should refuse with "nothing"'),
        (["case a", "in 1 1"], "ring 0 comes next"),
    ],
)
def test_a_wrong_setup_is_told(tmp_path: Path, lines: list[str], message: str) -> None:
    status, output = run(tmp_path, "echo", lines)
    assert status == 1
    assert message in output
