"""File systems and partition tables, looked at with the tools that others use for them."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.config.hardware import Storage
from gateway.errors import UsageError
from gateway.image.disk import MIB, assemble, disk_mib, ext4, fat, partitions, squashfs
from gateway.image.tools import PACKAGES, PATH, require
from gateway.image.tree import Tree

STORAGE = Storage(boot_mib=8, slot_mib=12, data_mib=16)
BUILDERS = ("mksquashfs", "mkfs.vfat", "mcopy", "mmd", "mke2fs", "sfdisk")


@pytest.fixture(autouse=True)
def _tools() -> None:
    try:
        require(BUILDERS)
    except UsageError as error:
        if os.environ.get("PENSTOCK_NO_SKIP"):
            raise
        pytest.skip(str(error))


def tool(*command: str | Path) -> str:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, env={"PATH": PATH, "TZ": "UTC"}
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def tree() -> Tree:
    made = Tree()
    made.file("usr/bin/tool", b"#!" * 5000, 0o755)
    made.file("etc/secret", b"x", 0o600, 990, 990)
    made.link("etc/link", "secret")
    made.folder("tmp", 0o1777)
    return made


def test_partitions_follow_each_other() -> None:
    parts = list(partitions(STORAGE).values())
    assert [part.name for part in parts] == ["boot", "state", "slot-a", "slot-b", "data"]
    assert [part.number for part in parts] == [1, 2, 3, 4, 5]
    for part, following in pairwise(parts):
        assert part.start_mib + part.size_mib == following.start_mib
    assert disk_mib(STORAGE) == 1 + 8 + 1 + 12 + 12 + 16 + 1


def test_two_disks_are_the_same_and_hold_what_they_should(tmp_path: Path) -> None:
    def make(folder: Path) -> bytes:
        folder.mkdir()
        squashfs(tree(), folder / "root")
        files = {"vmlinuz": b"k" * 100_000, "sub/deep/er": b"e", "root.squashfs": (folder / "root").read_bytes()}
        fat(files, folder / "slot", 10 * MIB, "SLOT", "slot/test")
        fat({"boot.scr": b"script"}, folder / "boot", 8 * MIB, "BOOT", "boot/test")
        ext4(folder / "data", STORAGE.data_mib, "data")
        contents = {"boot": folder / "boot", "slot-a": folder / "slot", "data": folder / "data"}
        assemble(STORAGE, "test", contents, folder / "disk")
        return (folder / "disk").read_bytes()

    assert make(tmp_path / "one") == make(tmp_path / "two")
    one = tmp_path / "one"
    table = json.loads(tool("sfdisk", "--json", one / "disk"))["partitiontable"]
    assert [(part["start"] // 2048, part["size"] // 2048, part["name"]) for part in table["partitions"]] == [
        (part.start_mib, part.size_mib, f"penstock-{part.name}") for part in partitions(STORAGE).values()
    ]
    assert "No errors detected" in tool("sfdisk", "--verify", one / "disk")
    assert tool("mtype", "-i", f"{one / 'disk'}@@{MIB}", "::boot.scr") == "script"
    assert tool("mtype", "-i", one / "slot", "::sub/deep/er") == "e"
    tool("e2fsck", "-f", "-n", one / "data")
    listing = tool("unsquashfs", "-lln", "-d", "", one / "root")
    assert "-rw------- 990/990" in listing
    assert "drwxrwxrwt 0/0" in listing
    assert "link -> secret" in listing


def test_a_hybrid_table_shows_the_boot_partition_to_old_firmware(tmp_path: Path) -> None:
    storage = Storage(boot_mib=8, slot_mib=2, data_mib=2, table="hybrid")
    assemble(storage, "test", {}, tmp_path / "disk")
    sector = (tmp_path / "disk").read_bytes()[:512]
    entries = [struct.unpack_from("<B3xB3xII", sector, 446 + 16 * n) for n in range(4)]
    assert entries[0] == (0, 0x0C, 2048, 8 * 2048)
    assert entries[1] == (0, 0xEE, 1, 2047), "who knows GPT finds the protective entry at sector 1"
    assert entries[2:] == [(0, 0, 0, 0)] * 2
    assert sector[510:] == b"\x55\xaa"
    assert "penstock-slot-b" in tool("sfdisk", "--dump", tmp_path / "disk")


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="do not fit into 2 MiB"):
        fat({"big": bytes(3 * MIB)}, tmp_path / "fat", 2 * MIB, "X", "x")
    (tmp_path / "big").write_bytes(bytes(13 * MIB))
    with pytest.raises(UsageError, match="do not fit into partition slot-a"):
        assemble(STORAGE, "test", {"slot-a": tmp_path / "big"}, tmp_path / "disk")
    assert not (tmp_path / "disk").exists()


def test_a_missing_tool_is_told_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.image.tools.PATH", "/nowhere")
    with pytest.raises(
        UsageError, match=r"missing: mcopy, mmd, mksquashfs\. Install with\n    sudo apt install mtools squ"
    ):
        require(["mcopy", "mmd", "mksquashfs"])


def test_every_tool_that_ci_needs_is_installed_there(root: Path) -> None:
    words = (root / ".ci" / "run").read_text("utf-8").split()
    assert {package for packages in PACKAGES.values() for package in packages.split()} - set(words) == set()
