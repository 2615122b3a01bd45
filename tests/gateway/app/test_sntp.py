"""Setting the clock by time servers: real questions over UDP, to servers that answer as they are told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.app import sntp
from gateway.app.sntp import Answer, read, set_clock
from gateway.clock import Clock
from gateway.errors import LinkError
from tests.peers.sntp import answer, server

S = 10**9
NOW = 1_800_000_000 * S


class HandClock(Clock):
    def __init__(self, now: int) -> None:
        self.now = now

    def unix_ns(self) -> int:
        return self.now

    def set_unix_ns(self, unix_ns: int) -> None:
        self.now = unix_ns


def test_a_clock_that_is_wrong_is_set() -> None:
    clock = HandClock(NOW)
    with server(lambda question: answer(question, NOW / S + 3600.5)) as where:
        assert set_clock([where], clock) == f"set by {where}: +3600.5 s"
    assert clock.now == NOW + 36005 * S // 10


def test_a_small_difference_is_left_alone() -> None:
    clock = HandClock(NOW)
    with server(lambda question: answer(question, NOW / S - 0.0625)) as where:
        assert set_clock([where], clock) == ""
    assert clock.now == NOW


def test_the_next_server_is_asked_when_one_does_not_know() -> None:
    clock = HandClock(NOW)
    with (
        server(lambda question: answer(question, 0, flags=0xE4)) as first,
        server(lambda question: answer(question, NOW / S + 60)) as second,
    ):
        assert set_clock([first, second], clock) == f"set by {second}: +60.0 s"


def test_when_nobody_answers_all_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sntp, "WAIT_S", 0.05)
    clock = HandClock(NOW)
    with pytest.raises(LinkError, match=r"127\.0\.0\.1:1: no time: .*; localhost:x: no time: invalid literal"):
        set_clock(["127.0.0.1:1", "localhost:x"], clock)
    with pytest.raises(LinkError, match="no time servers are given"):
        set_clock([], clock)
    assert clock.now == NOW


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (lambda question: answer(question, 1)[:47], "47 bytes are no answer"),
        (lambda _question: answer(bytes(48), 1), "the answer is not to our question"),
        (lambda question: answer(question, 1, flags=0x23), "the answer is not to our question"),
        (lambda question: answer(question, 1, stratum=0), "does not know the time itself"),
        (lambda question: answer(question, 1, stratum=16), "does not know the time itself"),
        (lambda question: answer(question, 1, flags=0xE4), "does not know the time itself"),
    ],
)
def test_what_is_no_answer(reply: Callable[[bytes], bytes], message: str) -> None:
    clock = HandClock(NOW)
    with server(reply) as where, pytest.raises(LinkError, match=message):
        set_clock([where], clock)
    assert clock.now == NOW


def test_the_way_there_and_back_is_taken_out() -> None:
    question = bytes(40) + b"12345678"
    data = answer(question, NOW / S + 10, held_s=1)
    assert read("x", data, b"12345678", NOW, NOW + 2 * S) == Answer(95 * S // 10, S)


@pytest.mark.parametrize("unix_s", [1_700_000_000, 2_085_978_495, 2_085_978_496, 2_200_000_000])
def test_the_time_stamps_start_over_in_2036(unix_s: int) -> None:
    data = answer(bytes(40) + b"12345678", unix_s)
    near = (unix_s - 40 * 365 * 86400) * S
    assert read("x", data, b"12345678", near, near).offset_ns == 40 * 365 * 86400 * S
