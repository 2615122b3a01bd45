"""Every boot control keeps the same promises: what is written is read, a failed write changes nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ota.boot.block import BLOCK_BYTES, SLOTS
from ota.boot.raw import COPY_OFFSETS, PARTITION_BYTES, RawBootControl, blank
from ota.boot.simulated import SimulatedBoot
from ota.boot.table import TRIES, arm_trial, begin_update
from ota.boot.tryboot import AUTOBOOT_BYTES_MAX, TRYBOOT, TrybootControl, autoboot_text
from ota.boot.uboot_env import UBootEnvControl, default_environment
from ota.errors import BootError
from ota.ports import BootControl, BootState

START = BootState(1, "a", "", 0, frozenset("a"))
PARTITIONS = {"a": 2, "b": 3}
ENV_BYTES = 0x4000
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def no_reboot(*_: object) -> None:
    raise AssertionError("nobody asked for a reboot")


def command_line(folder: Path, slot: str) -> Path:
    path = folder / "cmdline"
    path.write_text(f"console=ttyS0 penstock.slot={slot} root=/dev/vda3\n")
    return path


def raw(folder: Path) -> RawBootControl:
    path = folder / "state"
    path.write_bytes(blank(START))
    return RawBootControl(path, no_reboot, command_line(folder, "a"))


def tryboot(folder: Path) -> TrybootControl:
    (folder / "autoboot.txt").write_text(autoboot_text(2, 3))
    return TrybootControl(folder, PARTITIONS, raw(folder), no_reboot)


def simulated(_folder: Path) -> SimulatedBoot:
    return SimulatedBoot(START)


def require_env_tools() -> None:
    if shutil.which("fw_setenv", path=PATH) and shutil.which("mkenvimage", path=PATH):
        return
    problem = "fw_setenv or mkenvimage is missing: install libubootenv-tool u-boot-tools"
    if os.environ.get("PENSTOCK_NO_SKIP"):
        pytest.fail(problem)
    pytest.skip(problem)


def uboot_env(folder: Path) -> UBootEnvControl:
    require_env_tools()
    text, image = folder / "env.txt", folder / "env.bin"
    text.write_text(default_environment("echo good", "echo trial"))
    tool = shutil.which("mkenvimage", path=PATH)
    assert tool is not None
    subprocess.run([tool, "-r", "-s", hex(ENV_BYTES), "-o", image, text], check=True)
    image.write_bytes(image.read_bytes() * 2)
    config = folder / "fw_env.config"
    config.write_text(f"{image} 0x0 {ENV_BYTES:#x}\n{image} {ENV_BYTES:#x} {ENV_BYTES:#x}\n")
    return UBootEnvControl(config, no_reboot, command_line(folder, "a"))


BACKENDS: list[Callable[[Path], BootControl]] = [raw, tryboot, uboot_env, simulated]


@pytest.mark.parametrize("make", BACKENDS)
def test_an_update_and_its_commit(make: Callable[[Path], BootControl], tmp_path: Path) -> None:
    boot = make(tmp_path)
    assert boot.read() == START
    assert boot.booted() == "a"
    begun = begin_update(boot.read(), "a")
    armed = arm_trial(begun, "a")
    committed = BootState(armed.generation + 1, "b", "", 0, frozenset(SLOTS))
    for state in (begun, armed, committed):
        boot.write(state)
        assert boot.read() == state


@pytest.mark.parametrize("make", BACKENDS)
def test_nonsense_is_refused_and_changes_nothing(make: Callable[[Path], BootControl], tmp_path: Path) -> None:
    boot = make(tmp_path)
    with pytest.raises(BootError):
        boot.write(replace(START, generation=2, good="b"))
    assert boot.read() == START


# ---- raw partition ----


def test_raw_write_leaves_the_copy_that_holds_alone(tmp_path: Path) -> None:
    boot = raw(tmp_path)
    path = tmp_path / "state"
    for generation in range(2, 8):
        before = path.read_bytes()
        boot.write(replace(START, generation=generation))
        after = path.read_bytes()
        changed = [at for at in COPY_OFFSETS if before[at : at + BLOCK_BYTES] != after[at : at + BLOCK_BYTES]]
        assert changed == [COPY_OFFSETS[(generation - 1) % 2]]
        assert len(after) == PARTITION_BYTES


def test_raw_survives_a_write_cut_at_every_byte(tmp_path: Path) -> None:
    boot, path = raw(tmp_path), tmp_path / "state"
    boot.write(replace(START, generation=2))
    before = path.read_bytes()
    boot.write(replace(START, generation=3))
    after = path.read_bytes()
    for cut in range(BLOCK_BYTES + 1):
        path.write_bytes(after[:cut] + before[cut:])
        assert boot.read().generation == (3 if after[:BLOCK_BYTES] == (after[:cut] + before[cut:])[:BLOCK_BYTES] else 2)


def test_raw_reports_lost_state_and_lost_slot(tmp_path: Path) -> None:
    boot = raw(tmp_path)
    (tmp_path / "state").write_bytes(bytes(PARTITION_BYTES))
    with pytest.raises(BootError, match="no intact copy"):
        boot.read()
    (tmp_path / "cmdline").write_text("root=/dev/vda3 notpenstock.slot=b penstock.slot=ab")
    with pytest.raises(BootError, match=r"penstock\.slot"):
        boot.booted()
    with pytest.raises(BootError, match="cannot be read"):
        RawBootControl(tmp_path / "absent", no_reboot).read()


def test_raw_write_error_is_told(tmp_path: Path) -> None:
    full = RawBootControl(Path("/dev/full"), no_reboot, command_line(tmp_path, "a"))
    with pytest.raises(BootError, match="/dev/full: cannot be written: No space left"):
        full.write(START)


# ---- tryboot ----


def test_tryboot_file_is_what_the_firmware_reads(tmp_path: Path) -> None:
    boot = tryboot(tmp_path)
    boot.write(arm_trial(START, "a"))
    assert (tmp_path / "autoboot.txt").read_text() == autoboot_text(2, 3)
    boot.write(BootState(9, "b", "", 0, frozenset(SLOTS)))
    text = (tmp_path / "autoboot.txt").read_text()
    assert text == "[all]\ntryboot_a_b=1\nboot_partition=3\n[tryboot]\nboot_partition=2\n"
    assert len(text) <= AUTOBOOT_BYTES_MAX


def test_tryboot_cut_between_file_and_record_is_a_commit(tmp_path: Path) -> None:
    boot = tryboot(tmp_path)
    armed = arm_trial(START, "a")
    boot.write(armed)
    (tmp_path / "autoboot.txt").write_text(autoboot_text(3, 2))
    assert boot.read() == replace(armed, good="b", trial="", tries_left=0)


def test_tryboot_takes_a_try_for_each_reboot_into_the_trial(tmp_path: Path) -> None:
    restarts: list[str] = []
    record = raw(tmp_path)
    (tmp_path / "autoboot.txt").write_text(autoboot_text(2, 3))
    boot = TrybootControl(tmp_path, PARTITIONS, record, restarts.append)
    boot.reboot()
    boot.write(arm_trial(START, "a"))
    boot.reboot()
    assert boot.read().tries_left == TRIES - 1
    command_line(tmp_path, "b")
    boot.reboot()  # on trial: back to the committed slot
    assert restarts == ["", TRYBOOT, ""]
    assert boot.read().tries_left == TRIES - 1


def test_tryboot_damaged_file_is_named(tmp_path: Path) -> None:
    boot = tryboot(tmp_path)
    for damaged in (b"[all]\nboot_partition=7\n", b"", b"\xff" * 100):
        (tmp_path / "autoboot.txt").write_bytes(damaged)
        with pytest.raises(BootError, match=r"autoboot\.txt.*one of 2, 3"):
            boot.read()


# ---- U-Boot environment ----


def test_uboot_counts_the_tries(tmp_path: Path) -> None:
    boot = uboot_env(tmp_path)
    boot.write(arm_trial(START, "a"))
    for counted in range(1, TRIES + 2):  # as U-Boot does
        env = {**os.environ, "PATH": PATH}
        config = str(tmp_path / "fw_env.config")
        subprocess.run(["fw_setenv", "-c", config, "bootcount", str(counted)], check=True, env=env)
        assert boot.read().tries_left == max(TRIES - counted, 0)


def test_uboot_environment_survives_a_cut_at_every_block(tmp_path: Path) -> None:
    boot, image = uboot_env(tmp_path), tmp_path / "env.bin"
    boot.write(replace(START, generation=2))
    before = image.read_bytes()
    boot.write(replace(START, generation=3))
    after = image.read_bytes()
    for cut in [0, 1, 4, 5, 100, *range(512, len(after) + 1, 2048)]:
        image.write_bytes(after[:cut] + before[cut:])
        assert boot.read().generation in (2, 3)


def test_uboot_single_environment_is_refused(tmp_path: Path) -> None:
    boot = uboot_env(tmp_path)
    config = tmp_path / "fw_env.config"
    config.write_text("# one copy only\n" + config.read_text().splitlines()[0] + "\n")
    with pytest.raises(BootError, match="1 copies of the environment, two are needed"):
        boot.write(replace(START, generation=2))


def test_uboot_unreadable_environment_is_no_success(tmp_path: Path) -> None:
    boot = uboot_env(tmp_path)
    (tmp_path / "env.bin").write_bytes(bytes(2 * ENV_BYTES))
    with pytest.raises(BootError):
        boot.read()
