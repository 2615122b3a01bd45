"""What code here does not do."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.style.source import ROOT, TEXT_SUFFIXES, c_files, files, name, python_files

CLOCKS = {"gateway/clock.py", "ota/clock.py"}  # the only places that know time, waiting and chance
TIMED = {"time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.sleep", "asyncio.sleep"}
CATCHES_ALL = {"gateway/supervisor.py"}  # keeps one failing part from ending the others
# Parts of one file, included there only.
FRAGMENTS = {f"runtime_c/wasm/interp_{part}.h" for part in ("ops", "simd", "fused")} | {"bench/kernels/matmul.h"}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK|NotImplementedError)\b")
HOME_PATH = re.compile(r"(?<![\w.~/-])/(?:home|root|work|Users)/\w|/tmp/\w")
THIS_FILE = Path(__file__)


def calls(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every attribute used, such as ``asyncio.sleep``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.lineno, f"{node.value.id}.{node.attr}"


def product_files() -> list[Path]:
    return [path for path in python_files() if name(path).startswith(("gateway/", "ota/"))]


def test_time_waiting_and_chance_come_from_the_clock() -> None:
    found = []
    for path in product_files():
        if name(path) in CLOCKS:
            continue
        tree = ast.parse(path.read_text("utf-8"))
        found += [f"{name(path)}:{line} {call}" for line, call in calls(tree) if call in TIMED]
        for node in ast.walk(tree):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [f"{name(path)} {module}" for module in modules if module in ("random", "time", "secrets")]
    assert found == []


def test_tests_do_not_sleep() -> None:
    found = []
    for path in files("tests", suffixes={".py"}):
        tree = ast.parse(path.read_text("utf-8"))
        found += [
            f"{name(path)}:{line} {call}" for line, call in calls(tree) if call in ("time.sleep", "asyncio.sleep")
        ]
    assert found == []


def test_no_bare_tasks() -> None:
    found = []
    for path in product_files():
        statements = [node.value for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Expr)]
        for call in statements:
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and _is_loop_call(call.func):
                found.append(f"{name(path)}:{call.lineno}")
    assert found == [], "a task nobody holds can vanish with its exception: use a TaskGroup"


def _is_loop_call(function: ast.Attribute) -> bool:
    owner = function.value.id if isinstance(function.value, ast.Name) else ""
    return function.attr in ("create_task", "ensure_future") and owner in ("asyncio", "loop")


def test_only_the_supervisor_catches_everything() -> None:
    found = []
    for path in product_files():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.ExceptHandler) or name(path) in CATCHES_ALL:
                continue
            caught = node.type.id if isinstance(node.type, ast.Name) else "everything" if node.type is None else ""
            if caught in ("Exception", "BaseException", "everything"):
                found.append(f"{name(path)}:{node.lineno}")
    assert found == []


def test_nothing_is_left_unfinished() -> None:
    found = [
        f"{name(path)}:{number}"
        for path in files(suffixes=TEXT_SUFFIXES)
        if path != THIS_FILE and path.name != "LICENSE"
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert found == []


def test_no_path_of_a_developers_machine() -> None:
    found = [
        f"{name(path)}:{number}: {line.strip()[:80]}"
        for path in files(suffixes=TEXT_SUFFIXES)
        if path != THIS_FILE
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if HOME_PATH.search(line)
    ]
    assert found == []


def test_public_python_is_documented() -> None:
    found = []
    for path in product_files():
        tree = ast.parse(path.read_text("utf-8"))
        if ast.get_docstring(tree) is None:
            found.append(name(path))
        for node in tree.body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if not node.name.startswith("_") and ast.get_docstring(node) is None:
                found.append(f"{name(path)}:{node.lineno} {node.name}")
    assert found == []


def test_inner_dataclasses_are_frozen_and_slotted() -> None:
    found = []
    for path in product_files():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.ClassDef):
                continue
            for mark in node.decorator_list:
                text = ast.unparse(mark)
                private = node.name.startswith("_") or "eq=False" in text
                if text.startswith("dataclass") and not ("slots=True" in text and ("frozen=True" in text or private)):
                    found.append(f"{name(path)}:{node.lineno} {node.name}")
    assert found == [], "frozen and slotted; what changes is private or says that it has an identity: eq=False"


@pytest.mark.parametrize("path", c_files(), ids=name)
def test_c_habits(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "\t" not in text, "tabs"
    assert not re.search(r"[ \t]+$", text, re.MULTILINE), "spaces at the end of a line"
    assert text.endswith("\n"), "no newline at the end"
    assert not re.search(r"\b(strcpy|strcat|sprintf|vsprintf|gets|atoi|strtok|alloca)\s*\(", text), (
        "unbounded or unchecked"
    )
    if path.suffix == ".h" and name(path) not in FRAGMENTS:
        assert re.search(r"#ifndef \w+_H\n#define \w+_H", text), "no include guard"


def test_skips_have_reasons() -> None:
    found = [
        f"{name(path)}:{node.lineno}"
        for path in files("tests", suffixes={".py"})
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("pytest.skip", "pytest.mark.skip", "pytest.xfail")
        if not (node.args or node.keywords)
    ]
    assert found == []


def test_locks_are_exact_and_fit_the_ranges() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pins: dict[str, str] = {}
    for lock in ("requirements.lock", "requirements-dev.lock"):
        for line in (ROOT / lock).read_text("utf-8").splitlines():
            if line.startswith("#") or not line:
                continue
            assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line), f"{lock}: {line}"
            package, version = line.split("==")
            assert pins.setdefault(package, version) == version
    wanted = project["dependencies"] + [need for extra in project["optional-dependencies"].values() for need in extra]
    for need in wanted:
        package, _, least = need.partition(">=")
        if not package.startswith("penstock["):
            assert version_of(pins[package]) >= version_of(least), need


def version_of(text: str) -> tuple[int, ...]:
    """``"1.10.2"`` as ``(1, 10, 2)``; letters end a number."""
    return tuple(int(re.match(r"\d+", piece).group()) for piece in text.split("."))  # type: ignore[union-attr]
