"""What signed metadata says about a target, as trusted values. Pure: TUF target entries in, structs or TrustError out.

A target's name is ``KIND/OWNER/FILE``: KIND is ``image`` (OWNER: board family) or ``plugin`` (OWNER: vendor). Its role
is ``KIND-OWNER``, which may sign such names only. Signed ``custom`` data carries a *release*, a *delta* or *code*.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import msgspec
from tuf.api.metadata import TargetFile

from ota.errors import TrustError

SIGNED_FIELD = "x-penstock-signed"
"""In metadata: Unix time in seconds of signing. Counts only in roles whose keys are offline."""
DAYS_FIELD = "x-penstock-days"
"""In metadata: days from signing to expiry, so that signing again needs no other source."""

KINDS = ("image", "plugin")
NAME = re.compile(r"(image|plugin)/([a-z0-9][a-z0-9-]{0,31})/([A-Za-z0-9][A-Za-z0-9._+-]{0,127})")
BUNDLE_ROLE = "bundle"
TARGET_BYTES_MAX = 1 << 36
MEMORY_BYTES_MAX = 1 << 30
PIECE_BYTES = 128 * 1024
SHA256 = re.compile(r"[0-9a-f]{64}")


Target = Literal["x86_64", "aarch64", "armv7", "riscv64"]


class Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Signed about a complete artefact. ``release`` only grows and orders versions; ``version`` is for people.

    ``rollout``: percent of the devices of each group that are offered it; the group ``default`` takes devices of groups
    that are not listed.
    """

    name: str
    release: int
    version: str
    blake3: str = ""
    rollout: dict[str, int] = msgspec.field(default_factory=lambda: {"default": 100})


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The bytes on flash that a patch starts from; length 0 for a patch that is the compressed artefact."""

    length: int
    sha256: str


class Delta(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Signed about a patch. ``to``: name of the complete target. ``memory``: bytes that applying it needs.

    ``pieces``: SHA-256 of each PIECE_BYTES of the patch, so that it can be applied while it arrives.
    """

    algorithm: Literal["detools-sequential"]
    compression: Literal["lzma", "heatshrink"]
    source: Source = msgspec.field(name="from")
    to: str = ""
    memory: int = 0
    pieces: tuple[str, ...] = ()


class Code(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Signed about compiled code. ``of``: name of the plugin it was made of. ``target``: the machines that run it."""

    of: str
    target: Target


class Custom(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The ``custom`` object of a target: one of the three."""

    release: Release | None = None
    delta: Delta | None = None
    code: Code | None = None


@dataclass(frozen=True, slots=True)
class File:
    """Bytes that can be fetched and checked. ``path``: its name below ``targets/`` on the server."""

    name: str
    length: int
    sha256: str

    @property
    def path(self) -> str:
        """Where static servers hold it: ``KIND/OWNER/SHA256.FILE``."""
        folder, _, file = self.name.rpartition("/")
        return f"{folder}/{self.sha256}.{file}"


@dataclass(frozen=True, slots=True)
class Artefact:
    """A complete image or plugin that may be installed."""

    file: File
    release: Release

    @property
    def line(self) -> str:
        """What its release numbers are compared within: ``KIND/OWNER/NAME``."""
        kind, owner, _ = self.file.name.split("/")
        return f"{kind}/{owner}/{self.release.name}"


@dataclass(frozen=True, slots=True)
class Patch:
    """A patch to a complete artefact."""

    file: File
    delta: Delta


@dataclass(frozen=True, slots=True)
class Compiled:
    """Compiled code of a plugin: what its gateway runs instead of interpreting it."""

    file: File
    code: Code


def check_name(name: str) -> tuple[str, str]:
    """(kind, owner) of a target's name. Raises TrustError: other characters, dots or folders are never accepted."""
    match = NAME.fullmatch(name)
    if match is None or ".." in name:
        raise TrustError("target-name", f"target {name[:200]!r}: not a name of the form KIND/OWNER/FILE")
    return match.group(1), match.group(2)


def role_of(kind: str, owner: str) -> str:
    """The delegated role that signs targets of an owner."""
    return f"{kind}-{owner}"


def read_target(target: TargetFile) -> Artefact | Patch | Compiled:
    """A target entry as a trusted value. Raises TrustError naming the target and what is wrong."""
    check_name(target.path)
    try:
        custom = msgspec.convert(target.custom, Custom)
    except msgspec.ValidationError as error:
        raise TrustError("target-custom", f"target {target.path}: custom data: {error}") from error
    sha256 = target.hashes.get("sha256", "")
    if not SHA256.fullmatch(sha256) or not 0 < target.length <= TARGET_BYTES_MAX:
        raise TrustError("target-entry", f"target {target.path}: needs a sha256 and a length up to {TARGET_BYTES_MAX}")
    file = File(target.path, target.length, sha256)
    match custom:
        case Custom(Release() as release, None, None):
            _check_release(target.path, release)
            return Artefact(file, release)
        case Custom(None, Delta() as delta, None):
            _check_delta(target.path, delta, target.length)
            return Patch(file, delta)
        case Custom(None, None, Code() as code):
            _check_code(target.path, code)
            return Compiled(file, code)
    raise TrustError("target-custom", f"target {target.path}: custom data: needs one of 'release', 'delta' and 'code'")


def _check_release(path: str, release: Release) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", release.name):
        raise TrustError("target-custom", f"target {path}: name {release.name[:80]!r}: lower-case letters and digits")
    if release.release < 1:
        raise TrustError("target-custom", f"target {path}: release {release.release}: allowed from 1")
    if any(not 0 <= percent <= 100 for percent in release.rollout.values()):
        raise TrustError("target-custom", f"target {path}: rollout: allowed 0 to 100 percent")


def _check_delta(path: str, delta: Delta, length: int) -> None:
    check_name(delta.to)
    if delta.to.rpartition("/")[0] != path.rpartition("/")[0]:
        raise TrustError("delta-owner", f"target {path}: a patch to {delta.to}, which is another owner's")
    if not 0 <= delta.memory <= MEMORY_BYTES_MAX or not 0 <= delta.source.length <= TARGET_BYTES_MAX:
        raise TrustError("target-custom", f"target {path}: delta: length or memory out of range")
    fitting = len(delta.pieces) == -(-length // PIECE_BYTES) and all(map(SHA256.fullmatch, delta.pieces))
    if delta.pieces and not fitting:
        message = f"target {path}: delta: pieces: one sha256 for each {PIECE_BYTES} of its {length} bytes"
        raise TrustError("target-custom", message)


def _check_code(path: str, code: Code) -> None:
    kind, owner = check_name(code.of)
    if (kind, owner) != check_name(path):
        raise TrustError("code-owner", f"target {path}: code of {code.of}, which is another owner's")
    if kind != "plugin":
        raise TrustError("target-custom", f"target {path}: code of {code.of}, which is no plugin")
