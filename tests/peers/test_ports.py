"""Servers and serial lines that go away and come back, several times; the other ports do not notice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from gateway.clock import Clock
from tests.gateway.peers import Mosquitto
from tests.peers import site
from tests.peers.gateway import Gateway
from tests.peers.listener import Listener
from tests.peers.slave import SerialSlave, Slave, TcpSlave, place_of

AWAY, TCP, SERIAL = "away", "tcp", "serial"  # ports: the one that suffers, two that must not
SAMPLES = 25  # that the others must get while one is away
ROUNDS = 2
BACKOFF_FIRST_S = 0.5


@dataclass(frozen=True, slots=True)
class Works:
    """A gateway with three ports, one tag on each, named like its port."""

    gateway: Gateway
    heard: Listener

    async def comes(self, slave: Slave) -> None:
        """Wait for a value of the port that was away."""
        since = len(slave.replies)

        def fresh() -> bool:
            latest = self.heard.latest(AWAY)
            return latest is not None and latest.q == "good" and place_of(latest.v).reply >= since

        await self.gateway.until(fresh, "it is back")

    async def goes(self, problem: str) -> None:
        """Wait until the port says what is wrong and its tag is stale; the others go on all the while."""
        await self.gateway.until(lambda: problem in self.gateway.port(AWAY).get("problem", ""), problem)
        await self.gateway.until(lambda: self.heard.quality(AWAY) <= {"stale", "none"}, "the tag is stale")
        wanted = {name: len(self.heard.samples.get(name, [])) + SAMPLES for name in (TCP, SERIAL)}
        await self.gateway.until(
            lambda: all(len(self.heard.samples[name]) >= count for name, count in wanted.items()), "the others go on"
        )

    async def end(self) -> int:
        """The others were opened once and never showed anything but good values; returns the port's own openings."""
        assert {sample.q for name in (TCP, SERIAL) for sample in self.heard.samples[name]} == {"good"}
        final = await self.gateway.stop()
        opens = {name: port["opens"] for name, port in final["ports"].items()}
        assert (opens[TCP], opens[SERIAL]) == (1, 1)
        assert self.gateway.traps == {}
        self.heard.assert_whole()
        return int(opens[AWAY])


@contextlib.asynccontextmanager
async def works(
    folder: Path, broker: Mosquitto, port: str, framing: str, devices: dict[str, str]
) -> AsyncIterator[Works]:
    """A gateway on the port that will be away, given as text, and on two slaves that stay."""
    async with TcpSlave() as tcp, SerialSlave() as serial, Listener(broker.port) as heard:
        text, board = site.HEAD + port + site.driver(AWAY, framing=framing, poll_ms=20), dict(devices)
        for name, slave in ((TCP, tcp), (SERIAL, serial)):
            other, kind, more = slave.reached_by(name)
            text += other + site.driver(name, framing=kind, poll_ms=20, timeout_ms=5000)
            board |= more
        text += site.uplink([AWAY, TCP, SERIAL], broker.port)
        text += "".join(site.tag(name, name, unit=1, address=0, type="u32") for name in (AWAY, TCP, SERIAL))
        async with Gateway(folder, text, board) as gateway:
            yield Works(gateway, heard)


def test_a_tcp_server_that_comes_late_goes_away_and_comes_back(tmp_path: Path, broker: Mosquitto) -> None:
    async def scene() -> None:
        slave = TcpSlave()
        async with slave:  # to have a port number of its own
            port, framing, _ = slave.reached_by(AWAY)
        async with works(tmp_path, broker, port, framing, {}) as run:
            for _ in range(ROUNDS):
                await run.goes("Connection refused")
                async with slave:
                    await run.comes(slave)
            assert await run.end() == ROUNDS

    asyncio.run(scene())


def test_a_serial_line_is_pulled_and_plugged_in_again(tmp_path: Path, broker: Mosquitto) -> None:
    line = tmp_path / "line"

    async def scene() -> None:
        slave = SerialSlave()
        async with works(tmp_path, broker, site.serial_port(AWAY), "rtu", {AWAY: str(line)}) as run:
            for _ in range(ROUNDS):
                await run.goes("no such device")
                async with slave:
                    line.symlink_to(slave.device)
                    await run.comes(slave)
                    line.unlink()
            assert await run.end() == ROUNDS

    asyncio.run(scene())


def test_a_server_that_hangs_up_at_once_is_tried_less_and_less(tmp_path: Path, broker: Mosquitto) -> None:
    tries_s: list[float] = []

    def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tries_s.append(Clock().monotonic_s())
        writer.transport.abort()

    async def scene() -> None:
        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        async with server:
            number = server.sockets[0].getsockname()[1]
            async with works(tmp_path, broker, site.tcp_port(AWAY, number), "tcp", {}) as run:
                await run.gateway.until(lambda: len(tries_s) >= 4, "it tries again")
                assert await run.end() >= 4

    asyncio.run(scene())
    pauses_s = [later - earlier for earlier, later in pairwise(tries_s)]
    print("pauses between attempts:", ", ".join(f"{pause_s:.2f} s" for pause_s in pauses_s))
    # Doubling, each shortened by up to half at random. Only the shortest is sure: a busy machine adds to it.
    assert all(pause_s >= BACKOFF_FIRST_S * 2**number / 2 for number, pause_s in enumerate(pauses_s))
