"""A plugin's test vectors: ``vectors/*.toml`` compiled to the line script that the runners execute.

A file has ``[config]`` and ``[[tag]]`` as a site has them (tags with ``name``, ``unit`` and the plugin's table), and
``[[case]]`` with ``name``, ``steps`` and, if wanted, ``config`` (merged over that of the file), ``tags`` (instead of
those of the file), ``facts``, ``inputs``, ``ring_bytes``, ``commands = false`` (nobody gives or takes commands; else
there is one ring for them behind the others) and ``refused`` (text of the log with which the plugin must refuse to
start). Each step is a table with one action; bytes are written in hex, blanks do not matter:

    { port_up = 0 }  { port_down = 0 }  { rx = "01 03", port = 0 }  { expect_tx = "01 03 00" }  { expect_tx = "" }
    { advance_ms = 100 }  { advance_us = 50 }  { in = [RECORD, ...], ring = 0 }  { expect_records = [RECORD, ...] }
    { expect_log = "text" }  { expect_trap = "text" }  { expect_metric = { name = 1 } }

RECORD is ``{ tag, seq, value, quality, type, kind, at_us, repeat, tags }`` (``repeat`` records that count up ``seq``,
``tags`` that count up ``tag``) or, with ``topic``, a payload ``{ topic, body, seq, qos, retain, at_us }``. ``at_us``
counts from the start of the case; without it a record is of the present moment. A tag with ``repeat`` stands for that
many equal ones. What a case sends or writes and does not expect fails the case.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.config.manifest import Manifest, TagSettings, load_manifest, pack_config, unknown_key
from gateway.config.reader import Problems, Table, read_table
from gateway.errors import ConfigError, PluginError, RuntimeFault
from gateway.graph import COMMAND_RING_BYTES
from gateway.record import HEAD, SCHEMA_NAMES, Kind, Payload, Quality, Schema, ValueType, encode_payload
from gateway.store import Plugin
from gateway.wasm import Engine, Module

START_NS = 1_700_000_000_000_000_000
RECORD_KEYS = ("tag", "seq", "value", "quality", "type", "kind", "at_us", "repeat", "tags")
TAG_KEYS = ("name", "unit", "index", "repeat")
PAYLOAD_KEYS = ("topic", "body", "seq", "qos", "retain", "at_us")
SCRIPT_BYTES_MAX = 16 << 20


@dataclass(slots=True)
class _Case:
    """A case being compiled. ``now_us`` is the virtual time since its start."""

    manifest: Manifest
    file: str
    key: str
    lines: list[str] = field(default_factory=list)
    now_us: int = 0
    has_command_output: bool = False

    def fail(self, what: str, message: str) -> ConfigError:
        return ConfigError(self.file, f"{self.key}{what}", message)


def compile_vectors(folder: Path) -> str:
    """The script of all vectors in ``folder``/vectors. Raises ConfigError for the first mistake."""
    manifest = load_manifest(folder / "plugin.toml")
    lines: list[str] = []
    for path in sorted((folder / "vectors").glob("*.toml")):
        problems = Problems()
        root = read_table(path, problems)
        problems.raise_any()
        assert root is not None, "a file that cannot be read is a problem"
        lines += _compile_file(manifest, root, path.stem)
    return "".join(f"{line}\n" for line in lines)


def _compile_file(manifest: Manifest, root: Table, stem: str) -> list[str]:
    config, tags = root.raw("config"), root.items("tag", [])
    lines: list[str] = []
    for table in root.table_array("case"):
        name = table.text("name")
        settings = {**config, **table.raw("config")}
        case = _Case(manifest, root.source.file, f'case "{name}"')
        case.lines.append(f"case {stem}: {name}")
        _compile_setup(case, table, settings, table.items("tags", tags))
        for index, step in enumerate(table.items("steps", [])):
            _compile_step(case, index, step)
        _expect_nothing_left(case, table)
        table.finish()
        lines += case.lines
    root.finish()
    root.problems.raise_any()
    return lines


def _compile_setup(case: _Case, table: Table, settings: Mapping[str, object], tags: Sequence[Any]) -> None:
    manifest = case.manifest
    inputs = table.integer("inputs", 1, low=1, high=16) if manifest.input != "none" else 0
    ring_bytes = table.integer("ring_bytes", 65536, low=4096, high=1 << 24)
    outputs = [SCHEMA_NAMES[manifest.output]] if manifest.output != "none" else []
    has_commands = table.boolean("commands", True)
    case.has_command_output = has_commands and manifest.gives_commands
    outputs += [Schema.COMMANDS] if case.has_command_output else []
    refused = table.text("refused", "")
    facts, key = table.raw("facts"), f"{case.key}.config"
    packed = pack_config(manifest, settings, _tag_settings(case, tags), file=case.file, key=key, facts=facts)
    case.lines += [
        f"grants {manifest.hal_mask:x}",
        f"memory {manifest.limits.memory_bytes}",
        f"deadline {manifest.limits.deadline_us}",
        f"ports {manifest.ports}",
        *(f"in {ring} {SCHEMA_NAMES[manifest.input]} {ring_bytes}" for ring in range(inputs)),
        *([f"in {inputs} {Schema.COMMANDS} {COMMAND_RING_BYTES}"] if has_commands and manifest.takes_commands else []),
        *(f"out {ring} {schema} {ring_bytes}" for ring, schema in enumerate(outputs)),
        f"config {packed.hex()}",
        f"clock {START_NS}",
    ]
    case.lines += [f"refuse {refused}"] if refused else ["start"]


def _tag_settings(case: _Case, tags: Sequence[Any]) -> list[TagSettings]:
    plugin = case.manifest.name
    found: list[TagSettings] = []
    for position, tag in enumerate(tags):
        for key in tag:
            if key not in (*TAG_KEYS, plugin):
                raise case.fail(f".tag[{position}].{key}", unknown_key(key, (*TAG_KEYS, plugin)))
        for _ in range(tag.get("repeat", 1)):
            index = tag.get("index", len(found))
            found.append(TagSettings(index, tag["name"], tag.get("unit", ""), tag.get(plugin, {})))
    return found


def _expect_nothing_left(case: _Case, table: Table) -> None:
    if table.has("refused"):
        return
    case.lines += [f"tx {port} -" for port in range(case.manifest.ports)]
    outputs = (case.manifest.output != "none") + case.has_command_output
    case.lines += [f"out {ring} -" for ring in range(outputs)]


# ---- steps --------------------------------------------------------------------------------------------------------


def _compile_step(case: _Case, index: int, step: Mapping[str, Any]) -> None:
    where = f".steps[{index}]"
    actions = [key for key in step if key in ACTIONS]
    extra = [key for key in step if key not in ACTIONS and key not in ("port", "ring")]
    if extra:
        raise case.fail(where, f"{extra[0]}: {unknown_key(extra[0], [*ACTIONS, 'port', 'ring'])}")
    if len(actions) != 1:
        raise case.fail(where, f"found {len(actions)} actions, allowed: one")
    try:
        ACTIONS[actions[0]](case, step[actions[0]], step)
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise case.fail(f"{where}.{actions[0]}", f"{type(error).__name__}: {error}") from None


def _port_up(case: _Case, value: Any, _step: Mapping[str, Any]) -> None:
    case.lines.append(f"port {int(value)} up")


def _port_down(case: _Case, value: Any, _step: Mapping[str, Any]) -> None:
    case.lines.append(f"port {int(value)} down")


def _rx(case: _Case, value: Any, step: Mapping[str, Any]) -> None:
    case.lines.append(f"rx {step.get('port', 0)} {bytes.fromhex(value).hex()}")


def _expect_tx(case: _Case, value: Any, step: Mapping[str, Any]) -> None:
    case.lines.append(f"tx {step.get('port', 0)} {bytes.fromhex(value).hex() or '-'}")


def _advance_us(case: _Case, value: Any, _step: Mapping[str, Any]) -> None:
    case.now_us += int(value)
    case.lines.append(f"advance {int(value)}")


def _advance_ms(case: _Case, value: Any, step: Mapping[str, Any]) -> None:
    _advance_us(case, int(value) * 1000, step)


def _in(case: _Case, value: Any, step: Mapping[str, Any]) -> None:
    records = b"".join(_record(case, record) for record in value)
    case.lines.append(f"in {step.get('ring', 0)} {records.hex()}")


def _expect_records(case: _Case, value: Any, step: Mapping[str, Any]) -> None:
    records = b"".join(_record(case, record) for record in value)
    case.lines.append(f"out {step.get('ring', 0)} {records.hex() or '-'}")


def _expect_log(case: _Case, value: Any, _step: Mapping[str, Any]) -> None:
    case.lines.append(f"log {value}")


def _expect_trap(case: _Case, value: Any, _step: Mapping[str, Any]) -> None:
    case.lines.append(f"trap {value}")


def _expect_metric(case: _Case, value: Any, _step: Mapping[str, Any]) -> None:
    case.lines += [f"metric {name} {int(number)}" for name, number in value.items()]


ACTIONS = {
    "port_up": _port_up,
    "port_down": _port_down,
    "rx": _rx,
    "expect_tx": _expect_tx,
    "advance_us": _advance_us,
    "advance_ms": _advance_ms,
    "in": _in,
    "expect_records": _expect_records,
    "expect_log": _expect_log,
    "expect_trap": _expect_trap,
    "expect_metric": _expect_metric,
}

_FORMATS = {"bool": "<?7x", "i64": "<q", "u64": "<Q", "f64": "<d", "none": "<8x"}


def _record(case: _Case, record: Mapping[str, Any]) -> bytes:
    keys = PAYLOAD_KEYS if "topic" in record else RECORD_KEYS
    for key in record:
        if key not in keys:
            raise ValueError(f"{key}: {unknown_key(key, keys)}")
    time_ns = START_NS + record.get("at_us", case.now_us) * 1000
    if "topic" not in record:
        seqs = range(record["seq"], record["seq"] + record.get("repeat", 1))
        tags = range(record["tag"], record["tag"] + record.get("tags", 1))
        return b"".join(encode_sample(record, tag, seq, time_ns) for seq in seqs for tag in tags)
    body = record["body"].encode()
    payload = Payload(record["topic"], body, record.get("qos", 1), record.get("retain", False), record["seq"], time_ns)
    return encode_payload(payload)


def encode_sample(record: Mapping[str, Any], tag: int, seq: int, time_ns: int) -> bytes:
    """The bytes of one record; ``record`` gives value, type, quality and kind as a RECORD of a vector does."""
    value: Any = record.get("value")
    type_name = record.get("type", _type_name(value))
    kind = Kind[record.get("kind", "sample").upper()]
    quality = Quality[record.get("quality", "good").upper()]
    text = b""
    if type_name == "bytes":
        text = bytes.fromhex(value["hex"]) if isinstance(value, Mapping) else value.encode()
        raw = struct.pack("<IHBB", len(text), 0, 0, 0)
    else:
        raw = struct.pack(_FORMATS[type_name], *([] if type_name == "none" else [value]))
    text += bytes(-len(text) % 8)
    value_type = ValueType[type_name.upper()]
    return HEAD.pack(HEAD.size + len(text), kind, quality, value_type, tag, seq, time_ns, raw) + text


def _type_name(value: object) -> str:
    for kind, name in ((bool, "bool"), (int, "i64"), (float, "f64"), ((str, Mapping), "bytes")):
        if isinstance(value, kind):
            return name
    return "none"


# ---- running ------------------------------------------------------------------------------------------------------

SECTION = "penstock.vectors"  # the custom section that holds the compiled vectors, compressed


def packed(folder: Path) -> bytes | None:
    """The contents of SECTION for the plugin in ``folder``; None when it has no vectors. Raises ConfigError."""
    script = compile_vectors(folder)
    return zlib.compress(script.encode(), 9) if script else None


def run_vectors(folder: Path, module: Path) -> str:
    """Run the vectors of the plugin in ``folder`` on ``module`` as they are and byte by byte; returns what to print.

    Raises PluginError for the first case that fails.
    """
    script = compile_vectors(folder)
    with Engine() as engine, Module(engine, module.stem, module.read_bytes()) as loaded:
        return "".join(loaded.run_vectors(script, "vectors", bytewise=bytewise) for bytewise in (False, True))


def check_vectors(plugin: Plugin) -> None:
    """Run what a plugin brings along: the vectors in its module, else those beside its plugin.toml, else none.

    Raises PluginError for the first case that fails, or for contents that are not what ``packed`` makes.
    """
    name = f'plugin "{plugin.manifest.name}"'
    try:
        with Engine() as engine, Module(engine, name, plugin.read()) as module:
            inside, folder = module.custom(SECTION), Path(plugin.manifest.file).parent
            if inside is not None:
                module.run_vectors(_unpacked(inside, name), "vectors")
            elif (folder / "vectors").is_dir():
                module.run_vectors(compile_vectors(folder), "vectors")
    except RuntimeFault as fault:
        raise PluginError(str(fault)) from None


def _unpacked(data: bytes, name: str) -> str:
    unzip = zlib.decompressobj()
    try:
        script = unzip.decompress(data, SCRIPT_BYTES_MAX)
        if unzip.eof:
            return script.decode()
    except (zlib.error, UnicodeDecodeError):
        pass
    raise PluginError(f"{name}: its vectors are damaged, or larger than {SCRIPT_BYTES_MAX} bytes")
