"""The control interface of a running site: its services, put together from supervisor, store and desk."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from gateway import __version__
from gateway.api.desk import Desk
from gateway.api.health import PERIOD_S, Health, HealthMonitor, write_health
from gateway.api.methods import Control
from gateway.api.protocol import ApiError
from gateway.api.server import ControlServer
from gateway.app.places import Places
from gateway.clock import Clock
from gateway.store import Plugin
from gateway.store.plugins import PluginStore
from gateway.supervisor import Supervisor

Service = Callable[[], Awaitable[None]]
_log = logging.getLogger("penstock.control")


class _Stages:
    """The desk's view of a supervisor whose stages change with a restart only."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.stages_of = supervisor.stages_of

    def running(self, stage: str) -> str:
        del stage
        return ""

    async def swap(self, stage: str, plugin: Plugin, *, carry_state: bool = True, shadow_records: int = 0) -> object:
        del plugin, carry_state, shadow_records
        raise ApiError("swap_refused", f"stage {stage} cannot be changed while it runs")


def control_services(
    supervisor: Supervisor, store: PluginStore | None, where: Places, clock: Clock
) -> Iterator[tuple[str, Service]]:
    """What runs beside the supervisor, each with its name."""
    monitor = HealthMonitor(clock, __version__, store.problems if store else ())

    def health() -> Health:
        return monitor.judge(supervisor.snapshot())

    desk = Desk(store, _Stages(supervisor), asyncio.Queue()) if store else None
    server = ControlServer(where.socket, Control(supervisor, health, clock, __version__, desk).methods())

    async def serve() -> None:
        try:
            await server.run()
        except ApiError as error:
            _log.error("%s; this gateway cannot be controlled", error)
            await asyncio.Future()

    async def watch_health() -> None:
        problem = ""
        while True:
            before, problem = problem, _try_to_write(where.health, health())
            if problem and problem != before:
                _log.warning("%s", problem)
            await clock.sleep(PERIOD_S)

    yield "control socket", serve
    yield "health", watch_health
    if desk is not None:
        yield "plugin desk", desk.follow


def _try_to_write(path: Path, health: Health) -> str:
    """What hindered it, or ""."""
    try:
        write_health(path, health)
    except OSError as error:
        return f"{path}: cannot be written: {error.strerror}"
    return ""
