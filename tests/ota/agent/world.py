"""A device in memory whose power can be cut before, in or after every durable effect, and whose writes may fail.

Effects: writes to the boot state, to a slot and its sync, and of the agent's files. What was written to a slot and not
synced is lost, kept or torn, chunk by chunk, as the seed wants. The loader follows ``ota/boot/loader.py``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random

from ota.agent.device import Device
from ota.agent.notebook import Entry, Image
from ota.boot.block import decode, newest
from ota.boot.simulated import SimulatedBoot
from ota.boot.table import TRIES, Action, Verdict
from ota.clock import Cancel, Clock
from ota.errors import BootError, OtaError, StorageError
from ota.ports import BootState, Storage

CHUNK = 64
CHUNKS = 6
BOOTS_MAX = 80
MODES = ("before", "torn", "after")
FAILS = "fails"
"""A write of the agent that is refused with nothing written, as by a full disk; its process is then started again.

One that the loader cannot make is another matter: it does not try the slot then, and the agent gives the trial up.
"""


class PowerCut(BaseException):
    """The power is gone; not an error anybody may catch."""


class Restart(BaseException):
    """The machine restarts in good order."""


@dataclass(frozen=True, slots=True)
class Release:
    """An image and how it behaves: healthy, sick (runs, with complaints), panics (loads, never reaches the agent), dead
    (does not load)."""

    image: Image
    content: bytes
    behaviour: str


def release(version: str, behaviour: str = "healthy") -> Release:
    """An image made from its version."""
    content = b"".join(hashlib.sha256(f"{version}/{number}".encode()).digest() * 2 for number in range(CHUNKS))
    return Release(Image(hashlib.sha256(content).hexdigest(), len(content), version), content, behaviour)


class WorldClock(Clock):
    """Time that moves when somebody waits."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def unix_s(self) -> float:
        return self.now

    def monotonic_s(self) -> float:
        return self.now

    def wait(self, seconds: float, cancel: Cancel) -> None:
        cancel.check()
        self.now += seconds


class Slot:
    """A block device with a cache that loses what is not synced."""

    def __init__(self, world: World, name: str, content: bytes) -> None:
        self.world = world
        self.name = name
        self.size = CHUNK * CHUNKS
        self.durable = bytearray(content)
        self.cached: dict[int, bytes] = {}

    def read_at(self, offset: int, size: int) -> bytes:
        return self.now()[offset : offset + size]

    def write_at(self, offset: int, data: bytes) -> None:
        def apply() -> None:
            self.cached[offset] = data

        self.world.effect(f"write {self.name}@{offset}", apply, apply)

    def sync(self) -> None:
        def some() -> None:
            for offset in list(self.cached)[: len(self.cached) // 2]:
                self._keep(offset, self.cached.pop(offset))

        def apply() -> None:
            for offset, data in self.cached.items():
                self._keep(offset, data)
            self.cached.clear()

        self.world.effect(f"sync {self.name}", apply, some)

    def now(self) -> bytes:
        content = bytearray(self.durable)
        for offset, data in self.cached.items():
            content[offset : offset + len(data)] = data
        return bytes(content)

    def lose_power(self, rng: Random) -> None:
        for offset, data in self.cached.items():
            self._keep(offset, data[: rng.choice((0, len(data) // 2, len(data)))])
        self.cached.clear()

    def _keep(self, offset: int, data: bytes) -> None:
        self.durable[offset : offset + len(data)] = data


@dataclass
class World:
    """``cuts``: number of an effect, counted from the start, to how it is cut."""

    old: Release
    offered: Release
    cuts: Mapping[int, str]
    seed: int
    device: type[Device] = Device
    effects: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    told: list[Entry] = field(default_factory=list)
    boots: int = 0
    starts: int = 0
    loading: bool = False
    cuts_on_trial: int = 0

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        self.clock = WorldClock()
        self.files: dict[str, bytes] = {}
        self.releases = {one.image.sha256: one for one in (self.old, self.offered)}
        self.slots = {"a": Slot(self, "a", self.old.content), "b": Slot(self, "b", bytes(CHUNK * CHUNKS))}
        self.boot = SimulatedBoot(BootState(1, "a", "", 0, frozenset("a")), self._store)
        self.boot.reboot = self._restart  # type: ignore[method-assign]

    # ---- the ports ----

    def load(self, name: str, limit: int) -> bytes | None:
        data = self.files.get(name)
        assert data is None or len(data) <= limit
        return data

    def save(self, name: str, data: bytes) -> None:
        def apply() -> None:
            self.files[name] = data

        self.effect(f"save {name}", apply, lambda: None)  # replaced by renaming: never torn

    def storage(self, slot: str) -> Storage:
        return self.slots[slot]

    def active(self) -> str:
        return self.boot.running

    def inactive(self) -> str:
        return "b" if self.boot.running == "a" else "a"

    def _restart(self) -> None:
        raise Restart

    def _store(self, copy: int, block: bytes) -> None:
        def apply() -> None:
            self.boot.blocks[copy] = block

        def torn() -> None:
            self.boot.blocks[copy] = block[: self.rng.randrange(1, len(block))]

        try:
            self.effect(f"boot state copy {copy}", apply, torn)
        except StorageError as error:
            raise BootError(FAILS, error.message) from error

    def effect(self, name: str, apply: Callable[[], None], torn: Callable[[], None]) -> None:
        """Carry out a durable effect, or as much of it as the power allows."""
        mode = self.cuts.get(len(self.effects), "")
        mode = "" if mode == FAILS and self.loading else mode
        self.effects.append(name)
        if mode == FAILS:
            raise StorageError(FAILS, f"{name}: no space left")
        {"before": lambda: None, "torn": torn, "after": apply, "": apply}[mode]()
        if mode:
            raise PowerCut

    # ---- running ----

    def run(self) -> World:
        """Boot again and again until nothing is left to do."""
        powered = True
        while self.starts < BOOTS_MAX:
            self.starts += 1
            self.boots += powered
            try:
                if self._one_boot() if powered else self._one_agent():
                    return self
                powered = True
            except (StorageError, BootError) as error:
                powered = error.reason != FAILS  # the agent ends, and is started again
                self.violations += [str(error)] if powered else []
            except PowerCut:
                powered = True
                self.cuts_on_trial += self._has_trial()
                for slot in self.slots.values():
                    slot.lose_power(self.rng)
            except Restart:
                powered = True
        self.violations.append("never comes to rest")
        return self

    def _one_boot(self) -> bool:
        self.loading = True
        try:
            slot = self.boot.power_on(self._loads)
        finally:
            self.loading = False
        if slot is None:
            self.violations.append("brick: no slot boots")
            return True
        running = self.content(slot)
        if running is None or running.behaviour == "panics":
            return False  # the watchdog resets the machine
        return self._one_agent()

    def _one_agent(self) -> bool:
        """A start of the agent; True: nothing is left to do."""
        running = self.content(self.boot.running)
        assert running is not None
        agent = self.device(self.boot, self, self, self.clock, f"boot {self.boots}", self.told.append)
        healthy = running.behaviour == "healthy"
        if agent.settle() is Action.WATCH:
            if not healthy:
                agent.complain("polls are late")
            agent.settle(Verdict.HEALTHY if healthy else Verdict.UNHEALTHY, reason="" if healthy else "polls are late")
        try:
            agent.install(self.offered.image, self._fill, Cancel())
        except OtaError as error:
            if error.reason == FAILS:
                raise
            if error.reason != "known-bad":
                self.violations.append(str(error))
        return True

    def _fill(self, image: Image, slot: Storage, cancel: Cancel) -> None:
        content = self.releases[image.sha256].content
        for offset in range(0, len(content), CHUNK):
            cancel.check()
            slot.write_at(offset, content[offset : offset + CHUNK])
        slot.sync()
        if hashlib.sha256(slot.read_at(0, image.length)).hexdigest() != image.sha256:
            raise StorageError("slot-differs", "reads back differently")

    def _loads(self, slot: str) -> bool:
        found = self.content(slot)
        if found is None:
            state, _ = newest(self._copies())
            self.violations.append(f"slot {slot} is booted half-written, state {state}")
            return False
        return found.behaviour != "dead"

    def content(self, slot: str) -> Release | None:
        """What a slot holds, completely."""
        return self.releases.get(hashlib.sha256(self.slots[slot].now()).hexdigest())

    def _copies(self) -> list[BootState | None]:
        return [decode(block) for block in self.boot.blocks]

    def _has_trial(self) -> bool:
        state, _ = newest(self._copies())
        return state is not None and bool(state.trial)


@dataclass
class FirmwareWorld(World):
    """The same with a firmware that counts nothing: it boots the trial once after a reboot that asks for it."""

    asked: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.boot.counts_tries = False
        self.boot.power_on = self._power_on  # type: ignore[method-assign]

    def effect(self, name: str, apply: Callable[[], None], torn: Callable[[], None]) -> None:
        """What was asked is forgotten with the power."""
        try:
            super().effect(name, apply, torn)
        except PowerCut:
            self.asked = False
            raise

    def _restart(self) -> None:
        state = self.boot.read()
        if state.trial not in ("", self.boot.running):
            if state.tries_left:
                self.boot.write(replace(state, generation=state.generation + 1, tries_left=state.tries_left - 1))
            self.asked = True
        raise Restart

    def _power_on(self, loads: Callable[[str], bool]) -> str | None:
        state, asked, self.asked = self.boot.read(), self.asked, False
        for slot in [state.trial, state.good] if asked and state.trial else [state.good]:
            if loads(slot):
                self.boot.running = slot
                return slot
        return None


def problems(world: World) -> list[str]:
    """What must not have happened, or be so at the end."""
    found = list(world.violations)
    state = world.boot.read()
    wanted = world.offered if world.offered.behaviour == "healthy" else world.old
    running = world.content(world.boot.running)
    spoiled = world.cuts_on_trial >= TRIES  # so many cuts may use up a good trial
    if running is not wanted and not (spoiled and running is world.old):
        found.append(f"ends with {running.image.version if running else 'nothing'} instead of {wanted.image.version}")
    if state.good != world.boot.running or state.trial:
        found.append(f"ends unsettled: {state}")
    agent = world.device(world.boot, world, world, world.clock, "inspection", world.told.append)
    if (world.offered.image.sha256 in agent.notebook.bad) != (running is world.old):
        found.append(f"bad list {agent.notebook.bad} while running {running}")
    events = [entry.event for entry in world.told]
    if running is world.offered and "committed" not in [entry.event for entry in agent.notebook.history]:
        found.append(f"the commit is not in the history: {events}")
    return found
