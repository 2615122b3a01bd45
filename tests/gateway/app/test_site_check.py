"""Every mistake in a site file gives its own error: file, line, key, what was found, what is allowed. And no other."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.app.site_check import load
from gateway.errors import ConfigError
from tests.gateway import sites


@dataclass(frozen=True)
class Mistake:
    """``old`` becomes ``new`` in the site; ``expected`` are all errors, without ``site.toml:``. $ is the folder."""

    name: str
    old: str
    new: str
    expected: list[str]


with Path(__file__).with_name("mistakes.toml").open("rb") as file:
    MISTAKES = [Mistake(**row) for row in tomllib.load(file)["mistake"]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the plugins, ``unbuilt`` among them, as the current one: errors then name plain files."""
    sites.write(tmp_path)
    unbuilt = tmp_path / "plugins" / "unbuilt"
    unbuilt.mkdir()
    (unbuilt / "plugin.toml").write_text(sites.MANIFESTS["gain"].replace('"gain"', '"unbuilt"'), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gateway.store.SOURCE_TREE", Path("nowhere"))
    return tmp_path


def mistakes_in(site: str, board: str = sites.BOARD) -> list[str]:
    sites.write(Path(), site, board)
    with pytest.raises(ConfigError) as caught:
        load(Path("site.toml"), Path("board.toml"), [], to_run=True)
    return [str(error) for error in caught.value.each]


@pytest.mark.usefixtures("here")
def test_the_site_is_right_without_a_mistake() -> None:
    plan = load(Path("site.toml"), Path("board.toml"), [], to_run=True).plan
    assert [port.device for port in plan.ports] == ["", "/dev/ttyS1"]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_mistake(mistake: Mistake, here: Path) -> None:
    assert sites.SITE.count(mistake.old) >= 1, "the text to break is there"
    found = mistakes_in(sites.SITE.replace(mistake.old, mistake.new, 1))
    assert [plain(one, here) for one in found] == mistake.expected


def plain(error: str, here: Path) -> str:
    """Without what all errors have in common, and without the words of the TOML parser, which vary."""
    text = error.removeprefix("site.toml:").strip().replace(str(here), "$")
    return re.sub(r"(TOML syntax, column \d+:) .*", r"\1 ...", text)


def test_the_table_is_long_enough() -> None:
    assert len(MISTAKES) >= 60
    assert len({mistake.name for mistake in MISTAKES}) == len(MISTAKES)


BOARD_MISTAKES = [
    (
        "device missing",
        'device = "/dev/ttyS1"\n',
        "",
        "board.toml:5: port.rs485-1.device: missing; the absolute path of a device file is required",
    ),
    (
        "device not absolute",
        '"/dev/ttyS1"',
        '"ttyS1"',
        'board.toml:6: port.rs485-1.device: found "ttyS1", allowed: the absolute path of a device file',
    ),
    (
        "key unknown",
        "description",
        "descripton",
        'board.toml:3: board.descripton: unknown key; did you mean "description"?',
    ),
    ("section unknown", "[port.rs485-2]", "[ports.rs485-2]", 'board.toml:8: ports: unknown key; did you mean "port"?'),
    ("name missing", 'name = "bench"\n', "", "board.toml:1: board.name: missing; a string is required"),
    (
        "syntax",
        "[board]",
        "[board",
        "board.toml:1: TOML syntax, column 7: ...",
    ),
]


@pytest.mark.parametrize(
    ("old", "new", "expected"), [row[1:] for row in BOARD_MISTAKES], ids=[row[0] for row in BOARD_MISTAKES]
)
def test_mistake_in_the_board(old: str, new: str, expected: str, here: Path) -> None:
    assert [plain(one, here) for one in mistakes_in(sites.SITE, sites.BOARD.replace(old, new))] == [expected]


@pytest.mark.usefixtures("here")
def test_mistakes_of_all_files_are_reported_together() -> None:
    site = sites.SITE.replace("port = 502", "port = 0").replace('unit = "°C"', 'unti = "°C"').replace("7 }", '"x" }')
    assert mistakes_in(site, sites.BOARD.replace('"/dev/ttyS2"', "2")) == [
        "board.toml:9: port.rs485-2.device: found 2, allowed: the absolute path of a device file",
        "site.toml:7: port.plc.port: found 0, allowed: 1 to 65535",
        'site.toml:44: tag[0].unti: unknown key; did you mean "unit"?',
        'site.toml:46: tag[0] "boiler/temperature": fieldbus.address: found "x", allowed: an integer, 0 to 65535',
    ]


@pytest.mark.usefixtures("here")
def test_files_that_cannot_be_read() -> None:
    Path("latin.toml").write_bytes('[site]\nname = "Köln"\n'.encode("latin-1"))
    for name, expected in (
        ("missing.toml", "missing.toml: cannot be read: No such file or directory"),
        ("latin.toml", "latin.toml: not UTF-8 at byte 16; TOML files are UTF-8"),
    ):
        with pytest.raises(ConfigError) as caught:
            load(Path(name), None, [], to_run=True)
        assert str(caught.value) == expected


@pytest.mark.usefixtures("here")
def test_running_serial_lines_needs_a_board_checking_does_not() -> None:
    site = Path("site.toml")
    with pytest.raises(ConfigError) as caught:
        load(site, None, [], to_run=True)
    assert str(caught.value) == (
        'site.toml:11: port.bus.device: which device "rs485-1" is must come from a board file: --board BOARD.toml'
    )
    assert load(site, None, [], to_run=False).plan.ports[1].device == ""


@pytest.mark.usefixtures("here")
def test_a_broken_manifest_names_its_own_file() -> None:
    manifest = Path("plugins/gain/plugin.toml")
    manifest.write_text(sites.MANIFESTS["gain"].replace('"etl"', '"etll"'), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(Path("site.toml"), Path("board.toml"), [], to_run=True)
    assert str(caught.value) == (
        'plugins/gain/plugin.toml:4: kind: found "etll", allowed: "driver" or "etl" or "format"'
    )
