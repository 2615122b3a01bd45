"""Loading takes at most six times the bytes of a module, or 9 KiB where that is more.

Only small modules need those: no plugin does. What takes more is refused, which is not to happen to any but modules
written to be dense. Where that is allowed, they stay within a bound.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.runtime_c.loop_modules import uleb
from tests.runtime_c.spec import ARCHIVES, SUITE
from tests.runtime_c.spec_script import read_archive
from tests.runtime_c.toolchain import BUILD, TOOLCHAINS, build

DEFAULT, RATIO_MOST, BYTES_LEAST = 0, 6, 9216
RATIO_DENSE = 42
DENSE_ROUNDS = 5000
MODULES_MIN = 1500  # of the suite that load

PLUGINS = sorted((BUILD / "plugins").glob("*.wasm"))


def load(folder: Path, names: Iterable[str], ratio: int = DEFAULT) -> dict[str, dict[str, Any]]:
    """What loading each file costs, and its status."""
    tool = build(TOOLCHAINS["native"], "tools") / "tools" / "bench_footprint"
    command = [str(tool), "--load", str(ratio), *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line.pop("module"): line for line in lines}


def allowed(told: dict[str, Any]) -> int:
    """Bytes it may take."""
    return max(RATIO_MOST * int(told["module_bytes"]), BYTES_LEAST)


@pytest.mark.parametrize("path", PLUGINS, ids=[path.stem for path in PLUGINS])
def test_plugins(path: Path) -> None:
    told = load(path.parent, [path.name])[path.name]
    assert told["status"] == "OK"
    assert told["module_kept_bytes"] <= told["load_peak_bytes"] <= RATIO_MOST * told["module_bytes"], told


def test_there_are_plugins_to_load() -> None:
    assert PLUGINS, "no plugins: run make build"


def test_official_suite(tmp_path: Path) -> None:
    names: dict[bytes, str] = {}
    for archive in ARCHIVES:
        if not (SUITE / archive).is_file():
            pytest.skip(f"the official suite is not at {SUITE}: PENSTOCK_WASM_SPEC names its folder")
        for script in read_archive(SUITE / archive):
            for file, module in script.modules.items():
                names.setdefault(module, f"{script.name}/{file}")
    files = {str(number): module for number, module in enumerate(names) if module}
    for file, module in files.items():
        (tmp_path / file).write_bytes(module)
    told = {names[files[file]]: costs for file, costs in load(tmp_path, files).items()}
    assert sum(costs["status"] == "OK" for costs in told.values()) >= MODULES_MIN
    assert {name: costs for name, costs in told.items() if costs["status"] == "LIMIT_LOAD_BYTES"} == {}
    assert {name: it for name, it in told.items() if it["load_peak_bytes"] > allowed(it)} == {}


# ---- modules that are dense on purpose ------------------------------------------------------------------------------


def section(number: int, items: Sequence[bytes]) -> bytes:
    """That is a vector of items."""
    body = uleb(len(items)) + b"".join(items)
    return bytes([number]) + uleb(len(body)) + body


def one_function(results: Sequence[int], body: bytes) -> bytes:
    """A module of one function without parameters."""
    types = [b"\x60\x00" + uleb(len(results)) + bytes(results)]
    sized = uleb(len(body) + 2) + b"\x00" + body + b"\x0b"
    return b"\0asm\1\0\0\0" + section(1, types) + section(3, [b"\x00"]) + section(10, [sized])


def catches() -> bytes:
    """A try_table of nothing but clauses of two bytes, each a branch and an entry of a table."""
    return one_function([], b"\x1f\x40" + uleb(DENSE_ROUNDS) + b"\x02\x00" * DENSE_ROUNDS + b"\x0b")


def tables() -> bytes:
    """br_tables of 100 labels whose value has to move for each: a target of one byte, a move and a branch."""
    depth = 100
    table = b"\x02\x40\x42\x7f\x41\x00\x0e" + uleb(depth) + bytes(range(1, depth + 2)) + b"\x0b"
    blocks = b"\x41\x07" + b"\x02\x7e" * (depth + 2) + b"\x41\x07"
    return one_function([], blocks + table * (DENSE_ROUNDS // depth) + b"\x00" + b"\x0b" * (depth + 2) + b"\x1a\x1a")


def unary() -> bytes:
    """An instruction of 16 bytes, and a byte for where it was, for each of one byte."""
    return one_function([0x7F], b"\x41\x00" + b"\x67" * DENSE_ROUNDS)


def nulls() -> bytes:
    """br_on_null with a constant that has to go along: four instructions for two bytes."""
    blocks = b"\x41\x07\x02\x7e\x42\x7f\xd0\x70"
    return one_function([], blocks + b"\xd5\x00" * DENSE_ROUNDS + b"\x1a\x0b\x1a\x1a")


def conditions() -> bytes:
    """br_if with values that have to move, and are the next one's condition: three instructions for two bytes."""
    types = [b"\x60\x00" + uleb(1000) + b"\x7f" * 1000, b"\x60\x00\x04\x7f\x7f\x7f\x7f"]
    body = b"\x41\x07\x02\x01" + (b"\x10\x00" + b"\x0d\x00" * 996 + b"\x1a" * 4) * (DENSE_ROUNDS // 1000)
    whole = b"\x00" + body + b"\x00\x0b" + b"\x1a" * 5 + b"\x00\x0b"
    sized = [uleb(3) + b"\x00\x00\x0b", uleb(len(whole)) + whole]
    return b"\0asm\1\0\0\0" + section(1, types) + section(3, [b"\x00", b"\x00"]) + section(10, sized)


def constants() -> bytes:
    """br_if with four constants that have to go along, two instructions each unless they are in their slots."""
    types = [b"\x60\x00\x00", b"\x60\x00\x04\x7e\x7e\x7e\x7e"]
    body = (
        b"\x00\x41\x07\x02\x01" + b"\x42\x7f" * 4 + b"\x41\x00\x0d\x00" * DENSE_ROUNDS + b"\x0b" + b"\x1a" * 5 + b"\x0b"
    )
    return b"\0asm\1\0\0\0" + section(1, types) + section(3, [b"\x00"]) + section(10, [uleb(len(body)) + body])


def empty_functions() -> bytes:
    """Functions of four bytes."""
    count = DENSE_ROUNDS
    types, bodies = section(1, [b"\x60\x00\x00"]), section(10, [b"\x02\x00\x0b"] * count)
    return b"\0asm\1\0\0\0" + types + section(3, [b"\x00"] * count) + bodies


def segments() -> bytes:
    """Passive data segments of two bytes."""
    return b"\0asm\1\0\0\0" + section(11, [b"\x01\x00"] * DENSE_ROUNDS)


def globals_() -> bytes:
    """Globals of five bytes."""
    return b"\0asm\1\0\0\0" + section(6, [b"\x7f\x00\x41\x00\x0b"] * DENSE_ROUNDS)


def expression() -> bytes:
    """One long constant expression: an operation of 16 bytes, kept twice for a moment, for three of two."""
    return b"\0asm\1\0\0\0" + section(6, [b"\x7f\x00\x41\x00" + b"\x41\x00\x6a" * DENSE_ROUNDS + b"\x0b"])


def customs() -> bytes:
    """Custom sections of three bytes."""
    return b"\0asm\1\0\0\0" + b"\x00\x01\x00" * DENSE_ROUNDS


DENSE = (catches, tables, unary, nulls, conditions, constants, empty_functions, segments, globals_, expression, customs)


def test_dense_modules(tmp_path: Path) -> None:
    names = [module.__name__ for module in DENSE]
    for module in DENSE:
        (tmp_path / module.__name__).write_bytes(module())
    told, raised = load(tmp_path, names), load(tmp_path, names, RATIO_DENSE)
    assert {name: it["status"] for name, it in raised.items()} == dict.fromkeys(names, "OK")
    refused = [name for name, it in told.items() if it["status"] == "LIMIT_LOAD_BYTES"]
    assert refused == [name for name, it in raised.items() if it["load_peak_bytes"] > allowed(it)]
    assert set(names) - set(refused) == {"globals_", "customs"}  # dense, and still within six times
    assert [name for name, it in told.items() if it["load_peak_bytes"] > allowed(it)] == []
    ratios = {name: it["load_peak_bytes"] / it["module_bytes"] for name, it in raised.items()}
    assert max(ratios.values()) <= RATIO_DENSE, ratios
    assert min(ratios["catches"], ratios["tables"]) > RATIO_DENSE - 6, ratios  # the bound is no higher than it must be
