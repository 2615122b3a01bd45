"""The picture of a running gateway."""

from __future__ import annotations

import io

import pytest

from gateway.app.table import Screen, StageRow, TagRow, Totals, line, shown, table

TOTALS = Totals(12.3, 345, 34, 33, 1, 0, 0)
TAGS = [TagRow("boiler/temperature", 72.3, "°C", "good", 0.42), TagRow("boiler/burner", True, "", "bad", -0.1)]
STAGES = [StageRow("plc", 44.0, 3.21, 0, "running"), StageRow("idle", 0.0, None, 2, "stopped")]


def test_table_shows_every_column() -> None:
    text = "\n".join(table(TAGS, STAGES, TOTALS, "mosquitto_sub -t x"))
    for expected in (
        "boiler/temperature",
        "72.3 °C",
        "good",
        "0.4 s",
        "on",
        "44.0",
        "3.2 µs",
        "stopped",
        "mosquitto_sub",
    ):
        assert expected in text
    assert "-0.1" not in text, "a clock that is a little ahead is no age below zero"


def test_line_names_every_total() -> None:
    assert line(TOTALS) == "12 s: samples 345, published 34, acknowledged 33, outstanding 1, lost 0, duplicated 0"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (True, "on"), (False, "off"), (0.1 + 0.2, "0.3"), (1204512, "1204512"), ("abc", "abc")],
)
def test_values(value: bool | int | float | str | None, text: str) -> None:
    assert shown(value) == text


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_is_redrawn_in_place_and_given_back() -> None:
    out = Terminal()
    with Screen(out) as screen:
        screen.show(TAGS, STAGES, TOTALS, "")
    assert out.getvalue().startswith("\x1b[?1049h")
    assert out.getvalue().endswith("\x1b[?1049l")
    assert max(len(text) for text in out.getvalue().split("\n")) < 140


def test_elsewhere_a_line_per_period() -> None:
    out = io.StringIO()
    with Screen(out, line_period_s=5) as screen:
        for second in range(12):
            screen.show(TAGS, STAGES, Totals(second, second, 0, 0, 0, 0, 0), "")
    assert [text.split(":")[0] for text in out.getvalue().splitlines()] == ["5 s", "10 s"]
