"""Our patch reader against detools, and against everything that is not a patch."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

import detools
import pytest

from ota.clock import Cancel
from ota.delta.apply import StorageReader, add_bytes, apply_patch
from ota.delta.make import LOOKAHEAD, RUN_BLOCK, WINDOW, make_patch, number, parts, value
from ota.delta.reader import Add, Insert, operations
from ota.errors import DeltaError
from ota.trust.model import Artefact, Delta, File, Patch, Release, Source
from tests.ota.world import Memory

COMPRESSIONS = ("lzma", "heatshrink")
OLD = random.Random(1).randbytes(20_000) + bytes(30_000)
NEW = OLD[:5000] + b"inserted" + OLD[4000:15_000] + b"changed" + OLD[15_007:] + bytes(range(256)) * 20


def packed(old: bytes, new: bytes, compression: str, **more: object) -> bytes:
    out = io.BytesIO()
    sizes = {"heatshrink_window_sz2": WINDOW, "heatshrink_lookahead_sz2": LOOKAHEAD}
    detools.create_patch(io.BytesIO(old), io.BytesIO(new), out, compression=compression, **sizes, **more)
    return out.getvalue()


def described(patch: bytes, old: bytes, new: bytes, compression: str) -> tuple[Patch, Artefact]:
    delta = Delta("detools-sequential", compression, Source(len(old), ""), "image/a/b", 0)  # type: ignore[arg-type]
    return Patch(File("image/a/p", len(patch), ""), delta), Artefact(
        File("image/a/b", len(new), ""), Release("x", 1, "")
    )


def applied(patch: bytes, old: bytes, new: bytes, compression: str) -> bytes:
    one, to = described(patch, old, new, compression)
    target = Memory(len(new))
    reader = StorageReader(Memory(len(patch), patch), len(patch))
    apply_patch(one, to, (Memory(len(old), old), reader), target, Cancel())
    return bytes(target.data)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize(
    ("old", "new"),
    [(OLD, NEW), (NEW, OLD), (b"", NEW), (OLD, OLD), (OLD, b"x"), (b"ab" * 300_000, b"ab" * 299_999 + b"c")],
    ids=["changed", "back", "from nothing", "same", "tiny", "long"],
)
def test_results_are_detools(old: bytes, new: bytes, compression: str) -> None:
    patch = packed(old, new, compression)
    assert applied(patch, old, new, compression) == new
    oracle = io.BytesIO()
    detools.apply_patch(io.BytesIO(old), io.BytesIO(patch), oracle)
    assert oracle.getvalue() == new


def made(folder: Path, old: bytes | None, new: bytes, compression: str) -> bytes:
    """By our own maker."""
    (folder / "old").write_bytes(old or b"")
    (folder / "new").write_bytes(new)
    make_patch(folder / "old" if old is not None else None, folder / "new", folder / "patch", compression)
    return (folder / "patch").read_bytes()


ZEROS = bytes(5 * RUN_BLOCK)
BROKEN = ZEROS[: 2 * RUN_BLOCK] + b"abcd" + ZEROS


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (OLD, NEW), (NEW, OLD), (None, NEW), (b"", NEW), (OLD, OLD), (OLD, b"x"), (ZEROS, ZEROS[1:]), (None, ZEROS),
        (OLD + BROKEN + OLD, OLD + ZEROS + NEW), (OLD + ZEROS, NEW + BROKEN + OLD + b"\xff" * 4 * RUN_BLOCK),
    ],
)  # fmt: skip
def test_patches_that_we_make_are_detools(tmp_path: Path, old: bytes | None, new: bytes, compression: str) -> None:
    patch = made(tmp_path, old, new, compression)
    assert applied(patch, old or b"", new, compression) == new
    oracle = io.BytesIO()
    detools.apply_patch(io.BytesIO(old or b""), io.BytesIO(patch), oracle)
    assert oracle.getvalue() == new
    theirs = packed(old or b"", new, compression)
    if RUN_BLOCK * b"\0" not in new:
        assert patch == theirs, "without a long run there is no difference"
    assert len(patch) < len(theirs) + 100


def test_free_space_that_is_not_the_same_takes_no_time(tmp_path: Path) -> None:
    """8 MiB of it, with a few bytes in other places: bsdiff alone takes half an hour."""
    free = bytes(4 << 20)
    old, new = OLD + free + b"abcd" + free, OLD + free[:1000] + b"efgh" + free + free
    patch = made(tmp_path, old, new, "lzma")
    assert applied(patch, old, new, "lzma") == new
    assert len(patch) < 2048


def test_long_runs_are_cut_out_wherever_they_lie() -> None:
    chance = random.Random(7)
    for _ in range(200):
        lengths = [chance.randrange(1, 4 * RUN_BLOCK) for _ in range(chance.randrange(6))]
        pieces = [bytes(length) if chance.random() < 0.5 else chance.randbytes(length) for length in lengths]
        data = b"".join(pieces)
        found = list(parts(data))
        assert b"".join(data[start:end] for start, end, _ in found) == data
        for start, end, is_run in found:
            part = data[start:end]
            assert (len(set(part)) == 1 and end - start >= RUN_BLOCK) if is_run else bytes(2 * RUN_BLOCK) not in part
            if is_run:
                assert data[start - 1 : start] != part[:1]
                assert data[end : end + 1] != part[:1]


@pytest.mark.parametrize("signed", [0, 1, -1, 63, -63, 64, -64, 8191, 8192, -123_456_789, 1 << 40])
def test_numbers_there_and_back(signed: int) -> None:
    assert value(number(signed)) == signed


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_byte_by_byte(compression: str) -> None:
    """The same operations however the patch arrives."""
    patch = packed(OLD, NEW, compression)

    def bytes_of(piece: int) -> bytes:
        stream = io.BytesIO(patch)
        result, at = b"", 0
        for part in operations(lambda size: stream.read(min(size, piece)), len(NEW), compression):
            match part:
                case Add(data):
                    result += add_bytes(OLD[at : at + len(data)], data)
                    at += len(data)
                case Insert(data):
                    result += data
                case _:
                    at += part.step
        return result

    assert bytes_of(1) == bytes_of(7) == bytes_of(1 << 20) == NEW


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_every_truncation_is_named(compression: str) -> None:
    patch = packed(OLD, NEW, compression)
    for size in [*range(40), *random.Random(2).sample(range(40, len(patch) - 20), 60)]:
        with pytest.raises(DeltaError):
            applied(patch[:size], OLD, NEW, compression)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_damaged_patches_end_in_a_named_error_or_in_other_bytes(compression: str) -> None:
    """Never in another exception, never in bytes beyond the target. The result's hash decides in the end."""
    patch, chance = packed(OLD, NEW, compression), random.Random(3)
    named = 0
    for _ in range(400):
        damaged = bytearray(patch)
        damaged[chance.randrange(len(patch))] ^= 1 << chance.randrange(8)
        try:
            assert len(applied(bytes(damaged), OLD, NEW, compression)) == len(NEW)
        except DeltaError:
            named += 1
    assert named > 20


def raw(*numbers_and_bytes: bytes) -> bytes:
    import lzma

    return lzma.compress(b"".join(numbers_and_bytes), lzma.FORMAT_ALONE)


@pytest.mark.parametrize(
    "patch",
    [
        b"\x04\x05", b"\x01\x06", b"\x11\x05", b"\x01" + b"\xff" * 20,
        b"\x01\x05" + raw(b"\x01"), b"\x01\x05" + raw(b"\x00\x06" + b"x" * 6), b"\x01\x05" + raw(b"\x00\x41"),
        b"\x01\x05" + raw(b"\x00\x00\x00\x46" + b"\x05" + bytes(5)),
        b"\x01\x05" + raw(b"\x00\x00\x00\xbf\x7f" + b"\x05xxxxx"),
    ],
    ids=["compression", "length", "type", "number", "data format", "too long", "negative", "before", "behind"],
)  # fmt: skip
def test_patches_that_lie(patch: bytes) -> None:
    with pytest.raises(DeltaError):
        applied(patch, b"source", b"12345", "lzma")


def test_memory_of_a_hostile_dictionary_is_bounded() -> None:
    """LZMA's head may ask for 4 GiB; the decoder is told to refuse."""
    patch = packed(OLD, NEW, "lzma")
    start = patch.index(b"\x5d\x00\x00\x80\x00")
    huge = patch[: start + 1] + b"\xff\xff\xff\xff" + patch[start + 5 :]
    with pytest.raises(DeltaError, match="decompressed"):
        applied(huge, OLD, NEW, "lzma")


def pieces() -> Iterator[tuple[bytes, bytes]]:
    chance = random.Random(4)
    for size in (0, 1, 2, 255, 4096):
        yield chance.randbytes(size), chance.randbytes(size)
    yield bytes(range(256)), bytes([255] * 256)


def test_add_bytes_is_bytewise() -> None:
    for one, other in pieces():
        assert add_bytes(one, other) == bytes((a + b) & 255 for a, b in zip(one, other, strict=True))
