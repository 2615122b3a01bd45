"""What the boot loaders read. The boot script itself is run in a real U-Boot by tests/ota/boot and in the images."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.config.board import load_board
from gateway.image.bootfiles import autoboot_txt, boot_files, config_txt, script_text, slot_files
from gateway.image.recipe import Recipe, recipe
from ota.boot.tryboot import autoboot_text


def of(root: Path, name: str) -> Recipe:
    return recipe(load_board(root / "board-configs" / f"{name}.toml"))


@pytest.mark.parametrize("name", ["qemu-arm64", "generic-armv7", "rpi4", "rpi-zero2w"])
def test_the_script_boots_a_slot_only_when_all_of_it_loads(root: Path, name: str) -> None:
    one = of(root, name)
    text = script_text(one)
    (line,) = [line for line in text.splitlines() if "vmlinuz" in line]
    steps = [part.strip() for part in re.split("&&|; then|;", line.strip().removeprefix("if "))]
    disk = f"{one.boot.interface} {one.boot.disk}:${{pen_part}}"
    assert steps[0] == f"load {disk} ${{kernel_addr_r}} vmlinuz"
    assert f"load {disk} ${{ramdisk_addr_r}} initrd" in steps
    assert steps[-2].startswith("bootz " if one.arch == "armv7" else "booti ")
    assert steps[-2].endswith(f"${{ramdisk_addr_r}}:${{pen_initrd}} ${{{one.boot.fdt}}}")
    assert steps[-1] == "fi"
    assert "penstock.slot=${pen_slot}" in line


def test_the_script_needs_no_fixed_address(root: Path) -> None:
    text = script_text(of(root, "qemu-arm64"))
    assert text.startswith("setexpr pen_scratch_0 ${kernel_addr_r} + 0\n")
    assert "env import -c ${pen_scratch_0} 200" in text
    assert "env export -c -s 200 ${pen_scratch_0}" in text
    assert re.findall(r"0x[0-9a-f]{5,}", text) == []


def test_a_compressed_kernel_has_a_place_to_be_unpacked(root: Path) -> None:
    line = next(line for line in script_text(of(root, "rpi4")).splitlines() if "vmlinuz" in line)
    assert line.index("vmlinuz") < line.index("setenv kernel_comp_size ${filesize}") < line.index("initrd")
    assert "setexpr kernel_comp_addr_r ${ramdisk_addr_r} + 2000000 " in line


def test_config_for_the_firmware_that_starts_uboot(root: Path) -> None:
    assert config_txt(of(root, "rpi4")).decode() == (
        "# Made by penstock image build.\n"
        "arm_64bit=1\nenable_uart=1\nuart_2ndstage=1\nkernel=u-boot.bin\nupstream_kernel=1\n"
    )


def test_the_firmware_that_boots_slots_itself(root: Path) -> None:
    """One slot image serves both slots: which one it is in, the firmware's conditional sections tell."""
    boot = load_board(root / "board-configs" / "rpi5.toml").boot
    assert boot is not None
    one = replace(of(root, "rpi4"), boot=boot)  # no image is made for the Raspberry Pi 5: it has no kernel yet
    files = slot_files(one)
    assert files["config.txt"].decode().split("\n", 1)[1] == (
        "arm_64bit=1\nenable_uart=1\nos_check=0\ndevice_tree=bcm2712-rpi-5-b.dtb\n"
        "kernel=vmlinuz\ninitramfs initrd followkernel\n"
        "[boot_partition=3]\ncmdline=cmdline-a.txt\n[boot_partition=4]\ncmdline=cmdline-b.txt\n[all]\n"
    )
    for slot in "ab":
        assert f"penstock.slot={slot} " in files[f"cmdline-{slot}.txt"].decode()
        assert files[f"cmdline-{slot}.txt"].count(b"\n") == 1
    assert boot_files(one) == {"autoboot.txt": autoboot_text(3, 4).encode()}
    assert autoboot_txt(one).decode() == ("[all]\ntryboot_a_b=1\nboot_partition=3\n[tryboot]\nboot_partition=4\n")


def test_slots_that_uboot_boots_need_nothing_else(root: Path) -> None:
    assert slot_files(of(root, "rpi4")) == {}
