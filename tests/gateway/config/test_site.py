"""Right site and board files: every key arrives, every default holds, everything is documented."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from gateway.config.board import load_board
from gateway.config.reader import Problems
from gateway.config.site import (
    Input,
    MqttLink,
    NetPort,
    Rs485,
    SerialPort,
    Site,
    Stage,
    Tag,
    Tls,
    Will,
    parse_site,
)

EVERYTHING = """\
[site]
name = "all"
[port.net]
kind = "tcp"
host = "h"
port = 1
connect_timeout_s = 2
keepalive_s = 0
[port.datagrams]
kind = "udp"
host = "h"
port = 65535
[port.line]
kind = "serial"
device = "rs485-1"
baudrate = 115200
data_bits = 7
parity = "mark"
stop_bits = 1.5
flow = "rtscts"
[port.line.rs485]
rts_level_for_tx = false
rts_level_for_rx = true
loopback = true
delay_before_tx_s = 0.5
delay_before_rx_s = 0
[stage.a]
plugin = "p"
ports = ["net", "datagrams", "line"]
inputs = ["a", { stage = "b", policy = "drop-oldest" }]
commands = ["b"]
config = { x = 1 }
ring = { bytes = 4096 }
limits = { deadline_us = 100, memory_bytes = 65536 }
[stage.b]
plugin = "q"
[link.l]
kind = "mqtt"
inputs = ["a"]
host = "h"
port = 1884
version = 4
qos = 0
client_id = "c"
keepalive_s = 5
username = "u"
password = "p"
inflight_max = 1
connect_timeout_s = 0.5
tls = { ca = "ca.pem", cert = "c.pem", key = "k.pem", insecure = true }
will = { topic = "t", payload = "p", qos = 0, retain = true }
[[tag]]
name = "n"
unit = "u"
from = "b"
q = { y = 2 }
"""

LEAST = """\
[site]
name = "least"
[port.net]
kind = "tcp"
host = "h"
port = 1
[port.line]
kind = "serial"
device = "d"
baudrate = 9600
rs485 = {}
[stage.a]
plugin = "p"
[link.plain]
kind = "mqtt"
inputs = ["a"]
host = "h"
[link.secret]
kind = "mqtt"
inputs = ["a"]
host = "h"
tls = {}
will = { topic = "t" }
[[tag]]
name = "n"
from = "a"
"""


def parse(text: str, folder: Path) -> Site:
    for name in ("ca.pem", "c.pem", "k.pem"):
        (folder / name).touch()
    problems = Problems()
    site = parse_site(text, "site.toml", folder, problems)
    problems.raise_any()
    assert site is not None
    return site


def test_every_key_arrives(tmp_path: Path) -> None:
    site = parse(EVERYTHING, tmp_path)
    assert dict(site.ports) == {
        "net": NetPort("net", "tcp", "h", 1, 2.0, 0),
        "datagrams": NetPort("datagrams", "udp", "h", 65535, 5.0, 0),
        "line": SerialPort(
            "line", "serial", "rs485-1", 115200, 7, "mark", 1.5, "rtscts", Rs485(False, True, True, 0.5, 0.0)
        ),
    }
    assert site.stages["a"] == Stage(
        "a",
        "p",
        ("net", "datagrams", "line"),
        (Input("a", "block"), Input("b", "drop-oldest")),
        ("b",),
        {"x": 1},
        4096,
        100,
        65536,
    )
    assert site.links["l"] == MqttLink(
        name="l",
        inputs=(Input("a", "drop-oldest"),),
        host="h",
        port=1884,
        version=4,
        qos=0,
        client_id="c",
        keepalive_s=5,
        username="u",
        password="p",
        password_file="",
        tls=Tls(str(tmp_path / "ca.pem"), str(tmp_path / "c.pem"), str(tmp_path / "k.pem"), True),
        will=Will("t", "p", 0, True),
        session_expiry_s=0,
        inflight_max=1,
        connect_timeout_s=0.5,
    )
    assert site.tags == (Tag(0, "n", "u", "b", {"q": {"y": 2}}),)


def test_defaults(tmp_path: Path) -> None:
    site = parse(LEAST, tmp_path)
    assert site.ports["net"] == NetPort("net", "tcp", "h", 1, 5.0, 30)
    assert site.ports["line"] == SerialPort(
        "line", "serial", "d", 9600, 8, "none", 1, "none", Rs485(True, False, False, None, None)
    )
    assert site.stages["a"] == Stage("a", "p", (), (), (), {}, 65536, None, None)
    plain, secret = site.links["plain"], site.links["secret"]
    assert (plain.port, plain.version, plain.qos, plain.client_id) == (1883, 5, 1, "penstock-least-plain")
    assert (plain.keepalive_s, plain.inflight_max, plain.connect_timeout_s, plain.tls) == (30, 20, 5.0, None)
    assert (secret.port, secret.tls, secret.will) == (8883, Tls("", "", "", False), Will("t", "", 1, False))
    assert site.tags == (Tag(0, "n", "", "a", {}),)


def test_boards_name_devices(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text('[board]\nname = "b"\n[port.a]\ndevice = "/dev/a"\n[port."b c"]\ndevice = "/dev/b"\n')
    board = load_board(path)
    assert (board.name, board.description, dict(board.devices)) == ("b", "", {"a": "/dev/a", "b c": "/dev/b"})


def test_the_boards_of_the_project_are_right(root: Path) -> None:
    boards = sorted((root / "board-configs").glob("*.toml"))
    assert boards
    assert all(load_board(path).devices for path in boards)


@pytest.mark.parametrize("kind", [NetPort, SerialPort, Rs485, Tls, Will, MqttLink, Stage])
def test_every_key_is_documented(root: Path, kind: type) -> None:
    text = (root / "docs" / "site-file.md").read_text("utf-8")
    renamed = {"name": "NAME", "ring_bytes": "bytes"}  # fields that are not keys of the same name
    assert [one.name for one in fields(kind) if renamed.get(one.name, one.name) not in text] == []
