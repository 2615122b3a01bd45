"""Apply a patch: source and patch in, result out, in constant memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from ota.clock import Cancel
from ota.delta.reader import Add, Insert, Operation, Read, operations
from ota.errors import DeltaError, TrustError
from ota.ports import Storage
from ota.trust.model import PIECE_BYTES, Artefact, Patch

PIECE = 256 * 1024


def apply_patch(patch: Patch, to: Artefact, bytes_of: tuple[Storage, Read], target: Storage, cancel: Cancel) -> None:
    """Write ``to`` into ``target`` from ``bytes_of`` = (source, patch). The caller checks the result's hash.

    Raises DeltaError: the patch is not one, or reaches outside the source; StorageError; Cancelled; and what reading
    the patch raises.
    """
    source, read = bytes_of
    parts = operations(read, to.file.length, patch.delta.compression)
    out, written = bytearray(), 0
    for data in _results(parts, source, patch.delta.source.length):
        cancel.check()
        out += data
        if len(out) >= PIECE:
            target.write_at(written, bytes(out))
            written += len(out)
            out.clear()
    target.write_at(written, bytes(out))
    target.sync()


def _results(parts: Iterator[Operation], source: Storage, length: int) -> Iterator[bytes]:
    at = 0
    for part in parts:
        match part:
            case Add(data):
                if at < 0 or at + len(data) > length:
                    raise DeltaError("patch-range", f"patch: reads source bytes {at} to {at + len(data)} of {length}")
                yield add_bytes(source.read_at(at, len(data)), data)
                at += len(data)
            case Insert(data):
                yield data
            case _:
                at += part.step


def add_bytes(one: bytes, other: bytes) -> bytes:
    """Each byte's sum modulo 256, as one addition of long integers with the top bits apart."""
    if len(one) != len(other):
        raise DeltaError("patch-range", f"patch: the source gave {len(one)} of {len(other)} bytes")
    if not any(other):
        return one
    size = len(one)
    low, top = int.from_bytes(b"\x7f" * size, "little"), int.from_bytes(b"\x80" * size, "little")
    left, right = int.from_bytes(one, "little"), int.from_bytes(other, "little")
    return (((left & low) + (right & low)) ^ ((left ^ right) & top)).to_bytes(size, "little")


class StorageReader:
    """A patch that is all there, as ``operations`` reads it."""

    def __init__(self, storage: Storage, length: int) -> None:
        self._storage = storage
        self._length = length
        self._at = 0

    def __call__(self, size: int) -> bytes:
        """The next bytes, ``b""`` at the end."""
        data = self._storage.read_at(self._at, min(size, self._length - self._at))
        self._at += len(data)
        return data


class ArrivingReader:
    """A patch that is still being fetched: waits for a piece, checks its signed hash, then lets it be read.

    ``arrivals``: yields how many bytes are there. ``pieces``: the SHA-256 of each ``PIECE_BYTES``; without them nothing
    is read before all of it is there and was checked by whoever fetches.
    """

    def __init__(self, storage: Storage, patch: Patch, arrivals: Iterator[int]) -> None:
        self._storage = storage
        self._patch = patch
        self._arrivals = arrivals
        self._there = self._at = 0
        self._piece = memoryview(b"")

    def __call__(self, size: int) -> bytes:
        """The next bytes, ``b""`` at the end. Raises TrustError, and what fetching raises."""
        if not self._piece and self._at < self._patch.file.length:
            self._load()
        data, self._piece = bytes(self._piece[:size]), self._piece[size:]
        return data

    def _load(self) -> None:
        length, pieces = self._patch.file.length, self._patch.delta.pieces
        end = min(self._at + PIECE_BYTES, length)
        while self._there < (end if pieces else length):
            self._there = next(self._arrivals, length)
        if not pieces and self._at == 0:
            for _ in self._arrivals:  # ends with the check of the whole
                pass
        data = self._storage.read_at(self._at, end - self._at)
        if pieces and hashlib.sha256(data).hexdigest() != pieces[self._at // PIECE_BYTES]:
            message = f"{self._patch.file.name}: bytes {self._at} to {end} are not what was signed; discarded"
            raise TrustError("target-hash", message)
        self._piece, self._at = memoryview(data), end
