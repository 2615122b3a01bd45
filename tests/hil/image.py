"""The image under test, built by ``penstock image build``; versions of its slot that differ, or are broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gateway.image.disk import SQUASHFS
from tests.hil.disk import partitions
from tests.hil.releases import FAMILY

BUILD_SECONDS_MAX = 900
TOOL_SECONDS_MAX = 300
ROOT_FILE, INITRD_FILE = "root.squashfs", "initrd"
ABOUT = "usr/share/penstock/image.json"
ENTRY = "usr/lib/python3.11/dist-packages/gateway/__init__.py"


@dataclass(frozen=True, slots=True)
class Built:
    """Files that the builder made: the whole disk, one slot of it."""

    disk: Path
    slot: Path


def tool(*command: str | Path, stdin: IO[bytes] | None = None) -> bytes:
    """Run a program, with those of the administrator; its output. Raises AssertionError with what it said."""
    environment = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin", "MTOOLS_SKIP_CHECK": "1"}
    done = subprocess.run(
        [str(part) for part in command],
        stdin=stdin,
        capture_output=True,
        check=False,
        timeout=TOOL_SECONDS_MAX,
        env=environment,
    )
    assert done.returncode == 0, f"{command}: {done.stdout.decode()}{done.stderr.decode()}"
    return done.stdout


def found(folder: Path, flavour: str = "minimal") -> Built:
    """An image that was built into ``folder``. Raises ValueError: none, or several."""
    (slot,) = folder.glob(f"penstock-{FAMILY}-{flavour}-*.slot.img")
    return Built(slot.with_name(slot.name.replace(".slot.img", ".img")), slot)


def build(root: Path, out: Path, flavour: str = "minimal") -> Built:
    """The image for the emulated board, as a user makes it. ``root``: the project."""
    command = [sys.executable, "-m", "gateway.app.cli", "image", "build", "--board", FAMILY, "--out", str(out)]
    command += ["--flavour", flavour]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS_MAX)
    assert done.returncode == 0, done.stderr[-4000:]
    return found(out, flavour)


def provision(disk: Path, folder: Path) -> None:
    """Put ``folder``, which is called ``penstock``, on the boot partition: the next boot takes it."""
    tool("mcopy", "-o", "-s", "-i", f"{disk}@@{partitions(disk)[1].offset}", folder, "::")


def next_version(slot: Path, out: Path, release: int) -> Path:
    """The slot with another number and a changed program."""
    unpacked = _unpack(slot, out.parent / f"root-{release}")
    about = json.loads((unpacked / ABOUT).read_text("utf-8"))
    program = (unpacked / ENTRY).read_text("utf-8") + f"\nBUILD = {release}\n"
    files = {ABOUT: json.dumps({**about, "release": release}, indent=1), ENTRY: program}
    return _pack(slot, unpacked, files, out)


def with_files(slot: Path, out: Path, files: Mapping[str, str]) -> Path:
    """The slot with other contents of some files of its root file system."""
    return _pack(slot, _unpack(slot, out.parent / f"root-{out.stem}"), files, out)


def without_initrd(slot: Path, out: Path) -> Path:
    """The slot with an initramfs of nothing: the kernel finds no root file system and panics."""
    shutil.copyfile(slot, out)
    empty = out.with_suffix(".initrd")
    empty.write_bytes(bytes(512))
    tool("mcopy", "-o", "-i", out, empty, f"::{INITRD_FILE}")
    empty.unlink()
    return out


def _unpack(slot: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    packed = folder.with_suffix(".squashfs")
    tool("mcopy", "-o", "-i", slot, f"::{ROOT_FILE}", packed)
    tool("unsquashfs", "-no-xattrs", "-q", "-n", "-d", folder, packed)
    packed.unlink()
    return folder


def _pack(slot: Path, root: Path, files: Mapping[str, str], out: Path) -> Path:
    """Back into a copy of ``slot``, packed as the builder packs it, so that what is the same stays the same."""
    for name, text in files.items():
        mode = (root / name).stat().st_mode
        (root / name).unlink()
        (root / name).write_text(text, "utf-8")
        (root / name).chmod(mode)
    archive, packed = root.with_suffix(".tar"), root.with_suffix(".squashfs")
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(root.rglob("*"), key=lambda one: one.relative_to(root).as_posix()):
            tar.add(path, path.relative_to(root).as_posix(), recursive=False, filter=_as_root)
    shutil.rmtree(root)
    packed.unlink(missing_ok=True)
    with archive.open("rb") as source:
        tool("mksquashfs", "-", packed, *SQUASHFS, stdin=source)
    archive.unlink()
    shutil.copyfile(slot, out)
    tool("mcopy", "-o", "-i", out, packed, f"::{ROOT_FILE}")
    packed.unlink()
    return out


def _as_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry
