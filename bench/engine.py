"""The interpreter against native code and wasmtime's compiler, on the kernels of ``bench/kernels.c``."""

from __future__ import annotations

import ctypes
import importlib.metadata
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import wasmtime

from bench.flow import ROOT, build_tool

ROUNDS = 5
SOURCE = ROOT / "bench" / "kernels.c"
BUILD = ROOT / "build" / "bench"
# Kernel -> its argument: about 20 to 40 ms of native work, or the engine under test would take minutes.
WORK = {"fib": 32, "sieve": 60, "matmul": 120, "crc16": 1_500_000, "dispatch": 6_000_000, "etl": 20_000}

Run = Callable[[str, int], tuple[int, int]]  # (kernel, argument) -> (checksum, ns)


def measure() -> dict[str, Any]:
    """Medians of interleaved rounds in ms, and how many times as long as native code each engine takes."""
    if shutil.which("cc") is None:
        return {"measured": False, "reason": "there is no cc to compile the native side with"}
    engines: dict[str, Run] = {"native": _native(), "penstock": _penstock(), "wasmtime": _wasmtime()}
    kernels = {kernel: _kernel(engines, kernel, argument) for kernel, argument in WORK.items()}
    ratios = {
        engine: round(statistics.geometric_mean(kernel["ratio"][engine] for kernel in kernels.values()), 2)
        for engine in engines
    }
    return {
        "what": "one call of each kernel, loading and compiling not included",
        "native": "cc -O2",
        "wasm": "zig cc -O2, wasm32",
        "wasmtime": importlib.metadata.version("wasmtime"),
        "rounds": ROUNDS,
        "kernels": kernels,
        "geomean_ratio_to_native": ratios,
    }


def _kernel(engines: dict[str, Run], kernel: str, argument: int) -> dict[str, Any]:
    took: dict[str, list[int]] = {engine: [] for engine in engines}
    checksums = set()
    for _ in range(ROUNDS):
        for engine, run in engines.items():
            checksum, ns = run(kernel, argument)
            took[engine].append(ns)
            checksums.add(checksum)
    if len(checksums) != 1:
        raise RuntimeError(f"{kernel}: the engines disagree: {checksums}")
    median = {engine: statistics.median(times) for engine, times in took.items()}
    return {
        "median_ms": {engine: round(ns / 1e6, 3) for engine, ns in median.items()},
        "ratio": {engine: round(ns / median["native"], 2) for engine, ns in median.items()},
        "spread": {engine: round((max(times) - min(times)) / median[engine], 2) for engine, times in took.items()},
    }


def _native() -> Run:
    path = BUILD / "kernels.so"
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", str(SOURCE), "-o", str(path)], check=True)
    library = ctypes.CDLL(str(path))

    def run(kernel: str, argument: int) -> tuple[int, int]:
        function = library[kernel]
        begin = time.perf_counter_ns()
        checksum = function(argument)
        return checksum, time.perf_counter_ns() - begin

    return run


def _module() -> Path:
    path = BUILD / "kernels.wasm"
    flags = ["-target", "wasm32-freestanding", "-nostdlib", "-O2", "-Wl,--no-entry", "-Wl,--strip-all"]
    subprocess.run([sys.executable, "-m", "ziglang", "cc", *flags, str(SOURCE), "-o", str(path)], check=True)
    return path


def _penstock() -> Run:
    tool, module = build_tool("bench_call"), _module()

    def run(kernel: str, argument: int) -> tuple[int, int]:
        done = subprocess.run([tool, module, kernel, str(argument)], check=True, capture_output=True)
        answer = json.loads(done.stdout)
        return answer["result"], answer["ns"]

    return run


def _wasmtime() -> Run:
    store = wasmtime.Store()
    module = wasmtime.Module.from_file(store.engine, str(_module()))
    exports = wasmtime.Instance(store, module, []).exports(store)

    def run(kernel: str, argument: int) -> tuple[int, int]:
        function = exports[kernel]
        assert isinstance(function, wasmtime.Func)
        begin = time.perf_counter_ns()
        checksum = function(store, argument)
        return checksum, time.perf_counter_ns() - begin

    return run
