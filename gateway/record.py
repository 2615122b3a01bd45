"""The record layout of docs/record-format.md: constants, decoding of what sinks receive, encoding of payloads.

Pure; tested equal to runtime_c/include/wr.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from gateway.errors import PenstockError

HEAD = struct.Struct("<IHBBIIq8s")
HEAD_BYTES = HEAD.size
NO_TAG = 0xFFFF_FFFF
FLAG_RETAIN = 1
_BYTES_VALUE = struct.Struct("<IHBB")


class Kind(IntEnum):
    """What a record says."""

    SAMPLE = 1
    EVENT = 2
    COMMAND = 3
    PAYLOAD = 4
    HEARTBEAT = 5


class Quality(IntEnum):
    """How far a value can be trusted; Sparkplug B and OPC UA: 192, 0, 500."""

    GOOD = 0
    BAD = 1
    STALE = 2


class ValueType(IntEnum):
    """How the 8 value bytes are read."""

    NONE = 0
    BOOL = 1
    I64 = 2
    U64 = 3
    F64 = 4
    BYTES = 5


class Schema(IntEnum):
    """Record schema ids of rings; ANY only where a reader takes whatever comes."""

    ANY = 0
    SAMPLES = 1
    PAYLOADS = 2
    COMMANDS = 3


SCHEMA_NAMES: dict[str, Schema] = {"samples": Schema.SAMPLES, "payloads": Schema.PAYLOADS, "commands": Schema.COMMANDS}

_SCALARS: dict[ValueType, struct.Struct] = {
    ValueType.BOOL: struct.Struct("<?7x"),
    ValueType.I64: struct.Struct("<q"),
    ValueType.U64: struct.Struct("<Q"),
    ValueType.F64: struct.Struct("<d"),
}

Scalar = bool | int | float | None


class RecordError(PenstockError):
    """Bytes that are not a record."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record with a scalar value, or with text for a sample of type BYTES. ``time_ns`` is Unix time."""

    kind: Kind
    quality: Quality
    tag: int
    seq: int
    time_ns: int
    value: Scalar | str


@dataclass(frozen=True, slots=True)
class Payload:
    """A message for a link. ``body`` is a copy, ``qos`` what the plugin asked for."""

    topic: str
    body: bytes
    qos: int
    retain: bool
    seq: int
    time_ns: int


def split(buffer: bytes | bytearray | memoryview) -> Iterator[memoryview]:
    """The bytes of each record in ``buffer``, which holds whole records one behind the other.

    Raises RecordError with the offset of the first whose size is wrong: nothing can be found behind it.
    """
    view = memoryview(buffer)
    at = 0
    while at < len(view):
        left = len(view) - at
        size = int.from_bytes(view[at : at + 4], "little") if left >= HEAD_BYTES else 0
        if size < HEAD_BYTES or size % 8 or size > left:
            raise RecordError(f"size {size} at offset {at}, allowed: multiples of 8 from {HEAD_BYTES} to {left}")
        yield view[at : at + size]
        at += size


def decode(view: memoryview) -> Record | Payload:
    """The one record that ``view`` holds. Raises RecordError."""
    if len(view) < HEAD_BYTES:
        raise RecordError(f"found {len(view)} bytes, allowed: at least {HEAD_BYTES}")
    _, kind, quality, value_type, tag, seq, time_ns, raw = HEAD.unpack_from(view)
    try:
        if value_type != ValueType.BYTES:
            value = scalar(ValueType(value_type), raw)
            return Record(Kind(kind), Quality(quality), tag, seq, time_ns, value)
        length, topic_length, qos, flags = _BYTES_VALUE.unpack(raw)
        if length > len(view) - HEAD_BYTES or topic_length > length:
            raise RecordError(f"found length {length} and topic length {topic_length} in a record of {len(view)} bytes")
        body = view[HEAD_BYTES : HEAD_BYTES + length]
        if kind == Kind.PAYLOAD:
            topic = str(body[:topic_length], "utf-8")
            return Payload(topic, bytes(body[topic_length:]), qos, bool(flags & FLAG_RETAIN), seq, time_ns)
        return Record(Kind(kind), Quality(quality), tag, seq, time_ns, str(body, "utf-8"))
    except UnicodeDecodeError as error:
        raise RecordError(f"text is not UTF-8: {error}") from None
    except ValueError as error:
        raise RecordError(str(error)) from None


def scalar(value_type: ValueType, raw: bytes) -> Scalar:
    """The value in the 8 bytes ``raw``; None for NONE (and for BYTES, whose value is not in the head)."""
    if value_type not in _SCALARS:
        return None
    value: bool | int | float = _SCALARS[value_type].unpack(raw)[0]
    return value


def encode_payload(payload: Payload) -> bytes:
    """The bytes of ``payload`` as a record of kind PAYLOAD."""
    topic = payload.topic.encode()
    length = len(topic) + len(payload.body)
    raw = _BYTES_VALUE.pack(length, len(topic), payload.qos, FLAG_RETAIN if payload.retain else 0)
    size = HEAD_BYTES + -(-length // 8) * 8
    head = HEAD.pack(size, Kind.PAYLOAD, Quality.GOOD, ValueType.BYTES, NO_TAG, payload.seq, payload.time_ns, raw)
    return head + topic + payload.body + bytes(size - HEAD_BYTES - length)
