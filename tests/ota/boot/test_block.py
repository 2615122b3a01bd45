"""One copy of the boot state: what is accepted, and that damage is noticed."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import pytest

from ota.boot.block import BLOCK_BYTES, decode, encode, newest
from ota.errors import BootError
from ota.ports import BootState

STATE = BootState(0x1A2B, "b", "a", 2, frozenset("ab"))


def sealed(text: bytes) -> bytes:
    data = text.ljust(BLOCK_BYTES - 4, b"\0")
    return struct.pack("<I", zlib.crc32(data)) + data


def test_bytes_are_those_of_uboot() -> None:
    text = b"pen_gen=1a2b\0pen_good=b\0pen_ok=ab\0pen_trial=a\0pen_tries=2\0\0"
    assert encode(STATE) == sealed(text)
    assert decode(sealed(text)) == STATE


def test_order_and_unknown_names_do_not_matter() -> None:
    text = b"bootcmd=x\0pen_tries=2\0pen_trial=a\0pen_good=b\0pen_ok=ba\0pen_gen=1A2B\0\0"
    assert decode(sealed(text)) == STATE


def test_every_flipped_bit_is_noticed() -> None:
    block = encode(STATE)
    for bit in range(len(block) * 8):
        damaged = bytearray(block)
        damaged[bit // 8] ^= 1 << bit % 8
        assert decode(bytes(damaged)) is None


def test_every_torn_write_is_noticed() -> None:
    before, after = encode(STATE), encode(replace(STATE, generation=STATE.generation + 1, trial="", tries_left=0))
    for cut in range(BLOCK_BYTES + 1):
        mixture = after[:cut] + before[cut:]
        assert mixture in (before, after) or decode(mixture) is None


@pytest.mark.parametrize(
    "text",
    [
        b"pen_gen=0\0pen_good=a\0pen_ok=a\0\0",
        b"pen_gen=x\0pen_good=a\0pen_ok=a\0\0",
        b"pen_gen=1\0pen_good=c\0pen_ok=c\0\0",
        b"pen_gen=1\0pen_good=a\0pen_ok=b\0\0",
        b"pen_gen=1\0pen_good=a\0pen_ok=a\0pen_trial=b\0pen_tries=1\0\0",
        b"pen_gen=1\0pen_good=a\0pen_ok=a\0pen_trial=a\0pen_tries=1\0\0",
        b"pen_gen=1\0pen_ok=a\0\0",
        b"",
    ],
)
def test_nonsense_with_a_right_checksum_is_refused(text: bytes) -> None:
    assert decode(sealed(text)) is None


@pytest.mark.parametrize(
    "state",
    [
        replace(STATE, generation=0),
        replace(STATE, generation=1 << 31),
        replace(STATE, good="c"),
        replace(STATE, trial="b"),
        replace(STATE, tries_left=10),
        replace(STATE, valid=frozenset("b")),
        replace(STATE, valid=frozenset("a")),
    ],
)
def test_a_state_nobody_can_boot_is_never_written(state: BootState) -> None:
    with pytest.raises(BootError, match="boot state"):
        encode(state)


def test_the_newest_intact_copy_holds_and_the_other_is_written_next() -> None:
    older, newer = replace(STATE, generation=4), replace(STATE, generation=5)
    assert newest([older, newer]) == (newer, 0)
    assert newest([newer, older]) == (newer, 1)
    assert newest([None, older]) == (older, 0)
    assert newest([older, None]) == (older, 1)
    assert newest([older, older]) == (older, 1)
    assert newest([None, None]) == (None, 0)
