"""Site files, put together from parts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

HEAD = '[site]\nname = "peers"\n'
TOPIC = "peers/data"


def _table(settings: Mapping[str, object]) -> str:
    return "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in settings.items()) + " }"


def tcp_port(name: str, number: int) -> str:
    """A TCP port to loopback."""
    return f'[port.{name}]\nkind = "tcp"\nhost = "127.0.0.1"\nport = {number}\n'


def serial_port(name: str, baudrate: int = 115200) -> str:
    """A serial port, named on the board like here."""
    return f'[port.{name}]\nkind = "serial"\ndevice = "{name}"\nbaudrate = {baudrate}\n'


def driver(name: str, **config: object) -> str:
    """A Modbus stage on the port of the same name."""
    return f'[stage.{name}]\nplugin = "modbus"\nports = ["{name}"]\nconfig = {_table(config)}\n'


def stage(name: str, plugin: str, inputs: Iterable[str]) -> str:
    """A stage without settings."""
    return f'[stage.{name}]\nplugin = "{plugin}"\ninputs = {json.dumps(list(inputs))}\n'


def uplink(
    inputs: Iterable[str],
    broker_port: int,
    *,
    ring_bytes: int = 4 << 20,
    batch: Mapping[str, object] | None = None,
    **link: object,
) -> str:
    """``json_maker`` on ``inputs`` and an MQTT link behind it. ``batch``: settings of json_maker."""
    config = {"topic": TOPIC, "batch_max": 256, "batch_ms": 20, **(batch or {})}
    settings = "".join(f"{key} = {json.dumps(value)}\n" for key, value in link.items())
    return (
        f'[stage.json]\nplugin = "json_maker"\ninputs = {json.dumps(list(inputs))}\nconfig = {_table(config)}\n'
        f"ring = {{ bytes = {ring_bytes} }}\n"
        f'[link.cloud]\nkind = "mqtt"\ninputs = ["json"]\nhost = "127.0.0.1"\nport = {broker_port}\n{settings}'
    )


def tag(name: str, source: str, **modbus: object) -> str:
    """A tag with its Modbus settings."""
    return f'[[tag]]\nname = "{name}"\nfrom = "{source}"\nmodbus = {_table(modbus)}\n'
