"""The Modbus driver against things that were not written down one by one: random tags, random noise, random faults."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import wasmtime

from gateway.app.plugin_build import build
from gateway.app.vectors import START_NS
from gateway.config.manifest import TagSettings, load_manifest, pack_config
from gateway.record import Quality, Record, Scalar, decode, split
from tests.plugins.oracle import Ring, Setup, Stage
from tests.runtime_c import toolchain

FOLDER = toolchain.ROOT / "plugins" / "modbus"
FUNCTIONS = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
CODES = {"u16": ">H", "i16": ">h", "u32": ">I", "f32": ">f", "i64": ">q"}
RING_BYTES = 1 << 18


@pytest.fixture(scope="module")
def module() -> Path:
    return build(FOLDER, toolchain.BUILD / "plugins")


# ---- a plant, written from the specification alone ----------------------------------------------------------------


def register(unit: int, function: int, address: int) -> int:
    """What the simulated plant holds there; of a bit the lowest one."""
    return (unit * 31 + function * 7 + address * 13) & 0xFFFF


@dataclass(frozen=True, slots=True)
class Point:
    """A tag; ``type`` is one of CODES, or bool for the tables of bits."""

    unit: int
    address: int
    table: str = "holding"
    type: str = "u16"

    def settings(self) -> dict[str, object]:
        return {"unit": self.unit, "address": self.address, "table": self.table, "type": self.type}

    @property
    def span(self) -> int:
        return struct.calcsize(CODES[self.type]) // 2 if self.type in CODES else 1

    def value(self) -> Scalar:
        """What the plant holds there; None for a float that is no finite number."""
        words = [register(self.unit, FUNCTIONS[self.table], self.address + n) for n in range(self.span)]
        if self.type == "bool":
            return bool(words[0] & 1)
        (value,) = struct.unpack(CODES[self.type], struct.pack(f">{self.span}H", *words))
        return value if value - value == 0 else None


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the server sees it."""

    transaction: int
    unit: int
    function: int
    address: int
    count: int

    @classmethod
    def parse(cls, frame: bytes) -> Request:
        transaction, protocol, length, unit, function, address, count = struct.unpack(">HHHBBHH", frame)
        assert (protocol, length) == (0, 6)
        return cls(transaction, unit, function, address, count)

    def reply(self) -> bytes:
        values = [register(self.unit, self.function, self.address + n) for n in range(self.count)]
        if self.function <= 2:
            data = sum((value & 1) << n for n, value in enumerate(values)).to_bytes((self.count + 7) // 8, "little")
        else:
            data = struct.pack(f">{self.count}H", *values)
        return struct.pack(">HHHBBB", self.transaction, 0, 3 + len(data), self.unit, self.function, len(data)) + data

    def refusal(self, code: int) -> bytes:
        return struct.pack(">HHHBBB", self.transaction, 0, 3, self.unit, self.function | 0x80, code)


# ---- the driver ---------------------------------------------------------------------------------------------------


def start(module: Path, config: Mapping[str, object], points: Sequence[Point]) -> Stage:
    """A running stage whose port is up."""
    tags = [TagSettings(index, f"t{index}", "", point.settings()) for index, point in enumerate(points)]
    block = pack_config(load_manifest(FOLDER / "plugin.toml"), config, tags, file="test")
    engine = wasmtime.Engine()
    setup = Setup(ports=1, rings=[Ring(False, 1, RING_BYTES)], config=block, unix_ns=START_NS)
    stage = Stage(engine, wasmtime.Module.from_file(engine, str(module)), setup)
    assert stage.start() == 0, stage.logs
    stage.set_port(0, True)
    return stage


def take_requests(stage: Stage) -> list[Request]:
    sent, stage.ports[0].sent = stage.ports[0].sent, b""
    return [Request.parse(sent[at : at + 12]) for at in range(0, len(sent), 12)]


def take_records(stage: Stage) -> list[Record]:
    return [record for view in split(stage.read(0)) if isinstance(record := decode(view), Record)]


# ---- planning -----------------------------------------------------------------------------------------------------


def planned(points: Sequence[Point], *, gap: int, registers: int, bits: int) -> list[tuple[int, int, int, int]]:
    """Unit, function, address and count of the requests for ``points``, by a plain reading of the README."""
    found: list[list[int]] = []
    for unit, function, address, span in sorted((p.unit, FUNCTIONS[p.table], p.address, p.span) for p in points):
        if found and found[-1][:2] == [unit, function]:
            end = found[-1][2] + found[-1][3]
            longer = max(end, address + span) - found[-1][2]
            if address <= end + gap and longer <= (bits if function <= 2 else registers):
                found[-1][3] = longer
                continue
        found.append([unit, function, address, span])
    return [(unit, function, address, count) for unit, function, address, count in found]


def random_points(chance: random.Random, count: int) -> Iterator[Point]:
    for _ in range(count):
        table = chance.choice(list(FUNCTIONS))
        kind = chance.choice(list(CODES)) if table in ("holding", "input") else "bool"
        yield Point(chance.randrange(1, 6), chance.randrange(600), table, kind)


@pytest.mark.parametrize(("seed", "count"), [(0, 1), (1, 30), (2, 300), (3, 1000), (4, 1000), (5, 1000)])
def test_random_tags_are_read_with_the_fewest_requests(module: Path, seed: int, count: int) -> None:
    chance = random.Random(seed)
    points = list(random_points(chance, count))
    gap, registers, bits = chance.choice([0, 3, 20]), chance.randrange(4, 126), chance.randrange(1, 2001)
    config = {"gap": gap, "max_registers": registers, "max_bits": bits, "poll_ms": 60000}
    stage = start(module, config, points)
    seen = []
    while requests := take_requests(stage):
        (request,) = requests
        seen.append((request.unit, request.function, request.address, request.count))
        stage.receive(0, request.reply())
    assert seen == planned(points, gap=gap, registers=registers, bits=bits)
    found = sorted(take_records(stage), key=lambda record: record.tag)
    assert [record.tag for record in found] == list(range(count))
    for record, point in zip(found, points, strict=True):
        value = point.value()
        quality = Quality.BAD if value is None else Quality.GOOD
        assert (record.value, record.quality, record.seq) == (value, quality, 0)


# ---- faults -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["tcp", "rtu"])
@pytest.mark.parametrize("seed", range(4))
def test_noise_neither_traps_nor_makes_samples(module: Path, framing: str, seed: int) -> None:
    chance = random.Random(seed)
    config = {"framing": framing, "timeout_ms": 50, "poll_ms": 100, "backoff_max_ms": 1000}
    stage = start(module, config, [Point(1, 0, type="u32"), Point(2, 5)])
    for _ in range(300):
        stage.receive(0, chance.randbytes(chance.randrange(1, 60)))
        stage.advance(chance.randrange(30_000_000))
    assert [record for record in take_records(stage) if record.quality is Quality.GOOD] == []
    assert stage.metrics["garbage_bytes_total"] > 1000


@pytest.mark.parametrize("seed", range(4))
def test_the_stream_recovers_after_noise(module: Path, seed: int) -> None:
    chance = random.Random(seed)
    stage = start(module, {"timeout_ms": 50, "poll_ms": 100, "backoff_max_ms": 1000}, [Point(1, 0)])
    for _ in range(20):
        stage.receive(0, chance.randbytes(40))
        stage.advance(20_000_000)
    take_requests(stage)
    for _ in range(100):
        stage.advance(100_000_000)
        for request in take_requests(stage)[-1:]:
            stage.receive(0, request.reply())
    found = [record for record in take_records(stage) if record.quality is Quality.GOOD]
    assert len(found) > 50
    assert {record.value for record in found} == {register(1, 3, 0)}


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_no_sequence_number_is_missing_or_twice(module: Path, seed: int) -> None:
    """A server that loses, delays and refuses at random, on a port that comes and goes."""
    chance = random.Random(seed)
    points = [Point(unit, address) for unit in (1, 2, 3) for address in (0, 1, 50)]
    stage = start(module, {"timeout_ms": 40, "poll_ms": 100, "backoff_min_ms": 200}, points)
    found: list[Record] = []
    late: list[bytes] = []
    for _ in range(3000):
        for request in take_requests(stage):
            fate = chance.random()
            if fate < 0.6:
                stage.receive(0, request.reply())
            elif fate < 0.7:
                stage.receive(0, request.refusal(4))
            elif fate < 0.85:
                late.append(request.reply())
        stage.advance(chance.randrange(25_000_000))
        if late and chance.random() < 0.3 and stage.ports[0].is_up:
            stage.receive(0, late.pop(0))
        if chance.random() < 0.005:
            stage.set_port(0, not stage.ports[0].is_up)
        found += take_records(stage)
    for index, point in enumerate(points):
        own = [record for record in found if record.tag == index]
        assert [record.seq for record in own] == list(range(len(own)))
        assert {record.value for record in own if record.value is not None} == {point.value()}
        assert {record.quality for record in own} == {Quality.GOOD, Quality.BAD, Quality.STALE}
