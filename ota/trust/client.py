"""The TUF client: from the anchor in the image to a catalogue of what may be installed.

Signatures, thresholds, versions and expiry are python-tuf's. Ours: the time (never before the floor), floors that
survive a wiped cache, who may sign which names, and errors that name what happened.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from tuf.api import exceptions
from tuf.api.metadata import Root, Signed, Targets
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

from ota.clock import Clock
from ota.errors import OtaError, StorageError, TransferError, TrustError, UsageError
from ota.trust.envelope import check_encoding, check_signatures
from ota.trust.floor import Floor, FloorFile, Seen, check_seen, highest, learn
from ota.trust.model import SIGNED_FIELD, Artefact, Compiled, Patch, check_name, read_target, role_of

LIMITS = UpdaterConfig(
    max_root_rotations=64,
    max_delegations=8,
    root_max_length=64 * 1024,
    timestamp_max_length=16 * 1024,
    snapshot_max_length=256 * 1024,
    targets_max_length=1024 * 1024,
)
UNHASHED = ("root", "timestamp")
"""Roles whose bytes no other signed metadata has the hash of."""
TIME_S_MAX = 253_402_300_799  # the last second of the year 9999
# (python-tuf's error, our reason), the most special first.
REASONS: tuple[tuple[type[exceptions.RepositoryError], str], ...] = (
    (exceptions.UnsignedMetadataError, "metadata-signature"),
    (exceptions.BadVersionNumberError, "metadata-version"),
    (exceptions.ExpiredMetadataError, "metadata-expired"),
    (exceptions.LengthOrHashMismatchError, "metadata-mismatch"),
    (exceptions.RepositoryError, "metadata-invalid"),
)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What one owner's verified metadata offers."""

    artefacts: tuple[Artefact, ...]
    patches: tuple[Patch, ...]
    codes: tuple[Compiled, ...] = ()

    def patches_to(self, artefact: Artefact) -> list[Patch]:
        """Every patch that gives this artefact, from whatever source."""
        return [patch for patch in self.patches if patch.delta.to == artefact.file.name]

    def code_of(self, artefact: Artefact, target: str) -> Artefact | None:
        """Its compiled code for a kind of machine, if there is any: fetched like an artefact of the same release."""
        found = [one.file for one in self.codes if (one.code.of, one.code.target) == (artefact.file.name, target)]
        return Artefact(found[0], msgspec.structs.replace(artefact.release, blake3="")) if found else None


@dataclass(frozen=True, slots=True)
class Anchor:
    """What is part of the running image."""

    root: bytes
    floor: Floor


class TrustClient:
    """Verified metadata of one repository. ``folder`` is a cache: wiping it costs bytes, not security.

    ``cache``: folder of the metadata itself.
    """

    def __init__(self, folder: Path, anchor: Anchor, clock: Clock) -> None:
        self.cache = folder / "metadata"
        self._file = FloorFile(folder / "floor.json")
        self._anchor = anchor
        self._clock = clock
        self._lock = threading.RLock()  # a fleet's polls look things up while an update is being fetched

    def floor(self) -> Floor:
        """The image's and the device's own floor together."""
        return highest(self._anchor.floor, self._file.load())

    def committed(self, line: str, release: int) -> None:
        """Raise the floor to a release that runs and is healthy."""
        with self._lock:
            known = self._file.load()
            if known.releases.get(line, 0) < release:
                self._file.save(highest(known, Floor(releases={line: release})))

    def time_s(self) -> int:
        """The system's time, or the floor where the system is behind it."""
        return min(TIME_S_MAX, max(int(self._clock.unix_s()), self.floor().time_s))

    def catalogue(self, fetcher: FetcherInterface, url: str, kind: str, owner: str) -> Catalogue:
        """Refresh everything needed for one owner. Raises TrustError, TransferError, StorageError."""
        check_name(f"{kind}/{owner}/x")
        with self._lock, self._errors():
            self.cache.mkdir(parents=True, exist_ok=True)
            strict = _Strict(fetcher)
            updater = _Updater(str(self.cache), url, fetcher=strict, config=LIMITS, bootstrap=self._anchor.root)
            updater.believe(datetime.fromtimestamp(self.time_s(), UTC))
            strict.root = updater.root
            updater.refresh()
            role = role_of(kind, owner)
            updater.get_targetinfo(f"{kind}/{owner}/-")  # no such name: loads the role that would sign it
            updater.check_hashes("targets", role)
            self._remember(updater, role)
            names = updater.names(role)
            return read_catalogue(names, updater.get_targetinfo)

    def remember(self, seen: list[Seen]) -> None:
        """Check verified roles against the floors, then raise the device's own. Raises TrustError."""
        with self._lock:
            for one in seen:
                check_seen(self.floor(), one)
            before = grown = self._file.load()
            for one in seen:
                grown = learn(grown, one)
            if grown != before:
                self._file.save(grown)

    def _remember(self, updater: _Updater, role: str) -> None:
        roles = ["root", "targets", role]
        self.remember([seen_of(name, updater.role(name), updater.keys(name)) for name in roles])

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except exceptions.DownloadError as error:
            raise _download_error(error) from error
        except exceptions.RepositoryError as error:
            raise trust_error(error, self.time_s()) from error
        except OSError as error:
            raise StorageError("cache", f"{self.cache}: {error.strerror or error}") from error


class _Strict(FetcherInterface):
    """Looks at what python-tuf would not before it gets it. ``root``: the one that is trusted at that moment."""

    def __init__(self, fetcher: FetcherInterface) -> None:
        self._fetcher = fetcher
        self.root: Callable[[], Root]

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """See FetcherInterface. Raises TrustError."""
        data = self._fetcher.download_bytes(url, max_length)
        role = url.rpartition("/")[2].removesuffix(".json").rpartition(".")[2]
        check_encoding(role, data)
        if role in UNHASHED:
            check_signatures(role, data, self.root())
        return data

    def _fetch(self, url: str) -> Iterator[bytes]:
        """Unused, see MetadataFetcher."""
        raise exceptions.DownloadError(f"{url}: only metadata is fetched here")


class _Updater(Updater):
    """python-tuf's updater with the time set by us and with a view of what was verified."""

    def root(self) -> Root:
        return self._trusted_set.root

    def check_hashes(self, *roles: str) -> None:
        """Nothing is taken by its version alone."""
        metas = self._trusted_set.snapshot.meta
        found = [metas[f"{role}.json"] for role in roles if f"{role}.json" in metas]
        for meta in (self._trusted_set.timestamp.snapshot_meta, *found):
            if meta.length is None or "sha256" not in (meta.hashes or {}):
                raise TrustError(
                    "metadata-invalid", "metadata refused: timestamp or snapshot names no sha256 or length"
                )

    def believe(self, now: datetime) -> None:
        self._trusted_set.reference_time = now

    def role(self, name: str) -> Signed:
        try:
            return self._trusted_set[name]
        except KeyError:
            kind, _, owner = name.partition("-")
            raise UsageError(f"the repository has no role for {kind}/{owner}: is the board or vendor right?") from None

    def names(self, role: str) -> list[str]:
        signed = self.role(role)
        return sorted(signed.targets) if isinstance(signed, Targets) else []

    def keys(self, role: str) -> tuple[str, ...]:
        delegator = self.role("root" if role in ("root", "targets") else "targets")
        return keys_of(delegator, role)


def keys_of(delegator: Signed, role: str) -> tuple[str, ...]:
    """Sorted ids of the keys that may sign a role."""
    if not isinstance(delegator, Root | Targets):
        raise TrustError("metadata-invalid", f"{role}: its delegator is neither root nor targets")
    return tuple(sorted(delegator.get_delegated_role(role).keyids))


def seen_of(role: str, signed: Signed, keys: tuple[str, ...]) -> Seen:
    """What a floor learns from a verified role with offline keys."""
    time_s = signed.unrecognized_fields.get(SIGNED_FIELD, 0)
    if not isinstance(time_s, int) or not 0 <= time_s <= int(signed.expires.timestamp()):
        raise TrustError("metadata-invalid", f"{role}: {SIGNED_FIELD} is no time before its expiry")
    return Seen(role, signed.version, keys, time_s)


def read_catalogue(names: list[str], lookup: Callable[[str], object]) -> Catalogue:
    """Read every target through the delegations: a name that its role must not sign is not found and not offered."""
    found: list[Artefact | Patch | Compiled] = []
    for name in names:
        check_name(name)
        entry = lookup(name)
        if entry is None:
            raise TrustError("target-owner", f"target {name}: signed by a role that this name is not delegated to")
        found.append(read_target(entry))  # type: ignore[arg-type]
    return Catalogue(
        tuple(one for one in found if isinstance(one, Artefact)),
        tuple(one for one in found if isinstance(one, Patch)),
        tuple(one for one in found if isinstance(one, Compiled)),
    )


def trust_error(error: exceptions.RepositoryError, time_s: int) -> TrustError:
    """A python-tuf error with our reason; for expired metadata with the time that was believed."""
    reason = next(name for kind, name in REASONS if isinstance(error, kind))
    if reason == "metadata-expired":
        believed = datetime.fromtimestamp(time_s, UTC).date()
        return TrustError(reason, f"{error}; believed date: {believed}. Is the clock right, the repository maintained?")
    return TrustError(reason, f"metadata refused: {error}")


def _download_error(error: exceptions.DownloadError) -> OtaError:
    if isinstance(error, exceptions.DownloadLengthMismatchError):
        return TrustError("metadata-oversized", f"metadata refused: {error}")
    cause = error.__cause__
    if isinstance(cause, OtaError):
        return cause
    return TransferError("metadata-missing", f"metadata cannot be fetched: {error}", retry=False)
