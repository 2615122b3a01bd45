"""``penstock-ota link``: put a bad link between a device and a server, to try things out."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import signal

from ota.app.link import Link, Weather
from ota.app.repo_cli import Groups
from ota.clock import Clock
from ota.errors import UsageError


def add_to(groups: Groups) -> None:
    """Add the command."""
    text = "a TCP proxy that behaves like a mobile link"
    parser = groups.add_parser("link", help=text, description=text)
    parser.add_argument("listen", metavar="HOST:PORT", help="where the device connects")
    parser.add_argument("target", metavar="HOST:PORT", help="the server")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same failures (default: 1)")
    parser.add_argument("--latency-ms", type=float, default=40, help="each way (default: 40)")
    parser.add_argument("--rate", type=int, default=250_000, help="bytes/s to the device (default: 250000)")
    parser.add_argument("--mean-bytes", type=int, default=2_000_000, help="to a lost connection (default: 2000000)")
    parser.add_argument("--silent", type=float, default=0.3, help="share of losses nobody is told of (default: 0.3)")
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    weather = Weather(options.seed, options.latency_ms / 1000, options.rate, options.mean_bytes, options.silent)
    link = Link(_address(options.target), weather, Clock())
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(link, _address(options.listen)))
    print(f"{link.carried} bytes carried, {link.ended} connections lost")
    return 0


async def _serve(link: Link, address: tuple[str, int]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with await link.listen(*address):
        await stop.wait()


def _address(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"(.+):(\d{1,5})", text)
    if match is None:
        raise UsageError(f"{text!r}: allowed: HOST:PORT")
    return match.group(1), int(match.group(2))
