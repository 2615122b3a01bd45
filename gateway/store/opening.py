"""What a start finds on disk: half-written files are removed, damaged ones set aside and named, the rest is read."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from gateway.config.manifest import Manifest
from gateway.digest import content_hash
from gateway.errors import StoreError
from gateway.store import files
from gateway.store.container import manifest_of
from gateway.store.facts import BadFile, BadHash, ManifestFile, Ref
from gateway.store.storage import Storage

ACTIVE, ROLLBACK, BAD = "active_manifest.json", "rollback_manifest.json", "bad_hashes.json"
BLOBS, HISTORY = "blobs", "history"
SUFFIX = ".wasm"
CODE = re.compile(r"([0-9a-f]{64})\.[a-z0-9_]+\.so")  # compiled code of a version: HASH.TARGET.so
_log = logging.getLogger("penstock.store")


@dataclass(frozen=True, slots=True)
class Blob:
    """A version that is on disk and whole."""

    ref: Ref
    bytes: int
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that is whole. Manifests are None where there is none; ``problems`` are told already."""

    blobs: dict[str, Blob]
    bad: dict[str, BadHash]
    active: ManifestFile | None
    rollback: ManifestFile | None
    manifests_damaged: bool
    problems: list[str]


def read_all(storage: Storage) -> Found:
    """Make the folders, tidy up and read. Raises OSError when the storage cannot be used at all."""
    for folder in (BLOBS, HISTORY, files.ASIDE):
        storage.make_folder(folder)
    problems: list[str] = []
    _tidy(storage)
    _make_last(storage, problems)
    blobs = _scan(storage, problems)
    bad = _load(storage, BAD, BadFile, problems) or BadFile()
    sound = len(problems)
    active, rollback = (_load(storage, name, ManifestFile, problems) for name in (ACTIVE, ROLLBACK))
    return Found(blobs, {one.ref.hash: one for one in bad.bad}, active, rollback, len(problems) > sound, problems)


def tell(problems: list[str], text: str) -> None:
    """Note and log a problem."""
    problems.append(text)
    _log.warning("%s", text)


def _tidy(storage: Storage) -> None:
    """Remove what a power cut has left half written."""
    for folder in ("", BLOBS, HISTORY):
        names = storage.list(folder)
        files.discard(storage, folder, [name for name in names if name.endswith(files.TEMPORARY)])


def _make_last(storage: Storage, problems: list[str]) -> None:
    """A write that failed when its folder was synchronised is found here as if it had worked. Nothing may be built on
    it, a swap to such a version for one, before it is sure to be there after a power cut."""
    try:
        for folder in ("", BLOBS):
            storage.fsync_dir(folder)
    except OSError as error:
        tell(problems, f"a power cut may take away what was found: {files.reason(error)}")


def _scan(storage: Storage, problems: list[str]) -> dict[str, Blob]:
    """All versions that are whole, by hash. Compiled code of others is removed; other files are not the store's."""
    found = {}
    for name in (one for one in storage.list(BLOBS) if one.endswith(SUFFIX)):
        path = files.join(BLOBS, name)
        try:
            blob = _read_blob(storage, path, name.removesuffix(SUFFIX))
        except (OSError, files.Damaged, StoreError) as error:
            files.set_aside(storage, path)
            tell(problems, f"{path} is damaged ({error}) and was set aside")
            continue
        found[blob.ref.hash] = blob
    codes = [(name, match[1]) for name in storage.list(BLOBS) if (match := CODE.fullmatch(name))]
    files.discard(storage, BLOBS, [name for name, content in codes if content not in found])
    return found


def _read_blob(storage: Storage, path: str, content: str) -> Blob:
    data = storage.read(path)
    if content_hash(data) != content:
        raise files.Damaged("its contents have another hash")
    manifest = manifest_of(data, f"plugin {content[:8]}")
    return Blob(Ref(manifest.name, manifest.version, content), len(data), manifest)


def _load(storage: Storage, name: str, kind: type[files.T], problems: list[str]) -> files.T | None:
    found, problem = files.load_sealed(storage, "", name, kind)
    if problem:
        tell(problems, problem)
    return found
