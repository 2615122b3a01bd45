"""What a module imports and exports, read from its bytes, and the same module exporting all it has.

Knows what the generator of ``differential.py`` makes: value types of one byte, no exceptions. ShapeError otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

TYPES = {0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64", 0x7B: "v128", 0x70: "funcref", 0x6F: "externref"}
FUNC, TABLE, MEMORY, GLOBAL = range(4)
_TYPE, _IMPORT, _FUNCTION, _TABLES, _MEMORIES, _GLOBALS, _EXPORT = range(1, 8)
_AFTER_EXPORT = (8, 9, 10, 11, 12)


class ShapeError(Exception):
    """The bytes are not what this reader knows."""


Signature = tuple[list[str], list[str]]


@dataclass(frozen=True, slots=True)
class Shape:
    """``imports``: (module, name, signature) of functions. ``exports``: (name, kind, signature of functions)."""

    imports: list[tuple[bytes, bytes, Signature]]
    exports: list[tuple[bytes, int, Signature | None]]


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def byte(self) -> int:
        if self.at >= len(self.data):
            raise ShapeError("unexpected end")
        self.at += 1
        return self.data[self.at - 1]

    def u32(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def take(self, count: int) -> bytes:
        self.at += count
        if self.at > len(self.data):
            raise ShapeError("unexpected end")
        return self.data[self.at - count : self.at]

    def name(self) -> bytes:
        return self.take(self.u32())

    def types(self) -> list[str]:
        found = list(self.take(self.u32()))
        if unknown := [byte for byte in found if byte not in TYPES]:
            raise ShapeError(f"value type 0x{unknown[0]:02x}")
        return [TYPES[byte] for byte in found]

    def signature(self) -> Signature:
        if self.byte() != 0x60:
            raise ShapeError("not a function type")
        return self.types(), self.types()


def u32(value: int) -> bytes:
    """LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def sections(wasm: bytes) -> Iterator[tuple[int, bytes]]:
    """(id, content) in order. Raises ShapeError."""
    reader = _Reader(wasm)
    if reader.take(8) != b"\0asm\x01\0\0\0":
        raise ShapeError("not a module")
    while reader.at < len(wasm):
        yield reader.byte(), reader.name()


def _count(content: bytes) -> int:
    return _Reader(content).u32() if content else 0


def read_shape(wasm: bytes) -> Shape:
    """Imports and exports with their types. Raises ShapeError."""
    content = dict(sections(wasm))
    reader = _Reader(content.get(_TYPE, b"\0"))
    types = [reader.signature() for _ in range(reader.u32())]
    imports = []
    reader = _Reader(content.get(_IMPORT, b"\0"))
    for _ in range(reader.u32()):
        module, name = reader.name(), reader.name()
        if reader.byte() != FUNC:
            raise ShapeError("an import that is not a function")
        imports.append((module, name, types[reader.u32()]))
    reader = _Reader(content.get(_FUNCTION, b"\0"))
    functions = [kind for _, _, kind in imports] + [types[reader.u32()] for _ in range(reader.u32())]
    exports = []
    reader = _Reader(content.get(_EXPORT, b"\0"))
    for _ in range(reader.u32()):
        name, what, index = reader.name(), reader.byte(), reader.u32()
        exports.append((name, what, functions[index] if what == FUNC else None))
    return Shape(imports, exports)


def export_everything(wasm: bytes) -> bytes:
    """The module with one more export for each of its tables, memories and globals; imports are functions."""
    content = dict(sections(wasm))
    old = content.get(_EXPORT, b"\0")
    reader = _Reader(old)
    count, added = reader.u32(), []
    for kind, section in ((TABLE, _TABLES), (MEMORY, _MEMORIES), (GLOBAL, _GLOBALS)):
        for index in range(_count(content.get(section, b""))):
            name = f"all {kind} {index}".encode()
            added.append(u32(len(name)) + name + bytes([kind]) + u32(index))
    content[_EXPORT] = u32(count + len(added)) + old[reader.at :] + b"".join(added)
    order = [number for number in content if number not in _AFTER_EXPORT and number != _EXPORT and number != 0]
    order += [_EXPORT, *(number for number in content if number in _AFTER_EXPORT)]
    return wasm[:8] + b"".join(bytes([number]) + u32(len(content[number])) + content[number] for number in order)
