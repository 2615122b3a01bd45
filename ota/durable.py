"""Small files that survive a power cut: after it there is the old content or the new one, never a mixture."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ota.errors import StorageError


def replace_file(path: Path, data: bytes) -> None:
    """Write a temporary file beside it, sync, rename, sync the folder. Raises StorageError."""
    fresh = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise StorageError("state-write", f"{path}: cannot be written: {error.strerror or error}") from error


def read_file(path: Path, limit: int) -> bytes | None:
    """The content, or None when there is no such file. Raises StorageError: unreadable, or longer than the limit."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError("state-read", f"{path}: cannot be read: {error.strerror or error}") from error
    if len(data) > limit:
        raise StorageError("state-read", f"{path}: longer than {limit} bytes")
    return data


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
