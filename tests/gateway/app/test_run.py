"""``penstock run`` as a process: signals, service manager, status lines, memory."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.api.status import status_line
from gateway.app.plugin_build import build
from gateway.supervisor import State
from tests.gateway.peers import PATIENCE_S, Mosquitto

RSS_MAX_BYTES = 64 << 20
DEMO = Path("gateway/app/demo_site.toml")


@pytest.fixture(scope="module", autouse=True)
def built(root: Path) -> None:
    for name in ("modbus", "scale", "json_maker"):
        build(root / "plugins" / name, root / "build" / "plugins")


@pytest.fixture
def site(root: Path, tmp_path: Path) -> Iterator[list[str]]:
    """Arguments for the demo's site on a plant and a broker of our own."""
    plant = subprocess.Popen(
        [sys.executable, "-m", "gateway.app.plant"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with plant, Mosquitto(tmp_path) as broker:
        assert plant.stdin is not None
        assert plant.stdout is not None
        where = json.loads(plant.stdout.readline())
        text = (root / DEMO).read_text("utf-8").replace("port = 5020", f"port = {where['tcp_port']}")
        site, board = tmp_path / "site.toml", tmp_path / "board.toml"
        site.write_text(text.replace("port = 1883", f"port = {broker.port}"), encoding="utf-8")
        board.write_text(f'[board]\nname = "b"\n[port.rs485-1]\ndevice = "{where["serial"]}"\n')
        yield [str(site), "--board", str(board)]
        plant.stdin.close()


def penstock(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gateway.app.cli", *arguments]


def delivered(status: dict[str, Any]) -> int:
    acknowledged: int = status["links"]["cloud"]["acknowledged"]
    return acknowledged


def listen(systemd: socket.socket, told: list[bytes]) -> None:
    """Take messages until the last one."""
    systemd.settimeout(2 * PATIENCE_S)
    while not told or told[-1] != b"STOPPING=1":
        told.append(systemd.recv(100))


def test_run_until_sigterm(site: list[str], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        told: list[bytes] = []
        listening = threading.Thread(target=listen, args=(systemd, told))
        listening.start()
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        command = penstock("run", *site, "--json", "--status-s", "0.1")
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, stdout=pipe, stderr=pipe, text=True, env={**os.environ, **environment}
        ) as process:
            assert process.stdout is not None
            statuses = []
            for line in process.stdout:
                statuses.append(json.loads(line))
                if delivered(statuses[-1]) >= 3:
                    process.send_signal(signal.SIGTERM)
                    break
            statuses += [json.loads(line) for line in process.stdout]
            _, log = process.communicate(timeout=PATIENCE_S)
        listening.join(PATIENCE_S)
    assert told[-1] == b"STOPPING=1"
    assert process.returncode == 0, log
    assert told[0] == b"READY=1"
    assert told.count(b"WATCHDOG=1") >= 2
    final = statuses[-1]
    assert final["links"]["cloud"]["published"] == delivered(final) >= 3
    assert all(one["state"] == "running" and one["traps"] == 0 for one in final["stages"].values())
    assert final["rss_peak_bytes"] <= RSS_MAX_BYTES
    assert " INFO    penstock.link.cloud: connected: 127.0.0.1:" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("arguments", [["--seconds", "1"], ["--seconds", "1", "--json"]])
def test_run_for_a_time(site: list[str], arguments: list[str]) -> None:
    done = subprocess.run(penstock("run", *site, *arguments), capture_output=True, text=True, timeout=60, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == ("--json" in arguments), "the last status, if asked for"
    assert all(json.loads(line)["uptime_s"] >= 1 for line in lines)


def test_sigint_ends_it_too(site: list[str]) -> None:
    with subprocess.Popen(penstock("run", *site), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "running" in line:
                process.send_signal(signal.SIGINT)
                break
        log = process.stderr.read()
    assert process.returncode == 0, log
    assert "penstock.supervisor: stopping" in log


def test_a_status_of_nothing_is_an_object() -> None:
    status = json.loads(status_line(State("works", 1.23456, (), (), (), ())))
    assert status.pop("rss_peak_bytes") > 1 << 20
    assert status == {"site": "works", "uptime_s": 1.235, "stages": {}, "rings": {}, "ports": {}, "links": {}}
