"""From power to the first message, on the memory that the board has, and on the least there may be."""

from __future__ import annotations

import re
from concurrent.futures import Future
from pathlib import Path

import pytest

from tests.hil.disk import Artefact
from tests.hil.host import Host
from tests.hil.machine import Hardware, Machine, copy_disk
from tests.hil.recording import BOOT_SECONDS_MAX, PROMPT
from tests.hil.report import Report

TICKS_PER_S = 100  # of /proc/PID/stat, on every architecture
SPARE_MIB = 16  # memory that the least board must have left


@pytest.mark.parametrize("memory_mib", [256, 128])
def test_boots_and_publishes(
    provisioned: Path,
    preparing: Future[tuple[Artefact, Artefact]],
    world: Host,
    folder: Path,
    report: Report,
    memory_mib: int,
) -> None:
    preparing.result()  # it would take processor time from the machine that is measured
    place = folder / f"boot-{memory_mib}"
    place.mkdir()
    hardware = Hardware(copy_disk(provisioned, place / "disk.img"), memory_mib, world.rtu.device)
    before = world.count()
    with Machine(place, hardware) as machine:
        world.await_value(before, BOOT_SECONDS_MAX)
        first_s = machine.console.since_start_s()
        machine.console.expect(PROMPT, BOOT_SECONDS_MAX)
        machine.console.run("sleep 10")  # what is only needed at the start has gone
        memory = machine.console.run("cat /proc/meminfo")
        process = machine.console.run("cat /proc/$(pidof penstock)/status")
        begun_s = process_start_s(machine)
    loaded_s, ready_s = (machine.console.seconds(line) for line in ("^Starting kernel", "running: site"))
    total, available = (kib(memory, name) / 1024 for name in ("MemTotal", "MemAvailable"))
    report.add(
        f"boot {memory_mib} MiB",
        first_message_s=first_s,
        of_it_s={
            "loader": loaded_s,
            "system": begun_s - loaded_s,
            "gateway": ready_s - begun_s,
            "message": first_s - ready_s,
        },
        gateway_share_percent=100 * (ready_s - begun_s) / first_s,
        used_mib=total - available,
        available_mib=available,
        gateway_mib=kib(process, "VmRSS") / 1024,
    )
    assert available > SPARE_MIB
    text = machine.console.text
    assert text.index("running: site") < text.index("runs compiled"), "it runs as the start before has prepared it"
    assert text.count("running: site") == 1, "and is taken over as it is"


def process_start_s(machine: Machine) -> float:
    """When the gateway's process began, in seconds since power."""
    stat = machine.console.run("cat /proc/$(pidof penstock)/stat; cat /proc/uptime")
    now_s = machine.console.since_start_s()
    began = int(stat.rpartition(")")[2].split()[19]) / TICKS_PER_S
    up_s = float(stat.strip().splitlines()[-1].split()[0])
    return now_s - (up_s - began)


def kib(text: str, name: str) -> int:
    """A line of /proc/meminfo or of a process's status."""
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    assert found is not None, text
    return int(found[1])
