"""Time, waiting and chance: the only module that touches them, so that tests can replace all three."""

from __future__ import annotations

import asyncio
import random
import threading
import time

from ota.errors import Cancelled

POLL_S = 1.0
"""The longest time between two looks at a Cancel."""


class Cancel:
    """Set by another thread or a signal handler to end an update; whoever waits looks at it once per poll."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Ask for the end."""
        self._event.set()

    def check(self) -> None:
        """Raise Cancelled if the end was asked for."""
        if self._event.is_set():
            raise Cancelled

    def wait(self, seconds: float) -> None:
        """Wait; raises Cancelled as soon as the end is asked for."""
        if self._event.wait(seconds):
            raise Cancelled


class Clock:
    """The machine's clocks. Tests subclass it with a clock they move by hand."""

    def unix_s(self) -> float:
        """Unix time in seconds as the system knows it; may be wrong by decades on a board without a battery."""
        return time.time()

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary start; never jumps."""
        return time.monotonic()

    def wait(self, seconds: float, cancel: Cancel) -> None:
        """Wait; raises Cancelled as soon as the end is asked for."""
        cancel.wait(seconds)

    async def sleep(self, seconds: float) -> None:
        """Wait in asyncio, other tasks go on."""
        await asyncio.sleep(seconds)

    def uniform(self, low: float, high: float) -> float:
        """A uniformly distributed number in [low, high]."""
        return random.uniform(low, high)


def random_source(seed: int) -> random.Random:
    """A reproducible source of chance for simulations; the same seed gives the same values."""
    return random.Random(seed)
