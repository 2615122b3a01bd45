"""Make patches, on the build side. Memory: about six times the source; time: minutes for large images.

bsdiff takes time that grows with the square of a run of equal bytes wherever old and new differ by a few bytes in it:
minutes for 2 MiB of free space, hours for 64. So runs are cut out of the new file and written as they are, which costs
next to nothing after compression; bsdiff gets what is between them.
"""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from detools import bsdiff
from detools.suffix_array import divsufsort
from heatshrink2.core import Encoder, Writer

from ota.delta.reader import COMPRESSIONS
from ota.errors import UsageError
from ota.trust.model import PIECE_BYTES, Delta, File, Source

ALGORITHM = "detools-sequential"
SHARE_MAX = 60  # percent of the compressed artefact; a larger patch is not worth its risk
WINDOW, LOOKAHEAD = 12, 8  # heatshrink, powers of two: 4 KiB of memory, 256 bytes per reference
RUN_BLOCK = 16 * 1024  # a run that fills an aligned block of this size is cut out
MEMORY = {"lzma": 10 * 1024 * 1024, "heatshrink": 2 * 1024 * 1024}


class _Packer(Protocol):
    def compress(self, data: bytes) -> bytes: ...

    def flush(self) -> bytes: ...


class _Heatshrink:
    """Begins with a byte that tells both sizes, as detools has it."""

    def __init__(self) -> None:
        self._encoder = Encoder(Writer(window_sz2=WINDOW, lookahead_sz2=LOOKAHEAD))
        self._head = bytes([WINDOW - 4 << 4 | LOOKAHEAD - 3])

    def compress(self, data: bytes) -> bytes:
        head, self._head = self._head, b""
        return head + bytes(self._encoder.fill(data))

    def flush(self) -> bytes:
        return bytes(self._encoder.finish())


def make_patch(source: Path | None, to: Path, out: Path, compression: str) -> None:
    """Write a patch file; without a source it is the compressed artefact itself. Raises UsageError."""
    packer: _Packer = lzma.LZMACompressor(lzma.FORMAT_ALONE) if compression == "lzma" else _Heatshrink()
    try:
        old, new = source.read_bytes() if source is not None else b"", to.read_bytes()
        with out.open("wb") as patch:
            patch.write(bytes([COMPRESSIONS[compression]]) + number(len(new)))
            patch.write(packer.compress(number(0)))
            for piece in _operations(old, new):
                patch.write(packer.compress(piece))
            patch.write(packer.flush())
    except OSError as error:
        raise UsageError(f"{source or 'nothing'} -> {to}: no patch could be made: {error}") from error


def _operations(old: bytes, new: bytes) -> Iterator[bytes]:
    """Five pieces for each step, as in ``reader.py``. Each part of the new file starts at the old one's beginning."""
    suffixes = bytearray(4 * (len(old) + 1))
    divsufsort(old, suffixes)
    for start, end, is_run in parts(new):
        if is_run:
            yield from (number(0), b"", number(end - start), new[start:end], number(0))
            continue
        pieces = bsdiff.create_patch(suffixes, old, new[start:end], bytearray(end - start + 1))
        yield from pieces[:-1]
        at = sum(map(len, pieces[1::5])) + sum(map(value, pieces[4::5]))
        yield number(value(pieces[-1]) - (at if end < len(new) else 0))


def parts(data: bytes) -> Iterator[tuple[int, int, bool]]:
    """(start, end, is a run of equal bytes) of parts that are the whole together. Pure."""
    done = 0
    for at in range(0, len(data) - RUN_BLOCK + 1, RUN_BLOCK):
        if at < done or data[at : at + RUN_BLOCK] != data[at : at + 1] * RUN_BLOCK:
            continue
        start, end = _run_around(data, at, done)
        if start > done:
            yield done, start, False
        yield start, end, True
        done = end
    if done < len(data):
        yield done, len(data), False


def _run_around(data: bytes, at: int, least: int) -> tuple[int, int]:
    """All of the run that fills the block at ``at``, back to ``least`` at most."""
    byte = data[at : at + 1]
    before = data[max(least, at - RUN_BLOCK) : at]
    start, end = at - len(before) + len(before.rstrip(byte)), at + RUN_BLOCK
    while data[end : end + RUN_BLOCK] == byte * RUN_BLOCK:
        end += RUN_BLOCK
    after = data[end : end + RUN_BLOCK]
    return start, end + len(after) - len(after.lstrip(byte))


def number(signed: int) -> bytes:
    """A *size* of the format: six bits and the sign, then seven bits for each further byte. Pure."""
    left, found = abs(signed) >> 6, [abs(signed) & 0x3F | (0x40 if signed < 0 else 0)]
    while left:
        found[-1] |= 0x80
        found.append(left & 0x7F)
        left >>= 7
    return bytes(found)


def value(size: bytes) -> int:
    """What ``number`` has packed. Pure."""
    magnitude = size[0] & 0x3F
    for position, byte in enumerate(size[1:]):
        magnitude |= (byte & 0x7F) << 6 + 7 * position
    return -magnitude if size[0] & 0x40 else magnitude


def describe(source: Source, to: File, compression: str, pieces: tuple[str, ...] = ()) -> Delta:
    """What is signed about a patch. Raises UsageError."""
    if compression not in MEMORY:
        raise UsageError(f"compression {compression!r}: allowed: {', '.join(MEMORY)}")
    packing: str = compression
    return Delta(ALGORITHM, packing, source, to.name, MEMORY[compression], pieces)  # type: ignore[arg-type]


def pieces_of(patch: Path) -> tuple[str, ...]:
    """SHA-256 of each PIECE_BYTES of a patch; none for one that is a single piece: its own hash says the same."""
    with patch.open("rb") as file:
        found = tuple(iter(lambda: file.read(PIECE_BYTES), b""))
    return tuple(hashlib.sha256(piece).hexdigest() for piece in found) if len(found) > 1 else ()


def compressed_length(path: Path) -> int:
    """Length in bytes of a file after LZMA, for comparison."""
    packer, length = lzma.LZMACompressor(lzma.FORMAT_ALONE), 0
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            length += len(packer.compress(data))
    return length + len(packer.flush())
