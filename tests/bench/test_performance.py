"""docs/performance.md and .svg hold what docs/performance.json says, and nothing else by hand."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from bench import calls, document, engine
from bench.flow import ROOT
from bench.kernels import KERNELS, SOURCES

PAGE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
KEYS = {"interp.geomean", "aot.geomean", *calls.KEYS}


@pytest.fixture
def report() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((ROOT / "docs" / "performance.json").read_text(encoding="utf-8"))
    return loaded


def test_the_page_quotes_the_report(report: dict[str, Any]) -> None:
    assert document.fill_in(PAGE, report) == PAGE, "run python -m bench.document"


def test_the_plot_is_the_reports(report: dict[str, Any]) -> None:
    kept = (ROOT / "docs" / "performance.svg").read_text(encoding="utf-8")
    assert document.plot(report["engine"]) == kept, "run python -m bench.document"


def test_the_report_has_all_keys(report: dict[str, Any]) -> None:
    assert KEYS - report["engine"].keys() == set()
    assert list(report["engine"]["kernels"]) == [kernel.name for kernel in KERNELS]


def test_text_outside_of_the_tables_has_no_measurements() -> None:
    before, rest = PAGE.split(document.BEGIN)
    prose = before + rest.split(document.END)[1]
    assert re.findall(r"\d+(?:\.\d+)?\s*(?:ns|µs|ms|MB|%|×)", prose) == []


def test_every_kernel_file_is_measured() -> None:
    assert {path.stem for path in SOURCES.glob("*.c")} == {kernel.name for kernel in KERNELS}


def test_the_short_table(report: dict[str, Any]) -> None:
    lines = engine.table(report["engine"]).splitlines()
    assert lines[0].split()[:3] == ["times", "native", "interp"]
    assert len([line for line in lines if line.startswith("call.")]) == len(calls.KEYS)


def test_an_engine_that_refuses_a_kernel_has_no_bar() -> None:
    ratios = {"interp": 5.0, "wasm3": None}
    drawn = document._bars(0, "mix", list(ratios.values()), 100)
    assert len([line for line in drawn if line.startswith("<rect")]) == 1
