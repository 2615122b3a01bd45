"""Trust for a bundle: the same signatures as online, but fresh for as long as the offline *bundle* role says.

A bundle is a tar file with ``metadata/`` and ``targets/``. The bundle role takes the part of snapshot and timestamp: it
signs which versions of the other roles' metadata belong together. It cannot sign artefacts, and floors hold as online.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from securesystemslib.exceptions import StorageError as SslibStorageError
from tuf.api import exceptions
from tuf.api.metadata import DelegatedRole, Metadata, Root, Targets
from tuf.api.serialization import DeserializationError

from ota.clock import Cancel
from ota.errors import TransferError, TrustError, UsageError
from ota.ports import Request
from ota.trust.client import Anchor, Catalogue, TrustClient, keys_of, read_catalogue, seen_of, trust_error
from ota.trust.envelope import check_encoding, check_signatures
from ota.trust.model import BUNDLE_ROLE, check_name, role_of

METADATA_BYTES_MAX = 1024 * 1024
ROOTS_MAX = 64
BASE = "bundle:/targets"

Read = Callable[[str], bytes | None]


class Bundle:
    """A bundle file; its targets are read in place, nothing is unpacked. Also the Fetcher for its targets."""

    def __init__(self, path: Path, cancel: Cancel) -> None:
        self._path = path
        self._cancel = cancel
        try:
            self._tar = tarfile.open(path, "r:")  # noqa: SIM115
            self._members = {member.name: member for member in self._tar.getmembers() if member.isreg()}
        except (OSError, tarfile.TarError) as error:
            raise UsageError(f"{path}: not a bundle: {error}") from error

    def __enter__(self) -> Bundle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tar.close()

    def read(self, name: str) -> bytes | None:
        """A metadata file, or None."""
        member = self._members.get(f"metadata/{name}")
        if member is None:
            return None
        if member.size > METADATA_BYTES_MAX:
            raise TrustError("metadata-oversized", f"{self._path}: {name} is longer than {METADATA_BYTES_MAX} bytes")
        return self.bytes_of(member, 0, member.size)

    def open(self, request: Request) -> BundleResponse:
        """See Fetcher."""
        member = self._members.get(request.url.removeprefix("bundle:/"))
        if member is None:
            raise TransferError("http-gone", f"{self._path}: holds no {request.url}", retry=False)
        return BundleResponse(self, member, request.first)

    def bytes_of(self, member: tarfile.TarInfo, offset: int, size: int) -> bytes:
        """A part of a member."""
        self._cancel.check()
        try:
            file = self._tar.extractfile(member)
            assert file is not None
            file.seek(offset)
            return file.read(size)
        except (OSError, tarfile.TarError) as error:
            raise TransferError("bundle-read", f"{self._path}: cannot be read: {error}", retry=False) from error


class BundleResponse:
    """See Response."""

    etag = ""

    def __init__(self, bundle: Bundle, member: tarfile.TarInfo, first: int) -> None:
        self.first = first
        self.total = member.size
        self._bundle = bundle
        self._member = member
        self._at = first

    def read(self, size: int) -> bytes:
        """See Response."""
        data = self._bundle.bytes_of(self._member, self._at, min(size, self.total - self._at))
        self._at += len(data)
        return data

    def close(self) -> None:
        """See Response."""


def bundle_catalogue(read: Read, anchor: Anchor, client: TrustClient, kind: str, owner: str) -> Catalogue:
    """What a bundle offers for an owner. Raises TrustError."""
    check_name(f"{kind}/{owner}/x")
    role = role_of(kind, owner)
    now = datetime.fromtimestamp(client.time_s(), UTC)
    try:
        root = _root(read, anchor)
        targets = _role(read, "targets", root)
        bundle = _role(read, BUNDLE_ROLE, targets)
        own = _role(read, role, targets)
        for name, signed in (("root", root), ("targets", targets), (BUNDLE_ROLE, bundle), (role, own)):
            if signed.is_expired(now):
                raise exceptions.ExpiredMetadataError(f"{name} is expired")
        for name in ("targets", role):
            entry = bundle.targets.get(f"{BUNDLE_ROLE}/{name}.json")
            if entry is None:
                raise TrustError("bundle-incomplete", f"bundle: its role does not vouch for {name}")
            entry.verify_length_and_hashes(_needed(read, f"{name}.json"))
        chain = _chain(root, targets, bundle, role, own)
        client.remember([seen_of(name, signed, keys_of(above, name)) for name, signed, above in chain])
        delegation = targets.get_delegated_role(role)
    except exceptions.RepositoryError as error:
        raise trust_error(error, client.time_s()) from error
    except (DeserializationError, SslibStorageError, ValueError) as error:
        raise TrustError("metadata-invalid", f"bundle: metadata refused: {error}") from error
    assert isinstance(delegation, DelegatedRole)
    entries = {name: entry for name, entry in own.targets.items() if delegation.is_delegated_path(name)}
    return read_catalogue(sorted(own.targets), entries.get)


def _chain(root: Root, targets: Targets, bundle: Targets, role: str, own: Targets) -> list[tuple[str, Any, Any]]:
    return [("root", root, root), ("targets", targets, root), (BUNDLE_ROLE, bundle, targets), (role, own, targets)]


def _root(read: Read, anchor: Anchor) -> Root:
    """From the image's root, version by version, each signed by the one before it and by itself."""
    root = Metadata[Root].from_bytes(anchor.root).signed
    for _ in range(ROOTS_MAX):
        data = read(f"{root.version + 1}.root.json")
        if data is None:
            return root
        check_encoding("root", data)
        check_signatures("root", data, root)
        fresh = Metadata[Root].from_bytes(data)
        root.verify_delegate("root", fresh.signed_bytes, fresh.signatures)
        fresh.signed.verify_delegate("root", fresh.signed_bytes, fresh.signatures)
        if fresh.signed.version != root.version + 1:
            raise exceptions.BadVersionNumberError(f"root version {fresh.signed.version} after {root.version}")
        root = fresh.signed
    raise TrustError("metadata-version", f"bundle: more than {ROOTS_MAX} new roots")


def _role(read: Read, role: str, delegator: Root | Targets) -> Targets:
    data = _needed(read, f"{role}.json")
    check_encoding(role, data)
    if role == BUNDLE_ROLE:  # which has the hashes of the others
        check_signatures(role, data, delegator)
    metadata = Metadata[Targets].from_bytes(data)
    if not isinstance(metadata.signed, Targets):
        raise TrustError("metadata-invalid", f"bundle: {role}.json is not targets metadata")
    delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    return metadata.signed


def _needed(read: Read, name: str) -> bytes:
    data = read(name)
    if data is None:
        raise TrustError("bundle-incomplete", f"bundle: holds no metadata/{name}")
    return data
