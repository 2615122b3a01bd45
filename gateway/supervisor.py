"""Carries a plan out: one data-plane loop, one task per port and link, one reader for the data plane's events.

The supervisor keeps one failing part from ending the others, and knows the order in which things start and stop. What
opens ports and talks to brokers is handed in (``Connectors``): links know the supervisor, not the other way round.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.assembly import Assembly
from gateway.clock import Clock
from gateway.errors import PenstockError, PluginError, SwapError
from gateway.graph import LinkPlan, Plan, PortPlan, StagePlan, plan_stage
from gateway.plane import Plane, Shadow, Swapped, Version
from gateway.store import Plugin
from gateway.wasm import (
    Consumer,
    ConsumerStats,
    Event,
    EventKind,
    Port,
    PortStats,
    RingStats,
    StageState,
    StageStats,
)

RESTART_S = 1.0  # pause before a part that failed unexpectedly is started again
QUIET_S = 1.2  # stopping: the chain is taken for drained when no ring moved for so long
DRAIN_MOST_S = 3.0
FLUSH_MOST_S = 5.0
LOOK_S = 0.05

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
    """A stage: the version of its plugin, totals, and the numbers the plugin publishes by name.

    ``hash`` is that of the module, ``compiled``: it runs code compiled ahead of time. ``problem``: why it stopped, or
    why the last other version was not taken; "".
    """

    name: str
    plugin: str
    version: str
    hash: str
    running: bool
    problem: str
    stats: StageStats
    metrics: Mapping[str, int]
    compiled: bool = False

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


class Versions(Protocol):
    """What is known of versions beyond those that run. Asked in other threads."""

    def is_bad(self, plugin: Plugin) -> str:
        """Why it must not run; "" when it may."""

    def mark_bad(self, plugin: Plugin, reason: str) -> None:
        """It trapped too often."""

    def previous(self, plugin: Plugin) -> Plugin | None:
        """What to run instead of it; None when there is nothing."""


@dataclass(frozen=True, slots=True)
class Connectors:
    """What knows the world outside: makers of services, and ``vectors``, which runs a plugin's own vectors here and
    raises PluginError when one fails. ``versions`` None: only this run is remembered."""

    port: Callable[[PortPlan, Port, Clock], PortService]
    link: Callable[[LinkPlan, Sequence[Consumer], Clock], LinkService]
    vectors: Callable[[Plugin], None]
    versions: Versions | None = None


@dataclass(frozen=True, slots=True)
class SwapResult:
    """What a swap was like: versions before and after, how long the loop stood still, what was carried over (version 0
    of the state: the new version began anew), how many records a shadow had compared, whether compiled code runs."""

    stage: str
    source: str
    target: str
    generation: int
    pause_ns: int
    state_bytes: int
    state_version: int
    compared: int
    compiled: bool


class _Session:
    """The versions of this run, where no store remembers more."""

    def __init__(self) -> None:
        self.bad: dict[str, str] = {}
        self.before: dict[str, Plugin] = {}

    def is_bad(self, plugin: Plugin) -> str:
        return self.bad.get(_identity(plugin), "")

    def mark_bad(self, plugin: Plugin, reason: str) -> None:
        self.bad[_identity(plugin)] = reason

    def previous(self, plugin: Plugin) -> Plugin | None:
        before = self.before.get(_identity(plugin))
        return None if before is None or self.is_bad(before) else before


def _identity(plugin: Plugin) -> str:
    return plugin.hash or f"{plugin.manifest.name} {plugin.manifest.version} {plugin.wasm}"


class Supervisor:
    """A site that is set up; ``run`` or ``close`` it. Raises PenstockError when a part cannot be set up."""

    def __init__(
        self,
        plan: Plan,
        plugins: Mapping[str, Plugin],
        connectors: Connectors,
        clock: Clock,
        made: Assembly | None = None,
    ) -> None:
        """``made``: the data plane's C objects, when they are there already (``gateway.plane.Plane``)."""
        self.plan = plan
        self._clock = clock
        self._plane = Plane(plan, plugins, made)
        self._connectors = connectors
        self._session = _Session()
        self._versions: Versions = connectors.versions or self._session
        self._problems: dict[str, str] = {}
        self._swapping: set[str] = set()
        self._at_work: set[asyncio.Future[Swapped]] = set()
        self._stopped: asyncio.Queue[tuple[str, Version, str]] = asyncio.Queue()
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
                was_started = self._plane.is_started
                self._plane.start()
                ports = [group.create_task(self.keep(f"port {n}", one.run)) for n, one in self._ports.items()]
                back = group.create_task(self.keep("going back", self._go_back))
                if not was_started:  # told already
                    _log.info("running: %s", self._plane.summary)
                await stop.wait()
                await _cancel([back])
                await self._wind_down(ports, links)
            self._final = self.snapshot()
            return self._final
        finally:
            loop.remove_reader(events)
            self._plane.closing.set()
            await asyncio.gather(*self._at_work, return_exceptions=True)
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
            stages=tuple(self._report(stage) for stage in self.plan.stages),
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

    def _report(self, plan: StagePlan) -> StageReport:
        stage, version = self._plane.stages[plan.name], self._plane.versions[plan.name]
        stats, manifest = stage.stats(), version.plugin.manifest
        return StageReport(
            plan.name, manifest.name, manifest.version, version.hash, stats.state == StageState.RUNNING,
            self._problems.get(plan.name, ""), stats, {metric.name: metric.value for metric in stage.metrics()},
            version.compiled,
        )  # fmt: skip

    # ---- other versions ----

    async def swap(
        self,
        stage: str,
        plugin: Plugin,
        *,
        carry_state: bool = True,
        shadow_records: int = 0,
        allowed: Sequence[str] = (),
    ) -> SwapResult:
        """Let another version take over a stage between two of its events. Nothing is lost or repeated, and whatever
        fails before leaves the version that runs. ``shadow_records``: before, both run on the same input, and so many
        records must be the same but for the ``allowed`` fields (gateway.wasm.FIELDS). Raises SwapError."""
        shadow = Shadow(shadow_records, tuple(allowed)) if shadow_records else None
        version = self._plane.versions.get(stage)
        if version is None:
            raise SwapError(stage, "version", f"there is no such stage, allowed: {', '.join(self._plane.versions)}")
        if stage in self._swapping:
            raise SwapError(stage, "busy", "another swap of this stage is under way")
        self._swapping.add(stage)
        try:
            await self._check(stage, version, plugin)
            result = await self._switch(stage, version, plugin, carry_state, shadow)
        except SwapError as error:
            self._problems[stage] = str(error)
            _log.warning("%s", error)
            raise
        finally:
            self._swapping.discard(stage)
        self._problems.pop(stage, None)
        return result

    async def _check(self, stage: str, version: Version, plugin: Plugin) -> None:
        """Everything that can be known about it without its running here."""
        if plugin.manifest.name != version.plugin.manifest.name:
            raise SwapError(stage, "version", f"it runs {version.plugin.manifest.name}, found {plugin.manifest.name}")
        if why := await asyncio.to_thread(self._versions.is_bad, plugin):
            raise SwapError(stage, "version", f"{plugin.manifest.version} is remembered as bad: {why}")
        try:
            await asyncio.to_thread(self._connectors.vectors, plugin)
        except PluginError as error:
            raise SwapError(stage, "vectors", str(error)) from None

    async def _switch(
        self, stage: str, version: Version, plugin: Plugin, carry_state: bool, shadow: Shadow | None
    ) -> SwapResult:
        try:
            plan = plan_stage(self.plan, stage, plugin.manifest)
        except PenstockError as error:
            raise SwapError(stage, "manifest", str(error)) from None
        bus = version.plugin.manifest.bus
        if bus and bus != plugin.manifest.bus:
            why = "without it, it could write what the site does not allow"
            raise SwapError(stage, "manifest", f'capabilities.bus is no longer "{bus}": {why}')
        work = asyncio.ensure_future(
            asyncio.to_thread(self._plane.swap, plan, plugin, carry_state=carry_state, shadow=shadow)
        )
        self._at_work.add(work)  # goes on if the one who waits is cancelled
        work.add_done_callback(self._at_work.discard)
        try:
            done = await asyncio.shield(work)
        except PluginError as error:
            raise SwapError(stage, "module", str(error)) from None
        switched, report = done.switched, done.report
        self._session.before[_identity(plugin)] = version.plugin
        source, target = version.plugin.manifest.version, plugin.manifest.version
        _log.info("stage %s: %s -> %s, a pause of %d us", stage, source, target, switched.pause_ns // 1000)
        return SwapResult(
            stage,
            source,
            target,
            switched.generation,
            switched.pause_ns,
            switched.state_bytes,
            switched.state_version,
            report.compared if report else 0,
            self._plane.versions[stage].compiled,
        )

    async def _go_back(self) -> None:
        """Each stage that was stopped runs the version before, if there is one."""
        while True:
            stage, stopped, reason = await self._stopped.get()
            if self._plane.versions[stage].hash != stopped.hash:
                continue  # another stage of the plugin was first, and this one has left that version with it
            plugin = stopped.plugin
            await asyncio.to_thread(self._versions.mark_bad, plugin, reason)
            before = await asyncio.to_thread(self._versions.previous, plugin)
            if before is None:
                _log.error("stage %s stays stopped: there is no version to go back to", stage)
                continue
            bad = self._plane.versions[stage].hash
            for name in [name for name, one in self._plane.versions.items() if one.hash == bad]:
                with contextlib.suppress(SwapError):  # logged, and told in the stage's report
                    await self.swap(name, before, carry_state=name != stage)
                    self._problems[name] = f"{plugin.manifest.version} trapped too often: {reason}"

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
            self._problems[name] = event.text
            self._stopped.put_nowait((name, self._plane.versions[name], event.text))
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


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
