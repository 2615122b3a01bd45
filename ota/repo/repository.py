"""A TUF repository in a folder: static files for any web server.

    metadata/N.root.json  N.targets.json  N.ROLE.json  N.snapshot.json  timestamp.json
    metadata/news/N       what is new since snapshot N: a short cut for devices
    staged/ROLE.json      a change that still lacks signatures; nothing refers to it
    targets/KIND/OWNER/SHA256.NAME

A change is made by ``edit``: it is signed with the keys at hand and takes effect when the threshold is reached,
otherwise it waits in ``staged`` for ``sign`` on another machine. Files that clients read are only added,
``timestamp.json`` last.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from securesystemslib.exceptions import StorageError as SslibStorageError
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from ota.clock import Clock
from ota.durable import replace_file
from ota.errors import UsageError
from ota.repo.keys import Keyring
from ota.transfer.news import NEWS_SINCE_MAX, write_news
from ota.trust.model import DAYS_FIELD, SIGNED_FIELD

TOP_ROLES = ("root", "timestamp", "snapshot", "targets")
ONLINE = ("snapshot", "timestamp")
DAYS = {"root": 730, "targets": 730, "snapshot": 14, "timestamp": 7, "bundle": 730}
DAYS_DELEGATED = 365

T = TypeVar("T", bound=Signed)


class Repository:
    """One repository folder and the keys at hand."""

    def __init__(self, folder: Path, keys: Keyring, clock: Clock) -> None:
        self.folder = folder
        self.keys = keys
        self._clock = clock
        self._serializer = JSONSerializer(compact=True)

    @property
    def metadata(self) -> Path:
        """Folder of the metadata in effect."""
        return self.folder / "metadata"

    def load(self, role: str) -> Metadata[Any]:
        """The newest metadata of a role: the staged change if there is one. Raises UsageError."""
        staged = self._staged(role)
        return self._read(staged if staged.exists() else self.published(role))

    def published(self, role: str) -> Path:
        """File of the newest metadata in effect. Raises UsageError when the role has none."""
        if role == "timestamp":
            found = [path] if (path := self.metadata / "timestamp.json").exists() else []
        else:
            found = sorted(self.metadata.glob(f"*.{role}.json"), key=lambda path: int(path.name.split(".")[0]))
        if not found:
            raise UsageError(f"{self.folder}: has no role '{role}'; known: {', '.join(self.roles()) or 'none'}")
        return found[-1]

    def roles(self) -> list[str]:
        """Every role that has metadata, staged or in effect."""
        paths = [*self.metadata.glob("*.json"), *(self.folder / "staged").glob("*.json")]
        return sorted({path.name.removesuffix(".json").rpartition(".")[2] for path in paths})

    def root(self) -> Root:
        """The root in effect or staged."""
        return _of_type(self.load("root").signed, Root)

    def targets(self, role: str = "targets") -> Targets:
        """A targets role, top-level or delegated."""
        return _of_type(self.load(role).signed, Targets)

    def effective(self, role: str) -> Any:
        """What clients see of a role; a staged change is not part of it."""
        return self._read(self.published(role)).signed

    def effective_keys(self, role: str) -> tuple[str, ...]:
        """The key ids that clients trust for a role, sorted."""
        delegator = self.effective("root" if role in TOP_ROLES else "targets")
        assert isinstance(delegator, Root | Targets)
        return tuple(sorted(delegator.get_delegated_role(role).keyids))

    @contextmanager
    def edit(self, role: str) -> Iterator[Signed]:
        """Change a role, then sign it; ``finish`` brings it into effect. A staged change is amended."""
        metadata = self.load(role)
        if not self._staged(role).exists():
            metadata.signed.version += 1
        yield metadata.signed
        self._stamp(metadata.signed, role)
        metadata.signatures.clear()
        self._sign(role, metadata)

    def create(self, role: str, signed: Signed) -> None:
        """Sign and stage the first version of a role."""
        if role in self.roles():
            raise UsageError(f"{self.folder}: role '{role}' exists")
        self._stamp(signed, role)
        self._sign(role, Metadata(signed))

    def sign(self, role: str) -> int:
        """Add signatures of the keys at hand to a staged change; returns how many signatures are still missing."""
        if not self._staged(role).exists():
            raise UsageError(f"{self._staged(role)}: nothing waits for a signature of '{role}'")
        self._sign(role, self.load(role))
        return self.missing(role)

    def missing(self, role: str) -> int:
        """Signatures that a role still lacks to take effect."""
        metadata = self.load(role)
        if role == "root":
            return self._missing_of_root(metadata)
        above = "root" if role in TOP_ROLES else "targets"
        in_effect = any(self.metadata.glob(f"*.{above}.json"))
        delegator = self._read(self.published(above) if in_effect else self._staged(above)).signed
        if not isinstance(delegator, Root | Targets):
            raise UsageError(f"{self.folder}: {above} is not a delegating role")
        try:
            result = delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
        except ValueError:  # the delegation itself still waits
            return 1
        return max(0, result.missing)

    def _missing_of_root(self, metadata: Metadata[Any]) -> int:
        root = _of_type(metadata.signed, Root)
        previous = _of_type(self._read(self.published("root")).signed, Root) if root.version > 1 else None
        result = root.get_root_verification_result(previous, metadata.signed_bytes, metadata.signatures)
        return max(0, result.first.missing, result.second.missing)

    def finish(self) -> list[str]:
        """Bring every complete staged change into effect; returns what still waits, as lines for the user."""
        waiting = []
        for role in [name for name in self._order() if self._staged(name).exists()]:
            if missing := self.missing(role):
                waiting.append(f"{role}: {missing} more signature(s) needed, see penstock-ota repo sign")
                continue
            data = self._staged(role).read_bytes()
            version = self._read(self._staged(role)).signed.version
            replace_file(self.metadata / f"{version}.{role}.json", data)
            self._staged(role).unlink()
        return waiting

    def refresh(self) -> None:
        """A new snapshot and a new timestamp: the online step. Raises UsageError without the keys."""
        fresh = {
            f"{role}.json": _meta_file(self._read(path).signed.version, path.read_bytes())
            for role in self.roles()
            if role not in ("root", *ONLINE)
            for path in sorted(self.metadata.glob(f"*.{role}.json"))
            if path == self.published(role)
        }
        with self._online("snapshot", Snapshot()) as snapshot:
            _of_type(snapshot, Snapshot).meta = fresh
        path = self.published("snapshot")
        version = self._read(path).signed.version
        with self._online("timestamp", Timestamp()) as timestamp:
            _of_type(timestamp, Timestamp).snapshot_meta = _meta_file(version, path.read_bytes())
        self._tell_news(_of_type(self.effective("snapshot"), Snapshot))

    def _tell_news(self, now: Snapshot) -> None:
        """For devices with one of the last snapshots; what older ones had is removed."""
        known = [f"{file.version}.{name}" for name, file in now.meta.items()]
        files = [self.metadata / name for name in ("timestamp.json", f"{now.version}.snapshot.json", *known)]
        for number in range(max(1, now.version - NEWS_SINCE_MAX), now.version):
            had = self.metadata / f"{number}.snapshot.json"
            if had.exists():
                self._tell_news_since(had, files)
        replace_file(self._news(now.version), b"")
        for path in self._news(0).parent.iterdir():
            if not path.name.isdigit() or int(path.name) < now.version - NEWS_SINCE_MAX:
                path.unlink()

    def _tell_news_since(self, snapshot: Path, files: list[Path]) -> None:
        then = _of_type(self._read(snapshot).signed, Snapshot)
        had = {name.removesuffix(".json"): self.metadata / f"{file.version}.{name}" for name, file in then.meta.items()}
        had |= {"root": self.published("root"), "snapshot": snapshot}

        def have(role: str) -> bytes | None:
            return had[role].read_bytes() if role in had else None

        new = [path for path in files if path not in had.values()]
        replace_file(self._news(then.version), write_news(((path.name, path.read_bytes()) for path in new), have))

    def _news(self, version: int) -> Path:
        return self.metadata / "news" / str(version)

    @contextmanager
    def _online(self, role: str, first: Signed) -> Iterator[Signed]:
        """Change an online role; it takes effect at once or not at all."""
        exists = any(self.metadata.glob(f"*{role}.json"))
        signed: Any = self._read(self.published(role)).signed if exists else first
        signed.version += exists
        yield signed
        self._stamp(signed, role)
        metadata: Metadata[Any] = Metadata(signed)
        self._append_signatures(role, metadata)
        root = _of_type(self._read(self.published("root")).signed, Root)
        if not root.get_verification_result(role, metadata.signed_bytes, metadata.signatures):
            raise UsageError(f"{self.folder}: the key folder holds no key of '{role}'")
        name = f"{role}.json" if role == "timestamp" else f"{signed.version}.{role}.json"
        replace_file(self.metadata / name, metadata.to_bytes(self._serializer))

    def _sign(self, role: str, metadata: Metadata[Any]) -> None:
        self._append_signatures(role, metadata)
        replace_file(self._staged(role), metadata.to_bytes(self._serializer))

    def _append_signatures(self, role: str, metadata: Metadata[Any]) -> None:
        signers = self.keys.signers()
        for keyid in self._keyids(role, metadata):
            if keyid in signers:
                metadata.sign(signers[keyid], append=True)

    def _keyids(self, role: str, metadata: Metadata[Any]) -> list[str]:
        """Keys whose signatures count; for a root also those of the root before it, which must approve it."""
        if role == "root":
            roots = [metadata.signed, *([self.effective("root")] if metadata.signed.version > 1 else [])]
            return list(dict.fromkeys(keyid for root in roots for keyid in root.roles["root"].keyids))
        delegator = self.root() if role in TOP_ROLES else self.targets()
        try:
            return delegator.get_delegated_role(role).keyids
        except ValueError:
            raise UsageError(f"{self.folder}: '{role}' is not delegated: penstock-ota repo key {role}") from None

    def _stamp(self, signed: Signed, role: str) -> None:
        now = datetime.fromtimestamp(int(self._clock.unix_s()), UTC)
        days = signed.unrecognized_fields.setdefault(DAYS_FIELD, DAYS.get(role, DAYS_DELEGATED))
        signed.unrecognized_fields[SIGNED_FIELD] = int(now.timestamp())
        signed.expires = now + timedelta(days=days)

    def _order(self) -> list[str]:
        """Delegators before what they delegate to."""
        return ["root", "targets", *(role for role in self.roles() if role not in TOP_ROLES)]

    def _staged(self, role: str) -> Path:
        return self.folder / "staged" / f"{role}.json"

    def _read(self, path: Path) -> Metadata[Any]:
        try:
            return Metadata.from_file(str(path))
        except (RepositoryError, SslibStorageError, ValueError) as error:
            raise UsageError(f"{path}: not usable metadata: {error}") from error


def _meta_file(version: int, data: bytes) -> MetaFile:
    return MetaFile.from_data(version, data, ["sha256"])


def _of_type(signed: Signed, wanted: type[T]) -> T:
    if not isinstance(signed, wanted):
        raise UsageError(f"found metadata of type {signed.type}, expected {wanted.type}")
    return signed
