"""The minimal image: a gateway that hangs is killed by the watchdog's guard and started again by init."""

from __future__ import annotations

from pathlib import Path

from tests.hil.host import Host
from tests.hil.machine import Hardware, Machine, copy_disk
from tests.hil.recording import BOOT_SECONDS_MAX, Start


def test_a_gateway_that_hangs(settled: Start, world: Host, folder: Path) -> None:
    place = folder / "hung-gateway"
    place.mkdir()
    disk = copy_disk(settled.disk, place / "disk.img")
    with Machine(place, Hardware(disk, bus=world.rtu.device, resume=settled.frozen)) as machine:
        machine.console.run("until [ -s /run/penstock/health.json ]; do sleep 1; done")
        machine.console.run("killall -STOP penstock")
        machine.console.expect("guard: the gateway is silent for 60 s and is killed", BOOT_SECONDS_MAX)
        machine.console.expect("running: site", BOOT_SECONDS_MAX)
    disk.unlink()
