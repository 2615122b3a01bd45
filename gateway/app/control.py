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
from gateway.store.plugins import PluginStore
from gateway.supervisor import Supervisor

Service = Callable[[], Awaitable[None]]
_log = logging.getLogger("penstock.control")


class _Stages:
    """The desk's view of a supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.stages_of, self.swap, self._snapshot = supervisor.stages_of, supervisor.swap, supervisor.snapshot

    def running(self, stage: str) -> str:
        """The content hash of what a stage runs, "" when it is stopped."""
        report = next(one for one in self._snapshot().stages if one.name == stage)
        return report.hash if report.running else ""


def control_services(
    supervisor: Supervisor, store: PluginStore | None, replaced: asyncio.Queue[str], where: Places, clock: Clock
) -> Iterator[tuple[str, Service]]:
    """What runs beside the supervisor, each with its name. ``replaced``: as ``Desk`` takes it."""
    monitor = HealthMonitor(clock, __version__, store.problems if store else ())

    def health() -> Health:
        return monitor.judge(supervisor.snapshot())

    desk = Desk(store, _Stages(supervisor), replaced) if store else None
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
