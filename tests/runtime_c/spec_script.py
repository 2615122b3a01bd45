"""Scripts of the official WebAssembly test suite, turned into the line form that ``spec_run`` executes.

Input is an archive in the layout of wabt's ``wast2json``: ``NAME.json`` with its ``NAME.K.wasm``. The line form is
described at the top of ``runtime_c/tools/spec_run.c``. Commands that ``Rules`` leaves out are not written: they stay in
the list of steps with their reason.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import tomllib
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

Command = Mapping[str, Any]  # of the suite's JSON

HERE = Path(__file__).resolve().parent
FEATURES_FILE = HERE / "spec_features.toml"
RULES_FILE = HERE / "spec_rules.toml"
VERBS = {
    "module": "module",
    "module_definition": "definition",
    "module_instance": "instance",
    "register": "register",
    "action": "action",
    "assert_return": "return",
    "assert_trap": "trap",
    "assert_exhaustion": "exhaustion",
    "assert_exception": "exception",
    "assert_malformed": "malformed",
    "assert_invalid": "invalid",
    "assert_unlinkable": "unlinkable",
    "assert_uninstantiable": "uninstantiable",
}
LINKED = {"module", "module_definition", "assert_unlinkable", "assert_uninstantiable"}  # their imports are looked up


class SpecError(Exception):
    """The archive or a rules file is not what it should be; the text names the file and the place."""


@dataclass(frozen=True, slots=True)
class Script:
    """One script: ``name`` is ``ARCHIVE/FILE`` without endings; ``modules`` maps file names to bytes."""

    name: str
    commands: tuple[Command, ...]
    modules: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Step:
    """One command: its number, its line in the source, and either the ``text`` to run or why it is skipped."""

    index: int
    line: int
    verb: str
    text: str
    skip: str


def read_archive(path: Path, only: str = "*") -> Iterator[Script]:
    """Scripts of an archive whose file name matches the glob ``only``; ``SpecError`` if it holds none at all."""
    label = path.stem.removesuffix("-3.0")
    with zipfile.ZipFile(path) as archive:
        files = archive.namelist()
        names = sorted(name for name in files if name.endswith(".json"))
        if not names:
            raise SpecError(f"{path}: no script: expected NAME.json files")
        for name in names:
            stem = name.removesuffix(".json")
            if not (fnmatch.fnmatch(stem, only) or fnmatch.fnmatch(f"{label}/{stem}", only)):
                continue
            commands = tuple(json.loads(archive.read(name))["commands"])
            used = [command["filename"] for command in commands if "filename" in command]
            folder = name[: name.rfind("/") + 1]
            yield Script(f"{label}/{stem}", commands, {file: archive.read(folder + file) for file in used})


# ---- rules ----------------------------------------------------------------------------------------------------------


def module_number(filename: str) -> int:
    """7 for ``name.7.wasm``."""
    return int(filename.rsplit(".", 2)[1])


def parse_numbers(text: str) -> set[int]:
    """``"1, 4-6"`` -> {1, 4, 5, 6}."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        numbers |= set(range(int(first), int(last or first) + 1))
    return numbers


def format_numbers(numbers: list[int]) -> str:
    """The inverse of ``parse_numbers``, for a sorted list without repetitions."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


@dataclass(frozen=True, slots=True)
class Place:
    """One command, by its module's number or by its line in the source; number -1: every module of the script."""

    script: str
    kind: Literal["module", "line"]
    number: int


@dataclass(frozen=True, slots=True)
class Rules:
    """What is left out and which texts are as good as the suite's.

    ``digests`` are the SHA-256 of the archives that the rules about places are for. ``pending`` maps a feature to the
    reason of a skip, ``left_out`` likewise for a minimal build, ``needs`` a place to features, ``never`` a place to a
    reason, ``accept`` a place to other accepted texts, ``moves_nan`` a place to why its NaN
    may be any.
    """

    digests: frozenset[str]
    pending: Mapping[str, str]
    left_out: Mapping[str, str]
    needs: Mapping[Place, frozenset[str]]
    never: Mapping[Place, str]
    accept: Mapping[Place, tuple[str, ...]]
    moves_nan: Mapping[Place, str]

    def skip_of(self, script: str, command: Command) -> str:
        """Why this command is left out for its own sake; empty if it is not."""
        needed: set[str] = set()
        for place in places_of(script, command):
            if place in self.never:
                return self.never[place]
            needed |= self.needs.get(place, frozenset())
        return next((reason for feature, reason in self.pending.items() if feature in needed), "")

    def texts_of(self, script: str, command: Command) -> str:
        """All accepted texts, joined by |."""
        accepted = (text for place in places_of(script, command) for text in self.accept.get(place, ()))
        return "|".join((command.get("text", ""), *accepted))

    def knows(self, archive: Path) -> bool:
        """Whether the rules were made for exactly this archive."""
        return digest(archive) in self.digests

    def for_minimal(self) -> Rules:
        """The same rules for a minimal build."""
        return replace(self, pending={**self.pending, **self.left_out})

    def about(self, needs: Mapping[Place, frozenset[str]]) -> Rules:
        """The same rules for an archive with these needs."""
        return replace(self, digests=frozenset(), needs=needs, never={}, accept={}, moves_nan={})


def places_of(script: str, command: Command) -> list[Place]:
    """The places that a rule about this command can name."""
    places = [Place(script, "line", command["line"])]
    if "filename" in command:
        places += [Place(script, "module", -1), Place(script, "module", module_number(command["filename"]))]
    return places


def digest(archive: Path) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(archive.read_bytes()).hexdigest()


_KEYS = {"also_needs": {"feature", "why"}, "never": {"reason"}, "accept": {"text", "why"}, "moves_nan": {"why"}}


def _entries(table: Mapping[str, Any], section: str, value_key: str) -> Iterator[tuple[Place, str]]:
    """(place, value) for every place of every entry of a section of the rules file."""
    for entry in table.get(section, []):
        if entry.keys() - {"modules", "lines"} != _KEYS[section] or not entry.keys() & {"modules", "lines"}:
            allowed = ", ".join(sorted(_KEYS[section]))
            raise SpecError(f"[[{section}]]: found {', '.join(entry)}; needed: {allowed}, and modules or lines")
        for kind in ("module", "line"):
            for script, numbers in entry.get(f"{kind}s", {}).items():
                for number in parse_numbers(numbers):
                    yield Place(script, kind, number), entry[value_key]


def load_rules(rules: Path = RULES_FILE, features: Path = FEATURES_FILE) -> Rules:
    """Read both files; an unknown key is a ``SpecError``, so that a misspelt rule cannot be lost."""
    table = tomllib.loads(rules.read_text(encoding="utf-8"))
    judged = tomllib.loads(features.read_text(encoding="utf-8"))
    known = ("pending", "left_out", *_KEYS)
    if unknown := table.keys() - set(known):
        raise SpecError(f"{rules.name}: unknown key {sorted(unknown)[0]}; allowed: {', '.join(known)}")
    needs: defaultdict[Place, frozenset[str]] = defaultdict(frozenset)
    accept: defaultdict[Place, tuple[str, ...]] = defaultdict(tuple)
    digests = frozenset(judged.pop("archives").values())
    for features_joined, scripts in judged.items():
        for script, numbers in scripts.items():
            for number in {-1} if numbers == "all" else parse_numbers(numbers):
                needs[Place(script, "module", number)] |= set(features_joined.split("+"))
    for place, feature in _entries(table, "also_needs", "feature"):
        needs[place] |= {feature}
    for place, text in _entries(table, "accept", "text"):
        accept[place] += (text,)
    never = dict(_entries(table, "never", "reason"))
    moves_nan = dict(_entries(table, "moves_nan", "why"))
    return Rules(digests, table["pending"], table["left_out"], needs, never, accept, moves_nan)


# ---- the import section ---------------------------------------------------------------------------------------------


class _Bytes:
    """Just enough of a reader of the binary format to find the imports of a well-formed module."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 8

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def take(self) -> bytes:
        size = self.number()
        self.at += size
        return self.data[self.at - size : self.at]

    def value_type(self) -> None:
        if self.byte() in (0x63, 0x64):  # ref null, ref: a heap type follows
            self.number()

    def limits(self) -> None:
        if self.byte() & 1:
            self.number()
        self.number()

    def table(self) -> None:
        self.value_type()
        self.limits()

    def mutable(self) -> None:
        self.value_type()
        self.byte()

    def tag(self) -> None:
        self.byte()
        self.number()

    def imported(self) -> str:
        module = self.take().decode()
        self.take()
        (self.number, self.table, self.limits, self.mutable, self.tag)[self.byte()]()
        return module


def imported_modules(module: bytes) -> set[str]:
    """Names of the modules that a well-formed module imports from."""
    reader = _Bytes(module)
    while reader.at < len(module):
        section = reader.byte()
        size = reader.number()
        if section == 2:
            return {reader.imported() for _ in range(reader.number())}
        reader.at += size
    return set()


# ---- lines ----------------------------------------------------------------------------------------------------------


def _word(text: str | None) -> str:
    if text is None:
        return "-"
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789$_.|()-"
    return ":" + "".join(chr(b) if b in plain else f"%{b:02x}" for b in text.encode())


# Of the NaNs that the suite allows the engine always makes the same one.
_NANS = {"nan:canonical": "nan", "nan:arithmetic": "nan"}


def _lane(text: str) -> str:
    return _NANS.get(text, text)


def _with_any_nan(command: Command) -> Command:
    text = json.dumps(command["expected"])
    for name in _NANS:
        text = text.replace(name, "anynan")
    return {**command, "expected": json.loads(text)}


def _reference(value: Command) -> str:
    if value["type"] == "refnull":
        return "ref:0"
    return f"ref:{int(value['value']) + 1}" if value.get("value") is not None else "ref:any"


def _value(value: Command) -> str:
    kind = value["type"]
    if kind == "either":
        return "|".join(_value(one) for one in value["values"])
    if kind == "v128":
        return f"{value['lane_type']}:" + ",".join(_lane(lane) for lane in value["value"])
    return f"{kind}:{_lane(value['value'])}" if kind in ("i32", "i64", "f32", "f64") else _reference(value)


def _action(action: Command) -> list[str]:
    words = [action["type"], _word(action.get("module")), _word(action["field"])]
    return words if action["type"] == "get" else [*words, str(len(action["args"])), *map(_value, action["args"])]


_WORDS: Mapping[str, Callable[[Command, str], list[str]]] = {
    "module": lambda c, _: [_word(c.get("name")), _word(c["filename"])],
    "definition": lambda c, _: [_word(c.get("name")), _word(c["filename"])],
    "instance": lambda c, _: [_word(c.get("instance")), _word(c.get("module"))],
    "register": lambda c, _: [_word(c.get("name")), _word(c["as"])],
    "action": lambda c, _: _action(c["action"]),
    "return": lambda c, _: [*_action(c["action"]), *map(_value, c["expected"])],
    "trap": lambda c, texts: [_word(texts), *_action(c["action"])],
    "exhaustion": lambda c, texts: [_word(texts), *_action(c["action"])],
    "exception": lambda c, _: _action(c["action"]),
    "malformed": lambda c, texts: [_word(texts), _word(c["filename"])],
    "invalid": lambda c, texts: [_word(texts), _word(c["filename"])],
    "unlinkable": lambda c, texts: [_word(texts), _word(c["filename"])],
    "uninstantiable": lambda c, texts: [_word(texts), _word(c["filename"])],
}


class _Skips:
    """Follows which instances, definitions and registered names do not exist because their module is skipped."""

    def __init__(self, script: Script, rules: Rules) -> None:
        self._script = script
        self._rules = rules
        self._instances: dict[str | None, str] = {}  # None: the current instance
        self._definitions: dict[str | None, str] = {}
        self._registered: dict[str, str] = {}

    def reason(self, verb: str, command: Command) -> str:
        """Why ``command`` is skipped, or an empty text; remembers what follows from it."""
        own = self._rules.skip_of(self._script.name, command)
        if "filename" in command:
            reason = own or self._imports(command)
            if verb == "module":
                self._instances |= {None: reason, command.get("name"): reason}
            elif verb == "definition":
                self._definitions |= {None: reason, command.get("name"): reason}
            return reason
        if verb == "instance":
            reason = own or self._definitions.get(command.get("module"), "")
            self._instances |= {None: reason, command.get("instance"): reason}
            return reason
        if verb == "register":
            reason = own or self._instances.get(command.get("name"), "")
            self._registered[command["as"]] = reason
            return reason
        return own or self._instances.get(command["action"].get("module"), "")

    def _imports(self, command: Command) -> str:
        if command["type"] not in LINKED:
            return ""
        for module in sorted(imported_modules(self._script.modules[command["filename"]])):
            if lost := self._registered.get(module):
                return PASSED_ON + lost.removeprefix(PASSED_ON)
        return ""


PASSED_ON = "imports from a skipped module: "


def compile_script(script: Script, rules: Rules) -> list[Step]:
    """Every command of the script as a step, in order; ``SpecError`` names a command of an unknown type."""
    skips = _Skips(script, rules)
    steps = []
    for index, command in enumerate(script.commands):
        verb = VERBS.get(command["type"])
        if verb is None:
            raise SpecError(f"{script.name}.json: command {index}: unknown type {command['type']!r}")
        reason = skips.reason(verb, command)
        texts = rules.texts_of(script.name, command)
        if any(place in rules.moves_nan for place in places_of(script.name, command)):
            command = _with_any_nan(command)
        text = "" if reason else " ".join([str(index), verb, *_WORDS[verb](command, texts)])
        steps.append(Step(index, command["line"], verb, text, reason))
    return steps


def write_script(script: Script, steps: list[Step], folder: Path) -> Path:
    """Write the modules that run and ``script.txt`` to ``folder``; returns the path of the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    for step in steps:
        filename = script.commands[step.index].get("filename")
        if filename is not None and not step.skip:
            (folder / filename).write_bytes(script.modules[filename])
    path = folder / "script.txt"
    path.write_text("".join(step.text + "\n" for step in steps if not step.skip), encoding="ascii")
    return path
