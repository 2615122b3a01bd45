"""How far a download has come, as an append-only file. Pure: bytes in, checkpoints out.

    head   magic, length of the head's text, JSON {sha256, length, etag}, CRC-32
    then   checkpoints: offset (u64), SHA-256 of all bytes before it (32 bytes), CRC-32 of both

Data is synced before the checkpoint that mentions it is written. A checkpoint can still be ahead of the data (a card
that lies about syncing): its hash then does not fit, and an earlier one counts. Data beyond the last checkpoint
is ignored.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import msgspec

MAGIC = b"PSDJ\x01"
_LENGTH = struct.Struct("<H")
_CRC = struct.Struct("<I")
_POINT = struct.Struct("<Q32s")
POINT_BYTES = _POINT.size + _CRC.size
FILE_BYTES_MAX = 64 * 1024 * 1024


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is being fetched: another hash, length or entity tag is another download."""

    sha256: str
    length: int
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """``digest``: SHA-256 of the bytes before ``offset``."""

    offset: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Journal:
    """A parsed file. ``size``: bytes of it that are intact; what follows was torn and is to be cut off."""

    head: Head
    points: tuple[Checkpoint, ...]
    size: int


def encode_head(head: Head) -> bytes:
    """The start of a journal file."""
    text = msgspec.json.encode(head)
    body = MAGIC + _LENGTH.pack(len(text)) + text
    return body + _CRC.pack(zlib.crc32(body))


def encode_point(point: Checkpoint) -> bytes:
    """One appended record."""
    body = _POINT.pack(point.offset, point.digest)
    return body + _CRC.pack(zlib.crc32(body))


def parse(data: bytes) -> Journal | None:
    """Everything up to the first torn, damaged or unordered record; None without an intact head."""
    start = len(MAGIC) + _LENGTH.size
    if not data.startswith(MAGIC) or len(data) < start:
        return None
    end = start + int(_LENGTH.unpack_from(data, len(MAGIC))[0])
    if not _crc_fits(data, 0, end):
        return None
    try:
        head = msgspec.json.decode(data[start:end], type=Head)
    except msgspec.DecodeError:
        return None
    points: list[Checkpoint] = []
    at = end + _CRC.size
    while _crc_fits(data, at, at + _POINT.size):
        offset, digest = _POINT.unpack_from(data, at)
        if not (points[-1].offset if points else 0) < offset <= head.length:
            break
        points.append(Checkpoint(offset, digest))
        at += POINT_BYTES
    return Journal(head, tuple(points), at)


def _crc_fits(data: bytes, start: int, end: int) -> bool:
    return end + _CRC.size <= len(data) and _CRC.unpack_from(data, end)[0] == zlib.crc32(data[start:end])
