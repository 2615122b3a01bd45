"""The official WebAssembly test suite, natively and in emulators: all that spec_rules.toml does not leave out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime_c.spec import ARCHIVES, SUITE, Engine, Report, run_archive
from tests.runtime_c.toolchain import HOST, TOOLCHAINS, find_emulator, missing_emulator

RUN_MIN = {"core-3.0.zip": 61000, "threads.zip": 280}  # commands that are in scope, so that a wrong skip is noticed
GUARDED_IN_EMULATOR = "memory_[cfit]*"  # emulators need long for each guarded memory; all with `make spec`


def suite(name: str) -> Path:
    """Path of an archive; skips where the suite is not there, because it is not part of this repository."""
    path = SUITE / name
    if not path.is_file():
        pytest.skip(f"the official suite is not at {SUITE}: PENSTOCK_WASM_SPEC names its folder")
    return path


def told(reports: Iterator[Report]) -> tuple[int, list[str]]:
    """Commands passed, and the failures as text."""
    passed, failures = 0, []
    for report in reports:
        passed += report.passed
        failures += [f"{report.script}:{f.line} {report.bounds} {f.verb}: {f.text}" for f in report.failures]
    return passed, failures


@pytest.mark.parametrize("bounds", ["guard", "checked"])
@pytest.mark.parametrize("name", ARCHIVES)
def test_native(name: str, bounds: str) -> None:
    passed, failures = told(run_archive(Engine.build("native"), suite(name), [bounds], "*", jobs=2))
    assert failures == []
    assert passed >= RUN_MIN[name]


def test_minimal() -> None:
    passed, failures = told(run_archive(Engine.build("minimal"), suite(ARCHIVES[0]), ["checked"], "*", jobs=2))
    assert failures == []
    assert passed > 20000


def emulated(target: str) -> Engine:
    """The engine for a foreign target; skips where its emulator is not installed."""
    if target != HOST and find_emulator(TOOLCHAINS[target].target) is None:
        pytest.skip(missing_emulator(target))
    return Engine.build(target)


@pytest.mark.parametrize("target", ["aarch64", "armv7"])
@pytest.mark.parametrize("name", ARCHIVES)
def test_emulated(name: str, target: str) -> None:
    passed, failures = told(run_archive(emulated(target), suite(name), ["checked"], "*", jobs=2))
    assert failures == []
    assert passed >= RUN_MIN[name]


def test_guards_in_an_emulator() -> None:
    passed, failures = told(
        run_archive(emulated("aarch64"), suite(ARCHIVES[0]), ["guard"], GUARDED_IN_EMULATOR, jobs=2)
    )
    assert failures == []
    assert passed > 4000
