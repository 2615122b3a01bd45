"""Counting loss and duplicates."""

from __future__ import annotations

import itertools
import json
import random

import pytest

from gateway.app.tally import WRAP, Sequence, Tally
from gateway.errors import PenstockError


def counts(*numbers: int, start: int = 0) -> tuple[int, int]:
    """(lost, duplicated) after the numbers arrived in this order."""
    sequence = Sequence(next=start)
    for number in numbers:
        sequence.see(number)
    return len(sequence.missing), sequence.duplicated


@pytest.mark.parametrize(
    ("numbers", "lost", "duplicated"),
    [
        ((), 0, 0),
        ((0, 1, 2), 0, 0),
        ((2, 3), 2, 0),
        ((0, 1, 4), 2, 0),
        ((0, 1, 1, 2), 0, 1),
        ((0, 1, 0, 1, 2), 0, 2),
        ((0, 2, 1, 3), 0, 0),
        ((0, 2, 1, 1, 3), 0, 1),
        ((0, 3, 2), 1, 0),
    ],
)
def test_gaps_and_repeats(numbers: tuple[int, ...], lost: int, duplicated: int) -> None:
    assert counts(*numbers) == (lost, duplicated)


def test_wrapping_is_neither() -> None:
    assert counts(WRAP - 2, WRAP - 1, 0, 1, start=WRAP - 2) == (0, 0)
    assert counts(WRAP - 2, 1, start=WRAP - 2) == (2, 0)


def test_any_order_of_all_numbers_loses_nothing() -> None:
    for order in itertools.permutations(range(6)):
        assert counts(*order) == (0, 0)


def test_what_was_removed_and_repeated_is_what_is_counted() -> None:
    source = random.Random(7)
    for _ in range(200):
        numbers = list(range(100))
        gone = set(source.sample(range(99), 9))  # the last one arrives, else nothing tells that more was sent
        twice = source.sample(sorted(set(numbers) - gone), 5)
        arriving = [number for number in numbers if number not in gone for _ in range(2 if number in twice else 1)]
        assert counts(*arriving) == (9, 5)


def sample(tag: str, n: int, v: bool | float, **more: str) -> dict[str, object]:
    return {"tag": tag, **more, "v": v, "q": "good", "t": 1700000000000 + n, "n": n}


def message(seq: int, *samples: dict[str, object]) -> bytes:
    return json.dumps({"seq": seq, "t": 1700000000000, "samples": samples}).encode()


def test_tags_are_followed_one_by_one() -> None:
    tally = Tally()
    tally.add(message(0, sample("a", 0, 1.5), sample("b", 0, True)))
    tally.add(message(2, sample("a", 2, 2.5, unit="V"), sample("b", 0, False)))
    assert (tally.samples, tally.lost, tally.duplicated) == (4, 1, 1)
    assert len(tally.messages.missing) == 1
    assert tally.messages.distinct == 2
    assert (tally.latest["a"].v, tally.latest["a"].unit) == (2.5, "V")


def test_events_do_not_count_as_samples() -> None:
    tally = Tally()
    tally.add(message(0, sample("a", 0, 1.5), sample("a", 0, True, kind="event"), sample("a", 7, True, kind="event")))
    assert (tally.samples, tally.lost, tally.duplicated, tally.events) == (1, 0, 0, 2)
    assert tally.latest["a"].v == 1.5


@pytest.mark.parametrize("body", [b"", b"21.5", b'{"seq": 1}', b'{"seq": "1", "samples": []}', b"\xff\xfe"])
def test_foreign_messages_are_refused(body: bytes) -> None:
    with pytest.raises(PenstockError, match="json_maker did not write"):
        Tally().add(body)
