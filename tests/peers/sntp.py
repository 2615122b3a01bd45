"""A time server that answers as it is told."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FROM_1900_S = 2_208_988_800


def answer(question: bytes, unix_s: float, *, held_s: float = 0.0, flags: int = 0x24, stratum: int = 2) -> bytes:
    """An answer by RFC 4330, section 4, of a server whose clock says ``unix_s`` and that waits ``held_s`` with it."""
    came, went = _stamp(unix_s), _stamp(unix_s + held_s)
    return bytes([flags, stratum, 0, 0xEC]) + bytes(12) + came + question[40:48] + came + went


def _stamp(unix_s: float) -> bytes:
    return struct.pack(">II", (int(unix_s) + FROM_1900_S) % (1 << 32), int(unix_s % 1 * (1 << 32)))


@contextmanager
def server(reply: Callable[[bytes], bytes]) -> Iterator[str]:
    """One on the loopback that answers one question; HOST:PORT."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.bind(("127.0.0.1", 0))

        def serve() -> None:
            data, client = link.recvfrom(1024)
            link.sendto(reply(data), client)

        threading.Thread(target=serve, daemon=True).start()
        yield "{}:{}".format(*link.getsockname())
