"""The engine: kernels against native code and other engines, and what calls cost."""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import calls, deadlines
from bench.engines import CannotRun, Engine, found
from bench.flow import build_tool
from bench.kernels import KERNELS, Kernel, build

ROUNDS = 5
INSTRUCTIONS = re.compile(r"I\s+refs:\s+([\d,]+)")
Samples = Mapping[str, list[int]]


def measure() -> dict[str, Any]:
    """Ratios to native code per kernel and their geometric means, instruction counts, nanoseconds per call."""
    if shutil.which("cc") is None:
        return {"measured": False, "reason": "there is no cc to compile the native side with"}
    bench_call = build_tool("bench_call")
    build()
    engines = found(bench_call)
    report: dict[str, Any] = {
        "what": "ratio of the time of one call to that of native code; loading and compiling not included",
        "native": "cc -O2",
        "wasm": "zig cc -O2, wasm32",
        "engines": {engine.name: engine.version for engine in engines if engine.version},
        "rounds": ROUNDS,
        "kernels": {},
    }
    for kernel in KERNELS:
        print(f"  {kernel.name}", file=sys.stderr, flush=True)
        report["kernels"][kernel.name] = {**_kernel(engines, kernel), **_instructions(bench_call, kernel)}
    report |= _means(report["kernels"], [engine.name for engine in engines if engine.name != "native"])
    report |= calls.measure(bench_call)
    report["deadline"] = deadlines.measure()
    print(table(report), file=sys.stderr)
    return report


def _kernel(engines: list[Engine], kernel: Kernel) -> dict[str, Any]:
    """Interleaved rounds: what disturbs one engine disturbs the next ones about as often."""
    whole: dict[str, list[int]] = {}
    few: dict[str, list[int]] = {}
    refused: dict[str, str] = {}
    for _ in range(ROUNDS):
        for work, into in ((kernel.work, whole), (kernel.few, few)):
            runs = [one for one in engines if one.name not in refused and one.few in (None, work == kernel.few)]
            checksums = {}
            for engine in runs:
                try:
                    checksums[engine.name], took = engine.run(kernel, work)
                except CannotRun as reason:
                    refused[engine.name] = str(reason)
                else:
                    into.setdefault(engine.name, []).append(took)
            if len(set(checksums.values())) != 1:
                raise RuntimeError(f"{kernel.name}: the engines disagree: {checksums}")
    return {
        "median_ms": {name: round(statistics.median(times) / 1e6, 3) for name, times in whole.items()},
        "ratio": {**_ratios(whole), **_ratios(few)},
        "spread": {
            name: round((max(times) - min(times)) / statistics.median(times), 2) for name, times in whole.items()
        },
        **({"refused": refused} if refused else {}),
    }


def _spread(times: list[int]) -> float:
    return round((max(times) - min(times)) / statistics.median(times), 2)


def _ratios(times: Samples) -> dict[str, float]:
    native = statistics.median(times["native"])
    return {name: round(statistics.median(took) / native, 2) for name, took in times.items() if name != "native"}


def _means(kernels: Mapping[str, Any], names: list[str]) -> dict[str, float]:
    """``interp.geomean`` and so on: over the kernels the engine can run."""
    return {
        f"{name}.geomean": round(
            statistics.geometric_mean(one["ratio"][name] for one in kernels.values() if name in one["ratio"]), 2
        )
        for name in names
    }


def _instructions(bench_call: Path, kernel: Kernel) -> dict[str, Any]:
    """Machine instructions that ``few`` takes, start-up not counted, and how many times as many as native code."""
    if shutil.which("valgrind") is None:
        return {}
    native = _count(kernel, [kernel.native])
    interp = _count(kernel, [bench_call, kernel.wasm, "run"])
    return {"instructions": {"native": native, "interp": interp, "ratio": round(interp / native, 2)}}


def _count(kernel: Kernel, command: list[Path | str]) -> int:
    def instructions(work: int) -> int:
        valgrind = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
        done = subprocess.run([*valgrind, *command, str(work)], check=True, capture_output=True, text=True)
        match = INSTRUCTIONS.search(done.stderr)
        if match is None:
            raise RuntimeError(f"cachegrind: {done.stderr}")
        return int(match[1].replace(",", ""))

    return instructions(kernel.few) - instructions(0)


def table(report: Mapping[str, Any]) -> str:
    """The ratios, as a short table."""
    names = [name.removesuffix(".geomean") for name in report if name.endswith(".geomean")]
    rows = [["times native", *names]]
    for kernel, one in report["kernels"].items():
        rows.append([kernel, *(f"{one['ratio'][name]:.2f}" if name in one["ratio"] else "-" for name in names)])
    rows.append(["geometric mean", *(f"{report[f'{name}.geomean']:.2f}" for name in names)])
    lines = [row[0].ljust(16) + "".join(cell.rjust(10) for cell in row[1:]) for row in rows]
    costs = [f"{key} {report[key]}" for key in calls.KEYS if key in report]
    return "\n".join([*lines, *costs])
