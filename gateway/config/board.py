"""The board file: which device each port name of the hardware is. TOML in, a frozen dataclass out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.config.reader import Problems, read_table, show


@dataclass(frozen=True, slots=True)
class Board:
    """``devices`` maps the port names printed on the board to device files, such as ``/dev/ttyAMA0``."""

    file: str
    name: str
    description: str
    devices: Mapping[str, str]


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
    head = root.required_table("board")
    name = head.text("name")
    description = head.text("description", "")
    head.finish()
    devices = {}
    for port, table in root.tables("port"):
        device = table.text("device")
        if device and not device.startswith("/"):
            table.problem("device", f"found {show(device)}, allowed: the absolute path of a device file")
        devices[port] = device
        table.finish()
    root.finish()
    return Board(root.source.file, name, description, devices)
