"""What the engine and modules cost: size of its code, time and memory to load, time and memory of an instance."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.flow import ROOT, build_tool

BUILD = ROOT / "build" / "bench"
PLUGINS = ROOT / "build" / "plugins"
LARGE = ROOT / "bench" / "large.cpp"
SIZE_FLAGS = "-Os -fno-asynchronous-unwind-tables"  # tables for back-traces of compiled code are no code
COUNTED = ("wasm", "wasi")  # folders of runtime_c
ROUNDS = 31
RATIO_BYTES_MIN = 683  # what is smaller may need more than six times its size (wr_limits.load_bytes_min)
# One page of memory, nothing else: (module (memory (export "m") 1 1)).
ONE_PAGE = b"\0asm\1\0\0\0" + bytes([5, 4, 1, 1, 1, 1, 7, 5, 1, 1]) + b"m" + bytes([2, 0])


def measure() -> dict[str, Any]:
    """Bytes of code, milliseconds per MB of module, microseconds and resident bytes per instance, and per module."""
    tool = build_tool("bench_footprint")
    paths = [*sorted(PLUGINS.glob("*.wasm")), _large(), _one_page()]
    modules = {path.stem: _module(tool, path) for path in paths}
    loaded = [module for module in modules.values() if module["bytes"] >= RATIO_BYTES_MIN]
    return {
        "what": "modules loaded whole: decoded, validated, translated; instances made, with a store, and freed",
        "text": f"sections of runtime_c/{' and '.join(COUNTED)} that are not written to, cc {SIZE_FLAGS}",
        "load_memory": f"peak of all allocations; the ratio is the worst of modules of {RATIO_BYTES_MIN} bytes or more",
        "text_bytes": text_bytes(),
        "text_bytes_minimal": text_bytes("MINIMAL=1"),
        "load_ms_per_mb": modules["large"]["load_ms_per_mb"],
        "load_memory_ratio": max(module["load_memory_ratio"] for module in loaded),
        "instantiate_us": modules["one_page"]["instantiate_us"],
        "instance_rss_bytes": modules["one_page"]["instance_rss_bytes"],
        "modules": modules,
    }


def text_bytes(*variables: str) -> int:
    """Code and constants of the engine, as ``size`` counts them."""
    build = BUILD / "-".join(("size", *(variable.partition("=")[0].lower() for variable in variables)))
    command = ["make", "-s", "-C", str(ROOT / "runtime_c"), f"BUILD={build}", f"PYTHON={sys.executable}"]
    subprocess.run([*command, "clean"], check=True, stdout=subprocess.DEVNULL)  # removed sources leave objects
    subprocess.run([*command, f"CFLAGS_EXTRA={SIZE_FLAGS}", *variables, "lib"], check=True, stdout=subprocess.DEVNULL)
    objects = [path for folder in COUNTED for path in sorted((build / "obj" / folder).glob("*.o"))]
    sizes = subprocess.run(["size", *objects], check=True, capture_output=True, text=True).stdout
    return sum(int(line.split()[0]) for line in sizes.splitlines()[1:])


def _large() -> Path:
    path = BUILD / "large.wasm"
    if not path.exists() or path.stat().st_mtime < LARGE.stat().st_mtime:
        flags = ["-target", "wasm32-wasi", "-O2", "-fno-exceptions", "-Wl,--strip-all"]
        subprocess.run([sys.executable, "-m", "ziglang", "c++", *flags, str(LARGE), "-o", str(path)], check=True)
    return path


def _one_page() -> Path:
    path = BUILD / "one_page.wasm"
    path.write_bytes(ONE_PAGE)
    return path


def _module(tool: Path, path: Path) -> dict[str, Any]:
    done = subprocess.run([tool, path, str(ROUNDS)], check=True, capture_output=True)
    told = json.loads(done.stdout)
    size = told["module_bytes"]
    facts = {
        "bytes": size,
        "load_ms": round(told["load_ns"] / 1e6, 3),
        "load_ms_per_mb": round(told["load_ns"] / size, 2),  # ns per byte
        "load_memory_ratio": round(told["load_peak_bytes"] / size, 2),
        "kept_bytes": told["module_kept_bytes"],
    }
    if "instantiate_ns" in told:
        facts["instantiate_us"] = round(told["instantiate_ns"] / 1e3, 2)
        facts["instance_rss_bytes"] = told["instance_rss_bytes"]
    return facts
