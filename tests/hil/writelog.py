"""QEMU's ``blklogwrites``: every write to a disk in the order it was done, and the disk after each of them.

Format (Linux, ``dm-log-writes``), in sectors of 512 bytes: a super block, then for every entry its header and its data.
A killed QEMU leaves the super block behind the entries, so entries are read until there are no more.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

SECTOR_BYTES = 512
_SUPER = struct.Struct("<QQQI")
_ENTRY = struct.Struct("<QQQQ")
_MAGIC = 0x6A736677736872
_FLUSH, _FUA, _DISCARD = 1, 2, 4  # virtio-blk has no FUA: the kernel sends a flush instead


@dataclass(frozen=True, slots=True)
class Write:
    """``size`` bytes to ``offset`` of the disk; ``at``: where they are in ``log``. ``flush``: all before it is durable.

    A discard has no data and is not replayed: the old bytes are as good as any.
    """

    log: Path
    offset: int
    size: int
    at: int
    flush: bool


class WriteLog:
    """Reads a log, also while it is written: ``poll`` takes up what has come since. ``writes``: all so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writes: list[Write] = []
        self._at = SECTOR_BYTES

    def poll(self) -> int:
        """The number of writes so far. Raises AssertionError: not such a log."""
        with self.path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(_SUPER.size)
            if len(head) == _SUPER.size:
                magic, _, _, sector = _SUPER.unpack(head)
                known = {(_MAGIC, SECTOR_BYTES), (0, 0)}  # the super block comes with the first flush
                assert (magic, sector) in known, f"{self.path}: no log of writes of 512-byte sectors"
                while self._at + SECTOR_BYTES <= size and self._take(file.fileno(), size):
                    pass
        return len(self.writes)

    def _take(self, descriptor: int, size: int) -> bool:
        first, sectors, flags, _ = _ENTRY.unpack(os.pread(descriptor, _ENTRY.size, self._at))
        assert not flags & _FUA, f"{self.path}: a write that is durable by itself"
        at = self._at + SECTOR_BYTES
        data = 0 if flags & _DISCARD else sectors * SECTOR_BYTES
        if (not sectors and not flags) or at + data > size:
            return False
        self.writes.append(Write(self.path, first * SECTOR_BYTES, data, at, bool(flags & _FLUSH)))
        self._at = at + data
        return True


class Replay:
    """A disk file that recorded writes are put on, one by one. ``dirty`` collects the offsets and sizes written."""

    def __init__(self, disk: Path) -> None:
        self._disk = os.open(disk, os.O_RDWR | os.O_CLOEXEC)
        self._logs: dict[Path, int] = {}
        self.dirty: list[tuple[int, int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for descriptor in (self._disk, *self._logs.values()):
            os.close(descriptor)

    def apply(self, write: Write) -> None:
        """Put one write on the disk."""
        if write.size:
            self._put(write, self.data(write))

    def data(self, write: Write) -> bytes:
        """What is written."""
        if write.log not in self._logs:
            self._logs[write.log] = os.open(write.log, os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(self._logs[write.log], write.size, write.at)

    def holds(self, write: Write) -> bytes:
        """What the disk holds where ``write`` goes, for ``put_back``."""
        return os.pread(self._disk, write.size, write.offset)

    def put_back(self, write: Write, before: bytes) -> None:
        """Undo ``apply``."""
        self._put(write, before)

    def _put(self, write: Write, data: bytes) -> None:
        os.pwrite(self._disk, data, write.offset)
        self.dirty.append((write.offset, write.size))

    def take_dirty(self) -> list[tuple[int, int]]:
        """What was written since the last call."""
        taken, self.dirty = self.dirty, []
        return taken
