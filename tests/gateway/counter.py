"""A site whose every reading is countable: a server whose registers count how often they are read, three stages with
state, and a link that keeps what arrives. Whatever is lost or repeated on the way shows."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from gateway.app.run import CONNECTORS
from gateway.app.site_check import load
from gateway.clock import Clock
from gateway.record import Payload, decode, split
from gateway.store import Plugin
from gateway.supervisor import Connectors, LinkState, Supervisor
from gateway.wasm import Consumer

SITE = """\
[site]
name = "counter"
[port.plc]
kind = "tcp"
host = "127.0.0.1"
port = {port}
[stage.plc]
plugin = "modbus"
ports = ["plc"]
config = {{ poll_ms = 10, timeout_ms = 2000, retries = 0 }}
[stage.si]
plugin = "scale"
inputs = ["plc"]
[stage.clean]
plugin = "outlier"
inputs = ["si"]
[stage.json]
plugin = "json_maker"
inputs = ["clean"]
config = {{ topic = "c", batch_ms = 20 }}
[link.sink]
kind = "mqtt"
inputs = ["json"]
host = "127.0.0.1"
[[tag]]
name = "a"
from = "plc"
modbus = {{ type = "u32", address = 0 }}
outlier = {{ window = 20, tolerance = 1000 }}
[[tag]]
name = "b"
from = "plc"
modbus = {{ type = "u32", address = 10 }}
outlier = {{ window = 20, tolerance = 1000 }}
"""


@dataclass(eq=False)
class Counter:
    """A server with one request for each of the addresses 0 and 10: their 32 bits tell how often they were read."""

    reads: dict[int, int] = field(default_factory=lambda: {0: 0, 10: 0})
    written: list[tuple[int, Any]] = field(default_factory=list)  # address and values
    answers: asyncio.Event = field(default_factory=asyncio.Event)  # not set: it is silent

    async def refresh(
        self, function: int, start: int, address: int, count: int, registers: list[int], written: Any
    ) -> ExcCodes | None:
        del function, count
        await self.answers.wait()
        if written is not None:
            self.written.append((address, written))
            return None
        self.reads[address] += 1
        registers[address - start : address - start + 2] = divmod(self.reads[address], 1 << 16)
        return None

    def device(self) -> SimDevice:
        bits = [SimData(0, values=[False] * 16, datatype=DataType.BITS)]
        words = [SimData(0, count=20, values=0, datatype=DataType.REGISTERS)]
        return SimDevice(1, simdata=(bits, bits, words, words), action=self.refresh)


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[tuple[Counter, int]]:
    """The server and its port."""
    counter = Counter()
    counter.answers.set()
    server = ModbusTcpServer([counter.device()], address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    assert isinstance(server.transport, asyncio.Server)
    try:
        yield counter, server.transport.sockets[0].getsockname()[1]
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]


class Keeper:
    """A link that keeps the samples and the numbers of the payloads."""

    def __init__(self, sources: Sequence[Consumer], clock: Clock) -> None:
        self.samples: dict[str, list[tuple[int, float, str]]] = {}
        self.payloads: list[int] = []
        self._sources, self._clock = sources, clock

    async def run(self) -> None:
        while True:
            self.take()
            await self._clock.sleep(0.005)

    def take(self) -> None:
        for end in self._sources:
            for view in split(end.read()):
                payload = decode(view)
                assert isinstance(payload, Payload)
                self.payloads.append(payload.seq)
                for one in json.loads(payload.body)["samples"]:
                    self.samples.setdefault(one["tag"], []).append((one["n"], one["v"], one["q"]))

    async def drain(self) -> None:
        self.take()

    def state(self) -> LinkState:
        return LinkState("sink", True, 0, 0, 0, 0, 0, 0, 0, "")

    def faults(self) -> list[str]:
        """Every gap and every repeat, in numbers and in values."""
        found = [f"payloads {a} {b}" for a, b in pairwise(self.payloads) if b != a + 1]
        for tag, samples in self.samples.items():
            good = [one for one in samples if one[2] == "good"]  # the end, when the port closes, is stale
            assert good == samples[: len(good)]
            found += [f"{tag}: {a} {b}" for a, b in pairwise(samples) if b[0] != a[0] + 1]
            found += [f"{tag}: {a} {b}" for a, b in pairwise(good) if b[1] != a[1] + 1]
        return found


@dataclass(eq=False)
class Rig:
    """The running site."""

    supervisor: Supervisor
    keeper: Keeper
    counter: Counter
    plugins: dict[str, Plugin]

    def version(self, name: str, number: str) -> Plugin:
        """The same plugin under another version."""
        plugin = self.plugins[name]
        return replace(plugin, manifest=replace(plugin.manifest, version=number))


def no_vectors(plugin: Plugin) -> None:
    """Whoever swaps a thousand times has run them before."""
    del plugin


@contextlib.asynccontextmanager
async def running(folder: Path, vectors: Callable[[Plugin], None] = no_vectors) -> AsyncIterator[Rig]:
    """The site in ``folder``, polling; at the end everything has arrived."""
    async with serving() as (counter, port), asyncio.TaskGroup() as group:
        site = folder / "site.toml"
        site.write_text(SITE.format(port=port), encoding="utf-8")
        loaded, keepers, clock = load(site, None, [], to_run=True), [], Clock()

        def link(_plan: object, sources: Sequence[Consumer], own: Clock) -> Keeper:
            keepers.append(Keeper(sources, own))
            return keepers[-1]

        supervisor = Supervisor(loaded.plan, loaded.plugins, Connectors(CONNECTORS.port, link, vectors), clock)
        stop = asyncio.Event()
        group.create_task(supervisor.run(stop))
        try:
            yield Rig(supervisor, keepers[0], counter, loaded.plugins)
        finally:
            stop.set()
