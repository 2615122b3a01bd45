"""What is new since a snapshot, as one small static file: ``metadata/news/N`` for devices whose snapshot is version N.

It holds files of ``metadata/``, each compressed with what such a device has of it already; nothing if N is the newest.
It is a short cut and no more: what comes out is verified like the file itself, and where anything is wrong with it the
files are fetched. Pure; the format, big-endian, once for each file:

    u8 length of the name | u16 length of the stream | name | zlib stream with a preset dictionary
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable

NEWS_BYTES_MAX = 32 * 1024
NEWS_SINCE_MAX = 32  # snapshots that there are news for
STREAM_BYTES_MAX = 0xFFFF
_HEAD = struct.Struct(">BH")

Have = Callable[[str], bytes | None]
"""What a device has of a role."""


def write_news(files: Iterable[tuple[str, bytes]], have: Have) -> bytes:
    """``files``: name and contents. Those that do not fit are left out."""
    news = bytearray()
    for name, data in files:
        packer = zlib.compressobj(9, memLevel=9, zdict=_dictionary(name, have))
        stream = packer.compress(data) + packer.flush()
        entry = _HEAD.pack(len(name), len(stream) & STREAM_BYTES_MAX) + name.encode("ascii") + stream
        if len(stream) <= STREAM_BYTES_MAX and len(news) + len(entry) <= NEWS_BYTES_MAX:
            news += entry
    return bytes(news)


def read_news(data: bytes) -> dict[str, bytes]:
    """The stream of each file by its name; what comes after the first damaged entry is left out."""
    streams: dict[str, bytes] = {}
    at = 0
    while at + _HEAD.size <= len(data):
        name_length, length = _HEAD.unpack_from(data, at)
        start = at + _HEAD.size + name_length
        streams[data[at + _HEAD.size : start].decode("ascii", "replace")] = data[start : start + length]
        at = start + length
    return streams


def expand(name: str, stream: bytes, have: Have, limit: int) -> bytes | None:
    """The file, or None where the stream is damaged, starts from something else or gives more than ``limit`` bytes."""
    unpacker = zlib.decompressobj(zdict=_dictionary(name, have))
    try:
        data = unpacker.decompress(stream, limit + 1)
    except zlib.error:
        return None
    return data if unpacker.eof and len(data) <= limit else None


def _dictionary(name: str, have: Have) -> bytes:
    """A timestamp resembles the snapshot, and its key is told in the root; every other file what it was before."""
    role = name.removesuffix(".json").rpartition(".")[2]
    return b"".join(have(known) or b"" for known in (("root", "snapshot") if role == "timestamp" else (role,)))
