"""Power cuts in a real update: at seeded instants, after every recorded write, and with writes lost.

A cut must leave a disk from which the boot loader takes a complete slot, and never less than what was durable. The
specification of the boot script looks at every disk; that it is right, a real U-Boot says for a sample of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from random import Random

import pytest

from ota.boot.table import TRIES
from ota.clock import Cancel, Clock
from tests.hil.conftest import LONG
from tests.hil.disk import Area, Artefact, Judge, read_state, standing
from tests.hil.host import Host
from tests.hil.machine import Hardware, Machine, copy_disk
from tests.hil.prefixes import Examination, Verdict, never_synced
from tests.hil.recording import (
    BOOT_SECONDS_MAX,
    INSTALL,
    NOTEBOOK,
    PROMPT,
    UPDATE_SECONDS_MAX,
    Places,
    Recording,
    Start,
    await_log,
    touching,
    written,
)
from tests.hil.report import Report
from tests.hil.writelog import Replay, Write, WriteLog
from tests.hil.wrong_agents import LATE_WRITES, WRONG_AGENTS

Versions = tuple[Artefact, Artefact]
CUTS = 500 if LONG else 52
BOOTED = 60 if LONG else 10  # prefixes that a real U-Boot boots
FINISHED = 20 if LONG else 1  # cut updates that are gone on with to the end
PATIENCE_S = UPDATE_SECONDS_MAX
FIRST_BOOT_S = 8.0  # of the emulator: kernel, start scripts, gateway
BEGIN_S = 8.0  # of the emulator: from the command to the first write of the boot state


@dataclass(frozen=True, slots=True)
class Instant:
    """When to cut: ``delay_s`` after ``bytes`` were written to an area of the disk, by its name in Places, "" for
    none."""

    phase: str
    start: str
    area: str
    bytes: int
    delay_s: float


def instants(recording: Recording, chance: Random) -> list[Instant]:
    """Seeded; all phases of an update get as many. The recorded writes say how much there is to write."""
    spool = written(recording.writes[: recording.restart], recording.places.spool)

    def during(start: str) -> Instant:
        return Instant("slot", start, "image", round(chance.uniform(0, 0.9) * recording.image_left[start]), 0.0)

    rows: dict[str, Callable[[], Instant]] = {
        "download": lambda: Instant("download", "begun", "spool", chance.randint(0, spool), chance.uniform(0, 1)),
        "metadata": lambda: Instant("metadata", "settled", "", 0, chance.uniform(0, BEGIN_S)),
        "slot, begin": lambda: during("begun"),
        "slot, end": lambda: during("writing"),
        "invalid": lambda: Instant("state", "settled", "state", 1, chance.uniform(0, 0.03)),
        "armed": lambda: Instant("state", "written", "state", 1, chance.uniform(0, 0.03)),
        "first boot": lambda: Instant("first boot", "armed", "state", 1, chance.uniform(0, FIRST_BOOT_S)),
        "commit": lambda: Instant("commit", "trial", "state", chance.randint(0, 1), chance.uniform(0, 0.05)),
    }
    return [row() for _, row in zip(range(CUTS), cycle(rows.values()), strict=False)]


def cut(recording: Recording, instant: Instant, place: Path, bus: str) -> Path:
    """Start, wait for the instant, kill; the disk that is left."""
    place.mkdir()
    start = recording.starts[instant.start]
    disk, log = copy_disk(start.disk, place / "disk.img"), WriteLog(place / "writes")
    with Machine(place, Hardware(disk, bus=bus, log=log.path, resume=start.frozen)) as machine:
        if instant.start == "settled":
            machine.console.send(INSTALL)
        if instant.area:
            area: Area = getattr(recording.places, instant.area)
            await_log(log, lambda one: written(one.writes, area) >= instant.bytes, PATIENCE_S, str(instant))
        Clock().wait(instant.delay_s, Cancel())
        machine.kill()
    log.path.unlink()
    return disk


def loader_takes(disk: Path, place: Path) -> str | None:
    """The slot that a real U-Boot takes from this disk, which stays as it is."""
    place.mkdir()
    with Machine(place, Hardware(copy_disk(disk, place / "disk.img"))) as machine:
        machine.skip_bootdelay()
        taken = machine.picked()
    (place / "disk.img").unlink()
    return taken


def finish(disk: Path, place: Path, world: Host) -> None:
    """Power on after a cut and go on until the update is committed."""
    with Machine(place, Hardware(disk, bus=world.rtu.device)) as machine:
        machine.skip_bootdelay()
        if machine.picked() == "a":
            machine.console.expect(PROMPT, BOOT_SECONDS_MAX)
            machine.console.send(INSTALL)
        machine.console.expect("committed: slot b", 2 * UPDATE_SECONDS_MAX)


def test_killed_at_seeded_instants(
    recording: Recording, versions: Versions, world: Host, folder: Path, report: Report, chance: Random
) -> None:
    """QEMU dies with SIGKILL: what it had written by then is on the disk."""
    wrong, left, cuts = [], Counter[str](), instants(recording, chance)
    booted, finished = (set(chance.sample(range(len(cuts)), count)) for count in (BOOTED, FINISHED))
    for number, instant in enumerate(cuts):
        place = folder / f"cut-{number}"
        disk = cut(recording, instant, place, world.rtu.device)
        judge = Judge(disk, versions, NOTEBOOK)
        wrong += [f"{instant}: {one}" for one in judge.problems(read_state(recording.starts[instant.start].disk))]
        left[f"{instant.phase}: {standing(disk)}"] += 1
        if number in booted and loader_takes(disk, place / "loader") != judge.boots()[0]:
            wrong.append(f"{instant}: U-Boot does not take slot {judge.boots()[0]}: {standing(disk)}")
        if number in finished:
            finish(disk, place / "finish", world)
        disk.unlink()
        # Now, not at the end: a long run may be interrupted.
        report.add("power cuts", killed=number + 1, problems=len(wrong), left=dict(left))
    report.add("power cuts", booted=BOOTED, finished=FINISHED)
    assert wrong == []


def examine(
    settled: Start, versions: Versions, writes: Sequence[Write], disk: Path, chance: Random | None, first: int = 0
) -> Verdict:
    """Every prefix of ``writes`` from the settled machine on that has ``first`` of them or more.

    With ``chance`` also crash states with lost writes.
    """
    copy_disk(settled.disk, disk)
    with Replay(disk) as replay:
        for write in writes[:first]:
            replay.apply(write)
        replay.take_dirty()
        return Examination(Judge(disk, versions, NOTEBOOK), replay, chance).run(writes[first:])


def test_every_prefix_of_the_writes(
    recording: Recording, versions: Versions, folder: Path, report: Report, chance: Random
) -> None:
    verdict = examine(recording.starts["settled"], versions, recording.writes, folder / "prefixes.img", chance)
    report.add("power cuts", prefixes=verdict.prefixes, with_lost_writes=verdict.subsets)
    assert verdict.problems == []
    told = [state for _, state in verdict.states if state is not None]
    assert [(one.good, one.trial, one.tries_left) for one in told] == [
        ("a", "", 0),  # as it was
        ("a", "", 0),  # the other slot is not valid
        ("a", "b", TRIES),
        ("a", "b", TRIES - 1),  # written by U-Boot
        ("b", "", 0),
    ]


def test_loader_agrees_about_prefixes(
    recording: Recording, versions: Versions, folder: Path, report: Report, chance: Random
) -> None:
    """A sample of the prefixes, and those around each change of the boot state, booted through U-Boot."""
    state = touching(recording.writes, recording.places.state)
    drawn = chance.sample(range(len(recording.writes)), BOOTED)
    disk = copy_disk(recording.starts["settled"].disk, folder / "sampled.img")
    done = 0
    with Replay(disk) as replay:
        for upto in sorted({*drawn, *state}):
            for write in recording.writes[done : upto + 1]:
                replay.apply(write)
            done = upto + 1
            expected = Judge(disk, versions, NOTEBOOK).boots()[0]
            assert loader_takes(disk, folder / f"prefix-{upto}") == expected, f"after write {upto}: {standing(disk)}"
    report.add("power cuts", prefixes_booted=len({*drawn, *state}))


def caught(verdict: Verdict) -> int:
    """How often a crash state would have booted a slot that is not complete."""
    return sum("is not complete and would boot" in problem for _, problem in verdict.problems)


def test_missing_flushes_are_caught(
    recording: Recording, versions: Versions, folder: Path, report: Report, chance: Random
) -> None:
    """A negative control: the same writes, and nothing of the slot flushed before it is on trial."""
    first = touching(recording.writes, recording.places.image)[0]
    armed = touching(recording.writes[: recording.restart], recording.places.state)[-1]
    writes = never_synced(recording.writes[: recording.restart], first, armed)
    verdict = examine(recording.starts["settled"], versions, writes, folder / "wrong.img", chance)
    report.add("power cuts", never_synced_caught=caught(verdict))
    assert caught(verdict)


@pytest.mark.parametrize("name", WRONG_AGENTS)
def test_wrong_agent_is_caught(
    settled: Start, versions: Versions, world: Host, folder: Path, report: Report, name: str
) -> None:
    """The other negative control: an agent with a mistake updates the machine, and its own writes give it away."""
    agent, place = WRONG_AGENTS[name], folder / name
    place.mkdir()
    disk, log = copy_disk(settled.disk, place / "disk.img"), WriteLog(place / "writes")
    places = Places.of(disk, "b", versions[1])

    def armed() -> int | None:
        state = touching(log.writes, places.state)
        return state[agent.state_writes - 1] if len(state) >= agent.state_writes else None

    def has_erred(_: WriteLog) -> bool:
        first = armed()
        return first is not None and len(touching(log.writes[first:], places.image)) >= agent.slot_writes

    with Machine(place, Hardware(disk, bus=world.rtu.device, log=log.path, resume=settled.frozen)) as machine:
        machine.console.run(LATE_WRITES)
        machine.console.send(agent.command())
        await_log(log, has_erred, UPDATE_SECONDS_MAX, name)
    verdict = examine(settled, versions, log.writes, place / "replayed.img", None, armed() or 0)
    report.add("power cuts", **{f"{name}_caught": caught(verdict)})
    assert caught(verdict)
    for used in (disk, log.path, place / "replayed.img"):
        used.unlink()
