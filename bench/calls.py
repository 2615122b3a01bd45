"""What calls between host and WebAssembly cost, in C and from Python."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.flow import ROOT
from bench.kernels import BUILD, WASM_FLAGS, compile_aot
from gateway.wasm import Engine, Execution, Module, Store

KEYS = ("call.host_to_wasm_ns", "call.wasm_to_host_ns", "call.wasm_to_wasm_ns", "call.host_to_aot_ns", "call.python_ns")
ROUNDS = 9
CALLS = 200_000


def measure(bench_call: Path) -> dict[str, Any]:
    """Nanoseconds per call of ``add(i32, i32)``; medians of rounds, without what the loop around it takes."""
    module, alone = _build(), _build("-DNO_IMPORTS")
    rounds = [
        json.loads(subprocess.run([bench_call, "--calls", module], check=True, capture_output=True).stdout)
        for _ in range(ROUNDS)
    ]
    in_c = {f"call.{key}": round(statistics.median(one[key] for one in rounds), 2) for key in rounds[0]}
    compile_aot(module, module.with_suffix(".so"))
    command: list[str | Path] = [bench_call, "--calls", module, "--aot", module.with_suffix(".so")]
    compiled = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(ROUNDS)]
    in_c["call.host_to_aot_ns"] = round(statistics.median(one["host_to_wasm_ns"] for one in compiled), 2)
    return {**in_c, "call.python_ns": round(_python(alone), 1)}


def _build(*flags: str) -> Path:
    path = BUILD / f"calls{''.join(flags)}.wasm"
    source = ROOT / "bench" / "calls.c"
    subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", *WASM_FLAGS, *flags, str(source), "-o", str(path)], check=True
    )
    return path


def _python(module: Path) -> float:
    with Engine() as engine, Execution(engine) as execution, Store(engine) as store:
        with Module(engine, "calls", module.read_bytes()) as code:
            add = store.instantiate(code, execution).func("add").typed(execution)
        rounds = []
        for _ in range(ROUNDS):
            rounds.append((_loop_ns(add) - _loop_ns(None)) / CALLS)
    return statistics.median(rounds)


def _loop_ns(add: Callable[..., object] | None) -> int:
    """A loop of CALLS calls, or an empty one."""
    if add is None:
        begin = time.perf_counter_ns()
        for _ in range(CALLS):
            pass
        return time.perf_counter_ns() - begin
    begin = time.perf_counter_ns()
    for _ in range(CALLS):
        add(3, 4)
    return time.perf_counter_ns() - begin
