"""The site file: ports, stages, links and tags. TOML in, frozen dataclasses out; docs/site-file.md describes it.

``read_site`` checks what the file alone can tell: keys, types, ranges, names, references between its tables. What needs
manifests or the board is checked by ``gateway.graph``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from gateway.config.reader import Problems, Source, Table, nearest, parse_table, read_table, show

T = TypeVar("T")
Policy = Literal["block", "drop-oldest"]

PARITIES = ("none", "even", "odd", "mark", "space")
FLOWS = ("none", "rtscts", "xonxoff", "dsrdtr")
POLICIES = ("block", "drop-oldest")
BAUDRATE_MAX = 4_000_000
RING_BYTES_DEFAULT = 64 * 1024
RING_BYTES_MIN = 4096
RING_BYTES_MAX = 16 * 1024 * 1024
STAGE_PORTS_MAX = 8
STAGE_INPUTS_MAX = 16
NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
NAME_RULE = "a name of 1 to 32 characters a-z 0-9 _ -, a letter first"


@dataclass(frozen=True, slots=True)
class NetPort:
    """A TCP or UDP connection to a field device. ``keepalive_s`` 0: no TCP keepalive."""

    name: str
    kind: Literal["tcp", "udp"]
    host: str
    port: int
    connect_timeout_s: float
    keepalive_s: int


@dataclass(frozen=True, slots=True)
class Rs485:
    """RS-485 direction control by the driver; delays in seconds, None: the driver's default."""

    rts_level_for_tx: bool
    rts_level_for_rx: bool
    loopback: bool
    delay_before_tx_s: float | None
    delay_before_rx_s: float | None


@dataclass(frozen=True, slots=True)
class SerialPort:
    """A serial line. ``device`` is a port name of the board file."""

    name: str
    kind: Literal["serial"]
    device: str
    baudrate: int
    data_bits: int
    parity: str
    stop_bits: float
    flow: str
    rs485: Rs485 | None


Port = NetPort | SerialPort


@dataclass(frozen=True, slots=True)
class Input:
    """Where a stage or link reads from, and what happens when it is too slow."""

    stage: str
    policy: Policy


@dataclass(frozen=True, slots=True)
class Stage:
    """One instance of a plugin. Limits are None where the manifest's apply; ``commands``: stages it takes orders of."""

    name: str
    plugin: str
    ports: tuple[str, ...]
    inputs: tuple[Input, ...]
    commands: tuple[str, ...]
    config: Mapping[str, object]
    ring_bytes: int
    deadline_us: int | None
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class Tls:
    """Files are absolute paths or empty; ``insecure`` skips the check of the broker's host name and chain."""

    ca: str
    cert: str
    key: str
    insecure: bool


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes when the gateway vanishes."""

    topic: str
    payload: str
    qos: int
    retain: bool


@dataclass(frozen=True, slots=True)
class MqttLink:
    """An MQTT broker to publish to. ``qos`` is the most that is used, whatever the payload asks for.

    ``password_file`` is an absolute path or empty. ``session_expiry_s`` is for version 5 only.
    """

    name: str
    inputs: tuple[Input, ...]
    host: str
    port: int
    version: int
    qos: int
    client_id: str
    keepalive_s: int
    username: str
    password: str
    password_file: str
    tls: Tls | None
    will: Will | None
    session_expiry_s: int
    inflight_max: int
    connect_timeout_s: float


@dataclass(frozen=True, slots=True)
class Tag:
    """One measured value. ``plugins`` holds the settings per plugin name; ``index`` its place in the tag table."""

    index: int
    name: str
    unit: str
    stage: str
    plugins: Mapping[str, Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Site:
    """A whole site file. ``declared`` has every name the file defines, also of tables with mistakes."""

    source: Source
    folder: Path
    name: str
    ports: Mapping[str, Port]
    stages: Mapping[str, Stage]
    links: Mapping[str, MqttLink]
    tags: tuple[Tag, ...]


def load_site(path: Path) -> Site:
    """Read ``path`` and check all that needs no other file. Raises ConfigError (all mistakes at once)."""
    problems = Problems()
    site = read_site(path, problems)
    problems.raise_any()
    assert site is not None, "a file that cannot be read is a problem"
    return site


def read_site(path: Path, problems: Problems) -> Site | None:
    """Like load_site, but notes mistakes in ``problems`` and goes on; None when there is nothing to go on with."""
    root = read_table(path, problems)
    return None if root is None else _site(root, path.parent)


def parse_site(text: str, file: str, folder: Path, problems: Problems) -> Site | None:
    """Like read_site for a ``text`` in memory; ``folder`` is what relative paths in it are relative to."""
    root = parse_table(text, file, problems)
    return None if root is None else _site(root, folder)


def _site(root: Table, folder: Path) -> Site:
    head = root.required_table("site")
    name = head.text("name")
    head.finish()
    ports = _named(root, "port", _port)
    stages = _named(root, "stage", _stage)
    links = _named(root, "link", lambda link, table: _mqtt(link, table, name, folder))
    tags = tuple(_tag(index, table) for index, table in enumerate(root.table_array("tag")))
    root.finish()
    site = Site(root.source, folder, name, ports, stages, links, tags)
    _check_references(root, site)
    _check_tags(root, site)
    return site


def _named(root: Table, section: str, read: Callable[[str, Table], T]) -> dict[str, T]:
    found = {}
    for name, table in root.tables(section):
        if not NAME.fullmatch(name):
            table.problem("", f"found {show(name)}, allowed: {NAME_RULE}")
        found[name] = read(name, table)
        table.finish()
    return found


# ---- ports --------------------------------------------------------------------------------------------------------


def _port(name: str, table: Table) -> Port:
    kind = table.text("kind", choices=("tcp", "udp", "serial"))
    if kind == "serial":
        return _serial_port(name, table)
    if kind not in ("tcp", "udp"):
        table.asked.update(table.values)  # which keys are known depends on the kind
        return NetPort(name, "tcp", "", 1, 0.0, 0)
    host = table.text("host")
    port = table.integer("port", low=1, high=65535)
    keepalive_s = table.integer("keepalive_s", 30, low=0, high=32767, unit="s") if kind == "tcp" else 0
    timeout_s = table.number("connect_timeout_s", 5.0, low=0.1, high=120, unit="s")
    return NetPort(name, kind, host, port, timeout_s, keepalive_s)


def _serial_port(name: str, table: Table) -> SerialPort:
    rs485 = table.table("rs485")
    return SerialPort(
        name=name,
        kind="serial",
        device=table.text("device"),
        baudrate=table.integer("baudrate", low=50, high=BAUDRATE_MAX, unit="baud"),
        data_bits=table.choice("data_bits", 8, (5, 6, 7, 8)),
        parity=table.text("parity", "none", choices=PARITIES),
        stop_bits=table.choice("stop_bits", 1, (1, 1.5, 2)),
        flow=table.text("flow", "none", choices=FLOWS),
        rs485=None if rs485 is None else _rs485(rs485),
    )


def _rs485(table: Table) -> Rs485:
    rs485 = Rs485(
        rts_level_for_tx=table.boolean("rts_level_for_tx", True),
        rts_level_for_rx=table.boolean("rts_level_for_rx", False),
        loopback=table.boolean("loopback", False),
        delay_before_tx_s=table.number("delay_before_tx_s", None, low=0, high=1, unit="s"),
        delay_before_rx_s=table.number("delay_before_rx_s", None, low=0, high=1, unit="s"),
    )
    table.finish()
    return rs485


# ---- stages -------------------------------------------------------------------------------------------------------


def _stage(name: str, table: Table) -> Stage:
    deadline_us = memory_bytes = None
    limits = table.table("limits")
    if limits is not None:
        deadline_us = limits.integer("deadline_us", None, low=100, high=60_000_000, unit="us")
        memory_bytes = limits.integer("memory_bytes", None, low=65536, high=1 << 32, unit="bytes")
        limits.finish()
    ring_bytes = RING_BYTES_DEFAULT
    ring = table.table("ring")
    if ring is not None:
        ring_bytes = ring.integer("bytes", ring_bytes, low=RING_BYTES_MIN, high=RING_BYTES_MAX, unit="bytes")
        ring.finish()
    return Stage(
        name=name,
        plugin=table.text("plugin"),
        ports=_some(table, "ports", STAGE_PORTS_MAX, table.texts("ports", [])),
        inputs=_inputs(table, default=[], policy="block"),
        commands=_some(table, "commands", STAGE_INPUTS_MAX, table.texts("commands", [])),
        config=table.raw("config"),
        ring_bytes=ring_bytes,
        deadline_us=deadline_us,
        memory_bytes=memory_bytes,
    )


def _some(table: Table, name: str, most: int, found: tuple[str, ...]) -> tuple[str, ...]:
    for index, one in enumerate(found):
        if one in found[:index]:
            table.problem(f"{name}[{index}]", f"{show(one)} is there twice")
    if len(found) > most:
        table.problem(name, f"found {len(found)}, allowed: at most {most}")
    return found


def _inputs(table: Table, *, default: Any, policy: Policy) -> tuple[Input, ...]:
    """``inputs``: stage names or ``{ stage, policy }``; ``policy`` is what a bare name means."""
    found = []
    for index, item in enumerate(table.items("inputs", default)):
        where = f"inputs[{index}]"
        if isinstance(item, str) and item:
            found.append(Input(item, policy))
        elif isinstance(item, dict):
            inner = Table(table.source, table.problems, table.key(where), item)
            found.append(Input(inner.text("stage"), inner.text("policy", policy, choices=POLICIES)))
            inner.finish()
        else:
            table.problem(where, f"found {show(item)}, allowed: a stage name or a table with stage and policy")
    _some(table, "inputs", STAGE_INPUTS_MAX, tuple(one.stage for one in found))
    return tuple(found)


# ---- links --------------------------------------------------------------------------------------------------------


def _mqtt(name: str, table: Table, site_name: str, folder: Path) -> MqttLink:
    table.text("kind", choices=("mqtt",))
    version = table.choice("version", 5, (4, 5))
    tls = table.table("tls")
    will = table.table("will")
    link = MqttLink(
        name=name,
        inputs=_inputs(table, default=_required_inputs(table), policy="drop-oldest"),
        host=table.text("host"),
        port=table.integer("port", 1883 if tls is None else 8883, low=1, high=65535),
        version=version,
        qos=table.choice("qos", 1, (0, 1)),
        client_id=table.text("client_id", f"penstock-{site_name}-{name}"),
        keepalive_s=table.integer("keepalive_s", 30, low=5, high=65535, unit="s"),
        username=table.text("username", ""),
        password=table.text("password", "", empty=True),
        password_file=_file(table, "password_file", folder),
        tls=None if tls is None else _tls(tls, folder),
        will=None if will is None else _will(will),
        session_expiry_s=table.integer("session_expiry_s", 0, low=0, high=0xFFFFFFFE, unit="s"),
        inflight_max=table.integer("inflight_max", 20, low=1, high=65535),
        connect_timeout_s=table.number("connect_timeout_s", 5.0, low=0.1, high=120, unit="s"),
    )
    _check_mqtt(link, table)
    return link


def _required_inputs(table: Table) -> list[Any]:
    if not table.has("inputs"):
        table.problem("inputs", "missing; an array of stage names is required")
    return []


def _check_mqtt(link: MqttLink, table: Table) -> None:
    if link.version == 4 and table.has("session_expiry_s"):
        table.problem("session_expiry_s", "found with version = 4, allowed: only with version = 5")
    if table.has("password") and table.has("password_file"):
        table.problem("password_file", "found together with password, allowed: one of them")
    if (link.password or link.password_file) and not link.username:
        table.problem("username", "missing; a password needs a user name")
    if table.has("inputs") and not link.inputs and isinstance(table.values["inputs"], list):
        table.problem("inputs", "found none, allowed: at least one stage name")
    for index, one in enumerate(link.inputs):
        if one.policy == "block":
            table.problem(
                f"inputs[{index}].policy",
                'found "block", allowed: "drop-oldest": field buses must go on while the broker is away',
            )


def _file(table: Table, name: str, folder: Path) -> str:
    """An existing file, given relative to the site file; as an absolute path, or "" when absent."""
    text: str = table.text(name, "")
    if not text:
        return ""
    path = (folder / text).absolute()
    if not path.is_file():
        table.problem(name, f"found {show(text)}, which is not a file ({path})")
    return str(path)


def _tls(table: Table, folder: Path) -> Tls:
    tls = Tls(
        ca=_file(table, "ca", folder),
        cert=_file(table, "cert", folder),
        key=_file(table, "key", folder),
        insecure=table.boolean("insecure", False),
    )
    if bool(tls.cert) != bool(tls.key):
        missing = "key" if tls.cert else "cert"
        table.problem(missing, "missing; a client certificate needs both cert and key")
    table.finish()
    return tls


def _will(table: Table) -> Will:
    will = Will(
        topic=_topic(table, "topic"),
        payload=table.text("payload", "", empty=True),
        qos=table.choice("qos", 1, (0, 1)),
        retain=table.boolean("retain", False),
    )
    table.finish()
    return will


def _topic(table: Table, name: str) -> str:
    topic: str = table.text(name)
    if "#" in topic or "+" in topic or "\0" in topic:
        table.problem(name, f"found {show(topic)}, allowed: a topic without the wildcards # and +")
    return topic


# ---- tags and references ------------------------------------------------------------------------------------------


def _tag(index: int, table: Table) -> Tag:
    name, unit, stage = table.text("name"), table.text("unit", "", empty=True), table.text("from")
    plugins = {key: table.raw(key) for key, value in table.values.items() if isinstance(value, dict)}
    table.finish()
    return Tag(index, name, unit, stage, plugins)


def _check_references(root: Table, site: Site) -> None:
    users: dict[str, str] = {}
    for stage in site.stages.values():
        key = f"stage.{stage.name}"
        for index, port in enumerate(stage.ports):
            where = f"{key}.ports[{index}]"
            _known(root, where, port, site.ports, "port")
            if users.setdefault(port, stage.name) != stage.name:
                root.problem(where, f'port "{port}" is used by stage "{users[port]}" already; a port has one user')
        for index, one in enumerate(stage.inputs):
            _known(root, f"{key}.inputs[{index}]", one.stage, site.stages, "stage")
        for index, source in enumerate(stage.commands):
            _known(root, f"{key}.commands[{index}]", source, site.stages, "stage")
        if len(stage.inputs) + len(stage.commands) > STAGE_INPUTS_MAX:
            root.problem(f"{key}.commands", f"with inputs more than {STAGE_INPUTS_MAX} together")
    for link in site.links.values():
        for index, one in enumerate(link.inputs):
            _known(root, f"link.{link.name}.inputs[{index}]", one.stage, site.stages, "stage")
    if not site.stages:
        root.problem("stage", "missing; a site has at least one stage, written [stage.NAME]")


def _known(root: Table, key: str, name: str, known: Iterable[str], noun: str) -> None:
    if name and name not in known:
        root.problem(key, f"found {show(name)}, which is no {noun} of this site; {nearest(name, known)}")


def _check_tags(root: Table, site: Site) -> None:
    first: dict[str, int] = {}
    for tag in site.tags:
        key = f"tag[{tag.index}]"
        _known(root, f"{key}.from", tag.stage, site.stages, "stage")
        earlier = first.setdefault(tag.name, tag.index)
        if tag.name and earlier != tag.index:
            root.problem(f"{key}.name", f'found "{tag.name}", the name of tag[{earlier}] already; names are unique')
