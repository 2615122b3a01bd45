"""Records: the layout equals wr.h, what is decoded is what was written, nonsense is refused."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from gateway.config.manifest import RING_SCHEMAS
from gateway.record import (
    HEAD,
    NO_TAG,
    SCHEMA_NAMES,
    Kind,
    Payload,
    Quality,
    Record,
    RecordError,
    ValueType,
    decode,
    encode_payload,
    split,
)


def header(root: Path) -> str:
    return (root / "runtime_c" / "include" / "wr.h").read_text("utf-8")


def sample(
    value_type: int, raw: bytes, *, kind: int = Kind.SAMPLE, quality: int = Quality.GOOD, tail: bytes = b""
) -> bytes:
    return HEAD.pack(HEAD.size + len(tail), kind, quality, value_type, 7, 9, 1_700_000_000_000_000_000, raw) + tail


@pytest.mark.parametrize(("prefix", "names"), [("KIND", Kind), ("QUALITY", Quality), ("VALUE", ValueType)])
def test_constants_equal_the_header(
    root: Path, prefix: str, names: type[Kind] | type[Quality] | type[ValueType]
) -> None:
    defined = re.findall(rf"WR_{prefix}_([A-Z0-9]+) = (\d+)", header(root))
    assert {name: int(number) for name, number in defined} == {one.name: one.value for one in names}


def test_head_equals_the_header(root: Path) -> None:
    body = re.search(r"typedef struct wr_record \{(.*?)\} wr_record;", header(root), re.DOTALL)
    assert body is not None
    fields = re.findall(r"^\s*(\w+) (\w+);", body[1], re.MULTILINE)
    letters = {"uint8_t": "B", "uint16_t": "H", "uint32_t": "I", "int64_t": "q", "uint64_t": "Q"}
    assert [name for _, name in fields] == ["size", "kind", "quality", "type", "tag", "seq", "time_ns", "value"]
    assert "<" + "".join(letters[kind] for kind, _ in fields).replace("Q", "8s") == HEAD.format
    assert struct.calcsize("@" + "".join(letters[kind] for kind, _ in fields)) == HEAD.size == 32


def test_schema_names_are_those_of_manifests() -> None:
    assert [*SCHEMA_NAMES, "none"] == list(RING_SCHEMAS)


@pytest.mark.parametrize(
    ("value_type", "raw", "value"),
    [
        (ValueType.NONE, bytes(8), None),
        (ValueType.BOOL, b"\1" + bytes(7), True),
        (ValueType.I64, struct.pack("<q", -5), -5),
        (ValueType.U64, struct.pack("<Q", 2**64 - 1), 2**64 - 1),
        (ValueType.F64, struct.pack("<d", 21.5), 21.5),
    ],
)
def test_samples(value_type: ValueType, raw: bytes, value: bool | int | float | None) -> None:
    found = decode(memoryview(sample(value_type, raw, quality=Quality.STALE)))
    assert found == Record(Kind.SAMPLE, Quality.STALE, 7, 9, 1_700_000_000_000_000_000, value)
    assert isinstance(found, Record)
    assert type(found.value) is type(value)


def test_text_sample() -> None:
    raw = struct.pack("<IHBB", 5, 0, 0, 0)
    found = decode(memoryview(sample(ValueType.BYTES, raw, tail="Köl\0\0\0\0".encode()[:8])))
    assert isinstance(found, Record)
    assert found.value == "Köl\0"


@pytest.mark.parametrize("body", [b"", b"1", b"1234567", b"12345678", "°C".encode(), bytes(1000)])
@pytest.mark.parametrize("topic", ["a", "penstock/data/ä"])
def test_payloads_come_back(topic: str, body: bytes) -> None:
    payload = Payload(topic, body, 1, True, 3, 42)
    raw = encode_payload(payload)
    assert len(raw) % 8 == 0
    assert decode(memoryview(raw)) == payload
    assert HEAD.unpack_from(raw)[4] == NO_TAG


def test_split_finds_every_record() -> None:
    payloads = [Payload("t", bytes(number), 0, False, number, 0) for number in range(50)]
    raw = b"".join(map(encode_payload, payloads))
    assert [decode(view) for view in split(raw)] == payloads
    assert list(split(b"")) == []


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (bytes(31), "size 0 at offset 0"),
        (struct.pack("<I", 24) + bytes(28), "size 24 at offset 0, allowed: multiples of 8 from 32 to 32"),
        (struct.pack("<I", 33) + bytes(60), "size 33 at offset 0, allowed: multiples of 8 from 32 to 64"),
        (struct.pack("<I", 40) + bytes(28), "size 40 at offset 0, allowed: multiples of 8 from 32 to 32"),
        (encode_payload(Payload("t", b"", 0, False, 0, 0)) + b"12345678", "size 0 at offset 40"),
    ],
)
def test_wrong_sizes_are_refused(raw: bytes, message: str) -> None:
    with pytest.raises(RecordError, match=re.escape(message)):
        list(split(raw))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"short", "found 5 bytes"),
        (sample(9, bytes(8)), "9 is not a valid ValueType"),
        (sample(1, bytes(8), kind=77), "77 is not a valid Kind"),
        (sample(1, bytes(8), quality=8), "8 is not a valid Quality"),
        (sample(5, struct.pack("<IHBB", 9, 0, 0, 0), tail=bytes(8)), "length 9 and topic length 0 in a record of 40"),
        (sample(5, struct.pack("<IHBB", 4, 5, 0, 0), tail=bytes(8)), "length 4 and topic length 5"),
        (sample(5, struct.pack("<IHBB", 8, 8, 0, 0), kind=4, tail=b"\xff" * 8), "text is not UTF-8"),
        (sample(5, struct.pack("<IHBB", 8, 0, 0, 0), tail=b"\xff" * 8), "text is not UTF-8"),
    ],
)
def test_nonsense_is_refused(raw: bytes, message: str) -> None:
    with pytest.raises(RecordError, match=re.escape(message)):
        decode(memoryview(raw))
