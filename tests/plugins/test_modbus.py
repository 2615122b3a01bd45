"""The Modbus driver against things that were not written down one by one: random tags, random noise, random cuts."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import wasmtime

from gateway.app.plugin_build import build
from gateway.app.vectors import START_NS
from gateway.config.manifest import TagSettings, load_manifest, pack_config
from gateway.record import Record, decode
from tests.plugins.oracle import Ring, Setup, Stage
from tests.runtime_c import toolchain

FOLDER = toolchain.ROOT / "plugins" / "modbus"
SPANS = {"u16": 1, "i16": 1, "u32": 2, "f32": 2, "i64": 4}
FUNCTIONS = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
RING_BYTES = 1 << 18
Tag = dict[str, object]


@pytest.fixture(scope="module")
def module() -> Path:
    return build(FOLDER, toolchain.BUILD / "plugins")


def start(module: Path, config: dict[str, object], tags: Sequence[Tag]) -> Stage:
    """A running stage whose port is up."""
    settings = [TagSettings(index, f"t{index}", "", tag) for index, tag in enumerate(tags)]
    block = pack_config(load_manifest(FOLDER / "plugin.toml"), config, settings, file="test")
    engine = wasmtime.Engine()
    setup = Setup(ports=1, rings=[Ring(False, 1, RING_BYTES)], config=block, unix_ns=START_NS)
    stage = Stage(engine, wasmtime.Module.from_file(engine, str(module)), setup)
    assert stage.start() == 0, stage.logs
    stage.set_port(0, True)
    return stage


def take_sent(stage: Stage) -> bytes:
    sent, stage.ports[0].sent = stage.ports[0].sent, b""
    return sent


def samples(stage: Stage) -> list[Record]:
    found = [record for record in decode(stage.read(0)) if isinstance(record, Record)]
    return sorted(found, key=lambda record: (record.tag, record.seq))


# ---- a server, written from the specification alone ---------------------------------------------------------------


def register(unit: int, function: int, address: int) -> int:
    """What the simulated plant holds there."""
    return (unit * 31 + function * 7 + address * 13) & 0xFFFF


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
            bits = sum((value & 1) << n for n, value in enumerate(values))
            data = bits.to_bytes((self.count + 7) // 8, "little")
        else:
            data = struct.pack(f">{self.count}H", *values)
        return struct.pack(">HHHBBB", self.transaction, 0, 3 + len(data), self.unit, self.function, len(data)) + data


def expected_value(tag: Tag) -> object:
    unit, table, address = tag["unit"], str(tag["table"]), tag["address"]
    assert isinstance(unit, int)
    assert isinstance(address, int)
    kind = str(tag.get("type", "bool"))
    words = [register(unit, FUNCTIONS[table], address + n) for n in range(SPANS.get(kind, 1))]
    if kind == "bool":
        return bool(words[0] & 1)
    raw = struct.pack(f">{len(words)}H", *words)
    code = {"u16": ">H", "i16": ">h", "u32": ">I", "f32": ">f", "i64": ">q"}[kind]
    return struct.unpack(code, raw)[0]


def planned(tags: Sequence[Tag], *, gap: int, registers: int, bits: int) -> list[tuple[int, int, int, int]]:
    """Unit, function, address and count of the requests for ``tags``, by a plain reading of the README."""
    spots = sorted(
        (
            int(str(tag["unit"])),
            FUNCTIONS[str(tag["table"])],
            int(str(tag["address"])),
            SPANS.get(str(tag.get("type")), 1),
        )
        for tag in tags
    )
    found: list[list[int]] = []
    for unit, function, address, span in spots:
        limit = bits if function <= 2 else registers
        if found and found[-1][:2] == [unit, function]:
            end = found[-1][2] + found[-1][3]
            longer = max(end, address + span) - found[-1][2]
            if address <= end + gap and longer <= limit:
                found[-1][3] = longer
                continue
        found.append([unit, function, address, span])
    return [(unit, function, address, count) for unit, function, address, count in found]


def random_tags(chance: random.Random, count: int) -> Iterator[Tag]:
    for _ in range(count):
        table = chance.choice(list(FUNCTIONS))
        tag: Tag = {"unit": chance.randrange(1, 6), "table": table, "address": chance.randrange(600)}
        if table in ("holding", "input"):
            tag["type"] = chance.choice(list(SPANS))
        yield tag


@pytest.mark.parametrize("seed", range(6))
def test_random_tags_are_read_with_the_fewest_requests(module: Path, seed: int) -> None:
    chance = random.Random(seed)
    tags = list(random_tags(chance, chance.choice([1, 30, 300, 1000])))
    limits = {
        "gap": chance.choice([0, 3, 20]),
        "registers": chance.randrange(4, 126),
        "bits": chance.randrange(1, 2001),
    }
    config = {"gap": limits["gap"], "max_registers": limits["registers"], "max_bits": limits["bits"], "poll_ms": 60000}
    stage = start(module, config, tags)
    seen = []
    while sent := take_sent(stage):
        request = Request.parse(sent)
        seen.append((request.unit, request.function, request.address, request.count))
        stage.receive(0, request.reply())
    assert seen == planned(tags, **limits)
    found = samples(stage)
    assert [record.tag for record in found] == list(range(len(tags)))
    for record, tag in zip(found, tags, strict=True):
        value = expected_value(tag)
        finite = not isinstance(value, float) or value - value == 0
        assert (record.value, record.quality) == ((value, 0) if finite else (None, 1))


@pytest.mark.parametrize("framing", ["tcp", "rtu"])
@pytest.mark.parametrize("seed", range(4))
def test_noise_neither_traps_nor_makes_samples(module: Path, framing: str, seed: int) -> None:
    """Foreign bytes between and inside of replies: only what was really sent ends up in a tag."""
    chance = random.Random(seed)
    tags: list[Tag] = [{"unit": 1, "address": 0, "type": "u32"}, {"unit": 2, "address": 5}]
    config: dict[str, object] = {"framing": framing, "timeout_ms": 50, "poll_ms": 100, "backoff_max_ms": 1000}
    stage = start(module, config, tags)
    for _ in range(300):
        stage.receive(0, chance.randbytes(chance.randrange(1, 60)))
        stage.advance(chance.randrange(30_000_000))
    good = [record for record in samples(stage) if record.quality == 0]
    assert good == []
    assert stage.metrics["garbage_bytes_total"] > 1000


@pytest.mark.parametrize("seed", range(4))
def test_the_stream_recovers_after_noise(module: Path, seed: int) -> None:
    chance = random.Random(seed)
    stage = start(module, {"timeout_ms": 50, "poll_ms": 100, "backoff_max_ms": 1000}, [{"unit": 1, "address": 0}])
    for _ in range(20):
        stage.receive(0, chance.randbytes(40))
        stage.advance(20_000_000)
    take_sent(stage)
    samples(stage)
    for _ in range(100):
        stage.advance(100_000_000)
        if sent := take_sent(stage):
            stage.receive(0, Request.parse(sent[-12:]).reply())
    found = [record for record in samples(stage) if record.quality == 0]
    assert len(found) > 50
    assert {record.value for record in found} == {register(1, 3, 0)}


@pytest.mark.parametrize("seed", range(4))
def test_no_sequence_number_is_missing_or_twice(module: Path, seed: int) -> None:
    """A server that loses, delays and refuses at random, on a port that comes and goes."""
    chance = random.Random(seed)
    tags: list[Tag] = [{"unit": unit, "address": address} for unit in (1, 2, 3) for address in (0, 1, 50)]
    stage = start(module, {"timeout_ms": 40, "poll_ms": 100, "backoff_max_ms": 500}, tags)
    found: list[Record] = []
    late: list[bytes] = []
    for _ in range(2000):
        for frame in _frames(take_sent(stage)):
            request = Request.parse(frame)
            fate = chance.random()
            if fate < 0.6:
                stage.receive(0, request.reply())
            elif fate < 0.7:
                stage.receive(
                    0, struct.pack(">HHHBBB", request.transaction, 0, 3, request.unit, request.function | 128, 4)
                )
            elif fate < 0.85:
                late.append(request.reply())
        stage.advance(chance.randrange(25_000_000))
        if late and chance.random() < 0.3 and stage.ports[0].is_up:
            stage.receive(0, late.pop(0))
        if chance.random() < 0.005:
            stage.set_port(0, not stage.ports[0].is_up)
        found += [record for record in decode(stage.read(0)) if isinstance(record, Record)]
    for index, tag in enumerate(tags):
        own = [record for record in found if record.tag == index]
        assert [record.seq for record in own] == list(range(len(own)))
        values = {record.value for record in own if record.value is not None}
        assert values == {register(int(str(tag["unit"])), 3, int(str(tag["address"])))}
        assert {record.quality for record in own} == {0, 1, 2}


def _frames(sent: bytes) -> Iterator[bytes]:
    for at in range(0, len(sent), 12):
        yield sent[at : at + 12]
