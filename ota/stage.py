"""Bring a chosen release into a slot or file: by a patch where one fits, completely where the budget allows it.

Nothing here changes what the device boots or runs. When ``stage`` returns, the target holds the signed bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ota.delta.apply import ArrivingReader, apply_patch
from ota.digest import both_of, sha256_of
from ota.errors import BudgetError, DeltaError, OtaError, StorageError, TransferError, TrustError
from ota.ports import Storage
from ota.storage import FileStorage, Window
from ota.transfer.download import Download, Means, Wanted
from ota.transfer.meter import RESERVE_BYTES
from ota.trust.client import Catalogue
from ota.trust.model import Artefact, File, Patch

SHARE_MAX = 60  # percent of the compressed artefact
BLOCK = 4096
SPOOL_NAME = "patch.spool"
SPOOL_BYTES_MAX = 768 * 1024
"""A patch that does not fit behind the result waits in a file of at most this size beside the journals."""


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
            if not isinstance(error, BudgetError):  # when there is more of it, the patch goes on
                _forget_spool(place)
        else:
            return "patch"
    left = means.budget.left()
    if left is not None and job.artefact.file.length + RESERVE_BYTES > left:
        message = f"{job.artefact.file.name}: no patch could be used, and the complete file"
        raise BudgetError(f"{message} of {job.artefact.file.length} bytes exceeds the {left} left", 0.0)
    _fetch(job, job.artefact.file, place.target, place.journals / "full.journal", means)
    _verify(job.artefact, place.target)
    _forget_spool(place)
    return "full"


def _forget_spool(place: Place) -> None:
    (place.journals / SPOOL_NAME).unlink(missing_ok=True)


def candidates(patches: list[Patch], memory: int, artefact: Artefact, room: int) -> list[Patch]:
    """Patches that are worth trying here, the smallest first. Pure.

    Left out: needs more memory, fits neither behind the result in the target nor into SPOOL_BYTES_MAX, is more than
    60 % of the compressed file.
    """
    packed = [patch.file.length for patch in patches if patch.delta.source.length == 0]
    most = min(packed) * SHARE_MAX // 100 if packed else artefact.file.length
    fitting = [
        patch
        for patch in patches
        if patch.delta.memory <= memory
        and (fits_behind(patch, artefact, room) or patch.file.length <= SPOOL_BYTES_MAX)
        and (patch.file.length <= most or patch.delta.source.length == 0)
        and patch.file.length < artefact.file.length
    ]
    return sorted(fitting, key=lambda patch: patch.file.length)


def fits_behind(patch: Patch, artefact: Artefact, room: int) -> bool:
    """Whether a target of ``room`` bytes holds the result and the patch. Pure."""
    return spool_offset(patch, room) >= artefact.file.length


def spool_offset(patch: Patch, room: int) -> int:
    """Where in a target of ``room`` bytes a patch waits to be applied: at its end, on a block boundary. Pure."""
    return (room - patch.file.length) // BLOCK * BLOCK


def _by_patch(job: Job, patch: Patch, place: Place, means: Means) -> None:
    """Applied as it arrives; what has arrived is kept until the result is verified, so a restart fetches none of it
    again."""
    source = _source(patch, place)
    journal = place.journals / "patch.journal"
    with _spool(job, patch, place) as spool:
        download = Download(_wanted(job, patch.file), spool, journal, means)
        arrivals = download.arrivals()
        try:
            with contextlib.closing(arrivals), _told(patch.file):
                reader = ArrivingReader(spool, patch, arrivals)
                apply_patch(patch, job.artefact, (source, reader), place.target, means.cancel)
                for _ in arrivals:  # a patch may be longer than what its result needs
                    means.cancel.check()
            _verify(job.artefact, place.target)
        except (TrustError, DeltaError):
            download.forget()
            raise


@contextlib.contextmanager
def _spool(job: Job, patch: Patch, place: Place) -> Iterator[Storage]:
    """Where the patch's bytes wait: behind the result in the target, or in a file that is gone when it was applied."""
    length = patch.file.length
    if fits_behind(patch, job.artefact, place.target.size):
        yield Window(place.target, spool_offset(patch, place.target.size), length)
        return
    path = place.journals / SPOOL_NAME
    with FileStorage(path, length) as spool:
        spool.truncate(length)  # of another patch there may be more
        yield spool
    _forget_spool(place)


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


def _wanted(job: Job, file: File) -> Wanted:
    return Wanted(f"{job.base.rstrip('/')}/{file.path}", file.length, file.sha256)


def _fetch(job: Job, file: File, storage: Storage, journal: Path, means: Means) -> None:
    with _told(file):
        Download(_wanted(job, file), storage, journal, means).run()


@contextlib.contextmanager
def _told(file: File) -> Iterator[None]:
    """A file that is signed and not there is the publisher's fault, and no reason to wait."""
    try:
        yield
    except TransferError as error:
        if error.reason == "http-gone":
            raise TrustError("target-missing", f"{error.message}: {file.name} is signed, but not there") from error
        raise


def _verify(artefact: Artefact, target: Storage) -> None:
    """Read everything back: what counts is what the storage holds, not what was written."""
    sha256, fast = both_of(target, artefact.file.length)
    if sha256 != artefact.file.sha256 or artefact.release.blake3 not in ("", fast):
        message = f"{target.name}: holds {sha256[:16]} instead of {artefact.file.sha256[:16]}"
        raise TrustError("result-hash", f"{artefact.file.name}: {message}")
