"""Operations on a plugin that runs in several stages: all of them change, or none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.api.desk import Desk, Manner
from gateway.api.protocol import ApiError
from gateway.api.versions import StoreVersions
from gateway.clock import Clock
from gateway.errors import PluginError, StoreError
from gateway.store.plugins import PluginStore
from gateway.store.search import Plugin
from tests.gateway.peers import until
from tests.gateway.store.disk import FakeDisk
from tests.gateway.store.goods import Ticking, hashed, plugin_file

STAGES = ("east", "north", "west")


@dataclass
class Stages:
    """Three stages of one plugin. ``refuse``: swaps, counted from 0, that fail; ``meanwhile``: called in each one."""

    runs: dict[str, str] = field(default_factory=dict)
    refuse: Sequence[int] = ()
    meanwhile: Callable[[int], None] = lambda _number: None
    swaps: list[tuple[str, str]] = field(default_factory=list)
    at_once: int = 0
    at_once_most: int = 0

    def stages_of(self, plugin: str) -> Sequence[str]:
        return STAGES if plugin == "gain" else ()

    def running(self, stage: str) -> str:
        return self.runs[stage]

    async def swap(
        self,
        stage: str,
        plugin: Plugin,
        *,
        carry_state: bool = True,
        shadow_records: int = 0,
        allowed: Sequence[str] = (),
    ) -> object:
        self.at_once += 1
        self.at_once_most = max(self.at_once, self.at_once_most)
        number = len(self.swaps)
        self.swaps.append((stage, plugin.manifest.version))
        await Clock().sleep(0)
        self.meanwhile(number)
        self.at_once -= 1
        if number in self.refuse:
            raise PluginError(f"stage {stage}: its vectors fail")
        self.runs[stage] = plugin.hash
        return {"carried": carry_state, "compared": shadow_records, "allowed": allowed}


class World:
    def __init__(self) -> None:
        self.disk = FakeDisk()
        self.store = PluginStore(self.disk, Path("state"), Ticking())
        self.store.install([plugin_file(version="1.0.0")], "penstock", "first")
        for version in ("1.1.0", "1.2.0"):
            self.store.add(*hashed(plugin_file(version=version)), "tester")
        self.stages = Stages({stage: self.hash("1.0.0") for stage in STAGES})
        self.replaced: asyncio.Queue[str] = asyncio.Queue()
        self.desk = Desk(self.store, self.stages, self.replaced)
        self.versions = StoreVersions(self.store, self.replaced.put_nowait)

    def hash(self, version: str) -> str:
        return self.store.find("gain", version).hash

    def runs_everywhere(self, version: str) -> bool:
        entry = self.store.entry("gain")
        return entry is not None and {entry.active.hash, *self.stages.runs.values()} == {self.hash(version)}


def play(act: Callable[[World], Awaitable[None]]) -> None:
    async def run() -> None:
        await act(World())

    asyncio.run(run())


def test_all_stages_change() -> None:
    async def act(world: World) -> None:
        done = await world.desk.swap("gain", "1.1.0", "tester", Manner(False, 7, ("time_ns",)))
        assert (done.source.version, done.target.version) == ("1.0.0", "1.1.0")
        assert done.stages == {stage: {"carried": False, "compared": 7, "allowed": ("time_ns",)} for stage in STAGES}
        assert world.runs_everywhere("1.1.0")
        await world.desk.roll_back("gain", "tester")
        assert world.runs_everywhere("1.0.0")

    play(act)


def test_a_rollback_that_is_repeated_or_late_changes_nothing() -> None:
    async def act(world: World) -> None:
        for version in ("1.1.0", "1.2.0"):
            await world.desk.swap("gain", version, "tester")
        await world.desk.roll_back("gain", "tester", "1.2.0")
        history = world.store.history("gain")
        for source in ("1.2.0", world.store.find("gain", "1.2.0").hash, "1.0.0"):
            with pytest.raises(ApiError, match=f"runs, not {source}: nothing has changed") as caught:
                await world.desk.roll_back("gain", "tester", source)
            assert caught.value.code == "not_active"
        assert world.runs_everywhere("1.1.0"), "once, and not to 1.0.0"
        assert world.store.history("gain") == history

    play(act)


@pytest.mark.parametrize("number", range(len(STAGES)))
def test_if_one_refuses_none_changes(number: int) -> None:
    async def act(world: World) -> None:
        world.stages.refuse = [number]
        with pytest.raises(ApiError, match=rf"1\.0\.0 runs on: stage {STAGES[number]}: its vectors fail") as caught:
            await world.desk.swap("gain", "1.1.0", "tester")
        assert caught.value.code == "swap_refused"
        assert world.runs_everywhere("1.0.0")
        entry = world.store.history("gain")[-1]
        assert (entry.action, entry.result, entry.target and entry.target.version) == ("swap", "refused", "1.1.0")
        assert "its vectors fail" in entry.reason

    play(act)


def test_what_cannot_be_written_down_does_not_run() -> None:
    async def act(world: World) -> None:
        world.disk.fail_at = range(1 << 30)
        with pytest.raises(ApiError, match="No space left on device; make room and try again") as caught:
            await world.desk.swap("gain", "1.1.0", "tester")
        assert caught.value.code == "storage"
        assert world.runs_everywhere("1.0.0")

    play(act)


def test_a_stage_that_cannot_go_back_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def act(world: World) -> None:
        world.stages.refuse = [1, 2]
        with pytest.raises(ApiError):
            await world.desk.swap("gain", "1.1.0", "tester")

    play(act)
    assert any(text.startswith("stage east could not go back to ") for text in caplog.messages)


def test_two_swaps_at_once_come_one_after_the_other() -> None:
    async def act(world: World) -> None:
        results = await asyncio.gather(
            *(world.desk.swap("gain", version, "tester") for version in ("1.1.0", "1.2.0", "1.1.0")),
            world.desk.push(*hashed(plugin_file(version="2.0.0")), "tester"),
            world.desk.roll_back("gain", "tester"),
        )
        assert len(results) == 5
        assert world.stages.at_once_most == 1
        assert world.runs_everywhere("1.2.0")

    play(act)


def test_what_no_stage_runs_is_not_swapped() -> None:
    async def act(world: World) -> None:
        world.store.add(*hashed(plugin_file("other")), "tester")
        with pytest.raises(ApiError, match='no stage of this site runs plugin "other"') as caught:
            await world.desk.swap("other", "1.0.0", "tester")
        assert caught.value.code == "not_in_use"
        with pytest.raises(StoreError, match="did you mean"):
            await world.desk.roll_back("othr", "tester")

    play(act)


@contextlib.asynccontextmanager
async def following(world: World) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(world.desk.follow())
        yield
        task.cancel()


def storm(world: World, stage: str) -> Plugin | None:
    """What the supervisor does after too many traps in one stage, but for the swap."""
    entry = world.store.entry("gain")
    assert entry is not None
    plugin = world.store.plugin(entry.active)
    world.stages.runs[stage] = ""  # stopped
    world.versions.mark_bad(plugin, "4 traps in 30 s")
    return world.versions.previous(plugin)


def test_after_a_trap_storm_in_one_stage_the_others_change_as_well() -> None:
    async def act(world: World) -> None:
        await world.desk.swap("gain", "1.1.0", "tester")
        async with following(world):
            bad = world.hash("1.1.0")
            instead = storm(world, "north")
            assert instead is not None
            await until(lambda: world.stages.runs["west"] == instead.hash, "the others have changed")
            assert world.stages.runs == {"east": instead.hash, "north": "", "west": instead.hash}
        assert instead.manifest.version == "1.0.0"
        assert world.store.is_bad(bad) == "4 traps in 30 s"
        assert world.versions.is_bad(instead) == ""
        entry = world.store.history("gain")[-1]
        assert (entry.who, entry.action, entry.reason) == ("supervisor", "rollback", "4 traps in 30 s")
        with pytest.raises(StoreError, match="is remembered as bad and never run again"):
            await world.desk.swap("gain", "1.1.0", "tester")

    play(act)


def test_without_another_version_nothing_is_remembered_as_bad() -> None:
    async def act(world: World) -> None:
        assert storm(world, "north") is None
        assert world.store.is_bad(world.hash("1.0.0")) == ""
        assert world.replaced.empty()
        entry = world.store.history("gain")[-1]
        assert (entry.result, entry.reason) == ("refused", "4 traps in 30 s; no other version is there")

    play(act)


def test_a_storm_in_the_middle_of_a_swap_refuses_it() -> None:
    async def act(world: World) -> None:
        plugin = world.store.plugin(world.store.find("gain", "1.1.0"))

        def storm_in_the_second(number: int) -> None:
            if number == 1:
                world.versions.mark_bad(plugin, "4 traps in 30 s")

        world.stages.meanwhile = storm_in_the_second
        with pytest.raises(ApiError, match="remembered as bad"):
            await world.desk.swap("gain", "1.1.0", "tester")
        assert world.runs_everywhere("1.0.0")

    play(act)
