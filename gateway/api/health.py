"""Whether the gateway does its work, for whoever decides about an update: five checks, each with its reason.

The file is for a reader that never imports the gateway. Normative: docs/control-protocol.md, "Health".
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from gateway.clock import Clock
from gateway.supervisor import LinkState, State

PERIOD_S = 5.0
WINDOW_S = 30.0
TRAPS_MAX = 3  # of one stage within WINDOW_S; more are a storm
SKIPPED, CYCLES = "cycles_skipped_total", "cycles_total"  # what drivers publish about their polls
SKIPPED_MAX = 0.1  # of the cycles within WINDOW_S
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Check(msgspec.Struct, frozen=True):
    """One question, whether the answer is good, and why it is not (or what else there is to know)."""

    name: str
    ok: bool
    detail: str = ""


class Link(msgspec.Struct, frozen=True):
    """A link, so that a reader can compare with what was before an update."""

    name: str
    connected: bool
    problem: str


class Health(msgspec.Struct, frozen=True):
    """The file health.json and the result of the method health."""

    format: Literal[1]
    healthy: bool
    site: str
    version: str
    pid: int
    boot_id: str
    time_ns: int
    uptime_s: float
    period_s: float
    checks: tuple[Check, ...]
    links: tuple[Link, ...]


class _Look(msgspec.Struct, frozen=True):
    """What is remembered of a moment: traps by stage; cycles, done and skipped, by driver."""

    uptime_s: float
    traps: dict[str, int]
    cycles: dict[str, tuple[int, int]]


class HealthMonitor:
    """Judges states that it is shown every PERIOD_S; ``problems`` are those of the plugin store."""

    def __init__(self, clock: Clock, version: str, problems: Iterable[str] = ()) -> None:
        self._clock = clock
        self._version = version
        self._problems = tuple(problems)
        self._looks: deque[_Look] = deque()
        self._boot_id = BOOT_ID.read_text("ascii").strip()

    def judge(self, state: State) -> Health:
        """The health at this moment; counters are compared with those of up to WINDOW_S ago."""
        look = _look(state)
        while self._looks and self._looks[0].uptime_s < look.uptime_s - WINDOW_S:
            self._looks.popleft()
        self._looks.append(look)
        checks = tuple(self._checks(state))
        return Health(
            1, all(one.ok for one in checks), state.site, self._version, os.getpid(), self._boot_id,
            self._clock.unix_ns(), round(state.uptime_s, 3), PERIOD_S, checks,
            tuple(Link(one.name, one.connected, one.problem) for one in state.links),
        )  # fmt: skip

    def _checks(self, state: State) -> Iterator[Check]:
        first, last = self._looks[0], self._looks[-1]
        stopped = [one.name for one in state.stages if not one.running]
        yield _check("stages", (f"stage {name} is stopped" for name in stopped))
        storms = ((name, count - first.traps.get(name, 0)) for name, count in last.traps.items())
        yield _check("traps", (f"stage {name}: {n} traps in {WINDOW_S:.0f} s" for name, n in storms if n > TRAPS_MAX))
        yield _check("polls", _late(first, last))
        lost = [one for one in state.links if not (one.connected or one.problem)]
        yield _check("links", (f"link {one.name} is down and does not say why" for one in lost), _down(state.links))
        yield Check("store", True, "; ".join(self._problems))


def _check(name: str, faults: Iterable[str], else_detail: str = "") -> Check:
    text = "; ".join(faults)
    return Check(name, not text, text or else_detail)


def _look(state: State) -> _Look:
    drivers = [one for one in state.stages if CYCLES in one.metrics]
    return _Look(
        state.uptime_s,
        {one.name: one.stats.traps for one in state.stages},
        {one.name: (one.metrics[CYCLES], one.metrics.get(SKIPPED, 0)) for one in drivers},
    )


def _late(first: _Look, last: _Look) -> Iterator[str]:
    """Drivers that left out more than SKIPPED_MAX of their cycles because the ones before took too long."""
    for name, (cycles, skipped) in last.cycles.items():
        begun = first.cycles.get(name, (0, 0))
        done, left_out = cycles - begun[0], skipped - begun[1]
        if left_out > SKIPPED_MAX * (done + left_out):
            yield f"stage {name} left out {left_out} of {done + left_out} polls in {WINDOW_S:.0f} s"


def _down(links: Iterable[LinkState]) -> str:
    """Links that are down and say why: the world's fault or the configuration's, nothing is lost silently."""
    return "; ".join(f"link {one.name} is down: {one.problem}" for one in links if not one.connected)


def write_health(path: Path, health: Health) -> None:
    """Replace the file in one step. Not synchronised: it says nothing about another boot. Raises OSError."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(health), indent=1) + b"\n")
    os.replace(temporary, path)
