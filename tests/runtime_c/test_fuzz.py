"""The fuzzer itself: a short run of each kind, and that a crash is told. CI fuzzes for longer: see .ci/run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.runtime_c import fuzz
from tests.runtime_c.fuzz import DICTIONARY, REGRESSIONS, Outcome, find_clang, run_coverage_guided, run_standalone
from tests.runtime_c.toolchain import BUILD


def require_clang() -> str:
    """The clang; skips where none has libFuzzer."""
    if (clang := find_clang()) is None:
        pytest.skip("no clang with libFuzzer: sudo apt install clang-14 libclang-rt-14-dev")
    return clang


def test_coverage_guided() -> None:
    found = run_coverage_guided(require_clang(), seconds=30, seed=1, runs=8000)
    assert found.failure == "", found.failure
    assert (edges := re.search(r"(\d+) edges", found.summary)), found.summary
    assert int(edges[1]) > 1500, found.summary


def test_standalone() -> None:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc: sudo apt install gcc")
    found = run_standalone(2)
    assert found.failure == "", found.failure
    assert re.search(r'"calls": [1-9]', found.summary), found.summary


def test_a_failure_says_how_to_repeat_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    program = BUILD / "runtime-fuzz" / "fuzz" / "engine"
    text = fuzz._failure(program, f"ERROR: AddressSanitizer\nTest unit written to {fuzz.FOLDER}/crash-1\n")
    monkeypatch.setattr(fuzz, "find_clang", lambda: None)
    monkeypatch.setattr(fuzz, "run_standalone", lambda _: Outcome("not coverage-guided", text))
    assert fuzz.main(["--seconds", "1"]) == 1
    said = capsys.readouterr()
    assert "sudo apt install clang-14" in said.out
    assert "failing input: build/fuzz/crash-1" in said.err
    assert "build/runtime-fuzz/fuzz/engine INPUT" in said.err


def test_every_regression_is_explained() -> None:
    lines = (REGRESSIONS / "index.txt").read_text("utf-8").splitlines()
    entries = dict(line.split(None, 1) for line in lines if line and not line.startswith("#"))
    assert set(entries) == {path.name for path in REGRESSIONS.glob("*.wasm")}
    assert all(len(text) > 10 for text in entries.values())


def test_the_dictionary_is_one() -> None:
    entries = [line for line in DICTIONARY.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    assert [line for line in entries if not re.fullmatch(r'\w+="(\\x[0-9A-F]{2})+"', line)] == []
    assert len(entries) == len({line.partition("=")[0] for line in entries})


def test_seeds_are_small_and_different(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "FOLDER", tmp_path)
    monkeypatch.setattr(fuzz, "modules", lambda: iter([b"one", b"one", b"two", bytes(fuzz.INPUT_BYTES_MAX + 1)]))
    assert sorted(path.read_bytes() for path in fuzz.write_seeds()) == [b"one", b"two"]
