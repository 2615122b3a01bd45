"""docs/control-protocol.md says what the code does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from gateway.api import server
from gateway.api.health import Health
from gateway.api.methods import Control
from gateway.api.protocol import CHUNK_BYTES_MAX, ERROR_CODES, LINE_BYTES_MAX
from gateway.clock import Clock
from gateway.store.container import PLUGIN_BYTES_MAX

METHODS = Control(cast(Any, None), cast(Any, None), Clock(), "", None).methods()


@pytest.fixture
def document(root: Path) -> str:
    return (root / "docs" / "control-protocol.md").read_text("utf-8")


def rows(text: str, heading: str) -> Iterator[list[str]]:
    """Cells of the first table below a heading, without its head."""
    table = re.findall(r"^\|.*\|$", text.split(f"## {heading}\n")[1].split("\n## ")[0], re.MULTILINE)
    for line in table[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def test_methods_and_their_parameters(document: str) -> None:
    stated = {name.strip("`"): re.findall(r"`(\w+)`", params) for name, params, _ in rows(document, "Methods")}
    assert stated == {name: list(method.params.__struct_encode_fields__) for name, method in METHODS.items()}


def test_error_codes(document: str) -> None:
    assert {code.strip("`"): text for code, text in rows(document, "Errors")} == ERROR_CODES


def test_health(document: str) -> None:
    example = document.split("## Health")[1].split("| check |")[0]
    assert re.findall(r'"(\w+)": ', example.split('"checks"')[0]) == [
        field for field in Health.__struct_fields__ if field not in ("checks", "links")
    ]


def test_limits(document: str) -> None:
    stated = dict(rows(document, "Messages"))
    assert stated["a request line"] == f"{LINE_BYTES_MAX} bytes"
    assert stated["connections"] == str(server.CLIENTS_MAX)
    assert stated["streams over one of them"] == str(server.STREAMS_MAX)
    assert ERROR_CODES["too_many_streams"].startswith(f"{server.STREAMS_MAX} streams")
    assert ERROR_CODES["too_many_clients"].startswith(f"{server.CLIENTS_MAX} clients")
    assert f"pieces of at most {CHUNK_BYTES_MAX} bytes" in document
    assert f"at most {PLUGIN_BYTES_MAX >> 20} MiB" in document
    assert f"{server.IDLE_S:.0f} s" in stated["without a request and without a stream"]
    assert f"{server.SEND_S:.0f} s" in stated["an answer that the client does not read"]
    assert f"after {server.UNREAD_MAX} in a row" in stated["events that the client does not read"]


def test_a_request_may_leave_out_its_parameters() -> None:
    with_defaults = [name for name, method in METHODS.items() if not required(method.params)]
    assert with_defaults == ["hello", "state", "watch", "graph", "health", "plugin.list"]


def required(kind: Any) -> list[str]:
    return [one.name for one in msgspec.structs.fields(kind) if one.required]
