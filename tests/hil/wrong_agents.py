"""Agents that do one thing in the wrong order, to see that the tests of power cuts catch what they do.

Each is the image's own agent with one method replaced, run by the device's Python in the machine under test: its
writes go through the real kernel to the real disk, and are recorded like those of the right one.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WrongAgent:
    """``program``: what replaces the method. ``state_writes``: writes of the boot state, and ``slot_writes`` of the
    slot after them, that show the mistake."""

    program: str
    state_writes: int
    slot_writes: int = 0

    def command(self) -> str:
        """For the console: an update by this agent, in the background."""
        text = f'{self.program}\nfrom ota.app.cli import main\nmain(["install", "--config", "/data/ota.toml"])\n'
        return f"python3 -I -c {shlex.quote(f'exec({text!r})')} &"


LATE_WRITES = " && ".join(
    f"echo {value} > /proc/sys/vm/{name}"
    for name, value in {
        "dirty_writeback_centisecs": 0,
        "dirty_ratio": 80,
        "dirty_background_ratio": 60,
        "drop_caches": 1,
    }.items()
)
"""For the console: the kernel writes what it is asked to, or when it needs the memory."""

WRONG_AGENTS = {
    # What it does not flush must fit into memory, beside what is read: a kernel in need writes all there is.
    "flushes-half": WrongAgent(
        """\
import ota.stage
from ota.storage import FileStorage
ota.stage._verify = lambda artefact, target: None
flush, write, MIB = FileStorage.sync, FileStorage.write_at, 1 << 20
def write_at(storage, offset, data):
    write(storage, offset, data)
    if offset % (4 * MIB) < len(data):
        if offset < 40 * MIB:
            flush(storage)
        with open("/proc/sys/vm/drop_caches", "w") as caches:
            caches.write("1")
FileStorage.write_at = write_at
FileStorage.sync = lambda storage: None
""",
        state_writes=2,  # not valid, on trial
    ),
    "activates-first": WrongAgent(
        """\
from ota.agent.device import Device
from ota.boot.table import arm_trial
right = Device.install
def install(device, image, fill, cancel):
    def late(image, slot, cancel):
        device._boot.write(arm_trial(device.state(), device.slot))
        fill(image, slot, cancel)
    right(device, image, late, cancel)
Device.install = install
""",
        state_writes=2,
        slot_writes=20,
    ),
}
