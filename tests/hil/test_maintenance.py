"""The minimal image's services: its clock is set, they are stopped and started on purpose."""

from __future__ import annotations

from pathlib import Path

from ota.clock import Clock
from tests.hil.host import Host
from tests.hil.machine import HOST, Hardware, Machine, copy_disk
from tests.hil.recording import BOOT_SECONDS_MAX, Start
from tests.peers.sntp import answer, server

GONE = "! pidof penstock > /dev/null"


def test_services(settled: Start, world: Host, folder: Path) -> None:
    place = folder / "maintenance"
    place.mkdir()
    disk = copy_disk(settled.disk, place / "disk.img")
    with Machine(place, Hardware(disk, bus=world.rtu.device, resume=settled.frozen)) as machine:
        machine.console.run("date -s @1700000000")
        with server(lambda question: answer(question, Clock().unix_s())) as where:
            port = where.partition(":")[2]
            assert f"set by {HOST}:{port}" in machine.console.run(f"python3 -I -m gateway.app.sntp {HOST}:{port}")
        assert int(machine.console.run("date +%s")) > 1_790_000_000
        machine.console.run("systemctl stop penstock")
        machine.console.expect("gateway: ended with status 0", BOOT_SECONDS_MAX)
        machine.console.run(f"sleep 5 && {GONE}")  # init has had time for two more attempts
        machine.console.run("systemctl start penstock")
        machine.console.expect("running: site", BOOT_SECONDS_MAX)
    disk.unlink()
