"""``penstock flash``: writes an image to a card, and reads it back. Refuses what looks like a disk of this machine.

What a device is comes from sysfs and from the list of mounts; tests give folders of their own.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import PenstockError, UsageError

BLOCK_BYTES = 4 * 1024 * 1024
SECTOR_BYTES = 512
GPT = b"EFI PART"

Progress = Callable[[str, int, int], None]
"""Called with what is being done, bytes so far and bytes altogether."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the kernel tells of disks: ``sys``, and ``proc`` with mounts and swaps."""

    sys: Path = Path("/sys")
    proc: Path = Path("/proc")


@dataclass(frozen=True, slots=True)
class Target:
    """A disk. ``name``: as the kernel calls it, such as ``sdb``; "" for a plain file."""

    path: Path
    name: str
    size: int
    removable: bool
    model: str


def look(path: Path, machine: Machine) -> Target:
    """What is at ``path``. Raises UsageError for what is no disk and no file."""
    try:
        about = path.stat()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; disks here: {', '.join(disks(machine)) or 'none'}") from error
    if stat.S_ISREG(about.st_mode):
        return Target(path, "", about.st_size, removable=True, model="file")
    if not stat.S_ISBLK(about.st_mode):
        raise UsageError(f"{path}: neither a disk nor a file")
    name = path.resolve().name
    folder = machine.sys / "class" / "block" / name
    if (folder / "partition").exists():
        whole = folder.resolve().parent.name
        raise UsageError(f"{path}: a partition; an image goes to the whole disk, /dev/{whole}")
    return describe(path, name, machine)


def describe(path: Path, name: str, machine: Machine) -> Target:
    """A disk as sysfs knows it. Raises UsageError if it does not."""
    folder = machine.sys / "class" / "block" / name
    sectors = _text(folder / "size")
    if not sectors:
        raise UsageError(f"{path}: {folder} does not tell its size; is the card in its reader?")
    # Cards in readers built into laptops say that they are not removable, but they are of type SD.
    removable = _text(folder / "removable") == "1" or _text(folder / "device" / "type") == "SD"
    model = " ".join(filter(None, (_text(folder / "device" / one) for one in ("vendor", "model", "name"))))
    return Target(path, name, int(sectors) * SECTOR_BYTES, removable, model or "no name")


def disks(machine: Machine) -> list[str]:
    """Disks that a user may have meant."""
    folder = machine.sys / "class" / "block"
    if not folder.is_dir():
        return []
    names = sorted(one.name for one in folder.iterdir() if not (one / "partition").exists())
    return [f"/dev/{name}" for name in names if name[:2] in ("sd", "mm", "nv", "vd") and _text(folder / name / "size")]


def refuse(image: Path, target: Target, machine: Machine, named: str) -> None:
    """Raise UsageError unless the image may be written there. ``named``: the disk that the user says is the right one
    although it is not removable."""
    need = image.stat().st_size
    if need > target.size and target.name:
        raise UsageError(f"{target.path}: {target.size} bytes, the image needs {need}")
    if image.resolve() == target.path.resolve():
        raise UsageError(f"{target.path}: that is the image itself")
    if not target.name:
        return
    users = in_use(target.name, machine)
    if users:
        raise UsageError(f"{target.path} ({target.model}): in use: {', '.join(users)}; unmount it first")
    if not target.removable and named != target.name:
        raise UsageError(
            f"{target.path} ({target.model}, {target.size // 10**6} MB) cannot be pulled out of this machine; if it is "
            f"the right disk nevertheless: --not-removable {target.name}"
        )


def in_use(name: str, machine: Machine) -> list[str]:
    """What a disk and its partitions are used for: mount points, swap, and what is built on them (RAID, LVM, crypt)."""
    folder = machine.sys / "class" / "block" / name
    parts = [one.name for one in folder.iterdir() if (one / "partition").exists()] if folder.is_dir() else []
    numbers = {_text(machine.sys / "class" / "block" / one / "dev") for one in (name, *parts)}
    found = []
    for line in _text(machine.proc / "self" / "mountinfo").splitlines():
        fields = line.split()
        if len(fields) > 4 and fields[2] in numbers - {""}:
            found.append(f"mounted at {fields[4]}")
    swaps = [line.split()[0] for line in _text(machine.proc / "swaps").splitlines()[1:] if line.strip()]
    found += [f"{one} is swap" for one in swaps if Path(one).name in (name, *parts)]
    for one in (name, *parts):
        holders = machine.sys / "class" / "block" / one / "holders"
        found += [f"{one} is part of {holder.name}" for holder in sorted(holders.glob("*"))]
    return found


def write(image: Path, target: Target, progress: Progress) -> str:
    """Write, sync, read back past the page cache and compare. Returns the SHA-256. Raises PenstockError."""
    size = image.stat().st_size
    digest = hashlib.sha256()
    # O_EXCL on a block device: the kernel refuses one that somebody else uses.
    flags = os.O_RDWR | os.O_CLOEXEC | (os.O_EXCL if target.name else os.O_CREAT)
    try:
        with image.open("rb") as source, os.fdopen(os.open(target.path, flags, 0o644), "r+b", buffering=0) as disk:
            _erase_old_table(disk.fileno(), target, size)
            done = 0
            while block := source.read(BLOCK_BYTES):
                _write_all(disk.fileno(), block, done)
                digest.update(block)
                done += len(block)
                os.fdatasync(disk.fileno())  # so that progress means the card, not the page cache
                progress("written", done, size)
            os.fsync(disk.fileno())
            os.posix_fadvise(disk.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            stored = _read_back(disk.fileno(), size, progress)
    except OSError as error:
        raise PenstockError(f"{target.path}: {error.strerror}; nothing on it can be relied upon now") from error
    if stored != digest.hexdigest():
        raise PenstockError(f"{target.path}: does not read back as it was written: a broken or counterfeit card?")
    return stored


def _erase_old_table(disk: int, target: Target, size: int) -> None:
    """A second partition table at the end of a bigger disk would be of what was there before."""
    if target.size >= size + SECTOR_BYTES and target.name:
        last = target.size - SECTOR_BYTES
        if os.pread(disk, len(GPT), last) == GPT:
            _write_all(disk, bytes(SECTOR_BYTES), last)


def _write_all(disk: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(disk, view, at)
        view, at = view[count:], at + count


def _read_back(disk: int, size: int, progress: Progress) -> str:
    digest, done = hashlib.sha256(), 0
    while done < size:
        block = os.pread(disk, min(BLOCK_BYTES, size - done), done)
        if not block:
            break
        digest.update(block)
        done += len(block)
        progress("verified", done, size)
    return digest.hexdigest()


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
