"""The demo's picture of a running gateway: plain text lines out of plain values, and a terminal to show them on."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

ALTERNATE_SCREEN, MAIN_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
HOME, END_OF_LINE, END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


@dataclass(frozen=True, slots=True)
class TagRow:
    """A tag's newest value as the subscriber got it."""

    name: str
    value: bool | int | float | str | None
    unit: str
    quality: str
    age_s: float


@dataclass(frozen=True, slots=True)
class StageRow:
    """A stage's work since the picture before. ``time_us``: time in the plugin per record, None without records."""

    name: str
    records_s: float
    time_us: float | None
    traps: int
    state: str


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts since the start, end to end."""

    uptime_s: float
    samples: int
    published: int
    acknowledged: int
    outstanding: int
    lost: int
    duplicated: int


def table(tags: Sequence[TagRow], stages: Sequence[StageRow], totals: Totals, hint: str) -> list[str]:
    """The whole picture, one string per line."""
    lines = [f"{'tag':<26}{'value':>14} {'unit':<6}{'quality':<8}{'age':>7}"]
    lines += [
        f"{row.name:<26}{shown(row.value):>14} {row.unit:<6}{row.quality:<8}{max(row.age_s, 0):>5.1f} s" for row in tags
    ]
    lines += ["", f"{'stage':<26}{'records/s':>14} {'time/record':>12}{'traps':>7}  state"]
    for row in stages:
        time = "–" if row.time_us is None else f"{row.time_us:.1f} µs"
        lines.append(f"{row.name:<26}{row.records_s:>14.1f} {time:>12}{row.traps:>7}  {row.state}")
    return [*lines, "", line(totals), hint]


def line(totals: Totals) -> str:
    """The totals in one line."""
    return (
        f"{totals.uptime_s:.0f} s: samples {totals.samples}, published {totals.published}, "
        f"acknowledged {totals.acknowledged}, outstanding {totals.outstanding}, "
        f"lost {totals.lost}, duplicated {totals.duplicated}"
    )


def shown(value: bool | int | float | str | None) -> str:
    """A value as the table prints it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


class Screen:
    """Where the picture is shown: redrawn in place on a terminal, else one line of totals now and then."""

    def __init__(self, out: TextIO = sys.stdout, line_period_s: float = 5.0) -> None:
        self._out = out
        self._live = out.isatty()
        self._line_period_s = line_period_s
        self._next_line_s = line_period_s

    def __enter__(self) -> Screen:
        self._write(ALTERNATE_SCREEN if self._live else "")
        return self

    def __exit__(self, *_: object) -> None:
        self._write(MAIN_SCREEN if self._live else "")

    def show(self, tags: Sequence[TagRow], stages: Sequence[StageRow], totals: Totals, hint: str) -> None:
        """Bring the picture up to date."""
        if self._live:
            size = shutil.get_terminal_size()
            lines = [text[: size.columns - 1] + END_OF_LINE for text in table(tags, stages, totals, hint)]
            self._write(HOME + "\n".join(lines[: size.lines - 1]) + END_OF_SCREEN)
        elif totals.uptime_s >= self._next_line_s:
            self._next_line_s += self._line_period_s
            self._write(line(totals) + "\n")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
