"""How long to wait before the next try: doubling, with jitter, starting over after a connection that lasted."""

from __future__ import annotations

from collections.abc import Callable


class Backoff:
    """Delays ``first_s``, 2 × ``first_s``, ... up to ``most_s``, each shortened by up to half at random.

    The jitter keeps many gateways from reconnecting to one broker at the same instant after an outage.
    """

    def __init__(self, first_s: float, most_s: float, jitter: Callable[[float, float], float]) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._jitter = jitter
        self._next_s = first_s

    def after(self, lasted_s: float) -> float:
        """Seconds to wait after a connection that lasted ``lasted_s``; 0: there was none."""
        if lasted_s > self._next_s:
            self._next_s = self._first_s
        delay_s = self._next_s
        self._next_s = min(2 * delay_s, self._most_s)
        return delay_s * self._jitter(0.5, 1.0)
