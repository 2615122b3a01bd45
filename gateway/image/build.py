"""``penstock image build``: a board file becomes a disk image, a slot image for updates, and a list of what is in it."""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.config.board import Board
from gateway.errors import PenstockError, UsageError
from gateway.image import bootfiles, disk
from gateway.image.debian import MIRROR, Debian
from gateway.image.kernel import Kernel, initramfs, read_kernel
from gateway.image.root import FILES, Parts, make_root, packages
from gateway.image.tools import require
from gateway.image.tree import Tree
from gateway.image.wheels import TARGETS, Wheels, check_python
from ota.boot.raw import blank
from ota.ports import BootState

TOOLS = (
    "apt-get", "dpkg-deb", "depmod", "mksquashfs", "mkfs.vfat", "mcopy", "mmd", "mke2fs", "sfdisk", "mkimage",
)  # fmt: skip
SPARE_BYTES = 512 * 1024
CLUSTER_BYTES = 32768


@dataclass(frozen=True, slots=True)
class Request:
    """What to build. ``plugins``: path below plugins/ → bytes; ``refresh``: ask the mirror for newer packages;
    ``trust``: folder made by ``penstock-ota repo trust``, or None."""

    board: Board
    flavour: str
    out: Path
    cache: Path
    plugins: Mapping[str, bytes]
    release: int = 1
    mirror: str = MIRROR
    refresh: bool = False
    trust: Path | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """The files that came out: ``disk`` is for flashing, ``slot`` for updates."""

    disk: Path
    slot: Path
    about: Path


def check(request: Request) -> None:
    """Everything that can be wrong before the first download. Raises UsageError."""
    board = request.board
    if board.image is None or board.storage is None or board.boot is None:
        raise UsageError(f"{board.file}: has no [image] table: no image is made for board {board.name}")
    check_python()
    require([*TOOLS, TARGETS[board.head.arch].compiler])
    if request.trust is not None:
        missing = [name for name in ("root.json", "floor.json") if not (request.trust / name).is_file()]
        if missing:
            raise UsageError(f"{request.trust}: has no {' and no '.join(missing)}; penstock-ota repo trust makes them")


def build(request: Request, tell: Callable[[str], None]) -> Made:
    """Build everything; ``tell`` takes a line per step. Raises PenstockError."""
    check(request)
    board = request.board
    assert board.image is not None and board.storage is not None and board.boot is not None
    image, arch = board.image, board.head.arch
    work = request.cache / arch
    debian = Debian(work / image.suite, arch, image.suite, image.components, request.mirror)
    tell(f"packages of {image.suite} for {arch}")
    debian.update(always=request.refresh)
    found = packages(board, request.flavour, debian)
    boot_files = _boot_packages(board, debian)
    tell(f"kernel {image.kernel}")
    (package,) = debian.fetch_all([image.kernel], lambda name: name.startswith("linux-image-") and name != image.kernel)
    kernel = read_kernel(package.file)
    wheels = Wheels(work / "wheels", arch, debian, tell)
    tell("Python packages")
    needed = wheels.needed()
    tell("this project, cross-compiled")
    own = wheels.own()
    tell(f"root file system of {len(found)} packages")
    parts = Parts(board, request.flavour, kernel, [*needed, own], request.plugins, request.trust, request.release)
    tree = make_root(parts, found)
    request.out.mkdir(parents=True, exist_ok=True)
    stem = f"penstock-{board.name}-{request.flavour}-{request.release}"
    slot = request.out / f"{stem}.slot.img"
    tell(f"slot image ({tree.bytes() // disk.MIB} MiB of files)")
    _make_slot(board, kernel, tree, slot)
    tell("disk image")
    whole = request.out / f"{stem}.img"
    _make_disk(board, boot_files, slot, whole)
    about = request.out / f"{stem}.json"
    about.write_bytes(tree.read("usr/share/penstock/image.json"))
    return Made(whole, slot, about)


def _boot_packages(board: Board, debian: Debian) -> Tree:
    assert board.image is not None
    tree = Tree()
    if board.image.boot_packages:
        for package in debian.fetch(board.image.boot_packages):
            tree.add_deb(package.file)
    return tree


def _make_slot(board: Board, kernel: Kernel, root: Tree, out: Path) -> None:
    """One slot: a FAT file system that every boot loader reads, the root file system a file in it."""
    assert board.image is not None and board.storage is not None and board.boot is not None
    boot = board.boot
    dog = board.watchdog
    settings = f"watchdog_module='{dog.module if dog else ''}'\nwatchdog_options='{dog.options if dog else ''}'\n"
    early = [*board.image.early, *([dog.module] if dog and dog.module else [])]
    script = (FILES / "init").read_text("utf-8")
    image = kernel.image()
    files = {
        bootfiles.KERNEL: gzip.compress(image, 9, mtime=0) if board.image.compress else image,
        bootfiles.INITRD: initramfs(kernel, early, root.read("usr/bin/busybox"), script, settings),
    }
    files |= {Path(name).name: kernel.device_tree(name) for name in boot.dtbs}
    with tempfile.TemporaryDirectory(prefix="penstock-slot-", dir=out.parent) as folder:
        packed = Path(folder) / bootfiles.ROOT
        disk.squashfs(root, packed)
        files[bootfiles.ROOT] = packed.read_bytes()
    used = sum(-(-len(data) // CLUSTER_BYTES) * CLUSTER_BYTES for data in files.values())
    size = -(-(used + used // 50 + SPARE_BYTES) // disk.MIB) * disk.MIB
    limit = board.storage.slot_mib * disk.MIB
    if size > limit:
        raise UsageError(
            f"{board.file}: storage.slot_mib: found {board.storage.slot_mib}, allowed: at least {size // disk.MIB} for "
            f"this image, better {size // disk.MIB * 5 // 4} because updates need room"
        )
    disk.fat(files, out, size, "PENSLOT", f"slot/{board.name}")


def _make_disk(board: Board, boot_files: Tree, slot: Path, out: Path) -> None:
    assert board.storage is not None and board.boot is not None
    storage, boot = board.storage, board.boot
    files = {name: boot_files.read(path) for name, path in boot.firmware.items()}
    if boot.loader == "uboot":
        files["boot.scr"] = bootfiles.compiled_script(board)
        if boot.config:
            files["config.txt"] = bootfiles.config_txt(boot)
    else:
        files["autoboot.txt"] = bootfiles.autoboot_txt(board)
    with tempfile.TemporaryDirectory(prefix="penstock-disk-", dir=out.parent) as folder:
        at = Path(folder)
        disk.fat(files, at / "boot", storage.boot_mib * disk.MIB, "PENBOOT", f"boot/{board.name}")
        (at / "state").write_bytes(blank(BootState(1, "a", "", 0, frozenset("a"))))
        disk.ext4(at / "data", storage.data_mib, "penstock-data")
        contents = {"boot": at / "boot", "state": at / "state", "slot-a": slot, "data": at / "data"}
        disk.assemble(storage, board.name, contents, out)
