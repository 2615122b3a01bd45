"""What a connection costs beside the bytes that were asked for: requests, heads, TLS, what came and was not read."""

from __future__ import annotations

import socket
import struct
from typing import Protocol

RESERVE_BYTES = 8 * 1024  # covers a TLS handshake with a chain of certificates, a request and its head
_ACKED_AND_RECEIVED = struct.Struct("@QQ")
_OFFSET = 120  # of both in the kernel's struct tcp_info, since Linux 4.1


class Meter(Protocol):
    """Who keeps the account of a metered link."""

    def reserve(self) -> None:
        """Before a connection: take RESERVE_BYTES. Raises BudgetError."""

    def settle(self, used: int) -> None:
        """After it: it cost ``used`` bytes beside those that were charged by whoever read them."""


class Unmetered:
    """For links that cost nothing."""

    def reserve(self) -> None:
        """See Meter."""

    def settle(self, used: int) -> None:
        """See Meter."""


def carried(link: socket.socket) -> int:
    """Bytes that TCP has carried both ways, without its own heads; 0 when the kernel does not tell."""
    try:
        facts = link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _OFFSET + _ACKED_AND_RECEIVED.size)
    except OSError:
        return 0
    if len(facts) < _OFFSET + _ACKED_AND_RECEIVED.size:
        return 0
    acked, received = _ACKED_AND_RECEIVED.unpack_from(facts, _OFFSET)
    return int(acked) + int(received)
