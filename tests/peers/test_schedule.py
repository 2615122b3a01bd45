"""A second slave behind the same port stays on time while the first is dead."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from tests.gateway.peers import Mosquitto
from tests.peers import manners, site
from tests.peers.gateway import Gateway
from tests.peers.listener import Listener
from tests.peers.slave import SerialSlave, Slave, TcpSlave

POLL_MS, TIMEOUT_MS, BACKOFF_MS = 500, 120, 300
STARTED, CYCLES = 2, 16  # samples with the start-up in them, samples that are measured
FIRST, SECOND = "first", "second"


@dataclass(frozen=True, slots=True)
class Cadence:
    """Distances between the capture times of consecutive samples, in ms."""

    distances: list[int]

    @property
    def median(self) -> float:
        return statistics.median(self.distances)

    def __str__(self) -> str:
        return f"median {self.median:.0f} ms, {min(self.distances)} to {max(self.distances)} ms"


def cadence(heard: Listener, start: int, count: int) -> Cadence:
    """Of the second slave's samples from number ``start`` on."""
    times = [sample.t for sample in heard.samples[SECOND][start : start + count]]
    return Cadence([later - earlier for earlier, later in pairwise(times)])


@contextlib.asynccontextmanager
async def gateway_on(slave: Slave, folder: Path, broker: Mosquitto) -> AsyncIterator[Gateway]:
    """Polls one value of both units behind one port."""
    port, framing, devices = slave.reached_by("field")
    config = {"timeout_ms": TIMEOUT_MS, "backoff_min_ms": BACKOFF_MS, "backoff_max_ms": 2 * BACKOFF_MS}
    text = site.HEAD + port + site.driver("field", framing=framing, poll_ms=POLL_MS, **config)
    text += site.uplink(["field"], broker.port)
    text += site.tag(FIRST, "field", unit=1, address=0, type="u32")
    text += site.tag(SECOND, "field", unit=2, address=0, type="u32")
    async with Gateway(folder, text, devices) as gateway:
        yield gateway


@pytest.mark.parametrize("slave", [TcpSlave, SerialSlave])
def test_the_second_slave_keeps_its_cycle(
    slave: type[Slave], tmp_path: Path, broker: Mosquitto, record_property: Callable[[str, object], None]
) -> None:
    async def scene(slave: Slave) -> None:
        async with slave, Listener(broker.port) as heard, gateway_on(slave, tmp_path, broker) as gateway:

            async def hear(count: int) -> None:
                """Wait until there are so many samples of the second slave."""
                await gateway.until(lambda: len(heard.samples.get(SECOND, [])) >= count, "samples arrive")

            await hear(STARTED + CYCLES)
            slave.manners[1] = manners.silent
            dies = len(heard.samples[SECOND])
            await gateway.until(lambda: heard.quality(FIRST) == {"stale"}, "the first slave is dead")
            asked = len(slave.asked_s)
            await hear(dies + CYCLES)
            attempts = slave.asked_s[asked:]
            slave.manners.clear()
            await gateway.until(lambda: heard.quality(FIRST) == {"good"}, "the first slave is back")
            assert {sample.q for sample in heard.samples[SECOND]} == {"good"}
            await gateway.stop()
            heard.assert_whole()
        alive, dead = cadence(heard, STARTED, CYCLES), cadence(heard, dies - 1, CYCLES)
        print(f"cycle of the second slave, polled every {POLL_MS} ms, while the first lives: {alive}; is dead: {dead}")
        record_property("cycle_alive_ms", alive.median)
        record_property("cycle_dead_ms", dead.median)
        assert_on_time(alive)
        assert_on_time(dead)
        assert_behind(attempts)

    asyncio.run(scene(slave()))


def assert_on_time(cycle: Cadence) -> None:
    """No slot of the grid is missed, and it is the grid that was asked for."""
    assert max(cycle.distances) < 2 * POLL_MS, cycle
    assert abs(cycle.median - POLL_MS) <= POLL_MS / 10, cycle


def assert_behind(attempts: list[tuple[float, int]]) -> None:
    """The dead one is asked after the living one, once per backoff."""
    units = [unit for _, unit in attempts]
    assert 1 in units, "it is tried"
    assert (1, 1) not in pairwise(units), "never twice without a reading of the other in between"
    tries_s = [time_s for time_s, unit in attempts if unit == 1]
    assert all(later - earlier >= BACKOFF_MS / 1000 for earlier, later in pairwise(tries_s))
