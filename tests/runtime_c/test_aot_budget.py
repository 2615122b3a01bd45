"""Compiled code keeps the budget in a register: whatever may change it, the rest must be counted from what it is then.
Calls are counted in front of and behind each such instruction, and what is left of the fuel is compared."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.app.aot_build import compile_module, find_compiler
from gateway.errors import WasmTrap
from gateway.wasm import Engine, Execution, Module, Store, WasiConfig
from tests.runtime_c.loop_modules import assemble, const, get, put, sized, uleb
from tests.runtime_c.test_aot import INSTRUCTIONS_MAX, LOOPS, compare, endless
from tests.runtime_c.toolchain import HOST

X, COUNTER = 1, 2  # locals, behind the parameter
STEP, STEPS = range(2)  # functions
CHUNK = 8192  # what is granted at once without a deadline; with less fuel than that there is nothing new to take up
FUELS = (20, CHUNK - 1, CHUNK, CHUNK + 1, CHUNK + 10, 20000, 100_000)
ROUNDS = 4  # after which each of LOOPS has done enough work for a look at the limits
WAIT = const(0) * 2 + b"\x42\x00\xfe\x01\x02\x00\x1a"  # for no time: it looks at the limits all the same


def call(function: int) -> bytes:
    """``x = function(x)``"""
    return get(X) + b"\x10" + uleb(function) + put(X)


def repeated(body: bytes, rounds: bytes, counter: int = COUNTER) -> bytes:
    """A loop."""
    step = get(counter) + const(1) + bytes([0x6A, 0x22, counter]) + rounds + b"\x49\x0d\x00"
    return const(0) + put(counter) + b"\x03\x40" + body + step + b"\x0b"


def function(code: bytes) -> bytes:
    """``(i32) -> i32`` that returns x."""
    return sized(b"\x01\x02\x7f" + code + get(X) + b"\x0b")


OPERATIONS = {**{name: code for name, (code, _) in LOOPS.items()}, "memory.atomic.wait32": WAIT}
BODIES = {
    "step": sized(b"\x00" + get(0) + const(31) + b"\x6c\x0b"),
    "steps": sized(b"\x00" + get(0) + b"\x10\x00\x10\x00\x0b"),
    **{
        name: function(repeated(call(STEP) * 3 + code + call(STEP) * 2, const(ROUNDS)))
        for name, code in OPERATIONS.items()
    },
    # Most of what takes from the budget is the same kind of call, so one of them finds it used up.
    "leaves": function(repeated(call(STEP) * 8, const(2500))),
    "callers": function(repeated(call(STEPS) * 8, const(1000))),
}


@pytest.mark.parametrize("checked", [False, True], ids=["guard", "checked"])
def test_fuel_is_counted_on_behind_what_takes_up_another_budget(checked: bool, tmp_path: Path) -> None:
    module = tmp_path / "budget.wasm"
    module.write_bytes(assemble(BODIES, parameters=1, pages=16, segments=True, shared=True))
    artefact = tmp_path / "budget.so"
    compile_module(find_compiler(HOST), "budget", module.read_bytes(), artefact, checked=checked)
    bounds = "checked" if checked else "guard"
    for fuel in FUELS:
        compare("native", artefact, [module], "--bounds", bounds, "--fuel", str(fuel), "--seeds", "2", calls_min=20)
    compare("native", artefact, [module], "--bounds", bounds, "--sweep", "30")


# Of a loop, from anew. Behind some numbers of them the call that interrupts is itself the next look: no round is begun.
ENTRIES = range(200, 208)


@pytest.mark.parametrize("what", ["memory.atomic.wait32", *(name for name in LOOPS if "." in name)])
def test_what_looks_at_the_limits_grants_nothing_beside_an_allowance(what: str, tmp_path: Path) -> None:
    """A loop without calls has taken the budget, and gives it back: another one would add up with each entry."""
    once = b"\x03\x40" + OPERATIONS[what] * 2 + const(0) + b"\x0d\x00\x0b"
    one_byte = const(4) + const(1) + b"\x36\x02\x00" + const(1) + const(0) + const(1) + const(8) + b"\x10\x00\x1a"
    a_call = const(0) * 4 + b"\x10\x01\x1a"  # so the loop around does not take the budget itself
    entries = repeated(a_call + once, get(0), counter=4)
    bodies = {
        "nothing": sized(b"\x00" + const(0) + b"\x0b"),
        "run": sized(b"\x01\x01\x7f" + entries + one_byte + endless(LOOPS["short"][0])),
        "rounds": sized(b"\x00\x23\x00\x0b"),
    }
    module = assemble(
        bodies, parameters=4, pages=16, segments=True, shared=True, imports=[("wasi_snapshot_preview1", "fd_write")]
    )
    compile_module(find_compiler(HOST), "it", module, tmp_path / "it.so")
    rounds = [rounds_after(entry_count, module, tmp_path / "it.so") for entry_count in ENTRIES]
    assert 1 <= max(rounds) <= INSTRUCTIONS_MAX // LOOPS["short"][1] + 1


def rounds_after(entry_count: int, module: bytes, artefact: Path) -> int:
    """Of the endless loop, until the call is interrupted."""
    with Engine() as engine, Module(engine, "it", module) as loaded:
        loaded.attach(artefact, module)
        with Store(engine) as store, Execution(engine) as execution:
            wasi = WasiConfig(output=lambda _stream, _text: execution.interrupt())
            instance = store.instantiate(loaded, execution, wasi=wasi)
            with pytest.raises(WasmTrap, match="interrupted"):
                instance.func("run").call(execution, entry_count, 0, 0, 0)
            (rounds,) = instance.func("rounds").call(execution, 0, 0, 0, 0)
            return int(rounds or 0)


# ---- the stack ----

SMALL, LARGE, TO_LARGE, FINDS_LARGE = range(4)
LOCALS = 200  # of the larger one
STACKS = (4096, 20000, 65536)
TABLES = {"frames of one size": [LARGE], "of several": [LARGE, SMALL]}


def frame(local_count: int) -> bytes:
    """A function that returns its argument."""
    return sized(b"\x01" + uleb(local_count) + b"\x7f" + get(0) + b"\x0b")


def direct(function: int) -> bytes:
    """A call."""
    return get(0) + b"\x10" + uleb(function) + b"\x1a"


def found(function: int) -> bytes:
    """By reference."""
    return get(0) + b"\xd2" + uleb(function) + b"\x14\x00\x1a"


def indirect(element: int) -> bytes:
    """Out of the table, to which nobody writes."""
    return get(0) + const(element) + b"\x11\x00\x00\x1a"


WAYS = {
    "a small leaf": direct(SMALL),
    "a large leaf": direct(LARGE),
    "a small one that was found": found(SMALL),
    "a large one that was found": found(LARGE),
    "the first of the table": indirect(0),
    "the second": indirect(1),
    "one that ends in a large one": direct(TO_LARGE),
    "one that ends in a large one that was found": direct(FINDS_LARGE),
}
FRAMES = {
    "small": frame(1),
    "large": frame(LOCALS),
    "to large": sized(b"\x00" + get(0) + b"\x12" + uleb(LARGE) + b"\x0b"),
    "finds large": sized(b"\x00" + get(0) + b"\xd2" + uleb(LARGE) + b"\x15\x00\x0b"),
}
# Each calls one in such a way, and then itself.
RECURSIONS = {
    way: sized(b"\x00" + code + get(0) + const(1) + b"\x6a\x10" + uleb(len(FRAMES) + number) + b"\x0b")
    for number, (way, code) in enumerate(WAYS.items())
}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("stack", STACKS)
def test_the_stack_ends_at_the_same_call(stack: int, table: str, tmp_path: Path) -> None:
    """Which fits or not by the frame of what is called; all calls up to there have been counted."""
    module = tmp_path / "frames.wasm"
    module.write_bytes(assemble({**FRAMES, **RECURSIONS}, parameters=1, table=TABLES[table]))
    artefact = tmp_path / "frames.so"
    compile_module(find_compiler(HOST), "frames", module.read_bytes(), artefact)
    compare("native", artefact, [module], "--stack", str(stack), calls_min=30)


C_STACK, STACK = 1 << 20, 1 << 26  # bytes: calls that fit the one surely fit the other
KEPT = 60  # numbers that are needed behind the call: the stack of C ends before the budget does
ENDLESS = {"direct": direct(0), "found": found(1)}


def keeping(code: bytes) -> bytes:
    """The code, within a function that loads numbers before and adds them up afterwards."""
    loads = b"".join(get(0) + b"\x28\x02" + uleb(4 * number) + put(number) for number in range(1, KEPT + 1))
    total = get(0) + b"".join(get(number) + b"\x6a" for number in range(1, KEPT + 1))
    return sized(b"\x01" + uleb(KEPT) + b"\x7f" + loads + code + total + b"\x0b")


@pytest.mark.parametrize("way", ENDLESS)
def test_the_stack_of_c_ends_in_a_trap_too(way: str, tmp_path: Path) -> None:
    module = assemble({name: keeping(code) for name, code in ENDLESS.items()}, parameters=1)
    compile_module(find_compiler(HOST), "it", module, tmp_path / "it.so")
    with Engine() as engine, Module(engine, "it", module) as loaded:
        loaded.attach(tmp_path / "it.so", module)
        with Store(engine) as store, Execution(engine, stack_bytes=STACK) as execution:
            func = store.instantiate(loaded, execution).func(way)
            before = threading.stack_size(C_STACK)
            try:
                with ThreadPoolExecutor(1) as thread, pytest.raises(WasmTrap) as trap:
                    thread.submit(func.call, execution, 0).result()
            finally:
                threading.stack_size(before)
    assert trap.value.status == "TRAP_STACK"
    assert trap.value.depth > 1000
