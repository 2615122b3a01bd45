"""What the agent remembers over restarts, beside the boot state: one small file, replaced as a whole.

It lies on the data partition. Losing it costs the history and the list of bad images, never the ability to boot.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

HISTORY_MAX = 100
NOTEBOOK_BYTES_MAX = 256 * 1024
NOTEBOOK_NAME = "notebook.json"


class Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A complete artefact: hash and length of its bytes, and what people call it."""

    sha256: str
    length: int
    version: str


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Something that happened. ``event``: fetched, installed, committed, rolled-back, withdrawn, repaired, fallback.

    ``slot``: of an image; for a plugin its line.
    """

    at: int
    event: str
    slot: str
    version: str = ""
    sha256: str = ""
    reason: str = ""


class Notebook(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """All of it.

    ``images``: what each slot holds. ``bad``: hash to why it is never tried again. ``asked``: the boot that asked for
    the reboot into the trial. ``complaint``: what is wrong with the trial, for the slot that reports it.
    """

    images: dict[str, Image] = {}
    bad: dict[str, str] = {}
    history: list[Entry] = []
    asked: str = ""
    complaint: str = ""

    def add(self, entry: Entry) -> None:
        """Append to the history; the oldest entries go."""
        self.history = [*self.history, entry][-HISTORY_MAX:]


class StateFiles(Protocol):
    """Small files that are replaced as a whole: after a power cut there is the old content or the new one."""

    def load(self, name: str, limit: int) -> bytes | None:
        """The content; None when there is none. Raises StorageError."""

    def save(self, name: str, data: bytes) -> None:
        """Replace it durably. Raises StorageError."""


def read_notebook(files: StateFiles) -> Notebook:
    """The notebook; an empty one when there is none or it is damaged, which must not keep a device from updating."""
    data = files.load(NOTEBOOK_NAME, NOTEBOOK_BYTES_MAX)
    try:
        return msgspec.json.decode(data or b"{}", type=Notebook)
    except msgspec.DecodeError:
        return Notebook()


def write_notebook(files: StateFiles, notebook: Notebook) -> None:
    """Replace it. Raises StorageError."""
    files.save(NOTEBOOK_NAME, msgspec.json.format(msgspec.json.encode(notebook), indent=1))
