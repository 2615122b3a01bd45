"""Every value type, byte order and table, as pymodbus holds it, as libmodbus reads it and as it arrives by MQTT."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pymodbus.client.mixin import ModbusClientMixin

from gateway.clock import Clock
from tests.gateway.peers import Mosquitto, until
from tests.peers import site
from tests.peers.field import Image, Mbpoll, Table, f32, rtu_server, tcp_server
from tests.peers.gateway import Gateway
from tests.peers.listener import Listener

DATATYPE = ModbusClientMixin.DATATYPE
TEXT_REGISTERS = 6
ORDERS = ("abcd", "cdab", "badc", "dcba")
LETTERS = 'abc XYZ 09 "\\ °µ€'


@dataclass(frozen=True, slots=True)
class Kind:
    """A value type: what pymodbus calls it, how long it is, and values to try."""

    like: Any  # the pymodbus type with the same bits
    registers: int
    draw: Callable[[random.Random], Any]


def _integer(bits: int, signed: bool) -> Callable[[random.Random], int]:
    low = -(1 << bits - 1) if signed else 0
    high = low + (1 << bits) - 1
    return lambda chance: chance.choice([low, high, 0, chance.randint(low, high), chance.randint(low, high)])


def _text(chance: random.Random) -> str:
    text = "".join(chance.choices(LETTERS, k=chance.randint(0, 2 * TEXT_REGISTERS)))
    while len(text.encode()) > 2 * TEXT_REGISTERS:
        text = text[:-1]
    return text.rstrip()


KINDS = {
    "u16": Kind(DATATYPE.UINT16, 1, _integer(16, False)),
    "i16": Kind(DATATYPE.INT16, 1, _integer(16, True)),
    "u32": Kind(DATATYPE.UINT32, 2, _integer(32, False)),
    "i32": Kind(DATATYPE.INT32, 2, _integer(32, True)),
    "u64": Kind(DATATYPE.UINT64, 4, _integer(64, False)),
    "i64": Kind(DATATYPE.INT64, 4, _integer(64, True)),
    "f32": Kind(DATATYPE.FLOAT32, 2, lambda chance: f32(chance.uniform(-1, 1) * 10 ** chance.randint(-30, 30))),
    "f64": Kind(DATATYPE.FLOAT64, 4, lambda chance: chance.uniform(-1, 1) * 10 ** chance.randint(-300, 300)),
    "bcd16": Kind(DATATYPE.UINT16, 1, lambda chance: chance.randint(0, 9999)),
    "bcd32": Kind(DATATYPE.UINT32, 2, lambda chance: chance.randint(0, 99999999)),
    "string": Kind(DATATYPE.STRING, TEXT_REGISTERS, _text),
    "bool": Kind(DATATYPE.UINT16, 1, lambda chance: bool(chance.randint(0, 1))),
}


@dataclass(frozen=True, slots=True)
class Point:
    """A tag and where its value lies; ``bit`` -1: not a single bit."""

    name: str
    unit: int
    table: Table
    address: int
    type: str
    order: str
    bit: int = -1

    @property
    def is_bit(self) -> bool:
        return self.table in ("coil", "discrete")

    def to_words(self, value: Any, chance: random.Random) -> list[int]:
        """What a server holds. Bits beside a single one are noise."""
        if self.is_bit:
            return [int(value)]
        if self.bit >= 0:
            return [chance.getrandbits(16) & ~(1 << self.bit) | int(value) << self.bit]
        if self.type.startswith("bcd"):
            value = int(str(value), 16)
        kind = KINDS[self.type]
        words = ModbusClientMixin.convert_to_registers(value, kind.like, "big")
        words += [0] * (kind.registers - len(words))
        return self._reorder(words)

    def from_words(self, words: list[int]) -> Any:
        """The value that pymodbus finds in ``words``."""
        if self.is_bit:
            return bool(words[0])
        if self.bit >= 0:
            return bool(words[0] >> self.bit & 1)
        value: Any = ModbusClientMixin.convert_from_registers(self._reorder(words), KINDS[self.type].like, "big")
        if self.type.startswith("bcd"):
            return int(f"{value:x}")
        return bool(value) if self.type == "bool" else value

    def _reorder(self, words: list[int]) -> list[int]:
        """Between big-endian words and this order, both ways. Texts have no words to swap."""
        if self.order in ("cdab", "dcba") and self.type != "string":
            words = words[::-1]
        if self.order in ("badc", "dcba"):
            words = [word >> 8 | (word & 255) << 8 for word in words]
        return words

    def setting(self) -> str:
        """Its ``[[tag]]``. Reference numbers instead of addresses are tried as well."""
        settings: dict[str, object] = {"unit": self.unit, "table": self.table, "address": self.address}
        if self.table != "coil" and self.address % 2:
            base = {"discrete": 100001, "input": 300001, "holding": 400001}[self.table]
            settings = {"unit": self.unit, "address": base + self.address}
        if self.bit >= 0:
            settings["bit"] = self.bit
        elif not self.is_bit:
            settings |= {"type": self.type, "order": self.order}
        if self.type == "string":
            settings["registers"] = TEXT_REGISTERS
        return site.tag(self.name, "field", **settings)


def words_of(point: Point) -> int:
    return 1 if point.is_bit or point.bit >= 0 else KINDS[point.type].registers


def layout() -> list[Point]:
    """Unit 1: every type and order as holding registers, unit 2 as input registers, unit 3: bits of all tables."""
    points = []
    places: tuple[tuple[int, Table], ...] = ((1, "holding"), (2, "input"))
    for unit, table in places:
        address = unit
        for order in ORDERS:
            for name, kind in KINDS.items():
                points.append(Point(f"{table}/{name}/{order}", unit, table, address, name, order))
                address += kind.registers
            address += 3  # a hole
    bits: tuple[Table, ...] = ("coil", "discrete")
    for table in bits:
        points += [Point(f"{table}/{at}", 3, table, at, "bool", "abcd") for at in (0, 1, 7, 8, 15, 16, 40, 299)]
    tables: tuple[Table, ...] = ("holding", "input")
    for table in tables:
        points += [Point(f"{table}/bit{bit}", 3, table, 9, "bool", "abcd", bit) for bit in range(16)]
    return points


POINTS = layout()


def fill(image: Image, chance: random.Random) -> dict[str, Any]:
    """New values everywhere; returns them by tag. Single bits of one register share its word."""
    values = {}
    for point in POINTS:
        value = KINDS[point.type].draw(chance)
        words = point.to_words(value, chance)
        if point.bit > 0:  # the word is there, with the bits before
            (word,) = image.values[point.unit, point.table][point.address : point.address + 1]
            words = [word & ~(1 << point.bit) | words[0] & 1 << point.bit]
        image.put(point.unit, point.table, point.address, words)
        values[point.name] = value
    return values


def same(found: Any, wanted: Any) -> bool:
    """Numbers with a fraction travel with 15 significant digits, everything else exactly and with its type."""
    if isinstance(wanted, float):
        return isinstance(found, (int, float)) and math.isclose(found, wanted, rel_tol=6e-15, abs_tol=0.0)
    return type(found) is type(wanted) and found == wanted


def differences(listener: Listener, wanted: dict[str, Any]) -> dict[str, Any]:
    """Tags whose newest sample is not the good one that is wanted."""
    latest = {name: listener.latest(name) for name in wanted}
    return {
        name: (one and (one.q, one.v), wanted[name])
        for name, one in latest.items()
        if one is None or one.q != "good" or not same(one.v, wanted[name])
    }


async def second_opinion(master: Mbpoll, image: Image) -> dict[str, Any]:
    """Every tag from registers that libmodbus reads; its own 32-bit numbers must be those, too."""
    held: dict[tuple[int, Table], list[int]] = {}
    for unit, table in sorted({(point.unit, point.table) for point in POINTS}):
        held[unit, table] = await master.words(unit, table, 0, len(image.values[unit, table]))
    values = {}
    for point in POINTS:
        words = held[point.unit, point.table][point.address : point.address + words_of(point)]
        values[point.name] = point.from_words(words)
        if point.type in ("i32", "f32") and point.order in ("abcd", "cdab"):
            kind = "int" if point.type == "i32" else "float"
            number = await master.number(point.unit, point.table, point.address, kind, point.order)
            assert math.isclose(number, values[point.name], rel_tol=1e-5), point
    return values


@contextlib.asynccontextmanager
async def served(framing: str, image: Image, folder: Path) -> AsyncIterator[tuple[str, Mbpoll, dict[str, str]]]:
    """A server; yields the site's port, libmodbus on the same registers, and the board's devices."""
    if framing == "rtu":
        async with rtu_server(image) as device:
            yield site.serial_port("field"), Mbpoll(device), {"field": device}
        return
    async with tcp_server(image, rtu=framing == "rtu_tcp") as number:
        if framing == "tcp":
            yield site.tcp_port("field", number), Mbpoll(number), {}
            return
        line = folder / "line"  # libmodbus speaks RTU on serial lines only: socat makes one of the TCP port
        socat = await asyncio.create_subprocess_exec("socat", f"pty,raw,echo=0,link={line}", f"tcp:127.0.0.1:{number}")
        try:
            await until(line.exists, "socat makes a serial line")
            yield site.tcp_port("field", number), Mbpoll(str(line)), {}
        finally:
            socat.terminate()
            await socat.wait()


ROUNDS, READINGS = 3, 5
# Requests of different sizes, with and without holes; all give the same values.
PLANS: dict[str, dict[str, object]] = {
    "tcp": {"poll_ms": 50, "gap": 8},
    "rtu": {"poll_ms": 200, "max_registers": 40},
    "rtu_tcp": {"poll_ms": 50, "max_bits": 9},
}


@pytest.mark.parametrize("framing", PLANS)
def test_all_types_orders_and_tables(framing: str, tmp_path: Path, broker: Mosquitto, seed: int) -> None:
    chance, image = random.Random(seed), Image(1, 2, 3)

    async def scene() -> None:
        async with served(framing, image, tmp_path) as (port, master, devices), Listener(broker.port) as heard:
            text = site.HEAD + port + site.driver("field", framing=framing, timeout_ms=3000, **PLANS[framing])
            text += site.uplink(["field"], broker.port) + "".join(point.setting() for point in POINTS)
            wanted: dict[str, Any] = {}
            async with Gateway(tmp_path, text, devices) as gateway:
                for _ in range(ROUNDS):
                    wanted = fill(image, chance)
                    await arrive(gateway, heard, wanted)
                    if framing != "rtu":  # the gateway keeps others off its serial line
                        assert_same(await second_opinion(master, image), wanted)
                        assert differences(heard, wanted) == {}
                final = await gateway.stop()
            if framing == "rtu":
                assert_same(await second_opinion(master, image), wanted)
            assert final["stages"]["field"]["metrics"]["exceptions_total"] == 0
            assert gateway.traps == {}
            heard.assert_whole()

    asyncio.run(scene())


async def arrive(gateway: Gateway, heard: Listener, wanted: dict[str, Any]) -> None:
    await gateway.until(lambda: not differences(heard, wanted), "all values as the server holds them")


def assert_same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert {name: (found[name], value) for name, value in wanted.items() if not same(found[name], value)} == {}


def test_a_moving_value_lies_between_what_others_read_before_and_after(tmp_path: Path, broker: Mosquitto) -> None:
    """A counter of milliseconds that libmodbus reads while the gateway polls: every reading has its place in time."""
    image, clock = Image(1), Clock()
    started_s = clock.monotonic_s()

    def count() -> None:
        elapsed_ms = round((clock.monotonic_s() - started_s) * 1000)
        image.put(1, "input", 10, [elapsed_ms >> 16, elapsed_ms & 0xFFFF])

    image.before_read = count

    async def scene() -> None:
        async with tcp_server(image) as number, Listener(broker.port) as heard:
            text = site.HEAD + site.tcp_port("field", number) + site.driver("field", poll_ms=20)
            text += site.uplink(["field"], broker.port)
            text += site.tag("ms", "field", unit=1, table="input", address=10, type="u32")
            async with Gateway(tmp_path, text) as gateway:
                for _ in range(READINGS):
                    await bracket(gateway, heard, Mbpoll(number), clock)
            values = [sample.v for sample in heard.samples["ms"]]
            assert values == sorted(values)
            heard.assert_whole()

    asyncio.run(scene())


async def bracket(gateway: Gateway, heard: Listener, master: Mbpoll, clock: Clock) -> None:
    """One reading of libmodbus. ``t`` is the end of a sample's frame, in whole milliseconds rounded down."""
    await gateway.until(lambda: heard.latest("ms") is not None, "a sample before")
    begin_ms = clock.unix_ns() // 1_000_000
    read = await master.number(1, "input", 10, "int", "abcd")
    end_ms = clock.unix_ns() // 1_000_000

    def after() -> list[int]:
        return [sample.v for sample in heard.samples.get("ms", []) if sample.t > end_ms]

    await gateway.until(lambda: len(after()) > 1, "samples after that")
    before = [sample.v for sample in heard.samples["ms"] if sample.t < begin_ms]
    assert before[-1] <= read, "asked for and answered before"
    assert read <= after()[1], "asked for after the first one that came after"
