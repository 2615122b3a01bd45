"""What is written down in several places is the same in all of them."""

from __future__ import annotations

import re
from enum import IntEnum

import pytest

from gateway import record, signature
from tests.style.source import ROOT

WR_H = (ROOT / "runtime_c/include/wr.h").read_text("utf-8")
PEN_H = (ROOT / "plugins/sdk/c/pen.h").read_text("utf-8")
ABI_MD = (ROOT / "docs/plugin-abi.md").read_text("utf-8")
RECORD_MD = (ROOT / "docs/record-format.md").read_text("utf-8")

Signature = tuple[str, str]  # parameters and results as letters: i = i32, l = i64


def hal_of_header() -> dict[str, Signature]:
    table = WR_H.split("#define WR_HAL_TABLE(X)")[1].split("#define")[0]
    return {
        name: (params, results) for name, params, results in re.findall(r'X\(\w+, "(\w+)", "(\w*)", "(\w*)"\)', table)
    }


def hal_of_sdk() -> dict[str, Signature]:
    def letter(c_type: str) -> str:
        return "l" if "int64_t" in c_type else "" if c_type.strip() == "void" else "i"

    found = re.findall(r"^(\w+) PEN_HAL\((\w+)\)\(([^)]*)\);", PEN_H, re.MULTILINE)
    return {name: ("".join(letter(p) for p in params.split(",")), letter(result)) for result, name, params in found}


def hal_of_document() -> dict[str, Signature]:
    section = ABI_MD.split("## Imports, module `hal`")[1].split("\n## ")[0]
    found = re.findall(
        r"`(\w+)\(([^)`]*)\)(?: -> (i32|i64))?`", "\n".join(re.findall(r"^\| (.*?) \|", section, re.MULTILINE))
    )
    letters = {"i32": "i", "i64": "l", "": ""}
    return {
        name: ("".join("l" if "i64" in p else "i" for p in params.split(",") if p.strip()), letters[result])
        for name, params, result in found
    }


def test_hal_is_the_same_in_header_sdk_and_document() -> None:
    assert len(hal_of_header()) >= 12
    assert hal_of_sdk() == hal_of_header()
    assert hal_of_document() == hal_of_header()


def c_constants(text: str, prefix: str) -> dict[str, int]:
    """``PREFIX_NAME = 3`` anywhere in the text, as {"NAME": 3}."""
    return {name: int(value) for name, value in re.findall(rf"\b{prefix}(\w+) = (\d+)", text)}


@pytest.mark.parametrize(
    ("python", "prefix"), [(record.Kind, "WR_KIND_"), (record.Quality, "WR_QUALITY_"), (record.ValueType, "WR_VALUE_")]
)
def test_record_constants_in_c_and_python(python: type[IntEnum], prefix: str) -> None:
    ours = {member.name: member.value for member in python}
    assert c_constants(WR_H, prefix) == ours
    plugin = c_constants(PEN_H, "PEN_")
    assert {name: plugin[name] for name in ours} == ours


def test_value_types_in_c_and_python() -> None:
    header = {name: int(value, 16) for name, value in re.findall(r"\bWR_TYPE_(\w+) = (0x\w\w)", WR_H)}
    assert len(header) >= 7
    assert {name: signature.ValueType[name].value for name in header} == header
    assert c_constants(WR_H, "WR_EXTERN_") == {kind.name: kind.value for kind in signature.ExternKind}


def test_record_constants_in_the_document() -> None:
    rows = dict(re.findall(r"^\| \d+ \| `(\w+)` \| [^|]* \| ([^|]*) \|", RECORD_MD, re.MULTILINE))
    for field, python in (("kind", record.Kind), ("quality", record.Quality), ("type", record.ValueType)):
        listed = {text.upper(): int(number) for number, text in re.findall(r"(?:^|, )(\d+) ([a-z0-9]+)", rows[field])}
        assert listed == {member.name: member.value for member in python}, field


def test_schema_ids_in_the_document() -> None:
    listed = {text: int(number) for number, text in re.findall(r"(\d) \*(\w+)\*", RECORD_MD.split("Schema ids")[1])}
    assert listed == {name: schema.value for name, schema in record.SCHEMA_NAMES.items()}


def test_record_head_in_all_languages() -> None:
    layout = [
        (int(o), field, kind)
        for o, field, kind in re.findall(r"^\| (\d+) \| `(\w+)` \| (\w+)", RECORD_MD, re.MULTILINE)
    ]
    struct = WR_H.split("typedef struct wr_record {")[1].split("}")[0]
    sizes = {"8": 1, "16": 2, "32": 4, "64": 8}
    at = 0
    for (offset, field, _), (bits, c_field) in zip(layout, re.findall(r"u?int(\d+)_t (\w+);", struct), strict=True):
        assert (offset, field) == (at, c_field)
        at += sizes[bits]
    assert at == record.HEAD_BYTES == record.HEAD.size == 32


def test_plugin_errors_in_sdk_and_document() -> None:
    sdk = {name: int(value) for name, value in re.findall(r"\b(PEN_E_\w+) = (-\d)", PEN_H)}
    document = {name: int(value) for name, value in re.findall(r"`(PEN_E_\w+)` (-\d)", ABI_MD)}
    assert len(sdk) == 5
    assert document == sdk


def test_ring_end_in_sdk_and_document() -> None:
    ours = [
        (f"u{bits}", field)
        for bits, field in re.findall(r"uint(\d+)_t (\w+);", PEN_H.split("struct pen_ring {")[1].split("}")[0])
    ]
    stated = ABI_MD.split("struct pen_ring {")[1].split("}")[0]
    assert re.findall(r"(u\d+) (\w+);", stated) == ours
