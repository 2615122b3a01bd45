"""Apply a patch: source and patch in, result out, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator

from ota.clock import Cancel
from ota.delta.reader import Add, Insert, Operation, operations
from ota.errors import DeltaError
from ota.ports import Storage
from ota.trust.model import Artefact, Patch

PIECE = 256 * 1024


def apply_patch(patch: Patch, to: Artefact, bytes_of: tuple[Storage, Storage], target: Storage, cancel: Cancel) -> None:
    """Write ``to`` into ``target`` from ``bytes_of`` = (source, patch). The caller checks the result's hash.

    Raises DeltaError: the patch is not one, or reaches outside the source; StorageError; Cancelled.
    """
    source, packed = bytes_of
    parts = operations(_Reader(packed, patch.file.length), to.file.length, patch.delta.compression)
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


class _Reader:
    """Reads a Storage from its start, as ``operations`` asks for it."""

    def __init__(self, storage: Storage, length: int) -> None:
        self._storage = storage
        self._length = length
        self._at = 0

    def __call__(self, size: int) -> bytes:
        data = self._storage.read_at(self._at, min(size, self._length - self._at))
        self._at += len(data)
        return data
