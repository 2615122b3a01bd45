"""One copy of the boot state: 512 bytes that U-Boot's ``env import -c`` reads and ``env export -c`` writes.

Layout: CRC-32 (little-endian) of the other 508 bytes, then ``name=value`` strings, each ended by a NUL, an empty one
last, padded with NULs. U-Boot builds with a redundant environment have a flags byte behind the CRC; they use
``boot/uboot_env.py`` instead. Numbers are hexadecimal, as U-Boot's ``setexpr`` and ``itest`` take them.
"""

from __future__ import annotations

import struct
import zlib

from ota.errors import BootError
from ota.ports import BootState

BLOCK_BYTES = 512
SLOTS = ("a", "b")
FIELDS = ("pen_gen", "pen_good", "pen_ok", "pen_trial", "pen_tries")
"""All that the boot script imports. Everything else in a block is ignored, so it cannot set ``bootcmd``."""
GENERATION_MAX = 0x7FFFFFFF
TRIES_MAX = 9


def encode(state: BootState) -> bytes:
    """The block of a state. Raises BootError for a state that the loader could not act on."""
    check(state)
    values = (
        f"{state.generation:x}",
        state.good,
        "".join(sorted(state.valid)),
        state.trial,
        f"{state.tries_left:x}",
    )
    # U-Boot takes "name=" for the removal of the name, which is what an empty value means here.
    text = "".join(f"{name}={value}\0" for name, value in zip(FIELDS, values, strict=True)) + "\0"
    data = text.encode("ascii").ljust(BLOCK_BYTES - 4, b"\0")
    return struct.pack("<I", zlib.crc32(data)) + data


def decode(block: bytes) -> BootState | None:
    """The state in a block; None when it is torn, empty or makes no sense."""
    if len(block) != BLOCK_BYTES:
        return None
    (crc,) = struct.unpack_from("<I", block)
    data = block[4:]
    if zlib.crc32(data) != crc:
        return None
    strings = data.split(b"\0\0", 1)[0].decode("ascii", "replace").split("\0")
    fields = dict(string.split("=", 1) for string in strings if "=" in string)
    try:
        state = BootState(
            generation=int(fields["pen_gen"], 16),
            good=fields["pen_good"],
            trial=fields.get("pen_trial", ""),
            tries_left=int(fields.get("pen_tries", "0") or "0", 16),
            valid=frozenset(fields.get("pen_ok", "")),
        )
        check(state)
    except (KeyError, ValueError, BootError):
        return None
    return state


def newest(copies: list[BootState | None]) -> tuple[BootState | None, int]:
    """The state that holds, and the number of the copy that the next write goes to."""
    best = max(range(len(copies)), key=lambda number: (generation_of(copies[number]), -number))
    older = min(range(len(copies)), key=lambda number: (generation_of(copies[number]), number))
    if copies[best] is None:
        return None, 0
    return copies[best], older if older != best else (best + 1) % len(copies)


def generation_of(state: BootState | None) -> int:
    """Its generation; -1 for a copy that is not intact."""
    return -1 if state is None else state.generation


def check(state: BootState) -> None:
    """Raise BootError for a state that must never be written."""
    problem = ""
    if not 0 < state.generation <= GENERATION_MAX:
        problem = f"generation {state.generation} is not between 1 and {GENERATION_MAX}"
    elif state.good not in SLOTS:
        problem = f"good slot {state.good!r} is none of {', '.join(SLOTS)}"
    elif state.trial not in ("", *SLOTS) or state.trial == state.good:
        problem = f"slot {state.trial!r} cannot be on trial while {state.good!r} is the good one"
    elif not 0 <= state.tries_left <= TRIES_MAX:
        problem = f"{state.tries_left} tries left are not between 0 and {TRIES_MAX}"
    elif not state.valid <= set(SLOTS) or state.good not in state.valid:
        problem = f"valid slots {sorted(state.valid)} must be known ones and contain the good one"
    elif state.trial and state.trial not in state.valid:
        problem = f"slot {state.trial!r} is on trial but holds no complete image"
    if problem:
        raise BootError("boot-state", f"boot state: {problem}")
