"""Tiny WebAssembly plugins, assembled byte by byte: no compiler needed."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

OK = b"\x41\x00"  # i32.const 0
REFUSE = b"\x41\x01"  # i32.const 1
TRAP = b"\x00"  # unreachable
ENDLESS = b"\x03\x40\x0c\x00\x0b"  # loop br 0 end
MEMORY = 2
NOTHING, INIT, HAL, ON_RECORDS = range(4)  # function types
TYPES = (b"\x60\0\0", b"\x60\0\1\x7f", b"\x60\1\x7f\1\x7e", b"\x60\1\x7f\0")


def section(number: int, items: Sequence[bytes]) -> bytes:
    """A section that is a vector of ``items``; both counts below 128."""
    body = bytes([len(items)]) + b"".join(items)
    return bytes([number, len(body)]) + body


def name(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def module(*, imports: str = "", init: bytes = OK, on_records: bytes = b"") -> bytes:
    """A plugin whose entry points run the given instructions. ``imports``: a HAL function of type (i32) -> i64."""
    functions = [("pen_abi_1", NOTHING, b""), ("pen_init", INIT, init), ("pen_on_records", ON_RECORDS, on_records)]
    first = 1 if imports else 0
    exports = [name(text) + bytes([0, first + index]) for index, (text, _, _) in enumerate(functions)]
    bodies = [b"\0" + code + b"\x0b" for _, _, code in functions]
    return b"".join(
        [
            b"\0asm\1\0\0\0",
            section(1, TYPES),
            section(2, [name("hal") + name(imports) + bytes([0, HAL])] if imports else []),
            section(3, [bytes([kind]) for _, kind, _ in functions]),
            section(5, [b"\0\1"]),
            section(7, [name("memory") + bytes([MEMORY, 0]), *exports]),
            section(10, [bytes([len(body)]) + body for body in bodies]),
        ]
    )


# ---- modules of any functions ----

LETTERS = {"i": 0x7F, "l": 0x7E, "f": 0x7D, "d": 0x7C, "v": 0x7B, "r": 0x70, "x": 0x6F}


@dataclass(frozen=True, slots=True)
class Code:
    """A function: type in letters (i32, l64, f32, d64, v128, funcref, xternref), instructions without the last end."""

    export: str
    params: str
    results: str
    body: bytes
    name: str = ""  # for the name section


def signature(params: str, results: str) -> bytes:
    """A function type."""
    return b"\x60" + b"".join(bytes([len(text), *(LETTERS[letter] for letter in text)]) for text in (params, results))


def constant(value: int) -> bytes:
    """i32.const, of the bits of ``value``."""
    signed, encoded = value - ((value & 1 << 31) << 1), bytearray(b"\x41")
    while not -64 <= signed < 64:
        encoded.append(signed & 0x7F | 0x80)
        signed >>= 7
    return bytes([*encoded, signed & 0x7F])


def stores(data: bytes) -> bytes:
    """Code that puts ``data`` at address 0, four bytes at a time."""
    words = struct.iter_unpack("<I", data + bytes(-len(data) % 4))
    return b"".join(constant(4 * at) + constant(word) + b"\x36\2\0" for at, (word,) in enumerate(words))


def counted(data: bytes) -> bytes:
    """Its length in two bytes, then the data."""
    return bytes([len(data) & 0x7F | 0x80, len(data) >> 7]) + data


def library(
    *functions: Code, imports: Sequence[tuple[str, str, str, str]] = (), memory: bytes = b"", globals_: bytes = b""
) -> bytes:
    """A module of these functions. ``imports``: module, name, parameters, results of functions; ``memory``: its limits;
    ``globals_``: one global's type and initial value."""
    types = [signature(params, results) for *_, params, results in imports]
    types += [signature(one.params, one.results) for one in functions]
    first = len(imports)
    exports = [name(one.export) + bytes([0, first + at]) for at, one in enumerate(functions) if one.export]
    exports += [name("memory") + bytes([MEMORY, 0])] if memory else []
    bodies = [counted(b"\0" + one.body + b"\x0b") for one in functions]
    names = b"".join(bytes([first + at]) + name(one.name) for at, one in enumerate(functions) if one.name)
    named = sum(1 for one in functions if one.name)
    parts = [
        (1, types),
        (2, [name(home) + name(what) + bytes([0, at]) for at, (home, what, _, _) in enumerate(imports)]),
        (3, [bytes([first + at]) for at in range(len(functions))]),
        (5, [memory] if memory else []),
        (6, [globals_] if globals_ else []),
        (7, exports),
        (10, bodies),
    ]
    whole = [bytes([kind]) + counted(bytes([len(items)]) + b"".join(items)) for kind, items in parts if items]
    if names:
        whole.append(b"\0" + counted(name("name") + b"\1" + counted(bytes([named]) + names)))
    return b"\0asm\1\0\0\0" + b"".join(whole)
