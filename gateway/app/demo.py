"""``make demo``: a simulated plant, a broker and the gateway, with a live table and a summary of what arrived.

Four processes on loopback: the plant, the broker (unless one is given), ``penstock run`` as on a real gateway, and this
one, which only watches: it reads the gateway's status lines and subscribes to what the broker delivers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from gateway.app.child import Child
from gateway.app.observed import Gateway, StageStatus, Status
from gateway.app.subscriber import Subscriber
from gateway.app.table import Screen, StageRow, TagRow, Totals
from gateway.clock import Clock
from gateway.errors import PenstockError

SITE = Path(__file__).with_name("demo_site.toml")
BOARD = SITE.parent.parent.parent / "board-configs" / "sim.toml"
CATCH_UP_S = 3.0
CATCH_UP_STEP_S = 0.02


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may ask for. ``seconds`` None: until Ctrl-C. ``broker`` None: the embedded one.

    ``state``: the gateway's state folder, where ``penstock top`` finds it; None: one that goes with the demo.
    """

    seconds: float | None
    broker: tuple[str, int] | None
    state: Path | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything is once it runs. ``serial`` is the device file of the gateway's end of the line."""

    plc_port: int
    serial: str
    broker_host: str
    broker_port: int


def parse_broker(text: str) -> tuple[str, int]:
    """``HOST`` or ``HOST:PORT``. Raises argparse.ArgumentTypeError."""
    host, _colon, port = text.rpartition(":") if ":" in text else (text, "", "1883")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: HOST or HOST:PORT with a port from 1 to 65535")
    return host, int(port)


def site_text(place: Place) -> str:
    """The demo's site with the ports that are in use now."""
    text = SITE.read_text("utf-8")
    for old, new in ((5020, place.plc_port), (1883, place.broker_port)):
        assert text.count(f"port = {old}\n") == 1, f"{SITE}: port = {old} once"
        text = text.replace(f"port = {old}\n", f"port = {new}\n")
    before, link, after = text.partition("[link.cloud]")
    return before + link + after.replace('"127.0.0.1"', json.dumps(place.broker_host), 1)


def board_text(place: Place) -> str:
    """The demo's board with the pseudo-terminal that is the serial line now."""
    return BOARD.read_text("utf-8").replace("/dev/pts/0", place.serial)


def write_files(folder: Path, place: Place) -> tuple[Path, Path, Path]:
    """Write site and board file into ``folder``; returns both, and where the gateway's log goes."""
    site, board = folder / "site.toml", folder / "board.toml"
    site.write_text(site_text(place), "utf-8")
    board.write_text(board_text(place), "utf-8")
    return site, board, folder / "gateway.log"


class Demo:
    """The picture of what runs: the gateway's own counters, and what arrived at the far end."""

    def __init__(self, gateway: Gateway, subscriber: Subscriber, clock: Clock, hint: str) -> None:
        self._gateway = gateway
        self._subscriber = subscriber
        self._tally = subscriber.tally
        self._clock = clock
        self._hint = hint
        self._before: Status | None = None
        self._tag_names = [tag["name"] for tag in tomllib.loads(SITE.read_text("utf-8"))["tag"]]

    async def watch(self, seconds: float | None, stop: asyncio.Event) -> None:
        """Show the gateway's work until ``seconds`` have passed or ``stop`` is set, then let it end in order."""
        with Screen() as screen:
            async with asyncio.TaskGroup() as tasks:
                ending = tasks.create_task(self._end(seconds, stop))
                async for status in self._gateway.statuses():
                    self._subscriber.count()
                    screen.show(self._tag_rows(), self._stage_rows(status), self.totals(), self._hint)
                    self._before = status
                ending.cancel()
        await self._catch_up()

    async def _end(self, seconds: float | None, stop: asyncio.Event) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stop.wait()
        self._gateway.ask_to_stop()

    async def _catch_up(self) -> None:
        """Wait until the broker has delivered what it acknowledged, or has had time enough."""
        until_s = self._clock.monotonic_s() + CATCH_UP_S
        self._subscriber.count()
        while self._undelivered() and self._clock.monotonic_s() < until_s:
            await self._clock.sleep(CATCH_UP_STEP_S)
            self._subscriber.count()

    def _undelivered(self) -> int:
        """Messages that the broker acknowledged and has not delivered."""
        return max(0, self.totals().acknowledged - self._tally.messages.distinct)

    def _tag_rows(self) -> list[TagRow]:
        now_ms = self._clock.unix_ns() / 1e6
        found = [(name, self._tally.latest.get(name)) for name in self._tag_names]
        return [
            TagRow(name, one.v, one.unit, one.q, (now_ms - one.t) / 1000) if one else TagRow(name, None, "", "–", 0.0)
            for name, one in found
        ]

    def _stage_rows(self, status: Status) -> list[StageRow]:
        before = self._before.stages if self._before else {}
        period_s = status.uptime_s - (self._before.uptime_s if self._before else 0.0)
        return [stage_row(name, stage, before.get(name), period_s) for name, stage in status.stages.items()]

    def totals(self) -> Totals:
        """The counts as they are now."""
        status = self._gateway.status
        links = list(status.links.values()) if status else []
        drivers = [stage for stage in status.stages.values() if not stage.records_in] if status else []
        return Totals(
            uptime_s=status.uptime_s if status else 0.0,
            samples=sum(stage.records_out for stage in drivers),
            published=sum(link.published for link in links),
            acknowledged=sum(link.acknowledged for link in links),
            outstanding=sum(link.outstanding for link in links),
            lost=self._tally.lost,
            duplicated=self._tally.duplicated,
        )

    def summary(self) -> dict[str, Any]:
        """What the last line of the demo says. A message that was acknowledged and never arrived counts as lost."""
        status, totals = self._gateway.status, self.totals()
        if status is None:
            raise PenstockError("the gateway ended before it said anything about itself")
        return {
            "samples": totals.samples,
            "published": totals.published,
            "acknowledged": totals.acknowledged,
            "lost": totals.lost + self._undelivered(),
            "duplicated": totals.duplicated,
            "uptime_s": round(status.uptime_s, 3),
            "rss_peak_bytes": self._gateway.rss_peak_bytes,
            "rings": {name: msgspec.to_builtins(ring) for name, ring in status.rings.items()},
            "stages": {name: stage_summary(stage) for name, stage in status.stages.items()},
        }


def stage_row(name: str, now: StageStatus, before: StageStatus | None, period_s: float) -> StageRow:
    """What a stage did in the last ``period_s`` seconds."""
    records = now.records - (before.records if before else 0)
    busy_ns = now.busy_ns - (before.busy_ns if before else 0)
    rate_s = records / period_s if period_s > 0 else 0.0
    time_us = busy_ns / records / 1000 if records > 0 else None
    return StageRow(name, rate_s, time_us, now.traps, now.state)


def stage_summary(stage: StageStatus) -> dict[str, Any]:
    """A stage in the summary; ``us_per_record`` is time spent in the plugin, 0 without records."""
    records = stage.records
    return {
        "plugin": stage.plugin,
        "state": stage.state,
        "records": records,
        "us_per_record": round(stage.busy_ns / records / 1000, 3) if records else 0.0,
        "traps": stage.traps,
        "restarts": stage.restarts,
        "memory_bytes": stage.memory_bytes,
    }


def report(summary: dict[str, Any]) -> list[str]:
    """The summary for people, one string per line."""
    counts = (
        ("samples read", summary["samples"]),
        ("messages published", summary["published"]),
        ("messages acknowledged", summary["acknowledged"]),
        ("samples lost", summary["lost"]),
        ("samples duplicated", summary["duplicated"]),
        *((f"records through {name}", ring["records"]) for name, ring in summary["rings"].items()),
    )
    head = f"ran {summary['uptime_s']:.1f} s in at most {summary['rss_peak_bytes'] / 2**20:.1f} MiB of memory"
    return [head, *(f"{what:<32}{count:>10}" for what, count in counts)]


@contextlib.contextmanager
def own_terminal() -> Iterator[None]:
    """Be the only process that Ctrl-C reaches: make, which waits for us, would end with an error otherwise."""
    if not sys.stdin.isatty() or os.getpgrp() == os.getpid():
        yield
        return
    terminal, before = sys.stdin.fileno(), os.getpgrp()
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # nobody could wake us up again
    os.setpgid(0, 0)
    os.tcsetpgrp(terminal, os.getpid())
    try:
        yield
    finally:
        os.tcsetpgrp(terminal, before)


@contextlib.asynccontextmanager
async def surroundings(options: Options) -> AsyncIterator[Place]:
    """The plant and, unless one is given, the broker."""
    async with contextlib.AsyncExitStack() as stack:
        async with asyncio.TaskGroup() as tasks:
            starting = [tasks.create_task(Child.start("gateway.app.plant"))]
            if options.broker is None:
                starting.append(tasks.create_task(Child.start("gateway.app.broker")))
        children = [task.result() for task in starting]
        for child in children:
            stack.push_async_callback(child.stop)
        plant = children[0].ready
        host, port = options.broker or ("127.0.0.1", children[1].ready["port"])
        yield Place(plant["tcp_port"], plant["serial"], host, port)


async def run(options: Options, say: Callable[[str], None] = print) -> tuple[dict[str, Any], float]:
    """Run the whole demo; returns its summary and the processor seconds that the gateway used.

    ``say`` gets what a user reads. Raises PenstockError when some part does not start or the gateway fails.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    topic = tomllib.loads(SITE.read_text("utf-8"))["stage"]["json"]["config"]["topic"]
    async with surroundings(options) as place:
        hint = f"mosquitto_sub -h {place.broker_host} -p {place.broker_port} -t {topic}"
        say(f"plant on 127.0.0.1:{place.plc_port} and {place.serial}; messages: {hint}")
        subscriber = Subscriber(place.broker_host, place.broker_port, topic)
        await subscriber.start()
        try:
            with tempfile.TemporaryDirectory(prefix="penstock-demo-") as folder:
                state = options.state or Path(folder) / "state"
                async with Gateway(*write_files(Path(folder), place), state) as gateway:
                    demo = Demo(gateway, subscriber, Clock(), hint)
                    await demo.watch(options.seconds, stop)
                    return demo.summary(), gateway.cpu_s
        finally:
            subscriber.stop()


def main(arguments: list[str] | None = None) -> int:
    """``python -m gateway.app.demo [--seconds S] [--broker HOST:PORT] [--state DIR]``."""
    parser = argparse.ArgumentParser(prog="demo", description="Penstock against a simulated plant")
    parser.add_argument("--seconds", type=float, help="stop after this time (default: at Ctrl-C)")
    parser.add_argument("--broker", type=parse_broker, help="HOST[:PORT] of an MQTT broker (default: an embedded one)")
    parser.add_argument("--state", type=Path, metavar="DIR", help="what lasts of the gateway (default: nothing)")
    given = parser.parse_args(arguments)
    try:
        with own_terminal():
            summary, _ = asyncio.run(run(Options(given.seconds, given.broker, given.state)))
    except (PenstockError, ExceptionGroup) as error:
        for problem in problems(error):
            print(f"demo: {problem}", file=sys.stderr)
        return 1
    print("\n".join(report(summary)))
    print(json.dumps(summary))
    return 0


def problems(error: Exception) -> list[PenstockError]:
    """The deliberate errors in ``error``, which may be a group. Raises what is not deliberate."""
    if isinstance(error, PenstockError):
        return [error]
    if isinstance(error, ExceptionGroup):
        return [problem for inner in error.exceptions for problem in problems(inner)]
    raise error


if __name__ == "__main__":
    sys.exit(main())
