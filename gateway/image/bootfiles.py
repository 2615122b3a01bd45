"""What the boot loader reads: boot script, ``config.txt``, ``autoboot.txt``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from gateway.config.board import Board
from gateway.config.hardware import Boot
from gateway.image.disk import partitions
from gateway.image.tools import run
from ota.boot.script import Disk, boot_script
from ota.boot.tryboot import autoboot_text

KERNEL, INITRD, ROOT = "vmlinuz", "initrd", "root.squashfs"
UBOOT_ARCH = {"aarch64": "arm64", "armv7": "arm"}
BOOT_COMMAND = {"aarch64": "booti", "armv7": "bootz"}
RESTART_S = 10  # after a kernel panic


def arguments(boot: Boot, slot: str) -> str:
    """The kernel's command line for a slot."""
    words = [f"console={boot.console}", f"panic={RESTART_S}", "quiet", "loglevel=4", f"penstock.slot={slot}"]
    return " ".join([*words, *boot.arguments.split()])


def script_text(board: Board) -> str:
    """The boot script before ``mkimage``: which slot, then how a slot is booted."""
    assert board.boot is not None and board.storage is not None and board.image is not None
    boot, parts = board.boot, partitions(board.storage)
    load = f"load {boot.interface} {boot.disk}:${{pen_part}}"
    tree = f"${{{boot.fdt}}}"
    lines = []
    if boot.dtbs:
        tree = "${fdt_addr_r}"
        lines.append(f"{load} {tree} {boot.dtbs[0]}")
    place = "${kernel_addr_r}"
    lines += [
        f"{load} {place} {KERNEL}",
        f"{load} ${{ramdisk_addr_r}} {INITRD}",
        "setenv pen_initrd ${filesize}",
        f'setenv bootargs "{arguments(boot, "${pen_slot}")}"',
        f"{BOOT_COMMAND[board.head.arch]} {place} ${{ramdisk_addr_r}}:${{pen_initrd}} {tree}",
    ]
    disk = Disk(
        boot.interface,
        boot.disk,
        state=parts["state"].number,
        slots={"a": parts["slot-a"].number, "b": parts["slot-b"].number},
        boot=[_nested(lines)],
    )
    return boot_script(disk, (boot.scratch, boot.scratch + 0x1000))


def _nested(lines: list[str]) -> str:
    """Each command only when the one before it worked."""
    return "if " + " && ".join(lines[:-1]) + f"; then {lines[-1]}; fi"


def compiled_script(board: Board) -> bytes:
    """``boot.scr``."""
    with tempfile.TemporaryDirectory(prefix="penstock-script-") as folder:
        source, made = Path(folder) / "boot.cmd", Path(folder) / "boot.scr"
        source.write_text(script_text(board), "utf-8")
        run("mkimage", "-A", UBOOT_ARCH[board.head.arch], "-T", "script", "-n", "penstock", "-d", source, made)
        return made.read_bytes()


def config_txt(boot: Boot) -> bytes:
    """For the Raspberry Pi firmware."""
    return "".join(f"{line}\n" for line in ("# Made by penstock image build.", *boot.config)).encode()


def autoboot_txt(board: Board) -> bytes:
    """Which partition the firmware boots, and which once after ``reboot '0 tryboot'``."""
    assert board.storage is not None
    parts = partitions(board.storage)
    return autoboot_text(parts["slot-a"].number, parts["slot-b"].number).encode()
