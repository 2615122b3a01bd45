"""mosquitto as broker, mosquitto_sub as reader: nothing is missing that is not counted, polling never waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.clock import Clock
from tests.gateway.peers import Mosquitto, until
from tests.peers import site
from tests.peers.field import Image, tcp_server
from tests.peers.gateway import Gateway, Status
from tests.peers.listener import Listener

TAGS, POLL_MS = 12, 40
OUTAGE_S = 20.0
WINDOW = 20  # unacknowledged messages, the default of a link


@dataclass(frozen=True, slots=True)
class Scene:
    """A running site and its reader."""

    gateway: Gateway
    heard: Listener

    def polls(self) -> int:
        """Responses that the driver has got."""
        return self.gateway.metric("field", "responses_total")

    async def polls_more(self, count: int) -> None:
        """Wait for ``count`` more of them."""
        wanted = self.polls() + count
        await self.gateway.until(lambda: self.polls() >= wanted, "polling goes on")

    async def hears_more(self, count: int) -> None:
        """Wait for ``count`` more payloads at the reader."""
        wanted = len(self.heard.messages) + count
        await self.gateway.until(lambda: len(self.heard.messages) >= wanted, "messages arrive")

    async def delivered(self) -> None:
        """Wait until nothing is left from before: what is captured from now on has arrived."""
        now_ms = Clock().unix_ns() // 1_000_000
        heard = self.heard
        await self.gateway.until(
            lambda: bool(heard.messages) and heard.messages[-1].samples[-1].t > now_ms, "it is back"
        )

    async def end(self) -> Status:
        """Stop the gateway and wait for what is on its way; returns the final status."""
        final = await self.gateway.stop()
        payloads = final["stages"]["json"]["metrics"]["payloads_total"]
        await until(lambda: self.heard.messages[-1].seq == payloads - 1, "the last payload arrives")
        return final


@contextlib.asynccontextmanager
async def gateway_on(
    folder: Path,
    broker: Mosquitto,
    *,
    version: int = 5,
    before: Callable[[], None] = lambda: None,
    ring_bytes: int = 4 << 20,
    batch: Mapping[str, object] | None = None,
    **link: object,
) -> AsyncIterator[Scene]:
    """A pymodbus server, the gateway, mosquitto_sub; ``before``: between the reader's subscription and the start."""
    async with tcp_server(Image(1)) as number, Listener(broker.port, version) as heard:
        before()
        text = site.HEAD + site.tcp_port("field", number) + site.driver("field", poll_ms=POLL_MS)
        text += site.uplink(["field"], broker.port, ring_bytes=ring_bytes, batch=batch, version=version, **link)
        text += "".join(site.tag(f"tag{at}", "field", unit=1, address=at) for at in range(TAGS))
        async with Gateway(folder, text) as gateway:
            yield Scene(gateway, heard)


def assert_balanced(final: Status, heard: Listener, missing_payloads: int) -> None:
    """What the driver read is what arrived and what is counted as dropped."""
    link, made = final["links"]["cloud"], final["stages"]["json"]
    assert link["dropped"] == missing_payloads
    assert (link["outstanding"], link["rejected"], link["lost"]) == (0, 0, 0)
    assert link["published"] == link["acknowledged"] == made["records_out"] - missing_payloads
    assert made["records_in"] == final["stages"]["field"]["records_out"]
    assert len({message.seq for message in heard.messages}) == link["published"]


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("qos", [0, 1])
def test_every_sample_arrives_once_and_in_order(tmp_path: Path, broker: Mosquitto, version: int, qos: int) -> None:
    async def scene() -> None:
        async with gateway_on(tmp_path, broker, version=version, qos=qos) as run:
            await run.hears_more(100)
            final = await run.end()
            assert_balanced(final, run.heard, 0)
            run.heard.assert_whole()
            assert run.heard.count == final["stages"]["field"]["records_out"]
            assert {(message.qos, message.topic) for message in run.heard.messages} == {(qos, site.TOPIC)}

    asyncio.run(scene())


def test_a_broker_that_is_away_for_20_s_misses_nothing(tmp_path: Path, broker: Mosquitto) -> None:
    async def scene() -> None:
        async with gateway_on(tmp_path, broker) as run:
            await run.hears_more(10)
            broker.stop()
            await run.gateway.until(lambda: not run.gateway.link["connected"], "the connection has ended")
            polls, left_s = run.polls(), run.gateway.status["uptime_s"]
            from_ms = Clock().unix_ns() // 1_000_000
            await run.gateway.until(lambda: run.gateway.status["uptime_s"] >= left_s + OUTAGE_S, "20 s have passed")
            to_ms = Clock().unix_ns() // 1_000_000
            assert run.polls() - polls > OUTAGE_S * 1000 / POLL_MS / 2
            broker.start()
            await run.delivered()
            final = await run.end()
            assert_balanced(final, run.heard, 0)
            assert final["links"]["cloud"]["reconnects"] == 1
            meanwhile = [one for one in run.heard.samples["tag0"] if from_ms <= one.t < to_ms]
            print(f"{len(meanwhile)} samples per tag captured while the broker was away, {POLL_MS} ms polling")
            assert len(meanwhile) > OUTAGE_S * 1000 / POLL_MS / 2
            assert_nothing_missing(run.heard)

    asyncio.run(scene())


def assert_nothing_missing(heard: Listener) -> None:
    """In order; what was not acknowledged when the connection broke may come again."""
    payloads = heard.payloads
    assert (payloads.missing, payloads.late) == ([], [])
    assert len(payloads.repeated) <= WINDOW
    for tag in heard.samples:
        numbers = heard.numbers(tag)
        assert (numbers.missing, numbers.late) == ([], []), tag


def test_a_ring_that_is_too_small_drops_the_oldest_and_counts_them(tmp_path: Path, broker: Mosquitto) -> None:
    async def scene() -> None:
        async with gateway_on(tmp_path, broker, ring_bytes=8192, batch={"payload_bytes_max": 2048}) as run:
            await run.hears_more(10)
            broker.stop()
            await run.gateway.until(lambda: not run.gateway.link["connected"], "the connection has ended")
            await run.gateway.until(lambda: run.gateway.link["dropped"] > 50, "the ring is full")
            broker.start()
            await run.delivered()
            final = await run.end()
            missing = run.heard.payloads.missing
            print(f"{len(missing)} payloads dropped")
            assert_balanced(final, run.heard, len(missing))
            assert missing == list(range(missing[0], missing[-1] + 1)), "the oldest ones in a row"
            assert run.heard.payloads.late == []

    asyncio.run(scene())


def test_a_broker_that_comes_late_gets_everything(tmp_path: Path, broker: Mosquitto) -> None:
    async def scene() -> None:
        async with gateway_on(tmp_path, broker, before=broker.stop) as run:
            await run.polls_more(50)
            assert run.gateway.link["published"] == 0
            broker.start()
            await run.delivered()
            final = await run.end()
            assert_balanced(final, run.heard, 0)
            run.heard.assert_whole()
            assert final["links"]["cloud"]["reconnects"] == 0

    asyncio.run(scene())


def test_a_broker_that_stands_still_holds_up_nothing_but_the_window(tmp_path: Path, broker: Mosquitto) -> None:
    async def scene() -> None:
        async with gateway_on(tmp_path, broker) as run:
            await run.hears_more(10)
            broker.pause()
            await run.gateway.until(lambda: run.gateway.link["outstanding"] == WINDOW, "the window is full")
            await run.polls_more(100)
            broker.go_on()
            await run.delivered()
            final = await run.end()
            assert_balanced(final, run.heard, 0)
            run.heard.assert_whole()
            assert final["links"]["cloud"]["reconnects"] == 0

    asyncio.run(scene())


def test_a_broker_that_stands_still_for_longer_than_the_keepalive(tmp_path: Path, broker: Mosquitto) -> None:
    async def scene() -> None:
        async with gateway_on(tmp_path, broker, keepalive_s=5, connect_timeout_s=1) as run:
            await run.hears_more(10)
            broker.pause()
            await run.gateway.until(lambda: not run.gateway.link["connected"], "the connection is given up")
            await run.polls_more(20)
            broker.go_on()
            await run.delivered()
            final = await run.end()
            assert_balanced(final, run.heard, 0)
            assert_nothing_missing(run.heard)

    asyncio.run(scene())
