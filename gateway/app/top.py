"""``penstock top``: a running gateway, live: stages, rings, ports, links; plain text lines out of two states."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TextIO

import msgspec

from gateway.api.client import ControlClient
from gateway.app.plugin_cli import columns
from gateway.app.table import ALTERNATE_SCREEN, END_OF_LINE, END_OF_SCREEN, HOME, MAIN_SCREEN

Cells = tuple[object, ...]


class Stage(msgspec.Struct, frozen=True):
    """Totals of a stage; ``busy_ns`` and ``longest_ns`` are time spent in the plugin."""

    plugin: str
    state: str
    records_in: int
    records_out: int
    busy_ns: int
    longest_ns: int
    traps: int
    restarts: int
    memory_bytes: int
    version: str = ""
    generation: int = 1
    last_pause_ns: int = 0
    compiled: bool = False
    refused: int = 0
    problem: str = ""

    @property
    def told(self) -> str:
        """What its user has to know."""
        refused = f"{self.refused} requests to the field bus refused" if self.refused else ""
        return "; ".join(filter(None, (self.problem, refused)))

    @property
    def records(self) -> int:
        """Records it has handled: what it read, or for a driver what it wrote."""
        return self.records_in or self.records_out


class Reader(msgspec.Struct, frozen=True):
    """One end that reads a ring."""

    records: int
    dropped: int
    lag_bytes: int


class Ring(msgspec.Struct, frozen=True):
    """The output of a stage."""

    records: int
    capacity: int
    high_water: int
    blocked: int
    readers: dict[str, Reader]


class Port(msgspec.Struct, frozen=True):
    """A connection to the field."""

    up: bool
    opens: int
    problem: str
    rx_bytes: int
    tx_bytes: int


class Link(msgspec.Struct, frozen=True):
    """A connection to the cloud."""

    connected: bool
    published: int
    acknowledged: int
    outstanding: int
    dropped: int
    problem: str


class Top(msgspec.Struct, frozen=True):
    """A state; what else it says is not looked at."""

    site: str
    uptime_s: float
    rss_peak_bytes: int
    stages: dict[str, Stage]
    rings: dict[str, Ring]
    ports: dict[str, Port]
    links: dict[str, Link]


def picture(now: Top, before: Top) -> list[str]:
    """The whole picture; rates are those between the two states."""
    period_s = now.uptime_s - before.uptime_s
    head = f"{now.site}   up {_duration(now.uptime_s)}   at most {now.rss_peak_bytes / 2**20:.1f} MiB"
    tables = (
        columns(STAGE_HEAD, _stages(now.stages, before.stages, period_s)),
        columns(RING_HEAD, _rings(now.rings, before.rings, period_s)),
        columns(PORT_HEAD, _ports(now.ports, before.ports, period_s)),
        columns(LINK_HEAD, _links(now.links, before.links, period_s)),
    )
    problems = [f"stage {name}: {one.told}" for name, one in now.stages.items() if one.told]
    return [head, *problems, *(line for table in tables for line in ("", *table.splitlines()))]


STAGE_HEAD = (
    "stage",
    "plugin",
    "version",
    "code",
    "swaps",
    "state",
    "records/s",
    "µs/rec",
    "max µs",
    "traps",
    "restarts",
    "KiB",
)
RING_HEAD = ("ring", "reader", "records/s", "lag B", "of B", "most B", "blocked", "dropped")
PORT_HEAD = ("port", "state", "opens", "rx B/s", "tx B/s", "problem")
LINK_HEAD = ("link", "state", "msg/s", "published", "waiting", "dropped", "problem")


def _stages(now: Mapping[str, Stage], before: Mapping[str, Stage], period_s: float) -> Iterable[Cells]:
    for name, one in now.items():
        then = before.get(name, one)
        records, busy_ns = one.records - then.records, one.busy_ns - then.busy_ns
        yield (
            name, one.plugin, one.version or "–", "aot" if one.compiled else "interp", one.generation - 1, one.state,
            _rate(records, period_s), f"{busy_ns / records / 1e3:.1f}" if records > 0 else "–",
            f"{one.longest_ns / 1e3:.0f}", one.traps, one.restarts, one.memory_bytes >> 10,
        )  # fmt: skip


def _rings(now: Mapping[str, Ring], before: Mapping[str, Ring], period_s: float) -> Iterable[Cells]:
    for name, one in now.items():
        for reader, end in one.readers.items():
            then = before[name].readers.get(reader, end) if name in before else end
            yield (
                name, reader, _rate(end.records - then.records, period_s), end.lag_bytes, one.capacity,
                one.high_water, one.blocked, end.dropped,
            )  # fmt: skip


def _ports(now: Mapping[str, Port], before: Mapping[str, Port], period_s: float) -> Iterable[Cells]:
    for name, one in now.items():
        then = before.get(name, one)
        rates = (_rate(one.rx_bytes - then.rx_bytes, period_s), _rate(one.tx_bytes - then.tx_bytes, period_s))
        yield (name, "up" if one.up else "down", one.opens, *rates, one.problem)


def _links(now: Mapping[str, Link], before: Mapping[str, Link], period_s: float) -> Iterable[Cells]:
    for name, one in now.items():
        then = before.get(name, one)
        state = "connected" if one.connected else "down"
        rate = _rate(one.acknowledged - then.acknowledged, period_s)
        yield name, state, rate, one.published, one.outstanding, one.dropped, one.problem


def _rate(count: int, period_s: float) -> str:
    return f"{count / period_s:.1f}" if period_s > 0 else "–"


def _duration(seconds: float) -> str:
    minutes, rest_s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest_s:02} s"


def watch(socket: Path, period_s: float, *, once: bool, as_json: bool, out: TextIO = sys.stdout) -> None:
    """Show the gateway at ``socket`` until Ctrl-C, or once. Raises ControlError."""
    period_ms = round(period_s * 1000)
    is_live = out.isatty() and not once and not as_json
    with ControlClient(socket) as client, _screen(out, is_live), contextlib.suppress(KeyboardInterrupt):
        if as_json and once:
            out.write(bytes(client.call("state", {}, msgspec.Raw)).decode() + "\n")
            return
        before: Top | None = None
        for raw in client.stream("watch", {"period_ms": period_ms}, msgspec.Raw):
            if as_json:
                out.write(bytes(raw).decode() + "\n")
                out.flush()
                continue
            now = msgspec.json.decode(raw, type=Top)
            if before is not None or not once:
                _show(picture(now, before or now), out, is_live)
                if once:
                    return
            before = now


@contextlib.contextmanager
def _screen(out: TextIO, is_live: bool) -> Iterator[None]:
    """A live picture has a screen of its own, and gives the old one back."""
    out.write(ALTERNATE_SCREEN if is_live else "")
    try:
        yield
    finally:
        out.write(MAIN_SCREEN if is_live else "")
        out.flush()


def _show(lines: list[str], out: TextIO, is_live: bool) -> None:
    if not is_live:
        out.write("".join(f"{line}\n" for line in lines) + ("" if not lines else "\n"))
    else:
        size = shutil.get_terminal_size()
        shown = [line[: size.columns - 1] + END_OF_LINE for line in lines[: size.lines - 1]]
        out.write(HOME + "\n".join(shown) + END_OF_SCREEN)
    out.flush()
