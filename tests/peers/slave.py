"""A Modbus slave that misbehaves as it is told, in a TCP stream and on a serial line.

Every register pair at an even address holds a number that says where it was read and in which reply: ``unit << 24 |
address << 16 | reply``. So a value that lands in the wrong tag, or that must not land at all, gives itself away.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import struct
import tty
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from gateway.clock import Clock
from tests.peers import site

READ_HOLDING, WRITE_REGISTER, EXCEPTION = 3, 6, 0x80
MBAP = struct.Struct(">HHH")
RTU_REQUEST_BYTES = 8
APART_S = 0.001  # lets what was sent arrive by itself before more is sent


@dataclass(frozen=True, slots=True)
class Request:
    """One request for holding registers; ``transaction`` is 0 on a serial line."""

    transaction: int
    unit: int
    function: int
    address: int
    count: int


@dataclass(frozen=True, slots=True)
class Place:
    """What a value says about itself."""

    unit: int
    address: int
    reply: int


def place_of(value: int) -> Place:
    """Where the slave has put ``value``."""
    return Place(value >> 24, value >> 16 & 0xFF, value & 0xFFFF)


@dataclass(eq=False, slots=True)
class Reply:
    """One reply. ``counts``: it was sent whole and right and in time, its values are to be believed."""

    number: int
    request: Request
    counts: bool = False


def crc(data: bytes) -> bytes:
    """CRC-16/MODBUS, bit by bit, low byte first."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return struct.pack("<H", value)


def rtu_frame(request: Request, body: bytes) -> bytes:
    """Unit, function, ``body`` and CRC."""
    frame = bytes([request.unit, request.function]) + body
    return frame + crc(frame)


class Exchange:
    """A request and the means to answer it, well or badly."""

    def __init__(self, slave: Slave, wire: Wire, reply: Reply) -> None:
        self.slave = slave
        self.reply = reply
        self.request = reply.request
        self._wire = wire

    def frame(self, **changes: int) -> bytes:
        """The right frame, or with ``transaction``, ``unit``, ``function`` or ``count`` changed one that is not."""
        request = replace(self.request, **changes)
        words = [
            request.unit << 8 | at & 0xFF if at % 2 == 0 else self.reply.number
            for at in range(request.address, request.address + request.count)
        ]
        return self._wire.wrap(request, struct.pack(f">B{len(words)}H", 2 * len(words), *words))

    def exception(self, code: int) -> bytes:
        """The frame of an exception."""
        request = replace(self.request, function=self.request.function | EXCEPTION)
        return self._wire.wrap(request, bytes([code]))

    def believed(self) -> None:
        """From now on the values of this reply may land in their tags."""
        self.reply.counts = True

    async def send(self, *pieces: bytes) -> None:
        """One after the other, apart from each other."""
        for piece in pieces:
            self._wire.write(piece)
            await self.slave.clock.sleep(APART_S)

    def send_later(self, seconds: float, data: bytes) -> None:
        """Answer meanwhile what else is asked."""
        asyncio.get_running_loop().call_later(seconds, self._wire.write, data)

    def hang_up(self) -> None:
        """End the connection at once."""
        self._wire.cut()


Manner = Callable[[Exchange], Awaitable[None]]


class Wire(ABC):
    """What bytes travel on, and what is put around them there."""

    @abstractmethod
    def wrap(self, request: Request, body: bytes) -> bytes:
        """A frame: unit and function of ``request``, then ``body``."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Send, unless the connection has gone."""

    def cut(self) -> None:
        """End the connection, where there is one."""
        raise AssertionError("a serial line cannot hang up")


class TcpWire(Wire):
    """A TCP connection."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def wrap(self, request: Request, body: bytes) -> bytes:
        return MBAP.pack(request.transaction, 0, 2 + len(body)) + bytes([request.unit, request.function]) + body

    def write(self, data: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(data)

    def cut(self) -> None:
        self._writer.close()


class RtuTcpWire(TcpWire):
    """A TCP connection with the frames of a serial line."""

    def wrap(self, request: Request, body: bytes) -> bytes:
        return rtu_frame(request, body)


class SerialWire(Wire):
    """The far end of a serial line."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def wrap(self, request: Request, body: bytes) -> bytes:
        return rtu_frame(request, body)

    def write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # the line may have gone before a late reply
            os.write(self._fd, data)


async def well(exchange: Exchange) -> None:
    """At once, whole and right."""
    exchange.believed()
    await exchange.send(exchange.frame())


class Slave(ABC):
    """Answers every request in the manner of its unit, else ``well``. ``replies`` is what it has answered so far."""

    def __init__(self, manners: dict[int, Manner] | None = None, seed: int = 0) -> None:
        self.manners = manners or {}
        self.chance = random.Random(seed)
        self.clock = Clock()
        self.replies: list[Reply] = []
        self.asked_s: list[tuple[float, int]] = []  # (monotonic time, unit) of every request
        self._answering: set[asyncio.Task[None]] = set()

    @abstractmethod
    async def start(self) -> None:
        """Be there, again at the same address."""

    @abstractmethod
    async def stop(self) -> None:
        """Be gone, with all connections."""

    @abstractmethod
    def reached_by(self, port: str) -> tuple[str, str, dict[str, str]]:
        """How a site gets here: the text of its port, the framing, the devices of its board."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    def asked(self, transaction: int, pdu: bytes, wire: Wire) -> None:
        """Answer the request in ``pdu`` (with its unit before) while more may come."""
        unit, function, address, count = struct.unpack(">BBHH", pdu)
        assert function in (READ_HOLDING, WRITE_REGISTER)
        reply = Reply(len(self.replies), Request(transaction, unit, function, address, count))
        assert reply.number < 1 << 16
        self.replies.append(reply)
        self.asked_s.append((self.clock.monotonic_s(), unit))
        task = asyncio.create_task(self._answer(Exchange(self, wire, reply)))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, exchange: Exchange) -> None:
        await self.manners.get(exchange.request.unit, well)(exchange)


class TcpSlave(Slave):
    """Listens on ``port`` of the loopback."""

    port = 0
    connections = 0

    async def start(self) -> None:
        self._writers: set[asyncio.StreamWriter] = set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    def reached_by(self, port: str) -> tuple[str, str, dict[str, str]]:
        return site.tcp_port(port, self.port), "tcp", {}

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._listen(reader, writer)
        self._writers.discard(writer)
        writer.close()

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = TcpWire(writer)
        while True:
            transaction, protocol, length = MBAP.unpack(await reader.readexactly(MBAP.size))
            assert (protocol, length) == (0, 6)
            self.asked(transaction, await reader.readexactly(length), wire)


class RtuTcpSlave(TcpSlave):
    """Speaks the frames of a serial line in a TCP stream, as serial servers and 4G modems do."""

    def reached_by(self, port: str) -> tuple[str, str, dict[str, str]]:
        return site.tcp_port(port, self.port), "rtu_tcp", {}

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = RtuTcpWire(writer)
        while True:
            frame = await reader.readexactly(RTU_REQUEST_BYTES)
            assert crc(frame[:-2]) == frame[-2:]
            self.asked(0, frame[:-2], wire)


class SerialSlave(Slave):
    """On a pseudo-terminal; ``device`` is the end for the gateway, another one after every start."""

    device = ""

    async def start(self) -> None:
        self._fd, self._near = os.openpty()
        tty.setraw(self._near)
        self.device = os.ttyname(self._near)
        self._bytes = b""
        asyncio.get_running_loop().add_reader(self._fd, self._read)

    async def stop(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)
        os.close(self._near)

    def reached_by(self, port: str) -> tuple[str, str, dict[str, str]]:
        return site.serial_port(port), "rtu", {port: self.device}

    def _read(self) -> None:
        self._bytes += os.read(self._fd, 4096)
        while len(self._bytes) >= RTU_REQUEST_BYTES:
            frame, self._bytes = self._bytes[:RTU_REQUEST_BYTES], self._bytes[RTU_REQUEST_BYTES:]
            assert crc(frame[:-2]) == frame[-2:]
            self.asked(0, frame[:-2], SerialWire(self._fd))
