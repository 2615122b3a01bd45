"""What the update logic asks of the world. Fakes in tests implement the same protocols (``docs/ota.md``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Request:
    """A GET. ``first``: offset in bytes to begin at. ``etag``: what the bytes before it came with; empty if unknown.

    ``probe``: a HEAD instead, to learn whether it is there; servers that do not know HEAD count as having it.
    """

    url: str
    first: int = 0
    etag: str = ""
    probe: bool = False


class Response(Protocol):
    """An answer whose body is read piece by piece. Closing it early closes the connection."""

    @property
    def first(self) -> int:
        """Offset of the first byte of the body: the requested one, or 0 when the server sends all of it."""

    @property
    def total(self) -> int | None:
        """Length of the whole resource in bytes; None when the server does not tell."""

    @property
    def etag(self) -> str:
        """The strong entity tag, or empty."""

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, at least one; ``b""`` at the end of the body. Raises TransferError, Cancelled."""

    def close(self) -> None:
        """End it; may be called twice."""


class Fetcher(Protocol):
    """Opens resources of a server."""

    def open(self, request: Request) -> Response:
        """The answer to a GET, status 200 or 206. Raises TransferError for any other, Cancelled."""


class Storage(Protocol):
    """A slot or a file that is being written."""

    @property
    def name(self) -> str:
        """How messages call it."""

    @property
    def size(self) -> int:
        """Capacity in bytes."""

    def read_at(self, offset: int, size: int) -> bytes:
        """At most ``size`` bytes, less only at the end. Raises StorageError."""

    def write_at(self, offset: int, data: bytes) -> None:
        """Write all of it. Raises StorageError."""

    def sync(self) -> None:
        """Return when everything written would survive a power cut. Raises StorageError."""


class Slots(Protocol):
    """The places for system images."""

    def active(self) -> str:
        """Name of the slot that is running."""

    def inactive(self) -> str:
        """Name of the slot that an update is written to."""

    def storage(self, slot: str) -> Storage:
        """The bytes of a slot. Raises StorageError."""


@dataclass(frozen=True, slots=True)
class BootState:
    """What the boot loader acts on. One write is one transaction; nothing is written on a normal boot.

    ``good``: the committed slot. ``trial``: the slot on trial, or empty. ``tries_left``: boots the trial still has.
    ``valid``: slots that hold a complete, verified image.
    """

    generation: int
    good: str
    trial: str
    tries_left: int
    valid: frozenset[str]


class BootControl(Protocol):
    """One boot loader."""

    @property
    def counts_tries(self) -> bool:
        """Whether the loader boots a trial again until its tries are used up; else it does so once for each reboot that
        asks for it, which takes a try."""

    def read(self) -> BootState:
        """The newest intact copy. Raises BootError when there is none."""

    def write(self, state: BootState) -> None:
        """Write to the older copy, read it back. Raises BootError; then the previous state still holds."""

    def booted(self) -> str:
        """Name of the slot this system was started from."""

    def reboot(self) -> None:
        """Restart the machine; may return before that."""


class GatewayControl(Protocol):
    """The running gateway, over its control socket. Raises GatewayUnavailable, and GatewayRefused with its reason."""

    def push(self, data: bytes) -> str:
        """Give it a plugin file, which it checks and keeps; returns the plugin's name."""

    def target(self) -> str:
        """What machines it runs code for, such as ``aarch64``."""

    def push_code(self, content: str, target: str, code: bytes) -> None:
        """Give it compiled code of a plugin file that it has."""

    def swap(self, name: str, content: str, shadow_records: int, allowed: tuple[str, ...]) -> None:
        """Let the version with this BLAKE3 hash take over while data flows; no error when it runs already."""

    def versions(self, name: str) -> tuple[str, str]:
        """BLAKE3 hashes of the version that runs and of the one that would after a rollback; empty for none."""

    def given_up(self, name: str, content: str) -> str:
        """Why the gateway left a version by itself; empty if it did not."""

    def roll_back(self, name: str, content: str) -> None:
        """The version before this one runs again; no error when this one does not run any more."""

    def failing(self) -> dict[str, str]:
        """Checks of its health that fail, with their details."""
