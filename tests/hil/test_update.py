"""A real update over HTTPS, from slot a to slot b: committed when it is healthy, back by itself when it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ota.boot.table import TRIES
from tests.hil import image
from tests.hil.disk import Artefact, history, standing
from tests.hil.host import Host
from tests.hil.machine import Hardware, Machine, copy_disk
from tests.hil.recording import BOOT_SECONDS_MAX, INSTALL, NOTEBOOK, UPDATE_SECONDS_MAX, Recording, Start
from tests.hil.releases import HEALTHY, Releases
from tests.hil.report import Report

IMPATIENCE_S = 25.0  # given to a gateway that never gets healthy
TROUBLE_SECONDS_MAX = 180
DEAD_GATEWAY = {"usr/share/penstock/plugins/modbus/modbus.wasm": "not a module\n"}
HANGS = {"usr/lib/penstock/start": "#!/bin/sh\necho this system hangs\nwhile :; do sleep 1000; done\n"}


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
    """A broken release: number, what makes its slot image of a good one, how often the loader tries it, what it says
    before it restarts, the reason given afterwards. ``bites``: the watchdog ends each try. ``log``: what the device
    keeps of its last words, if it has any."""

    release: int
    make: Callable[[Path, Path], Path]
    boots: int
    console: str
    reason: str
    bites: bool = False
    log: str = ""


TROUBLES = {
    "gateway-fails": Trouble(
        3,
        lambda slot, out: image.with_files(slot, out, DEAD_GATEWAY),
        1,
        "gateway: ended with status [1-9]",
        "the gateway has not reported",
        log="gateway: ended with status",
    ),
    "kernel-panics": Trouble(4, image.without_initrd, TRIES, "Kernel panic", "was never heard of"),
    "hangs": Trouble(
        5,
        lambda slot, out: image.with_files(slot, out, HANGS),
        TRIES,
        "this system hangs",
        "was never heard of",
        bites=True,
    ),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_broken_release_goes_back_and_says_why(
    settled: Start,
    versions: tuple[Artefact, Artefact],
    built: image.Built,
    releases: Releases,
    world: Host,
    folder: Path,
    report: Report,
    name: str,
) -> None:
    """A signed release, offered to the devices of one group: fetched, verified, tried, given up, not tried again."""
    assert versions, "all releases before this one are published"
    trouble, place = TROUBLES[name], folder / name
    place.mkdir()
    broken = trouble.make(built.slot, place / "slot.img")
    releases.publish(broken, trouble.release, name, group=name)
    releases.go_live()
    disk = copy_disk(settled.disk, place / "disk.img")
    with Machine(place, Hardware(disk, bus=world.rtu.device, resume=settled.frozen)) as machine:
        machine.console.run(joining(name))
        machine.console.send(INSTALL)
        machine.console.expect(f"penstock-{trouble.release}.img: by full, verified", UPDATE_SECONDS_MAX)
        for _ in range(trouble.boots):
            machine.skip_bootdelay(TROUBLE_SECONDS_MAX)
            assert machine.picked() == "b"
            machine.console.expect(trouble.console, TROUBLE_SECONDS_MAX)
        machine.skip_bootdelay(TROUBLE_SECONDS_MAX)
        assert machine.picked() == "a"
        back_s = machine.console.since_start_s()
        machine.console.expect("running: site", BOOT_SECONDS_MAX)
        if trouble.boots == TRIES:  # the slot that failed could not say so itself
            machine.console.expect("rolled-back: slot b", BOOT_SECONDS_MAX)
        assert machine.events().count("WATCHDOG") == (TRIES if trouble.bites else 0)
        again = machine.console.run(INSTALL.removesuffix("&"))
        told = machine.console.run("penstock-ota status --config /data/ota.toml")
        machine.console.run("sync")
    event, version, reason = history(disk, NOTEBOOK)[-1]
    report.add("rollback", **{name: {"back_after_s": back_s, "reason": reason}})
    assert (event, version) == ("rolled-back", name)
    assert trouble.reason in reason
    assert f"penstock-{trouble.release}.img failed on this device and is not tried again: {reason}" in again
    assert trouble.log in told
    assert standing(disk) == "good a, valid a"
    disk.unlink()
    broken.unlink()


def joining(group: str) -> str:
    """A command that moves the device to a rollout group, and gives the next trial little time to get healthy."""
    changes = [f"/^group = /s/{HEALTHY}/{group}/", f"s/limit_s = .*/limit_s = {IMPATIENCE_S}/"]
    edits = " ".join(f"-e '{change}'" for change in changes)
    return f"sed -i {edits} /data/ota.toml && grep -q {group} /data/ota.toml"
