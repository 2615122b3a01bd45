"""The data plane: rings (``runtime_c/tools/bench_ring.c``) and stages (``bench/stages.py``)."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import stages

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 5


def build_tool(name: str) -> Path:
    """Compile a tool of runtime_c for this machine and return its path."""
    build = ROOT / "build" / "bench"
    command = ["make", "-s", "-C", str(ROOT / "runtime_c"), f"BUILD={build}", f"PYTHON={sys.executable}", "tools"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return build / "tools" / name


RECORDS_PER_S_BAR = 10_000_000  # of 32 bytes, in batches, where two cores are free
HOP_BARS = {"hop_ratio_aot": 2.0, "hop_ratio_interp": 12.0}  # times a C function that does the same


def measure() -> dict[str, Any]:
    """Rings, swaps, a chain, density and start."""
    parts = {name: part() for name, part in PARTS.items()}
    return {**parts, "bar_met": all(part["bar_met"] for part in parts.values())}


def ring() -> dict[str, Any]:
    """Nanoseconds per 32-byte record from a producer thread to a consumer thread; medians of interleaved rounds."""
    tool = build_tool("bench_ring")
    rounds = [json.loads(subprocess.run([tool], check=True, capture_output=True).stdout) for _ in range(ROUNDS)]
    results = []
    for runs in zip(*rounds, strict=True):
        median = statistics.median(run["ns_per_record"] for run in runs)
        results.append(
            {
                "batch_records": runs[0]["batch"],
                "ns_per_record": median,
                "records_per_s": round(1e9 / median),
                "ns_per_record_rounds": [run["ns_per_record"] for run in runs],
            }
        )
    return {
        "what": "host producer thread to host consumer thread through one ring, each record filled, copied in and out",
        "record_bytes": 32,
        "rounds": ROUNDS,
        "results": results,
        "bar_records_per_s": RECORDS_PER_S_BAR,
        "bar_met": max(one["records_per_s"] for one in results) >= RECORDS_PER_S_BAR,
    }


def chain() -> dict[str, Any]:
    """Samples through four stages, and what one hop costs beside the same in C."""
    found = stages.chain()
    hops = {"hop_ratio_aot": _hop_ratio(compiled=True), "hop_ratio_interp": _hop_ratio(compiled=False)}
    return {
        **found,
        "hop": "scale between two rings over a C function that does the same, rounds of 4096 records in turns, median",
        **hops,
        **{f"bar_{name}": bar for name, bar in HOP_BARS.items()},
        "bar_met": found["bar_met"] and all(hops[name] <= bar for name, bar in HOP_BARS.items()),
    }


def _hop_ratio(*, compiled: bool) -> float:
    """The time of one record through a stage over that of the C function, in the same process."""
    tool, scale = build_tool("bench_hop"), stages.built("scale")
    with tempfile.TemporaryDirectory(prefix="penstock-hop-") as folder:
        command = [str(tool), str(ROOT / "build" / "plugins" / "scale.wasm"), scale.packed({}).hex()]
        if compiled:
            command.append(str(scale.compiled(Path(folder)).artefact))
        runs = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(ROUNDS)]
    rounds = [one for run in runs for one in run]
    return float(round(statistics.median(one["stage_ns"] / one["c_ns"] for one in rounds), 2))


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "ring": ring,
    "swap": stages.swap,
    "chain": chain,
    "density": stages.density,
    "start": stages.start,
}
