"""The project's own files, as the style tests see them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
MADE = {".venv", "build", "dist", "__pycache__", ".git", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
TEXT_SUFFIXES = {".py", ".c", ".h", ".md", ".toml", ".lock", ".sh", ".json", ".txt", ".in", ".wit", ""}


def files(*folders: str, suffixes: set[str] | None = None) -> Iterator[Path]:
    """Every file under the folders (default: the whole project) that a person wrote."""
    for folder in folders or (".",):
        for path in sorted((ROOT / folder).rglob("*")):
            parts = path.relative_to(ROOT).parts
            if not path.is_file() or any(part in MADE or part.endswith(".egg-info") for part in parts):
                continue
            if suffixes is None or path.suffix in suffixes:
                yield path


def python_files() -> list[Path]:
    """Every Python file of the project."""
    return [
        *list(files("gateway", "ota", "bench", "tests", "plugins", "runtime_c", suffixes={".py"})),
        ROOT / "setup.py",
    ]


def c_files() -> list[Path]:
    """Every C source and header of the project."""
    return list(files("runtime_c", "plugins", "tests", "bench", suffixes={".c", ".h"}))


def name(path: Path) -> str:
    """The path as messages show it."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


@dataclass(frozen=True, slots=True)
class Function:
    """A function definition and how many lines it spans, first and last included."""

    where: str
    name: str
    lines: int


def python_functions(path: Path) -> Iterator[Function]:
    """All functions and methods of a Python file; docstrings do not count."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            first = node.body[0]
            if ast.get_docstring(node) is not None and first.end_lineno is not None:
                lines -= first.end_lineno - first.lineno + 1
            yield Function(f"{name(path)}:{node.lineno}", node.name, lines)


def c_functions(path: Path) -> Iterator[Function]:
    """Functions of a C file in the house format: the definition starts in column 0, a ``}`` there ends it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    start, function = 0, ""
    for number, line in enumerate(lines, 1):
        if not function and re.match(r"[A-Za-z_]", line):
            start, function = number, _function_name(lines[number - 1 : number + 11])
        if function and (line.startswith("}") or (number == start and line.endswith("}"))):
            yield Function(f"{name(path)}:{start}", function, number - start + 1)
            function = ""


def _function_name(lines: list[str]) -> str:
    """The name that a definition starting in the first line defines; empty when it is not one of a function."""
    text = ""
    for line in lines:
        text += re.sub(r"/\*.*?\*/|//.*", "", line).rstrip() + " "
        if text.rstrip().endswith((";", "}", "{")):
            break
    head = re.match(r"[^=;{]*?\b(?!__attribute__\b)(\w+)\([^;]*\)\s*\{", text)
    return head.group(1) if head and not text.startswith("typedef") else ""
