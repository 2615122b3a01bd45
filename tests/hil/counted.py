"""A machine whose clock counts instructions: nothing that the computer does meanwhile is in what a program measures.

QEMU's ``-icount``: each instruction of the emulated processor takes the same time, and time stands still while none is
executed. There are no caches and no wait for memory. The kernel is an image's, the program all there is beside it.
"""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.image.bootfiles import KERNEL
from gateway.image.kernel import cpio
from gateway.image.tree import Node
from tests.hil.image import tool

NS_PER_INSTRUCTION = 2
SHIFT = NS_PER_INSTRUCTION.bit_length() - 1  # QEMU wants its logarithm
MEMORY_MIB = 256
RUN_SECONDS_MAX = 600
ENDED_WELL = "Attempted to kill init! exitcode=0x00000000"  # what a kernel says when its only program returns
LIBRARIES = ("libc.so.6", "libgcc_s.so.1", "libm.so.6")
LOADERS = {"aarch64": "ld-linux-aarch64.so.1", "armv7": "ld-linux-armhf.so.3"}  # the kernel runs both


def kernel(slot: Path, out: Path) -> Path:
    """The kernel of an image's slot."""
    tool("mcopy", "-n", "-i", slot, f"::{KERNEL}", out)
    return out


def run(
    folder: Path, kernel: Path, files: Mapping[str, Path], arguments: Sequence[str], target: str, library: Path
) -> str:
    """Start ``files["init"]`` with arguments; the console's text. ``library``: where the target's C library is."""
    initrd = folder / "initrd"
    nodes = {name: Node(stat.S_IFREG | 0o755, path.read_bytes()) for name, path in files.items()}
    nodes |= {
        f"lib/{name}": Node(stat.S_IFREG | 0o755, (library / "lib" / name).read_bytes())
        for name in (LOADERS[target], *LIBRARIES)
    }
    initrd.write_bytes(cpio({"lib": Node(stat.S_IFDIR | 0o755), **nodes}))
    machine = ["-M", "virt", "-cpu", "cortex-a53", "-m", str(MEMORY_MIB), "-icount", f"shift={SHIFT},sleep=off"]
    machine += ["-display", "none", "-nodefaults", "-serial", "stdio", "-no-reboot"]
    line = " ".join(["console=ttyAMA0 panic=-1 quiet rdinit=/init --", *arguments])
    machine += ["-kernel", str(kernel), "-initrd", str(initrd), "-append", line]
    done = subprocess.run(
        ["setpriv", "--pdeathsig", "KILL", "qemu-system-aarch64", *machine],
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_SECONDS_MAX,
        stdin=subprocess.DEVNULL,
    )
    (folder / "console.log").write_text(done.stdout + done.stderr, "utf-8")
    assert ENDED_WELL in done.stdout, done.stdout[-4000:] + done.stderr
    return done.stdout
