"""A slave that answers late, in pieces, wrongly or not at all: what it says wrongly never lands in a tag.

Unit 1 misbehaves, unit 2 on the same line does not. While something is wrong the quality says so, afterwards the values
are right again, and at no time is a sample missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.gateway.peers import Mosquitto
from tests.peers import manners, site
from tests.peers.gateway import Gateway
from tests.peers.listener import Listener
from tests.peers.slave import Manner, RtuTcpSlave, SerialSlave, Slave, TcpSlave, place_of

TIMEOUT_MS = 250
LATE_S = 1.4 * TIMEOUT_MS / 1000
ANSWERS, FEW = 60, 6  # more than a frame has bytes; where each takes its timeout
PLACES = {1: (0, 2, 10, 20), 2: (0, 2, 10)}  # per unit: one request of four registers, the others of two
TAGS = {f"unit{unit}/{address}": (unit, address) for unit, addresses in PLACES.items() for address in addresses}
FIRST = [name for name, (unit, _) in TAGS.items() if unit == 1]
SECOND = [name for name, (unit, _) in TAGS.items() if unit == 2]


@dataclass(frozen=True, slots=True)
class Case:
    """A manner, what the tags of unit 1 show meanwhile ("": nothing in particular), and settings of the driver."""

    manner: Manner
    shows: str
    spares_others: bool = True  # unit 2 does not notice
    config: dict[str, object] = field(default_factory=dict)


PATIENT: dict[str, object] = {"timeout_ms": 5000}
ONCE: dict[str, object] = {"retries": 0}
BOTH = {
    "byte by byte": Case(manners.byte_by_byte, "good", config=PATIENT),
    "split": Case(manners.split, "good", config=PATIENT),
    "merged": Case(manners.merged, "good", config=PATIENT),
    "wrong unit": Case(manners.wrong_unit, "stale"),
    "wrong function": Case(manners.wrong_function, "stale"),
    "too short": Case(manners.too_short, "stale"),
    "too long": Case(manners.too_long, "stale"),
    "silent": Case(manners.silent, "stale"),
    "late, asked once": Case(manners.late(LATE_S), "stale", config=ONCE),
    "exception 1": Case(manners.exception(1), "bad"),
    "exception 2": Case(manners.exception(2), "bad"),
    "exception 4": Case(manners.exception(4), "bad"),
    "exception 6": Case(manners.exception(6), "bad"),
    "exception 11": Case(manners.exception(11), "", config=ONCE),
    "cut short": Case(manners.cut_short, "", spares_others=False),
}
TCP = BOTH | {
    "wrong transaction": Case(manners.wrong_transaction, "stale"),
    "late": Case(manners.late(LATE_S), "stale"),
    "hangs up": Case(manners.hangs_up, "stale", spares_others=False),
    "garbage": Case(manners.after_garbage, "", spares_others=False),
}
CRC = {
    "bad CRC": Case(manners.bad_crc, "stale"),
    "garbage": Case(manners.after_garbage, "good", config=PATIENT),
    # What comes in the time of the second request is taken for its answer, which is right: it is the same request.
    "late": Case(manners.late(LATE_S, counts=True), ""),
}
RTU = BOTH | CRC
RTU_TCP = {"byte by byte": BOTH["byte by byte"], "merged": BOTH["merged"], "hangs up": TCP["hangs up"]} | CRC


class Run:
    """A gateway on a slave, with mosquitto_sub at its end."""

    def __init__(self, slave: Slave, gateway: Gateway, heard: Listener) -> None:
        self.slave = slave
        self.gateway = gateway
        self.heard = heard

    async def all_right(self, what: str) -> None:
        """Wait until every tag has a good value of a reply from now on."""
        since = len(self.slave.replies)

        def fresh(tag: str) -> bool:
            sample = self.heard.latest(tag)
            return sample is not None and sample.q == "good" and place_of(sample.v).reply >= since

        await self.gateway.until(lambda: all(fresh(tag) for tag in TAGS), what)

    async def shows(self, tags: list[str], quality: str) -> None:
        """Wait until these tags have no other quality."""
        await self.gateway.until(lambda: self.heard.quality(*tags) == {quality}, f"{tags} are {quality}")

    async def answers(self, unit: int, count: int) -> None:
        """Wait until the slave has been asked so often."""
        before = len(self.slave.replies)

        def asked() -> int:
            return sum(reply.request.unit == unit for reply in self.slave.replies[before:])

        await self.gateway.until(lambda: asked() >= count, f"unit {unit} is asked")

    def assert_nothing_wrong_landed(self) -> None:
        """Good values are those of their own tag from replies that count; stale ones repeat the last good one."""
        for tag, samples in self.heard.samples.items():
            last: object = None
            for sample in samples:
                if sample.q == "good":
                    place = place_of(sample.v)
                    assert (place.unit, place.address) == TAGS[tag], (tag, sample)
                    assert self.slave.replies[place.reply].counts, (tag, sample, self.slave.replies[place.reply])
                    last = sample.v
                elif sample.q == "stale":
                    assert sample.v == last, (tag, sample)
                else:
                    assert (sample.q, sample.v) == ("bad", None)

    async def end(self) -> None:
        """Stop the gateway; nothing is missing, nobody trapped."""
        await self.gateway.stop()
        self.assert_nothing_wrong_landed()
        self.heard.assert_whole()
        assert self.gateway.traps == {}


async def play(
    slave: Slave, folder: Path, broker: Mosquitto, scene: Callable[[Run], Awaitable[None]], **config: object
) -> None:
    """Run the gateway on ``slave`` through ``scene``."""
    settings: dict[str, object] = {"poll_ms": 20, "timeout_ms": TIMEOUT_MS, "backoff_min_ms": 50, "backoff_max_ms": 100}
    async with slave, Listener(broker.port) as heard:
        port, framing, devices = slave.reached_by("field")
        text = site.HEAD + port + site.driver("field", framing=framing, **{**settings, **config})
        text += site.uplink(["field"], broker.port)
        for name, (unit, address) in TAGS.items():
            text += site.tag(name, "field", unit=unit, address=address, type="u32")
        async with Gateway(folder, text, devices) as gateway:
            run = Run(slave, gateway, heard)
            await run.all_right("everything works")
            await scene(run)
            slave.manners.clear()
            await run.all_right("everything works again")
            await gateway.until(lambda: gateway.metric("field", "units_down") == 0, "no unit is counted as down")
            await run.end()


async def misbehave(run: Run, case: Case) -> None:
    others = len(run.heard.samples[SECOND[0]])
    run.slave.manners[1] = case.manner
    if case.shows in ("", "good"):
        await run.answers(1, ANSWERS if case.shows else FEW)
    if case.shows:
        await run.shows(FIRST, case.shows)
    await run.answers(2, 5)
    if case.shows == "good":
        assert run.gateway.metric("field", "timeouts_total") == 0
        assert all(sample.q == "good" for tag in FIRST for sample in run.heard.samples[tag])
    if case.spares_others:
        assert {sample.q for tag in SECOND for sample in run.heard.samples[tag][others:]} == {"good"}


@pytest.mark.parametrize("name", TCP)
def test_a_tcp_slave_misbehaves(name: str, tmp_path: Path, broker: Mosquitto, seed: int) -> None:
    case = TCP[name]
    slave = TcpSlave(seed=seed)
    asyncio.run(play(slave, tmp_path, broker, lambda run: misbehave(run, case), **case.config))


@pytest.mark.parametrize("name", RTU)
def test_an_rtu_slave_misbehaves(name: str, tmp_path: Path, broker: Mosquitto, seed: int) -> None:
    case = RTU[name]
    slave = SerialSlave(seed=seed)
    asyncio.run(play(slave, tmp_path, broker, lambda run: misbehave(run, case), **case.config))


@pytest.mark.parametrize("name", RTU_TCP)
def test_a_slave_behind_a_serial_server_misbehaves(name: str, tmp_path: Path, broker: Mosquitto, seed: int) -> None:
    case = RTU_TCP[name]
    slave = RtuTcpSlave(seed=seed)
    asyncio.run(play(slave, tmp_path, broker, lambda run: misbehave(run, case), **case.config))


# ---- everything at once ----

CHAOS_ANSWERS, HANG_UPS_MOST = 80, 3  # each hang-up doubles the pause before the next connection
HARMLESS = (manners.byte_by_byte, manners.split, manners.merged)
HARMFUL = (
    manners.silent,
    manners.wrong_unit,
    manners.wrong_function,
    manners.too_short,
    manners.exception(2),
    manners.exception(10),
)


async def chaos(run: Run, *manner: Manner) -> None:
    run.slave.manners |= dict.fromkeys(PLACES, manners.any_of(*HARMLESS, *HARMFUL, *manner))
    await run.answers(1, CHAOS_ANSWERS)


def test_a_tcp_slave_does_all_of_it(tmp_path: Path, broker: Mosquitto, seed: int) -> None:
    hangs_up = manners.at_most(HANG_UPS_MOST, manners.hangs_up)
    also = (manners.wrong_transaction, manners.late(LATE_S), hangs_up)
    asyncio.run(play(TcpSlave(seed=seed), tmp_path, broker, lambda run: chaos(run, *also)))


def test_an_rtu_slave_does_all_of_it(tmp_path: Path, broker: Mosquitto, seed: int) -> None:
    also = (manners.bad_crc, manners.after_garbage, manners.cut_short, manners.late(LATE_S, counts=True))
    asyncio.run(play(SerialSlave(seed=seed), tmp_path, broker, lambda run: chaos(run, *also)))


# ---- death ----


def test_a_tcp_slave_dies_and_comes_back(tmp_path: Path, broker: Mosquitto) -> None:
    async def scene(run: Run) -> None:
        await run.slave.stop()
        await run.shows([*FIRST, *SECOND], "stale")
        await run.slave.start()

    asyncio.run(play(TcpSlave(), tmp_path, broker, scene))


@pytest.mark.parametrize("slave", [TcpSlave, SerialSlave])
def test_both_units_fall_silent_and_speak_again(slave: type[Slave], tmp_path: Path, broker: Mosquitto) -> None:
    async def scene(run: Run) -> None:
        run.slave.manners |= {1: manners.silent, 2: manners.silent}
        await run.shows([*FIRST, *SECOND], "stale")

    asyncio.run(play(slave(), tmp_path, broker, scene))
