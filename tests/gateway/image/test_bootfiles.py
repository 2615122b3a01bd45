"""What the boot loaders read. The boot script itself is run in a real U-Boot by tests/ota/boot and in the images."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.config.board import load_board
from gateway.config.hardware import Boot
from gateway.errors import UsageError
from gateway.image import build
from gateway.image.bootfiles import autoboot_txt, boot_files, config_txt, script_text, slot_files
from gateway.image.kernel import Kernel
from gateway.image.recipe import Recipe, recipe
from gateway.image.root import Parts, ota_settings, settings_text
from gateway.image.tree import Tree
from ota.agent.settings import Settings, read_settings
from ota.boot.tryboot import autoboot_text


def of(root: Path, name: str) -> Recipe:
    return recipe(load_board(root / "board-configs" / f"{name}.toml"))


@pytest.mark.parametrize("name", ["qemu-arm64", "generic-armv7", "rpi4", "rpi5", "rpi-zero2w"])
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
    assert "penstock.trial=${pen_trial}" in line, "the guard of a slot on trial is stricter"


def test_the_script_needs_no_fixed_address(root: Path) -> None:
    text = script_text(of(root, "qemu-arm64"))
    assert text.startswith("setexpr pen_scratch_0 ${kernel_addr_r} + 0\n")
    assert "env import -c ${pen_scratch_0} 200" in text
    assert "env export -c -s 200 ${pen_scratch_0}" in text
    assert re.findall(r"0x[0-9a-f]{5,}", text) == []


def test_a_compressed_kernel_has_a_place_to_be_unpacked(root: Path) -> None:
    line = next(line for line in script_text(of(root, "rpi4")).splitlines() if "vmlinuz" in line)
    steps = [
        "vmlinuz",
        "setenv kernel_comp_size ${filesize}",
        "setexpr ramdisk_addr_r ${kernel_addr_r} + 6000000 ",
        "setexpr kernel_comp_addr_r ${ramdisk_addr_r} + 2000000 ",
        "initrd",
    ]
    assert sorted(steps, key=line.index) == steps


def test_config_for_the_firmware_that_starts_uboot(root: Path) -> None:
    assert config_txt(of(root, "rpi4")).decode() == (
        "# Made by penstock image build.\n"
        "arm_64bit=1\nenable_uart=1\nuart_2ndstage=1\nkernel=u-boot.bin\nupstream_kernel=1\n"
    )


def by_firmware(root: Path) -> Recipe:
    """A Raspberry Pi 5 without U-Boot. No board file says so yet: Debian's kernels do not pass "tryboot" on."""
    boot = Boot(
        "tryboot", console="ttyAMA10,115200", config=("arm_64bit=1", "os_check=0"), dtbs=("bcm2712-rpi-5-b.dtb",)
    )
    return replace(of(root, "rpi5"), boot=boot)


def test_the_firmware_that_boots_slots_itself(root: Path) -> None:
    """One slot image serves both slots: which one it is in, the firmware's conditional sections tell."""
    one = by_firmware(root)
    files = slot_files(one)
    assert files["config.txt"].decode().split("\n", 1)[1] == (
        "arm_64bit=1\nos_check=0\n"
        "kernel=vmlinuz\ninitramfs initrd followkernel\n"
        "[boot_partition=3]\ncmdline=cmdline-a.txt\n[boot_partition=4]\ncmdline=cmdline-b.txt\n[all]\n"
    )
    for slot in "ab":
        assert f"penstock.slot={slot} " in files[f"cmdline-{slot}.txt"].decode()
        assert files[f"cmdline-{slot}.txt"].count(b"\n") == 1
    assert boot_files(one) == {"autoboot.txt": autoboot_text(3, 4).encode()}
    assert autoboot_txt(one).decode() == ("[all]\ntryboot_a_b=1\nboot_partition=3\n[tryboot]\nboot_partition=4\n")


def settings_of(one: Recipe, folder: Path) -> Settings:
    """What the update agent reads on a board: the image's part of its settings, and the device's."""
    file = folder / "ota.toml"
    device = '[device]\nid = "x"\n[repository]\nurl = "https://x"\n'
    file.write_text(device + ota_settings(Parts(one, "full", Kernel("6", Tree(), {}), [], {}, None, 1)))
    return read_settings(file)


def test_the_agent_knows_the_firmware_that_boots_slots_itself(root: Path, tmp_path: Path) -> None:
    one = by_firmware(root)
    settings = settings_of(one, tmp_path)
    boot = settings.boot
    assert (boot.kind, boot.state, boot.firmware) == ("tryboot", Path("/dev/penstock/state"), Path("/boot/firmware"))
    assert autoboot_txt(one).decode() == autoboot_text(boot.partition_a, boot.partition_b)
    assert settings.image.line == "image/rpi5/penstock"
    parts = Parts(one, "full", Kernel("6", Tree(), {}), [], {}, None, 1)
    assert "firmware='/boot/firmware'\n" in settings_text(parts), "where the boot partition is mounted for the agent"


@pytest.mark.parametrize("name", ["qemu-arm64", "generic-armv7", "rpi4", "rpi5", "rpi-zero2w"])
def test_the_agent_knows_uboot(root: Path, tmp_path: Path, name: str) -> None:
    one = of(root, name)
    boot = settings_of(one, tmp_path).boot
    assert (boot.kind, boot.state, boot.firmware) == ("raw", Path("/dev/penstock/state"), None)
    parts = Parts(one, "minimal", Kernel("6", Tree(), {}), [], {}, None, 1)
    assert "firmware=''\n" in settings_text(parts), "the boot partition is mounted for provisioning only"


def test_busybox_cannot_ask_the_firmware_for_the_other_slot(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "require", list)
    with pytest.raises(UsageError, match=r"rpi5\.toml: boot\.loader: tryboot needs the flavour full"):
        build.check(build.Request(by_firmware(root), "minimal", root, root, {}))
    build.check(build.Request(by_firmware(root), "full", root, root, {}))


def test_slots_that_uboot_boots_need_nothing_else(root: Path) -> None:
    assert slot_files(of(root, "rpi4")) == {}
