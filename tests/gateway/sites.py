"""A small valid site with a board and plugins of its own, to break in tests one mistake at a time."""

from __future__ import annotations

from pathlib import Path

from tests.gateway.modules import module

SITE = """\
[site]
name = "works"

[port.plc]
kind = "tcp"
host = "10.0.0.7"
port = 502

[port.bus]
kind = "serial"
device = "rs485-1"
baudrate = 19200
rs485 = { delay_before_tx_s = 0.001 }

[stage.plc]
plugin = "fieldbus"
ports = ["plc"]
config = { period_ms = 500, mode = "fast" }
limits = { deadline_us = 10000, memory_bytes = 65536 }

[stage.meters]
plugin = "fieldbus"
ports = ["bus"]
ring = { bytes = 8192 }

[stage.si]
plugin = "gain"
inputs = ["plc", { stage = "meters", policy = "block" }]

[stage.text]
plugin = "writer"
inputs = ["si"]
config = { topic = "works/data" }

[link.cloud]
kind = "mqtt"
inputs = ["text"]
host = "broker.example"
version = 5
will = { topic = "works/state", payload = "gone" }

[[tag]]
name = "boiler/temperature"
unit = "°C"
from = "plc"
fieldbus = { address = 7 }
gain = { factor = 0.1 }

[[tag]]
name = "tank/level"
from = "meters"
fieldbus = { address = 8 }
"""

BOARD = """\
[board]
name = "bench"
description = "two lines"

[port.rs485-1]
device = "/dev/ttyS1"

[port.rs485-2]
device = "/dev/ttyS2"
"""

_FIELDBUS = """\
name = "fieldbus"
version = "1.0.0"
abi = 1
kind = "driver"
summary = "reads numbers"
[capabilities]
hal = ["tx", "rx", "ring_out"]
ports = 1
bus = "modbus"
[limits]
memory_bytes = 131072
deadline_us = 20000
[rings]
in = "none"
out = "samples"
[config.period_ms]
type = "u32"
unit = "ms"
min = 10
max = 60000
default = 1000
doc = "time between two readings"
[config.mode]
type = "enum"
values = ["slow", "fast"]
default = "slow"
doc = "how"
[config.baudrate]
type = "u32"
source = "baudrate"
default = 9600
doc = "speed of the line"
[config.framing]
type = "enum"
values = ["tcp", "rtu"]
default = "tcp"
doc = "of requests"
[config.writes]
type = "str64"
default = ""
doc = "what may be written"
[tag.address]
type = "u16"
doc = "what is read"
"""

_GAIN = """\
name = "gain"
version = "1.0.0"
abi = 1
kind = "etl"
summary = "multiplies"
[capabilities]
hal = ["ring_in", "ring_out"]
[limits]
memory_bytes = 131072
deadline_us = 20000
[rings]
in = "samples"
out = "samples"
[tag.factor]
type = "f64"
default = 1.0
doc = "multiplied by"
"""

_WRITER = """\
name = "writer"
version = "1.0.0"
abi = 1
kind = "format"
summary = "writes text"
[capabilities]
hal = ["ring_in", "ring_out"]
[limits]
memory_bytes = 131072
deadline_us = 20000
[rings]
in = "samples"
out = "payloads"
[config.topic]
type = "str32"
doc = "topic of the payloads"
"""

MANIFESTS = {"fieldbus": _FIELDBUS, "gain": _GAIN, "writer": _WRITER}


def write(folder: Path, site: str = SITE, board: str = BOARD) -> tuple[Path, Path]:
    """Write site, board and plugins (that do nothing) below ``folder``; returns the paths of site and board."""
    for name, manifest in MANIFESTS.items():
        home = folder / "plugins" / name
        home.mkdir(parents=True, exist_ok=True)
        (home / "plugin.toml").write_text(manifest, encoding="utf-8")
        (home / f"{name}.wasm").write_bytes(module())
    site_path, board_path = folder / "site.toml", folder / "board.toml"
    site_path.write_text(site, encoding="utf-8")
    board_path.write_text(board, encoding="utf-8")
    return site_path, board_path
