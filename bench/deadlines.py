"""How long after its deadline a call ends, whatever the module does (``bench/deadlines.c``, ``bench_deadlines``)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.flow import ROOT, build_tool
from bench.kernels import BUILD, WASM_FLAGS, compile_aot

ENGINES = ("interp", "aot")
DEADLINES_US = (100, 1000)
ROUNDS = 400
# How a call does not end, and the control that needs of the machine what it needs.
WAYS = {
    "loop": "looks",
    "branch_table": "looks",
    "recursion": "looks",
    "host_calls": "yields",
    "memory_fill": "fills",
    "memory_copy": "fills",
    "straight_code": "looks",
    "waiting": "looks",
}
CONTROLS = ("looks", "yields", "fills")


def measure() -> dict[str, Any]:
    """Per way and engine: microseconds from the call to its end, for each deadline: median, 99th percentile, most.

    ``late``: calls that took longer than twice the deadline or 200 µs, whichever is more, by the clock, in which a busy
    machine's scheduler has its share; ``late_processor``: also by the processor time of the calling thread, in which it
    has none. What a hypervisor takes from the machine, or its memory, is in both: ``control`` counts alike the turns of
    loops that write to as many pages as a call touches, then do nothing but look at the clock, and yield or fill a page
    in between. ``per_mille``: late ones of ``late_processor``, beside those of the control that needs of the machine
    what the way needs. Where nothing is taken away, ``tests/hil/test_deadlines.py`` measures.
    """
    tool, module = build_tool("bench_deadlines"), build()
    artefact = module.with_suffix(".so")
    compile_aot(module, artefact)
    report: dict[str, Any] = {"rounds": ROUNDS, "calls": 0, "late": 0, "late_processor": 0}
    report |= {name: {way: {} for way in WAYS} for name in ENGINES} | {"control": {way: {} for way in CONTROLS}}
    for engine in ENGINES:
        options = ["--aot", str(artefact)] if engine == "aot" else []
        command: list[Path | str] = [tool, module, *options, str(ROUNDS), *map(str, DEADLINES_US)]
        for row in rows(subprocess.run(command, check=True, capture_output=True, text=True).stdout):
            name, deadline = row.pop("name"), f"{row.pop('deadline_us')}_us"
            if name in CONTROLS:
                report["control"][name][f"{engine}_{deadline}"] = row
                continue
            report[engine][name][deadline] = row
            for figure in ("calls", "late", "late_processor"):
                report[figure] += row[figure]
    report["per_mille"] = {need: _per_mille(report, need) for need in CONTROLS}
    return report


def build() -> Path:
    """The module with all the ways."""
    BUILD.mkdir(parents=True, exist_ok=True)
    path = BUILD / "deadlines.wasm"
    command = [sys.executable, "-m", "ziglang", "cc", *WASM_FLAGS, "-mbulk-memory"]
    subprocess.run([*command, str(ROOT / "bench" / "deadlines.c"), "-o", str(path)], check=True)
    return path


def rows(output: str) -> list[dict[str, Any]]:
    """What ``bench_deadlines`` tells, among other lines of a console."""
    return [json.loads(line) for line in output.splitlines() if line.startswith('{"name": ')]


def _per_mille(report: dict[str, Any], need: str) -> dict[str, float]:
    ways = [row for name in ENGINES for way in WAYS if WAYS[way] == need for row in report[name][way].values()]
    both = {"engine": ways, "control": list(report["control"][need].values())}
    return {
        who: round(1000 * sum(row["late_processor"] for row in of) / sum(row["calls"] for row in of), 2)
        for who, of in both.items()
    }
