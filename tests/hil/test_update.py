"""A real update over HTTPS, from slot a to slot b: committed when it is healthy, back by itself when it is not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ota.boot.table import TRIES
from tests.hil import image
from tests.hil.conftest import LONG
from tests.hil.disk import history, read_data_file, standing, write_data_folder, write_slot
from tests.hil.host import Host
from tests.hil.machine import Hardware, Machine, copy_disk
from tests.hil.recording import BOOT_SECONDS_MAX, NOTEBOOK, Recording
from tests.hil.report import Report

IMPATIENCE_S = 25.0  # given to a gateway that never gets healthy
TROUBLE_SECONDS_MAX = 180
DEAD_GATEWAY = {"usr/share/penstock/plugins/modbus/modbus.wasm": "not a module\n"}
HANGS = {"usr/lib/penstock/start": "#!/bin/sh\nexec 3> /dev/watchdog0\nwhile :; do sleep 1000; done\n"}


def test_healthy_update_is_committed(recording: Recording) -> None:
    """By a patch, with the boot loader's help, and with the gateway's health as the reason."""
    disk = recording.starts["trial"].disk.with_name("disk.img")
    assert standing(disk) == "good b, valid ab"
    assert history(disk, NOTEBOOK) == [
        ("installed", "2", ""),
        ("committed", "2", "healthy for the set time"),
    ]


@dataclass(frozen=True, slots=True)
class Trouble:
    """A broken slot image, how often the loader tries it, what it says before it restarts, the reason given afterwards.

    ``by_hand``: after the first time somebody pulls the plug instead of waiting for the watchdog.
    """

    make: Callable[[Path, Path], Path]
    boots: int
    console: str
    reason: str
    by_hand: bool = False


TROUBLES = {
    "gateway-fails": Trouble(
        lambda slot, out: image.with_files(slot, out, DEAD_GATEWAY),
        1,
        "gateway: ended with status [1-9]",
        "the gateway has not reported",
    ),
    "kernel-panics": Trouble(image.without_initrd, TRIES, "Kernel panic", "was never heard of"),
    "hangs": Trouble(
        lambda slot, out: image.with_files(slot, out, HANGS),
        TRIES,
        "Initiating system reboot",
        "was never heard of",
        by_hand=not LONG,
    ),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_broken_slot_goes_back_and_says_why(
    recording: Recording, built: image.Built, world: Host, folder: Path, report: Report, name: str
) -> None:
    """After an update that was installed and armed as always; then the slot gets the bytes of the broken one."""
    trouble, place = TROUBLES[name], folder / name
    place.mkdir()
    disk = copy_disk(recording.starts["armed"].disk, place / "disk.img")
    broken = trouble.make(built.slot, place / "slot.img")
    write_slot(disk, "b", broken)
    be_impatient(disk, place / "data")
    with Machine(place, Hardware(disk, bus=world.rtu.device)) as machine:
        for number in range(trouble.boots):
            machine.skip_bootdelay(TROUBLE_SECONDS_MAX)
            assert machine.picked() == "b"
            machine.console.expect("^Starting kernel", BOOT_SECONDS_MAX)
            if trouble.by_hand and number:
                machine.power_cycle()
            else:
                machine.console.expect(trouble.console, TROUBLE_SECONDS_MAX)
        machine.skip_bootdelay(TROUBLE_SECONDS_MAX)
        assert machine.picked() == "a"
        back_s = machine.console.since_start_s()
        machine.console.expect("running: site", BOOT_SECONDS_MAX)
        if trouble.boots == TRIES:
            machine.console.expect("rolled-back: slot b", BOOT_SECONDS_MAX)
        machine.console.run("sync")
    event, version, reason = history(disk, NOTEBOOK)[-1]
    report.add("rollback", **{name: {"back_after_s": back_s, "reason": reason}})
    assert (event, version) == ("rolled-back", "2")
    assert trouble.reason in reason
    assert standing(disk) == "good a, valid a"
    disk.unlink()
    broken.unlink()


def be_impatient(disk: Path, scratch: Path) -> None:
    """Give the next trial little time to get healthy, so that the test need not wait for the usual."""
    settings = read_data_file(disk, "/ota.toml").decode()
    assert "limit_s = " in settings
    scratch.mkdir()
    (scratch / "ota.toml").write_text(re.sub(r"limit_s = .*", f"limit_s = {IMPATIENCE_S}", settings), "utf-8")
    write_data_folder(disk, scratch)
