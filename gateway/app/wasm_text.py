"""WebAssembly values as text: arguments of ``penstock wasm run`` and its results.

Integers are decimal or hexadecimal (``-5``, ``0xff``), floats decimal or hexadecimal (``1.5e3``, ``0x1.8p1``, ``inf``,
``nan``, ``nan:0x200000``), vectors one hexadecimal number with lane 0 in its lowest digits, references ``null``.
"""

from __future__ import annotations

import math
import re
import struct

from gateway.errors import HostFault, UsageError
from gateway.signature import Value, ValueType, pack_value, unpack_value

INTEGER_BITS = {ValueType.I32: 32, ValueType.I64: 64}
MANTISSA_BITS = {ValueType.F32: 23, ValueType.F64: 52}
FLOAT_CODES = {ValueType.F32: ("<f", "<I"), ValueType.F64: ("<d", "<Q")}
F32_DIGITS_MAX = 9  # tell any two numbers apart

_INTEGER = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|[0-9]+)")
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_HEX_FLOAT = re.compile(r"[+-]?0[xX]([0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)([pP][+-]?[0-9]+)?")
_NAN = re.compile(r"([+-]?)nan(?::(0x[0-9a-f]+))?")
_VECTOR = re.compile(r"0x[0-9a-fA-F]{1,32}")


def parse_value(text: str, kind: ValueType) -> Value:
    """The value of this type that the text stands for. Raises UsageError."""
    try:
        return unpack_value(kind, pack_value(kind, _parse(text, kind)))
    except (ValueError, OverflowError, HostFault):
        raise UsageError(f"found {text!r}, allowed: {_allowed(kind)}") from None


def _allowed(kind: ValueType) -> str:
    if kind in INTEGER_BITS:
        bits = INTEGER_BITS[kind]
        return f"{kind}, decimal or 0x…, from {-(1 << bits - 1)} to {(1 << bits) - 1}"
    if kind in MANTISSA_BITS:
        return f"{kind}, decimal, hexadecimal (0x1.8p1), inf, nan or nan:0x…"
    return "v128, 0x and up to 32 digits" if kind == ValueType.V128 else f"{kind}, null"


def _parse(text: str, kind: ValueType) -> Value:
    if kind in INTEGER_BITS and _INTEGER.fullmatch(text):
        return int(text, 16 if "x" in text.lower() else 10)
    if kind in MANTISSA_BITS:
        return _parse_float(text, kind)
    if kind == ValueType.V128 and _VECTOR.fullmatch(text):
        return int(text, 16)
    if kind not in INTEGER_BITS and kind != ValueType.V128 and text == "null":
        return None
    raise ValueError(text)


def _parse_float(text: str, kind: ValueType) -> float:
    if found := _NAN.fullmatch(text):
        return _nan(found[1] == "-", found[2], kind)
    if _HEX_FLOAT.fullmatch(text):
        return float.fromhex(text)
    if _FLOAT.fullmatch(text) or text.lstrip("+-") == "inf":
        return float(text)
    raise ValueError(text)


def _nan(negative: bool, payload: str | None, kind: ValueType) -> float:
    """In f32 quiet ones only: a signalling one becomes quiet when it becomes a Python number."""
    mantissa = MANTISSA_BITS[kind]
    quiet = 1 << mantissa - 1
    bits = int(payload, 16) if payload else quiet
    if not (quiet if kind == ValueType.F32 else 1) <= bits < 1 << mantissa:
        raise ValueError(payload)
    width = 32 if kind == ValueType.F32 else 64
    bits |= (1 << width - 1) - (1 << mantissa) | negative << width - 1
    code, raw = FLOAT_CODES[kind]
    return float(struct.unpack(code, struct.pack(raw, bits))[0])


def format_value(value: Value, kind: ValueType) -> str:
    """The text that ``parse_value`` gives back; references that are not null by their type."""
    if kind in MANTISSA_BITS and isinstance(value, float):
        return _format_float(value, kind)
    if kind == ValueType.V128 and isinstance(value, int):
        return f"0x{value:032x}"
    if kind in INTEGER_BITS:
        return str(value)
    return "null" if value is None else str(kind)


def _format_float(value: float, kind: ValueType) -> str:
    if math.isnan(value):
        code, raw = FLOAT_CODES[kind]
        (bits,) = struct.unpack(raw, struct.pack(code, value))
        payload = bits & (1 << MANTISSA_BITS[kind]) - 1
        sign = "-" if math.copysign(1, value) < 0 else ""
        return f"{sign}nan" if payload == 1 << MANTISSA_BITS[kind] - 1 else f"{sign}nan:{payload:#x}"
    if kind == ValueType.F32 and math.isfinite(value):
        return repr(_shortest_f32(value))
    return repr(value)


def _shortest_f32(value: float) -> float:
    """The number with the fewest digits that is this one when rounded to 32 bits."""
    for digits in range(1, F32_DIGITS_MAX):
        short = float(f"{value:.{digits}g}")
        if _as_f32(short) == value:
            return short
    return float(f"{value:.{F32_DIGITS_MAX}g}")


def _as_f32(value: float) -> float:
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)
