"""Random loops behave the same interpreted and compiled; `python -m tests.runtime_c.loops` tries more."""

from __future__ import annotations

import pytest

from gateway.errors import WasmTrap
from gateway.wasm import Engine, Execution, Module, Store
from tests.runtime_c import loops

SEED, COUNT = 1, 30


@pytest.mark.parametrize("bounds", ["guard", "checked"])
def test_loops(bounds: str) -> None:
    calls, differences = loops.compare(range(SEED, SEED + COUNT), bounds=bounds)
    assert differences == [], f"seeds from {SEED} on, {bounds}"
    assert calls > COUNT * loops.FUNCTIONS * (loops.SEEDS + loops.SWEEP)  # those without fuel come on top


def test_they_end_in_many_ways() -> None:
    ends: dict[str, int] = {}
    with Engine() as engine, Execution(engine, fuel=loops.FUEL) as execution:
        for seed in range(SEED, SEED + COUNT):
            with Store(engine) as store, Module(engine, "loops", loops.make_module(seed)) as module:
                instance = store.instantiate(module, execution)
                for number in range(loops.FUNCTIONS):
                    end = "returns"
                    try:
                        instance.func(f"f{number}").call(execution, 5, 60_000, -9)
                    except WasmTrap as trap:
                        end = trap.status
                    ends[end] = ends.get(end, 0) + 1
    assert min(ends[way] for way in ("returns", "TRAP_FUEL", "TRAP_MEMORY_BOUNDS")) > COUNT // 3, ends


def test_a_seed_always_gives_the_same_module() -> None:
    assert loops.make_module(SEED) == loops.make_module(SEED)
