"""A simulated plant: one Modbus TCP server with three units, one Modbus RTU server at the end of a serial line.

``python -m gateway.app.plant`` prints a JSON object, ``{"tcp_port": ..., "serial": ...}``, and serves. The register
map is the table POINTS; values are functions of the time since the start, evaluated when a register is read. The
serial line is a pair of pseudo-terminals joined like a null-modem cable: pymodbus opens one end, the gateway the other,
both through pyserial.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
import struct
import sys
import tty
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from gateway.app.child import serve_until_eof
from gateway.clock import Clock

Table = Literal["coil", "discrete", "holding", "input"]
TABLES: dict[int, Table] = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
PACKING = {"i16": ">h", "u16": ">H", "u32": ">I", "f32": ">f"}
BAUDRATE = 19200


@dataclass(frozen=True, slots=True)
class Point:
    """One value of the plant. ``value`` maps seconds since the start to the raw register value."""

    bus: Literal["tcp", "rtu"]
    unit: int
    table: Table
    address: int
    type: Literal["i16", "u16", "u32", "f32", "bit"]
    value: Callable[[float], float]


def wave(middle: float, swing: float, period_s: float) -> Callable[[float], float]:
    """A sine around ``middle``."""
    return lambda t: middle + swing * math.sin(2 * math.pi * t / period_s)


def ramp(start: float, per_second: float) -> Callable[[float], float]:
    """A counter that only grows."""
    return lambda t: start + per_second * t


def steps(period_s: float, *values: float) -> Callable[[float], float]:
    """One value after the other, each for ``period_s``, and over again."""
    return lambda t: values[int(t / period_s) % len(values)]


POINTS: tuple[Point, ...] = (
    # unit 1: a boiler
    Point("tcp", 1, "holding", 0, "i16", wave(723, 48, 40)),  # 0.1 °C
    Point("tcp", 1, "holding", 1, "i16", wave(581, 35, 55)),  # 0.1 °C
    Point("tcp", 1, "holding", 2, "u16", wave(2400, 300, 30)),  # mbar
    Point("tcp", 1, "discrete", 0, "bit", steps(7, 1, 0)),  # burner on
    Point("tcp", 1, "coil", 3, "bit", steps(11, 0, 1)),  # pump released
    # unit 2: a compressor
    Point("tcp", 2, "input", 0, "f32", wave(2.8, 1.9, 12)),  # mm/s
    Point("tcp", 2, "input", 2, "u32", ramp(1_204_500, 24.6)),  # revolutions
    Point("tcp", 2, "holding", 10, "u16", steps(5, 0, 1, 2, 2, 2, 3)),  # stopped, starting, running, fault
    # unit 3: an energy meter
    Point("tcp", 3, "input", 100, "u32", ramp(77_315_000, 3.2)),  # Wh
    Point("tcp", 3, "input", 102, "f32", wave(11_500, 900, 25)),  # W
    Point("tcp", 3, "input", 104, "f32", wave(230.4, 1.6, 18)),  # V
    # units 11 and 12 on the serial line: a tank and an outside station
    Point("rtu", 11, "holding", 0, "i16", wave(184, 21, 33)),  # 0.1 °C
    Point("rtu", 11, "holding", 1, "u16", wave(1500, 1100, 60)),  # mm
    Point("rtu", 11, "discrete", 0, "bit", steps(9, 0, 0, 1)),  # level alarm
    Point("rtu", 12, "input", 0, "i16", wave(-35, 90, 120)),  # 0.1 °C, below zero too
    Point("rtu", 12, "input", 1, "u16", wave(640, 150, 90)),  # 0.1 % relative humidity
)


class Registers:
    """The pymodbus devices of one bus. Registers take their value at the moment they are read."""

    def __init__(self, bus: Literal["tcp", "rtu"], clock: Clock) -> None:
        self._points = [point for point in POINTS if point.bus == bus]
        self._clock = clock
        self._start_s = clock.monotonic_s()

    def devices(self) -> list[SimDevice]:
        """One device per unit; addresses without a point up to the last one read as zero."""
        return [self._device(unit) for unit in sorted({point.unit for point in self._points})]

    def _device(self, unit: int) -> SimDevice:
        points = [point for point in self._points if point.unit == unit]

        async def refresh(
            function: int, start: int, address: int, count: int, registers: list[int], written: Any
        ) -> ExcCodes | None:
            del address, count, written
            now_s = self._clock.monotonic_s() - self._start_s
            for point in points:
                if point.table == TABLES.get(function):
                    put(registers, start, point, now_s)
            return None

        coils, discretes, holdings, inputs = (_block(points, table) for table in TABLES.values())
        return SimDevice(unit, simdata=(coils, discretes, holdings, inputs), action=refresh)


def _block(points: list[Point], table: Table) -> list[SimData]:
    end = 2 + max((point.address for point in points if point.table == table), default=14)
    if table in ("coil", "discrete"):
        return [SimData(0, values=[False] * 16 * -(-end // 16), datatype=DataType.BITS)]
    return [SimData(0, count=end, values=0, datatype=DataType.REGISTERS)]


def put(registers: list[int], start: int, point: Point, now_s: float) -> None:
    """Write the value of ``point`` at ``now_s`` into ``registers``, whose first one has the address ``start``.

    Bits live sixteen to a register, the lowest address in the lowest bit.
    """
    value = point.value(now_s)
    if point.type == "bit":
        index, bit = divmod(point.address, 16)
        mask = 1 << bit
        registers[index - start] = registers[index - start] & ~mask | (mask if value else 0)
        return
    raw = struct.pack(PACKING[point.type], value if point.type == "f32" else round(value))
    words = struct.unpack(f">{len(raw) // 2}H", raw)
    registers[point.address - start : point.address - start + len(words)] = words


@contextlib.contextmanager
def null_modem(loop: asyncio.AbstractEventLoop) -> Iterator[tuple[str, str]]:
    """Two serial devices joined by a cable; yields their paths.

    Both ends stay open here, in raw mode, so that a peer which closes and opens its end again finds the line as it was.
    """
    pairs = [os.openpty() for _ in range(2)]
    (one, one_end), (other, other_end) = pairs
    for _, end in pairs:
        tty.setraw(end)
    loop.add_reader(one, _carry, one, other)
    loop.add_reader(other, _carry, other, one)
    try:
        yield os.ttyname(one_end), os.ttyname(other_end)
    finally:
        loop.remove_reader(one)
        loop.remove_reader(other)
        for fd in (one, one_end, other, other_end):
            os.close(fd)


def _carry(source: int, target: int) -> None:
    os.write(target, os.read(source, 4096))


async def serve(tcp_port: int) -> None:
    """Run the plant on 127.0.0.1 until standard input ends."""
    clock = Clock()
    loop = asyncio.get_running_loop()
    with null_modem(loop) as (gateway_end, plant_end):
        tcp = ModbusTcpServer(Registers("tcp", clock).devices(), address=("127.0.0.1", tcp_port))
        rtu = ModbusSerialServer(Registers("rtu", clock).devices(), port=plant_end, baudrate=BAUDRATE)
        await tcp.serve_forever(background=True)
        await rtu.serve_forever(background=True)
        assert isinstance(tcp.transport, asyncio.Server)
        port = tcp.transport.sockets[0].getsockname()[1]
        await serve_until_eof({"tcp_port": port, "serial": gateway_end, "baudrate": BAUDRATE})
        await tcp.shutdown()
        await rtu.shutdown()


def main(arguments: list[str] | None = None) -> int:
    """``python -m gateway.app.plant [--tcp-port N]``."""
    parser = argparse.ArgumentParser(prog="plant", description="simulated Modbus plant on loopback")
    parser.add_argument("--tcp-port", type=int, default=0, help="port of the Modbus TCP server (default: a free one)")
    asyncio.run(serve(parser.parse_args(arguments).tcp_port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
