"""A Linux watchdog device: armed while an update is on trial, fed as long as the agent lives.

Kernels built or loaded with ``nowayout`` do not let anybody disarm it. Then it is fed for good: by a thread of the
agent, and by the agent that is started after this one.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ota.clock import Cancel, Clock
from ota.errors import BootError, Cancelled

SYSFS = Path("/sys/class/watchdog")
WDIOC_GETTIMEOUT = 0x80045707
FEEDS_PER_TIMEOUT = 3
MAGIC_CLOSE = b"V"


class Watchdog:
    """``path`` empty: none, and every call does nothing. ``feed_s``: longest time between two feeds, in seconds."""

    def __init__(self, path: str, feed_s: float, clock: Clock, say: Callable[[str], None]) -> None:
        self._path = path
        self._clock = clock
        self._say = say
        self._descriptor = -1
        self._keeper: threading.Thread | None = None
        self._stop = Cancel()
        self.feed_s = feed_s

    def arm(self) -> None:
        """Open the device, which starts it. Raises BootError."""
        if not self._path or self._descriptor >= 0:
            return
        try:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            hint = "; does the init system feed it? then leave health.watchdog out" if error.errno == 16 else ""
            raise BootError("watchdog", f"{self._path}: cannot be opened: {error.strerror}{hint}") from error
        self.feed_s = min(self.feed_s, self._timeout_s() / FEEDS_PER_TIMEOUT)

    def feed(self) -> None:
        """Say that the agent lives."""
        if self._descriptor >= 0:
            with suppress(OSError):  # a watchdog that cannot be fed will tell by itself
                os.write(self._descriptor, b"\0")

    def release(self) -> None:
        """The trial is over: disarm it, or feed it for good where that cannot be done."""
        if self._descriptor < 0:
            return
        if self._fact("nowayout") != "1":
            self._close()
            return
        self._say(f"{self._path} cannot be disarmed (nowayout): it is fed for as long as the agent runs")
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._keep, name="watchdog", daemon=True)
            self._keeper.start()

    def take_over(self) -> None:
        """Feed one that an agent before this one could not disarm. Raises BootError."""
        if self._path and self._fact("nowayout") == "1" and self._fact("state") == "active":
            self.arm()
            self.release()

    def end(self) -> None:
        """The agent ends on request: that does not restart the machine, but where it cannot be helped."""
        if self._descriptor < 0:
            return
        self._stop.set()
        if self._keeper is not None:
            self._keeper.join()
        if self._fact("nowayout") == "1":
            self._say(f"{self._path} runs on (nowayout): the machine restarts unless an agent is started in time")
        self._close()

    def _keep(self) -> None:
        with suppress(Cancelled):
            while True:
                self.feed()
                self._clock.wait(self.feed_s, self._stop)

    def _close(self) -> None:
        with suppress(OSError):
            os.write(self._descriptor, MAGIC_CLOSE)
        os.close(self._descriptor)
        self._descriptor = -1

    def _timeout_s(self) -> float:
        """What the driver says; a device that does not tell is fed every ``feed_s``."""
        try:
            answer = fcntl.ioctl(self._descriptor, WDIOC_GETTIMEOUT, bytes(4))
        except OSError:
            return self.feed_s * FEEDS_PER_TIMEOUT
        return float(max(1, struct.unpack("i", answer)[0]))

    def _fact(self, name: str) -> str:
        """An attribute of the device in sysfs; empty when the kernel does not tell."""
        device = Path(self._path).name
        folder = SYSFS / (f"{device}0" if device == "watchdog" else device)  # /dev/watchdog is the first one
        try:
            return (folder / name).read_text("ascii").strip()
        except OSError:
            return ""
