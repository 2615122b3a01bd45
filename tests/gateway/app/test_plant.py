"""The simulated plant, asked by a Modbus client that nobody here wrote."""

from __future__ import annotations

import asyncio
import struct
import tomllib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient

from gateway.app import plant
from gateway.app.child import Child
from gateway.app.plant import POINTS, Point, put, ramp, steps, wave


def test_curves() -> None:
    assert wave(10, 5, 4)(1) == pytest.approx(15)
    assert ramp(100, 2)(3) == 106
    assert [steps(2, 7, 8, 9)(second) for second in (0, 1.9, 2, 5.9, 6)] == [7, 7, 8, 9, 7]


@pytest.mark.parametrize(
    ("kind", "address", "value", "expected"),
    [
        ("i16", 1, -2.0, [0, 0xFFFE, 0, 0]),
        ("u32", 1, 0x12345678, [0, 0x1234, 0x5678, 0]),
        ("f32", 2, 1.0, [0, 0, 0x3F80, 0]),
        ("bit", 17, 1, [0, 2, 0, 0]),
    ],
)
def test_values_become_registers(kind: Any, address: int, value: float, expected: list[int]) -> None:
    registers = [0] * 4
    put(registers, 0, Point("tcp", 1, "holding", address, kind, lambda _: value), 0)
    assert registers == expected


def test_a_bit_leaves_its_neighbours_alone() -> None:
    registers = [0xFFFF]
    put(registers, 0, Point("tcp", 1, "coil", 3, "bit", lambda _: 0), 0)
    assert registers == [0xFFF7]


def test_no_two_points_overlap() -> None:
    used: set[tuple[str, int, str, int]] = set()
    for point in POINTS:
        words = 1 if point.type == "bit" else struct.calcsize(plant.PACKING[point.type]) // 2
        places = {(point.bus, point.unit, point.table, point.address + word) for word in range(words)}
        assert not used & places, point
        used |= places


def test_the_demo_site_reads_every_point(root: Path) -> None:
    site = tomllib.loads((root / "gateway/app/demo_site.toml").read_text("utf-8"))
    bus = {"plc": "tcp", "meters": "rtu"}
    asked = {
        (
            bus[tag["from"]],
            tag["modbus"]["unit"],
            tag["modbus"]["table"],
            tag["modbus"]["address"],
            tag["modbus"].get("type", "bit"),
        )
        for tag in site["tag"]
    }
    assert asked == {(point.bus, point.unit, point.table, point.address, point.type) for point in POINTS}


def run_with_plant(use: Callable[[Child], Awaitable[None]]) -> None:
    async def go() -> None:
        child = await Child.start("gateway.app.plant")
        try:
            await asyncio.wait_for(use(child), 20)
        finally:
            await child.stop()

    asyncio.run(go())


READS = {
    "coil": "read_coils",
    "discrete": "read_discrete_inputs",
    "holding": "read_holding_registers",
    "input": "read_input_registers",
}


async def check_bus(client: Any, bus: str) -> None:
    assert await client.connect()
    for point in (point for point in POINTS if point.bus == bus):
        words = 1 if point.type == "bit" else struct.calcsize(plant.PACKING[point.type]) // 2
        answer = await getattr(client, READS[point.table])(point.address, count=words, device_id=point.unit)
        assert not answer.isError(), (point, answer)
    missing = await client.read_holding_registers(60000, count=1, device_id=1 if bus == "tcp" else 11)
    assert missing.isError(), "an address that is not there is an exception response"
    client.close()


def test_every_point_answers_on_tcp() -> None:
    async def use(child: Child) -> None:
        await check_bus(AsyncModbusTcpClient("127.0.0.1", port=child.ready["tcp_port"]), "tcp")

    run_with_plant(use)


def test_every_point_answers_on_the_serial_line() -> None:
    async def use(child: Child) -> None:
        line = {"port": child.ready["serial"], "baudrate": child.ready["baudrate"]}
        for _ in range(2):  # the line survives that its peer closes and opens it
            await check_bus(AsyncModbusSerialClient(**line), "rtu")

    run_with_plant(use)
