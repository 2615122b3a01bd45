"""Field ports on real sockets and pseudo-terminals."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import socket
import termios
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from gateway.clock import Clock
from gateway.config.site import NetPort, Rs485, SerialPort
from gateway.errors import LinkError
from gateway.graph import PortPlan
from gateway.lines import open_serial
from gateway.links.ports import FieldPort, open_port
from tests.gateway.peers import free_port, until

if TYPE_CHECKING:
    from gateway.lines import SerialSetup

IFLAG, CFLAG, ISPEED = 0, 2, 4
TIOCGRS485, TIOCSRS485 = 0x542E, 0x542F


class Impatient(Clock):
    """Retries without delay."""

    def jitter(self, low: float, high: float) -> float:
        assert low < high
        return 0.0


class Holder:
    """Takes descriptors as the data plane does: owns them, closes the old one."""

    def __init__(self) -> None:
        self.fd = -1
        self.given = 0

    def is_open(self) -> bool:
        return self.fd >= 0

    def set_fd(self, fd: int) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = fd
        self.given += fd >= 0


def tcp(port: int, **changes: Any) -> PortPlan:
    settings = {"kind": "tcp", "host": "127.0.0.1", "connect_timeout_s": 5.0, "keepalive_s": 30, **changes}
    return PortPlan(NetPort(name="plc", port=port, **settings), "")


def line(**changes: Any) -> SerialPort:
    settings: dict[str, Any] = {"baudrate": 19200, "data_bits": 8, "parity": "none", "stop_bits": 1, "flow": "none"}
    return SerialPort(name="bus", kind="serial", device="rs485-1", **{**settings, "rs485": None, **changes})


def serial(device: str, **changes: Any) -> SerialSetup:
    return PortPlan(line(**changes), device).setup()  # type: ignore[return-value]


@contextlib.asynccontextmanager
async def running(plan: PortPlan, holder: Holder | None = None) -> AsyncIterator[tuple[FieldPort, Holder]]:
    holder = holder or Holder()
    port = FieldPort(plan, holder, Impatient())
    async with asyncio.TaskGroup() as group:
        task = group.create_task(port.run())
        try:
            yield port, holder
        finally:
            task.cancel()
    assert holder.fd == -1, "cancelling closes the port"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        yield server


@pytest.fixture
def pty() -> Iterator[tuple[int, str]]:
    """A pseudo-terminal: our end, and the device file of the other."""
    ours, theirs = os.openpty()
    yield ours, os.ttyname(theirs)
    for fd in (ours, theirs):
        os.close(fd)


# ---- sockets ----


def test_tcp_carries_bytes_with_low_delay_and_keepalive(listener: socket.socket) -> None:
    fd = asyncio.run(open_port(tcp(listener.getsockname()[1], keepalive_s=30)))
    peer, _ = listener.accept()
    assert not os.get_blocking(fd)
    with socket.socket(fileno=fd) as ours, peer:
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
        os.write(fd, b"ping")
        assert peer.recv(10) == b"ping"


def test_keepalive_can_be_switched_off(listener: socket.socket) -> None:
    fd = asyncio.run(open_port(tcp(listener.getsockname()[1], keepalive_s=0)))
    with socket.socket(fileno=fd) as ours:
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


def test_udp_keeps_datagrams_apart() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(20)
        fd = asyncio.run(open_port(tcp(peer.getsockname()[1], kind="udp", keepalive_s=0)))
        with socket.socket(fileno=fd):
            os.write(fd, b"one")
            os.write(fd, b"two")
            assert [peer.recv(100), peer.recv(100)] == [b"one", b"two"]


def test_what_is_open_already_is_kept(listener: socket.socket) -> None:
    plan, holder = tcp(listener.getsockname()[1]), Holder()
    holder.set_fd(asyncio.run(open_port(plan)))
    peer, _ = listener.accept()

    async def scene() -> None:
        async with running(plan, holder) as (port, _):
            await until(lambda: port.opens == 1, "it is counted")
            assert (port.problem, holder.given) == ("", 1)
            port.lost()
            await until(lambda: port.opens == 2, "it is opened again")
            assert holder.given == 2

    with peer:
        asyncio.run(scene())


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (tcp(1), r"cannot open tcp 127\.0\.0\.1:1: Connection refused"),
        (tcp(502, host="no-such-host.invalid"), r"cannot open tcp no-such-host\.invalid:502: .*(known|resolution).*"),
        (PortPlan(line(), "/dev/no-such-line"), r"cannot open serial /dev/no-such-line: no such device"),
        (PortPlan(line(), "/dev/null"), r"cannot open serial /dev/null: .*configure.*"),
    ],
)
def test_a_failure_names_address_and_reason(plan: PortPlan, expected: str) -> None:
    with pytest.raises(LinkError) as caught:
        asyncio.run(open_port(plan))
    assert re.fullmatch(expected, str(caught.value))


def test_connecting_has_a_deadline() -> None:
    with socket.socket() as server:  # bound, never listens for long: its queue of one is full
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        address = server.getsockname()
        with contextlib.ExitStack() as others:
            for _ in range(2):
                other = others.enter_context(socket.socket())
                other.setblocking(False)
                other.connect_ex(address)
            with pytest.raises(LinkError) as caught:
                asyncio.run(open_port(tcp(address[1], connect_timeout_s=0.1)))
    assert str(caught.value).endswith(": timed out")


def test_a_lost_connection_is_opened_again(listener: socket.socket) -> None:
    async def scene() -> None:
        async with running(tcp(listener.getsockname()[1])) as (port, holder):
            for round_number in range(1, 4):
                await until(lambda wanted=round_number: holder.given == wanted, "opened")  # type: ignore[misc]
                assert (port.opens, port.problem) == (round_number, "")
                holder.set_fd(-1)  # as the data plane does before it reports
                port.lost()

    asyncio.run(scene())


def test_a_port_whose_peer_comes_late_opens_by_itself() -> None:
    number = free_port()

    async def scene() -> None:
        async with running(tcp(number)) as (port, holder):
            await until(lambda: "refused" in port.problem, "nobody listens")
            with socket.create_server(("127.0.0.1", number)):
                await until(lambda: holder.given == 1, "opened")
                assert port.problem == ""

    asyncio.run(scene())


def test_a_dead_port_does_not_touch_the_others(listener: socket.socket) -> None:
    async def scene() -> None:
        async with running(tcp(listener.getsockname()[1])) as (good, held), running(tcp(free_port())) as (bad, _):
            await until(lambda: held.given == 1 and "refused" in bad.problem, "one up, one down")
            peer, _ = listener.accept()
            with peer:
                os.write(held.fd, b"still here")
                assert peer.recv(100) == b"still here"
            assert (good.opens, bad.opens) == (1, 0)

    asyncio.run(scene())


def test_changes_are_logged_attempts_are_not(caplog: pytest.LogCaptureFixture) -> None:
    attempts = 0

    class Counting(Impatient):
        async def sleep(self, seconds: float) -> None:
            nonlocal attempts
            attempts += 1
            await super().sleep(seconds)

    async def scene() -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(FieldPort(tcp(free_port()), Holder(), Counting()).run())
            await until(lambda: attempts >= 5, "five attempts")
            task.cancel()

    asyncio.run(scene())
    assert len([record for record in caplog.records if record.name == "penstock.port.plc"]) == 1


# ---- serial lines ----


def test_a_serial_line_carries_bytes_both_ways(pty: tuple[int, str]) -> None:
    ours, device = pty
    fd = asyncio.run(open_port(PortPlan(line(), device)))
    try:
        os.write(fd, b"\x01\x03\x00\xff\r\n")
        assert os.read(ours, 100) == b"\x01\x03\x00\xff\r\n"
        os.write(ours, b"\x11\x13\x7f\n")
        assert os.read(fd, 100) == b"\x11\x13\x7f\n"
    finally:
        os.close(fd)


def test_an_idle_line_is_not_the_end_of_a_file(pty: tuple[int, str]) -> None:
    fd = open_serial(serial(pty[1]))
    try:
        with pytest.raises(BlockingIOError):
            os.read(fd, 1)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("changes", "where", "flags", "mask"),
    [
        ({"data_bits": 7}, CFLAG, termios.CS7, termios.CSIZE),
        ({"data_bits": 5}, CFLAG, termios.CS5, termios.CSIZE),
        ({"parity": "none"}, CFLAG, 0, termios.PARENB),
        ({"parity": "even"}, CFLAG, termios.PARENB, termios.PARENB | termios.PARODD),
        ({"parity": "odd"}, CFLAG, termios.PARENB | termios.PARODD, termios.PARENB | termios.PARODD),
        ({"parity": "mark"}, CFLAG, 0o10000000000 | termios.PARODD, 0o10000000000 | termios.PARODD),
        ({"parity": "space"}, CFLAG, 0o10000000000, 0o10000000000 | termios.PARODD),
        ({"stop_bits": 1}, CFLAG, 0, termios.CSTOPB),
        ({"stop_bits": 2}, CFLAG, termios.CSTOPB, termios.CSTOPB),
        ({"flow": "none"}, CFLAG, 0, termios.CRTSCTS),
        ({"flow": "rtscts"}, CFLAG, termios.CRTSCTS, termios.CRTSCTS),
        ({"flow": "xonxoff"}, IFLAG, termios.IXON | termios.IXOFF, termios.IXON | termios.IXOFF),
        ({"baudrate": 9600}, ISPEED, termios.B9600, ~0),
        ({"baudrate": 115200}, ISPEED, termios.B115200, ~0),
    ],
)
def test_line_settings_reach_the_driver(
    pty: tuple[int, str], monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], where: int, flags: int, mask: int
) -> None:
    asked: list[list[Any]] = []  # a pseudo-terminal forgets parity and data bits, so look at what it is told
    real = termios.tcsetattr

    def tcsetattr(fd: int, when: int, attributes: list[Any]) -> None:
        asked.append(list(attributes))
        real(fd, when, attributes)

    monkeypatch.setattr(termios, "tcsetattr", tcsetattr)
    os.close(open_serial(serial(pty[1], **changes)))
    assert asked[0][where] & mask == flags


def test_a_line_has_one_user(pty: tuple[int, str]) -> None:
    first = open_serial(serial(pty[1]))
    with pytest.raises(LinkError, match="in use by another program"):
        asyncio.run(open_port(PortPlan(line(), pty[1])))
    os.close(first)
    os.close(open_serial(serial(pty[1])))


def test_rs485_on_a_line_without_it_says_so(pty: tuple[int, str]) -> None:
    rs485 = Rs485(True, False, False, None, 0.001)
    with pytest.raises(LinkError, match=r"the driver has no RS-485 mode .*; remove rs485"):
        asyncio.run(open_port(PortPlan(line(rs485=rs485), pty[1])))


def test_rs485_settings_reach_the_driver(pty: tuple[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []
    real = fcntl.ioctl

    def ioctl(fd: int, request: int, argument: Any = 0, *rest: Any) -> Any:
        if request == TIOCGRS485:
            return 0
        if request == TIOCSRS485:
            asked.append(list(argument))
            return 0
        return real(fd, request, argument, *rest)

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    os.close(open_serial(serial(pty[1], rs485=Rs485(True, False, True, 0.002, 0.001))))
    (flags, before_tx, before_rx, *_) = asked[0]
    assert flags == 0b10011, "enabled, RTS on send, receive during transmission"
    assert (before_tx, before_rx) == (2, 1)


def test_a_line_that_vanishes_is_opened_again(pty: tuple[int, str], tmp_path: Any) -> None:
    device = tmp_path / "line"

    async def scene() -> None:
        async with running(PortPlan(line(), str(device))) as (port, holder):
            await until(lambda: "no such device" in port.problem, "not plugged in")
            device.symlink_to(pty[1])
            await until(lambda: holder.given == 1, "plugged in")
            device.unlink()
            holder.set_fd(-1)
            port.lost()
            await until(lambda: "no such device" in port.problem, "pulled")
            device.symlink_to(pty[1])
            await until(lambda: holder.given == 2, "plugged in again")

    asyncio.run(scene())
