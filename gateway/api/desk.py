"""What can be done with the plugins of a running gateway: kept, swapped, rolled back, and what happens by itself.

Joins the supervisor, who knows stages, with the store, who knows versions, so that after every operation, and after a
restart in the middle of one, what runs is what the store says. One operation at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from gateway.api.protocol import ApiError
from gateway.digest import content_hash
from gateway.errors import PenstockError, StoreError
from gateway.store.facts import Action, Entry, HistoryEntry, Ref
from gateway.store.plugins import PluginStore, Version
from gateway.store.search import Plugin

_log = logging.getLogger("penstock.control")


class Runner(Protocol):
    """Who runs the stages: a supervisor."""

    def stages_of(self, plugin: str) -> Sequence[str]:
        """The stages that run a plugin, in the order of the graph."""

    def running(self, stage: str) -> str:
        """The content hash of what a stage runs, "" when it is stopped."""

    async def swap(
        self,
        stage: str,
        plugin: Plugin,
        *,
        carry_state: bool = True,
        shadow_records: int = 0,
        allowed: Sequence[str] = (),
    ) -> object:
        """Let another version take over. Raises PenstockError; then the one that runs goes on."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How to swap: with the state of the version that runs; after comparing so many records of both, in which the
    fields ``allowed`` may differ."""

    carry_state: bool = True
    shadow_records: int = 0
    allowed: tuple[str, ...] = ()


AS_USUAL = Manner()


class PluginSummary(msgspec.Struct, frozen=True):
    """One plugin: what runs, and where; what would run after a rollback; all that is kept."""

    name: str
    active: Ref | None
    previous: Ref | None
    stages: tuple[str, ...]
    versions: tuple[Version, ...]


class Swapped(msgspec.Struct, frozen=True):
    """What an operation did: the stages that changed from one version to another, each with what the swap was like."""

    source: Ref
    target: Ref
    stages: Mapping[str, Any]


class Desk:
    """Operations on ``store`` and ``runner``. Raises StoreError and ApiError, whose codes clients get.

    ``replaced`` brings names of plugins of which the supervisor has given up a version.
    """

    def __init__(self, store: PluginStore, runner: Runner, replaced: asyncio.Queue[str]) -> None:
        self._store = store
        self._runner = runner
        self._replaced = replaced
        self._one_at_a_time = asyncio.Lock()

    # A disk may take its time: the event loop never waits for the store.

    async def list(self) -> tuple[PluginSummary, ...]:
        """All plugins, by name."""
        return await asyncio.to_thread(lambda: tuple(self._summary(name) for name in self._store.names()))

    async def show(self, name: str) -> PluginSummary:
        """One plugin."""
        return await asyncio.to_thread(self._summary, name)

    async def history(self, name: str) -> tuple[HistoryEntry, ...]:
        """What was done with a plugin, oldest first."""
        return await asyncio.to_thread(self._store.history, name)

    def _summary(self, name: str) -> PluginSummary:
        versions, entry = self._store.versions(name), self._store.entry(name)
        return PluginSummary(
            name,
            entry.active if entry else None,
            self._store.previous(name),
            tuple(self._runner.stages_of(name)),
            versions,
        )

    async def push(self, data: bytes, content: str, who: str) -> Ref:
        """Check and keep a new version. It does not run yet."""
        async with self._one_at_a_time:
            ref = await asyncio.to_thread(self._store.add, data, content, who)
        _log.info("%s pushed by %s", ref, who)
        return ref

    async def push_code(self, module: str, target: str, code: bytes, content: str, who: str) -> Ref:
        """Check and keep compiled code of a version, which is known by the hash of its module."""
        if content_hash(code) != content:
            raise StoreError("bad_hash", f"the contents do not have the hash {content}; send them again")
        async with self._one_at_a_time:
            ref = self._store.ref_of(module)
            await asyncio.to_thread(self._store.add_code, ref, target, code)
        _log.info("compiled code of %s for %s pushed by %s", ref, target, who)
        return ref

    async def swap(self, name: str, wanted: str, who: str, manner: Manner = AS_USUAL) -> Swapped:
        """Let another version run in every stage of the plugin, or in none."""
        async with self._one_at_a_time:
            ref, entry = self._store.find(name, wanted), self._in_use(name)
            if ref == entry.active:
                raise ApiError("already_active", f"{ref} runs already")
            if why := self._store.is_bad(ref.hash):
                raise StoreError("bad_version", f"{ref} is remembered as bad and never run again: {why}")
            return await self._change(entry.active, ref, who, "swap", lambda: self._store.activate(ref, who), manner)

    async def roll_back(self, name: str, who: str, source: str | None = None) -> Swapped:
        """Let the version before run again in every stage of the plugin, or in none. ``source``: only if that runs."""
        async with self._one_at_a_time:
            self._store.versions(name)
            entry, ref = self._in_use(name), self._store.previous(name)
            if source is not None and self._store.find(name, source) != entry.active:
                raise ApiError("not_active", f"{entry.active} runs, not {source}: nothing has changed")
            if ref is None:
                raise StoreError("no_previous", f'plugin "{name}" has no version to go back to')
            return await self._change(entry.active, ref, who, "rollback", lambda: self._store.roll_back(name, who))

    async def follow(self) -> None:
        """Until cancelled: when a stage has given up a version, the other stages of the plugin leave it as well."""
        while True:
            name = await self._replaced.get()
            async with self._one_at_a_time:
                await self._even_out(name)

    async def _even_out(self, name: str) -> None:
        entry = self._store.entry(name)
        for stage in self._runner.stages_of(name):
            if entry is None or self._runner.running(stage) in ("", entry.active.hash):
                continue  # one that is stopped is the supervisor's to start again
            try:
                await self._runner.swap(stage, self._store.plugin(entry.active))
                _log.info("stage %s: %s as well", stage, entry.active)
            except PenstockError as error:
                _log.error("stage %s could not change to %s: %s", stage, entry.active, error)

    def _in_use(self, name: str) -> Entry:
        entry = self._store.entry(name)
        if entry is None or not self._runner.stages_of(name):
            raise ApiError("not_in_use", f'no stage of this site runs plugin "{name}"')
        return entry

    async def _change(
        self, old: Ref, new: Ref, who: str, action: Action, commit: Callable[[], object], manner: Manner = AS_USUAL
    ) -> Swapped:
        """First the stages, then the store: a version that does not work is never what the next start finds."""
        done: dict[str, Any] = {}
        plugin = self._store.plugin(new)
        try:
            for stage in self._runner.stages_of(new.name):
                done[stage] = await self._runner.swap(
                    stage,
                    plugin,
                    carry_state=manner.carry_state,
                    shadow_records=manner.shadow_records,
                    allowed=manner.allowed,
                )
            await asyncio.to_thread(commit)
        except PenstockError as error:
            await self._undo(done, old)
            await asyncio.to_thread(self._store.note, who, action, old, new, result="refused", reason=str(error))
            _log.warning("%s: %s from %s to %s refused: %s", new.name, action, old.version, new.version, error)
            code = error.code if isinstance(error, StoreError) else "swap_refused"
            raise ApiError(code, f"{new} was not taken, {old.version} runs on: {error}") from None
        _log.info("%s: %s from %s to %s by %s", new.name, action, old.version, new.version, who)
        return Swapped(old, new, done)

    async def _undo(self, done: Mapping[str, object], old: Ref) -> None:
        """Stages that have changed already go back."""
        for stage in done:
            try:
                await self._runner.swap(stage, self._store.plugin(old))
            except PenstockError as error:
                _log.error("stage %s could not go back to %s: %s", stage, old, error)
