"""Blocking calls in threads of their own."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gateway.links.blocking import in_thread
from tests.gateway.peers import PATIENCE_S, until


def test_result_comes_back_from_another_thread() -> None:
    here = threading.current_thread()
    there = asyncio.run(in_thread("test", threading.current_thread, 10, lambda _: None))
    assert there is not here
    assert there.name == "test"


@pytest.mark.parametrize("error", [OSError(5, "broken"), ValueError("wrong")])
def test_errors_come_back_too(error: Exception) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        asyncio.run(in_thread("test", fail, 10, lambda _: None))
    assert caught.value is error


def test_a_call_that_hangs_is_abandoned_and_its_late_result_discarded() -> None:
    release, discarded = threading.Event(), list[str]()

    def hang() -> str:
        release.wait(PATIENCE_S)
        return "late"

    async def scene() -> None:
        with pytest.raises(TimeoutError):
            await in_thread("test", hang, 0.01, discarded.append)
        release.set()
        await until(lambda: discarded == ["late"], "the late result is discarded")

    asyncio.run(scene())


def test_a_result_after_the_end_of_the_loop_disturbs_nobody() -> None:
    release, ended = threading.Event(), threading.Event()

    def hang() -> None:
        release.wait(PATIENCE_S)
        ended.set()

    with pytest.raises(TimeoutError):
        asyncio.run(in_thread("straggler", hang, 0.01, lambda _: None))
    release.set()
    assert ended.wait(PATIENCE_S)
    for thread in threading.enumerate():
        if thread.name == "straggler":
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
