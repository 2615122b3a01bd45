"""The state of a running gateway as one JSON object per line: what ``penstock run --json`` prints."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from gateway.supervisor import RingReport, StageReport, State


def status_line(state: State) -> str:
    """One line; every counter is a total since the start, times are in the unit their name ends with."""
    return json.dumps(status(state), separators=(",", ":"))


def status(state: State) -> dict[str, Any]:
    """The object that status_line prints; parts by name."""
    return {
        "site": state.site,
        "uptime_s": round(state.uptime_s, 3),
        "rss_peak_bytes": _rss_peak_bytes(),
        "stages": {one.name: _stage(one) for one in state.stages},
        "rings": {one.name: _ring(one) for one in state.rings},
        "ports": {one.name: {"opens": one.opens, "problem": one.problem, **asdict(one.stats)} for one in state.ports},
        "links": _by_name(state.links),
    }


def _rss_peak_bytes() -> int:
    """Of this program alone: what getrusage says includes the process that started it, as it was before exec."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text("ascii"), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _stage(report: StageReport) -> dict[str, Any]:
    stats = asdict(report.stats)
    state = "running" if report.running else "stopped"
    about = {"plugin": report.plugin, "version": report.version, "hash": report.hash, "compiled": report.compiled}
    about["problem"] = report.problem
    return {**about, **stats, "state": state, "metrics": dict(report.metrics)}


def _ring(report: RingReport) -> dict[str, Any]:
    dropped = sum(one.dropped for one in report.consumers.values())
    readers = {name: asdict(one) for name, one in report.consumers.items()}
    return {**asdict(report.stats), "dropped": dropped, "readers": readers}


def _by_name(parts: Iterable[Any]) -> dict[str, dict[str, Any]]:
    return {
        one.name: {field.name: getattr(one, field.name) for field in fields(one) if field.name != "name"}
        for one in parts
    }
