"""docs/threat-model.md names a test for each defence, and each of them exists."""

from __future__ import annotations

import re

from tests.style.source import ROOT, files

THREATS = (ROOT / "docs" / "threat-model.md").read_text("utf-8")
ROW = re.compile(r"^\| (?!attempt|---)(.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def existing() -> set[str]:
    """Names of all tests, in Python and C."""
    python = "\n".join(path.read_text("utf-8") for path in files("tests", suffixes={".py"}))
    in_c = "\n".join(path.read_text("utf-8") for path in files("runtime_c/tests", suffixes={".c"}))
    return set(re.findall(r"^\s*(?:async )?def (test_\w+)\(", python, re.MULTILINE)) | set(
        re.findall(r"\bCHECK_TEST\((\w+)\)", in_c)
    )


def test_every_defence_has_a_test_that_exists() -> None:
    rows = ROW.findall(THREATS)
    assert len(rows) >= 25
    named = {attempt: re.findall(r"`(\w+)`", tests) for attempt, _, tests in rows}
    assert [attempt for attempt, tests in named.items() if not tests] == []
    known = existing()
    assert sorted({test for tests in named.values() for test in tests} - known) == []


def test_every_section_has_rows() -> None:
    parts = THREATS.split("\n## ")[1:]
    assert [part.splitlines()[0] for part in parts if not ROW.search(part)] == []
