"""One attempt at each port, all at the same time."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from gateway.clock import Clock
from gateway.lines import open_at_once

if TYPE_CHECKING:
    from gateway.lines import NetSetup, PortSetup, SerialSetup


def net(port: int, host: str = "127.0.0.1") -> NetSetup:
    return {"kind": "tcp", "host": host, "port": port, "connect_timeout_s": 5.0, "keepalive_s": 30}


def line(device: str) -> SerialSetup:
    return {
        "kind": "serial", "device": device, "baudrate": 19200, "bytesize": 8, "parity": "N", "stopbits": 1,
        "flow": "none", "rs485": None,
    }  # fmt: skip


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        yield server


def test_what_answers_is_open_and_the_rest_is_left_alone(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.lines.AT_ONCE_S", 20)  # this machine may be busy
    ours, theirs = os.openpty()
    port = listener.getsockname()[1]
    setups: dict[str, PortSetup] = {
        "refused": net(1),
        "plc": net(port),
        "name": net(port, "localhost"),
        "bus": line(os.ttyname(theirs)),
        "unplugged": line("/dev/no-such-line"),
    }
    opened = open_at_once(setups, Clock())
    assert set(opened) == {"plc", "bus"}
    assert not any(os.get_blocking(fd) for fd in opened.values())
    peer, _ = listener.accept()
    with peer, socket.socket(fileno=opened["plc"]) as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        sock.send(b"ping")
        assert peer.recv(10) == b"ping"
    os.write(opened["bus"], b"ping")
    assert os.read(ours, 10) == b"ping"
    for fd in (opened["bus"], ours, theirs):
        os.close(fd)


def test_datagrams() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(20)
        setup: PortSetup = {**net(peer.getsockname()[1]), "kind": "udp"}
        fd = open_at_once({"one": setup}, Clock())["one"]
        os.write(fd, b"one")
        assert peer.recv(10) == b"one"
        os.close(fd)


def test_what_takes_for_ever_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a driver opens in the end is closed."""
    pipe, given_up = os.pipe(), threading.Event()

    def slow(_setup: SerialSetup) -> int:
        given_up.wait()
        return pipe[1]

    monkeypatch.setattr("gateway.lines.open_serial", slow)
    setups: dict[str, PortSetup] = {"bus": line("/dev/ttyS9"), "nobody": net(502, "192.0.2.1")}
    assert open_at_once(setups, Clock()) == {}
    given_up.set()
    assert os.read(pipe[0], 1) == b"", "the end of the pipe: its other end is closed"
    os.close(pipe[0])


def test_no_ports() -> None:
    assert open_at_once({}, Clock()) == {}
