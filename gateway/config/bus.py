"""What a driver may write on its field bus. The plugin gets the same text; the host holds it to it."""

from __future__ import annotations

import re
from dataclasses import dataclass

BUSES = ("modbus",)
FRAMINGS = ("tcp", "rtu", "rtu_tcp")
RULES_MAX = 32
_RULE = re.compile(r"\s*(\*|\d+)\s*(coil|holding) \s*(\d+)(?:\s*-\s*(\d+))?\s*")


@dataclass(frozen=True, slots=True)
class WriteRule:
    """Addresses on the wire, ``first`` to ``last``, of one table of a unit; ``unit`` None: of each."""

    unit: int | None
    table: str  # coil | holding
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Bus:
    """How requests are framed on the ports of a stage, and which writes pass."""

    framing: str
    writes: tuple[WriteRule, ...]


def parse_writes(text: str) -> tuple[WriteRule, ...]:
    """The rules of ``writes``: UNIT TABLE FIRST[-LAST], with commas between them. Raises ValueError: the message is for
    whoever wrote it."""
    rules = tuple(_rule(one) for one in text.split(",")) if text.strip() else ()
    if len(rules) > RULES_MAX:
        raise ValueError(f"found {len(rules)} rules, allowed: at most {RULES_MAX}")
    return rules


def _rule(text: str) -> WriteRule:
    match = _RULE.fullmatch(text)
    if match is None:
        raise ValueError(
            f'found "{text.strip()}", allowed: UNIT TABLE FIRST or UNIT TABLE FIRST-LAST, such as 1 holding 100-119 or '
            "* coil 3"
        )
    unit, first, last = match[1], int(match[3]), int(match[4] or match[3])
    if unit != "*" and int(unit) > 255:
        raise ValueError(f'found "{text.strip()}", allowed: units 0 to 255')
    if not first <= last <= 65535:
        raise ValueError(f'found "{text.strip()}", allowed: addresses 0 to 65535, the first not above the last')
    return WriteRule(None if unit == "*" else int(unit), match[2], first, last)
