"""Where things live, what they are called and how long they may be."""

from __future__ import annotations

import re

import pytest

from tests.style.source import MADE, ROOT, c_files, c_functions, files, name, python_files, python_functions

FOLDERS = {"gateway", "runtime_c", "plugins", "board-configs", "ota", "tests", "bench", "docs", ".ci"}
FILES = {
    "README.md", "CHANGELOG.md", "LICENSE", "Makefile", "MANIFEST.in", "pyproject.toml", "setup.py",
    "requirements.lock", "requirements-dev.lock", ".gitignore", ".clang-format",
}  # fmt: skip
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
PYTHON_LINES_MAX = 50
C_LINES_MAX = 70
LONG_BY_NATURE = {"runtime_c/wasm/interp.c"}  # one body per opcode between two dispatches
WIDTH_MAX = 120


def test_top_level_is_fixed() -> None:
    found = {path.name for path in ROOT.iterdir()}
    made = MADE | {entry for entry in found if entry.endswith(".egg-info")}
    assert found - made - FOLDERS - FILES == set(), "unknown entries at the top level"
    assert (FOLDERS | FILES) - found == set(), "missing entries at the top level"


def test_no_grab_bag_modules() -> None:
    banned = [name(path) for path in files() if path.stem.lower() in BANNED_NAMES or path.parent.name in BANNED_NAMES]
    assert banned == []


def test_python_functions_are_short() -> None:
    functions = [function for path in python_files() for function in python_functions(path)]
    assert len(functions) > 100, "the search found next to nothing"
    assert [f"{f.where} {f.name}: {f.lines}" for f in functions if f.lines > PYTHON_LINES_MAX] == []


def test_c_functions_are_short() -> None:
    functions = [function for path in c_files() if name(path) not in LONG_BY_NATURE for function in c_functions(path)]
    assert len(functions) > 100, "the search found next to nothing"
    assert [f"{f.where} {f.name}: {f.lines}" for f in functions if f.lines > C_LINES_MAX] == []


def test_lines_are_narrow() -> None:
    checked = [*python_files(), *c_files(), *files("docs", ".ci", suffixes={".md", ""}), ROOT / "README.md"]
    wide = [
        f"{name(path)}:{number}"
        for path in checked
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > WIDTH_MAX and "|" not in line and "://" not in line
    ]
    assert wide == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("int f(void) {\n    return 0;\n}\n", [("f", 3)]),
        ("static const char *name_of(int a,\n                           int b) {\n}\n", [("name_of", 3)]),
        ("static int one(void) { return 1; }\nint two(void) { return 2; }\n", [("one", 1), ("two", 1)]),
        ("struct point {\n    int x;\n};\nenum { A = 1 };\nint f(int a);\nint table[] = {\n    F(1),\n};\n", []),
    ],
)
def test_the_measure_itself(
    text: str, expected: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = ROOT / "build" / "style" / f"{tmp_path_factory.getbasetemp().name}-{abs(hash(text))}.c"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    try:
        assert [(function.name, function.lines) for function in c_functions(path)] == expected
    finally:
        path.unlink()


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_adrs_fit_a_page() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [record.name[:4] for record in records] == [f"{number:04}" for number in range(1, len(records) + 1)]
    assert [record.name for record in records if len(record.read_text(encoding="utf-8").splitlines()) > 60] == []
    for record in records:
        assert re.match(r"# \d{4} ", record.read_text(encoding="utf-8")), (
            f"{record.name}: the title starts with its number"
        )
