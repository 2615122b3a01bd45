"""The boot script in a real U-Boot does what the loader's specification says, for every kind of state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ota.boot.block import BLOCK_BYTES, SLOTS, decode, encode, newest
from ota.boot.loader import attempts
from ota.boot.raw import COPY_OFFSETS, PARTITION_BYTES
from ota.ports import BootState
from tests.ota.boot.uboot import Machine, require_uboot

Case = tuple[str, bytes, frozenset[str]]
BOTH = frozenset(SLOTS)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    require_uboot()
    return Machine(tmp_path_factory.mktemp("uboot"))


def partition(first: bytes, second: bytes = b"") -> bytes:
    """A state partition with these two copies."""
    area = bytearray(PARTITION_BYTES)
    for offset, block in zip(COPY_OFFSETS, (first, second), strict=True):
        area[offset : offset + len(block)] = block
    return bytes(area)


def copies(area: bytes) -> list[BootState | None]:
    return [decode(area[offset : offset + BLOCK_BYTES]) for offset in COPY_OFFSETS]


def states() -> Iterator[tuple[str, BootState]]:
    for good, other in (SLOTS, SLOTS[::-1]):
        yield f"{good} alone", BootState(1, good, "", 0, frozenset(good))
        yield f"{good} and a complete {other}", BootState(9, good, "", 0, BOTH)
        for tries in (0, 1, 3):
            yield f"{good}, {other} on trial, {tries} left", BootState(0x1F, good, other, tries, BOTH)


def cases() -> Iterator[Case]:
    for name, state in states():
        for loads in (BOTH, frozenset(state.good), BOTH - {state.good}):
            yield f"{name}; loads {''.join(sorted(loads))}", partition(encode(state)), loads
    old, new = BootState(0xF, "a", "", 0, BOTH), BootState(0x10, "b", "", 0, BOTH)
    yield "the newer copy is the second", partition(encode(old), encode(new)), BOTH
    yield "the newer copy is the first", partition(encode(new), encode(old)), BOTH
    torn = encode(new)[:100] + encode(old)[100:]
    yield "the second copy is torn", partition(encode(old), torn), BOTH
    yield "the first copy is torn", partition(torn, encode(old)), BOTH
    yield "both are torn", partition(torn, torn), BOTH
    yield "both are torn, a does not load", partition(torn, torn), frozenset("b")
    yield "nothing was ever written", partition(b""), BOTH
    trial = replace(old, trial="b", tries_left=2)
    yield "the trial is charged to the torn copy", partition(torn, encode(trial)), BOTH


@pytest.mark.parametrize(("area", "loads"), [case[1:] for case in cases()], ids=[case[0] for case in cases()])
def test_script_boots_as_specified(machine: Machine, area: bytes, loads: frozenset[str]) -> None:
    before = copies(area)
    state, older = newest(before)
    expected, written = None, list(before)
    for attempt in attempts(state):
        if attempt.write is not None:
            written[older] = attempt.write
        if attempt.slot in loads:
            expected = attempt.slot
            break
    booted = machine.boot(area, loads)
    assert booted.slot == expected, booted.console
    assert copies(booted.state) == written, booted.console
    unwritten = [number for number in range(2) if written[number] == before[number]]
    for number in unwritten:
        at = COPY_OFFSETS[number]
        assert booted.state[at : at + BLOCK_BYTES] == area[at : at + BLOCK_BYTES]


def test_state_cannot_set_other_variables(machine: Machine) -> None:
    import struct
    import zlib

    hostile = b"bootcmd=echo OWNED\0pen_part=4\0pen_gen=5\0pen_good=a\0pen_ok=a\0pen_trial=\0pen_tries=0\0\0"
    data = hostile.ljust(BLOCK_BYTES - 4, b"\0")
    booted = machine.boot(partition(struct.pack("<I", zlib.crc32(data)) + data), BOTH)
    assert booted.slot == "a"
    assert "OWNED" not in booted.console
