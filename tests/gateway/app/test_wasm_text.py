"""Values as text: what is read, what is refused, and that what is written can be read again."""

from __future__ import annotations

import math
import struct

import pytest

from gateway.app.wasm_text import format_value, parse_value
from gateway.clock import random_source
from gateway.errors import UsageError
from gateway.signature import ValueType

READ = {
    ValueType.I32: {"0": "0", "-1": "-1", "+7": "7", "4294967295": "-1", "-0x80000000": "-2147483648", "0xFF": "255"},
    ValueType.I64: {"-9223372036854775808": "-9223372036854775808", "0xffffffffffffffff": "-1", "010": "10"},
    ValueType.F32: {
        "0.1": "0.1", "1": "1.0", "-0": "-0.0", "16777217": "16777216.0", "1e-45": "1e-45", "0x1.8p1": "3.0",
        "3.4028235e38": "3.4028235e+38", "inf": "inf", "-inf": "-inf", "nan": "nan", "-nan": "-nan",
        "nan:0x400001": "nan:0x400001", ".5": "0.5", "5.": "5.0",
    },
    ValueType.F64: {
        "0.1": "0.1", "5e-324": "5e-324", "-1e308": "-1e+308", "0x.8": "0.5", "+inf": "inf",
        "nan:0x8000000000001": "nan:0x8000000000001", "-nan:0x1": "-nan:0x1",
    },
    ValueType.V128: {"0x1": "0x" + "0" * 31 + "1", "0x" + "Ff" * 16: "0x" + "ff" * 16},
    ValueType.FUNCREF: {"null": "null"},
    ValueType.EXTERNREF: {"null": "null"},
}  # fmt: skip
REFUSED = {
    ValueType.I32: ("", "1.5", "4294967296", "-2147483649", "1_0", "0x", "abc", "0b1", "١", " 1", "--1", "1e3"),
    ValueType.I64: ("18446744073709551616", "-9223372036854775809", "nan"),
    ValueType.F32: ("", "1e39", "infinity", "nan:0x1", "nan:0x800000", "nan:", "0x", "1_0", "e5", ".", "++1", "--inf"),
    ValueType.F64: ("1e400x", "NaN", "0x1p99999", "nan:0x0", "nan:0x10000000000000"),
    ValueType.V128: ("1", "0x", "-0x1", "0x" + "0" * 33),
    ValueType.FUNCREF: ("0", "", "1"),
}


@pytest.mark.parametrize(
    ("kind", "text", "again"), [(kind, text, again) for kind, each in READ.items() for text, again in each.items()]
)
def test_what_is_read(kind: ValueType, text: str, again: str) -> None:
    assert format_value(parse_value(text, kind), kind) == again


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, each in REFUSED.items() for text in each])
def test_what_is_refused(kind: ValueType, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_value(text, kind)
    assert str(caught.value).startswith(f"found {text!r}, allowed: {kind}")


@pytest.mark.parametrize("kind", [ValueType.F32, ValueType.F64])
def test_every_float_survives(kind: ValueType) -> None:
    source, (code, raw) = random_source(3), {ValueType.F32: ("<f", "<I"), ValueType.F64: ("<d", "<Q")}[kind]
    for _ in range(3000):
        bits = source.getrandbits(32 if kind == ValueType.F32 else 64)
        (value,) = struct.unpack(code, struct.pack(raw, bits))
        text = format_value(value, kind)
        again = parse_value(text, kind)
        assert isinstance(again, float)
        assert struct.pack(code, again) == struct.pack(code, value), text
        assert math.isnan(value) == ("nan" in text)


def test_a_reference_that_is_not_null_shows_its_type() -> None:
    assert format_value(12345, ValueType.FUNCREF) == "funcref"
