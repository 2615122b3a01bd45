"""A real U-Boot in QEMU's ``virt`` machine with a disk as the boards have it; the state partition is compared after."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pytest

from ota.boot.raw import PARTITION_BYTES
from ota.boot.script import Disk, boot_script

FIRMWARE = Path("/usr/lib/u-boot/qemu_arm64/u-boot.bin")
PACKAGES = "qemu-system-arm u-boot-qemu u-boot-tools dosfstools mtools fdisk"
MIB = 1024 * 1024
STATE_AT, SLOT_A_AT, SLOT_B_AT, DISK_BYTES = 9 * MIB, 10 * MIB, 12 * MIB, 15 * MIB
TABLE = f"""label: gpt
start={2048}, size={8 * 2048}, name=boot
start={STATE_AT // 512}, size={PARTITION_BYTES // 512}, name=state
start={SLOT_A_AT // 512}, size={2 * 2048}, name=a
start={SLOT_B_AT // 512}, size={2 * 2048}, name=b
"""
BOOT = ('if load virtio 0:${pen_part} 0x48000000 kernel; then echo "PICKED ${pen_slot}"; poweroff; fi',)
BOOT_SECONDS_MAX = 60


def require_uboot() -> None:
    """Skip where U-Boot, QEMU or the tools that make its disk are missing."""
    missing = [tool for tool in ("qemu-system-aarch64", "mkimage", "mkfs.vfat", "mcopy", "sfdisk") if not which(tool)]
    if missing or not FIRMWARE.exists():
        if os.environ.get("PENSTOCK_NO_SKIP"):
            pytest.fail(f"U-Boot cannot be run: install {PACKAGES}")
        pytest.skip(f"U-Boot cannot be run: install {PACKAGES}")


def which(tool: str) -> str | None:
    """Path of a tool; those of the system administrator are not on everybody's path."""
    return shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def run(*command: str | Path, text: str | None = None) -> None:
    """Run a tool found on the path or in /sbin; its output is shown when it fails."""
    tool = which(str(command[0]))
    assert tool is not None
    done = subprocess.run([tool, *map(str, command[1:])], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


@dataclass(frozen=True, slots=True)
class Booted:
    """What the loader took, None for nothing, and the bytes of the state partition afterwards."""

    slot: str | None
    state: bytes
    console: str


class Machine:
    """A disk in ``folder``; slots and state are laid anew for each boot."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._disk = folder / "disk.img"
        self._images = {loads: self._slot_image(loads) for loads in (False, True)}
        self._disk.write_bytes(bytes(DISK_BYTES))
        run("sfdisk", "-q", self._disk, text=TABLE)
        self._write(MIB, self._boot_image())

    def boot(self, state: bytes, loads: Collection[str]) -> Booted:
        """Power on with this state partition; slots in ``loads`` have a kernel."""
        self._write(STATE_AT, state.ljust(PARTITION_BYTES, b"\0"))
        for slot, offset in (("a", SLOT_A_AT), ("b", SLOT_B_AT)):
            self._write(offset, self._images[slot in loads])
        typed = "\n\nvirtio scan; load virtio 0:1 0x44000000 boot.scr; source 0x44000000\n"
        command = ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a53", "-m", "256", "-nographic", "-no-reboot"]
        command += ["-net", "none", "-bios", str(FIRMWARE), "-drive", f"if=none,id=d0,format=raw,file={self._disk}"]
        command += ["-device", "virtio-blk-pci,drive=d0,addr=4"]
        done = subprocess.run(
            command,
            input=typed,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=BOOT_SECONDS_MAX,
        )
        picked = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("PICKED ")]
        with self._disk.open("rb") as disk:
            disk.seek(STATE_AT)
            after = disk.read(PARTITION_BYTES)
        return Booted(picked[0] if picked else None, after, done.stdout)

    def _write(self, offset: int, data: bytes) -> None:
        with self._disk.open("r+b") as disk:
            disk.seek(offset)
            disk.write(data)

    def _boot_image(self) -> bytes:
        script, made, image = (self._folder / name for name in ("boot.cmd", "boot.scr", "boot.img"))
        disk = Disk("virtio", "0", state=2, slots={"a": 3, "b": 4}, boot=BOOT)
        script.write_text(boot_script(disk), "utf-8")
        run("mkimage", "-A", "arm64", "-T", "script", "-d", script, made)
        image.write_bytes(bytes(8 * MIB))
        run("mkfs.vfat", "-s", "1", image)
        run("mcopy", "-i", image, made, "::boot.scr")
        return image.read_bytes()

    def _slot_image(self, loads: bool) -> bytes:
        image, kernel = self._folder / "slot.img", self._folder / "kernel"
        image.write_bytes(bytes(2 * MIB))
        run("mkfs.vfat", "-s", "1", image)
        if loads:
            kernel.write_bytes(struct.pack("<I", 1))
            run("mcopy", "-i", image, kernel, "::kernel")
        return image.read_bytes()
