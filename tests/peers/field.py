"""pymodbus servers whose registers a test sets, and libmodbus (mbpoll) that reads them as a second opinion."""

from __future__ import annotations

import asyncio
import contextlib
import re
import struct
import subprocess
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

from pymodbus import FramerType
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from gateway.app.plant import null_modem

Table = Literal["coil", "discrete", "holding", "input"]
# By function code: those that read, those that write.
TABLES: dict[int, Table] = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
WRITTEN: dict[int, Table] = {5: "coil", 15: "coil", 6: "holding", 16: "holding"}
REGISTERS = 320
MBPOLL_MOST_S = 20.0
BAUDRATE = 115200


class Image:
    """What the servers hold. Registers are words; coils and discrete inputs are 0 or 1.

    ``writes`` are the requests that wrote so far: unit, function, address, values. What is ``stuck`` stays as it is.
    """

    def __init__(self, *units: int) -> None:
        self.values = {(unit, table): [0] * REGISTERS for unit in units for table in TABLES.values()}
        self.before_read: Callable[[], None] = lambda: None
        self.writes: list[tuple[int, int, int, list[int]]] = []
        self.stuck: set[tuple[int, Table, int]] = set()
        self._units = units

    def put(self, unit: int, table: Table, address: int, values: list[int]) -> None:
        """Set consecutive registers or bits."""
        self.values[unit, table][address : address + len(values)] = values

    def devices(self) -> list[SimDevice]:
        """pymodbus devices that take their registers from here at the moment they are read."""
        return [self._device(unit) for unit in self._units]

    def _device(self, unit: int) -> SimDevice:
        async def refresh(
            function: int, start: int, address: int, count: int, registers: list[int], written: Any
        ) -> ExcCodes | None:
            del count
            assert start == 0
            table = (TABLES | WRITTEN)[function]  # pymodbus reads what it has written with the function that wrote it
            values = self.values[unit, table]
            if written is None:
                self.before_read()
            else:
                self.writes.append((unit, function, address, [int(value) for value in written]))
                if (unit, table, address) not in self.stuck:
                    self.put(unit, table, address, self.writes[-1][3])
            registers[:] = _packed(values) if table in ("coil", "discrete") else values
            return None

        bits = SimData(0, values=[False] * REGISTERS, datatype=DataType.BITS)
        words = SimData(0, count=REGISTERS, values=0, datatype=DataType.REGISTERS)
        return SimDevice(unit, simdata=([bits], [bits], [words], [words]), action=refresh)


def _packed(bits: list[int]) -> list[int]:
    """Sixteen bits to a word, the lowest address in the lowest bit, as pymodbus keeps them."""
    chunks = [bits[at : at + 16] for at in range(0, len(bits), 16)]
    return [sum(bit << index for index, bit in enumerate(chunk)) for chunk in chunks]


@contextlib.asynccontextmanager
async def tcp_server(image: Image, *, rtu: bool = False, port: int = 0) -> AsyncIterator[int]:
    """A pymodbus TCP server, with ``rtu`` one that speaks RTU frames; yields its port number."""
    framer = FramerType.RTU if rtu else FramerType.SOCKET
    server = ModbusTcpServer(image.devices(), framer=framer, address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    assert isinstance(server.transport, asyncio.Server)
    try:
        yield server.transport.sockets[0].getsockname()[1]
    finally:
        await server.shutdown()


@contextlib.asynccontextmanager
async def rtu_server(image: Image) -> AsyncIterator[str]:
    """A pymodbus RTU server at the far end of a serial line; yields the device at the near end."""
    with null_modem(asyncio.get_running_loop()) as (near, far):
        server = ModbusSerialServer(image.devices(), port=far, baudrate=BAUDRATE)
        await server.serve_forever(background=True)
        try:
            yield near
        finally:
            await server.shutdown()


# ---- libmodbus ------------------------------------------------------------------------------------------------------

MBPOLL_TABLES: dict[Table, str] = {"coil": "0", "discrete": "1", "input": "3", "holding": "4"}


class Mbpoll:
    """libmodbus as master on a server: on a TCP port, or on a serial line that nobody else uses now."""

    def __init__(self, where: int | str) -> None:
        rtu = ["-m", "rtu", "-b", str(BAUDRATE), "-P", "none", "-d", "8", "-s", "1"]
        self._mode = rtu if isinstance(where, str) else ["-m", "tcp", "-p", str(where)]
        self._target = where if isinstance(where, str) else "127.0.0.1"

    async def words(self, unit: int, table: Table, address: int, count: int) -> list[int]:
        """Registers, or bits, as they are."""
        kind = MBPOLL_TABLES[table] + (":hex" if table in ("holding", "input") else "")
        values: list[int] = []
        for at in range(address, address + count, 100):
            texts = await self._read(unit, kind, at, min(100, address + count - at))
            values += [int(text, 16) for text in texts]
        return values

    async def number(self, unit: int, table: Table, address: int, kind: str, order: str) -> float:
        """A 32-bit number as libmodbus understands it. ``kind``: int or float; ``order``: abcd or cdab."""
        big = ["-B"] if order == "abcd" else []
        (text,) = await self._read(unit, f"{MBPOLL_TABLES[table]}:{kind}", address, 1, *big)
        return float(text)

    async def _read(self, unit: int, kind: str, address: int, count: int, *more: str) -> list[str]:
        command = ["mbpoll", "-1", "-0", "-q", "-a", str(unit), "-r", str(address), "-c", str(count), "-t", kind]
        command = [part for part in command if part != "-q"] + [*more, *self._mode, self._target]
        pipe = subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
        async with asyncio.timeout(MBPOLL_MOST_S):
            out, err = await process.communicate()
        found = re.findall(r"^\[\d+\]:\s+(\S+)", out.decode(), re.MULTILINE)
        assert len(found) == count, f"{' '.join(command)}: {out.decode()}{err.decode()}"
        return found


# ---- numbers --------------------------------------------------------------------------------------------------------


def f32(value: float) -> float:
    """The nearest number of 32 bits."""
    return float(struct.unpack(">f", struct.pack(">f", value))[0])
