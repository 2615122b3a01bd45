"""Board files: what each table takes, the boards of the project, and the schema for editors."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from gateway.app.site_check import load
from gateway.config.board import load_board
from gateway.config.hardware import NAMED, SINGLE, schema
from gateway.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
BOARDS = sorted((ROOT / "board-configs").glob("*.toml"))
WITH_IMAGE = {"rpi4", "rpi5", "rpi-zero2w", "generic-armv7", "qemu-arm64"}

REFERENCE = """\
[site]
name = "reference"

[port.line]
kind = "serial"
device = "PORT"
baudrate = 19200

[stage.meters]
plugin = "modbus"
ports = ["line"]
config = { framing = "rtu", poll_ms = 500 }

[stage.json]
plugin = "json_maker"
inputs = ["meters"]
config = { topic = "reference/data" }

[link.cloud]
kind = "mqtt"
inputs = ["json"]
host = "broker.example"

[[tag]]
name = "power"
unit = "W"
from = "meters"
modbus = { unit = 1, table = "holding", address = 0, type = "i16" }
"""


def test_the_boards_are_all_there() -> None:
    assert {path.stem for path in BOARDS} == WITH_IMAGE | {"sim"}


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_the_reference_site_fits_every_port_of_every_board(path: Path, tmp_path: Path) -> None:
    board = load_board(path)
    assert board.name == path.stem
    assert board.devices
    for port in board.devices:
        site = tmp_path / "site.toml"
        site.write_text(REFERENCE.replace("PORT", port), "utf-8")
        plan = load(site, path, [], to_run=True).plan
        assert [one.device for one in plan.ports] == [board.devices[port]]


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_boards_with_an_image_say_how_it_is_made(path: Path) -> None:
    board = load_board(path)
    assert (board.image is not None) == (path.stem in WITH_IMAGE)
    if board.image is not None:
        assert board.head.arch in ("aarch64", "armv7")
        assert board.watchdog is not None


def test_the_schema_is_the_codes() -> None:
    kept = json.loads((ROOT / "board-configs" / "schema.json").read_text("utf-8"))
    assert kept == json.loads(json.dumps(schema())), (
        "python -m gateway.config.board > board-configs/schema.json makes it anew"
    )


def test_the_schema_knows_the_keys_of_the_boards() -> None:
    """Every key that a board file of the project has is in the schema, at its place."""
    about = json.loads(json.dumps(schema()))

    def properties(name: str) -> set[str]:
        return set(about["$defs"][name]["properties"])

    for path in BOARDS:
        for table, value in tomllib.loads(path.read_text("utf-8")).items():
            assert table in about["properties"], f"{path.name}: {table}"
            groups = value.values() if table in NAMED else [value]
            for group in groups:
                assert set(group) <= properties((NAMED | SINGLE)[table].__name__), f"{path.name}: {table}"


def mistakes(text: str, folder: Path) -> list[str]:
    path = folder / "board.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_board(path)
    return [str(one).replace(f"{path}:", "") for one in caught.value.each]


def test_all_mistakes_of_a_board_are_told_at_once(tmp_path: Path) -> None:
    text = """\
[board]
name = "Big Box"
arch = "mips"
colour = "red"

[port.a]
device = "ttyS0"
direction = "sideways"

[led.status]

[storage]
boot_mib = 0
slot_mib = "much"
data_mib = 64
"""
    assert mistakes(text, tmp_path) == [
        '2: board.name: found "Big Box", allowed: a string like ^[a-z][a-z0-9_-]{0,31}$',
        '3: board.arch: found "mips", allowed: "", "aarch64", "armv7"',
        "4: board.colour: unknown key; known: arch, description, memory_mib, name",
        '7: port.a.device: found "ttyS0", allowed: the absolute path of a device file',
        '8: port.a.direction: found "sideways", allowed: "adapter", "none", "rts"',
        "10: led.status.device: missing; a string is required",
        "13: storage.boot_mib: found 0, allowed: an integer, 1 to 65536",
        '14: storage.slot_mib: found "much", allowed: an integer, 1 to 65536',
    ]


def test_an_image_needs_a_disk_and_a_loader(tmp_path: Path) -> None:
    assert mistakes('[board]\nname = "b"\n[image]\nkernel = "k"\n', tmp_path) == [
        "1: board.arch: missing; a board with an image is compiled for aarch64 or armv7",
        "3: image: needs the table [storage], which is missing",
        "3: image: needs the table [boot], which is missing",
    ]
    text = '[board]\nname = "b"\narch = "armv7"\n[storage]\nboot_mib = 1\nslot_mib = 1\ndata_mib = 1\n[boot]\n'
    assert mistakes(f'{text}[image]\nkernel = "k"\n', tmp_path) == [
        '8: boot.interface: missing; with loader "uboot" the name of the disk there, such as "mmc"'
    ]
