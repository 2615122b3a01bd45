"""The port to the disk: the few operations whose order decides what a power cut leaves behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

FOLDER_MODE, FILE_MODE = 0o700, 0o600


class Storage(Protocol):
    """Files below one folder, by relative path. Every operation may raise OSError.

    Nothing lasts before it is synchronised: contents of a file by ``fsync``, names in a folder by ``fsync_dir``.
    """

    def read(self, path: str) -> bytes:
        """The contents. Raises FileNotFoundError when there is no such file."""

    def write(self, path: str, data: bytes) -> None:
        """Make the file, or replace its contents in place."""

    def fsync(self, path: str) -> None:
        """Return when the contents of the file are on the medium."""

    def rename(self, old: str, new: str) -> None:
        """Move a file in one step, over another one of the new name."""

    def fsync_dir(self, folder: str) -> None:
        """Return when the names in the folder, "" for the first one, are on the medium."""

    def unlink(self, path: str) -> None:
        """Remove a file."""

    def list(self, folder: str) -> tuple[str, ...]:
        """The names of the files in the folder, sorted."""

    def make_folder(self, folder: str) -> bool:
        """Make a folder below the first one; False when it is there already."""


class Disk:
    """A folder of the file system that is there; what is made below is for its owner only."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    def write(self, path: str, data: bytes) -> None:
        file = os.open(self.root / path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(file, left) :]
        finally:
            os.close(file)

    def fsync(self, path: str) -> None:
        self._fsync(self.root / path)

    def rename(self, old: str, new: str) -> None:
        os.replace(self.root / old, self.root / new)

    def fsync_dir(self, folder: str) -> None:
        self._fsync(self.root / folder)

    def unlink(self, path: str) -> None:
        (self.root / path).unlink()

    def list(self, folder: str) -> tuple[str, ...]:
        return tuple(sorted(entry.name for entry in os.scandir(self.root / folder) if entry.is_file()))

    def make_folder(self, folder: str) -> bool:
        path = self.root / folder
        if path.is_dir():
            return False
        path.mkdir(mode=FOLDER_MODE)
        return True

    @staticmethod
    def _fsync(path: Path) -> None:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)
