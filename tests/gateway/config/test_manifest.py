"""plugin.toml and the configuration block: what is accepted, what is refused and with which words."""

from __future__ import annotations

import math
import re
import struct
from pathlib import Path

import pytest

from gateway.config.manifest import (
    HAL_NAMES,
    TAG_START,
    Manifest,
    TagSettings,
    layout,
    load_manifest,
    pack_config,
    parse_manifest,
)
from gateway.errors import ConfigError

GOOD = """
name = "pump"
version = "1.0.0"
abi = 1
kind = "driver"
summary = "s"
[capabilities]
hal = ["tx", "config", "ring_out"]
ports = 1
[limits]
memory_bytes = 65536
deadline_us = 1000
[rings]
in = "none"
out = "samples"
[config.mode]
type = "enum"
values = ["tcp", "rtu"]
default = "rtu"
doc = "d"
[config.poll]
type = "u16"
unit = "ms"
min = 10
max = 1000
doc = "period"
[config.baudrate]
type = "u32"
source = "baudrate"
default = 19200
doc = "d"
[tag.address]
type = "u16"
doc = "where it is"
[tag.limit]
type = "i8"
optional = true
doc = "d"
[tag.label]
type = "str8"
source = "name"
doc = "d"
"""


def manifest() -> Manifest:
    return parse_manifest(GOOD, "pump/plugin.toml")


def test_what_a_manifest_says() -> None:
    found = manifest()
    assert (found.name, found.version, found.kind, found.ports) == ("pump", "1.0.0", "driver", 1)
    assert (found.input, found.output) == ("none", "samples")
    assert (found.limits.memory_bytes, found.limits.deadline_us) == (65536, 1000)
    assert [field.name for field in found.config] == ["mode", "poll", "baudrate"]
    assert [field.name for field in found.config if field.required] == ["poll"]


def test_the_quota_of_values() -> None:
    assert manifest().kv_bytes == 4096
    text = GOOD.replace('"tx",', '"tx", "kv_put",').replace("ports = 1", "ports = 1\nkv_bytes = 512")
    assert parse_manifest(text, "f").kv_bytes == 512
    with pytest.raises(ConfigError, match=r"capabilities\.kv_bytes: needs kv_put in capabilities\.hal"):
        parse_manifest(text.replace(' "kv_put",', ""), "f")
    with pytest.raises(ConfigError, match=r"capabilities\.kv_bytes: found 1, allowed: 64 to 1048576 bytes"):
        parse_manifest(text.replace("512", "1"), "f")


def test_a_tag_is_written_by_its_name_and_has_no_default() -> None:
    text = GOOD.replace("[tag.label]", '[tag.order]\ntype = "tag"\noptional = true\ndoc = "d"\n[tag.label]')
    found = parse_manifest(text, "f")
    tags = [TagSettings(4, "a", "", {"address": 1, "order": "b"}), TagSettings(7, "b", "", {"address": 2})]
    packed = pack_config(found, {"poll": 10}, tags, file="f")
    at = next(member.offset for member in layout(found.tag, start=TAG_START).members if member.name == "order")
    size = layout(found.tag, start=TAG_START).size
    first, second = packed[-2 * size : -size], packed[-size:]
    assert [int.from_bytes(one[at : at + 4], "little") for one in (first, second)] == [7, 0]
    wrong: dict[object, str] = {
        "c": 'found "c", which is no tag; known: a, b',
        3: "found 3, allowed: the name of a tag",
    }
    for value, message in wrong.items():
        settings = TagSettings(4, "a", "", {"address": 1, "order": value})
        with pytest.raises(ConfigError, match=message):
            pack_config(found, {"poll": 10}, [settings, tags[1]], file="f")
    with pytest.raises(ConfigError, match="a field of type tag has none"):
        parse_manifest(text.replace('type = "tag"\noptional = true', 'type = "tag"\ndefault = "a"'), "f")


def test_hal_names_are_those_of_the_header(root: Path) -> None:
    table = (root / "runtime_c/include/wr.h").read_text(encoding="utf-8").split("#define WR_HAL_TABLE(X)")[1]
    names = re.findall(r'X\(\w+, "(\w+)"', table.split("#define")[0])
    assert tuple(names) == HAL_NAMES


def test_granted_functions_are_the_bits_of_their_position() -> None:
    bits = sum(1 << HAL_NAMES.index(name) for name in ("tx", "config", "ring_out"))
    assert manifest().hal_mask == bits


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "pump"', 'name = "Pump 1"', 'name: found "Pump 1", allowed: text like'),
        ('name = "pump"', "", "name: missing; a string is required"),
        ('version = "1.0.0"', 'version = "1.0"', 'version: found "1.0", allowed: text like'),
        ("abi = 1", "abi = 2", "abi: found 2, allowed: 1 to 1"),
        ('kind = "driver"', 'kind = "drivr"', 'kind: found "drivr", allowed: "driver" or "etl" or "format"'),
        ('summary = "s"', "summary = 3", "summary: found 3, allowed: a string"),
        ('summary = "s"', 'sumary = "s"', 'sumary: unknown key; did you mean "summary"?'),
        ('"tx", ', '"tx", "txx", ', 'capabilities.hal[1]: found "txx", allowed: "tx" or'),
        ('"tx", ', '"tx", "tx", ', 'capabilities.hal[1]: "tx" is there twice'),
        ('hal = ["tx", "config", "ring_out"]', 'hal = "tx"', 'capabilities.hal: found "tx", allowed: an array'),
        ("ports = 1", "ports = 9", "capabilities.ports: found 9, allowed: 0 to 8"),
        ("ports = 1", 'ports = 1\nbus = "can"', 'capabilities.bus: found "can", allowed: "modbus"'),
        (
            "ports = 1",
            'ports = 1\nbus = "modbus"',
            'capabilities.bus: "modbus" needs config.framing, an enum of tcp, rtu, rtu_tcp, and config.writes',
        ),
        ("ports = 1", "port = 1", 'capabilities.port: unknown key; did you mean "ports"?'),
        ("memory_bytes = 65536", "memory_bytes = 1", "limits.memory_bytes: found 1, allowed: 65536 to 4294967296"),
        ("deadline_us = 1000", "", "limits.deadline_us: missing"),
        ('in = "none"', 'in = "bytes"', 'rings.in: found "bytes", allowed: "samples" or'),
        ("[rings]", "[ring]", "rings: missing; a table is required"),
        ('type = "u16"\nunit', 'type = "u17"\nunit', 'config.poll.type: found "u17", allowed:'),
        ('type = "u16"\nunit', 'type = "u17"\nunit', 'did you mean "u16"?'),
        ('doc = "period"', "", "config.poll.doc: missing"),
        ("min = 10", 'min = "10"', 'config.poll.min: found "10", allowed: an integer'),
        ("default = 19200", "default = -1", "config.baudrate.default: found -1, allowed: an integer, 0 to 4294967295"),
        ('default = "rtu"', 'default = "r"', 'config.mode.default: found "r", allowed: "tcp" or "rtu"'),
        ('values = ["tcp", "rtu"]', "", "config.mode.values: missing"),
        ('source = "baudrate"', 'source = "name"', 'config.baudrate.source: found "name", allowed: "baudrate"'),
        ("optional = true", "optional = 1", "tag.limit.optional: found 1, allowed: true or false"),
        ("optional = true", "optional = true\ndefault = 3", "tag.limit.default: an optional field has none"),
        ("optional = true", "optonal = true", 'tag.limit.optonal: unknown key; did you mean "optional"?'),
        ("[tag.limit]", "[tag.tag]", "tag.tag: not a field name"),
        ("[tag.limit]", "[tag.register]", "tag.register: not a field name"),
        ('default = "rtu"', "min = 0", "config.mode.min: unknown key"),
        ("[tag.limit]", "[tag.has_limit]", "tag.has_limit: not a field name"),
        ("abi = 1", "abi = = 1", "TOML syntax"),
    ],
)
def test_mistakes_in_a_manifest(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        parse_manifest(GOOD.replace(old, new, 1), "pump/plugin.toml")
    text = str(caught.value)
    assert message in text
    assert all(line.startswith("pump/plugin.toml:") for line in text.splitlines())


def test_all_mistakes_are_told_at_once() -> None:
    wrong = (
        GOOD.replace("abi = 1", "abi = 7").replace('kind = "driver"', 'kind = "x"').replace("ports = 1", "ports = -1")
    )
    with pytest.raises(ConfigError) as caught:
        parse_manifest(wrong, "pump/plugin.toml")
    assert [error.key for error in caught.value.each] == ["abi", "kind", "capabilities.ports"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"plugin\.toml: cannot be read"):
        load_manifest(tmp_path / "plugin.toml")


TAGS = [TagSettings(4, "b/ö", "V", {"address": 7, "limit": -3}), TagSettings(2, "a", "", {"address": 65535})]


def test_the_block_byte_by_byte() -> None:
    block = pack_config(manifest(), {"poll": 300}, TAGS, file="site.toml", facts={"baudrate": 9600})
    head = struct.pack("<IIII", 8, 2, 16, 0)
    config = struct.pack("<BxHI", 1, 300, 9600)
    tags = struct.pack("<IHb8sB", 2, 65535, 0, b"a", 0) + struct.pack("<IHb8sB", 4, 7, -3, "b/ö".encode(), 1)
    assert block == head + config + tags


def test_what_the_site_sets_is_stronger_than_what_the_host_knows() -> None:
    one = TagSettings(0, "long name that does not fit", "", {"address": 1, "label": "short"})
    block = pack_config(manifest(), {"poll": 300, "baudrate": 115200}, [one], file="s", facts={"baudrate": 9600})
    assert struct.unpack_from("<I", block, 20)[0] == 115200
    assert b"short\0" in block


def test_without_a_fact_the_default_is_taken() -> None:
    assert struct.unpack_from("<I", pack_config(manifest(), {"poll": 300}, [], file="s"), 20)[0] == 19200


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "stage.p.config.poll: missing: period"),
        ({"poll": 9}, "stage.p.config.poll: found 9, allowed: an integer, 10 to 1000 ms"),
        ({"poll": 1001}, "stage.p.config.poll: found 1001, allowed: an integer, 10 to 1000 ms"),
        ({"poll": "10"}, 'stage.p.config.poll: found "10", allowed: an integer, 10 to 1000 ms'),
        ({"poll": 10.0}, "stage.p.config.poll: found 10.0, allowed: an integer"),
        ({"poll": True}, "stage.p.config.poll: found true, allowed: an integer"),
        ({"poll": 10, "baudrate": 2**32}, "stage.p.config.baudrate: found 4294967296, allowed: an integer, 0 to"),
        ({"poll": 10, "mode": "tpc"}, 'stage.p.config.mode: found "tpc", allowed: "tcp" or "rtu"; did you mean "tcp"?'),
        ({"poll": 10, "mode": 1}, 'stage.p.config.mode: found 1, allowed: "tcp" or "rtu"'),
        ({"pol": 10, "poll": 10}, 'stage.p.config.pol: unknown key; did you mean "poll"?'),
    ],
)
def test_wrong_settings_of_a_stage(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        pack_config(manifest(), settings, [], file="site.toml", key="stage.p.config")
    assert message in str(caught.value)
    assert str(caught.value).startswith("site.toml: stage.p.config.")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("t", {}, 'tag[3] "t": pump.address: missing: where it is'),
        ("t", {"address": 65536}, 'tag[3] "t": pump.address: found 65536, allowed: an integer, 0 to 65535'),
        ("t", {"adress": 1, "address": 1}, 'tag[3] "t": pump.adress: unknown key; did you mean "address"?'),
        ("t", {"address": 1, "limit": 128}, 'tag[3] "t": pump.limit: found 128, allowed: an integer, -128 to 127'),
        ("größer", {"address": 1}, 'pump.label: found "größer" (8 bytes), allowed: at most 7 bytes'),
        ("a\0b", {"address": 1}, "allowed: a string of at most 7 bytes"),
        ("t", {"address": 1, "label": 5}, "pump.label: found 5, allowed: a string of at most 7 bytes"),
    ],
)
def test_wrong_settings_of_a_tag(name: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        pack_config(manifest(), {"poll": 10}, [TagSettings(3, name, "", settings)], file="site.toml")
    assert message in str(caught.value)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, "1.0", False])
def test_numbers_are_finite(value: object) -> None:
    text = GOOD.replace('[tag.limit]\ntype = "i8"', '[tag.limit]\ntype = "f64"\nmin = -5.0')
    tag = TagSettings(0, "t", "", {"address": 1, "limit": value})
    with pytest.raises(ConfigError, match=r"pump\.limit: found .*, allowed: a finite number, at least -5\.0"):
        pack_config(parse_manifest(text, "pump/plugin.toml"), {"poll": 10}, [tag], file="site.toml")


@pytest.mark.parametrize(
    ("value", "bits"), [(-1, 2**64 - 1), (2**64 - 1, 2**64 - 1), (-(2**63), 2**63), (0x8000, 0x8000)]
)
def test_bit_patterns_may_be_written_signed_or_not(value: int, bits: int) -> None:
    text = GOOD.replace('type = "i8"', 'type = "bits64"')
    tag = TagSettings(0, "t", "", {"address": 1, "limit": value})
    block = pack_config(parse_manifest(text, "pump/plugin.toml"), {"poll": 10}, [tag], file="site.toml")
    assert struct.unpack_from("<Q", block, 16 + 8 + 8)[0] == bits


def test_mistakes_of_stage_and_tags_are_told_together() -> None:
    tags = [TagSettings(0, "x", "", {}), TagSettings(1, "y", "", {"address": -1})]
    with pytest.raises(ConfigError) as caught:
        pack_config(manifest(), {}, tags, file="site.toml", key="c")
    assert [error.key for error in caught.value.each] == [
        "c.poll",
        'tag[0] "x": pump.address',
        'tag[1] "y": pump.address',
    ]
