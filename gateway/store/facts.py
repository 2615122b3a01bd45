"""What the store writes down: which versions run, which ran before, which never again, and what was done."""

from __future__ import annotations

from typing import Literal

import msgspec

HISTORY_MAX = 100  # per plugin
REASON_MAX = 400  # characters of a history's reason
BAD_MAX = 200  # hashes; the oldest are forgotten first

Action = Literal["install", "push", "swap", "rollback", "repair"]
Result = Literal["done", "refused"]


class Ref(msgspec.Struct, frozen=True):
    """One version of a plugin. ``hash`` is the BLAKE3 hash of its file."""

    name: str
    version: str
    hash: str

    def __str__(self) -> str:
        return f'plugin "{self.name}" {self.version} ({self.hash[:8]})'


class Entry(msgspec.Struct, frozen=True):
    """A plugin that is in use. ``good``: what ran before, newest first. ``origin``: what the search path last gave."""

    active: Ref
    good: tuple[Ref, ...] = ()
    origin: str = ""


class ManifestFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """active_manifest.json, and rollback_manifest.json: the one before it."""

    format: Literal[1] = 1
    generation: int = 0
    plugins: dict[str, Entry] = {}


class BadHash(msgspec.Struct, frozen=True):
    """A version that is never started again, and why."""

    ref: Ref
    time_ns: int
    reason: str


class BadFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """bad_hashes.json, oldest first."""

    format: Literal[1] = 1
    bad: tuple[BadHash, ...] = ()


class HistoryEntry(msgspec.Struct, frozen=True):
    """One thing that was done, or refused, with a plugin. ``source`` and ``target`` are None where there is none."""

    time_ns: int
    who: str
    action: Action
    source: Ref | None
    target: Ref | None
    result: Result
    reason: str = ""


class HistoryFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """history/NAME.json, oldest first."""

    format: Literal[1] = 1
    entries: tuple[HistoryEntry, ...] = ()
