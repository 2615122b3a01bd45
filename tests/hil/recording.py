"""One healthy update of the running gateway, every write of it recorded, and places to start from again and again.

    settled ──install──► begun ──► writing ──► written ──► (armed, restart) ──► trial ──► committed

All are frozen machines but ``armed``, the disk just before the restart, which is to be booted. ``begun``: the other
slot is not valid any more; ``writing``: half of it is written; ``written``: all; ``trial``: about to be committed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ota.boot.table import TRIES
from ota.clock import Cancel, Clock
from tests.hil.disk import SLOT_PARTITIONS, STATE, Area, Artefact, partitions, read_state
from tests.hil.machine import Hardware, Machine, copy_disk
from tests.hil.writelog import Replay, Write, WriteLog

CHECK = "penstock-ota check --config /data/ota.toml"
INSTALL = "penstock-ota install --config /data/ota.toml &"
UPDATE_SECONDS_MAX = 180.0
BOOT_SECONDS_MAX = 300.0
LOOK_S = 0.002
SHARES = {"writing": 0.5, "written": 0.98}  # of the image, written until the machine is frozen
PROMPT = "/ # "
NOTEBOOK = "/state/ota/notebook.json"
ABOUT_TO_COMMIT = r"grep -qE '\"uptime_s\": ?(3[0-9]|[4-9][0-9])' /run/penstock/health.json"


@dataclass(frozen=True, slots=True)
class Start:
    """A disk and, unless it is to be booted, the frozen machine that goes with it."""

    disk: Path
    frozen: Path | None


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
    write after the restart into the trial. ``image_left``: bytes of the image that a start still has to write."""

    starts: dict[str, Start]
    places: Places
    writes: Sequence[Write]
    image_left: dict[str, int]
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


def touching(writes: Sequence[Write], area: Area) -> list[int]:
    """Numbers of the writes to an area."""
    return [number for number, write in enumerate(writes) if write.size and area.touches(write.offset, write.size)]


def written(writes: Sequence[Write], area: Area) -> int:
    """Bytes written to an area. What is written is the same each time, in how many writes is the kernel's affair."""
    return sum(area.overlap(write.offset, write.size) for write in writes)


class Recorder:
    """Makes a recording in ``folder`` from a settled machine. ``bus``: see Hardware."""

    def __init__(self, folder: Path, settled: Start, image: Artefact, bus: str) -> None:
        self._folder = folder
        self._settled = settled
        self._bus = bus
        self._logs: list[WriteLog] = []
        self._image_left: dict[str, int] = {}
        self._clock = Clock()
        self._disk = copy_disk(settled.disk, folder / "disk.img")
        self._places = Places.of(self._disk, "b", image)
        self._image = image

    def run(self) -> Recording:
        """The whole update; raises what a step that does not come raises."""
        starts, seconds = {"settled": self._settled}, {}
        begin_s = self._clock.monotonic_s()
        with self._machine(self._settled) as machine:
            machine.console.send(INSTALL)
            self._await(lambda log: bool(touching(log.writes, self._places.state)), "the other slot is not valid")
            starts["begun"] = last = self._freeze(machine, "begun")
        for name, share in SHARES.items():
            with self._machine(last) as machine:
                self._await(partial(self._has_written, share), name)
                starts[name] = last = self._freeze(machine, name)
        with self._machine(last) as machine:
            machine.console.expect("by patch, verified", UPDATE_SECONDS_MAX)
            machine.skip_bootdelay()
            seconds["install"] = self._clock.monotonic_s() - begin_s
            assert machine.picked() == "b"
            machine.console.expect(PROMPT, BOOT_SECONDS_MAX)
            machine.console.run(f"until {ABOUT_TO_COMMIT}; do sleep 1; done", BOOT_SECONDS_MAX)
            starts["trial"] = self._freeze(machine, "trial")
        with self._machine(starts["trial"]) as machine:
            machine.console.expect("committed: slot b", UPDATE_SECONDS_MAX)
            machine.console.run("sync")
            seconds["update"] = self._clock.monotonic_s() - begin_s
        self._logs[-1].poll()
        writes = self._writes()
        armed, restart = self._armed(writes)
        return Recording({**starts, "armed": armed}, self._places, writes, self._image_left, restart, seconds)

    def _machine(self, start: Start) -> Machine:
        number = len(self._logs)
        self._logs.append(WriteLog(self._folder / f"writes-{number}"))
        hardware = Hardware(self._disk, bus=self._bus, log=self._logs[-1].path, resume=start.frozen)
        return Machine(self._folder / f"part-{number}", hardware)

    def _await(self, condition: Callable[[WriteLog], bool], what: str) -> None:
        await_log(self._logs[-1], condition, UPDATE_SECONDS_MAX, what)

    def _writes(self) -> list[Write]:
        return [write for log in self._logs for write in log.writes]

    def _has_written(self, share: float, _: WriteLog) -> bool:
        return written(self._writes(), self._places.image) >= share * self._image.length

    def _freeze(self, machine: Machine, name: str) -> Start:
        frozen = self._folder / f"{name}.frozen"
        machine.freeze(frozen)
        self._logs[-1].poll()  # what came between the last look and the stop
        self._image_left[name] = self._image.length - written(self._writes(), self._places.image)
        return Start(copy_disk(self._disk, self._folder / f"{name}.img"), frozen)

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
