"""A whole site in this process: simulated plant, real plugins, mosquitto. Parts fail, the others go on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.app.plugin_build import build
from gateway.app.run import CONNECTORS
from gateway.app.site_check import load
from gateway.clock import Clock
from gateway.errors import HostFault, RuntimeFault
from gateway.graph import PortPlan
from gateway.supervisor import PortReport, StageReport, State, Supervisor
from gateway.wasm import Port
from tests.gateway.modules import TRAP, module
from tests.gateway.peers import Mosquitto, Proxy, free_port, proxy, subscriber, until

SITE = """\
[site]
name = "works"
[port.plc]
kind = "tcp"
host = "127.0.0.1"
port = {plc}
[port.bus]
kind = "serial"
device = "line"
baudrate = 19200
[stage.plc]
plugin = "modbus"
ports = ["plc"]
config = {{ poll_ms = 20, timeout_ms = 2000, backoff_min_ms = 1, backoff_max_ms = 10 }}
[stage.meters]
plugin = "modbus"
ports = ["bus"]
config = {{ framing = "rtu", poll_ms = 20, timeout_ms = 2000 }}
[stage.json]
plugin = "json_maker"
inputs = ["plc", "meters"]
config = {{ topic = "works/data", batch_ms = 20 }}
[link.cloud]
kind = "mqtt"
inputs = ["json"]
host = "127.0.0.1"
port = {broker}
[[tag]]
name = "boiler"
from = "plc"
modbus = {{ unit = 1, address = 0 }}
[[tag]]
name = "tank"
from = "meters"
modbus = {{ unit = 11, address = 0 }}
"""

BAD_MANIFEST = """\
name = "bad"
version = "1.0.0"
abi = 1
kind = "etl"
summary = "does what it must not"
[capabilities]
hal = [{hal}]
[limits]
memory_bytes = 65536
deadline_us = 20000
[rings]
in = "samples"
out = "none"
"""


class Impatient(Clock):
    """Reconnects without delay."""

    def jitter(self, low: float, high: float) -> float:
        assert low < high
        return 0.0


@pytest.fixture(scope="module", autouse=True)
def built(root: Path) -> None:
    for name in ("modbus", "json_maker"):
        build(root / "plugins" / name, root / "build" / "plugins")


@pytest.fixture(scope="module")
def plant() -> Iterator[dict[str, Any]]:
    """The demo's plant: ``tcp_port`` and ``serial``."""
    command = [sys.executable, "-m", "gateway.app.plant"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.stdin.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as started:
        yield started


def set_up(folder: Path, plant: dict[str, Any], broker: int, plc: int | None = None, more: str = "") -> Supervisor:
    site, board = folder / "site.toml", folder / "board.toml"
    site.write_text(SITE.format(plc=plc or plant["tcp_port"], broker=broker) + more)
    board.write_text(f'[board]\nname = "b"\n[port.line]\ndevice = "{plant["serial"]}"\n')
    loaded = load(site, board, [], to_run=True)
    return Supervisor(loaded.plan, loaded.plugins, CONNECTORS, Impatient())


@contextlib.asynccontextmanager
async def running(supervisor: Supervisor) -> AsyncIterator[Callable[[], State]]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(supervisor.run(stop))
        try:
            yield supervisor.snapshot
        finally:
            stop.set()


def stage(state: State, name: str) -> StageReport:
    return next(one for one in state.stages if one.name == name)


def port(state: State, name: str) -> PortReport:
    return next(one for one in state.ports if one.name == name)


def bad_plugin(folder: Path, code: bytes, hal: str = "") -> str:
    """A plugin that misbehaves, next to the site; returns the stage that runs it on the plc's records."""
    home = folder / "plugins" / "bad"
    home.mkdir(parents=True)
    (home / "plugin.toml").write_text(BAD_MANIFEST.format(hal=hal))
    (home / "bad.wasm").write_bytes(code)
    return '[stage.bad]\nplugin = "bad"\ninputs = [{ stage = "plc", policy = "block" }]\n'


def test_samples_flow_and_the_end_is_in_good_order(tmp_path: Path, plant: dict[str, Any], broker: Mosquitto) -> None:
    supervisor = set_up(tmp_path, plant, broker.port)

    async def scene() -> None:
        async with running(supervisor) as state:
            await until(lambda: state().links[0].acknowledged >= 5, "payloads are acknowledged")

    with subscriber(broker.port) as heard:
        asyncio.run(scene())
        final = supervisor.snapshot()
        read = sum(stage(final, name).stats.records_out for name in ("plc", "meters"))
        asyncio.run(until(lambda: len(heard.messages) == final.links[0].published, "everything published arrives"))
    samples = [sample for body in heard.bodies for sample in json.loads(body)["samples"]]
    assert {sample["tag"] for sample in samples} == {"boiler", "tank"}
    for tag in ("boiler", "tank"):
        assert [one["n"] for one in samples if one["tag"] == tag] == list(
            range(sum(one["tag"] == tag for one in samples))
        )
    assert len(samples) == read == stage(final, "json").records
    (link,) = final.links
    assert (link.acknowledged, link.outstanding, link.dropped) == (link.published, 0, 0)
    assert [(one.opens, one.stats.up) for one in final.ports] == [(1, False), (1, False)]


def test_polling_goes_on_while_the_broker_is_away(tmp_path: Path, plant: dict[str, Any], broker: Mosquitto) -> None:
    supervisor = set_up(tmp_path, plant, broker.port)

    async def scene() -> None:
        async with running(supervisor) as state:
            await until(lambda: state().links[0].acknowledged >= 1, "it works")
            broker.stop()
            await until(lambda: not state().links[0].connected, "the broker is away")
            before = stage(state(), "plc").stats.records_out
            await until(lambda: stage(state(), "plc").stats.records_out > before + 20, "polling goes on")
            broker.start()
            acknowledged = state().links[0].acknowledged
            await until(lambda: state().links[0].acknowledged > acknowledged + 5, "it is back")
            assert state().links[0].reconnects == 1

    asyncio.run(scene())


def test_a_port_that_breaks_is_reopened_and_the_other_does_not_notice(
    tmp_path: Path, plant: dict[str, Any], broker: Mosquitto
) -> None:
    async def scene(between: Proxy) -> None:
        supervisor = set_up(tmp_path, plant, broker.port, plc=between.port)
        async with running(supervisor) as state:

            def responses() -> int:
                return stage(state(), "plc").metrics.get("responses_total", 0)

            for opened in (1, 2, 3):
                seen = responses()
                await until(lambda want=opened: port(state(), "plc").opens == want, "opened")  # type: ignore[misc]
                await until(lambda than=seen: responses() > than + 3, "it works")  # type: ignore[misc]
                between.cut()
            await until(lambda: port(state(), "plc").opens == 4, "opened once more")
            bus = port(state(), "bus")
            assert (bus.opens, bus.stats.downs) == (1, 0)

    async def with_proxy() -> None:
        async with proxy(plant["tcp_port"]) as between:
            await scene(between)

    asyncio.run(with_proxy())


def test_a_plugin_that_traps_is_stopped_and_the_others_go_on(
    tmp_path: Path, plant: dict[str, Any], broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = set_up(tmp_path, plant, broker.port, more=bad_plugin(tmp_path, module(on_records=TRAP)))

    async def scene() -> None:
        async with running(supervisor) as state:
            await until(lambda: not stage(state(), "bad").running, "the bad one is stopped")
            assert stage(state(), "bad").stats.traps == 4
            before = state().links[0].acknowledged
            await until(lambda: state().links[0].acknowledged > before + 5, "the others go on")
            assert all(one.running for one in state().stages if one.name != "bad")

    with caplog.at_level(logging.ERROR, "penstock.supervisor"):
        asyncio.run(scene())
    assert any(record.message.startswith("stage bad trapped: ") for record in caplog.records)
    assert any(record.message.startswith("stage bad is stopped") for record in caplog.records)


def test_an_import_that_is_not_granted_is_named(tmp_path: Path, plant: dict[str, Any]) -> None:
    more = bad_plugin(tmp_path, module(imports="now"))
    with pytest.raises(
        RuntimeFault, match=r'stage "bad": import hal\.now is not granted .*plugin "bad", .*plugin\.toml'
    ):
        set_up(tmp_path, plant, free_port(), more=more)


def test_a_part_that_fails_unexpectedly_is_started_again(
    tmp_path: Path, plant: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """What no code path raises today: the supervisor does not rely on that."""
    attempts: list[int] = []

    class Broken:
        opens, problem = 0, "broken"

        async def run(self) -> None:
            attempts.append(len(attempts))
            raise ZeroDivisionError("our bug")

        def lost(self) -> None:
            raise AssertionError("never up")

    class Hasty(Impatient):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(min(seconds, 0.01))

    def connect(plan: PortPlan, end: Port, clock: Clock) -> Any:
        return Broken() if plan.port.name == "plc" else CONNECTORS.port(plan, end, clock)

    prepared = set_up(tmp_path, plant, free_port())
    loaded = load(tmp_path / "site.toml", tmp_path / "board.toml", [], to_run=True)
    prepared.close()
    supervisor = Supervisor(loaded.plan, loaded.plugins, replace(CONNECTORS, port=connect), Hasty())

    async def scene() -> None:
        async with running(supervisor) as state:
            await until(lambda: len(attempts) >= 3, "started again and again")
            await until(lambda: stage(state(), "meters").stats.records_out > 3, "the other bus works")

    asyncio.run(scene())
    assert "port plc failed and is started again: ZeroDivisionError: our bug" in caplog.messages


def test_what_cannot_be_delivered_at_the_end_is_said(
    tmp_path: Path, plant: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = set_up(tmp_path, plant, free_port())

    async def scene() -> None:
        async with running(supervisor) as state:
            await until(lambda: stage(state(), "json").stats.records_out > 0, "there is something to deliver")

    asyncio.run(scene())
    assert "link cloud: not everything could be delivered" in caplog.messages


def test_after_the_end_the_counters_stay(tmp_path: Path, plant: dict[str, Any]) -> None:
    supervisor = set_up(tmp_path, plant, free_port())

    async def scene() -> State:
        stop = asyncio.Event()
        stop.set()
        return await supervisor.run(stop)

    final = asyncio.run(scene())
    assert supervisor.snapshot() is final
    with pytest.raises(HostFault):
        asyncio.run(scene())
