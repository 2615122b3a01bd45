"""Checking bytes against what was signed about them, in one pass."""

from __future__ import annotations

import hashlib
from typing import Protocol

import blake3

from ota.errors import StorageError
from ota.ports import Storage

PIECE = 128 * 1024


class Running(Protocol):
    """A hash that is being computed."""

    def update(self, data: bytes, /) -> object:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """The digest of all bytes so far."""


def sha256_of(storage: Storage, length: int) -> str:
    """Hex digest of the first ``length`` bytes. Raises StorageError when there are fewer."""
    return _digest(storage, length, [hashlib.sha256()])[0]


def both_of(storage: Storage, length: int) -> tuple[str, str]:
    """(sha256, blake3) of the first ``length`` bytes, read once. Raises StorageError when there are fewer."""
    sha256, fast = _digest(storage, length, [hashlib.sha256(), blake3.blake3()])
    return sha256, fast


def _digest(storage: Storage, length: int, running: list[Running]) -> list[str]:
    offset = 0
    while offset < length:
        data = storage.read_at(offset, min(PIECE, length - offset))
        if not data:
            raise StorageError("short", f"{storage.name}: ends after {offset} of {length} bytes")
        for one in running:
            one.update(data)
        offset += len(data)
    return [one.hexdigest() for one in running]
