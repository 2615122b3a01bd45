"""``python -m bench.document``: what docs/performance.md and .svg quote, from docs/performance.json.

The JSON is one run of ``python -m bench --only engine --out docs/performance.json``; a test compares all three.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from bench.flow import ROOT

DOCS = ROOT / "docs"
BEGIN, END = "<!-- from performance.json: begin -->\n", "<!-- from performance.json: end -->\n"
COSTS = {
    "call.host_to_wasm_ns": "call from C into WebAssembly, ns",
    "call.host_to_aot_ns": "the same, compiled ahead of time, ns",
    "call.wasm_to_host_ns": "call from WebAssembly into C, ns",
    "call.wasm_to_wasm_ns": "call from WebAssembly to WebAssembly, ns",
    "call.python_ns": "call from Python, ns",
    "instantiate_us": "instantiate and destroy, µs",
    "instance_rss_bytes": "resident memory of an idle instance, bytes",
    "load_ms_per_mb": "load, validate and translate, ms per MB of module",
    "text_bytes": "machine code of the engine, bytes",
}
NAMES = {"interp": "interpreter", "aot": "ahead of time", "wabt": "wabt interp"}
COLOURS = ("#1b6ca8", "#2a9d5c", "#e07b39", "#8e5aa8", "#777777")
LEFT, TOP, ROW, BAR, WIDTH = 130, 40, 14, 11, 760


def main() -> int:
    """Write both files anew."""
    report = json.loads((DOCS / "performance.json").read_text(encoding="utf-8"))
    page = DOCS / "performance.md"
    page.write_text(fill_in(page.read_text(encoding="utf-8"), report), encoding="utf-8")
    (DOCS / "performance.svg").write_text(plot(report["engine"]), encoding="utf-8")
    return 0


def fill_in(page: str, report: Mapping[str, Any]) -> str:
    """The page with its tables taken from the report."""
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    return before + BEGIN + _tables(report) + END + after


def engines(report: Mapping[str, Any]) -> list[str]:
    """The engines that were compared to native code."""
    return [key.removesuffix(".geomean") for key in report if key.endswith(".geomean")]


def _tables(report: Mapping[str, Any]) -> str:
    machine, engine = report["machine"], report["engine"]
    names = engines(engine)
    rows = [["times native", *(NAMES.get(name, name) for name in names), "instructions"], ["---"] * (len(names) + 2)]
    for kernel, one in engine["kernels"].items():
        counted = one.get("instructions", {}).get("ratio")
        rows.append([kernel, *(_number(one["ratio"].get(name)) for name in names), _number(counted)])
    rows.append(["**geometric mean**", *(f"**{_number(engine[f'{name}.geomean'])}**" for name in names), ""])
    costs = [["what it costs", ""], ["---", "---:"]]
    costs += [[text, f"{engine[key]:,}"] for key, text in COSTS.items() if key in engine]
    versions = ", ".join(f"{name} {version}" for name, version in engine["engines"].items())
    about = f"{machine['processor']}, {machine['cores']} cores; {machine['cc']}; {versions}; {engine['rounds']} rounds."
    return f"{about}\n\n{_markdown(rows)}\n{_markdown(costs)}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def plot(report: Mapping[str, Any]) -> str:
    """Bars of the ratios, on a logarithmic scale; shorter is faster. The same report gives the same text."""
    names = engines(report)
    groups = [(kernel, one["ratio"]) for kernel, one in report["kernels"].items()]
    groups.append(("geometric mean", {name: report[f"{name}.geomean"] for name in names}))
    most = max(value for _, ratios in groups for value in ratios.values())
    decades = math.ceil(math.log10(most))
    scale = (WIDTH - LEFT - 50) / (decades + 1)  # from 0.1
    step = ROW * len(names) + 10
    height = TOP + step * len(groups) + 10
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" '
        f'font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for power in range(-1, decades + 1):
        x = LEFT + scale * (power + 1)
        lines.append(f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{height - 10}" stroke="#dddddd"/>')
        lines.append(f'<text x="{x:.1f}" y="{TOP - 10}" text-anchor="middle">{10.0**power:g}×</text>')
    for number, name in enumerate(names):
        x = LEFT + 110 * number
        lines.append(f'<rect x="{x}" y="8" width="10" height="10" fill="{COLOURS[number % len(COLOURS)]}"/>')
        lines.append(f'<text x="{x + 14}" y="17">{NAMES.get(name, name)}</text>')
    for row, (kernel, ratios) in enumerate(groups):
        lines += _bars(TOP + step * row, kernel, [ratios.get(name) for name in names], scale)
    return "\n".join([*lines, "</svg>\n"])


def _bars(y: int, kernel: str, ratios: Sequence[float | None], scale: float) -> list[str]:
    lines = [f'<text x="{LEFT - 8}" y="{y + 10}" text-anchor="end">{kernel}</text>']
    for number, ratio in enumerate(ratios):
        if ratio is None:
            continue
        length, at = max(1.0, scale * (math.log10(ratio) + 1)), y + ROW * number
        colour = COLOURS[number % len(COLOURS)]
        lines.append(f'<rect x="{LEFT}" y="{at}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>')
        lines.append(f'<text x="{LEFT + length + 4:.1f}" y="{at + 10}">{ratio:.2f}</text>')
    return lines


if __name__ == "__main__":
    sys.exit(main())
