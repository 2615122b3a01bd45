"""``penstock run``: a site in the foreground until SIGTERM, SIGINT or the end of the time it was given."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from gateway.api.status import status_line
from gateway.api.versions import StoreVersions
from gateway.app import prepared
from gateway.app.control import control_services
from gateway.app.notify import Notifier
from gateway.app.prepared import Started
from gateway.app.site_check import Loaded
from gateway.app.state import OpenState
from gateway.app.vectors import check_vectors
from gateway.clock import Clock
from gateway.errors import PenstockError
from gateway.graph import LinkPlan, PortPlan
from gateway.links.ports import FieldPort
from gateway.plane import setup_of
from gateway.store.choose import WHO
from gateway.supervisor import Connectors, LinkService, State, Supervisor
from gateway.wasm import Consumer, Port

if TYPE_CHECKING:
    from gateway.assembly import Setup


@dataclass(frozen=True, slots=True)
class RunOptions:
    """``seconds`` None: until a signal. ``status_s`` None: no status lines but, with ``json``, the last one. ``words``:
    the command line, for which the next start is prepared."""

    seconds: float | None
    json: bool
    status_s: float | None
    words: tuple[str, ...] = ()


_log = logging.getLogger("penstock.control")


class LoadSite(Protocol):
    """Reads a site; of the plugins ``kept`` the store's own versions."""

    def __call__(self, *, kept: Collection[str] = ()) -> Loaded: ...


def run_site(load: LoadSite, options: RunOptions, state: OpenState, started: Started | None = None) -> State:
    """Run until told to stop; returns the final counters. ``started``: the data plane, where it runs already.

    Raises PenstockError when a part cannot be set up.
    """
    return asyncio.run(_run(load, options, state, started))


async def _run(load: LoadSite, options: RunOptions, state: OpenState, started: Started | None) -> State:
    clock, notifier, stop = Clock(), Notifier(), asyncio.Event()
    loop, replaced = asyncio.get_running_loop(), asyncio.Queue[str]()
    connectors = CONNECTORS
    if state.store is not None:  # who is asked in other threads
        versions = StoreVersions(state.store, lambda name: loop.call_soon_threadsafe(replaced.put_nowait, name))
        connectors = replace(CONNECTORS, versions=versions)
    supervisor = _set_up(load, state, connectors, clock, options.words, started)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.seconds is not None:
        loop.call_later(options.seconds, stop.set)
    async with asyncio.TaskGroup() as group:
        around = [group.create_task(_watchdog(notifier, clock))]
        if options.json and options.status_s is not None:
            around.append(group.create_task(_report(supervisor, clock, options.status_s)))
        around.append(group.create_task(_announce_stop(notifier, stop)))
        if state.places is not None:
            for what, service in control_services(supervisor, state.store, replaced, state.places, clock):
                around.append(group.create_task(supervisor.keep(what, service)))
        notifier.ready()
        final = await supervisor.run(stop)
        for task in around:
            task.cancel()
    if options.json:
        print(status_line(final), flush=True)
    return final


def _set_up(
    load: LoadSite,
    state: OpenState,
    connectors: Connectors,
    clock: Clock,
    words: Sequence[str],
    started: Started | None,
) -> Supervisor:
    """The site, ready to run. Plugins that are new and do not start are given up for the versions before them."""
    loaded, store = load(), state.store
    setup = setup_of(loaded.plan, loaded.plugins)
    made = started.take(setup) if started is not None else None
    if started is not None and made is None:
        _log.warning("the site is not the one that the start before has prepared; it is set up anew")
    try:
        supervisor = Supervisor(loaded.plan, loaded.plugins, connectors, clock, made)
    except PenstockError as error:
        if state.places is not None:
            prepared.forget(str(state.places.state))  # nobody shall hear again that this is ready
        back = [name for name in loaded.fresh if store is not None and store.previous(name)]
        if store is None or not back:
            raise
        for name in back:
            old = store.roll_back(name, WHO, str(error), forget_origin=True)
            _log.error("the new plugin %s does not start, %s runs instead: %s", name, old.version, error)
        loaded = load(kept=back)
        return Supervisor(loaded.plan, loaded.plugins, connectors, clock)
    if made is None and state.places is not None:
        _prepare(str(state.places.state), words, loaded, setup)
    return supervisor


def _prepare(folder: str, words: Sequence[str], loaded: Loaded, setup: Setup) -> None:
    """Let the next start be a fast one. A disk that takes nothing is told, it is in nobody's way."""
    try:
        prepared.keep(folder, words, os.environ, map(str, loaded.inputs), setup, tells=_log.isEnabledFor(logging.INFO))
    except OSError as error:
        _log.warning("%s: the next start is not prepared: %s", folder, error.strerror)


def _port(plan: PortPlan, port: Port, clock: Clock) -> FieldPort:
    return FieldPort(plan, port, clock)


def _link(plan: LinkPlan, sources: Sequence[Consumer], clock: Clock) -> LinkService:
    from gateway.links.mqtt import MqttUplink  # only sites with a broker pay for it

    return MqttUplink(plan.link, sources, clock)


CONNECTORS = Connectors(_port, _link, check_vectors)


async def _report(supervisor: Supervisor, clock: Clock, period_s: float) -> None:
    while True:
        await clock.sleep(period_s)
        print(status_line(supervisor.snapshot()), flush=True)


async def _watchdog(notifier: Notifier, clock: Clock) -> None:
    while notifier.watchdog_s is not None:
        notifier.alive()
        await clock.sleep(notifier.watchdog_s)


async def _announce_stop(notifier: Notifier, stop: asyncio.Event) -> None:
    await stop.wait()
    notifier.stopping()


def log_to_stderr(level: int) -> None:
    """One line per message: time, level, part, text. systemd adds the time by itself."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger("penstock")
    root.addHandler(handler)
    root.setLevel(level)
    root.propagate = False
