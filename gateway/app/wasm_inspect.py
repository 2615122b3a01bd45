"""``penstock wasm inspect``: what is in a module and how much room it takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from gateway.config import manifest
from gateway.signature import ExternKind, ExternType
from gateway.wasm import Module

HEADER_BYTES = 8
CUSTOM, CODE = 0, 10
SECTION_NAMES = (
    "custom", "type", "import", "function", "table", "memory", "global", "export", "start", "element", "code", "data",
    "data count", "tag",
)  # fmt: skip


class Section(msgspec.Struct, frozen=True):
    """A section; ``offset`` and ``bytes`` are those of its contents, ``custom`` is the name of a custom one."""

    id: int
    name: str
    offset: int
    bytes: int
    custom: str = ""


class Extern(msgspec.Struct, frozen=True):
    """Something imported, exported, or else a memory or table; ``index`` counts what the module has of this kind."""

    kind: str
    index: int
    type: str
    name: str = ""
    module: str = ""


class Function(msgspec.Struct, frozen=True):
    """A function with code; ``name`` is empty where the module does not tell."""

    index: int
    name: str
    type: str
    bytes: int


class Report(msgspec.Struct, frozen=True):
    """Everything that is shown, in bytes and pages of 64 KiB. ``functions``: largest first."""

    file: str
    bytes: int
    footprint_bytes: int
    sections: list[Section]
    imports: list[Extern]
    exports: list[Extern]
    memories: list[Extern]
    tables: list[Extern]
    functions: list[Function]
    manifest: str | None


def inspect(module: Module, raw: bytes) -> Report:
    """The report on a module that was loaded from these bytes."""
    found = list(sections(raw))
    embedded = module.custom(manifest.SECTION)
    return Report(
        file=module.name,
        bytes=len(raw),
        footprint_bytes=module.footprint_bytes,
        sections=found,
        imports=[_extern(one.type, one.index, one.name, one.module) for one in module.imports()],
        exports=[_extern(one.type, one.index, one.name) for one in module.exports()],
        memories=_all_of(module, ExternKind.MEMORY),
        tables=_all_of(module, ExternKind.TABLE),
        functions=_functions(module, [size for one in found if one.id == CODE for size in _body_sizes(raw, one)]),
        manifest=None if embedded is None else embedded.decode("utf-8", "replace"),
    )


def _extern(of: ExternType, index: int, name: str = "", module: str = "") -> Extern:
    return Extern(str(of.kind), index, of.detail, name, module)


def _all_of(module: Module, kind: ExternKind) -> list[Extern]:
    return [_extern(module.type_of(kind, index), index) for index in range(module.count(kind))]


def _functions(module: Module, sizes: Sequence[int]) -> list[Function]:
    first = module.count(ExternKind.FUNC) - len(sizes)
    functions = [
        Function(index, module.function_name(index), module.type_of(ExternKind.FUNC, index).detail, size)
        for index, size in enumerate(sizes, first)
    ]
    return sorted(functions, key=lambda one: (-one.bytes, one.index))


# ---- the bytes: a module that was loaded has this structure ----


def _number(raw: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number and where it ends."""
    value = shift = 0
    while True:
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def sections(raw: bytes) -> Iterator[Section]:
    """The sections of a valid module, in order."""
    at = HEADER_BYTES
    while at < len(raw):
        number = raw[at]
        size, begin = _number(raw, at + 1)
        custom = ""
        if number == CUSTOM:
            length, text = _number(raw, begin)
            custom = raw[text : text + length].decode()
        yield Section(number, SECTION_NAMES[number], begin, size, custom)
        at = begin + size


def _body_sizes(raw: bytes, code: Section) -> Iterator[int]:
    count, at = _number(raw, code.offset)
    for _ in range(count):
        size, begin = _number(raw, at)
        yield size
        at = begin + size


# ---- as text ----


def as_json(report: Report) -> str:
    """One line of JSON with the report's fields."""
    return msgspec.json.encode(report).decode()


def as_text(report: Report, functions_max: int) -> str:
    """For people; only the largest functions."""
    defined, code = len(report.functions), sum(one.bytes for one in report.functions)
    shown = report.functions[:functions_max]
    parts = [
        [f"{report.file}: {report.bytes} bytes, {report.footprint_bytes} in memory"],
        _block(
            "sections, bytes and offset",
            (f"{one.bytes:8} @{one.offset:<#8x} {one.name} {one.custom}" for one in report.sections),
        ),
        _block("imports", (f"{one.module}.{one.name}: {one.kind} {one.type}" for one in report.imports)),
        _block("exports", (f"{one.name}: {one.kind} {one.type}" for one in report.exports)),
        _block("memories", (f"{one.index}: {one.type}" for one in report.memories)),
        _block("tables", (f"{one.index}: {one.type}" for one in report.tables)),
        _block(
            f"functions: {defined} with {code} bytes of code" + (", the largest" if len(shown) < defined else ""),
            (f"{one.bytes:8} {one.name or '?'} {one.type} (function {one.index})" for one in shown),
        ),
        _block(manifest.SECTION, (report.manifest or "").splitlines()),
    ]
    return "\n".join(line.rstrip() for part in parts for line in part)


def _block(title: str, lines: Iterable[str]) -> list[str]:
    indented = [f"  {line}" for line in lines]
    return [title, *indented] if indented else []
