"""What the boot loader reads: boot script, ``config.txt``, ``autoboot.txt``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from gateway.config.hardware import Boot
from gateway.image.disk import partitions
from gateway.image.recipe import Recipe
from gateway.image.tools import run
from ota.boot.block import SLOTS
from ota.boot.script import Disk, boot_script
from ota.boot.tryboot import autoboot_text

KERNEL, INITRD, ROOT = "vmlinuz", "initrd", "root.squashfs"
UBOOT_ARCH = {"aarch64": "arm64", "armv7": "arm"}
BOOT_COMMAND = {"aarch64": "booti", "armv7": "bootz"}
_MARKS = (0xA0A0A0A0, 0xB0B0B0B0)
_SCRATCH = "setexpr pen_scratch_0 ${kernel_addr_r} + 0\nsetexpr pen_scratch_1 ${kernel_addr_r} + 1000\n"
# Of a compressed kernel, which booti unpacks behind the initramfs and then moves to where it was loaded. What U-Boot
# proposes for the initramfs is too near: kernels have grown since.
KERNEL_BYTES_MAX, INITRD_BYTES_MAX = 96 * 1024 * 1024, 32 * 1024 * 1024
RESTART_S = 10  # after a kernel panic


def arguments(boot: Boot, slot: str) -> str:
    """The kernel's command line for a slot."""
    words = [f"panic={RESTART_S}", "quiet", "loglevel=4", f"penstock.slot={slot}", *boot.arguments.split()]
    return " ".join([*words, *([f"console={boot.console}"] if boot.console else [])])


def script_text(recipe: Recipe) -> str:
    """The boot script before ``mkimage``: which slot, then how a slot is booted."""
    boot, parts = recipe.boot, partitions(recipe.storage)
    load = f"load {boot.interface} {boot.disk}:${{pen_part}}"
    place = "${kernel_addr_r}"
    lines = [f"{load} {place} {KERNEL}"]
    if recipe.image.compress:
        lines += [
            "setenv kernel_comp_size ${filesize}",
            f"setexpr ramdisk_addr_r {place} + {KERNEL_BYTES_MAX:x}",
            f"setexpr kernel_comp_addr_r ${{ramdisk_addr_r}} + {INITRD_BYTES_MAX:x}",
        ]
    lines += [
        f"{load} ${{ramdisk_addr_r}} {INITRD}",
        "setenv pen_initrd ${filesize}",
        f'setenv bootargs "{arguments(boot, "${pen_slot}")} penstock.trial=${{pen_trial}}"',
        f"{BOOT_COMMAND[recipe.arch]} {place} ${{ramdisk_addr_r}}:${{pen_initrd}} ${{{boot.fdt}}}",
    ]
    disk = Disk(
        boot.interface,
        boot.disk,
        state=parts["state"].number,
        slots={"a": parts["slot-a"].number, "b": parts["slot-b"].number},
        boot=[_nested(lines)],
    )
    # The kernel's place is free until the kernel is loaded, on every board; only U-Boot knows where it is.
    text = boot_script(disk, _MARKS)
    for number, mark in enumerate(_MARKS):
        text = text.replace(f"0x{mark:x}", f"${{pen_scratch_{number}}}")
    return _SCRATCH + text


def _nested(lines: list[str]) -> str:
    """Each command only when the one before it worked."""
    return "if " + " && ".join(lines[:-1]) + f"; then {lines[-1]}; fi"


def compiled_script(recipe: Recipe) -> bytes:
    """``boot.scr``."""
    with tempfile.TemporaryDirectory(prefix="penstock-script-") as folder:
        source, made = Path(folder) / "boot.cmd", Path(folder) / "boot.scr"
        source.write_text(script_text(recipe), "utf-8")
        run("mkimage", "-A", UBOOT_ARCH[recipe.arch], "-T", "script", "-n", "penstock", "-d", source, made)
        return made.read_bytes()


def config_txt(recipe: Recipe) -> bytes:
    """For the Raspberry Pi firmware: of the boot partition with U-Boot, of a slot without."""
    lines = ["# Made by penstock image build.", *recipe.boot.config]
    if recipe.boot.loader == "tryboot":
        parts = partitions(recipe.storage)
        lines += [f"kernel={KERNEL}", f"initramfs {INITRD} followkernel"]
        for slot in SLOTS:  # one slot image for both: which one it is in decides the command line
            lines += [f"[boot_partition={parts[f'slot-{slot}'].number}]", f"cmdline=cmdline-{slot}.txt"]
        lines.append("[all]")
    return "".join(f"{line}\n" for line in lines).encode()


def slot_files(recipe: Recipe) -> dict[str, bytes]:
    """What a slot needs besides kernel, initramfs and root file system when the firmware boots it without U-Boot."""
    if recipe.boot.loader != "tryboot":
        return {}
    lines = {f"cmdline-{slot}.txt": f"{arguments(recipe.boot, slot)}\n".encode() for slot in SLOTS}
    return {"config.txt": config_txt(recipe), **lines}


def boot_files(recipe: Recipe) -> dict[str, bytes]:
    """What is made for the boot partition, besides files of packages."""
    if recipe.boot.loader == "tryboot":
        return {"autoboot.txt": autoboot_txt(recipe)}
    files = {"boot.scr": compiled_script(recipe)}
    return files | ({"config.txt": config_txt(recipe)} if recipe.boot.config else {})


def autoboot_txt(recipe: Recipe) -> bytes:
    """Which partition the firmware boots, and which once after ``reboot '0 tryboot'``."""
    parts = partitions(recipe.storage)
    return autoboot_text(parts["slot-a"].number, parts["slot-b"].number).encode()
