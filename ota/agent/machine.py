"""The device's slots, boot loader and watchdog, as the settings say."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from ota.agent.settings import Settings
from ota.boot.block import SLOTS, decode, newest
from ota.boot.loader import attempts
from ota.boot.raw import COPY_OFFSETS, RawBootControl, blank
from ota.boot.tryboot import AUTOBOOT_BYTES_MAX, AUTOBOOT_NAME, TrybootControl
from ota.boot.uboot_env import UBootEnvControl
from ota.durable import read_file, replace_file
from ota.errors import BootError, StorageError
from ota.ports import BootControl, BootState
from ota.storage import FileStorage

COMMAND_LINE = Path("/proc/cmdline")


class SlotPaths:
    """Slots at fixed paths; a slot's storage is opened for writing only when it is asked for."""

    def __init__(self, settings: Settings, boot: BootControl) -> None:
        self._paths = dict(zip(SLOTS, (settings.image.slot_a, settings.image.slot_b), strict=True))
        self._size = settings.image.slot_bytes or None
        self._boot = boot
        self._open: dict[str, FileStorage] = {}

    def active(self) -> str:
        """See Slots."""
        return self._boot.booted()

    def inactive(self) -> str:
        """See Slots."""
        return SLOTS[1 - SLOTS.index(self.active())]

    def storage(self, slot: str) -> FileStorage:
        """See Slots. The running slot is opened for reading only."""
        path = self._paths[slot]
        if self._size is None and not path.exists():
            raise StorageError("storage-open", f"{path}: there is no slot {slot} here")
        if slot not in self._open:
            self._open[slot] = FileStorage(path, self._size, write=slot != self.active())
        return self._open[slot]


class Files:
    """StateFiles in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, name: str, limit: int) -> bytes | None:
        """See StateFiles."""
        return read_file(self._folder / name, limit)

    def save(self, name: str, data: bytes) -> None:
        """See StateFiles."""
        replace_file(self._folder / name, data)


def boot_control(settings: Settings, restarting: Callable[[], None]) -> BootControl:
    """The backend of ``boot.kind``. ``restarting`` is called when the machine was told to restart."""
    boot = settings.boot

    def restart(argument: str = "") -> None:
        restarting()
        command = ["systemctl", "reboot", *([f"--reboot-argument={argument}"] if argument else [])]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.SubprocessError) as error:
            raise BootError("reboot", f"{' '.join(command)} failed: {error}") from error

    if boot.kind == "uboot-env":
        return UBootEnvControl(boot.state, restart, COMMAND_LINE)
    if boot.kind == "sim":
        return _simulated(settings, restarting)
    raw = RawBootControl(boot.state, restart, COMMAND_LINE)
    if boot.firmware is None:
        return raw
    return TrybootControl(
        boot.firmware, dict(zip(SLOTS, (boot.partition_a, boot.partition_b), strict=True)), raw, restart
    )


def loader_facts(settings: Settings) -> dict[str, str]:
    """What the loader goes by, for people: the backend, where its state is, for ``tryboot`` the firmware's file."""
    boot = settings.boot
    facts = {"kind": boot.kind, "state": str(boot.state)}
    if boot.firmware is not None:
        path = boot.firmware / AUTOBOOT_NAME
        text = read_file(path, AUTOBOOT_BYTES_MAX)
        facts[AUTOBOOT_NAME] = text.decode("ascii", "replace") if text is not None else f"{path}: missing"
    return facts


def _simulated(settings: Settings, restarting: Callable[[], None]) -> BootControl:
    """State and command line in files; restarting runs the loader's part and ends the agent."""
    state, line = settings.boot.state, settings.boot.state.with_suffix(".cmdline")

    def restart() -> None:
        power_on(settings)
        restarting()

    if not state.exists():
        replace_file(state, blank(BootState(1, "a", "", 0, frozenset("a"))))
        replace_file(line, b"penstock.slot=a\n")
    return RawBootControl(state, restart, line)


def power_on(settings: Settings) -> str:
    """What the boot script does at a start of a simulated machine: a slot loads when it holds anything."""
    path = settings.boot.state
    data = path.read_bytes()
    newer, _ = newest([decode(data[at : at + 512]) for at in COPY_OFFSETS])
    control = RawBootControl(path, lambda: None)
    slots = dict(zip(SLOTS, (settings.image.slot_a, settings.image.slot_b), strict=True))
    for attempt in attempts(newer):
        if attempt.write is not None:
            control.write(attempt.write)
        if slots[attempt.slot].exists():
            replace_file(path.with_suffix(".cmdline"), f"penstock.slot={attempt.slot}\n".encode())
            return attempt.slot
    raise BootError("boot-slot", "simulated machine: no slot holds anything")
