"""Power cut before, in and after every durable effect of an update: never a brick, never a half-written slot booted."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from random import Random

import pytest

from ota.agent.device import Device, Fill
from ota.agent.notebook import Image
from ota.boot.table import TRIES, arm_trial, begin_update, other_slot
from ota.clock import Cancel
from ota.ports import Storage
from tests.ota.agent.world import CHUNK, CHUNKS, FAILS, MODES, FirmwareWorld, World, problems, release

BEHAVIOURS = ("healthy", "sick", "panics", "dead")
SCHEDULES = 12_000
SEED = int(os.environ.get("PENSTOCK_SEED", "20261125"))
OLD = release("1.0.0")


class FetchesFirst(Device):
    """As when a fleet server allows the installation later than the download."""

    def install(self, image: Image, fill: Fill, cancel: Cancel) -> None:
        if image.sha256 not in self.notebook.bad:
            self.prepare(image, fill, cancel)
        super().install(image, fill, cancel)


def world(behaviour: str, cuts: dict[int, str], seed: int = SEED, device: type[Device] = Device) -> World:
    return World(OLD, release("2.0.0", behaviour), cuts, seed, device).run()


@pytest.mark.parametrize("device", [Device, FetchesFirst])
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_without_a_cut(behaviour: str, device: type[Device]) -> None:
    done = world(behaviour, {}, device=device)
    assert problems(done) == []
    last = done.told[-1]
    assert last.event == ("committed" if behaviour == "healthy" else "rolled-back")
    assert last.version == "2.0.0"
    if behaviour == "sick":
        assert last.reason == "polls are late"
    assert sum(name.startswith("write b") for name in done.effects) == CHUNKS


@pytest.mark.parametrize("device", [Device, FetchesFirst])
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_every_effect_cut_once(behaviour: str, device: type[Device]) -> None:
    clean = len(world(behaviour, {}, device=device).effects)
    for number, mode in itertools.product(range(clean), MODES):
        done = world(behaviour, {number: mode}, device=device)
        assert problems(done) == [], f"cut {mode} effect {number}: {done.effects}"


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_every_write_refused_once_and_for_a_while(behaviour: str) -> None:
    """A full disk costs the update a try, never the boot; the agent's process ends and is started again."""
    clean = len(world(behaviour, {}).effects)
    for number, length in itertools.product(range(clean), (1, 2, 5)):
        done = world(behaviour, dict.fromkeys(range(number, number + length), FAILS))
        assert problems(done) == [], f"{length} writes refused from {number} on: {done.effects}"
    for number, mode in itertools.product(range(clean), MODES):
        done = world(behaviour, {number: FAILS, number + 1: mode})
        assert problems(done) == [], f"write {number} refused, cut {mode} the next: {done.effects}"


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_every_pair_of_neighbouring_cuts(behaviour: str) -> None:
    clean = len(world(behaviour, {}).effects)
    for number, first, second, gap in itertools.product(range(clean), MODES, MODES, (1, 2)):
        cuts = {number: first, number + gap: second}
        assert problems(world(behaviour, cuts)) == [], f"cuts {cuts}"


def test_what_was_fetched_is_not_fetched_again_but_read_again() -> None:
    """After a power cut it is still there; where the flash has rotted meanwhile it is fetched anew."""
    for rots, writes in ((False, CHUNKS), (True, 2 * CHUNKS)):
        done = World(OLD, release("2.0.0"), {}, SEED)
        device = Device(done.boot, done, done, done.clock, "boot 1", done.told.append)
        device.prepare(done.offered.image, done._fill, Cancel())
        state = done.boot.read()
        assert (state.good, state.trial, state.valid) == ("a", "", frozenset("a")), "nothing boots it"
        assert done.told[-1].event == "fetched"
        done.slots["b"].durable[7] ^= rots
        assert problems(done.run()) == []
        assert sum(name.startswith("write b") for name in done.effects) == writes


def test_random_schedules() -> None:
    print(f"seed {SEED} (PENSTOCK_SEED)")
    rng, wrong = Random(SEED), []
    for schedule in range(SCHEDULES):
        behaviour = rng.choice(BEHAVIOURS)
        cuts = {rng.randrange(22): rng.choice((*MODES, FAILS)) for _ in range(rng.randrange(1, 6))}
        done = world(behaviour, cuts, seed=SEED + schedule)
        if found := problems(done):
            wrong.append((behaviour, cuts, found))
    assert wrong == []


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_firmware_that_counts_nothing(behaviour: str) -> None:
    """Raspberry Pi: every effect cut once, each pair of neighbours, and 2,000 random schedules."""

    def run(cuts: dict[int, str], seed: int = SEED) -> World:
        return FirmwareWorld(OLD, release("2.0.0", behaviour), cuts, seed).run()

    assert problems(run({})) == []
    clean = len(run({}).effects)
    for number, first, second in itertools.product(range(clean), MODES, (*MODES, "")):
        assert problems(run({number: first, number + 1: second})) == [], f"cuts {first}, {second} from {number} on"
    rng = Random(SEED)
    for schedule in range(2000):
        cuts = {rng.randrange(24): rng.choice((*MODES, FAILS)) for _ in range(rng.randrange(1, 5))}
        assert problems(run(cuts, SEED + schedule)) == [], f"cuts {cuts}, seed {SEED + schedule}"


@pytest.mark.parametrize("cycles", [1, 2, 50])
def test_quick_power_cycles_keep_a_committed_slot(cycles: int) -> None:
    done = world("healthy", {})
    before = list(done.boot.blocks)
    for _ in range(cycles):
        assert done.boot.power_on(lambda slot: done.content(slot) is not None) == "b"
    assert done.boot.blocks == before, "a normal boot writes nothing"


def test_power_that_fails_in_every_boot_of_a_trial_goes_back_and_says_so() -> None:
    clean = world("healthy", {}).effects
    armed = [number for number, name in enumerate(clean) if name.startswith("boot state")][1]
    done = world("healthy", {armed + number: "after" for number in range(1, TRIES + 2)})
    assert problems(done) == []
    assert done.content(done.boot.running) is OLD
    assert done.told[-1].event == "rolled-back"


# ---- negative controls: the same worlds must catch an agent that is wrong ----


class ArmsTooEarly(Device):
    """Puts the slot on trial before its bytes are there."""

    def install(self, image: Image, fill: object, cancel: Cancel) -> None:
        state = self.state()
        assert state is not None
        if image.sha256 in self.notebook.bad or state.good == other_slot("a"):
            return
        self.notebook.images = {**self.notebook.images, other_slot(self.slot): image}
        self._boot.write(arm_trial(begin_update(state, self.slot), self.slot))
        fill(image, self._slots.storage(other_slot(self.slot)), cancel)  # type: ignore[operator]
        self._boot.reboot()


class TrustsTheCache(World):
    """Reads back what was never synced."""

    def _fill(self, image: Image, slot: Storage, cancel: Cancel) -> None:
        cancel.check()
        content = self.releases[image.sha256].content
        for offset in range(0, len(content), CHUNK):
            slot.write_at(offset, content[offset : offset + CHUNK])


def early(cuts: dict[int, str]) -> World:
    return World(OLD, release("2.0.0"), cuts, SEED, ArmsTooEarly)


def unsynced(cuts: dict[int, str]) -> World:
    return TrustsTheCache(OLD, release("2.0.0"), cuts, SEED)


@pytest.mark.parametrize("make", [early, unsynced])
def test_a_wrong_order_is_caught(make: Callable[[dict[int, str]], World]) -> None:
    clean = len(make({}).run().effects)
    caught = [cut for cut in itertools.product(range(clean), MODES) if "half-written" in str(violations(make, cut))]
    assert len(caught) > 2


def violations(make: Callable[[dict[int, str]], World], cut: tuple[int, str]) -> list[str]:
    done = make({cut[0]: cut[1]})
    return done.run().violations
