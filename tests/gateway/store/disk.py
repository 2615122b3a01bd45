"""A disk in memory that forgets, at a power cut, what was not synchronised; and that gets full or breaks on request.

Each operation that changes something is counted. ``cut_at`` interrupts the one with that number: before it, in the
middle of it, or right after it. What was not synchronised at that moment is then lost, kept or torn, as ``fate`` says:
names made, moved or removed since the folder was synchronised last, and contents written since the file was.
"""

from __future__ import annotations

import errno
import os
import random
from dataclasses import dataclass, field
from enum import Enum


class PowerCut(BaseException):
    """The machine is off: nothing catches this."""


class Moment(Enum):
    """When, seen from the operation, the power goes."""

    BEFORE = "before"
    MIDDLE = "middle"
    AFTER = "after"


class Fate(Enum):
    """What becomes of what was not synchronised."""

    LOST = "lost"
    KEPT = "kept"
    MIXED = "mixed"


@dataclass(eq=False)
class File:
    """``now``: what a reader sees; ``safe``: what is on the medium."""

    now: bytes = b""
    safe: bytes = b""


@dataclass(eq=False)
class Folder:
    """``is_safe``: the folder itself is on the medium."""

    now: dict[str, File] = field(default_factory=dict)
    safe: dict[str, File] = field(default_factory=dict)
    is_safe: bool = False


def split(path: str) -> tuple[str, str]:
    folder, _, name = path.rpartition("/")
    return folder, name


class FakeDisk:
    """Implements ``Storage``. ``count``: operations so far; ``fail_at`` raises OSError ``error`` at these of them."""

    def __init__(self) -> None:
        self.folders: dict[str, Folder] = {"": Folder()}
        self.count = 0
        self.cut_at = -1
        self.moment = Moment.BEFORE
        self.fail_at: range = range(0)
        self.error = errno.ENOSPC

    # ---- Storage ----

    def read(self, path: str) -> bytes:
        return self._file(path).now

    def write(self, path: str, data: bytes) -> None:
        folder, name = split(path)
        names = self._folder(folder).now

        def part(size: int) -> None:
            names.setdefault(name, File()).now = data[:size]

        self._step(lambda: part(len(data)), lambda: part(len(data) // 2))

    def fsync(self, path: str) -> None:
        file = self._file(path)

        def sync(size: int) -> None:
            file.safe = file.now[:size]

        self._step(lambda: sync(len(file.now)), lambda: sync(len(file.now) // 2))

    def rename(self, old: str, new: str) -> None:
        file = self._file(old)
        (old_folder, old_name), (new_folder, new_name) = split(old), split(new)

        def move() -> None:
            del self.folders[old_folder].now[old_name]
            self.folders[new_folder].now[new_name] = file

        self._step(move)

    def fsync_dir(self, folder: str) -> None:
        found = self._folder(folder)

        def sync() -> None:
            found.safe = dict(found.now)
            for one in self.folders.values() if folder == "" else ():
                one.is_safe = True

        self._step(sync)

    def unlink(self, path: str) -> None:
        folder, name = split(path)
        self._file(path)
        self._step(lambda: self.folders[folder].now.pop(name))

    def list(self, folder: str) -> tuple[str, ...]:
        return tuple(sorted(self.folders[folder].now))

    def make_folder(self, folder: str) -> bool:
        if folder in self.folders:
            return False
        self._step(lambda: self.folders.setdefault(folder, Folder()))
        return True

    # ---- what tests do ----

    def reboot(self, fate: Fate, chance: random.Random) -> None:
        """What is left when the power comes back."""
        unsafe = [name for name, folder in self.folders.items() if not (folder.is_safe or name == "")]
        for name in unsafe:
            if fate == Fate.LOST or (fate == Fate.MIXED and chance.random() < 0.5):
                del self.folders[name]
        for folder in self.folders.values():
            changed = {name for name in folder.now | folder.safe if folder.now.get(name) is not folder.safe.get(name)}
            for name in sorted(changed):
                kept = fate == Fate.KEPT or (fate == Fate.MIXED and chance.random() < 0.5)
                source, target = (folder.now, folder.safe) if kept else (folder.safe, folder.now)
                if name in source:
                    target[name] = source[name]
                else:
                    target.pop(name, None)
            for file in folder.now.values():
                file.now = file.safe = self._contents(file, fate, chance)
        self.cut_at, self.fail_at = -1, range(0)

    def damage(self, path: str, data: bytes) -> None:
        """Bits rot."""
        file = self._file(path)
        file.now = file.safe = data

    def files(self) -> dict[str, bytes]:
        """Everything that can be read, by path."""
        return {
            (f"{where}/{name}" if where else name): file.now
            for where, folder in self.folders.items()
            for name, file in folder.now.items()
        }

    # ---- inside ----

    @staticmethod
    def _contents(file: File, fate: Fate, chance: random.Random) -> bytes:
        if file.now == file.safe or fate == Fate.LOST:
            return file.safe
        if fate == Fate.KEPT:
            return file.now
        return file.now[: chance.randrange(len(file.now) + 1)] + bytes(chance.randrange(3))

    def _folder(self, folder: str) -> Folder:
        if folder not in self.folders:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        return self.folders[folder]

    def _file(self, path: str) -> File:
        folder, name = split(path)
        try:
            return self._folder(folder).now[name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None

    def _step(self, whole: object, half: object = None) -> None:
        assert callable(whole)
        number, self.count = self.count, self.count + 1
        if number in self.fail_at:
            if callable(half):
                half()  # a full disk takes what still fits
            raise OSError(self.error, os.strerror(self.error))
        if number != self.cut_at:
            whole()
            return
        if self.moment == Moment.AFTER:
            whole()
        elif self.moment == Moment.MIDDLE and callable(half):
            half()
        raise PowerCut
