"""A gateway seen from outside: the process ``penstock run --json`` and the status lines it prints."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from gateway.errors import PenstockError

STOP_TIMEOUT_S = 15.0
STATUS_PERIOD_S = 0.5
LINE_BYTES_MAX = 1 << 20


class StageStatus(msgspec.Struct, frozen=True):
    """Counters of a stage since the start; ``busy_ns`` is time spent in the plugin."""

    plugin: str
    state: str
    records_in: int
    records_out: int
    busy_ns: int
    traps: int
    restarts: int
    memory_bytes: int

    @property
    def records(self) -> int:
        """Records it has handled: what it read, or for a driver what it wrote."""
        return self.records_in or self.records_out


class RingStatus(msgspec.Struct, frozen=True):
    """Counters of the output ring of a stage; ``dropped`` were overwritten before a reader took them."""

    records: int
    dropped: int


class LinkStatus(msgspec.Struct, frozen=True):
    """Counters of an uplink."""

    connected: bool
    published: int
    acknowledged: int
    outstanding: int


class Status(msgspec.Struct, frozen=True):
    """One status line; what else it says is not looked at. See ``gateway.api.status``."""

    uptime_s: float
    stages: dict[str, StageStatus]
    rings: dict[str, RingStatus]
    links: dict[str, LinkStatus]


_DECODER = msgspec.json.Decoder(Status)


class Gateway:
    """``penstock run SITE --board BOARD --json`` as a child process with a session of its own.

    ``status`` is the newest line, ``rss_peak_bytes`` and ``cpu_s`` what the kernel says about that process alone.
    """

    def __init__(self, site: Path, board: Path, log: Path, state: Path) -> None:
        self.status: Status | None = None
        self.rss_peak_bytes = 0
        self.cpu_s = 0.0
        self._command = [sys.executable, "-m", "gateway.app.cli", "run", str(site), "--board", str(board), "--json"]
        self._command += ["--state", str(state), "--status-s", str(STATUS_PERIOD_S)]
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                limit=LINE_BYTES_MAX,
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running.returncode is None:
            self._running.kill()
        await self._running.wait()

    @property
    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "used as a context manager"
        return self._process

    async def statuses(self) -> AsyncIterator[Status]:
        """Each status line as it comes, until the gateway ends. Raises PenstockError if it fails."""
        assert self._running.stdout is not None
        async for line in self._running.stdout:
            self.status = _DECODER.decode(line)
            self._ask_kernel()
            yield self.status
        status = await self._running.wait()
        if status != 0:
            raise PenstockError(f"the gateway ended with status {status}:\n{self._log.read_text('utf-8', 'replace')}")

    def ask_to_stop(self) -> None:
        """SIGTERM: it stops polling, waits for what is on its way and prints a last status line."""
        if self._running.returncode is None:
            self._running.send_signal(signal.SIGTERM)

    def _ask_kernel(self) -> None:
        try:
            status = Path(f"/proc/{self._running.pid}/status").read_text("ascii")
            times = Path(f"/proc/{self._running.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                self.rss_peak_bytes = int(line.split()[1]) * 1024
        self.cpu_s = (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
