"""The engines that are compared: each runs a kernel once and tells its checksum and how long the call took."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import wasmtime

from bench.kernels import Kernel

Run = Callable[[Kernel, int], tuple[int, int]]  # (kernel, work) -> (checksum, ns)
WABT = "wasm-interp"
WASM3_STACK_BYTES = 1 << 20


class CannotRun(Exception):
    """The engine refuses this module."""


@dataclass(frozen=True, slots=True)
class Engine:
    """``few``: too slow for a whole round, runs ``kernel.few`` and is compared to native code doing the same. None:
    runs both."""

    name: str
    version: str
    run: Run
    few: bool | None = False


def found(bench_call: Path) -> list[Engine]:
    """Native code, this runtime, and the other engines that are installed."""
    engines = [
        Engine("native", "", lambda kernel, work: _answer(kernel.native, str(work)), few=None),
        Engine("interp", "", lambda kernel, work: _answer(bench_call, kernel.wasm, "run", str(work))),
        Engine("aot", "", lambda kernel, work: _answer(bench_call, kernel.wasm, "run", str(work), "--aot", kernel.aot)),
    ]
    engines.append(Engine("wasmtime", importlib.metadata.version("wasmtime"), _wasmtime))
    if importlib.util.find_spec("wasm3"):
        engines.append(Engine("wasm3", importlib.metadata.version("pywasm3"), _wasm3))
    if shutil.which(WABT):
        version = subprocess.run([WABT, "--version"], check=True, capture_output=True, text=True).stdout.strip()
        engines.append(Engine("wabt", version, _wabt, few=True))
    return engines


def _answer(*command: Path | str) -> tuple[int, int]:
    answer = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return int(answer["result"]), int(answer["ns"])


def _wasmtime(kernel: Kernel, work: int) -> tuple[int, int]:
    store = wasmtime.Store()
    module = wasmtime.Module.from_file(store.engine, str(kernel.wasm))
    run = wasmtime.Instance(store, module, []).exports(store)["run"]
    assert isinstance(run, wasmtime.Func)
    begin = time.perf_counter_ns()
    checksum = run(store, work)
    return checksum, time.perf_counter_ns() - begin


def _wasm3(kernel: Kernel, work: int) -> tuple[int, int]:
    import wasm3  # it does not install everywhere

    environment = wasm3.Environment()
    runtime = environment.new_runtime(WASM3_STACK_BYTES)
    try:
        runtime.load(environment.parse_module(kernel.wasm.read_bytes()))
        run = runtime.find_function("run")
        run(0)  # it compiles when first called
        begin = time.perf_counter_ns()
        checksum = run(work)
    except RuntimeError as error:
        raise CannotRun(str(error)) from error
    return int(checksum), time.perf_counter_ns() - begin


def _wabt(kernel: Kernel, work: int) -> tuple[int, int]:
    """The whole process: starting it takes about 2 ms, which is little to what it runs."""
    assert work == kernel.few
    command = [WABT, str(kernel.wasm_few), "--run-all-exports"]
    begin = time.perf_counter_ns()
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    took = time.perf_counter_ns() - begin
    answer = re.search(r"fixed\(\) => i32:(\d+)", output)
    if answer is None:
        raise CannotRun(output)
    bits = int(answer[1])
    return bits - (bits >> 31 << 32), took
