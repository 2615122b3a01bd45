"""Messages of hawkBit's Direct Device Integration API, version 1. Pure: bytes in, checked structs out, and back.

Only what the agent uses is read; unknown fields are ignored, because servers add some.
https://eclipse.dev/hawkbit/rest-api/ddi/
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import msgspec

from ota.errors import TransferError

MESSAGE_BYTES_MAX = 256 * 1024
POLL_S_MIN, POLL_S_MAX = 5.0, 86_400.0
DETAILS_MAX = 20
DETAIL_CHARS_MAX = 500

Handling = Literal["skip", "attempt", "forced"]
Execution = Literal["proceeding", "download", "downloaded", "scheduled", "resumed", "canceled", "rejected", "closed"]
Finished = Literal["none", "success", "failure"]
_SLEEP = re.compile(r"(\d{1,3}):([0-5]\d):([0-5]\d)")
_T = TypeVar("_T")


class Link(msgspec.Struct, frozen=True):
    """A URL of the server."""

    href: str


class _Polling(msgspec.Struct, frozen=True):
    sleep: str = "00:05:00"


class _Config(msgspec.Struct, frozen=True):
    polling: _Polling = _Polling()


class Poll(msgspec.Struct, frozen=True):
    """The answer to a poll: what there is to do, by link."""

    config: _Config = _Config()
    links: dict[str, Link] = msgspec.field(name="_links", default_factory=dict)

    @property
    def sleep_s(self) -> float:
        """Seconds to the next poll as the server wants it, within POLL_S_MIN and POLL_S_MAX."""
        found = _SLEEP.fullmatch(self.config.polling.sleep)
        seconds = 300 if found is None else int(found[1]) * 3600 + int(found[2]) * 60 + int(found[3])
        return min(max(float(seconds), POLL_S_MIN), POLL_S_MAX)

    def link(self, name: str) -> str:
        """URL of a link; empty when the server does not offer it."""
        found = self.links.get(name)
        return found.href if found is not None else ""


class _Hashes(msgspec.Struct, frozen=True):
    sha256: str = ""


class Artifact(msgspec.Struct, frozen=True):
    """A file of an update. ``filename`` is the name of the TUF target; where its bytes come from is not the server's
    choice."""

    filename: str
    hashes: _Hashes
    size: int

    @property
    def sha256(self) -> str:
        """Hash in hexadecimal; empty when the server does not tell."""
        return self.hashes.sha256.lower()


class Chunk(msgspec.Struct, frozen=True):
    """A software module of an update."""

    part: str
    name: str
    version: str
    artifacts: list[Artifact] = []


class _Plan(msgspec.Struct, frozen=True, rename="camel"):
    download: Handling
    update: Handling
    chunks: list[Chunk]
    maintenance_window: Literal["available", "unavailable"] | None = None


class Deployment(msgspec.Struct, frozen=True):
    """An update that is assigned to this device; ``confirmation`` in its place while it must be confirmed."""

    id: str
    deployment: _Plan | None = None
    confirmation: _Plan | None = None

    @property
    def plan(self) -> _Plan:
        """What is assigned. Raises TransferError when the server sent neither."""
        plan = self.deployment or self.confirmation
        if plan is None:
            raise TransferError("ddi-message", f"action {self.id}: neither deployment nor confirmation", retry=False)
        return plan

    @property
    def artifacts(self) -> list[tuple[str, Artifact]]:
        """(version, artifact) of all modules."""
        return [(chunk.version, artifact) for chunk in self.plan.chunks for artifact in chunk.artifacts]


class _Stop(msgspec.Struct, frozen=True, rename="camel"):
    stop_id: str


class Cancelling(msgspec.Struct, frozen=True, rename="camel"):
    """The server wants an action cancelled."""

    id: str
    cancel_action: _Stop


def decode(data: bytes, kind: type[_T], what: str) -> _T:
    """A message of this kind. Raises TransferError naming the field that is wrong."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise TransferError("ddi-message", f"{what}: {error}", retry=False) from error


def feedback(
    execution: Execution, finished: Finished, details: Sequence[str] = (), progress: int | None = None
) -> bytes:
    """Body of a feedback; ``progress`` in percent."""
    result: dict[str, object] = {"finished": finished}
    if progress is not None:
        result["progress"] = {"cnt": progress, "of": 100}
    status = {"execution": execution, "result": result, "details": _short(details)}
    return msgspec.json.encode({"status": status})


def confirmation(confirmed: bool, details: Sequence[str] = ()) -> bytes:
    """Body of the answer to a confirmation request."""
    return msgspec.json.encode({"confirmation": "confirmed" if confirmed else "denied", "details": _short(details)})


def attributes(values: Mapping[str, str]) -> bytes:
    """Body that sets attributes of this device on the server."""
    return msgspec.json.encode({"mode": "merge", "data": dict(values)})


def _short(details: Sequence[str]) -> list[str]:
    """The first says why; of the others the last count."""
    kept = [*details[:1], *details[1:][-(DETAILS_MAX - 1) :]]
    return [detail[:DETAIL_CHARS_MAX] for detail in kept]
