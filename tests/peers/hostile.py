"""Plugins in C that do what they must not, compiled with the SDK; and where in their code a trap says it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.app.plugin_build import build

MANIFEST = """\
name = "hostile"
version = "1.0.0"
abi = 1
kind = "etl"
summary = "does what it must not"
[capabilities]
hal = [{hal}]
[limits]
memory_bytes = 131072
deadline_us = 20000
[rings]
in = "samples"
out = "none"
"""
SOURCE = """\
#include "pen.h"
PEN_ABI_MARKER()
static struct pen_ring *input;
int32_t PEN_EXPORT(pen_init)(void) {{
    input = pen_ring_in(0);
    return input != NULL ? 0 : 1;
}}
static __attribute__((noinline)) void misbehave(volatile struct pen_record *record) {{
    {deed}
}}
void PEN_EXPORT(pen_on_records)(int32_t ring) {{
    (void)ring;
    misbehave((volatile struct pen_record *)(uintptr_t)pen_ring_peek(input));
    input->cursor = input->limit;
}}
"""


def write_plugin(folder: Path, deed: str, *, hal: str = '"ring_in"') -> Path:
    """The plugin "hostile" whose function ``misbehave`` does ``deed`` to the ``record`` at hand; returns its module."""
    home = folder / "plugins" / "hostile"
    home.mkdir(parents=True)
    (home / "plugin.toml").write_text(MANIFEST.format(hal=hal), encoding="utf-8")
    (home / "hostile.c").write_text(SOURCE.format(deed=deed), encoding="utf-8")
    return build(home, home)


@dataclass(frozen=True, slots=True)
class Code:
    """The body of a function: its name and its bytes' place in the module."""

    name: str
    start: int
    end: int


def functions(module: bytes) -> list[Code]:
    """All functions of a module: their names are in the name section or, of exported ones, the exports."""
    sections = {number: (start, end) for number, start, end in _sections(module) if number in (2, 7, 10)}
    names = dict(_exported_functions(module, sections[7][0])) | dict(_function_names(module))
    imports = _number(module, sections[2][0])[0] if 2 in sections else 0  # functions only, in these plugins
    count, at = _number(module, sections[10][0])
    found = []
    for index in range(imports, imports + count):
        size, at = _number(module, at)
        found.append(Code(names[index], at, at + size))
        at += size
    return found


def _number(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number and what follows it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _sections(module: bytes) -> Iterator[tuple[int, int, int]]:
    """(id, start, end) of every section's contents."""
    at = 8
    while at < len(module):
        number = module[at]
        size, at = _number(module, at + 1)
        yield number, at, at + size
        at += size


def _exported_functions(module: bytes, at: int) -> Iterator[tuple[int, str]]:
    count, at = _number(module, at)
    for _ in range(count):
        size, at = _number(module, at)
        name, kind = module[at : at + size].decode(), module[at + size]
        index, at = _number(module, at + size + 1)
        if kind == 0:
            yield index, name


def _function_names(module: bytes) -> Iterator[tuple[int, str]]:
    for number, at, end in _sections(module):
        size, after = _number(module, at)
        if number != 0 or module[after : after + size] != b"name":
            continue
        at = after + size
        while at < end:
            kind, (size, at) = module[at], _number(module, at + 1)
            if kind == 1:
                yield from _name_map(module, at)
            at += size


def _name_map(module: bytes, at: int) -> Iterator[tuple[int, str]]:
    count, at = _number(module, at)
    for _ in range(count):
        index, at = _number(module, at)
        size, at = _number(module, at)
        yield index, module[at : at + size].decode()
        at += size
