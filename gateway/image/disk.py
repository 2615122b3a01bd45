"""File systems and the partition table: the bytes of slots and of the whole disk, the same for the same contents."""

from __future__ import annotations

import os
import struct
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.config.hardware import Storage
from gateway.errors import UsageError
from gateway.image.tools import epoch_s, run
from gateway.image.tree import Tree
from ota.boot.raw import PARTITION_BYTES

MIB = 1024 * 1024
SECTOR = 512
FIRST_MIB = 1
"""Where the first partition starts; the last MiB of the disk is left to the second partition table."""
LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
BASIC = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"
NAMESPACE = uuid.UUID("c2f1b7a4-5d0e-4b63-9a57-0d0d0e6a7d11")
FAT_CLUSTERS_MIN = 4085  # fewer make it a FAT12
SQUASHFS = (
    "-tar", "-quiet", "-no-progress", "-noappend", "-no-xattrs", "-comp", "lz4", "-Xhc", "-b", "128K",
    "-root-mode", "0755", "-root-uid", "0", "-root-gid", "0",
)  # fmt: skip
"""Of mksquashfs. With zstd a root is 8 MB smaller, and a gateway takes 1.8 times as many instructions until ready."""


@dataclass(frozen=True, slots=True)
class Partition:
    """``number``: from 1; ``start_mib``, ``size_mib``: on the disk."""

    number: int
    name: str
    start_mib: int
    size_mib: int
    type: str


def partitions(storage: Storage) -> dict[str, Partition]:
    """Where everything is, by name: boot, state, slot-a, slot-b, data."""
    sizes = {
        "boot": (storage.boot_mib, BASIC),
        "state": (PARTITION_BYTES // MIB, LINUX),
        "slot-a": (storage.slot_mib, BASIC),
        "slot-b": (storage.slot_mib, BASIC),
        "data": (storage.data_mib, LINUX),
    }
    found, start = {}, FIRST_MIB
    for number, (name, (size, kind)) in enumerate(sizes.items(), 1):
        found[name] = Partition(number, name, start, size, kind)
        start += size
    return found


def disk_mib(storage: Storage) -> int:
    """Size of the whole image."""
    last = partitions(storage)["data"]
    return last.start_mib + last.size_mib + 1


def identity(*words: str) -> uuid.UUID:
    """A UUID that depends on the words alone."""
    return uuid.uuid5(NAMESPACE, "/".join(words))


def squashfs(tree: Tree, out: Path) -> None:
    """A compressed read-only root file system."""
    out.unlink(missing_ok=True)
    with tempfile.TemporaryFile() as tar:
        tree.write_tar(tar)
        tar.seek(0)
        run("mksquashfs", "-", out, *SQUASHFS, stdin=tar)


def fat(files: Mapping[str, bytes], out: Path, size_bytes: int, label: str, serial: str) -> None:
    """A FAT file system with these files; folders come from the names. Raises UsageError when they do not fit."""
    need = sum(-(-len(data) // 32768) * 32768 for data in files.values()) + size_bytes // 64
    if need > size_bytes:
        raise UsageError(f"{out.name}: {need // MIB + 1} MiB of files do not fit into {size_bytes // MIB} MiB")
    with out.open("wb") as file:
        file.truncate(size_bytes)
    volume = f"{identity(serial).int & 0xFFFFFFFF:08x}"
    small = ["-s", "1"] if size_bytes < 16 * MIB else []
    run("mkfs.vfat", "--invariant", "-i", volume, "-n", label, *small, out)
    with tempfile.TemporaryDirectory(prefix="penstock-fat-") as folder:
        made: set[str] = set()
        for name, data in sorted(files.items()):
            source = Path(folder) / "file"
            source.write_bytes(data)
            os.utime(source, (epoch_s(), epoch_s()))
            parents = [str(parent) for parent in reversed(Path(name).parents) if str(parent) != "."]
            for parent in [one for one in parents if one not in made]:
                run("mmd", "-i", out, f"::{parent}")
                made.add(parent)
            run("mcopy", "-m", "-i", out, source, f"::{name}")


def ext4(out: Path, size_mib: int, label: str) -> None:
    """An empty file system for data that lasts."""
    with out.open("wb") as file:
        file.truncate(size_mib * MIB)
    own = identity("data", label)
    options = f"hash_seed={identity('hash', label)},lazy_itable_init=0,lazy_journal_init=0"
    run(
        "mke2fs", "-q", "-F", "-t", "ext4", "-m", "1", "-U", str(own), "-L", label, "-E", options, out,
        environment={"E2FSPROGS_FAKE_TIME": str(epoch_s()), "MKE2FS_DETERMINISTIC": "1"},
    )  # fmt: skip


def assemble(storage: Storage, board: str, contents: Mapping[str, Path], out: Path) -> None:
    """The whole disk: partition table and the contents of partitions by name; what is not given stays empty."""
    made = out.with_suffix(".part")
    with made.open("wb") as file:
        file.truncate(disk_mib(storage) * MIB)
    lines = ["label: gpt", f"label-id: {identity('disk', board)}", f"first-lba: {34}"]
    for part in partitions(storage).values():
        lines.append(
            f"start={part.start_mib}MiB, size={part.size_mib}MiB, type={part.type}, "
            f"uuid={identity('part', board, part.name)}, name=penstock-{part.name}"
        )
    run("sfdisk", "-q", made, text="\n".join(lines) + "\n")
    if storage.table == "hybrid":
        _add_mbr_entry(made, partitions(storage)["boot"])
    for name, path in contents.items():
        part = partitions(storage)[name]
        if path.stat().st_size > part.size_mib * MIB:
            raise UsageError(f"{path}: {path.stat().st_size} bytes do not fit into partition {name}")
        _copy_sparse(path, made, part.start_mib * MIB)
    os.replace(made, out)


def _add_mbr_entry(disk: Path, boot: Partition) -> None:
    """A FAT partition in the MBR beside the protective entry: the boot ROM before the Raspberry Pi 4 knows no GPT."""
    with disk.open("r+b") as file:
        file.seek(446)
        protective = file.read(16)
        start, sectors = boot.start_mib * MIB // SECTOR, boot.size_mib * MIB // SECTOR
        guard = struct.pack("<B3sB3sII", 0, b"\x00\x02\x00", 0xEE, b"\xff\xff\xff", 1, start - 1)
        fat_entry = struct.pack("<B3sB3sII", 0, b"\xfe\xff\xff", 0x0C, b"\xfe\xff\xff", start, sectors)
        assert protective[4] == 0xEE, "sfdisk writes a protective MBR"
        file.seek(446)
        file.write(fat_entry + guard)


def _copy_sparse(source: Path, disk: Path, offset: int) -> None:
    """Copy; blocks of zeros stay holes."""
    with source.open("rb") as file, disk.open("r+b") as out:
        at = offset
        while block := file.read(MIB):
            if block.strip(b"\0"):
                out.seek(at)
                out.write(block)
            at += len(block)
