"""The disk of a board, looked at from the host: partitions, boot state, slots, the agent's notebook.

``Judge`` says what is wrong with a disk as a power cut left it. It decides which slot boots with the specification of
the boot script (``ota/boot/loader.py``), and compares whole slots by their hash.
"""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ota.agent.notebook import Notebook
from ota.boot.block import BLOCK_BYTES, SLOTS, decode, newest
from ota.boot.loader import attempts
from ota.boot.raw import COPY_OFFSETS
from ota.ports import BootState

SECTOR_BYTES = 512
GPT_AT = 512
STATE, DATA = 2, 5
SLOT_PARTITIONS = dict(zip(SLOTS, (3, 4), strict=True))
PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Area:
    """Bytes of a disk."""

    offset: int
    size: int

    def touches(self, offset: int, size: int) -> bool:
        """Whether these bytes overlap the area."""
        return self.overlap(offset, size) > 0

    def overlap(self, offset: int, size: int) -> int:
        """How many of these bytes are in the area."""
        return max(0, min(offset + size, self.offset + self.size) - max(offset, self.offset))


def partitions(disk: Path) -> dict[int, Area]:
    """By number, from the GUID partition table. Raises AssertionError: there is none."""
    with disk.open("rb") as file:
        head = os.pread(file.fileno(), 92, GPT_AT)
        assert head[:8] == b"EFI PART", f"{disk}: no GUID partition table"
        at, count, size = struct.unpack_from("<QII", head, 72)
        table = os.pread(file.fileno(), count * size, at * SECTOR_BYTES)
    found = {}
    for number in range(count):
        first, last = struct.unpack_from("<QQ", table, number * size + 32)
        if first:
            found[number + 1] = Area(first * SECTOR_BYTES, (last + 1 - first) * SECTOR_BYTES)
    return found


@dataclass(frozen=True, slots=True)
class Artefact:
    """A complete slot image: what people call it, length and SHA-256 of its bytes."""

    version: str
    length: int
    sha256: str


def artefact(version: str, path: Path) -> Artefact:
    """Of a file that was published."""
    with path.open("rb") as file:
        return Artefact(version, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def read_state(disk: Path) -> BootState | None:
    """The boot state that holds; None when no copy is intact."""
    area = partitions(disk)[STATE]
    with disk.open("rb") as file:
        blocks = [os.pread(file.fileno(), BLOCK_BYTES, area.offset + at) for at in COPY_OFFSETS]
    return newest([decode(block) for block in blocks])[0]


def read_data_file(disk: Path, path: str) -> bytes:
    """A file of the data partition as a mount would show it, journal replayed; empty when there is none.

    Works on a copy. Raises AssertionError: the file system is damaged.
    """
    area, copy = partitions(disk)[DATA], disk.with_suffix(".data")
    options = ["conv=sparse", "status=none", "bs=1M", "iflag=skip_bytes,count_bytes"]
    source = [f"if={disk}", f"of={copy}", f"skip={area.offset}", f"count={area.size}"]
    copy.unlink(missing_ok=True)
    subprocess.run(["dd", *source, *options], check=True)
    os.truncate(copy, area.size)
    try:
        # 0: clean, 1: the journal was replayed; anything else is damage that a journal must have prevented.
        checked = subprocess.run(["/sbin/e2fsck", "-p", str(copy)], capture_output=True, text=True, check=False)
        assert checked.returncode in (0, 1), f"data partition: {checked.stdout}{checked.stderr}"
        shown = subprocess.run(["/sbin/debugfs", "-R", f"cat {path}", str(copy)], capture_output=True, check=True)
        return shown.stdout
    finally:
        copy.unlink(missing_ok=True)


class Judge:
    """Looks at a disk again and again; what was not written since is not read again (``note_written``).

    ``known``: every complete image there is. ``notebook``: path of the agent's notebook on the data partition.
    """

    def __init__(self, disk: Path, known: Iterable[Artefact], notebook: str) -> None:
        self.disk = disk
        self._known = sorted(known, key=lambda one: one.length)
        self._notebook = notebook
        self._areas = partitions(disk)
        self._content: dict[str, str] = {}
        self._data_problems: list[str] | None = None

    def note_written(self, writes: Iterable[tuple[int, int]]) -> None:
        """Offsets and sizes written since the last look."""
        for offset, size in writes:
            for slot, number in SLOT_PARTITIONS.items():
                if self._areas[number].touches(offset, size):
                    self._content.pop(slot, None)
            if self._areas[DATA].touches(offset, size):
                self._data_problems = None

    def decides(self, offset: int, size: int) -> bool:
        """Whether these bytes are the boot state or the agent's data: what is small, and in an order."""
        return any(self._areas[number].touches(offset, size) for number in (STATE, DATA))

    def content(self, slot: str) -> str:
        """Version of the complete image in a slot, empty when it holds none."""
        if slot not in self._content:
            self._content[slot] = self._version(slot)
        return self._content[slot]

    def _version(self, slot: str) -> str:
        area, digest, done = self._areas[SLOT_PARTITIONS[slot]], hashlib.sha256(), 0
        with self.disk.open("rb") as file:
            for one in self._known:
                while done < one.length:
                    piece = os.pread(file.fileno(), min(PIECE, one.length - done), area.offset + done)
                    digest.update(piece)
                    done += len(piece)
                if digest.copy().hexdigest() == one.sha256:
                    return one.version
        return ""

    def boots(self) -> list[str]:
        """Slots in the order in which the loader tries them."""
        return [attempt.slot for attempt in attempts(read_state(self.disk))]

    def problems(self, floor: BootState | None) -> list[str]:
        """What a power cut must never leave. ``floor``: the newest state that was durable before."""
        state = read_state(self.disk)
        if state is None:
            return ["no copy of the boot state is intact"]
        found = []
        if floor is not None and state.generation < floor.generation:
            found.append(f"generation {floor.generation} was durable, {state.generation} is left")
        for attempt in attempts(state):
            if not self.content(attempt.slot):
                found.append(f"slot {attempt.slot} is not complete and would boot: {attempt.why}; {state}")
        if self._data_problems is None:
            self._data_problems = self._look_at_data()
        return found + self._data_problems

    def _look_at_data(self) -> list[str]:
        try:
            data = read_data_file(self.disk, self._notebook)
            msgspec.json.decode(data or b"{}", type=Notebook)
        except (AssertionError, msgspec.DecodeError) as error:
            return [f"the agent's notebook is lost: {error}"]
        return []


def standing(disk: Path) -> str:
    """The boot state in a line: ``good b, valid ab``, with ``trial b (2 tries)`` if there is one."""
    state = read_state(disk)
    if state is None:
        return "no boot state"
    trial = f", trial {state.trial} ({state.tries_left} tries)" if state.trial else ""
    return f"good {state.good}, valid {''.join(sorted(state.valid))}{trial}"


def history(disk: Path, notebook: str) -> list[tuple[str, str, str]]:
    """(event, version, reason) of everything that the agent remembers, oldest first."""
    book = msgspec.json.decode(read_data_file(disk, notebook) or b"{}", type=Notebook)
    return [(entry.event, entry.version, entry.reason) for entry in book.history]
