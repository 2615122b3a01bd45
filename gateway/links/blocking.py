"""Blocking system calls (open, connect, TLS handshake) away from the event loop, with a deadline that always holds."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(name: str, call: Callable[[], T], timeout_s: float | None, discard: Callable[[T], None]) -> T:
    """The result of ``call``, run in a thread of its own. Raises what it raises (OSError, ValueError) or TimeoutError;
    ``timeout_s`` None: the call has a limit of its own.

    A call that hangs in the kernel cannot be ended: its thread is abandoned, does not keep the process alive, and what
    it returns too late goes to ``discard``.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def deliver(result: T) -> None:
        if done.done():
            discard(result)
        else:
            done.set_result(result)

    def fail(error: OSError | ValueError) -> None:
        if not done.done():
            done.set_exception(error)

    def work() -> None:
        # The loop may be gone when a call returns late; then there is nobody left to tell.
        with contextlib.suppress(RuntimeError):
            try:
                result = call()
            except (OSError, ValueError) as error:
                loop.call_soon_threadsafe(fail, error)
            else:
                loop.call_soon_threadsafe(deliver, result)

    threading.Thread(target=work, name=name, daemon=True).start()
    async with asyncio.timeout(timeout_s):
        return await done
