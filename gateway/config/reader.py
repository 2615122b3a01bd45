"""Typed reading of TOML that collects every mistake instead of stopping at the first.

A reader method that finds something wrong notes a problem and returns a harmless stand-in, so that reading goes on;
whoever started the reading raises at the end (``Problems.raise_any``). tomllib knows no positions, so ``toml_lines``
scans the text once more for the lines where tables and keys start.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from gateway.errors import ConfigError, raise_config

T = TypeVar("T")

REQUIRED: Any = object()

_TYPE_NAMES: dict[type, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    dict: "a table",
    list: "an array",
}


@dataclass(eq=False, slots=True)
class Problems:
    """The mistakes found so far, over all files of one check."""

    found: list[ConfigError] = field(default_factory=list)

    def add(self, file: str, key: str, message: str, line: int | None = None) -> None:
        self.found.append(ConfigError(file, key, message, line=line))

    def extend(self, error: ConfigError) -> None:
        self.found.extend(error.each)

    def raise_any(self) -> None:
        """Raise what was found, ordered by file and line; nothing when there is nothing."""
        raise_config(sorted(self.found, key=lambda error: (error.file, error.line or 0)))


@dataclass(frozen=True, slots=True)
class Source:
    """One TOML file: its name for messages and the line on which each key path starts."""

    file: str
    lines: dict[str, int]

    def line_of(self, key: str) -> int | None:
        """Line of ``key`` or of the nearest table that contains it."""
        while key:
            if key in self.lines:
                return self.lines[key]
            key = re.sub(r"(\[\d+\]|\.?[^.\[\]]+)$", "", key)
        return None


def show(value: object) -> str:
    """``value`` as a user would write it in TOML, shortened."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = '"' + value + '"'
    elif isinstance(value, dict):
        text = "a table"
    elif isinstance(value, list):
        text = "an array"
    else:
        text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(word: str, known: Iterable[str]) -> str:
    """A suggestion to append to a message: the known word most like ``word``, or all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {show(close[0])}?"
    return f"known: {', '.join(names)}" if names else "none is defined"


@dataclass(eq=False, slots=True)
class Table:
    """A TOML table being read. Each method takes one key; ``finish`` reports the keys nobody asked for."""

    source: Source
    problems: Problems
    path: str
    values: dict[str, Any]
    asked: set[str] = field(default_factory=set)

    def key(self, name: str) -> str:
        """The dotted path of ``name`` in this table."""
        return f"{self.path}.{name}" if self.path else name

    def problem(self, name: str, message: str) -> None:
        """Note a mistake about ``name``; an empty name means the table itself."""
        key = self.key(name) if name else self.path
        self.problems.add(self.source.file, key, message, self.source.line_of(key))

    def has(self, name: str) -> bool:
        return name in self.values

    def text(self, name: str, default: Any = REQUIRED, *, choices: Sequence[str] = (), empty: bool = False) -> Any:
        """A string; one of ``choices`` if given. ``empty`` allows ""."""

        def check(value: str) -> str | None:
            if choices and value not in choices:
                allowed = " or ".join(show(choice) for choice in choices)
                return f"found {show(value)}, allowed: {allowed}"
            return None if value or empty else 'found "", allowed: a string that is not empty'

        return self._value(name, str, default, "", check)

    def integer(self, name: str, default: Any = REQUIRED, *, low: int, high: int, unit: str = "") -> Any:
        """An integer in [low, high]."""
        return self._value(name, int, default, low, _range_check(low, high, unit))

    def number(self, name: str, default: Any = REQUIRED, *, low: float, high: float, unit: str = "") -> Any:
        """An integer or float in [low, high], as float."""
        found = self._value(name, float, default, low, _range_check(low, high, unit))
        return found if found is None else float(found)

    def boolean(self, name: str, default: Any = REQUIRED) -> Any:
        return self._value(name, bool, default, False)

    def choice(self, name: str, default: Any, allowed: Sequence[int | float | str]) -> Any:
        """One of ``allowed``, whose types may differ."""
        self.asked.add(name)
        if name not in self.values:
            return default
        value = self.values[name]
        if isinstance(value, bool) or value not in allowed:
            self.problem(name, f"found {show(value)}, allowed: {', '.join(show(one) for one in allowed)}")
            return default
        return value

    def texts(self, name: str, default: Any = REQUIRED) -> tuple[str, ...]:
        """An array of non-empty strings."""
        items: list[str] = []
        for index, value in enumerate(self.items(name, default)):
            if isinstance(value, str) and value:
                items.append(value)
            else:
                self.problem(f"{name}[{index}]", f"found {show(value)}, allowed: a string that is not empty")
        return tuple(items)

    def items(self, name: str, default: Any = REQUIRED) -> list[Any]:
        """An array of anything."""
        found: list[Any] = self._value(name, list, default, [])
        return found

    def raw(self, name: str) -> dict[str, Any]:
        """A table whose keys somebody else checks; {} when absent."""
        found: dict[str, Any] = self._value(name, dict, {}, {})
        return found

    def table(self, name: str) -> Table | None:
        """An optional table; None when absent or not a table."""
        if name not in self.values:
            self.asked.add(name)
            return None
        found = self._value(name, dict, None, None)
        return None if found is None else Table(self.source, self.problems, self.key(name), found)

    def required_table(self, name: str) -> Table:
        """A table that must be there; when it is not, an empty stand-in whose own problems nobody hears."""
        found = self._value(name, dict, REQUIRED, None)
        if found is None:
            return Table(self.source, Problems(), self.key(name), {})
        return Table(self.source, self.problems, self.key(name), found)

    def tables(self, name: str) -> list[tuple[str, Table]]:
        """The named tables below ``name``: ``[port.a]``, ``[port.b]`` ..., in file order."""
        outer = self.table(name)
        if outer is None:
            return []
        inner = [(one, outer.table(one)) for one in outer.values]
        return [(one, table) for one, table in inner if table is not None]

    def table_array(self, name: str) -> list[Table]:
        """The tables of ``[[name]]``, in file order."""
        if isinstance(self.values.get(name), dict):
            self.asked.add(name)
            self.problem(name, f"found a table, allowed: an array of tables, each written [[{name}]]")
            return []
        found = []
        for index, value in enumerate(self.items(name, [])):
            if isinstance(value, dict):
                found.append(Table(self.source, self.problems, f"{self.key(name)}[{index}]", value))
            else:
                self.problem(f"{name}[{index}]", f"found {show(value)}, allowed: a table, written [[{name}]]")
        return found

    def finish(self) -> None:
        """Report the keys that no method has read."""
        for name in self.values:
            if name not in self.asked:
                self.problem(name, f"unknown key; {nearest(name, self.asked)}")

    def _value(
        self, name: str, kind: type, default: Any, stand_in: Any, check: Callable[[Any], str | None] | None = None
    ) -> Any:
        self.asked.add(name)
        if name not in self.values:
            if default is REQUIRED:
                self.problem(name, f"missing; {_TYPE_NAMES[kind]} is required")
                return stand_in
            return default
        value = self.values[name]
        if not _is_a(value, kind):
            self.problem(name, f"found {show(value)}, allowed: {_TYPE_NAMES[kind]}")
        elif check is not None and (message := check(value)):
            self.problem(name, message)
        else:
            return value
        return stand_in if default is REQUIRED else default


def _is_a(value: object, kind: type) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _range_check(low: float, high: float, unit: str) -> Callable[[Any], str | None]:
    def check(value: float) -> str | None:
        if low <= value <= high:
            return None
        suffix = f" {unit}" if unit else ""
        return f"found {value}, allowed: {low} to {high}{suffix}"

    return check


def read_table(path: Path, problems: Problems) -> Table | None:
    """Parse the TOML file at ``path``; None, with the problem noted, when it cannot be read or parsed."""
    file = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        problems.add(file, "", f"cannot be read: {error.strerror}")
        return None
    except UnicodeDecodeError as error:
        problems.add(file, "", f"not UTF-8 at byte {error.start}; TOML files are UTF-8")
        return None
    return parse_table(text, file, problems)


def parse_table(text: str, file: str, problems: Problems) -> Table | None:
    """Parse TOML ``text``, called ``file`` in messages; None, with the problem noted, when the syntax is wrong."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"^(.*) \(at line (\d+), column (\d+)\)$", str(error))
        if place:
            problems.add(file, "", f"TOML syntax, column {place[3]}: {place[1]}", int(place[2]))
        else:
            problems.add(file, "", f"TOML syntax: {error}", text.count("\n") + 1)
        return None
    return Table(Source(file, toml_lines(text)), problems, "", values)


# What matters for structure in valid TOML: strings, comments, brackets, line ends.
_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|'
    r"'''.*?'{3,5}|"
    r'"(?:\\.|[^"\\\n])*"|'
    r"'[^'\n]*'|"
    r"#[^\n]*|[\[\]{}]|\n|[^\"'#\[\]{}\n]+",
    re.DOTALL,
)
_HEADER = re.compile(r"^\s*(\[{1,2})\s*(.*?)\s*\]{1,2}\s*(?:#.*)?$", re.DOTALL)
_KEY_PART = re.compile(r'\s*(?:"((?:\\.|[^"\\])*)"|\'([^\']*)\'|([A-Za-z0-9_-]+))\s*(?:\.|$)')


def toml_lines(text: str) -> dict[str, int]:
    """Line (from 1) of each table header and top-level key of valid TOML ``text``, by dotted path."""
    lines: dict[str, int] = {}
    arrays: dict[str, int] = {}
    prefix = ""
    for number, statement in _statements(text):
        header = _HEADER.match(statement) if statement.lstrip().startswith("[") else None
        if header is not None:
            prefix = _resolve(_key_parts(header[2]), arrays, lines, number, is_array=header[1] == "[[")
        elif "=" in statement:
            path = prefix
            for part in _key_parts(statement[: _equals_at(statement)]):
                path = f"{path}.{part}" if path else part
                lines.setdefault(path, number)
    return lines


def _statements(text: str) -> Iterable[tuple[int, str]]:
    """Logical lines with the number of their first physical line: a value may span several."""
    line, start, depth, parts = 1, 1, 0, list[str]()
    for token in _TOKEN.findall(text):
        if token == "\n" and depth == 0:
            yield start, "".join(parts)
            parts = []
            start = line + 1
        elif token != "\n" and not token.startswith("#"):
            parts.append(token)
            depth += (token in "[{") - (token in "]}") if len(token) == 1 else 0
        line += token.count("\n")
    yield start, "".join(parts)


def _equals_at(statement: str) -> int:
    """Position of the = that ends the key; an = inside a quoted key does not count."""
    found = re.match(r'(?:"(?:\\.|[^"\\])*"|\'[^\']*\'|[^"\'=])*', statement)
    return found.end() if found else len(statement)


def _key_parts(text: str) -> list[str]:
    return [match[1] or match[2] or match[3] or "" for match in _KEY_PART.finditer(text)]


def _resolve(parts: list[str], arrays: dict[str, int], lines: dict[str, int], number: int, *, is_array: bool) -> str:
    """Path of a table header; below ``[[x]]`` the name x means its last element."""
    path = ""
    for position, part in enumerate(parts):
        path = f"{path}.{part}" if path else part
        if is_array and position == len(parts) - 1:
            arrays[path] = arrays.get(path, -1) + 1
        if path in arrays:
            lines.setdefault(path, number)
            path = f"{path}[{arrays[path]}]"
        lines.setdefault(path, number)
    return path
