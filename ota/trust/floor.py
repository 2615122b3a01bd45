"""What must never go back: metadata versions, releases and time. Pure; ``FloorFile`` alone touches the disk.

One floor is part of every image (``trust/floor.json`` beside ``trust/root.json``), the other is the device's own and
grows with what it has seen. The higher value counts, so wiping the device's state gives nothing to an attacker.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from ota.durable import read_file, replace_file
from ota.errors import TrustError, UsageError

FILE_BYTES_MAX = 256 * 1024


class RoleFloor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Least version of a role. It counts only for the same keys: rotating them undoes a fast-forward by a thief."""

    version: int
    keys: tuple[str, ...]


class Floor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``time_s``: no earlier time is believed (Unix seconds). ``releases``: least release of each line."""

    time_s: int = 0
    roles: dict[str, RoleFloor] = msgspec.field(default_factory=dict)
    releases: dict[str, int] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """A verified role: what a floor learns from it. ``signed_s`` is 0 for roles whose keys are online."""

    role: str
    version: int
    keys: tuple[str, ...]
    signed_s: int


def highest(one: Floor, other: Floor) -> Floor:
    """Both floors at once. For a role with different keys the second floor's entry counts: give the newer second."""
    roles = dict(one.roles)
    for role, entry in other.roles.items():
        known = roles.get(role)
        roles[role] = known if known and known.keys == entry.keys and known.version > entry.version else entry
    lines = one.releases.keys() | other.releases.keys()
    releases = {line: max(one.releases.get(line, 0), other.releases.get(line, 0)) for line in sorted(lines)}
    return Floor(max(one.time_s, other.time_s), roles, releases)


def check_seen(floor: Floor, seen: Seen) -> None:
    """Raise TrustError if a verified role is older than what was verified before."""
    least = floor.roles.get(seen.role)
    if least is not None and least.keys == seen.keys and seen.version < least.version:
        raise TrustError(
            "metadata-rollback",
            f"{seen.role}: version {seen.version} is offered, {least.version} was seen before: an old repository",
        )


def learn(floor: Floor, seen: Seen) -> Floor:
    """The floor after a verified role."""
    entry = RoleFloor(seen.version, seen.keys)
    return highest(floor, Floor(seen.signed_s, {seen.role: entry}))


def check_release(floor: Floor, line: str, release: int) -> None:
    """Raise TrustError for a release older than one that was committed here or that this image requires."""
    least = floor.releases.get(line, 0)
    if release < least:
        raise TrustError("release-rollback", f"{line}: release {release} is older than {least}, the least allowed")


class FloorFile:
    """The device's own floor on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Floor:
        """An empty floor when there is no file, or when it is damaged: the image's own floor still holds."""
        data = read_file(self._path, FILE_BYTES_MAX)
        try:
            return Floor() if data is None else msgspec.json.decode(data, type=Floor)
        except msgspec.DecodeError:
            return Floor()

    def save(self, floor: Floor) -> None:
        """Replace the file. Raises StorageError."""
        replace_file(self._path, msgspec.json.encode(floor))


def read_image_floor(path: Path) -> Floor:
    """The floor that is part of the running image. Raises UsageError: without it nothing may be installed."""
    data = read_file(path, FILE_BYTES_MAX)
    if data is None:
        raise UsageError(f"{path}: missing; make it with 'penstock-ota repo trust' and build it into the image")
    try:
        return msgspec.json.decode(data, type=Floor)
    except msgspec.DecodeError as error:
        raise UsageError(f"{path}: not a floor file: {error}") from error
