"""Modbus RTU over the emulated UART and Modbus TCP to the broker: every value arrives, once, from its place."""

from __future__ import annotations

from pathlib import Path

from ota.clock import Cancel, Clock
from tests.hil.conftest import LONG
from tests.hil.host import POLL_MS, RTU, TCP, Host
from tests.hil.machine import Hardware, Machine, copy_disk
from tests.hil.recording import BOOT_SECONDS_MAX
from tests.hil.report import Report

RUN_S = 3600.0 if LONG else 120.0


def test_no_value_is_lost(provisioned: Path, world: Host, folder: Path, report: Report) -> None:
    place = folder / "field"
    place.mkdir()
    world.forget()
    with Machine(place, Hardware(copy_disk(provisioned, place / "disk.img"), bus=world.rtu.device)) as machine:
        world.await_value(0, BOOT_SECONDS_MAX)
        Clock().wait(RUN_S, Cancel())
        problems, asked = world.losses(), {name: len(slave.replies) for name, slave in world.slaves.items()}
        trapped = machine.console.text.count("trapped")
    report.add("field", seconds=RUN_S, values=world.count(), requests=asked, traps=trapped)
    assert problems == []
    # A machine that is slow polls less often; one that has stopped has not even a fifth.
    for name in (TCP, RTU):
        assert asked[name] > RUN_S * 1000 / POLL_MS[name] / 5
