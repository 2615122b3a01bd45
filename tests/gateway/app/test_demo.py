"""The demo as a user runs it, and its parts."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.app.demo import Place, board_text, parse_broker, problems, report, site_text, stage_row
from gateway.app.observed import StageStatus
from gateway.errors import LinkError

KEYS = ("samples", "published", "acknowledged", "lost", "duplicated", "uptime_s", "rss_peak_bytes", "rings", "stages")
TIMEOUT_S = 60


@pytest.mark.parametrize(
    ("text", "expected"),
    [("host", ("host", 1883)), ("10.0.0.1:1884", ("10.0.0.1", 1884)), ("[::1]:1883", ("[::1]", 1883))],
)
def test_broker_addresses(text: str, expected: tuple[str, int]) -> None:
    assert parse_broker(text) == expected


@pytest.mark.parametrize("text", ["", ":1883", "host:", "host:0", "host:65536", "host:mqtt"])
def test_wrong_broker_addresses(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="allowed: HOST or HOST:PORT"):
        parse_broker(text)


def test_the_files_say_where_everything_is() -> None:
    place = Place(plc_port=40001, serial="/dev/pts/77", broker_host="broker.example", broker_port=40002)
    site, board = tomllib.loads(site_text(place)), tomllib.loads(board_text(place))
    assert site["port"]["plc"] == {"kind": "tcp", "host": "127.0.0.1", "port": 40001}
    assert (site["link"]["cloud"]["host"], site["link"]["cloud"]["port"]) == ("broker.example", 40002)
    assert board["port"]["rs485-1"]["device"] == "/dev/pts/77"


def stage(records_in: int, records_out: int, busy_ns: int) -> StageStatus:
    return StageStatus("scale", "running", records_in, records_out, busy_ns, 0, 0, 65536)


def test_rates_are_those_since_the_picture_before() -> None:
    row = stage_row("si", stage(150, 150, 3_000_000), stage(100, 100, 2_000_000), 0.5)
    assert (row.records_s, row.time_us) == (100.0, 20.0)
    assert stage_row("plc", stage(0, 30, 60_000), None, 1.0).records_s == 30.0
    assert stage_row("si", stage(5, 5, 100), stage(5, 5, 100), 1.0).time_us is None


def test_what_went_wrong_is_told_and_what_is_a_bug_is_raised() -> None:
    broken = LinkError("no broker")
    assert problems(ExceptionGroup("tasks", [ExceptionGroup("inner", [broken])])) == [broken]
    with pytest.raises(KeyError):
        problems(ExceptionGroup("tasks", [broken, KeyError("x")]))


def last_line(output: str) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(output.splitlines()[-1])
    assert tuple(summary) == KEYS
    return summary


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway.app.demo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def test_seconds_ends_it_with_a_summary() -> None:
    done = demo("--seconds", "4")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = last_line(done.stdout)
    assert summary["samples"] > 16, "every tag was read more than once"
    assert summary["published"] == summary["acknowledged"] > 0
    assert (summary["lost"], summary["duplicated"]) == (0, 0)
    assert summary["rings"]["si"]["records"] == summary["samples"]
    assert {name: one["traps"] for name, one in summary["stages"].items()} == {
        "plc": 0,
        "meters": 0,
        "si": 0,
        "json": 0,
    }
    assert 2**20 < summary["rss_peak_bytes"] <= 64 * 2**20
    assert report(summary)[1].split() == ["samples", "read", str(summary["samples"])]
    assert set(report(summary)) <= set(done.stdout.splitlines())


@contextlib.asynccontextmanager
async def mosquitto(folder: Path) -> AsyncIterator[int]:
    """A mosquitto broker; yields its port."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        pytest.skip("mosquitto is not installed: sudo apt install mosquitto mosquitto-clients")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n", encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        program, "-v", "-c", str(folder / "mosquitto.conf"), stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    while b"running" not in await process.stderr.readline():
        assert process.returncode is None, "mosquitto did not start"
    try:
        yield port
    finally:
        process.terminate()
        await process.communicate()


def test_a_foreign_broker_and_ctrl_c(tmp_path: Path) -> None:
    """mosquitto delivers to mosquitto_sub; SIGINT ends the demo with its summary and exit status 0."""

    async def go() -> None:
        async with mosquitto(tmp_path) as port:
            watcher = await asyncio.create_subprocess_exec(
                "mosquitto_sub",
                "-h",
                "127.0.0.1",
                "-p",
                str(port),
                "-t",
                "penstock/#",
                "-C",
                "2",
                stdout=subprocess.PIPE,
            )
            command = (sys.executable, "-m", "gateway.app.demo", "--broker", f"127.0.0.1:{port}")
            process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
            seen, _ = await watcher.communicate()
            process.send_signal(signal.SIGINT)
            output, _ = await process.communicate()
            assert process.returncode == 0
            summary = last_line(output.decode())
            assert summary["acknowledged"] >= 2
            assert (summary["lost"], summary["duplicated"]) == (0, 0)
            messages = [json.loads(line) for line in seen.splitlines()]
            assert [message["seq"] for message in messages] == [0, 1]
            assert {"boiler/temperature", "tank/level"} <= {one["tag"] for m in messages for one in m["samples"]}

    asyncio.run(asyncio.wait_for(go(), TIMEOUT_S))


def test_no_broker_is_said_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: nobody answers there
        port = taken.getsockname()[1]
        done = demo("--broker", f"127.0.0.1:{port}", "--seconds", "5")
    assert done.returncode == 1
    assert done.stderr == f"demo: no MQTT broker at 127.0.0.1:{port}: [Errno 111] Connection refused\n"
