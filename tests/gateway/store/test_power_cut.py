"""The power is cut at every write of a run through everything the store does; the disk is full at every write."""

from __future__ import annotations

import errno
import itertools
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.errors import StoreError
from gateway.store.plugins import PluginStore
from tests.gateway.store.disk import FakeDisk, Fate, Moment, PowerCut
from tests.gateway.store.goods import Ticking, hashed, plugin_file

ROOT = Path("state")
Step = Callable[[PluginStore], object]
Facts = dict[str, tuple[str, tuple[str, ...]]]  # what runs by name, and what is remembered as bad under ""


def opened(disk: FakeDisk) -> PluginStore:
    return PluginStore(disk, ROOT, Ticking(), keep=2)


def pushed(name: str, version: str) -> Step:
    return lambda store: store.add(*hashed(plugin_file(name, version)), "tester")


def swapped(name: str, version: str) -> Step:
    return lambda store: store.activate(store.find(name, version), "tester")


def storm(name: str) -> Step:
    def step(store: PluginStore) -> None:
        entry = store.entry(name)
        assert entry is not None
        store.mark_bad(entry.active, "4 traps in 30 s")
        store.roll_back(name, "supervisor")

    return step


STEPS: tuple[Step, ...] = (
    lambda store: store.install([plugin_file("gain"), plugin_file("scale")], "penstock", "first start"),
    pushed("gain", "1.1.0"),
    swapped("gain", "1.1.0"),
    pushed("gain", "1.2.0"),
    swapped("gain", "1.2.0"),
    storm("gain"),
    pushed("scale", "2.0.0-rc.1"),
    pushed("scale", "2.0.0"),
    pushed("scale", "2.1.0"),  # keep is 2: the release candidate goes
    swapped("scale", "2.1.0"),
    lambda store: store.roll_back("scale", "tester"),
    pushed("gain", "1.3.0"),
    swapped("gain", "1.3.0"),
    pushed("gain", "1.4.0"),
    swapped("gain", "1.4.0"),  # the first version is collected
)


def facts(store: PluginStore) -> Facts:
    """What must be the old or the new after a cut."""
    running = {name: entry for name in store.names() if (entry := store.entry(name)) is not None}
    found = {name: (one.active.version, tuple(ref.version for ref in one.good)) for name, one in running.items()}
    bad = [ref.ref for name in store.names() for ref in store.versions(name) if ref.state == "bad"]
    return {**found, "": ("", tuple(sorted(ref.version for ref in bad if store.is_bad(ref.hash))))}


def runs(found: Facts) -> dict[str, str]:
    return {name: version for name, (version, _) in found.items()}


def clean_run() -> list[tuple[int, Facts]]:
    """Operations of the disk so far, and the facts, before the first step and after each."""
    disk = FakeDisk()
    store = opened(disk)
    marks = [(disk.count, facts(store))]
    for step in STEPS:
        step(store)
        marks.append((disk.count, facts(store)))
    return marks


def run_all(disk: FakeDisk) -> None:
    store = opened(disk)
    for step in STEPS:
        step(store)


def interrupted(cut_at: int, moment: Moment, fate: Fate) -> tuple[PluginStore, FakeDisk]:
    """The store as it opens after the power was cut."""
    disk = FakeDisk()
    disk.cut_at, disk.moment = cut_at, moment
    with pytest.raises(PowerCut):
        run_all(disk)
    disk.reboot(fate, random.Random(cut_at))
    return opened(disk), disk


def after_storm(before: Facts, after: Facts, found: Facts) -> bool:
    """Between the two writes of a trap storm the hash is bad already: the start then finishes what was begun."""
    return runs(found) == runs(after) and set(before) == set(found)


@pytest.mark.parametrize("fate", Fate)
@pytest.mark.parametrize("moment", Moment)
def test_after_a_power_cut_at_any_write_the_old_or_the_new_runs(moment: Moment, fate: Fate) -> None:
    marks = clean_run()
    assert marks[-1][0] > 150, "a run with many writes"
    for (begin, before), (end, after) in itertools.pairwise(marks):
        for cut_at in range(begin, end):
            store, disk = interrupted(cut_at, moment, fate)
            found = runs(facts(store))
            assert found in (runs(before), runs(after)), f"cut at {cut_at}"
            for name in store.names():
                entry = store.entry(name)
                if entry is not None:
                    assert store.plugin(entry.active).manifest.version == entry.active.version
                    assert not store.is_bad(entry.active.hash)
            assert not [path for path in disk.files() if path.startswith("set_aside/")], "nothing was half written"
            assert not [path for path in disk.files() if path.endswith(".tmp")]


def test_after_a_power_cut_the_rest_of_the_run_works() -> None:
    marks = clean_run()
    for cut_at in range(marks[0][0], marks[-1][0]):
        store, disk = interrupted(cut_at, Moment.MIDDLE, Fate.MIXED)
        done = next(index for index, (count, _) in enumerate(marks) if cut_at < count)
        for step in STEPS[done - 1 :]:
            # What was cut may have been done: then it cannot be done again.
            assert attempt(store, step)[0] in ("", "bad_version", "no_previous", "unknown_version")
        assert runs(facts(opened(disk)))["gain"] == "1.4.0"


def test_what_was_acknowledged_lasts() -> None:
    """Also the very first thing, before there is any manifest."""
    disk = FakeDisk()
    store = opened(disk)
    pushed("gain", "1.1.0")(store)
    disk.reboot(Fate.LOST, random.Random(0))
    assert [one.ref.version for one in opened(disk).versions("gain")] == ["1.1.0"]


def failed_at_the_last_moment(disk: FakeDisk, store: PluginStore, data: bytes) -> None:
    """The folder cannot be synchronised: the version is there, and nobody knows for how long."""
    synchronised = disk.count + 3  # behind write, fsync, rename
    disk.fail_at = range(synchronised, synchronised + 1)
    with pytest.raises(StoreError, match="cannot be written"):
        store.add(*hashed(data), "tester")


def test_a_start_makes_what_it_finds_last() -> None:
    disk = FakeDisk()
    store = opened(disk)
    store.install([plugin_file("gain")], "penstock", "first start")
    failed_at_the_last_moment(disk, store, plugin_file("gain", "1.1.0"))
    swapped("gain", "1.1.0")(opened(disk))
    disk.reboot(Fate.LOST, random.Random(0))
    assert runs(facts(opened(disk)))["gain"] == "1.1.0"


def test_folders_that_a_failed_start_has_made_last_from_the_next_on() -> None:
    disk = FakeDisk()
    disk.fail_at = range(3, 1 << 30)  # behind the folders
    assert [one.split(":")[0] for one in opened(disk).problems] == ["a power cut may take away what was found"]
    disk.fail_at = range(0)
    pushed("gain", "1.1.0")(opened(disk))
    disk.reboot(Fate.LOST, random.Random(0))
    assert [one.ref.version for one in opened(disk).versions("gain")] == ["1.1.0"]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("lasting", [False, True])
def test_a_full_or_broken_disk_loses_nothing(error: int, lasting: bool) -> None:
    marks = clean_run()
    for index, ((begin, before), (end, after)) in enumerate(itertools.pairwise(marks)):
        for fail_at in range(begin, end):
            disk = FakeDisk()
            store = opened(disk)
            for step in STEPS[:index]:
                step(store)
            disk.fail_at, disk.error = range(fail_at, 1 << 30 if lasting else fail_at + 1), error
            code, told = attempt(store, STEPS[index])
            assert code in ("", "storage")
            found = runs(facts(store))
            assert found in (runs(before), runs(after)), f"failed at {fail_at}"
            assert told or found == runs(after), "what was not done is told"
            disk.fail_at = range(0)
            again = runs(facts(opened(disk)))
            assert again == found or lasting or after_storm(before, after, facts(opened(disk)))
            assert again in (runs(before), runs(after))


def attempt(store: PluginStore, step: Step) -> tuple[str, str]:
    """Code and text of the error, both empty when there is none."""
    try:
        step(store)
    except StoreError as error:
        return error.code, str(error)
    return "", ""


def test_a_full_disk_says_what_to_do() -> None:
    disk = FakeDisk()
    store = opened(disk)
    disk.fail_at = range(disk.count, 1 << 30)
    with pytest.raises(StoreError) as caught:
        store.add(*hashed(plugin_file()), "tester")
    assert str(caught.value).endswith(
        ".wasm: cannot be written: No space left on device; make room and try again; the old one stays"
    )
