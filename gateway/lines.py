"""Opening field ports without asyncio: for the threads of ``gateway.links.ports``, and for a prepared start.

A prepared start (``gateway.app.prepared``) opens what answers at once before anything heavy is imported: so without
typing, enum, socket and selectors here.
"""

from __future__ import annotations

import _socket
import _thread
import errno
import os
import select
import termios

from gateway.clock import Clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from socket import socket
    from typing import Literal, TypedDict

    from serial import Serial

    class NetSetup(TypedDict):
        """A socket. ``keepalive_s`` 0: none."""

        kind: Literal["tcp", "udp"]
        host: str
        port: int
        connect_timeout_s: float
        keepalive_s: int

    class Rs485Setup(TypedDict):
        """Direction control by the driver; delays in seconds, None: the driver's default."""

        rts_level_for_tx: bool
        rts_level_for_rx: bool
        loopback: bool
        delay_before_tx: float | None
        delay_before_rx: float | None

    class SerialSetup(TypedDict):
        """A serial line, as pyserial names its settings. ``device``: a device file."""

        kind: Literal["serial"]
        device: str
        baudrate: int
        bytesize: int
        parity: str
        stopbits: float
        flow: str
        rs485: Rs485Setup | None

    PortSetup = NetSetup | SerialSetup

AT_ONCE_S = 0.25
_VMIN, _VTIME, _CC = termios.VMIN, termios.VTIME, 6


def open_at_once(setups: Mapping[str, PortSetup], clock: Clock) -> dict[str, int]:
    """One attempt at each port, all at the same time: descriptors of those that open within AT_ONCE_S, by name. The
    others, and hosts that have to be looked up, are left to whoever tries again."""
    deadline_s = clock.monotonic_s() + AT_ONCE_S
    lines: dict[str, _Opening] = {}
    sockets: dict[str, _socket.socket] = {}
    for name, setup in setups.items():
        if setup["kind"] == "serial":
            lines[name] = _Opening(setup)
        elif sock := _begin(setup):
            sockets[name] = sock
    opened = {name: sockets.pop(name).detach() for name in _connected(sockets, clock, deadline_s)}
    for sock in sockets.values():
        sock.close()
    return opened | {name: fd for name, line in lines.items() if (fd := line.taken(clock, deadline_s)) >= 0}


# ---- sockets ----


def _begin(setup: NetSetup) -> _socket.socket | None:
    """A connection on its way; None when there is none, or the host is a name."""
    kind = _socket.SOCK_STREAM if setup["kind"] == "tcp" else _socket.SOCK_DGRAM
    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            _socket.inet_pton(family, setup["host"])
            sock = _socket.socket(family, kind | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
        except OSError:
            continue
        if sock.connect_ex((setup["host"], setup["port"])) in (0, errno.EINPROGRESS):
            tune(sock, setup)
            return sock
        sock.close()
    return None


def _connected(sockets: Mapping[str, _socket.socket], clock: Clock, deadline_s: float) -> list[str]:
    """Those that are connected by then."""
    found: list[str] = []
    names = {sock.fileno(): name for name, sock in sockets.items()}
    poll = select.poll()
    for fd in names:
        poll.register(fd, select.POLLOUT)
    while names and (ready := poll.poll(1000 * max(0.0, deadline_s - clock.monotonic_s()))):
        for fd, _ in ready:
            poll.unregister(fd)
            name = names.pop(fd)
            if sockets[name].getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR) == 0:
                found.append(name)
    return found


def tune(sock: socket | _socket.socket, setup: NetSetup) -> None:
    """TCP: small frames leave at once, and a peer that lost power is noticed, also while data is unacknowledged."""
    if setup["kind"] != "tcp":
        return
    sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
    keepalive_s = setup["keepalive_s"]
    if keepalive_s == 0:
        return
    step_s = max(1, keepalive_s // 3)
    for level, option, value in (
        (_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1),
        (_socket.IPPROTO_TCP, _socket.TCP_KEEPIDLE, step_s),
        (_socket.IPPROTO_TCP, _socket.TCP_KEEPINTVL, step_s),
        (_socket.IPPROTO_TCP, _socket.TCP_KEEPCNT, 2),
        (_socket.IPPROTO_TCP, _socket.TCP_USER_TIMEOUT, keepalive_s * 1000),
    ):
        sock.setsockopt(level, option, value)


# ---- serial lines ----


class _Opening:
    """A line that a thread opens: a driver may take for ever."""

    def __init__(self, setup: SerialSetup) -> None:
        self._setup = setup
        self._fd = -1
        self._is_over = False  # nobody waits any more
        self._state = _thread.allocate_lock()
        self._done = _thread.allocate_lock()
        self._done.acquire()
        _thread.start_new_thread(self._run, ())

    def _run(self) -> None:
        try:
            fd = open_serial(self._setup)
        except (OSError, ValueError):  # who tries again tells why
            fd = -1
        with self._state:
            if self._is_over and fd >= 0:
                os.close(fd)
            self._fd = fd
        self._done.release()

    def taken(self, clock: Clock, deadline_s: float) -> int:
        """The descriptor, which is the caller's; -1: not open by then."""
        self._done.acquire(timeout=max(0.0, deadline_s - clock.monotonic_s()))
        with self._state:
            self._is_over = True
            return self._fd


def open_serial(setup: SerialSetup) -> int:
    """An open, non-blocking descriptor of a line that is set up. Blocks. Raises OSError or ValueError.

    The lock that keeps other programs out belongs to the open file and stays with the returned descriptor.
    """
    import serial  # only sites with serial lines pay for it

    line = serial.Serial(
        setup["device"],
        baudrate=setup["baudrate"],
        bytesize=setup["bytesize"],
        parity=setup["parity"],
        stopbits=setup["stopbits"],
        xonxoff=setup["flow"] == "xonxoff",
        rtscts=setup["flow"] == "rtscts",
        dsrdtr=setup["flow"] == "dsrdtr",
        timeout=0,
        exclusive=True,
    )
    try:
        if setup["rs485"] is not None:
            _set_rs485(line, setup["rs485"])
        fd = os.dup(line.fileno())
    finally:
        line.close()
    _wait_for_a_byte(fd)
    return fd


def _set_rs485(line: Serial, setup: Rs485Setup) -> None:
    import serial.rs485

    try:
        line.rs485_mode = serial.rs485.RS485Settings(**setup)
    except (OSError, ValueError) as error:
        raise ValueError(f"the driver has no RS-485 mode ({error}); remove rs485 or use a line that has it") from None


def _wait_for_a_byte(fd: int) -> None:
    """pyserial sets VMIN 0: an idle line then reads as 0 bytes, which means end of file to everybody else."""
    attributes = termios.tcgetattr(fd)
    attributes[_CC][_VMIN] = 1
    attributes[_CC][_VTIME] = 0
    termios.tcsetattr(fd, termios.TCSANOW, attributes)
    os.set_blocking(fd, False)
