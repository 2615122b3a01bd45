"""The command line: exit status, what goes where, JSON."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gateway import __version__
from gateway.app.cli import main
from gateway.app.commands import FAILED, MISCONFIGURED, OK
from tests.gateway import sites


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    sites.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("here")
def test_check_of_a_right_site(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "site.toml", "--board", "board.toml"]) == OK
    out, err = capsys.readouterr()
    assert (out, err) == ("site.toml: works: 2 ports, 4 stages, 1 links, 2 tags: all right\n", "")


@pytest.mark.usefixtures("here")
def test_check_of_a_right_site_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "site.toml", "--json"]) == OK
    expected = {"site": "works", "ports": 2, "stages": 4, "links": 1, "tags": 2}
    assert json.loads(capsys.readouterr().out) == expected


@pytest.mark.parametrize("command", ["check", "run"])
def test_mistakes_go_to_standard_error(here: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    (here / "site.toml").write_text(sites.SITE.replace("port = 502", "port = 0").replace("version = 5", "version = 6"))
    assert main([command, "site.toml", "--board", "board.toml"]) == MISCONFIGURED
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "site.toml:7: port.plc.port: found 0, allowed: 1 to 65535",
        "site.toml:39: link.cloud.version: found 6, allowed: 4, 5",
    ]


def test_mistakes_as_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "site.toml").write_text(sites.SITE.replace("port = 502", "port = 0"))
    assert main(["check", "site.toml", "--json"]) == MISCONFIGURED
    mistake = {"file": "site.toml", "line": 7, "key": "port.plc.port", "message": "found 0, allowed: 1 to 65535"}
    assert json.loads(capsys.readouterr().out) == {"error": mistake}


def test_a_plugin_that_is_no_module_is_a_mistake(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "plugins" / "fieldbus" / "fieldbus.wasm").write_bytes(b"")
    assert main(["run", "site.toml", "--board", "board.toml"]) == MISCONFIGURED
    assert capsys.readouterr().err.startswith(
        'site.toml:16: stage.plc.plugin: plugin "fieldbus": plugins/fieldbus/fieldbus.wasm: not a WebAssembly module'
    )


def test_plugins_folder_comes_first(here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    sites.write(other)
    (other / "plugins" / "gain" / "plugin.toml").write_text(
        sites.MANIFESTS["gain"].replace('out = "samples"', 'out = "none"')
    )
    arguments = ["check", str(here / "site.toml")]
    assert main(arguments) == OK
    assert main([*arguments, "--plugins", str(other / "plugins")]) == MISCONFIGURED


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == OK
    assert capsys.readouterr().out == f"penstock {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["rn"],
        ["run"],
        ["run", "s", "--seconds", "0"],
        ["run", "s", "--seconds", "x"],
        ["plugin"],
        ["plugin", "make", "."],
        ["plugin", "swap", "scale"],
        ["top", "--period", "0.01"],
        ["run", "s", "--keep", "0"],
        ["graph"],
    ],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == MISCONFIGURED
    assert "usage: penstock" in capsys.readouterr().err


@pytest.mark.usefixtures("here")
def test_plugin_header(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugin", "header", "plugins/fieldbus"]) == OK
    assert "struct fieldbus_config {" in capsys.readouterr().out


@pytest.mark.usefixtures("here")
def test_plugin_build_without_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugin", "build", "plugins/gain"]) == FAILED
    assert capsys.readouterr().err == "penstock: plugins/gain: no C sources (*.c) to build\n"


def test_plugin_test_runs_the_vectors(root: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = here / "scale"
    shutil.copytree(root / "plugins" / "scale", folder)
    command = ["plugin", "test", str(folder), "--out", str(root / "build" / "plugins")]
    assert main(command) == OK
    assert "cases passed, bytes delivered one by one" in capsys.readouterr().out
    vectors = folder / "vectors" / "scale.toml"
    vectors.write_text(vectors.read_text().replace("value = ", "value = 7", 1))
    assert main(command) == FAILED
    assert "they differ from byte" in capsys.readouterr().err
