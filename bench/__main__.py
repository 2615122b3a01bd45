"""``python -m bench [--only PART] [--out FILE]``: one JSON object with the machine and the parts that were measured."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import engine, flow, footprint, host, machine, ota

PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "engine": engine.measure,
    "flow": flow.measure,
    "footprint": footprint.measure,
    "host": host.measure,
    "ota": ota.measure,
}


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and return 1 if a bar that a part has is missed."""
    parser = argparse.ArgumentParser(prog="bench", description="measure and print one JSON object")
    parser.add_argument("--only", choices=PARTS, help="one part (default: all)")
    parser.add_argument("--out", type=Path, help="write the JSON there as well")
    options = parser.parse_args(arguments)
    report: dict[str, Any] = {"machine": machine.facts()}
    for part in [options.only] if options.only else PARTS:
        print(f"measuring {part} ...", file=sys.stderr, flush=True)
        report[part] = PARTS[part]()
    text = json.dumps(report, indent=2, ensure_ascii=False)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    return 1 if any(part.get("bar_met") is False for part in report.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
