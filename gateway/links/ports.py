"""Field ports: opens serial lines and sockets, hands the descriptors to the data plane, reopens what fails.

Each port is a task of its own: a dead one does not delay the others. What travels over a port is none of our business.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import termios
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from gateway.clock import Clock
from gateway.config.site import NetPort, Rs485, SerialPort
from gateway.errors import LinkError
from gateway.graph import PortPlan
from gateway.links.backoff import Backoff
from gateway.links.blocking import in_thread

if TYPE_CHECKING:
    from serial import Serial

BACKOFF_FIRST_S = 0.5
BACKOFF_MOST_S = 30.0
SERIAL_OPEN_TIMEOUT_S = 5.0
_VMIN, _VTIME, _CC = termios.VMIN, termios.VTIME, 6

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
            while True:
                lasted_s = await self._once()
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
        started_s = self._clock.monotonic_s()
        self._lost.clear()
        self._target.set_fd(fd)
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
    port = plan.port
    try:
        if isinstance(port, SerialPort):
            return await _open_serial(port, plan.device)
        return await _open_socket(port)
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


async def _open_socket(port: NetPort) -> int:
    kind = socket.SOCK_STREAM if port.kind == "tcp" else socket.SOCK_DGRAM
    async with asyncio.timeout(port.connect_timeout_s):
        last: OSError = OSError(errno.EHOSTUNREACH, "no address")
        for family, _, protocol, _, target in await _resolve(port, kind):
            sock = socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
            try:
                sock.setblocking(False)
                await asyncio.get_running_loop().sock_connect(sock, target)
                _tune(sock, port)
                return sock.detach()
            except OSError as error:
                last = error
            finally:
                sock.close()
        raise last


async def _resolve(port: NetPort, kind: socket.SocketKind) -> Sequence[tuple[Any, ...]]:
    """In a thread of its own: those of asyncio would hold up the end of the process while a name server is silent."""
    return await in_thread(
        f"resolve {port.host}", lambda: socket.getaddrinfo(port.host, port.port, type=kind), None, lambda _: None
    )


def _tune(sock: socket.socket, port: NetPort) -> None:
    """TCP: small frames leave at once, and a peer that lost power is noticed, also while data is unacknowledged."""
    if port.kind != "tcp":
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if port.keepalive_s == 0:
        return
    step_s = max(1, port.keepalive_s // 3)
    for level, option, value in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, step_s),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, step_s),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, port.keepalive_s * 1000),
    ):
        sock.setsockopt(level, option, value)


# ---- serial lines -------------------------------------------------------------------------------------------------


async def _open_serial(port: SerialPort, device: str) -> int:
    return await in_thread(f"open {device}", lambda: open_serial(port, device), SERIAL_OPEN_TIMEOUT_S, os.close)


def open_serial(port: SerialPort, device: str) -> int:
    """Open ``device`` for ``port`` and set the line up. Blocks. Raises OSError or ValueError.

    The lock that keeps other programs out belongs to the open file and stays with the returned descriptor.
    """
    import serial  # only sites with serial lines pay for it

    line = serial.Serial(
        device,
        baudrate=port.baudrate,
        bytesize=port.data_bits,
        parity=port.parity[0].upper(),
        stopbits=port.stop_bits,
        xonxoff=port.flow == "xonxoff",
        rtscts=port.flow == "rtscts",
        dsrdtr=port.flow == "dsrdtr",
        timeout=0,
        exclusive=True,
    )
    try:
        if port.rs485 is not None:
            _set_rs485(line, port.rs485)
        fd = os.dup(line.fileno())
    finally:
        line.close()
    _wait_for_a_byte(fd)
    return fd


def _set_rs485(line: Serial, rs485: Rs485) -> None:
    import serial.rs485

    settings = serial.rs485.RS485Settings(
        rts_level_for_tx=rs485.rts_level_for_tx,
        rts_level_for_rx=rs485.rts_level_for_rx,
        loopback=rs485.loopback,
        delay_before_tx=rs485.delay_before_tx_s,
        delay_before_rx=rs485.delay_before_rx_s,
    )
    try:
        line.rs485_mode = settings
    except (OSError, ValueError) as error:
        raise ValueError(f"the driver has no RS-485 mode ({error}); remove rs485 or use a line that has it") from None


def _wait_for_a_byte(fd: int) -> None:
    """pyserial sets VMIN 0: an idle line then reads as 0 bytes, which means end of file to everybody else."""
    attributes = termios.tcgetattr(fd)
    attributes[_CC][_VMIN] = 1
    attributes[_CC][_VTIME] = 0
    termios.tcsetattr(fd, termios.TCSANOW, attributes)
    os.set_blocking(fd, False)
