"""Child processes of the demo: a ready line on standard output, life until standard input ends.

Both halves of one small protocol. The child prints one JSON object when it serves and exits when its standard input
reaches the end, which also happens when the parent dies: nothing is left behind.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from gateway.errors import PenstockError

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0


class Child:
    """A running helper process. ``ready`` is the object it announced itself with."""

    def __init__(self, module: str, process: asyncio.subprocess.Process, ready: Mapping[str, Any]) -> None:
        self.module = module
        self.ready = ready
        self._process = process

    @classmethod
    async def start(cls, module: str, *arguments: str) -> Child:
        """Run ``python -m module arguments`` and wait for its ready line. Raises PenstockError if it never comes.

        It gets a session of its own, so that Ctrl-C reaches the parent only, which then stops things in order.
        """
        command = (sys.executable, "-m", module, *arguments)
        pipe = subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, start_new_session=True)
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            raise PenstockError(f"{module} did not start within {START_TIMEOUT_S:.0f} s") from None
        if not line:
            raise PenstockError(f"{module} ended with status {await process.wait()} before it was ready")
        return cls(module, process, json.loads(line))

    async def stop(self) -> None:
        """End its standard input and wait; kill it when that does not help."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


async def serve_until_eof(ready: Mapping[str, object]) -> None:
    """The child's half: announce ``ready``, then wait for the end of standard input, SIGTERM or SIGINT.

    A terminal as standard input means that a user runs the module by hand: then only a signal ends it.
    """
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if not sys.stdin.isatty():
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        print(json.dumps(ready), flush=True)
        await _first_of(reader.read(), ended)
        return
    print(json.dumps(ready), flush=True)
    await ended.wait()


async def _first_of(end_of_input: Any, ended: asyncio.Event) -> None:
    tasks = [asyncio.ensure_future(end_of_input), asyncio.ensure_future(ended.wait())]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
