"""The graph as text and picture."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gateway.app.cli import main
from gateway.app.commands import OK
from tests.gateway import sites

TEXT = """\
works
port plc      tcp
  ─ bytes ─► stage plc
port bus      serial
  ─ bytes ─► stage meters
stage plc     fieldbus 1.0.0
  ═ samples, block ═► stage si
stage meters  fieldbus 1.0.0
  ═ samples, block ═► stage si
stage si      gain 1.0.0
  ═ samples, block ═► stage text
stage text    writer 1.0.0
  ═ payloads, drop-oldest ═► link cloud
link cloud    mqtt broker.example
"""


@pytest.fixture
def site(tmp_path: Path) -> str:
    return str(sites.write(tmp_path)[0])


def test_text(site: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", site]) == OK
    assert capsys.readouterr().out == TEXT


def test_svg_is_the_same_each_time_and_well_formed(
    site: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["graph", site, "--svg"]) == OK
    picture = capsys.readouterr().out
    assert main(["graph", site, "--svg", str(tmp_path / "graph.svg")]) == OK
    assert (tmp_path / "graph.svg").read_text() == picture
    root = ElementTree.fromstring(picture)
    space = "{http://www.w3.org/2000/svg}"
    boxes = root.findall(f".//{space}rect")
    lines = [one for one in root.findall(f".//{space}path") if one.get("marker-end")]
    assert (len(boxes), len(lines)) == (7, 6)
    assert [one.get("class") for one in lines].count("drop") == 1
    corners = {(one.get("x"), one.get("y")) for one in boxes}
    assert len(corners) == 7, "no box covers another"
    width, height = (float(root.get(name, "0")) for name in ("width", "height"))
    for box in boxes:
        assert float(box.get("x", "0")) + float(box.get("width", "0")) < width
        assert float(box.get("y", "0")) + float(box.get("height", "0")) < height


def test_names_are_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site, _ = sites.write(tmp_path, sites.SITE.replace('name = "works"', 'name = "a<b&c"'))
    assert main(["graph", str(site), "--svg"]) == OK
    assert "<title>a&lt;b&amp;c</title>" in capsys.readouterr().out


COMMANDS = """\
[site]
name = "loop"
[port.plc]
kind = "tcp"
host = "10.0.0.7"
port = 502
[stage.plc]
plugin = "modbus"
ports = ["plc"]
commands = ["watch"]
[stage.watch]
plugin = "alarm"
inputs = ["plc"]
[stage.json]
plugin = "json_maker"
inputs = ["watch"]
config = { topic = "t" }
[link.cloud]
kind = "mqtt"
inputs = ["json"]
host = "broker.example"
[[tag]]
name = "a"
from = "plc"
modbus = { address = 0 }
"""


def test_commands_go_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = tmp_path / "site.toml"
    site.write_text(COMMANDS)
    assert main(["graph", str(site)]) == OK
    assert "stage watch  alarm 0.1.0\n  ═ commands, drop-oldest ═► stage plc\n" in capsys.readouterr().out
    assert main(["graph", str(site), "--svg"]) == OK
    root = ElementTree.fromstring(capsys.readouterr().out)
    space = "{http://www.w3.org/2000/svg}"
    (back,) = [one for one in root.findall(f".//{space}path") if one.get("class") == "command"]
    numbers = [int(number) for number in re.findall(r"\d+", back.get("d", ""))]
    assert numbers[0] > numbers[-2], "against the direction of the others"
    assert max(numbers[1::2]) <= float(root.get("height", "0"))
