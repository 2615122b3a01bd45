"""Make patches, on the build side. Memory: about six times the source; time: minutes for large images."""

from __future__ import annotations

import hashlib
import io
import lzma
from pathlib import Path

import detools

from ota.errors import UsageError
from ota.trust.model import PIECE_BYTES, Delta, File, Source

ALGORITHM = "detools-sequential"
SHARE_MAX = 60  # percent of the compressed artefact; a larger patch is not worth its risk
WINDOW, LOOKAHEAD = 12, 8  # heatshrink, powers of two: 4 KiB of memory, 256 bytes per reference
MEMORY = {"lzma": 10 * 1024 * 1024, "heatshrink": 2 * 1024 * 1024}


def make_patch(source: Path | None, to: Path, out: Path, compression: str) -> None:
    """Write a patch file; without a source it is the compressed artefact itself. Raises UsageError."""
    try:
        with to.open("rb") as target, out.open("wb") as patch:
            old = source.open("rb") if source is not None else io.BytesIO()
            with old:
                detools.create_patch(
                    old,
                    target,
                    patch,
                    compression=compression,
                    heatshrink_window_sz2=WINDOW,
                    heatshrink_lookahead_sz2=LOOKAHEAD,
                )
    except (OSError, detools.Error) as error:
        raise UsageError(f"{source or 'nothing'} -> {to}: no patch could be made: {error}") from error


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
