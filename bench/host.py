"""What the gateway itself needs: the demo's site without a terminal, memory and processor time of ``penstock run``, and
how fast it starts."""

from __future__ import annotations

import asyncio
from typing import Any

from bench import start
from gateway.app.demo import Options, run

SECONDS = 30
RSS_BAR_BYTES = 64 * 1024 * 1024


def measure() -> dict[str, Any]:
    """Peak resident memory (bar: 64 MiB) and processor use, in per cent of one core, start-up included."""
    summary, cpu_s = asyncio.run(run(Options(SECONDS, None), say=_quiet))
    return {
        "what": f"penstock run with gateway/app/demo_site.toml for {SECONDS} s: 16 tags on two buses to MQTT",
        "rss_peak_bytes": summary["rss_peak_bytes"],
        "bar_rss_bytes": RSS_BAR_BYTES,
        "bar_met": summary["rss_peak_bytes"] <= RSS_BAR_BYTES,
        "cpu_percent_of_one_core": round(100 * cpu_s / summary["uptime_s"], 2),
        "samples_per_s": round(summary["samples"] / summary["uptime_s"], 1),
        "start": start.measure(),
        "summary": summary,
    }


def _quiet(_: str) -> None:
    """The bench prints JSON only."""
