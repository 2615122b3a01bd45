"""Delays between tries."""

from __future__ import annotations

from gateway.links.backoff import Backoff


def longest(_low: float, high: float) -> float:
    return high


def test_delays_double_up_to_the_most() -> None:
    backoff = Backoff(0.5, 4.0, longest)
    assert [backoff.after(0) for _ in range(5)] == [0.5, 1.0, 2.0, 4.0, 4.0]


def test_a_connection_that_lasted_starts_over() -> None:
    backoff = Backoff(0.5, 30.0, longest)
    delays = [backoff.after(0) for _ in range(4)]
    assert delays[-1] == 4.0
    assert backoff.after(lasted_s=8.1) == 0.5


def test_a_connection_that_breaks_at_once_does_not() -> None:
    backoff = Backoff(0.5, 30.0, longest)
    assert [backoff.after(0.1) for _ in range(4)] == [0.5, 1.0, 2.0, 4.0]


def test_jitter_takes_away_up_to_half() -> None:
    asked: list[tuple[float, float]] = []

    def shortest(low: float, high: float) -> float:
        asked.append((low, high))
        return low

    assert Backoff(2.0, 30.0, shortest).after(0) == 1.0
    assert asked == [(0.5, 1.0)]
