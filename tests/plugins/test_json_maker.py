"""What json_maker writes is JSON, and its numbers are those of a correctly rounding printf with 15 digits."""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Sequence
from decimal import Decimal

import pytest
import wasmtime

from gateway.app.plugin_build import build
from gateway.app.vectors import START_NS, encode_sample
from gateway.config.manifest import TagSettings, load_manifest, pack_config
from gateway.record import Payload, Scalar, decode
from tests.plugins.oracle import Ring, Setup, Stage
from tests.runtime_c import toolchain

FOLDER = toolchain.ROOT / "plugins" / "json_maker"
BATCH = 100


@pytest.fixture(scope="module")
def stage() -> Stage:
    engine = wasmtime.Engine()
    module = build(FOLDER, toolchain.BUILD / "plugins")
    config = {"topic": "t", "batch_max": BATCH, "payload_bytes_max": 60000}
    tags = [TagSettings(0, "x", "V", {})]
    block = pack_config(load_manifest(FOLDER / "plugin.toml"), config, tags, file="test")
    setup = Setup(rings=[Ring(True, 1, 1 << 17), Ring(False, 2, 1 << 17)], config=block, unix_ns=START_NS)
    started = Stage(engine, wasmtime.Module.from_file(engine, str(module)), setup)
    assert started.start() == 0, started.logs
    return started


def through(stage: Stage, values: Sequence[Scalar | str]) -> list[str]:
    """The JSON text of each value, from full batches."""
    texts: list[str] = []
    for start in range(0, len(values), BATCH):
        batch = list(values[start : start + BATCH])
        batch += [None] * (BATCH - len(batch))
        stage.write(0, b"".join(_encoded(value, seq) for seq, value in enumerate(batch)))
        payload = decode(memoryview(stage.read(0)))
        assert isinstance(payload, Payload)
        raw = json.loads(payload.body, parse_float=lambda text: text, parse_int=lambda text: text)
        texts += [sample["v"] for sample in raw["samples"]]
    return texts[: len(values)]


def _encoded(value: Scalar | str, seq: int) -> bytes:
    is_large = isinstance(value, int) and value >= 1 << 63
    record: dict[str, object] = {"value": value, **({"type": "u64"} if is_large else {})}
    return encode_sample(record, 0, seq, START_NS)


def random_doubles(chance: random.Random, count: int) -> list[float]:
    found: list[float] = []
    while len(found) < count:
        (value,) = struct.unpack("<d", chance.randbytes(8))
        if math.isfinite(value):
            found.append(value)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_any_double_is_within_half_a_unit_of_the_15th_digit(stage: Stage, seed: int) -> None:
    values = random_doubles(random.Random(seed), 2000)
    for value, text in zip(values, through(stage, values), strict=True):
        exact = Decimal(value)
        unit = Decimal(1).scaleb(exact.adjusted() - 14)
        assert abs(Decimal(text) - exact) <= unit * Decimal("0.51"), (value, text)


@pytest.mark.parametrize("decimals", range(7))
def test_decimal_numbers_come_back_as_they_were_written(stage: Stage, decimals: int) -> None:
    chance = random.Random(decimals)
    numbers = [chance.randrange(-(10 ** (3 + decimals)), 10 ** (3 + decimals)) for _ in range(500)]
    values = [number / 10**decimals for number in numbers]
    assert [float(text) for text in through(stage, values)] == values


def test_scaled_integers_show_no_rounding_noise(stage: Stage) -> None:
    values = [raw * 0.1 for raw in range(-2000, 2000)]
    for raw, text in zip(range(-2000, 2000), through(stage, values), strict=True):
        assert float(text) == raw / 10
        assert len(text) <= 6


def test_integers_are_exact(stage: Stage) -> None:
    chance = random.Random(0)
    values: list[Scalar | str] = [chance.randrange(-(2**63), 2**64) for _ in range(1000)]
    assert [int(text) for text in through(stage, values)] == values


def test_any_text_comes_back(stage: Stage) -> None:
    chance = random.Random(0)
    characters = [chr(code) for code in (*range(1, 0x100), 0x7FF, 0x800, 0xFFFD, 0xFFFF, 0x10000, 0x10FFFF)]
    values = ["".join(chance.choices(characters, k=chance.randrange(30))) for _ in range(500)]
    assert through(stage, values) == values
