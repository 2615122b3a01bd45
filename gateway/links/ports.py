"""Field ports: opens serial lines and sockets, hands the descriptors to the data plane, reopens what fails.

Each port is a task of its own: a dead one does not delay the others. What travels over a port is none of our business.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from gateway.clock import Clock
from gateway.config.site import SerialPort
from gateway.errors import LinkError
from gateway.graph import PortPlan
from gateway.lines import open_serial, tune
from gateway.links.backoff import Backoff
from gateway.links.blocking import in_thread

if TYPE_CHECKING:
    from gateway.lines import NetSetup, SerialSetup

BACKOFF_FIRST_S = 0.5
BACKOFF_MOST_S = 30.0
SERIAL_OPEN_TIMEOUT_S = 5.0

_HINTS: dict[int, str] = {
    errno.EACCES: "permission denied; serial devices mostly belong to the group dialout",
    errno.ENOENT: "no such device",
    errno.EBUSY: "in use by another program",
    errno.EAGAIN: "in use by another program",
}


class Descriptor(Protocol):
    """Where an open descriptor goes: ``gateway.wasm.Port``, or a fake in tests."""

    def set_fd(self, fd: int) -> None:
        """Take ownership of ``fd``; -1 closes the present one."""

    def is_open(self) -> bool:
        """Whether it has one: a prepared start has opened it (``gateway.lines``)."""


class FieldPort:
    """Keeps one port open. ``opens`` counts successful openings, ``problem`` is why it is not open now, or ""."""

    def __init__(self, plan: PortPlan, target: Descriptor, clock: Clock) -> None:
        self.name = plan.port.name
        self.opens = 0
        self.problem = "not opened yet"
        self._plan = plan
        self._target = target
        self._clock = clock
        self._lost = asyncio.Event()
        self._log = logging.getLogger(f"penstock.port.{self.name}")

    def lost(self) -> None:
        """The data plane reports that the descriptor has failed and is closed."""
        self._lost.set()

    async def run(self) -> None:
        """Open, wait until it fails, open again; until cancelled, which closes the port."""
        backoff = Backoff(BACKOFF_FIRST_S, BACKOFF_MOST_S, self._clock.jitter)
        try:
            attempt = self._hold if self._target.is_open() else self._once
            while True:
                lasted_s, attempt = await attempt(), self._once
                await self._clock.sleep(backoff.after(lasted_s))
        finally:
            self._target.set_fd(-1)

    async def _once(self) -> float:
        """One connection; returns the seconds it lasted, 0 when it did not come about."""
        try:
            fd = await open_port(self._plan)
        except LinkError as error:
            self._note(str(error), logging.WARNING)
            return 0.0
        self._lost.clear()
        self._target.set_fd(fd)
        return await self._hold()

    async def _hold(self) -> float:
        """Until the connection is lost."""
        started_s = self._clock.monotonic_s()
        self.opens += 1
        self._note("", logging.INFO)
        await self._lost.wait()
        self._note("connection lost", logging.WARNING)
        return self._clock.monotonic_s() - started_s

    def _note(self, problem: str, level: int) -> None:
        """Log changes, not attempts."""
        if problem != self.problem:
            self._log.log(level, "%s", problem or f"open: {address(self._plan)}")
        self.problem = problem


def address(plan: PortPlan) -> str:
    """What the port is connected to, for people."""
    port = plan.port
    return f"{port.kind} {plan.device}" if isinstance(port, SerialPort) else f"{port.kind} {port.host}:{port.port}"


async def open_port(plan: PortPlan) -> int:
    """An open, non-blocking descriptor, owned by the caller. Raises LinkError, which names address and reason."""
    setup = plan.setup()
    try:
        if setup["kind"] == "serial":
            return await _open_serial(setup)
        return await _open_socket(setup)
    except TimeoutError:
        reason = "timed out"
    except (OSError, ValueError) as error:
        reason = _reason(error)
    raise LinkError(f"cannot open {address(plan)}: {reason}")


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return _HINTS.get(error.errno, os.strerror(error.errno) if error.errno > 0 else str(error.strerror))
    return str(error)


# ---- sockets ------------------------------------------------------------------------------------------------------


async def _open_socket(setup: NetSetup) -> int:
    kind = socket.SOCK_STREAM if setup["kind"] == "tcp" else socket.SOCK_DGRAM
    async with asyncio.timeout(setup["connect_timeout_s"]):
        last: OSError = OSError(errno.EHOSTUNREACH, "no address")
        for family, _, protocol, _, target in await _resolve(setup, kind):
            sock = socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
            try:
                sock.setblocking(False)
                await asyncio.get_running_loop().sock_connect(sock, target)
                tune(sock, setup)
                return sock.detach()
            except OSError as error:
                last = error
            finally:
                sock.close()
        raise last


async def _resolve(setup: NetSetup, kind: socket.SocketKind) -> Sequence[tuple[Any, ...]]:
    """In a thread of its own: those of asyncio would hold up the end of the process while a name server is silent."""
    host, port = setup["host"], setup["port"]
    return await in_thread(f"resolve {host}", lambda: socket.getaddrinfo(host, port, type=kind), None, lambda _: None)


# ---- serial lines -------------------------------------------------------------------------------------------------


async def _open_serial(setup: SerialSetup) -> int:
    return await in_thread(f"open {setup['device']}", lambda: open_serial(setup), SERIAL_OPEN_TIMEOUT_S, os.close)
