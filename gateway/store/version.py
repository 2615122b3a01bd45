"""Order of semantic versions (semver.org 2.0.0, clause 11)."""

from __future__ import annotations

Key = tuple[tuple[int, ...], bool, tuple[tuple[bool, int, str], ...]]


def precedence(version: str) -> Key:
    """A key that sorts versions as clause 11 wants; ``version`` is valid, build metadata does not count."""
    core, _, tail = version.partition("+")[0].partition("-")
    numbers = tuple(int(one) for one in core.split("."))
    return numbers, not tail, tuple(_identifier(one) for one in tail.split(".")) if tail else ()


def _identifier(text: str) -> tuple[bool, int, str]:
    """Numbers come before words and compare as numbers."""
    return (False, int(text), "") if text.isdecimal() else (True, 0, text)


def is_older(one: str, other: str) -> bool:
    """True when ``one`` comes before ``other``."""
    return precedence(one) < precedence(other)


def next_version(version: str) -> str:
    """The next one to give: a release behind a pre-release, else one patch further."""
    core, _, tail = version.partition("+")[0].partition("-")
    major, minor, patch = core.split(".")
    return core if tail else f"{major}.{minor}.{int(patch) + 1}"
