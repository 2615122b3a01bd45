"""One healthy update of the running gateway, every write of it recorded, and places to start from again and again.

    settled ──install──► writing ──► (armed, restart) ──► trial ──► committed

``settled``, ``writing`` and ``trial`` are frozen machines; ``armed`` is the disk just before the restart, to be booted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ota.boot.table import TRIES
from ota.clock import Cancel, Clock
from tests.hil.disk import SLOT_PARTITIONS, STATE, Area, Artefact, partitions, read_state
from tests.hil.machine import Hardware, Machine, copy_disk
from tests.hil.writelog import Replay, Write, WriteLog

INSTALL = "penstock-ota install --config /data/ota.toml &"
UPDATE_SECONDS_MAX = 180.0
BOOT_SECONDS_MAX = 180.0
LOOK_S = 0.002
HEAD_SHARE = 0.4  # of the image, written until the machine is frozen as "writing"
PROMPT = "/ # "
NOTEBOOK = "/state/ota/notebook.json"
TRIAL_UPTIME = "30"  # seconds of the trial until it is frozen: less than the agent waits for


@dataclass(frozen=True, slots=True)
class Start:
    """A disk and, unless it is to be booted, the frozen machine that goes with it. ``typed``: what begins it."""

    disk: Path
    frozen: Path | None
    typed: str = ""


@dataclass(frozen=True, slots=True)
class Places:
    """Areas of the disk by what an update writes there. ``spool``: where a patch waits to be applied."""

    state: Area
    image: Area
    spool: Area

    @classmethod
    def of(cls, disk: Path, target: str, image: Artefact) -> Places:
        """For an update of slot ``target``."""
        areas = partitions(disk)
        slot = areas[SLOT_PARTITIONS[target]]
        spool = Area(slot.offset + image.length, slot.size - image.length)
        return cls(areas[STATE], Area(slot.offset, image.length), spool)


@dataclass(frozen=True, slots=True)
class Recording:
    """``starts``: by name. ``writes``: all of them, from ``starts["settled"]`` on. ``restart``: number of the first
    write after the restart into the trial."""

    starts: dict[str, Start]
    places: Places
    writes: Sequence[Write]
    restart: int
    seconds: dict[str, float]


def await_log(log: WriteLog, condition: Callable[[WriteLog], bool], within_s: float, what: str) -> None:
    """Return when ``condition`` holds. Raises AssertionError."""
    clock, cancel = Clock(), Cancel()
    until_s = clock.monotonic_s() + within_s
    while True:
        log.poll()
        if condition(log):
            return
        assert clock.monotonic_s() < until_s, f"waited {within_s:.0f} s in vain for {what}: {len(log.writes)} writes"
        clock.wait(LOOK_S, cancel)


def touching(log: WriteLog, area: Area) -> list[int]:
    """Numbers of the writes to an area."""
    return [number for number, write in enumerate(log.writes) if write.size and area.touches(write.offset, write.size)]


class Recorder:
    """Makes a recording in ``folder`` from a settled machine. ``bus``: see Hardware."""

    def __init__(self, folder: Path, settled: Start, image: Artefact, bus: str) -> None:
        self._folder = folder
        self._settled = settled
        self._bus = bus
        self._logs: list[WriteLog] = []
        self._clock = Clock()
        self._disk = copy_disk(settled.disk, folder / "disk.img")
        self._places = Places.of(self._disk, "b", image)
        self._image = image

    def run(self) -> Recording:
        """The whole update; raises what a step that does not come raises."""
        starts, seconds = {"settled": self._settled}, {}
        begin_s = self._clock.monotonic_s()
        head = HEAD_SHARE * self._image.length
        with self._machine(self._settled) as machine:
            machine.console.send(INSTALL)
            await_log(
                self._logs[-1], lambda log: self._written(log) >= head, UPDATE_SECONDS_MAX, "the slot's first part"
            )
            starts["writing"] = self._freeze(machine, "writing")
        with self._machine(starts["writing"]) as machine:
            machine.console.expect("by patch, verified", UPDATE_SECONDS_MAX)
            machine.skip_bootdelay()
            seconds["install"] = self._clock.monotonic_s() - begin_s
            assert machine.picked() == "b"
            self._await_uptime(machine)
            starts["trial"] = self._freeze(machine, "trial")
        with self._machine(starts["trial"]) as machine:
            machine.console.expect("committed: slot b", UPDATE_SECONDS_MAX)
            machine.console.run("sync")
            seconds["update"] = self._clock.monotonic_s() - begin_s
        for log in self._logs:
            log.poll()
        writes = [write for log in self._logs for write in log.writes]
        armed, restart = self._armed(writes)
        return Recording({**starts, "armed": armed}, self._places, writes, restart, seconds)

    def _machine(self, start: Start) -> Machine:
        number = len(self._logs)
        self._logs.append(WriteLog(self._folder / f"writes-{number}"))
        hardware = Hardware(self._disk, bus=self._bus, log=self._logs[-1].path, resume=start.frozen)
        return Machine(self._folder / f"part-{number}", hardware)

    def _written(self, log: WriteLog) -> int:
        area = self._places.image
        return sum(write.size for write in log.writes if area.touches(write.offset, write.size))

    def _freeze(self, machine: Machine, name: str) -> Start:
        frozen = self._folder / f"{name}.frozen"
        machine.freeze(frozen)
        return Start(copy_disk(self._disk, self._folder / f"{name}.img"), frozen)

    def _await_uptime(self, machine: Machine) -> None:
        machine.console.expect(PROMPT, BOOT_SECONDS_MAX)
        machine.console.run(f"until [ $(cut -d. -f1 /proc/uptime) -ge {TRIAL_UPTIME} ]; do sleep 1; done")

    def _armed(self, writes: Sequence[Write]) -> tuple[Start, int]:
        """The disk before the boot loader charges the trial, and the number of that write."""
        disk = copy_disk(self._settled.disk, self._folder / "armed.img")
        with Replay(disk) as replay:
            for number, write in enumerate(writes):
                before = replay.holds(write)
                replay.apply(write)
                decides = write.size and self._places.state.touches(write.offset, write.size)
                if decides and (state := read_state(disk)) and state.trial and state.tries_left < TRIES:
                    replay.put_back(write, before)
                    return Start(disk, None), number
        raise AssertionError("the boot loader did not charge the trial")
