"""Raspberry Pi: the firmware picks the partition by ``autoboot.txt`` and boots the other one once after ``0 tryboot``.

The firmware counts nothing: it boots the trial once for each reboot that asks for it, and each takes a try from the
record before. The committed slot is the one in ``autoboot.txt``; the record in the
state partition adds what the firmware does not know. The file is replaced first: a cut in between leaves a record that
still calls the slot a trial, and ``read`` lets the file decide.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from ota.boot.block import check
from ota.boot.raw import RawBootControl
from ota.durable import read_file, replace_file
from ota.errors import BootError, StorageError
from ota.ports import BootState

AUTOBOOT_NAME = "autoboot.txt"
AUTOBOOT_BYTES_MAX = 512  # the firmware reads no further
TRYBOOT = "0 tryboot"
_PARTITION = re.compile(r"^boot_partition=(\d+)\s*$", re.MULTILINE)


def autoboot_text(good: int, other: int) -> str:
    """``autoboot.txt`` for these partition numbers."""
    return f"[all]\ntryboot_a_b=1\nboot_partition={good}\n[tryboot]\nboot_partition={other}\n"


class TrybootControl:
    """``folder``: where partition 1 is mounted; ``partitions``: slot to partition number; ``restart``: restarts the
    machine with the kernel's reboot argument, "" for a normal restart."""

    counts_tries = False

    def __init__(
        self, folder: Path, partitions: Mapping[str, int], record: RawBootControl, restart: Callable[[str], None]
    ) -> None:
        self._file = folder / AUTOBOOT_NAME
        self._partitions = partitions
        self._record = record
        self._restart = restart

    def read(self) -> BootState:
        """The record, but the committed slot is the firmware's. Raises BootError."""
        state, good = self._record.read(), self._good()
        if state.good == good:
            return state
        trial = "" if state.trial == good else state.trial
        return replace(
            state, good=good, trial=trial, tries_left=state.tries_left if trial else 0, valid=state.valid | {good}
        )

    def write(self, state: BootState) -> None:
        """The file if the committed slot changes, then the record. Raises BootError."""
        check(state)
        if self._good(missing=state.good) != state.good or not self._file.exists():
            others = [number for slot, number in self._partitions.items() if slot != state.good]
            text = autoboot_text(self._partitions[state.good], others[0])
            try:
                replace_file(self._file, text.encode("ascii"))
            except StorageError as error:
                raise BootError("boot-state-write", error.message) from error
        self._record.write(state)

    def booted(self) -> str:
        """Slot of the running system, from the kernel's command line. Raises BootError."""
        return self._record.booted()

    def reboot(self) -> None:
        """Restart; into the trial when there is one waiting, which takes a try first. Raises BootError."""
        state = self.read()
        if not state.trial or state.trial == self.booted():
            self._restart("")
            return
        if state.tries_left:
            self._record.write(replace(state, generation=state.generation + 1, tries_left=state.tries_left - 1))
        self._restart(TRYBOOT)

    def _good(self, missing: str = "") -> str:
        try:
            data = read_file(self._file, AUTOBOOT_BYTES_MAX)
        except StorageError as error:
            raise BootError("boot-state-read", error.message) from error
        if data is None and missing:
            return missing
        found = _PARTITION.search((data or b"").decode("ascii", "replace"))
        for slot, number in self._partitions.items():
            if found is not None and int(found[1]) == number:
                return slot
        numbers = ", ".join(str(number) for number in self._partitions.values())
        raise BootError("boot-state-read", f"{self._file}: boot_partition under [all] must be one of {numbers}")
