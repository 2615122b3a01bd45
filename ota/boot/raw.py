"""The default boot control: a boot script and two copies of the state in a small raw partition.

It works with every distribution's U-Boot: no environment of its own, no boot counter, nothing to compile. Each write
goes to the older copy, is synced and read back past the page cache, so a cut tears at most the copy that does not hold.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from ota.boot.block import BLOCK_BYTES, SLOTS, decode, encode, newest
from ota.errors import BootError
from ota.ports import BootState

COPY_OFFSETS = (0, 512 * 1024)
"""Bytes into the partition; far apart, so that they do not share an erase block or a flash page."""
PARTITION_BYTES = 1024 * 1024
SLOT_ARGUMENT = re.compile(r"(?:^|\s)penstock\.slot=([a-z])(?=\s|$)")


class RawBootControl:
    """State in the partition or file at ``path``; the running slot by the kernel's command line.

    ``reboot``: restarts the machine. ``command_line``: where the boot script says which slot it took.
    """

    counts_tries = True

    def __init__(self, path: Path, reboot: Callable[[], None], command_line: Path = Path("/proc/cmdline")) -> None:
        self._path = path
        self._reboot = reboot
        self._command_line = command_line

    def read(self) -> BootState:
        """The newest intact copy. Raises BootError when there is none."""
        state, _ = newest([decode(block) for block in self._blocks()])
        if state is None:
            raise BootError("boot-state-lost", f"{self._path}: no intact copy of the boot state")
        return state

    def write(self, state: BootState) -> None:
        """Replace the older copy. Raises BootError; then the state before still holds."""
        block = encode(state)
        _, copy = newest([decode(block) for block in self._blocks()])
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_SYNC | os.O_CLOEXEC)
            try:
                _write_all(descriptor, block, COPY_OFFSETS[copy])
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # what is read next comes from the device
                stored = os.pread(descriptor, BLOCK_BYTES, COPY_OFFSETS[copy])
            finally:
                os.close(descriptor)
        except OSError as error:
            raise BootError("boot-state-write", f"{self._path}: cannot be written: {error.strerror}") from error
        if stored != block:
            raise BootError("boot-state-write", f"{self._path}: copy {copy} does not read back as it was written")

    def booted(self) -> str:
        """Slot of the running system. Raises BootError when the boot script did not say."""
        try:
            found = SLOT_ARGUMENT.search(self._command_line.read_text("utf-8", "replace"))
        except OSError as error:
            raise BootError("boot-slot", f"{self._command_line}: cannot be read: {error.strerror}") from error
        if found is None or found[1] not in SLOTS:
            raise BootError("boot-slot", f"{self._command_line}: no penstock.slot=a or b; not the board's boot script?")
        return found[1]

    def reboot(self) -> None:
        """Restart the machine."""
        self._reboot()

    def _blocks(self) -> list[bytes]:
        try:
            with self._path.open("rb") as file:
                return [_read_at(file.fileno(), offset) for offset in COPY_OFFSETS]
        except OSError as error:
            raise BootError("boot-state-read", f"{self._path}: cannot be read: {error.strerror}") from error


def blank(state: BootState) -> bytes:
    """A fresh partition with one copy of ``state``, for images."""
    return encode(state).ljust(PARTITION_BYTES, b"\0")


def _read_at(descriptor: int, offset: int) -> bytes:
    return os.pread(descriptor, BLOCK_BYTES, offset)


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    written = os.pwrite(descriptor, data, offset)
    if written != len(data):
        raise OSError(0, f"only {written} of {len(data)} bytes were written")
