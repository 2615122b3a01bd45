"""The gateway's health file, as ``docs/control-protocol.md`` defines it. Read, never imported."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ota.clock import Clock
from ota.durable import read_file
from ota.errors import OtaError

UPTIME_MIN_S = 30.0  # covers the window of every check
PERIODS_MAX = 3
FILE_BYTES_MAX = 256 * 1024
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Check(msgspec.Struct, frozen=True):
    """One check of the gateway; keys that we do not know are left alone."""

    name: str
    ok: bool
    detail: str = ""


class Report(msgspec.Struct, frozen=True):
    """What we need of the file."""

    format: int
    boot_id: str
    time_ns: int
    uptime_s: float
    period_s: float
    checks: tuple[Check, ...]


def boot_id(path: Path = BOOT_ID) -> str:
    """Differs in each boot of the machine."""
    try:
        return path.read_text("ascii").strip()
    except OSError as error:
        raise OtaError("boot-id", f"{path}: cannot be read: {error.strerror}") from error


def complaints(path: Path, clock: Clock, boot: str) -> tuple[str, ...] | None:
    """What the gateway complains of; None when there is no report of this boot that is new enough and long enough.

    Raises StorageError: the file cannot be read.
    """
    data = read_file(path, FILE_BYTES_MAX)
    try:
        report = msgspec.json.decode(data or b"", type=Report)
    except msgspec.DecodeError:
        return None
    age_s = clock.unix_s() - report.time_ns / 1e9
    if report.format != 1 or report.boot_id != boot or abs(age_s) > PERIODS_MAX * report.period_s:
        return None
    failing = tuple(f"{check.name}: {check.detail or 'fails'}" for check in report.checks if not check.ok)
    return failing if failing or report.uptime_s >= UPTIME_MIN_S else None
