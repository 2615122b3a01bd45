"""``penstock run --json`` as a child process: what it says about itself, and how to wait for it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gateway.clock import Clock

PATIENCE_S = 60.0
STATUS_S = 0.1
LINE_BYTES_MAX = 1 << 20
LOG_LINES_SHOWN = 40

Status = dict[str, Any]


class Gateway:
    """A site in a process of its own. ``status`` is the newest status line; a gateway that ends by itself is a failure.

    ``devices`` are the serial ports of its board by name.
    """

    def __init__(self, folder: Path, site: str, devices: dict[str, str] | None = None) -> None:
        self.status: Status = {}
        names = ("site.toml", "board.toml", "gateway.log", "state")
        self.site, self.board, self._log, self.state = (folder / name for name in names)
        self.site.write_text(site, encoding="utf-8")
        ports = "".join(f'[port.{name}]\ndevice = "{path}"\n' for name, path in (devices or {}).items())
        self.board.write_text(f'[board]\nname = "bench"\n{ports}', encoding="utf-8")
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def command(self) -> list[str]:
        """What a user would type."""
        options = ["--board", str(self.board), "--state", str(self.state), "--json"]
        return [sys.executable, "-m", "gateway.app.cli", "run", str(self.site), *options]

    async def __aenter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.command,
                "--status-s",
                str(STATUS_S),
                stdout=subprocess.PIPE,
                stderr=log,
                limit=LINE_BYTES_MAX,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._reading is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.status = json.loads(line)

    # ---- what it says ----

    @property
    def log(self) -> str:
        """Its log so far."""
        return self._log.read_text("utf-8", "replace")

    def stage(self, name: str) -> Status:
        """The newest counters of a stage, empty before the first status."""
        found: Status = self.status.get("stages", {}).get(name, {})
        return found

    def metric(self, stage: str, name: str) -> int:
        """A number that the plugin of a stage publishes."""
        value: int = self.stage(stage).get("metrics", {}).get(name, 0)
        return value

    def port(self, name: str) -> Status:
        """The newest counters of a port."""
        found: Status = self.status.get("ports", {}).get(name, {})
        return found

    @property
    def link(self) -> Status:
        """The newest counters of the one link."""
        found: Status = self.status.get("links", {}).get("cloud", {})
        return found

    @property
    def traps(self) -> dict[str, int]:
        """Stages that trapped."""
        return {name: one["traps"] for name, one in self.status.get("stages", {}).items() if one["traps"]}

    # ---- waiting ----

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Return when ``condition`` holds; fail with ``what`` and the log after PATIENCE_S or the gateway's end."""
        clock = Clock()
        give_up_s = clock.monotonic_s() + PATIENCE_S
        while not condition():
            assert self._process is not None
            if self._process.returncode is not None:
                raise AssertionError(
                    f"the gateway ended with {self._process.returncode}, before: {what}\n{self._tail()}"
                )
            if clock.monotonic_s() > give_up_s:
                raise AssertionError(f"waited {PATIENCE_S:.0f} s in vain: {what}\n{self._tail()}")
            await clock.sleep(0.005)

    async def stop(self) -> Status:
        """SIGTERM; returns the last status. It must end in order: status 0, no stack trace."""
        assert self._process is not None
        assert self._reading is not None
        self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            await self._reading
            code = await self._process.wait()
        assert code == 0, self._tail()
        assert "Traceback" not in self.log, self._tail()
        return self.status

    def _tail(self) -> str:
        lines = "\n".join(self.log.splitlines()[-LOG_LINES_SHOWN:])
        return f"{lines}\n{json.dumps(self.status)}"
