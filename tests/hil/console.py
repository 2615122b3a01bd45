"""The serial console of an emulated machine: wait for text with a time limit, type, run shell commands; all is kept."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import IO

from ota.clock import Clock

TAIL_CHARACTERS = 4000
COMMAND_SECONDS_MAX = 60.0


class ConsoleError(AssertionError):
    """What was awaited did not come; the message ends with the last lines of the console."""


class Console:
    """``output``, ``typed``: the two pipes; ``log``: file that gets every line with the seconds since the start.

    What has been matched is consumed: ``expect`` looks at what came after the match before.
    """

    def __init__(self, output: IO[bytes], typed: IO[bytes], log: Path) -> None:
        self._typed = typed
        self._clock = Clock()
        self._begin_s = self._clock.monotonic_s()
        self._text, self._at, self._ended = "", 0, False
        self._came_s: list[tuple[int, float]] = []  # (length of the text then, seconds since the start)
        self._came = threading.Condition()
        self._commands = 0
        self._reader = threading.Thread(target=self._read, args=(output, log), daemon=True)
        self._reader.start()

    def _read(self, output: IO[bytes], log: Path) -> None:
        with log.open("a", encoding="utf-8") as kept:
            fresh = True
            while data := output.read1(4096):  # type: ignore[attr-defined]
                text = data.decode("utf-8", "replace").replace("\r", "")
                for line in text.splitlines(keepends=True):
                    kept.write(f"{self._clock.monotonic_s() - self._begin_s:9.3f} {line}" if fresh else line)
                    fresh = line.endswith("\n")
                kept.flush()
                with self._came:
                    self._text += text
                    self._came_s.append((len(self._text), self.since_start_s()))
                    self._came.notify_all()
        with self._came:
            self._ended = True
            self._came.notify_all()

    @property
    def text(self) -> str:
        """Everything that came so far."""
        with self._came:
            return self._text

    def since_start_s(self) -> float:
        """Seconds since the machine was started."""
        return self._clock.monotonic_s() - self._begin_s

    def seconds(self, pattern: str) -> float:
        """When the first match came, in seconds since the start. Raises AssertionError: it has not come."""
        with self._came:
            found = re.search(pattern, self._text, re.MULTILINE)
            assert found is not None, f"console: {pattern!r} has not come"
            return next(seconds for length, seconds in self._came_s if length >= found.end())

    def expect(self, pattern: str, within_s: float) -> re.Match[str]:
        """The first match in what was not consumed yet. Raises ConsoleError after ``within_s``, or at the end."""
        wanted = re.compile(pattern, re.MULTILINE)
        until_s = self._clock.monotonic_s() + within_s
        with self._came:
            while True:
                if found := wanted.search(self._text, self._at):
                    self._at = found.end()
                    return found
                left_s = until_s - self._clock.monotonic_s()
                if self._ended or left_s <= 0:
                    why = "the machine ended" if self._ended else f"not within {within_s:.0f} s"
                    tail = self._text[-TAIL_CHARACTERS:]
                    raise ConsoleError(f"console: {pattern!r} did not come: {why}\n--- console ---\n{tail}")
                self._came.wait(left_s)

    def send(self, line: str) -> None:
        """Type a line."""
        self._typed.write(line.encode() + b"\r")
        self._typed.flush()

    def run(self, command: str, within_s: float = COMMAND_SECONDS_MAX) -> str:
        """Run a command in the shell that waits there; its output. Raises ConsoleError: another status than 0."""
        self._commands += 1
        mark = f"HIL{self._commands}"
        # The echo of what is typed must not look like the answer.
        self.send(f"echo '{mark}'BEGIN; {{ {command}; }} 2>&1; echo '{mark}'END=$?")
        self.expect(f"^{mark}BEGIN$", within_s)
        found = self.expect(rf"((?:.*\n)*?)(.*){mark}END=(\d+)$", within_s)
        output = found[1] + found[2]
        if found[3] != "0":
            raise ConsoleError(f"{command}: status {found[3]}: {output}")
        return output
