"""Slots and files as Storage."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from ota.errors import StorageError
from ota.ports import Storage


class FileStorage:
    """A block device, or a regular file of at most ``size`` bytes. Opened for writing unless told otherwise."""

    def __init__(self, path: Path, size: int | None = None, *, write: bool = True) -> None:
        self.name = str(path)
        try:
            flags = os.O_RDWR | os.O_CREAT if write else os.O_RDONLY
            self._descriptor = os.open(path, flags | os.O_CLOEXEC, 0o644)
            self.size = os.lseek(self._descriptor, 0, os.SEEK_END) if size is None else size
        except OSError as error:
            raise StorageError("storage-open", f"{path}: cannot be opened: {error.strerror}") from error

    def __enter__(self) -> FileStorage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read_at(self, offset: int, size: int) -> bytes:
        """See Storage."""
        try:
            return os.pread(self._descriptor, min(size, max(0, self.size - offset)), offset)
        except OSError as error:
            raise StorageError("storage-read", f"{self.name}: cannot be read at {offset}: {error.strerror}") from error

    def write_at(self, offset: int, data: bytes) -> None:
        """See Storage."""
        if offset + len(data) > self.size:
            raise StorageError("storage-full", f"{self.name}: {offset + len(data)} bytes do not fit into {self.size}")
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._descriptor, view, offset)
                view, offset = view[written:], offset + written
        except OSError as error:
            raise StorageError("storage-write", f"{self.name}: cannot be written: {error.strerror}") from error

    def sync(self) -> None:
        """See Storage. What is read afterwards comes from the medium, not from memory."""
        try:
            os.fsync(self._descriptor)
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError as error:
            raise StorageError("storage-sync", f"{self.name}: cannot be synced: {error.strerror}") from error

    def truncate(self, length: int) -> None:
        """Cut a regular file to its length."""
        try:
            os.ftruncate(self._descriptor, length)
            os.fsync(self._descriptor)
        except OSError as error:
            raise StorageError("storage-write", f"{self.name}: cannot be cut: {error.strerror}") from error

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)


class Window:
    """A part of a Storage, such as the unused end of a slot where a patch is kept while it is applied."""

    def __init__(self, storage: Storage, offset: int, size: int) -> None:
        self.name: str = f"{storage.name} from {offset}"
        self.size = size
        self._storage = storage
        self._offset = offset

    def read_at(self, offset: int, size: int) -> bytes:
        """See Storage."""
        return self._storage.read_at(self._offset + offset, min(size, max(0, self.size - offset)))

    def write_at(self, offset: int, data: bytes) -> None:
        """See Storage."""
        if offset + len(data) > self.size:
            raise StorageError("storage-full", f"{self.name}: {offset + len(data)} bytes do not fit into {self.size}")
        self._storage.write_at(self._offset + offset, data)

    def sync(self) -> None:
        """See Storage."""
        self._storage.sync()
