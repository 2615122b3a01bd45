"""Types of WebAssembly values, functions and other externs, and values as they lie on the runtime's stack."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from gateway.errors import HostFault

Value = int | float | None  # integers and vectors; floats; references: None is null


class ValueType(IntEnum):
    """A type of values, numbered as in the binary format; typed references show as FUNCREF."""

    I32 = 0x7F
    I64 = 0x7E
    F32 = 0x7D
    F64 = 0x7C
    V128 = 0x7B
    FUNCREF = 0x70
    EXTERNREF = 0x6F
    EXNREF = 0x69
    NULLEXTERNREF = 0x72
    NULLFUNCREF = 0x73
    NULLEXNREF = 0x74

    def __str__(self) -> str:
        return self.name.lower()


class ExternKind(IntEnum):
    """What can be imported and exported."""

    FUNC = 0
    TABLE = 1
    MEMORY = 2
    GLOBAL = 3
    TAG = 4

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class FuncType:
    """Parameters and results, such as ``(i32, i32) -> i32``."""

    params: tuple[ValueType, ...]
    results: tuple[ValueType, ...]

    def __str__(self) -> str:
        params, results = ", ".join(map(str, self.params)), ", ".join(map(str, self.results))
        if not self.results:
            return f"({params})"
        return f"({params}) -> {results}" if len(self.results) == 1 else f"({params}) -> ({results})"


@dataclass(frozen=True, slots=True)
class ExternType:
    """Type of a function or tag (``func``), global (``value``), table (``value``) or memory.

    Limits are in elements of a table or pages of 64 KiB; ``maximum`` None: not limited.
    """

    kind: ExternKind
    func: FuncType = FuncType((), ())
    value: ValueType | None = None
    is_mutable: bool = False
    is64: bool = False
    is_shared: bool = False
    minimum: int = 0
    maximum: int | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.detail}"

    @property
    def detail(self) -> str:
        """The type without its kind."""
        if self.kind in (ExternKind.FUNC, ExternKind.TAG):
            return str(self.func)
        if self.kind == ExternKind.GLOBAL:
            return f"mut {self.value}" if self.is_mutable else f"{self.value}"
        limits = f"{self.minimum}.." if self.maximum is None else f"{self.minimum}..{self.maximum}"
        unit = "pages" if self.kind == ExternKind.MEMORY else f"{self.value}"
        return " ".join([limits, unit, *["64-bit"] * self.is64, *["shared"] * self.is_shared])


@dataclass(frozen=True, slots=True)
class Import:
    """Something a module needs. ``index`` counts what the module has of this kind."""

    module: str
    name: str
    index: int
    type: ExternType

    def __str__(self) -> str:
        return f"{self.module}.{self.name}: {self.type}"


@dataclass(frozen=True, slots=True)
class Export:
    """Something a module offers. ``index`` counts what the module has of this kind."""

    name: str
    index: int
    type: ExternType

    def __str__(self) -> str:
        return f"{self.name}: {self.type}"


_INTEGERS = {ValueType.I32: 32, ValueType.I64: 64, ValueType.V128: 128}
_FLOATS = {ValueType.F32: struct.Struct("<f4x"), ValueType.F64: struct.Struct("<d")}


def slot_count(kind: ValueType) -> int:
    """How many slots of 8 bytes a value takes."""
    return 2 if kind == ValueType.V128 else 1


def pack_value(kind: ValueType, value: Value) -> bytes:
    """A value as stack slots of 8 bytes. Integers may be signed or unsigned. Raises HostFault BAD_ARGUMENT."""
    if kind in _INTEGERS and isinstance(value, int):
        bits = _INTEGERS[kind]
        if -(1 << bits - 1) <= value < 1 << bits:
            return (value & (1 << bits) - 1).to_bytes(8 * slot_count(kind), "little")
    elif kind in _FLOATS and isinstance(value, int | float):
        try:
            return _FLOATS[kind].pack(value)
        except OverflowError:
            pass  # told below: larger than the type's largest number
    elif value is None and kind not in _INTEGERS and kind not in _FLOATS:
        return bytes(8)
    raise HostFault("BAD_ARGUMENT", f"found {value!r}, allowed: a value of type {kind}")


def unpack_value(kind: ValueType, raw: bytes) -> Value:
    """The value in stack slots; i32 and i64 signed, v128 unsigned, references that are not null as opaque numbers."""
    if kind in _FLOATS:
        return float(_FLOATS[kind].unpack(raw)[0])
    if kind in _INTEGERS:
        return int.from_bytes(raw[: _INTEGERS[kind] // 8], "little", signed=kind != ValueType.V128)
    return int.from_bytes(raw, "little") or None
