"""From a measured value to a written register: alarm, command ring, driver, a pymodbus server, and what it reports."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.gateway.peers import Mosquitto
from tests.peers import manners, site
from tests.peers.field import Image, Mbpoll, rtu_server, tcp_server
from tests.peers.gateway import Gateway
from tests.peers.listener import Listener
from tests.peers.slave import TcpSlave

WRITES = "1 holding 100-103, 1 coil 5"
DRIVER = """\
[stage.plc]
plugin = "modbus"
ports = ["plc"]
commands = ["watch", "guard"]
config = {{ framing = "{framing}", poll_ms = 50, timeout_ms = 1000, writes = "{writes}", write_multiple = {multiple} }}
[stage.watch]
plugin = "alarm"
inputs = ["plc"]
[stage.guard]
plugin = "alarm"
inputs = ["watch"]
"""
# Both alarms are of the temperature: "watch" tells the fan, "guard" the valve, and the setpoint what to do.
TAGS = """\
[[tag]]
name = "temperature"
from = "plc"
modbus = { address = 0, type = "i16" }
alarm = { when = "value > 80", hysteresis = 5, label = "hot", command = "fan", on_raised = 1500, on_cleared = 0 }
guard = { when = "value > 90", label = "burning", command = "valve", on_raised = 1, on_cleared = 0 }
[[tag]]
name = "pressure"
from = "plc"
modbus = { address = 1 }
watch = { when = "value == 1", label = "odd", command = "locked", on_raised = 5 }
guard = { when = "value == 2", label = "even", command = "speed", on_raised = 2.5 }
[[tag]]
name = "fan"
from = "plc"
modbus = { address = 100 }
[[tag]]
name = "valve"
from = "plc"
modbus = { table = "coil", address = 5 }
[[tag]]
name = "speed"
from = "plc"
modbus = { address = 102, type = "f32", order = "cdab" }
[[tag]]
name = "locked"
from = "plc"
modbus = { address = 200 }
"""


@dataclass(frozen=True, slots=True)
class Works:
    """A server, the gateway that polls it and writes to it, and what leaves the broker."""

    image: Image
    gateway: Gateway
    heard: Listener

    def events(self, tag: str) -> list[str]:
        return [event.v for event in self.heard.events.get(tag, [])]

    async def tells(self, tag: str, text: str) -> None:
        """Wait for an event."""
        await self.gateway.until(lambda: text in self.events(tag), f"{tag}: {text}, not {self.heard.events}")

    async def measures(self, address: int, value: int) -> None:
        """Set a register of the server and wait for the sample of it."""
        self.image.put(1, "holding", address, [value])
        tag = ("temperature", "pressure")[address]
        await self.gateway.until(
            lambda: (latest := self.heard.latest(tag)) is not None and latest.v == value, f"{tag} is {value}"
        )


@contextlib.asynccontextmanager
async def works(
    kind: str, folder: Path, broker: Mosquitto, *, multiple: bool = False, writes: str = WRITES
) -> AsyncIterator[tuple[Works, int | str]]:
    image = Image(1)
    async with contextlib.AsyncExitStack() as stack:
        where: int | str
        devices = {}
        if kind == "rtu":
            where = await stack.enter_async_context(rtu_server(image))
            port, devices = site.serial_port("plc"), {"plc": where}
        else:
            where = await stack.enter_async_context(tcp_server(image, rtu=kind == "rtu_tcp"))
            port = site.tcp_port("plc", where)
        text = site.HEAD + port + DRIVER.format(framing=kind, writes=writes, multiple=str(multiple).lower())
        text += site.uplink(["guard"], broker.port) + TAGS
        heard = await stack.enter_async_context(Listener(broker.port))
        gateway = await stack.enter_async_context(Gateway(folder, text, devices))
        await gateway.until(lambda: heard.quality("temperature", "fan", "locked") == {"good"}, "it polls")
        yield Works(image, gateway, heard), where


@pytest.mark.parametrize("multiple", [False, True], ids=["5 and 6", "15 and 16"])
@pytest.mark.parametrize("kind", ["tcp", "rtu", "rtu_tcp"])
def test_an_alarm_writes_and_hears_that_it_is_done(
    kind: str, multiple: bool, tmp_path: Path, broker: Mosquitto
) -> None:
    async def scene() -> None:
        async with works(kind, tmp_path, broker, multiple=multiple) as (plant, where):
            await plant.measures(0, 95)
            await plant.tells("fan", "write done: 1500")
            await plant.tells("valve", "write done: 1")
            assert sorted(plant.events("temperature")) == [
                "raised burning: value 95, limit > 90", "raised hot: value 95, limit > 80",
            ]  # fmt: skip
            assert plant.image.values[1, "holding"][100] == 1500
            assert plant.image.values[1, "coil"][5] == 1
            await plant.measures(0, 78)
            await plant.tells("valve", "write done: 0")
            assert plant.events("temperature")[2:] == ["cleared burning: value 78, limit > 90"]
            await plant.measures(0, 75)
            await plant.tells("fan", "write done: 0")
            await plant.measures(1, 2)
            await plant.tells("speed", "write done: 2.5")
            assert [write[1:] for write in plant.image.writes] == [
                (16 if multiple else 6, 100, [1500]), (15 if multiple else 5, 5, [1]), (15 if multiple else 5, 5, [0]),
                (16 if multiple else 6, 100, [0]), (16, 102, [0, 0x4020]),
            ]  # fmt: skip
            await plant.gateway.stop()
            assert plant.gateway.metric("plc", "writes_total") == 5
            assert plant.gateway.traps == {}
            plant.heard.assert_whole()
            if kind != "rtu_tcp":  # which libmodbus does not speak
                assert await Mbpoll(where).number(1, "holding", 102, "float", "cdab") == 2.5

    asyncio.run(scene())


def test_what_is_not_in_the_list_is_refused_and_what_does_not_stick_is_a_mismatch(
    tmp_path: Path, broker: Mosquitto
) -> None:
    async def scene() -> None:
        async with works("tcp", tmp_path, broker) as (plant, _):
            plant.image.stuck.add((1, "holding", 100))
            plant.image.put(1, "holding", 100, [77])
            await plant.measures(1, 1)
            await plant.tells("locked", f'write refused: 5: unit 1 holding 200 is not in writes = "{WRITES}"')
            await plant.measures(0, 85)
            await plant.tells("fan", "write mismatch: 1500: read back 77")
            qualities = {event.q for tag in ("locked", "fan") for event in plant.heard.events[tag]}
            assert qualities == {"bad"}
            assert plant.image.writes == [(1, 6, 100, [1500])]
            await plant.gateway.stop()
            found = [plant.gateway.metric("plc", f"writes_{what}total") for what in ("", "refused_", "failed_")]
            assert found == [0, 1, 1]

    asyncio.run(scene())


def test_without_a_list_nothing_is_written(tmp_path: Path, broker: Mosquitto) -> None:
    async def scene() -> None:
        async with works("tcp", tmp_path, broker, writes="") as (plant, _):
            await plant.measures(0, 95)
            why = "is not allowed: the stage's config has no writes"
            await plant.tells("fan", f"write refused: 1500: unit 1 holding 100 {why}")
            await plant.tells("valve", f"write refused: 1: unit 1 coil 5 {why}")
            assert plant.image.writes == []

    asyncio.run(scene())


def test_commands_to_a_dead_unit_do_not_delay_its_neighbour(tmp_path: Path, broker: Mosquitto) -> None:
    """Unit 1 answers another value each time, for which a controller has another order for unit 2, which is silent."""

    async def scene() -> None:
        async with TcpSlave({2: manners.silent}) as slave, Listener(broker.port) as heard:
            settings = {"timeout_ms": 500, "retries": 0, "backoff_min_ms": 60_000, "backoff_max_ms": 60_000}
            text = site.HEAD + site.tcp_port("plc", slave.port)
            text += site.driver("plc", poll_ms=50, writes="2 holding 9", **settings) + 'commands = ["control"]\n'
            text += '[stage.control]\nplugin = "pid"\ninputs = ["plc"]\n' + site.uplink(["plc"], broker.port)
            text += site.tag("alive", "plc", unit=1, address=0, type="u32")
            text += 'pid = { command = "dead", acting = "direct", kp = 1e-5, out_max = 60000 }\n'
            text += site.tag("dead", "plc", unit=2, address=9)
            async with Gateway(tmp_path, text) as gateway:
                await gateway.until(lambda: gateway.metric("plc", "writes_failed_total") > 10, "writes fail")
                await gateway.until(lambda: len(heard.samples.get("alive", [])) > 40, "the neighbour is read")
                await gateway.stop()
                assert gateway.metric("plc", "timeouts_total") == 1, "then it is left alone, and commands fail at once"
                assert {one.q for one in heard.samples["alive"][:-1]} == {"good"}
                assert {one.v.split(": ")[2] for one in heard.events["dead"]} <= {
                    "no answer",
                    "the unit does not answer",
                }
                heard.assert_whole()

    asyncio.run(scene())
