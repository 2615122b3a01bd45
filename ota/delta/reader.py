"""The sequential patch format of detools, read as a stream. Pure: compressed bytes in, operations out.

    byte 0      patch type (0: sequential) << 4 | compression (1: LZMA, 4: heatshrink)
    size        length of the result
    compressed  data format size (0), then until the result is complete:
                size, that many bytes to add to source bytes; size, that many new bytes; size, signed step in the source

A *size* has six bits and a sign in its first byte, seven in each that follows, the highest bit says that one follows.
The patch's own hash is checked before any of this runs; every length is bounded all the same.
"""

from __future__ import annotations

import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from heatshrink2.core import Encoder, Reader

from ota.errors import DeltaError

LZMA, HEATSHRINK = 1, 4
COMPRESSIONS = {"lzma": LZMA, "heatshrink": HEATSHRINK}
LZMA_MEMORY_MAX = 16 * 1024 * 1024
INPUT = 1024  # heatshrink may answer with 128 times as much
OUTPUT = 64 * 1024
SIZE_BYTES_MAX = 9


@dataclass(frozen=True, slots=True)
class Add:
    """Add to the next source bytes, each byte modulo 256."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Insert:
    """New bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Seek:
    """Move in the source, forwards or backwards."""

    step: int


Operation = Add | Insert | Seek
Read = Callable[[int], bytes]


class _Expander(Protocol):
    """Compressed bytes in, plain bytes out. ``hungry``: it can go on only with more input."""

    @property
    def hungry(self) -> bool: ...

    def feed(self, data: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


class _Plain:
    """For the head, which is not compressed."""

    hungry = True

    def feed(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


class _Lzma:
    def __init__(self) -> None:
        self._decoder = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=LZMA_MEMORY_MAX)

    def feed(self, data: bytes) -> bytes:
        """All output is bounded by asking for a piece at a time; b"" in: more of what is pending."""
        if self._decoder.eof:
            return b""
        return self._decoder.decompress(data, OUTPUT)

    @property
    def hungry(self) -> bool:
        return self._decoder.needs_input and not self._decoder.eof

    def finish(self) -> bytes:
        return b""


class _Heatshrink:
    hungry = True

    def __init__(self) -> None:
        self._decoder: Encoder | None = None

    def feed(self, data: bytes) -> bytes:
        if self._decoder is None and data:
            window, lookahead = (data[0] >> 4) + 4, (data[0] & 15) + 3
            self._decoder = Encoder(Reader(window_sz2=window, lookahead_sz2=lookahead))
            data = data[1:]
        return bytes(self._decoder.fill(data)) if self._decoder is not None and data else b""

    def finish(self) -> bytes:
        return bytes(self._decoder.finish()) if self._decoder is not None else b""


class _Stream:
    """Decompressed bytes on demand."""

    def __init__(self, read: Read, expander: _Expander, piece: int = INPUT) -> None:
        self._read = read
        self._expander = expander
        self._piece = piece
        self._ready = b""
        self._at = 0
        self._ended = False

    def take(self, most: int) -> bytes:
        """At least one and at most ``most`` bytes. Raises DeltaError at the end."""
        while self._at == len(self._ready):
            self._fill()
        data = self._ready[self._at : self._at + most]
        self._at += len(data)
        return data

    def size(self) -> int:
        """A packed number."""
        first = self.take(1)[0]
        value, shift, more = first & 0x3F, 6, first & 0x80
        while more:
            if shift > 7 * SIZE_BYTES_MAX:
                raise DeltaError("patch-format", "patch: a number is too long")
            byte = self.take(1)[0]
            value, shift, more = value | (byte & 0x7F) << shift, shift + 7, byte & 0x80
        return -value if first & 0x40 else value

    def length(self, most: int) -> int:
        """A packed number from 0 to ``most``."""
        size = self.size()
        if not 0 <= size <= most:
            raise DeltaError("patch-format", f"patch: length {size} where at most {most} bytes are left")
        return size

    def _fill(self) -> None:
        if self._ended:
            raise DeltaError("patch-format", "patch: ends too early")
        data = self._read(self._piece) if self._expander.hungry else b""
        try:
            if not data and self._expander.hungry:
                self._ready, self._ended = self._expander.finish(), True
            else:
                self._ready = self._expander.feed(data)
        except (lzma.LZMAError, MemoryError, RuntimeError, ValueError) as error:
            raise DeltaError("patch-format", f"patch: cannot be decompressed: {error}") from error
        self._at = 0


def operations(read: Read, length: int, compression: str) -> Iterator[Operation]:
    """What a patch does, in order, at most 64 KiB at a time. ``read(n)`` gives the patch's bytes, ``b""`` at its end.

    ``length`` and ``compression`` are the signed ones; a patch that says otherwise raises DeltaError.
    """
    head = _Stream(read, _Plain(), piece=1)
    kind = head.take(1)[0]
    if kind != COMPRESSIONS[compression]:
        raise DeltaError("patch-format", f"patch: type {kind >> 4}, compression {kind & 15}; signed: {compression}")
    stated = head.size()
    if stated != length:
        raise DeltaError("patch-format", f"patch: gives {stated} bytes, signed are {length}")
    stream = _Stream(read, _Lzma() if compression == "lzma" else _Heatshrink())
    if length and stream.size() != 0:
        raise DeltaError("patch-format", "patch: needs a data format, which is not supported")
    left = length
    while left:
        for kind_of in (Add, Insert):
            part = stream.length(left)
            left -= part
            while part:
                data = stream.take(min(part, OUTPUT))
                part -= len(data)
                yield kind_of(data)
        yield Seek(stream.size())
