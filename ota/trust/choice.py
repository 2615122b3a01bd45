"""Which release a device takes. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from ota.trust.model import Artefact

SHARES = 10_000
DEFAULT_GROUP = "default"


@dataclass(frozen=True, slots=True)
class Device:
    """Who asks. ``group``: rollout group, such as ``canary``. ``id`` decides the share it falls into."""

    id: str
    group: str = DEFAULT_GROUP


def is_offered(artefact: Artefact, device: Device) -> bool:
    """Whether the staged rollout has reached this device: the same answer every time, another order per release."""
    rollout = artefact.release.rollout
    percent = rollout.get(device.group, rollout.get(DEFAULT_GROUP, 0))
    ticket = hashlib.sha256(f"{artefact.file.sha256} {device.id}".encode()).digest()
    return int.from_bytes(ticket[:8], "big") % SHARES < percent * (SHARES // 100)


def newest(artefacts: Iterable[Artefact], line: str, device: Device, failed: frozenset[str]) -> Artefact | None:
    """The highest release of a line offered here; a hash in ``failed`` (it rolled back) is never taken again."""
    offered = [
        artefact
        for artefact in artefacts
        if artefact.line == line and artefact.file.sha256 not in failed and is_offered(artefact, device)
    ]
    return max(offered, key=lambda artefact: artefact.release.release, default=None)
