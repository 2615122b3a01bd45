"""Carries a plan out: one data-plane loop, one task per port and link, one reader for the data plane's events.

The supervisor keeps one failing part from ending the others, and knows the order in which things start and stop. What
opens ports and talks to brokers is handed in (``Connectors``): links know the supervisor, not the other way round.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.clock import Clock
from gateway.errors import RuntimeFault
from gateway.graph import LinkPlan, Plan, PortPlan, ReadPlan, StagePlan
from gateway.store import Plugin
from gateway.wasm import (
    Consumer,
    ConsumerStats,
    Engine,
    Event,
    EventKind,
    Loop,
    Module,
    Policy,
    Port,
    PortStats,
    Ring,
    RingStats,
    Stage,
    StageConfig,
    StageState,
    StageStats,
)

RESTART_S = 1.0  # pause before a part that failed unexpectedly is started again
QUIET_S = 1.2  # stopping: the chain is taken for drained when no ring moved for so long
DRAIN_MOST_S = 3.0
FLUSH_MOST_S = 5.0
LOOK_S = 0.05

_POLICIES = {"block": Policy.BLOCK, "drop-oldest": Policy.DROP_OLDEST}
_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
_log = logging.getLogger("penstock.supervisor")


@dataclass(frozen=True, slots=True)
class LinkState:
    """Totals of a link since the start.

    ``published``: handed to the broker connection; ``acknowledged``: taken by the broker (QoS 0: written to the
    socket); ``outstanding``: neither yet; ``dropped``: overwritten in the ring before they were read; ``rejected``:
    refused by the broker or not publishable; ``lost``: QoS 0 messages that died with a connection. ``problem``: ""
    when connected.
    """

    name: str
    connected: bool
    published: int
    acknowledged: int
    outstanding: int
    dropped: int
    rejected: int
    lost: int
    reconnects: int
    problem: str


@dataclass(frozen=True, slots=True)
class StageReport:
    """A stage: its plugin, totals, and the numbers the plugin publishes by name."""

    name: str
    plugin: str
    running: bool
    stats: StageStats
    metrics: Mapping[str, int]

    @property
    def records(self) -> int:
        """Records it has handled: what it read, or for a driver what it wrote."""
        return self.stats.records_in or self.stats.records_out


@dataclass(frozen=True, slots=True)
class RingReport:
    """A ring and its readers by name."""

    name: str
    stats: RingStats
    consumers: Mapping[str, ConsumerStats]


@dataclass(frozen=True, slots=True)
class PortReport:
    """A port. ``opens`` counts successful openings, ``problem`` is why it is not open, or ""."""

    name: str
    opens: int
    problem: str
    stats: PortStats


@dataclass(frozen=True, slots=True)
class State:
    """Everything that is known about a running gateway at one moment; counters are totals since the start."""

    site: str
    uptime_s: float
    stages: tuple[StageReport, ...]
    rings: tuple[RingReport, ...]
    ports: tuple[PortReport, ...]
    links: tuple[LinkState, ...]


class PortService(Protocol):
    """Keeps one port open."""

    opens: int
    problem: str

    async def run(self) -> None:
        """Until cancelled, which closes the port."""

    def lost(self) -> None:
        """The data plane has closed the descriptor."""


class LinkService(Protocol):
    """Carries payloads away."""

    async def run(self) -> None:
        """Until cancelled, which ends the connection in good order."""

    async def drain(self) -> None:
        """Returns when everything is delivered, or cannot be."""

    def state(self) -> LinkState:
        """Totals since the start."""


@dataclass(frozen=True, slots=True)
class Connectors:
    """Makers of the services that know the world outside."""

    port: Callable[[PortPlan, Port, Clock], PortService]
    link: Callable[[LinkPlan, Sequence[Consumer], Clock], LinkService]


class _Plane:
    """The data plane's objects of a plan, by name; closes them in the right order."""

    def __init__(self, plan: Plan, plugins: Mapping[str, Plugin]) -> None:
        with contextlib.ExitStack() as stack:
            self.engine = stack.enter_context(Engine())
            self.rings: dict[str, Ring] = {}
            for ring in plan.rings:
                made = Ring(ring.name, ring.bytes, ring.schema, ring.consumers_max)
                self.rings[ring.name] = stack.enter_context(made)
            self.loop = stack.enter_context(Loop(self.engine))
            self.ports = {
                one.port.name: self.loop.add_port(one.port.name, datagram=one.port.kind == "udp") for one in plan.ports
            }
            self.readers: dict[str, dict[str, Consumer]] = {name: {} for name in self.rings}
            self.stages = self._add_stages(plan, plugins)
            self.sinks = {one.link.name: self.read(one.link.name, one.inputs) for one in plan.links}
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()

    def _add_stages(self, plan: Plan, plugins: Mapping[str, Plugin]) -> dict[str, Stage]:
        """Each plugin is loaded once; stages of the same plugin share its code."""
        with contextlib.ExitStack() as loaded:
            modules = {
                name: loaded.enter_context(Module(self.engine, name, plugins[name].read()))
                for name in sorted({stage.manifest.name for stage in plan.stages})
            }
            return {stage.name: self._add_stage(stage, modules[stage.manifest.name]) for stage in plan.stages}

    def _add_stage(self, plan: StagePlan, module: Module) -> Stage:
        config = StageConfig(
            name=plan.name,
            module=module,
            hal_grants=plan.manifest.hal_mask,
            config=plan.config,
            memory_bytes=plan.memory_bytes,
            deadline_us=plan.deadline_us,
            kv_bytes=plan.manifest.kv_bytes,
            ports=[self.ports[name] for name in plan.ports],
            inputs=self.read(plan.name, plan.inputs),
            in_schema=plan.in_schema,
            outputs=[self.rings[plan.output]] if plan.output else [],
            out_schema=plan.out_schema,
        )
        try:
            return self.loop.add_stage(config)
        except RuntimeFault as fault:
            where = f'plugin "{plan.manifest.name}", {plan.manifest.file}'
            raise type(fault)(fault.status, f"{fault.message} ({where})") from None

    def read(self, reader: str, inputs: Iterable[ReadPlan]) -> list[Consumer]:
        """Attach ``reader`` to the rings it reads."""
        ends = []
        for one in inputs:
            end = self.rings[one.ring].attach(_POLICIES[one.policy])
            self.readers[one.ring][reader] = end
            ends.append(end)
        return ends


class Supervisor:
    """A site that is set up; ``run`` or ``close`` it. Raises PenstockError when a part cannot be set up."""

    def __init__(self, plan: Plan, plugins: Mapping[str, Plugin], connectors: Connectors, clock: Clock) -> None:
        self.plan = plan
        self._clock = clock
        self._plane = _Plane(plan, plugins)
        self._started_s = clock.monotonic_s()
        self._final: State | None = None
        plane = self._plane
        with contextlib.ExitStack() as undo:
            undo.callback(plane.close)
            self._ports = {one.port.name: connectors.port(one, plane.ports[one.port.name], clock) for one in plan.ports}
            self._links = {one.link.name: connectors.link(one, plane.sinks[one.link.name], clock) for one in plan.links}
            undo.pop_all()

    async def run(self, stop: asyncio.Event) -> State:
        """Run until ``stop`` is set, then stop in good order; returns the final counters. Once only."""
        loop, events = asyncio.get_running_loop(), self._plane.loop.events_fd()
        try:
            async with asyncio.TaskGroup() as group:
                links = [group.create_task(self.keep(f"link {n}", one.run)) for n, one in self._links.items()]
                loop.add_reader(events, self._take_events)
                self._plane.loop.start()
                ports = [group.create_task(self.keep(f"port {n}", one.run)) for n, one in self._ports.items()]
                _log.info(
                    "running: site %s, %d stages, %d tags", self.plan.site, len(self.plan.stages), len(self.plan.tags)
                )
                await stop.wait()
                await self._wind_down(ports, links)
            self._final = self.snapshot()
            return self._final
        finally:
            loop.remove_reader(events)
            self.close()

    def close(self) -> None:
        """Free everything; ``run`` does it by itself at its end."""
        self._plane.close()

    def snapshot(self) -> State:
        """The state now; after the end the final one."""
        if self._final is not None:
            return self._final
        plane = self._plane
        return State(
            site=self.plan.site,
            uptime_s=self._clock.monotonic_s() - self._started_s,
            stages=tuple(_report(stage, plane.stages[stage.name]) for stage in self.plan.stages),
            rings=tuple(
                RingReport(name, ring.stats(), {who: end.stats() for who, end in plane.readers[name].items()})
                for name, ring in plane.rings.items()
            ),
            ports=tuple(
                PortReport(name, one.opens, one.problem, plane.ports[name].stats()) for name, one in self._ports.items()
            ),
            links=tuple(link.state() for link in self._links.values()),
        )

    def stages_of(self, plugin: str) -> Sequence[str]:
        """The stages that run a plugin, in topological order."""
        return [one.name for one in self.plan.stages if one.manifest.name == plugin]

    # ---- running ----

    async def keep(self, what: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run a service for ever. One that fails unexpectedly is our bug: say so, and let the others go on."""
        while True:
            try:
                await run()
            except Exception as error:  # noqa: BLE001
                _log.error("%s failed and is started again: %s: %s", what, type(error).__name__, error)
                _log.debug("%s failed", what, exc_info=True)
            await self._clock.sleep(RESTART_S)

    def _take_events(self) -> None:
        for event in self._plane.loop.events():
            _HANDLERS[event.kind](self, event)

    def _on_log(self, event: Event) -> None:
        name = self.plan.stages[event.source].name
        logging.getLogger(f"penstock.stage.{name}").log(_LEVELS[min(event.level, 3)], "%s", event.text)

    def _on_trap(self, event: Event) -> None:
        _log.error("stage %s trapped: %s", self.plan.stages[event.source].name, event.text)

    def _on_stage(self, event: Event) -> None:
        name = self.plan.stages[event.source].name
        if event.level == StageState.STOPPED:
            _log.error("stage %s is stopped: %s", name, event.text)
        else:
            _log.info("stage %s is running", name)

    def _on_port(self, event: Event) -> None:
        if event.level == 0:
            self._ports[self.plan.ports[event.source].port.name].lost()

    def _on_lost(self, event: Event) -> None:
        _log.warning("%d events of the data plane were lost", event.lost)

    # ---- stopping ----

    async def _wind_down(self, ports: Sequence[asyncio.Task[None]], links: Sequence[asyncio.Task[None]]) -> None:
        """Stop polling, let the chain drain, flush the links; each within its time."""
        _log.info("stopping")
        await _cancel(ports)
        await self._quiet()
        self._plane.loop.stop()
        self._take_events()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_MOST_S):
                for link in self._links.values():
                    await link.drain()
        for name, link in self._links.items():
            if link.state().outstanding or any(end.stats().lag_bytes for end in self._plane.sinks[name]):
                _log.warning("link %s: not everything could be delivered", name)
        await _cancel(links)

    async def _quiet(self) -> None:
        """Wait until no ring has moved for QUIET_S: batches that a plugin still holds have their time to come out."""
        deadline_s = self._clock.monotonic_s() + DRAIN_MOST_S
        moved_s, before = self._clock.monotonic_s(), self._positions()
        while (now_s := self._clock.monotonic_s()) < min(deadline_s, moved_s + QUIET_S):
            await self._clock.sleep(LOOK_S)
            if (now := self._positions()) != before:
                moved_s, before = now_s, now

    def _positions(self) -> list[int]:
        return [ring.stats().records for ring in self._plane.rings.values()]


_HANDLERS: dict[EventKind, Callable[[Supervisor, Event], None]] = {
    EventKind.LOG: Supervisor._on_log,
    EventKind.TRAP: Supervisor._on_trap,
    EventKind.STAGE: Supervisor._on_stage,
    EventKind.PORT: Supervisor._on_port,
    EventKind.LOST: Supervisor._on_lost,
}


def _report(plan: StagePlan, stage: Stage) -> StageReport:
    stats = stage.stats()
    metrics = {metric.name: metric.value for metric in stage.metrics()}
    return StageReport(plan.name, plan.manifest.name, stats.state == StageState.RUNNING, stats, metrics)


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
