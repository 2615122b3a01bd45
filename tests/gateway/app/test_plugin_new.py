"""``penstock plugin new``: what it makes builds, passes its vectors and runs, as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.app.cli import main
from gateway.app.commands import MISCONFIGURED, OK
from gateway.app.plugin_build import build
from gateway.app.plugin_new import languages
from gateway.app.site_check import load

SITE = """\
[site]
name = "works"
[port.plc]
kind = "tcp"
host = "127.0.0.1"
port = 502
[stage.plc]
plugin = "modbus"
ports = ["plc"]
[stage.trim]
plugin = "trim"
inputs = ["plc"]
[stage.json]
plugin = "json_maker"
inputs = ["trim"]
config = { topic = "t" }
[link.cloud]
kind = "mqtt"
inputs = ["json"]
host = "127.0.0.1"
[[tag]]
name = "t"
from = "plc"
modbus = { unit = 1, address = 0 }
trim = { offset = 1.5 }
"""


@pytest.fixture(scope="module", autouse=True)
def built(root: Path) -> None:
    for name in ("modbus", "json_maker"):
        build(root / "plugins" / name, root / "build" / "plugins")


@pytest.mark.parametrize("language", languages())
def test_it_builds_tests_and_runs_at_once(language: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home, out = tmp_path / "plugins", tmp_path / "build" / "plugins"
    assert main(["plugin", "new", "trim", "--lang", language, "--in", str(home)]) == OK
    assert f"now run: penstock plugin test {home / 'trim'}" in capsys.readouterr().out
    assert main(["plugin", "test", str(home / "trim"), "--out", str(out)]) == OK
    assert capsys.readouterr().out == "2 cases passed\n2 cases passed, bytes delivered one by one\n"
    (tmp_path / "site.toml").write_text(SITE)
    loaded = load(tmp_path / "site.toml", None, [], to_run=True)
    assert [one.manifest.name for one in loaded.plan.stages] == ["modbus", "trim", "json_maker"]
    assert loaded.plugins["trim"].read().startswith(b"\0asm")


@pytest.mark.parametrize("name", ["Trim", "9", "", "int", "../x"])
def test_names_that_are_wrong(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugin", "new", name, "--in", str(tmp_path)]) == MISCONFIGURED
    assert f'found "{name}", allowed: a name like' in capsys.readouterr().err


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trim").mkdir()
    assert main(["plugin", "new", "trim", "--in", str(tmp_path)]) == MISCONFIGURED
    assert "is there already; choose another name" in capsys.readouterr().err


def test_a_language_that_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["plugin", "new", "trim", "--lang", "cobol", "--in", str(tmp_path)])
    assert ended.value.code == MISCONFIGURED
