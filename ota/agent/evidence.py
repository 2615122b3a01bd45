"""The last words of a system on trial: its log, kept on the data partition for the system that comes after it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import msgspec

from ota.agent.notebook import StateFiles

NAME = "failed.json"
LINES_MAX = 60
CHARS_MAX = 300
FILE_BYTES_MAX = 128 * 1024
SECONDS_MAX = 5  # less than any watchdog's patience


class Evidence(msgspec.Struct, frozen=True):
    """``sha256``: of the image that said so."""

    sha256: str
    lines: tuple[str, ...]


def keep(files: StateFiles, sha256: str, command: Sequence[str]) -> None:
    """Run the command and keep the end of what it prints, in place of what was kept before. Raises StorageError."""
    if not command:
        return
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS_MAX, check=False
        )
        lines = done.stdout.decode("utf-8", "replace").splitlines()
    except (OSError, subprocess.SubprocessError) as error:
        lines = [f"no log: {error}"]
    found = Evidence(sha256, tuple(line[:CHARS_MAX] for line in lines[-LINES_MAX:]))
    files.save(NAME, msgspec.json.encode(found))


def kept(files: StateFiles) -> Evidence | None:
    """What was kept last; None when there is nothing."""
    data = files.load(NAME, FILE_BYTES_MAX)
    try:
        return msgspec.json.decode(data, type=Evidence) if data else None
    except msgspec.DecodeError:
        return None
