"""The board file: what the hardware has, and how its image is made. TOML in, a frozen dataclass out.

``python -m gateway.config.board`` prints the JSON schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from gateway.config.hardware import Boot, Can, Gpio, Head, Image, Led, Port, Storage, Watchdog, schema
from gateway.config.reader import Problems, Table, read_table, show

S = TypeVar("S", bound=Struct)


@dataclass(frozen=True, slots=True)
class Board:
    """``devices`` maps the port names printed on the board to device files, such as ``/dev/ttyAMA0``; with mistakes in
    a port, to "".

    The parts from ``storage`` on are None where no image is made for the board.
    """

    file: str
    name: str
    description: str
    devices: Mapping[str, str]
    head: Head
    ports: Mapping[str, Port]
    can: Mapping[str, Can]
    gpio: Mapping[str, Gpio]
    leds: Mapping[str, Led]
    storage: Storage | None
    boot: Boot | None
    watchdog: Watchdog | None
    image: Image | None


def load_board(path: Path) -> Board:
    """Read ``path``. Raises ConfigError (all mistakes at once)."""
    problems = Problems()
    board = read_board(path, problems)
    problems.raise_any()
    assert board is not None, "a file that cannot be read is a problem"
    return board


def read_board(path: Path, problems: Problems) -> Board | None:
    """Like load_board, but notes mistakes in ``problems`` and goes on; None when there is nothing to go on with."""
    root = read_table(path, problems)
    if root is None:
        return None
    head = _struct(root.required_table("board"), Head) or Head("")
    ports = {key: _struct(table, Port) for key, table in root.tables("port")}
    board = Board(
        root.source.file,
        head.name,
        head.description,
        {key: port.device if port is not None else "" for key, port in ports.items()},
        head,
        {key: port for key, port in ports.items() if port is not None},
        _named(root, "can", Can),
        _named(root, "gpio", Gpio),
        _named(root, "led", Led),
        _single(root, "storage", Storage),
        _single(root, "boot", Boot),
        _single(root, "watchdog", Watchdog),
        _single(root, "image", Image),
    )
    _check(root, board)
    root.finish()
    return board


def _check(root: Table, board: Board) -> None:
    """What one table says about another."""
    if board.image is None:
        return
    if not board.head.arch:
        root.problem("board.arch", "missing; a board with an image is compiled for aarch64 or armv7")
    for name in ("storage", "boot"):
        if not root.has(name):
            root.problem("image", f"needs the table [{name}], which is missing")
    if board.boot is not None and board.boot.loader == "uboot" and not board.boot.interface:
        root.problem("boot.interface", 'missing; with loader "uboot" the name of the disk there, such as "mmc"')


def _single(root: Table, name: str, kind: type[S]) -> S | None:
    table = root.table(name)
    return None if table is None else _struct(table, kind)


def _named(root: Table, name: str, kind: type[S]) -> dict[str, S]:
    found = {key: _struct(table, kind) for key, table in root.tables(name)}
    return {key: value for key, value in found.items() if value is not None}


def _struct(table: Table, kind: type[S]) -> S | None:
    """A table as a struct; None after any mistake. Every key is looked at, so that all mistakes are told."""
    values: dict[str, Any] = {}
    complete = True
    for field in msgspec.structs.fields(kind):
        table.asked.add(field.encode_name)
        if not table.has(field.encode_name):
            if field.required:
                table.problem(field.encode_name, f"missing; {_needed(field)} is required")
                complete = False
            continue
        raw = table.values[field.encode_name]
        try:
            values[field.name] = msgspec.convert(raw, field.type)
        except msgspec.ValidationError as error:
            table.problem(field.encode_name, f"found {show(raw)}, allowed: {_allowed(field, error)}")
            complete = False
    table.finish()
    return kind(**values) if complete else None


def _needed(field: msgspec.structs.FieldInfo) -> str:
    about = msgspec.json.schema(field.type)
    if "description" in about:
        return f"the {about['description']}"
    return "a string" if about.get("type") == "string" else "it"


def _allowed(field: msgspec.structs.FieldInfo, error: msgspec.ValidationError) -> str:
    """What a field takes, from its schema; where that is no single value, what msgspec says."""
    about = msgspec.json.schema(field.type)
    if "enum" in about:
        return ", ".join(show(one) for one in about["enum"])
    if "description" in about:
        return f"the {about['description']}"
    if "minimum" in about and "maximum" in about:
        return f"an integer, {about['minimum']} to {about['maximum']}"
    if "pattern" in about:
        return f"a string like {about['pattern']}"
    return str(error).partition(" - at ")[0].removeprefix("Expected ")


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
