"""One gateway per folder, also when it was killed: the kernel lets go of the lock."""

from __future__ import annotations

import fcntl
import os

from gateway.errors import PenstockError, StoreError

FILE = "lock"


class Lock:
    """The lock of a folder that is there. Raises StoreError, and PenstockError when another gateway has it."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        path = os.path.join(folder, FILE)
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError("storage", f"{path}: cannot be opened: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(self._file, 32).decode("ascii", "replace").strip()
            os.close(self._file)
            raise PenstockError(
                f"{folder} is in use by another gateway (process {owner}); give this one its own with --state DIR"
            ) from None
        os.ftruncate(self._file, 0)
        os.write(self._file, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let another gateway have it."""
        os.close(self._file)
