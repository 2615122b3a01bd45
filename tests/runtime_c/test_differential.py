"""Random modules in Penstock and in wasmtime. CI compares 2,000 more: see .ci/run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.errors import WasmTrap
from gateway.wasm import Bounds, Engine, Execution, Module, Store
from tests.runtime_c import differential, loop_modules, wasm_shape
from tests.runtime_c.differential import Tally, comparable, compare, difference
from tests.runtime_c.toolchain import TOOLCHAINS, build

COUNT, SEED = 100, 20261125


@pytest.fixture
def generator() -> None:
    """Skips where binaryen is not installed."""
    if shutil.which(differential.GENERATOR) is None:
        pytest.skip(differential.MISSING)


@pytest.mark.usefixtures("generator")
def test_engines_agree() -> None:
    tally = compare(COUNT, SEED)
    assert tally.failures == [], f"seed {SEED}: {tally}"
    assert tally.compared >= COUNT
    assert tally.compiled > COUNT // 4
    assert tally.calls > 5 * COUNT
    assert len(tally.traps) >= 5, "the modules do too little"
    assert tally.cut_short < COUNT // 20


@pytest.mark.usefixtures("generator")
def test_a_seed_always_gives_the_same_module(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        path = tmp_path / f"{name}.wasm"
        assert differential.generate(SEED, path)
        made.append(path.read_bytes())
    assert made[0] == made[1]
    kinds = {kind for _, kind, _ in wasm_shape.read_shape(made[0]).exports}
    assert {wasm_shape.FUNC, wasm_shape.MEMORY, wasm_shape.GLOBAL} <= kinds, "memories and globals are compared, too"


@pytest.mark.usefixtures("generator")
def test_a_difference_is_named_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = differential.transcripts

    def lying(program: Path, options: list[str], paths: list[Path]) -> dict[Path, list[str]]:
        told = honest(program, options, paths)
        return {path: [line.replace("starts OK", "starts TRAP_HOST") for line in lines] for path, lines in told.items()}

    monkeypatch.setattr(differential, "transcripts", lying)
    monkeypatch.setattr(differential, "FOLDER", tmp_path / "kept")
    program = build(TOOLCHAINS["native"], "tools") / "tools" / "module_run"
    tally: Tally = differential.compare_batch(program, [SEED], tmp_path)
    told = [text.partition(":")[0] for text in tally.failures]
    assert told == [f"seed {SEED}, {name}" for name in differential.ENGINES]
    assert (tmp_path / "kept" / f"{SEED}.wasm").is_file()


@pytest.mark.parametrize(
    ("ours", "judge", "text", "cut"),
    [
        (["starts OK", "call 66 i32:00000001"], ["starts OK", "call 66 i32:00000001"], "", False),
        (["starts OK", "call 66 i32:00000001"], ["starts OK", "call 66 i32:00000002"], "line 2: ", False),
        (["starts OK", "call 66 i32:00000001"], ["starts OK"], "line 2: ", False),
        (["refused TYPE_MISMATCH"], ["refused in other words"], "", False),
        (["refused TYPE_MISMATCH"], ["starts OK"], "line 1: ", False),
        (["call 66 trap TRAP_UNDEFINED_ELEMENT"], ["call 66 trap TRAP_TABLE_BOUNDS"], "", False),
        (["call 66 trap TRAP_UNREACHABLE"], ["call 66 trap TRAP_DIV_ZERO"], "line 1: ", False),
        (["call 66 trap TRAP_STACK", "memory 6d 1 00000000"], ["call 66 f32:nan", "memory 6d 1 00000001"], "", True),
        (["call 66 i32:00000001", "call 67 trap TRAP_FUEL"], ["call 66 i32:00000003"], "line 1: ", True),
    ],
)
def test_what_counts_as_different(ours: list[str], judge: list[str], text: str, cut: bool) -> None:
    found, was_cut = difference(ours, judge)
    assert (found[: len(text)] == text and bool(found) == bool(text), was_cut) == (True, cut)


def test_nothing_is_compared_after_a_limit() -> None:
    assert comparable(["log i32:00000001", "call 66 trap TRAP_STACK", "call 67"]) == (["log i32:00000001"], True)


def test_a_store_in_front_of_a_load_keeps_its_position() -> None:
    """They run as one, and either may trap."""
    three_more = loop_modules.get(0) + loop_modules.const(3) + b"\x6a"
    store = three_more + loop_modules.get(0) + b"\x36\x02\x04"
    load = loop_modules.get(0) + b"\x28\x02\x00"
    first = loop_modules.get(0) + loop_modules.const(7) + b"\x6c" + loop_modules.put(0)
    body = loop_modules.sized(b"\x00" + first + store + load + b"\x0b")
    module = loop_modules.assemble({"run": body}, parameters=1)
    for bounds in (Bounds.GUARD, Bounds.CHECKED):
        with (
            Engine(bounds=bounds) as engine,
            Module(engine, "it", module) as loaded,
            Store(engine) as made,
            Execution(engine) as execution,
        ):
            run = made.instantiate(loaded, execution).func("run")
            with pytest.raises(WasmTrap) as trap:
                run.call(execution, 1 << 29)
            assert trap.value.frames[0].offset == module.index(b"\x36\x02\x04")
