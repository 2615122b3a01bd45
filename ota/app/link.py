"""A link like 4G between a client and a server: a TCP proxy with latency, a rate, and connections that end anywhere.

Everything bad comes from a seed: the same seed ends the same connections after the same bytes. A *silent* end is what a
NAT does that forgot a connection: it stays open and nothing comes any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from ota.clock import Clock, random_source

PIECE = 4096
BUFFER = 16 * 1024  # a radio cell holds little of a connection


@dataclass(frozen=True, slots=True)
class Weather:
    """``latency_s`` each way; ``rate`` in bytes/s towards the client, 0: no limit; ``mean_bytes`` until a connection
    ends, 0: they do not; ``silent``: share of ends (0 to 1) that nobody is told of."""

    seed: int = 0
    latency_s: float = 0.0
    rate: int = 0
    mean_bytes: int = 0
    silent: float = 0.0


@dataclass(frozen=True, slots=True)
class Fate:
    """How one connection ends: after ``cut`` bytes towards the client (None: not by us)."""

    cut: int | None
    silent: bool


def fates(weather: Weather) -> Iterator[Fate]:
    """One per connection, from the seed. Pure."""
    chance = random_source(weather.seed)
    while True:
        cut = int(chance.expovariate(1 / weather.mean_bytes)) if weather.mean_bytes else None
        yield Fate(cut, chance.random() < weather.silent)


class Link:
    """One listening socket.

    ``carried``, ``asked``: bytes that went to clients, that came from them; ``ended``: connections that were cut.
    """

    def __init__(self, target: tuple[str, int], weather: Weather, clock: Clock) -> None:
        self._target = target
        self._weather = weather
        self._clock = clock
        self._fates = fates(weather)
        self.carried = 0
        self.asked = 0
        self.ended = 0

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """Start; the server's socket tells the port."""
        return await asyncio.start_server(self._serve, host, port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fate = next(self._fates)
        writer.transport.set_write_buffer_limits(0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                up = tasks.create_task(self._pump(reader, far_writer))
                down = tasks.create_task(self._down(far_reader, writer, fate))
                await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
                up.cancel()  # a client that closes its side is gone, a server that does has said everything
                down.cancel()
        finally:
            far_writer.transport.abort()
            with contextlib.suppress(OSError):
                writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(PIECE):
                self.asked += len(data)
                await self._clock.sleep(self._weather.latency_s)
                writer.write(data)
                await writer.drain()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fate: Fate) -> None:
        sent = 0
        with contextlib.suppress(OSError):
            await self._clock.sleep(self._weather.latency_s)
            while data := await reader.read(PIECE):
                if fate.cut is not None and sent + len(data) > fate.cut:
                    await self._give(writer, data[: fate.cut - sent])
                    self.ended += 1
                    await self._end(writer, fate)
                    return
                await self._give(writer, data)
                sent += len(data)

    async def _give(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        self.carried += len(data)
        await writer.drain()
        if self._weather.rate:
            await self._clock.sleep(len(data) / self._weather.rate)

    async def _end(self, writer: asyncio.StreamWriter, fate: Fate) -> None:
        if fate.silent:
            await writer.wait_closed()
        else:
            writer.transport.abort()
