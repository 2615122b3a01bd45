"""The name section of a built plugin, without what back-traces do not need: they show functions of the plugin itself,
and know the exported ones by their exports."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.store.container import CUSTOM, custom_section, leb128, read_leb128, sections

IMPORTS, EXPORTS = 2, 7  # kinds of sections
FUNCTION = 0  # kind of an import or export
NAMES = b"\x04name"
FUNCTION_NAMES = 1  # part of the name section
FILE = "the built module"


def slim(module: bytes) -> bytes:
    """The module with the names of functions that are neither imported nor exported; one made by wasm-ld."""
    kept, names, imported, exported = bytearray(module[:8]), b"", 0, set[int]()
    for kind, begin, at, end in sections(module, FILE):
        if kind == CUSTOM and module[at:end].startswith(NAMES):
            names = module[at + len(NAMES) : end]
            continue
        kept += module[begin:end]
        if kind == IMPORTS:
            imported = read_leb128(module, at, end, FILE)[0]  # a plugin imports functions only
        if kind == EXPORTS:
            exported = set(_exported_functions(module[at:end]))
    rows = [(index, name) for index, name in _names(names) if index >= imported and index not in exported]
    entries = b"".join(leb128(index) + leb128(len(name)) + name for index, name in rows)
    body = leb128(len(rows)) + entries
    return bytes(kept) + custom_section("name", bytes([FUNCTION_NAMES]) + leb128(len(body)) + body)


def _exported_functions(data: bytes) -> Iterator[int]:
    count, at = read_leb128(data, 0, len(data), FILE)
    for _ in range(count):
        length, at = read_leb128(data, at, len(data), FILE)
        kind = data[at + length]
        index, at = read_leb128(data, at + length + 1, len(data), FILE)
        if kind == FUNCTION:
            yield index


def _names(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Of functions, in the order of their index."""
    at = 0
    while at < len(data):
        kind = data[at]
        size, at = read_leb128(data, at + 1, len(data), FILE)
        part, at = data[at : at + size], at + size
        if kind != FUNCTION_NAMES:
            continue
        count, where = read_leb128(part, 0, len(part), FILE)
        for _ in range(count):
            index, where = read_leb128(part, where, len(part), FILE)
            length, where = read_leb128(part, where, len(part), FILE)
            yield index, part[where : where + length]
            where += length
