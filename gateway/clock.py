"""Time, waiting and chance: the only module that touches them, so that tests can replace all three.

asyncio and random are imported by who uses them: every start tells the time, before the data plane runs even.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import random


class Clock:
    """The machine's clocks. Tests subclass it with a clock they move by hand."""

    def unix_ns(self) -> int:
        """Unix time in nanoseconds; may jump."""
        return time.time_ns()

    def log_time(self) -> str:
        """The local time as logs write it."""
        now_ns = self.unix_ns()
        seconds, millis = divmod(now_ns // 1_000_000, 1000)
        return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(seconds))},{millis:03}"

    def set_unix_ns(self, unix_ns: int) -> None:
        """Set the machine's time, for every program on it. Raises PermissionError for all but root."""
        time.clock_settime_ns(time.CLOCK_REALTIME, unix_ns)

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary start; never jumps."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait in asyncio, other tasks go on."""
        import asyncio

        await asyncio.sleep(seconds)

    def block(self, seconds: float) -> None:
        """Wait with the whole thread; for programs without an event loop only."""
        time.sleep(seconds)

    def jitter(self, low: float, high: float) -> float:
        """A uniformly distributed number in [low, high]."""
        import random

        return random.uniform(low, high)


def random_source(seed: int) -> random.Random:
    """A reproducible source of chance for simulations; the same seed gives the same values."""
    import random

    return random.Random(seed)
