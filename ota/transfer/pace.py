"""How fast and how often. Pure: times in, waits out."""

from __future__ import annotations

from dataclasses import dataclass

BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 300.0


@dataclass(frozen=True, slots=True)
class Patience:
    """When a connection is given up. ``rate_min`` in bytes/s, averaged over ``rate_window_s``; 0: any rate will do."""

    connect_s: float = 30.0
    idle_s: float = 30.0
    rate_min: int = 64
    rate_window_s: float = 60.0
    poll_s: float = 1.0


def backoff_range(attempt: int) -> tuple[float, float]:
    """The shortest and longest wait in seconds before retry ``attempt`` (from 0): it doubles, half of it is chance."""
    top = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(attempt, 16))
    return top / 2, top


class Pace:
    """A bandwidth limit in bytes/s as a bucket of one second; 0 is no limit."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._debt = 0.0
        self._at = 0.0

    def delay_s(self, now_s: float, size: int) -> float:
        """Seconds to wait after ``size`` bytes arrived at ``now_s``."""
        if not self._rate:
            return 0.0
        self._debt = max(0.0, self._debt - (now_s - self._at) * self._rate) + size
        self._at = now_s
        return max(0.0, self._debt / self._rate - 1.0)


class RateWatch:
    """Notices a server that keeps a connection open with a trickle of bytes."""

    def __init__(self, patience: Patience, now_s: float) -> None:
        self._patience = patience
        self._since_s = now_s
        self._bytes = 0

    def too_slow(self, now_s: float, size: int) -> bool:
        """Count bytes; True when a whole window brought less than the least rate."""
        self._bytes += size
        elapsed = now_s - self._since_s
        if elapsed < self._patience.rate_window_s:
            return False
        slow = self._bytes < self._patience.rate_min * elapsed
        self._since_s, self._bytes = now_s, 0
        return slow
