"""Writing images: what is refused, that what is written is read back. Disks are folders that look like sysfs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.errors import PenstockError, UsageError
from gateway.image import flash
from gateway.image.flash import Machine, Target, describe, in_use, look, refuse, write

MIB = 1024 * 1024


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A fixed system disk ``sda`` with a mounted partition, and a card ``sdb``."""
    block = tmp_path / "sys" / "class" / "block"
    for name, removable, mib in (("sda", "0", 64), ("sdb", "1", 8), ("mmcblk0", "0", 8)):
        (block / name / "device").mkdir(parents=True)
        (block / name / "size").write_text(f"{mib * 2048}\n")
        (block / name / "removable").write_text(f"{removable}\n")
        (block / name / "dev").write_text(f"8:{len(name) * 16 + ord(name[-1])}\n")
        (block / name / "device" / "model").write_text("DISK\n")
    (block / "mmcblk0" / "device" / "type").write_text("SD\n")
    (block / "sda" / "sda1" / "holders").mkdir(parents=True)
    (block / "sda" / "sda1" / "partition").write_text("1\n")
    (block / "sda" / "sda1" / "dev").write_text("8:1\n")
    (block / "sda1").symlink_to("sda/sda1")
    proc = tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 0:5 / /proc rw - proc p rw\n")
    (proc / "swaps").write_text("Filename Type Size Used Priority\n")
    return Machine(tmp_path / "sys", proc)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(range(256)) * (5 * MIB // 256) + b"end")
    return path


def target(name: str, machine: Machine) -> Target:
    return describe(Path(f"/dev/{name}"), name, machine)


def test_a_card_is_taken(machine: Machine, image: Path) -> None:
    for name in ("sdb", "mmcblk0"):
        card = target(name, machine)
        assert (card.size, card.removable, card.model) == (8 * MIB, True, "DISK")
        refuse(image, card, machine, "")


def test_a_mounted_disk_is_refused_whatever_the_user_says(machine: Machine, image: Path) -> None:
    for named in ("", "sda"):
        with pytest.raises(UsageError, match="in use: mounted at /; unmount it first"):
            refuse(image, target("sda", machine), machine, named)


def test_a_fixed_disk_must_be_named(machine: Machine, image: Path) -> None:
    (machine.proc / "self" / "mountinfo").write_text("")
    with pytest.raises(UsageError, match="--not-removable sda"):
        refuse(image, target("sda", machine), machine, "")
    with pytest.raises(UsageError, match="--not-removable sda"):
        refuse(image, target("sda", machine), machine, "sdb")
    refuse(image, target("sda", machine), machine, "sda")


def test_swap_and_what_is_built_on_a_disk_count_as_use(machine: Machine) -> None:
    (machine.proc / "self" / "mountinfo").write_text("")
    (machine.proc / "swaps").write_text("Filename Type Size Used Priority\n/dev/sda1 partition 1 0 -2\n")
    (machine.sys / "class" / "block" / "sda" / "sda1" / "holders" / "md0").mkdir()
    assert in_use("sda", machine) == ["/dev/sda1 is swap", "sda1 is part of md0"]


def test_what_is_too_small_is_refused(machine: Machine, image: Path) -> None:
    (machine.sys / "class" / "block" / "sdb" / "size").write_text("2048\n")
    with pytest.raises(UsageError, match=r"/dev/sdb: 1048576 bytes, the image needs 5242883"):
        refuse(image, target("sdb", machine), machine, "")


def test_what_is_no_disk_is_refused(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="disks here: /dev/mmcblk0, /dev/sda, /dev/sdb"):
        look(tmp_path / "absent", machine)
    with pytest.raises(UsageError, match="neither a disk nor a file"):
        look(Path("/dev/null"), machine)


def test_the_image_itself_is_no_target(machine: Machine, image: Path) -> None:
    with pytest.raises(UsageError, match="that is the image itself"):
        refuse(image, look(image, machine), machine, "")


def test_written_and_read_back(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flash, "BLOCK_BYTES", MIB)
    card = tmp_path / "card"
    card.write_bytes(b"\xff" * 8 * MIB)
    steps: list[tuple[str, int, int]] = []
    write(image, Target(card, "", 8 * MIB, True, ""), lambda *step: steps.append(step))
    size = image.stat().st_size
    assert card.read_bytes() == image.read_bytes() + b"\xff" * (8 * MIB - size)
    assert [step for step in steps if step[1] == size] == [("written", size, size), ("verified", size, size)]
    assert len(steps) == 12


def test_the_table_of_a_former_system_is_erased(image: Path, tmp_path: Path) -> None:
    card = tmp_path / "card"
    card.write_bytes(bytes(8 * MIB - 512) + b"EFI PART".ljust(512, b"x"))
    # A name makes it a device: O_EXCL without O_CREAT is nothing to a plain file.
    write(image, Target(card, "sdb", 8 * MIB, True, ""), lambda *_: None)
    assert card.read_bytes()[-512:] == bytes(512)


def test_a_card_that_forgets_is_found_out(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A counterfeit card wraps around: what comes last overwrites what came first."""
    small = 2 * MIB
    real_write, real_read = os.pwrite, os.pread
    monkeypatch.setattr(flash, "BLOCK_BYTES", MIB)
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real_write(fd, data, at % small))
    monkeypatch.setattr(os, "pread", lambda fd, count, at: real_read(fd, count, at % small))
    with pytest.raises(PenstockError, match="does not read back as it was written"):
        write(image, Target(tmp_path / "card", "", 0, True, ""), lambda *_: None)


def test_a_device_that_fails_is_named(image: Path) -> None:
    with pytest.raises(PenstockError, match="/dev/full: No space left on device; nothing on it"):
        write(image, Target(Path("/dev/full"), "", 0, True, ""), lambda *_: None)


def test_the_command(image: Path, tmp_path: Path) -> None:
    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gateway.app.cli", "flash", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run(image, tmp_path / "card")
    assert done.returncode == 0, done.stderr
    assert "read back and compared" in done.stdout
    assert (tmp_path / "card").read_bytes() == image.read_bytes()
    done = run(tmp_path / "none.img", tmp_path / "card")
    assert done.returncode == 2
    assert "there is no such image" in done.stderr
