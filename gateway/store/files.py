"""Files that are replaced as a whole and tell by a hash whether they are whole.

Each is one JSON object ``{"blake3": "…", "body": …}``; the hash is that of the bytes of the body.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import re
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from gateway.digest import content_hash
from gateway.errors import StoreError
from gateway.store.storage import Storage

T = TypeVar("T")

TEMPORARY = ".tmp"
ASIDE = "set_aside"  # damaged files, for whoever wants to know what happened
ASIDE_MAX = 8
_log = logging.getLogger("penstock.store")


class _Sealed(msgspec.Struct):
    blake3: str
    body: msgspec.Raw


class Damaged(Exception):
    """A file is not what was written: half of it, or something else. ``str()`` tells how."""


def seal(body: object) -> bytes:
    """The bytes of a file with the given body."""
    raw = msgspec.json.format(msgspec.json.encode(body), indent=1)
    return b'{"blake3": "%s", "body": %s}\n' % (content_hash(raw).encode(), raw)


def unseal(data: bytes, kind: type[T]) -> T:
    """The body of a file. Raises Damaged."""
    try:
        sealed = msgspec.json.decode(data, type=_Sealed)
        if content_hash(bytes(sealed.body)) != sealed.blake3:
            raise Damaged("its contents do not have the hash that it states")
        return msgspec.json.decode(sealed.body, type=kind)
    except msgspec.MsgspecError as error:
        raise Damaged(f"{len(data)} bytes, {error}") from None


def replace_file(storage: Storage, folder: str, name: str, data: bytes) -> None:
    """Replace a file so that a power cut at any moment leaves the old or the new one. Raises StoreError."""
    path, temporary = join(folder, name), join(folder, name + TEMPORARY)
    try:
        storage.write(temporary, data)
        storage.fsync(temporary)
        storage.rename(temporary, path)
        storage.fsync_dir(folder)
    except OSError as error:
        with contextlib.suppress(OSError):  # the next start removes it
            storage.unlink(temporary)
        raise StoreError("storage", f"{path}: cannot be written: {reason(error)}; the old one stays") from None


def load_sealed(storage: Storage, folder: str, name: str, kind: type[T]) -> tuple[T | None, str]:
    """What a sealed file says, and what is wrong with it: (None, "") when there is none. A damaged one is set aside."""
    path = join(folder, name)
    try:
        return unseal(storage.read(path), kind), ""
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"{path} cannot be read: {reason(error)}"
    except Damaged as damage:
        set_aside(storage, path)
        return None, f"{path} is damaged ({damage}) and was set aside"


def set_aside(storage: Storage, path: str) -> None:
    """Move a damaged file out of the way, where at most ASIDE_MAX are kept."""
    target = join(ASIDE, re.sub("^.*/", "", path))
    try:
        storage.rename(path, target)
        crowd = [name for name in storage.list(ASIDE) if join(ASIDE, name) != target]
        discard(storage, ASIDE, crowd[: max(len(crowd) - ASIDE_MAX + 1, 0)])
    except OSError as error:
        _log.warning("%s cannot be set aside: %s", path, reason(error))


def discard(storage: Storage, folder: str, names: Sequence[str]) -> None:
    """Remove files that nobody needs, for good; what cannot be removed is told and left."""
    try:
        for name in names:
            storage.unlink(join(folder, name))
        if names:
            storage.fsync_dir(folder)
    except OSError as error:
        _log.warning("%s cannot be removed: %s", ", ".join(join(folder, name) for name in names), reason(error))


def join(folder: str, name: str) -> str:
    """A path below the first folder, which is ""."""
    return f"{folder}/{name}" if folder else name


def reason(error: OSError) -> str:
    """Why, with what to do where that is known."""
    hint = {errno.ENOSPC: "; make room and try again", errno.EROFS: "; mount it writable"}.get(error.errno or 0, "")
    return f"{error.strerror or error}{hint}"
