"""The plugin store: versions on disk, which of them runs, which to go back to, which never again.

Every change is written before it is in force here, in an order that leaves the old or the new state after a power cut
at any moment. What is damaged is set aside and told; with a version left to run it is never a reason not to start.
Threads may share a store; each call is one step. Format and reasons: docs/adr/0009-plugin-store.md.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from gateway.clock import Clock
from gateway.config.reader import nearest, show
from gateway.digest import content_hash
from gateway.errors import StoreError
from gateway.store import facts, files
from gateway.store.admission import admit, check_code
from gateway.store.container import PLUGIN_BYTES_MAX
from gateway.store.facts import Action, BadFile, BadHash, Entry, HistoryEntry, HistoryFile, ManifestFile, Ref, Result
from gateway.store.opening import ACTIVE, BAD, BLOBS, CODE, HISTORY, ROLLBACK, SUFFIX, Blob, read_all, tell
from gateway.store.search import Plugin
from gateway.store.storage import Storage
from gateway.store.version import next_version, precedence

KEEP = 3
HASH_DIGITS_MIN = 6  # of a hash that stands for a version
CODE_BYTES_MAX = 16 << 20
_log = logging.getLogger("penstock.store")

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Version:
    """A version on disk. ``state``: active, good (ran before), bad (never again) or installed (any other). ``code``:
    the machines that there is compiled code for."""

    ref: Ref
    bytes: int
    state: str
    code: tuple[str, ...] = ()


def _one_step(
    method: Callable[Concatenate[PluginStore, P], R],
) -> Callable[Concatenate[PluginStore, P], R]:
    """Methods so marked do not run at the same time in two threads."""

    @functools.wraps(method)
    def locked(store: PluginStore, /, *args: P.args, **named: P.kwargs) -> R:
        with store.lock:
            return method(store, *args, **named)

    return locked


class PluginStore:
    """The store in ``storage``, whose files a process finds below ``root``. Raises StoreError when it cannot be opened.

    ``keep``: how many versions that ran before, and how many others, are kept of each plugin. ``problems``:
    what was found damaged at the start.
    """

    def __init__(self, storage: Storage, root: Path, clock: Clock, keep: int = KEEP) -> None:
        self._storage, self._root, self._clock, self._keep = storage, root, clock, keep
        self.lock = threading.RLock()
        self._active = ManifestFile()  # what is in force
        try:
            found = read_all(storage)
        except OSError as error:
            raise StoreError("storage", f"{root}: cannot be opened: {files.reason(error)}") from None
        self.problems, self._blobs, self._bad, self._last = found.problems, found.blobs, found.bad, found.rollback
        newest = self._newest() if found.manifests_damaged else {}
        self._active = found.active or found.rollback or ManifestFile(plugins=newest)
        self._repair()

    # ---- looking ----

    @_one_step
    def names(self) -> tuple[str, ...]:
        """The plugins with at least one version, sorted."""
        return tuple(sorted(self._blob_names() | self._active.plugins.keys()))

    def entry(self, name: str) -> Entry | None:
        """What runs of a plugin, and what ran before; None when it is not in use."""
        return self._active.plugins.get(name)

    @_one_step
    def versions(self, name: str) -> tuple[Version, ...]:
        """What is kept of a plugin, newest version first. Raises StoreError unknown_plugin."""
        if name not in self.names():
            raise StoreError("unknown_plugin", f"found {show(name)}, which is no plugin; {nearest(name, self.names())}")
        blobs = [blob for blob in self._blobs.values() if blob.ref.name == name]
        blobs.sort(key=lambda blob: (precedence(blob.ref.version), blob.ref.hash), reverse=True)
        code = {blob.ref.hash: self._code_of(blob.ref) for blob in blobs}
        return tuple(
            Version(
                blob.ref, blob.bytes, self._state(blob.ref), tuple(name.split(".")[1] for name in code[blob.ref.hash])
            )
            for blob in blobs
        )

    @_one_step
    def find(self, name: str, wanted: str) -> Ref:
        """The version ``wanted``: its number, or the first digits of its hash. Raises StoreError unknown_version."""
        refs = [one.ref for one in self.versions(name)]
        by_hash = len(wanted) >= HASH_DIGITS_MIN
        found = [ref for ref in refs if ref.version == wanted or (by_hash and ref.hash.startswith(wanted.lower()))]
        if len(found) > 1:
            hashes = " or ".join(ref.hash[:8] for ref in found)
            raise StoreError("unknown_version", f'plugin "{name}" has {wanted} more than once; allowed: {hashes}')
        if not found:
            known = ", ".join(ref.version for ref in refs) or "none is installed"
            raise StoreError("unknown_version", f'plugin "{name}" has no version {show(wanted)}; installed: {known}')
        return found[0]

    def plugin(self, ref: Ref) -> Plugin:
        """A version as something to run. Raises StoreError unknown_version when it is not here any more."""
        blob = self._blobs.get(ref.hash)
        if blob is None:
            raise StoreError("unknown_version", f"{ref} is not installed")
        return Plugin(blob.manifest, self._root / _path(ref.hash), ref.hash)

    def decisions(self) -> tuple[Path, ...]:
        """The files that say which versions run."""
        return tuple(self._root / name for name in (ACTIVE, BAD))

    def ref_of(self, content: str) -> Ref:
        """The version whose file has this hash. Raises StoreError unknown_version."""
        if content not in self._blobs:
            raise StoreError("unknown_version", f"no version with the hash {content} is installed; push it first")
        return self._blobs[content].ref

    def is_bad(self, content: str) -> str:
        """Why contents with this hash are never run again; "" when they may be."""
        return self._bad[content].reason if content in self._bad else ""

    @_one_step
    def previous(self, name: str) -> Ref | None:
        """The version to go back to, or None."""
        entry = self._active.plugins.get(name)
        return next((ref for ref in entry.good if self._is_usable(ref)), None) if entry else None

    @_one_step
    def history(self, name: str) -> tuple[HistoryEntry, ...]:
        """What was done with a plugin, oldest first. Raises StoreError unknown_plugin."""
        self.versions(name)  # refuses a name that is none, and so no path either
        found, problem = files.load_sealed(self._storage, HISTORY, f"{name}.json", HistoryFile)
        if problem:
            _log.warning("%s", problem)
        return found.entries if found else ()

    # ---- changing ----

    @_one_step
    def add(self, data: bytes, content: str, who: str) -> Ref:
        """Keep a new version; ``content`` is the hash its file must have. One that is here already is no mistake.

        Raises StoreError: bad_hash, bad_plugin, bad_version (remembered as bad), version_taken, storage.
        """
        blob = self._checked(data, content)
        if blob.ref.hash in self._blobs:
            return blob.ref
        self._taken(blob.ref)
        self._put(blob, data)
        self.note(who, "push", None, blob.ref)
        self._collect(blob.ref)
        return blob.ref

    @_one_step
    def add_code(self, ref: Ref, target: str, code: bytes) -> None:
        """Keep compiled code beside a version: it runs at the next swap to it, or start. For this machine it is tried
        first. Raises StoreError: unknown_version, bad_code, storage."""
        plugin = self.plugin(ref)
        if len(code) > CODE_BYTES_MAX:
            raise StoreError("bad_code", f"found {len(code)} bytes, allowed: at most {CODE_BYTES_MAX}")
        check_code(plugin, target, code)
        files.replace_file(self._storage, BLOBS, f"{ref.hash}.{target}.so", code)

    @_one_step
    def activate(self, ref: Ref, who: str, action: Action = "swap", reason: str = "") -> None:
        """From now on, and after the next start, this version runs. Raises StoreError: bad_version, storage."""
        self._refuse_bad(ref)
        self.plugin(ref)
        old = self._active.plugins.get(ref.name)
        self._commit({**self._active.plugins, ref.name: self._entry(ref, old.origin if old else "")})
        self.note(who, action, old.active if old else None, ref, reason=reason)
        self._collect(ref)

    @_one_step
    def install(self, modules: Iterable[bytes], who: str, reason: str) -> None:
        """Take plugins from the search path: keep them and run them, all in one step. Raises StoreError."""
        plugins = dict(self._active.plugins)
        changes: list[tuple[Ref | None, Ref]] = []
        checked = [(self._checked(data, content_hash(data)), data) for data in modules]
        for blob, data in checked:
            if blob.ref.hash not in self._blobs:
                self._put(blob, data)
            old = plugins.get(blob.ref.name)
            plugins[blob.ref.name] = self._entry(blob.ref, blob.ref.hash)
            changes.append((old.active if old else None, blob.ref))
        if changes:
            self._commit(plugins)
        for source, ref in changes:
            self.note(who, "install", source, ref, reason=reason)
            self._collect(ref)

    @_one_step
    def roll_back(self, name: str, who: str, reason: str = "", *, forget_origin: bool = False) -> Ref:
        """The version before runs again; returns it. ``forget_origin``: what the search path gave may come again.

        Raises StoreError: unknown_plugin, no_previous, storage.
        """
        self.versions(name)
        entry, target = self._active.plugins.get(name), self.previous(name)
        if entry is None or target is None:
            raise StoreError("no_previous", f'plugin "{name}" has no version to go back to')
        good = entry.good[entry.good.index(target) + 1 :]
        self._commit({**self._active.plugins, name: Entry(target, good, "" if forget_origin else entry.origin)})
        self.note(who, "rollback", entry.active, target, reason=reason)
        self._collect(target)
        return target

    @_one_step
    def mark_bad(self, ref: Ref, reason: str) -> None:
        """Never run this version again, not even after a power cut in the next moment. Raises StoreError storage."""
        bad = {**self._bad, ref.hash: BadHash(ref, self._clock.unix_ns(), reason)}
        kept = tuple(bad.values())[-facts.BAD_MAX :]
        files.replace_file(self._storage, "", BAD, files.seal(BadFile(bad=kept)))
        self._bad = {one.ref.hash: one for one in kept}

    @_one_step
    def note(
        self, who: str, action: Action, source: Ref | None, target: Ref | None, *,
        result: Result = "done", reason: str = "",
    ) -> None:  # fmt: skip
        """Add to a plugin's history. A history that cannot be written is told and does not undo what happened."""
        one = target or source
        assert one is not None, "an entry is about a version"
        entry = HistoryEntry(self._clock.unix_ns(), who, action, source, target, result, reason[: facts.REASON_MAX])
        found, _ = files.load_sealed(self._storage, HISTORY, f"{one.name}.json", HistoryFile)
        entries = (*(found.entries if found else ()), entry)[-facts.HISTORY_MAX :]
        try:
            files.replace_file(self._storage, HISTORY, f"{one.name}.json", files.seal(HistoryFile(entries=entries)))
        except StoreError as error:
            _log.warning("%s", error)

    # ---- checks ----

    def _checked(self, data: bytes, content: str) -> Blob:
        if len(data) > PLUGIN_BYTES_MAX:
            raise StoreError("bad_plugin", f"found {len(data)} bytes, allowed: at most {PLUGIN_BYTES_MAX}")
        found = content_hash(data)
        if found != content:
            raise StoreError(
                "bad_hash", f"the contents have the hash {found}, not {content}: was it changed on its way?"
            )
        manifest = admit(data)
        ref = Ref(manifest.name, manifest.version, found)
        self._refuse_bad(ref)
        return Blob(ref, len(data), manifest)

    def _refuse_bad(self, ref: Ref) -> None:
        if why := self.is_bad(ref.hash):
            raise StoreError("bad_version", f"{ref} is remembered as bad and never run again: {why}")

    def _taken(self, ref: Ref) -> None:
        for blob in self._blobs.values():
            if (blob.ref.name, blob.ref.version) == (ref.name, ref.version):
                entry = self._active.plugins.get(ref.name)
                origin = ", from the search path" if entry and entry.origin == blob.ref.hash else ""
                raise StoreError(
                    "version_taken",
                    f"{blob.ref} is installed already with other contents{origin}; give these a version of their own: "
                    f"penstock plugin build FOLDER --embed --as {next_version(self.versions(ref.name)[0].ref.version)}",
                )

    def _blob_names(self) -> set[str]:
        return {blob.ref.name for blob in self._blobs.values()}

    def _is_usable(self, ref: Ref) -> bool:
        return ref.hash in self._blobs and ref.hash not in self._bad

    def _state(self, ref: Ref) -> str:
        entry = self._active.plugins.get(ref.name)
        if ref.hash in self._bad:
            return "bad"
        if entry is not None and entry.active.hash == ref.hash:
            return "active"
        return "good" if entry is not None and ref in entry.good else "installed"

    # ---- writing ----

    def _entry(self, ref: Ref, origin: str) -> Entry:
        """``ref`` runs, what ran until now is the one to go back to."""
        old = self._active.plugins.get(ref.name)
        before = (old.active, *old.good) if old else ()
        good = tuple(one for one in before if one.hash != ref.hash and self._is_usable(one))
        return Entry(ref, good[: self._keep], origin)

    def _put(self, blob: Blob, data: bytes) -> None:
        files.replace_file(self._storage, BLOBS, blob.ref.hash + SUFFIX, data)
        self._blobs[blob.ref.hash] = blob

    def _commit(self, plugins: Mapping[str, Entry]) -> None:
        """Write both manifests: first what is in force now as the one to go back to, then the new one."""
        new = ManifestFile(generation=self._active.generation + 1, plugins=dict(plugins))
        try:
            if self._active.generation:
                files.replace_file(self._storage, "", ROLLBACK, files.seal(self._active))
            files.replace_file(self._storage, "", ACTIVE, files.seal(new))
        except StoreError:
            self._take_back()
            raise
        self._active, self._last = new, self._active

    def _take_back(self) -> None:
        """A new file may be in place although it is not known to last: put what is in force over it."""
        try:
            files.replace_file(self._storage, "", ACTIVE, files.seal(self._active))
            if self._last is not None:
                files.replace_file(self._storage, "", ROLLBACK, files.seal(self._last))
        except StoreError as error:
            _log.warning("after the next start what was refused may be in force: %s", error)

    def _collect(self, fresh: Ref) -> None:
        """Remove the versions of the plugin of ``fresh`` that nobody will go back to."""
        needed = {fresh.hash, *self._referenced()}
        versions = [one for one in self.versions(fresh.name) if one.ref.hash not in needed]
        unused = [one.ref for one in versions if one.state == "installed"][self._keep :]
        bad = [one.ref for one in versions if one.state == "bad"]
        for ref in (*unused, *bad):
            del self._blobs[ref.hash]
        gone = [name for ref in (*unused, *bad) for name in (*self._code_of(ref), ref.hash + SUFFIX)]
        files.discard(self._storage, BLOBS, gone)

    def _code_of(self, ref: Ref) -> tuple[str, ...]:
        """The files with compiled code of a version."""
        names = self._storage.list(BLOBS)
        return tuple(name for name in names if (match := CODE.fullmatch(name)) and match[1] == ref.hash)

    def _referenced(self) -> Iterable[str]:
        """What the manifest in force, or the one before it, needs."""
        for entry in self._active.plugins.values():
            yield from (ref.hash for ref in (entry.active, *entry.good))
        for entry in (self._last or ManifestFile()).plugins.values():
            yield entry.active.hash

    # ---- opening ----

    def _newest(self) -> dict[str, Entry]:
        """What to run when no manifest tells: the newest version of each plugin."""
        usable = {name: [one.ref for one in self.versions(name) if one.state != "bad"] for name in self._blob_names()}
        return {name: Entry(refs[0], tuple(refs[1:])) for name, refs in usable.items() if refs}

    def _repair(self) -> None:
        """Where the version that should run is damaged or bad, the newest good one runs; without one, none."""
        plugins: dict[str, Entry] = {}
        changes: list[tuple[Ref, Ref]] = []
        for name, entry in self._active.plugins.items():
            usable: Sequence[Ref] = [ref for ref in (entry.active, *entry.good) if self._is_usable(ref)]
            if usable:
                plugins[name] = Entry(usable[0], tuple(usable[1:]), entry.origin)
            if not usable or usable[0] != entry.active:
                why = self.is_bad(entry.active.hash) or "it is missing or damaged"
                instead = f"{usable[0].version} runs instead" if usable else "no other version is left"
                tell(self.problems, f"{entry.active} is not run ({why}); {instead}")
                changes += [(entry.active, usable[0])] if usable else []
        if plugins == self._active.plugins:
            return
        try:
            self._commit(plugins)
        except StoreError as error:
            tell(self.problems, str(error))
            self._active = ManifestFile(generation=self._active.generation, plugins=plugins)
        for source, target in changes:
            self.note("penstock", "repair", source, target, reason="found at the start")


def _path(content: str) -> str:
    return files.join(BLOBS, content + SUFFIX)
