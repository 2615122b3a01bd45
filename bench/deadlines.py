"""How long after its deadline a call ends, whatever the module does (``bench/deadlines.c``)."""

from __future__ import annotations

import math
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.flow import ROOT
from bench.kernels import BUILD, WASM_FLAGS, compile_aot
from gateway.native import ffi, lib, status_name
from gateway.wasm import Engine, Execution, Func, Module, Store, WasiConfig

ENGINES = ("interp", "aot")
DEADLINES_US = (100, 1000)
ROUNDS = 400
LATE_US = 200  # or twice the deadline, whichever is more: the bar
Took = tuple[float, float]  # microseconds by the clock and of processor time


@dataclass(frozen=True, slots=True)
class Way:
    """How a call does not end, and the control that needs of the machine what it needs."""

    control: str
    arguments: tuple[int, ...] = ()


WAYS = {
    "loop": Way("looks"),
    "branch_table": Way("looks"),
    "recursion": Way("looks", (60,)),
    "host_calls": Way("yields"),
    "memory_fill": Way("fills"),
    "memory_copy": Way("fills"),
    "straight_code": Way("looks"),
    "waiting": Way("looks"),
}
PAGE = bytes(4096)
FILLED = memoryview(bytearray(len(PAGE) << 13))  # as much as the module fills


def _fill(turn: int) -> None:
    at = turn * len(PAGE) % len(FILLED)
    FILLED[at : at + len(PAGE)] = PAGE


CONTROL: dict[str, Callable[[int], object]] = {"looks": int, "yields": lambda _: os.sched_yield(), "fills": _fill}


def measure() -> dict[str, Any]:
    """Per way and engine: microseconds from the call to its end, for each deadline: median and 99th percentile.

    ``late``: calls that took longer than the bar by the clock, in which a busy machine's scheduler has its share;
    ``late_processor``: also by the processor time of the calling thread, in which it has none. What a hypervisor takes
    from the machine, or its memory, is in both: ``control`` counts alike the turns of loops of Python that do nothing
    but look at the clock, and yield or fill a page in between. ``per_mille``: late ones of ``late_processor``, beside
    those of the control that needs of the machine what the way needs.
    """
    module = _build()
    artefact = module.with_suffix(".so")
    compile_aot(module, artefact)
    report: dict[str, Any] = {"rounds": ROUNDS, "calls": 0, "late": 0, "late_processor": 0}
    report |= {name: {way: {} for way in WAYS} for name in ENGINES} | {"control": {way: {} for way in CONTROL}}
    for name in ENGINES:
        for deadline_us in DEADLINES_US:
            for way, took in _ends(module, artefact if name == "aot" else None, deadline_us).items():
                row = _row(took, deadline_us)
                if way in CONTROL:
                    report["control"][way][f"{name}_{deadline_us}_us"] = row
                    continue
                report[name][way][f"{deadline_us}_us"] = row
                report["calls"] += len(took)
                report["late"] += row["late"]
                report["late_processor"] += row["late_processor"]
    report["per_mille"] = {need: _per_mille(report, need) for need in CONTROL}
    return report


def _per_mille(report: dict[str, Any], need: str) -> dict[str, float]:
    rows = [row for name in ENGINES for way in WAYS if WAYS[way].control == need for row in report[name][way].values()]
    control = list(report["control"][need].values())
    late = {
        who: sum(row["late_processor"] for row in of) / len(of) for who, of in (("engine", rows), ("control", control))
    }
    return {who: round(1000 * count / ROUNDS, 2) for who, count in late.items()}


def _row(took: list[Took], deadline_us: int) -> dict[str, float]:
    bar = max(2 * deadline_us, LATE_US)
    clock = sorted(one for one, _ in took)
    return {
        "median": round(statistics.median(clock), 1),
        "p99": round(clock[math.ceil(0.99 * len(clock)) - 1], 1),
        "late": sum(one > bar for one in clock),
        "late_processor": sum(min(both) > bar for both in took),
    }


def _build() -> Path:
    BUILD.mkdir(parents=True, exist_ok=True)
    path = BUILD / "deadlines.wasm"
    command = [sys.executable, "-m", "ziglang", "cc", *WASM_FLAGS, "-mbulk-memory"]
    subprocess.run([*command, str(ROOT / "bench" / "deadlines.c"), "-o", str(path)], check=True)
    return path


def _ends(path: Path, artefact: Path | None, deadline_us: int) -> dict[str, list[Took]]:
    """How long until the trap, per way, and of the control; all take turns, in an order that changes."""
    order = [*WAYS, *CONTROL]
    took: dict[str, list[Took]] = {way: [] for way in order}
    shuffler = random.Random(0)
    with Engine() as engine, Execution(engine, deadline_us=deadline_us) as execution, Store(engine) as store:
        module = Module(engine, "deadlines", path.read_bytes())
        if artefact is not None:
            module.attach(artefact, path.read_bytes())
        instance = store.instantiate(module, execution, wasi=WasiConfig())
        module.close()
        functions = {way: instance.func(way) for way in WAYS}
        for way in WAYS:
            _one(functions[way], execution, WAYS[way].arguments)  # touches what it needs
        for _ in range(ROUNDS):
            shuffler.shuffle(order)
            for way in order:
                if way in CONTROL:
                    took[way].append(_controlled(CONTROL[way], deadline_us))
                else:
                    took[way].append(_one(functions[way], execution, WAYS[way].arguments))
    return took


def _controlled(step: Callable[[int], object], deadline_us: int) -> Took:
    begin, begin_processor = time.perf_counter_ns(), time.thread_time_ns()
    end = begin + deadline_us * 1000
    turn = 0
    while time.perf_counter_ns() < end:
        step(turn)
        turn += 1
    return (time.perf_counter_ns() - begin) / 1e3, (time.thread_time_ns() - begin_processor) / 1e3


def _one(function: Func, execution: Execution, arguments: tuple[int, ...]) -> Took:
    """Until the engine returns; that Python then raises an exception, with a back-trace, is not its affair."""
    slots, clock_ns = function._slots(arguments), ffi.new("uint64_t *")
    begin_processor = time.thread_time_ns()
    status = lib.wr_call_timed(execution.start(), function._pointer, slots, slots, clock_ns, 1)
    took = clock_ns[0] / 1e3, (time.thread_time_ns() - begin_processor) / 1e3
    if (name := status_name(status)) != "TRAP_DEADLINE":
        raise RuntimeError(f"{function.name} ended with {name}")
    return took
