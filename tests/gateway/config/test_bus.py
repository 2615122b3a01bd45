"""What may be written: the text of the site, as rules for the host."""

from __future__ import annotations

import re

import pytest

from gateway.config.bus import RULES_MAX, WriteRule, parse_writes


def test_rules_are_units_tables_and_addresses() -> None:
    assert parse_writes("") == parse_writes("  ") == ()
    assert parse_writes("1 holding 100-119, * coil 3") == (
        WriteRule(1, "holding", 100, 119),
        WriteRule(None, "coil", 3, 3),
    )
    assert parse_writes("  255 coil 0 - 65535 ") == (WriteRule(255, "coil", 0, 65535),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 holding", 'found "1 holding", allowed: UNIT TABLE FIRST or UNIT TABLE FIRST-LAST, such as'),
        ("1 input 3", 'found "1 input 3", allowed: UNIT'),
        ("1 coil 3,", 'found "", allowed: UNIT'),
        ("1 coil 3; 1 coil 4", 'found "1 coil 3; 1 coil 4", allowed: UNIT'),
        ("256 coil 3", 'found "256 coil 3", allowed: units 0 to 255'),
        ("1 coil 65536", 'found "1 coil 65536", allowed: addresses 0 to 65535, the first not above the last'),
        ("1 coil 4-3", 'found "1 coil 4-3", allowed: addresses 0 to 65535, the first not above the last'),
        (", ".join(["1 coil 3"] * (RULES_MAX + 1)), "found 33 rules, allowed: at most 32"),
    ],
)
def test_mistakes_are_told(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_writes(text)
