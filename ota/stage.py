"""Bring a chosen release into a slot or file: by a patch where one fits, completely where the budget allows it.

Nothing here changes what the device boots or runs. When ``stage`` returns, the target holds the signed bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ota.delta.apply import apply_patch
from ota.digest import both_of, sha256_of
from ota.errors import BudgetError, DeltaError, OtaError, StorageError, TransferError, TrustError
from ota.ports import Storage
from ota.storage import Window
from ota.transfer.download import Download, Means, Wanted
from ota.transfer.meter import RESERVE_BYTES
from ota.trust.client import Catalogue
from ota.trust.model import Artefact, File, Patch

SHARE_MAX = 60  # percent of the compressed artefact
BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Place:
    """Where to. ``source``: what runs now, for patches. ``memory``: bytes that applying a patch may take."""

    target: Storage
    source: Storage | None
    journals: Path
    memory: int


@dataclass(frozen=True, slots=True)
class Job:
    """What to. ``base``: URL of the repository's ``targets`` folder. ``note`` hears of every way that was given up."""

    artefact: Artefact
    catalogue: Catalogue
    base: str
    note: Callable[[OtaError], None]


def stage(job: Job, place: Place, means: Means) -> str:
    """Returns how: ``patch`` or ``full``. Raises TrustError, TransferError, BudgetError, StorageError, Cancelled."""
    for patch in candidates(job.catalogue.patches_to(job.artefact), place.memory, job.artefact, place.target.size):
        try:
            _by_patch(job, patch, place, means)
        except (DeltaError, StorageError, TrustError, BudgetError) as error:
            job.note(error)
        else:
            return "patch"
    left = means.budget.left()
    if left is not None and job.artefact.file.length + RESERVE_BYTES > left:
        message = f"{job.artefact.file.name}: no patch could be used, and the complete file"
        raise BudgetError(f"{message} of {job.artefact.file.length} bytes exceeds the {left} left", 0.0)
    _fetch(job, job.artefact.file, place.target, place.journals / "full.journal", means)
    _verify(job.artefact, place.target)
    return "full"


def candidates(patches: list[Patch], memory: int, artefact: Artefact, room: int) -> list[Patch]:
    """Patches that are worth trying here, the smallest first. Pure.

    Left out: needs more memory, does not fit behind the result in the target, is more than 60 % of the compressed file.
    """
    packed = [patch.file.length for patch in patches if patch.delta.source.length == 0]
    most = min(packed) * SHARE_MAX // 100 if packed else artefact.file.length
    fitting = [
        patch
        for patch in patches
        if patch.delta.memory <= memory
        and spool_offset(patch, room) >= artefact.file.length
        and (patch.file.length <= most or patch.delta.source.length == 0)
        and patch.file.length < artefact.file.length
    ]
    return sorted(fitting, key=lambda patch: patch.file.length)


def spool_offset(patch: Patch, room: int) -> int:
    """Where in a target of ``room`` bytes a patch waits to be applied: at its end, on a block boundary. Pure."""
    return (room - patch.file.length) // BLOCK * BLOCK


def _by_patch(job: Job, patch: Patch, place: Place, means: Means) -> None:
    source = _source(patch, place)
    spool = Window(place.target, spool_offset(patch, place.target.size), patch.file.length)
    journal = place.journals / "patch.journal"
    _fetch(job, patch.file, spool, journal, means)
    apply_patch(patch, job.artefact, (source, spool), place.target, means.cancel)
    try:
        _verify(job.artefact, place.target)
    except TrustError:
        journal.unlink(missing_ok=True)
        raise


def _source(patch: Patch, place: Place) -> Storage:
    """The bytes to start from, checked before anything is fetched."""
    wanted = patch.delta.source
    if wanted.length == 0:
        return Window(place.target, 0, 0)
    if place.source is None:
        raise DeltaError("source-missing", f"{patch.file.name}: there is nothing installed to start from")
    found = sha256_of(place.source, wanted.length)
    if found != wanted.sha256:
        message = f"{patch.file.name}: {place.source.name} holds {found[:16]}, the patch is for {wanted.sha256[:16]}"
        raise DeltaError("source-differs", message)
    return place.source


def _fetch(job: Job, file: File, storage: Storage, journal: Path, means: Means) -> None:
    url = f"{job.base.rstrip('/')}/{file.path}"
    try:
        Download(Wanted(url, file.length, file.sha256), storage, journal, means).run()
    except TransferError as error:
        if error.reason == "http-gone":
            raise TrustError("target-missing", f"{error.message}: it is signed, but not there") from error
        raise


def _verify(artefact: Artefact, target: Storage) -> None:
    """Read everything back: what counts is what the storage holds, not what was written."""
    sha256, fast = both_of(target, artefact.file.length)
    if sha256 != artefact.file.sha256 or artefact.release.blake3 not in ("", fast):
        message = f"{target.name}: holds {sha256[:16]} instead of {artefact.file.sha256[:16]}"
        raise TrustError("result-hash", f"{artefact.file.name}: {message}")
