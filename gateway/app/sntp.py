"""The clock of the minimal image: asks time servers (SNTP, RFC 4330) in turn and sets the clock by the first answer.

``python -m gateway.app.sntp SERVER…``, as HOST or HOST:PORT. Debian's busybox has no client for it. Small differences
are left alone: they come from the way, and a clock that steps all the time is worse than one that is a little off.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.clock import Clock
from gateway.errors import LinkError

PORT = 123
WAIT_S = 5.0
STEP_NS = 100_000_000  # a smaller difference is none
FROM_1900_S = 2_208_988_800
CLIENT, SERVER = 0x23, 4  # version 4 and mode 3; mode of an answer
STRATUM_MAX = 15
_PACKET = struct.Struct(">BBBb11I")
_ERA_S = 1 << 32


@dataclass(frozen=True, slots=True)
class Answer:
    """``offset_ns``: of the server's clock from this one; ``delay_ns``: of the way there and back."""

    offset_ns: int
    delay_ns: int


def ask(server: str, clock: Clock) -> Answer:
    """One question and its answer. Raises LinkError."""
    host, _, port = server.partition(":")
    cookie = os.urandom(8)  # in place of our time: whoever does not see the question cannot answer it
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
            link.settimeout(WAIT_S)
            link.connect((host, int(port or PORT)))
            sent_ns = clock.unix_ns()
            link.send(bytes([CLIENT]) + bytes(39) + cookie)
            data = link.recv(1024)
            came_ns = clock.unix_ns()
    except (OSError, ValueError) as error:
        raise LinkError(f"{server}: no time: {error}") from error
    return read(server, data, cookie, sent_ns, came_ns)


def read(server: str, data: bytes, cookie: bytes, sent_ns: int, came_ns: int) -> Answer:
    """What an answer says. Raises LinkError. Pure."""
    if len(data) < _PACKET.size:
        raise LinkError(f"{server}: {len(data)} bytes are no answer to a question for the time")
    flags, stratum, _, _, *words = _PACKET.unpack_from(data)
    if flags & 7 != SERVER or data[24:32] != cookie:
        raise LinkError(f"{server}: the answer is not to our question")
    if flags >> 6 == 3 or not 1 <= stratum <= STRATUM_MAX:
        raise LinkError(f"{server}: does not know the time itself")
    received_ns, answered_ns = (_unix_ns(words[at], words[at + 1], came_ns) for at in (7, 9))
    return Answer(
        (received_ns - sent_ns + answered_ns - came_ns) // 2, (came_ns - sent_ns) - (answered_ns - received_ns)
    )


def _unix_ns(seconds: int, fraction: int, near_ns: int) -> int:
    """A time stamp, of the era of 136 years that brings it nearest to ``near_ns``."""
    near_s = near_ns // 10**9
    ahead_s = (seconds - FROM_1900_S - near_s + _ERA_S // 2) % _ERA_S - _ERA_S // 2
    return (near_s + ahead_s) * 10**9 + (fraction * 10**9 >> 32)


def set_clock(servers: Sequence[str], clock: Clock) -> str:
    """Set the clock by the first server that answers; returns what was done. Raises LinkError: none did."""
    problems = []
    for server in servers:
        try:
            answer = ask(server, clock)
        except LinkError as error:
            problems.append(str(error))
            continue
        if abs(answer.offset_ns) < STEP_NS:
            return ""
        clock.set_unix_ns(clock.unix_ns() + answer.offset_ns)
        return f"set by {server}: {answer.offset_ns / 1e9:+.1f} s"
    raise LinkError("; ".join(problems) or "no time servers are given")


def main(arguments: Sequence[str]) -> int:
    """For the image's service: says what it changed, or why it could not."""
    try:
        done = set_clock(arguments, Clock())
    except LinkError as error:
        print(error, file=sys.stderr)
        return 1
    if done:
        print(done)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
