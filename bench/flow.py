"""Ring throughput, measured by ``runtime_c/tools/bench_ring.c``."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 5


def build_tool(name: str) -> Path:
    """Compile a tool of runtime_c for this machine and return its path."""
    build = ROOT / "build" / "bench"
    command = ["make", "-s", "-C", str(ROOT / "runtime_c"), f"BUILD={build}", f"PYTHON={sys.executable}", "tools"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return build / "tools" / name


def measure() -> dict[str, Any]:
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
    }
