"""``plugin.toml``: what a plugin is, may do and can be told; and its settings packed as the C structs it reads.

Normative text: docs/plugin-abi.md, "plugin.toml" and "Configuration block". Errors are ConfigErrors that name the file,
the key, what was found and what is allowed; all mistakes of one file are reported in one pass.
"""

from __future__ import annotations

import difflib
import math
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gateway.config.bus import BUSES, FRAMINGS
from gateway.config.reader import Problems, Table, nearest, parse_table, read_table, show
from gateway.errors import ConfigError, raise_config

ABI = 1
SECTION = "penstock.manifest"  # the custom section that holds plugin.toml, in modules that carry it
# The order is the bit order of WR_HAL_TABLE in runtime_c/include/wr.h; a test compares them.
HAL_NAMES = (
    "tx", "rx", "now", "timer", "config", "kv_get", "kv_put", "log", "metric", "ring_in", "ring_out", "port_state",
    "state_put", "state_get", "keep",
)  # fmt: skip
KINDS = ("driver", "etl", "format")
COMMANDS = ("none", "in", "out", "both")
RING_SCHEMAS = ("samples", "payloads", "commands", "none")
CONFIG_SOURCES = ("baudrate",)
TAG_SOURCES = ("name", "unit")
FLOAT_TYPES = ("f32", "f64")
PORTS_MAX = 8
STATE_BYTES_DEFAULT = 65536
STATE_BYTES_MAX = 1 << 24
KV_BYTES_DEFAULT = 4096
HEAD = struct.Struct("<IIII")  # config_bytes, tag_count, tag_bytes, reserved
STRUCT_ALIGN = 8

NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_VERSION = re.compile(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
C_WORDS = (
    "auto", "bool", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum",
    "extern", "float", "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short",
    "signed", "sizeof", "static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile",
    "while",
)  # fmt: skip
_STRING_TYPE = re.compile(r"str([1-9][0-9]{0,2})")

Value = bool | int | float | str


@dataclass(frozen=True, slots=True)
class ScalarType:
    """How a scalar field type is packed; ``low`` and ``high`` bound integers, both 0 otherwise."""

    code: str
    c_name: str
    low: int = 0
    high: int = 0

    @property
    def size(self) -> int:
        """Bytes, and also the alignment."""
        return struct.calcsize(self.code)


def _integers() -> Iterable[tuple[str, ScalarType]]:
    for bits, code in ((8, "b"), (16, "h"), (32, "i"), (64, "q")):
        yield f"u{bits}", ScalarType(code.upper(), f"uint{bits}_t", 0, (1 << bits) - 1)
        yield f"i{bits}", ScalarType(code, f"int{bits}_t", -(1 << bits - 1), (1 << bits - 1) - 1)


SCALAR_TYPES: dict[str, ScalarType] = {
    "bool": ScalarType("?", "bool"),
    "enum": ScalarType("B", "uint8_t"),
    "f32": ScalarType("f", "float"),
    "f64": ScalarType("d", "double"),
    **dict(_integers()),
    # A bit pattern, written signed or unsigned: -1 and 0xFFFFFFFFFFFFFFFF are the same.
    "bits64": ScalarType("Q", "uint64_t", -(1 << 63), (1 << 64) - 1),
    # Written as the name of a tag, packed as its index in the site's tag table.
    "tag": ScalarType("I", "uint32_t"),
}


@dataclass(frozen=True, slots=True)
class Field:
    """One member of a plugin's config or tag struct. ``minimum`` and ``maximum`` are in ``unit``."""

    name: str
    type: str
    default: Value | None = None
    optional: bool = False
    minimum: int | float | None = None
    maximum: int | float | None = None
    values: tuple[str, ...] = ()
    source: str = ""
    unit: str = ""
    doc: str = ""

    @property
    def text_bytes(self) -> int:
        """N of ``strN``, 0 for scalar types."""
        match = _STRING_TYPE.fullmatch(self.type)
        return int(match[1]) if match else 0

    @property
    def required(self) -> bool:
        """True when the site has to set it."""
        return self.default is None and not self.optional and not self.source


@dataclass(frozen=True, slots=True)
class Member:
    """One C struct member: a field, or the ``has_NAME`` flag of an optional one."""

    name: str
    field: Field
    is_flag: bool
    offset: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the members of a struct are; ``size`` is padded to 8."""

    members: tuple[Member, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What a stage of the plugin may use at most: linear memory without rings, time per entry point call, and what it
    may hand over to another version."""

    memory_bytes: int
    deadline_us: int
    state_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """A checked ``plugin.toml``. ``input`` and ``output`` are names of RING_SCHEMAS, ``kv_bytes`` bounds its values."""

    file: str
    name: str
    version: str
    kind: str
    summary: str
    hal: tuple[str, ...]
    ports: int
    limits: Limits
    input: str
    output: str
    config: tuple[Field, ...]
    tag: tuple[Field, ...]
    kv_bytes: int
    commands: str  # one of COMMANDS
    bus: str  # one of BUSES, or ""

    @property
    def takes_commands(self) -> bool:
        """It has inputs for commands behind its others."""
        return self.commands in ("in", "both")

    @property
    def gives_commands(self) -> bool:
        """It has an output for commands behind its other one."""
        return self.commands in ("out", "both")

    @property
    def bus_fields(self) -> tuple[Field, Field]:
        """``framing`` and ``writes`` of its config; only where there is a bus."""
        fields = {spec.name: spec for spec in self.config}
        return fields["framing"], fields["writes"]

    @property
    def hal_mask(self) -> int:
        """The granted HAL functions as the bits of ``wr_stage_config.hal_grants``."""
        return sum(1 << HAL_NAMES.index(name) for name in self.hal)


@dataclass(frozen=True, slots=True)
class TagSettings:
    """A tag that reaches a stage: its index in the site's tag table and what the site sets for this plugin there, in
    the tag's table ``table``; "": that of the plugin's name."""

    index: int
    name: str
    unit: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    table: str = ""


# ---- checking values ----------------------------------------------------------------------------------------------


def unknown_key(found: str, known: Sequence[str]) -> str:
    """The message for a key that nobody reads."""
    return f"unknown key; {nearest(found, known)}"


def _wrong(value: object, allowed: str) -> str:
    return f"found {show(value)}, allowed: {allowed}"


def choice_problem(value: object, allowed: Sequence[str]) -> str | None:
    """What is wrong with ``value`` as one of ``allowed``, or None."""
    if isinstance(value, str) and value in allowed:
        return None
    close = difflib.get_close_matches(value, allowed, n=1) if isinstance(value, str) else []
    hint = f"; did you mean {show(close[0])}?" if close else ""
    return _wrong(value, " or ".join(show(name) for name in allowed)) + hint


def _number_problem(value: object, noun: str, low: float | None, high: float | None, unit: str) -> str | None:
    is_number = isinstance(value, int if noun == "an integer" else (int, float)) and not isinstance(value, bool)
    suffix = f" {unit}" if unit else ""
    allowed = noun
    if low is not None and high is not None:
        allowed = f"{noun}, {low} to {high}{suffix}"
    elif low is not None or high is not None:
        allowed = f"{noun}, at least {low}{suffix}" if high is None else f"{noun}, at most {high}{suffix}"
    if not is_number or not math.isfinite(value):  # type: ignore[arg-type]
        return _wrong(value, allowed)
    number: int | float = value  # type: ignore[assignment]
    fits = (low is None or number >= low) and (high is None or number <= high)
    return None if fits else _wrong(value, allowed)


def _text_problem(value: object, most: int) -> str | None:
    if not isinstance(value, str) or "\0" in value:
        return _wrong(value, f"a string of at most {most} bytes")
    used = len(value.encode())
    return None if used <= most else f"found {show(value)} ({used} bytes), allowed: at most {most} bytes of UTF-8"


def value_problem(spec: Field, value: object) -> str | None:
    """What is wrong with ``value`` for the field ``spec``, or None when it fits."""
    if spec.text_bytes:
        return _text_problem(value, spec.text_bytes - 1)
    if spec.type == "enum":
        return choice_problem(value, spec.values)
    if spec.type == "bool":
        return None if isinstance(value, bool) else _wrong(value, "true or false")
    if spec.type == "tag":
        return None if isinstance(value, str) and value else _wrong(value, "the name of a tag")
    if spec.type in FLOAT_TYPES:
        return _number_problem(value, "a finite number", spec.minimum, spec.maximum, spec.unit)
    scalar = SCALAR_TYPES[spec.type]
    low = scalar.low if spec.minimum is None else spec.minimum
    high = scalar.high if spec.maximum is None else spec.maximum
    return _number_problem(value, "an integer", low, high, spec.unit)


# ---- reading plugin.toml ------------------------------------------------------------------------------------------


def load_manifest(path: Path) -> Manifest:
    """Read and check ``path``. Raises ConfigError."""
    problems = Problems()
    return _finished(read_table(path, problems), problems)


def parse_manifest(text: str, file: str) -> Manifest:
    """Check the manifest ``text``; ``file`` is what errors name. Raises ConfigError."""
    problems = Problems()
    return _finished(parse_table(text, file, problems), problems)


def _finished(root: Table | None, problems: Problems) -> Manifest:
    manifest = _manifest(root) if root is not None else None
    problems.raise_any()
    assert manifest is not None, "a file that cannot be read is a problem"
    return manifest


def _manifest(root: Table) -> Manifest:
    name = _pattern(root, "name", NAME)
    version = _pattern(root, "version", _VERSION)
    root.integer("abi", low=ABI, high=ABI)
    kind = root.text("kind", choices=KINDS)
    summary = root.text("summary")
    capabilities, limits, rings = (root.required_table(key) for key in ("capabilities", "limits", "rings"))
    hal = _names(capabilities, "hal", HAL_NAMES)
    ports = capabilities.integer("ports", 0, low=0, high=PORTS_MAX)
    kv_bytes = capabilities.integer("kv_bytes", KV_BYTES_DEFAULT, low=64, high=1 << 20, unit="bytes")
    if capabilities.has("kv_bytes") and "kv_put" not in hal:
        capabilities.problem("kv_bytes", "needs kv_put in capabilities.hal: nothing else uses it")
    memory_bytes = limits.integer("memory_bytes", low=1 << 16, high=1 << 32, unit="bytes")
    deadline_us = limits.integer("deadline_us", low=100, high=60_000_000, unit="us")
    state_bytes = limits.integer("state_bytes", STATE_BYTES_DEFAULT, low=1, high=STATE_BYTES_MAX, unit="bytes")
    schema_in = rings.text("in", choices=RING_SCHEMAS)
    schema_out = rings.text("out", choices=RING_SCHEMAS)
    commands = rings.text("commands", "none", choices=COMMANDS)
    config = _fields(root, "config", CONFIG_SOURCES)
    tag = _fields(root, "tag", TAG_SOURCES)
    bus = capabilities.text("bus", "", choices=BUSES)
    if bus and not _is_on_bus(config):
        capabilities.problem(
            "bus", f'"{bus}" needs config.framing, an enum of {", ".join(FRAMINGS)}, and config.writes'
        )
    for table in (root, capabilities, limits, rings):
        table.finish()
    return Manifest(
        root.source.file, name, version, kind, summary, hal, ports, Limits(memory_bytes, deadline_us, state_bytes),
        schema_in, schema_out, config, tag, kv_bytes, commands, bus,
    )  # fmt: skip


def _is_on_bus(config: Sequence[Field]) -> bool:
    fields = {spec.name: spec for spec in config}
    framing, writes = fields.get("framing"), fields.get("writes")
    return framing is not None and set(framing.values) <= set(FRAMINGS) and writes is not None and writes.text_bytes > 0


def _pattern(table: Table, key: str, pattern: re.Pattern[str]) -> str:
    found: str = table.text(key)
    if found and not pattern.fullmatch(found):
        table.problem(key, _wrong(found, f"text like {pattern.pattern}"))
    return found


def _names(table: Table, key: str, allowed: Sequence[str]) -> tuple[str, ...]:
    names = table.texts(key)
    for index, name in enumerate(names):
        if message := choice_problem(name, allowed):
            table.problem(f"{key}[{index}]", message)
        elif name in names[:index]:
            table.problem(f"{key}[{index}]", f"{show(name)} is there twice")
    return tuple(name for name in names if name in allowed)


def _fields(root: Table, section: str, sources: Sequence[str]) -> tuple[Field, ...]:
    fields = []
    for name, table in root.tables(section):
        if not NAME.fullmatch(name) or name in ("tag", *C_WORDS) or name.startswith("has_"):
            table.problem("", f"not a field name; allowed: {NAME.pattern}, but not tag, has_... or a word of C")
        spec = _field(table, name, sources)
        if spec is not None:
            fields.append(spec)
        table.finish()
    return tuple(fields)


def _field(table: Table, name: str, sources: Sequence[str]) -> Field | None:
    """The field that ``table`` describes, or None when there is a problem with it."""
    before = len(table.problems.found)
    type_name = _type_name(table)
    bound = Field(name, "f64" if type_name in FLOAT_TYPES else "bits64")
    is_number = type_name in SCALAR_TYPES and type_name not in ("bool", "enum", "bits64", "tag")
    spec = Field(
        name,
        type_name,
        optional=table.boolean("optional", False),
        minimum=_any(table, "min", bound) if is_number else None,  # type: ignore[arg-type]
        maximum=_any(table, "max", bound) if is_number else None,  # type: ignore[arg-type]
        values=table.texts("values") if type_name == "enum" else (),
        source=table.text("source", "", choices=sources),
        unit=table.text("unit", ""),
        doc=table.text("doc"),
    )
    if len(table.problems.found) > before:
        table.asked.add("default")
        return None
    spec = replace(spec, default=_any(table, "default", spec))
    if spec.optional and spec.default is not None:
        table.problem("default", "an optional field has none: leaving it out means not set")
    if spec.type == "tag" and spec.default is not None:
        table.problem("default", "a field of type tag has none: only the site knows its tags")
    return spec


def _type_name(table: Table) -> str:
    found: str = table.text("type")
    if found and found not in SCALAR_TYPES and not _STRING_TYPE.fullmatch(found):
        table.problem("type", choice_problem(found, [*SCALAR_TYPES, "str1", "str999"]) or "")
    return found


def _any(table: Table, key: str, spec: Field) -> Value | None:
    """The value of ``key`` as ``spec`` allows it; None when absent or wrong."""
    table.asked.add(key)
    value = table.values.get(key)
    message = None if value is None else value_problem(spec, value)
    if message is not None:
        table.problem(key, message)
        return None
    return value


# ---- packing ------------------------------------------------------------------------------------------------------


def layout(fields: Sequence[Field], *, start: int = 0) -> Layout:
    """Place ``fields`` from byte ``start`` on as a C compiler does; the flags of optional fields follow all fields."""
    offset = start
    members: list[Member] = []

    def place(name: str, spec: Field, is_flag: bool) -> None:
        nonlocal offset
        align = 1 if is_flag or spec.text_bytes else SCALAR_TYPES[spec.type].size
        size = 1 if is_flag else spec.text_bytes or align
        offset = -(-offset // align) * align
        members.append(Member(name, spec, is_flag, offset))
        offset += size

    for spec in fields:
        place(spec.name, spec, False)
    for spec in fields:
        if spec.optional:
            place(f"has_{spec.name}", spec, True)
    return Layout(tuple(members), -(-offset // STRUCT_ALIGN) * STRUCT_ALIGN)


TAG_START = 4  # a tag struct starts with its u32 index


def pack_config(
    manifest: Manifest,
    settings: Mapping[str, object],
    tags: Sequence[TagSettings],
    *,
    file: str,
    key: str = "config",
    facts: Mapping[str, Value] | None = None,
    names: Mapping[str, int] | None = None,
) -> bytes:
    """The configuration block of a stage, as ``hal.config`` gives it to the plugin.

    ``file`` and ``key`` (such as ``stage.plc.config``) are where ``settings`` come from, for errors. ``facts`` are what
    the host knows for fields with a ``source`` (CONFIG_SOURCES) that the site did not set, ``names`` the index of every
    tag of the site, which are ``tags`` if not given. Tags are packed in ascending order of their index. Raises
    ConfigError, for all mistakes at once.
    """
    errors: list[ConfigError] = []
    known = {tag.name: tag.index for tag in tags} if names is None else names
    config_values = _resolve(manifest.config, settings, facts or {}, known, lambda name: f"{key}.{name}", file, errors)
    config_layout = layout(manifest.config)
    tag_layout = layout(manifest.tag, start=TAG_START)
    packed_tags = []
    for tag in sorted(tags, key=lambda tag: tag.index):
        where = _tag_key(tag.table or manifest.name, tag)
        own = {"name": tag.name, "unit": tag.unit}
        values = _resolve(manifest.tag, tag.settings, own, known, where, file, errors)
        packed_tags.append((tag.index, values))
    raise_config(errors)
    head = HEAD.pack(config_layout.size, len(packed_tags), tag_layout.size, 0)
    body = _pack(config_layout, config_values)
    return head + bytes(body) + b"".join(_pack_tag(tag_layout, index, values) for index, values in packed_tags)


def _tag_key(table: str, tag: TagSettings) -> Callable[[str], str]:
    return lambda name: f'tag[{tag.index}] "{tag.name}": {table}.{name}'


def _resolve(
    fields: Sequence[Field],
    settings: Mapping[str, object],
    facts: Mapping[str, Value],
    tags: Mapping[str, int],
    where: Callable[[str], str],
    file: str,
    errors: list[ConfigError],
) -> dict[str, Value | None]:
    """The value of each field (None: optional and not set); what is wrong is added to ``errors``."""
    names = [spec.name for spec in fields]
    errors.extend(ConfigError(file, where(key), unknown_key(key, names)) for key in settings if key not in names)
    values: dict[str, Value | None] = {}
    for spec in fields:
        value: object = settings.get(spec.name)
        if value is None:
            value = facts.get(spec.source, spec.default)
        message = None if value is None and spec.optional else _missing_or_wrong(spec, value, tags)
        if message is not None:
            errors.append(ConfigError(file, where(spec.name), message))
        else:
            is_tag = spec.type == "tag" and value is not None
            values[spec.name] = tags[str(value)] if is_tag else value  # type: ignore[assignment]
    return values


def _missing_or_wrong(spec: Field, value: object, tags: Mapping[str, int]) -> str | None:
    if value is None:
        return f"missing: {spec.doc}"
    message = value_problem(spec, value)
    if message is None and spec.type == "tag" and value not in tags:
        return f"found {show(value)}, which is no tag; {nearest(str(value), tags)}"
    return message


def _pack(where: Layout, values: Mapping[str, Value | None]) -> bytearray:
    block = bytearray(where.size)
    for member in where.members:
        spec, value = member.field, values[member.field.name]
        if member.is_flag:
            block[member.offset] = value is not None
        elif value is None:
            continue
        elif isinstance(value, str) and spec.text_bytes:
            text = value.encode()
            block[member.offset : member.offset + len(text)] = text
        else:
            struct.pack_into("<" + SCALAR_TYPES[spec.type].code, block, member.offset, _number(spec, value))
    return block


def _pack_tag(where: Layout, index: int, values: Mapping[str, Value | None]) -> bytes:
    block = _pack(where, values)
    struct.pack_into("<I", block, 0, index)
    return bytes(block)


def _number(spec: Field, value: Value) -> bool | int | float:
    if isinstance(value, str):
        return spec.values.index(value)
    if spec.type == "bits64":
        return int(value) & (1 << 64) - 1
    return value
