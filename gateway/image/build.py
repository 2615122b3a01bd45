"""``penstock image build``: a board becomes a disk image, a slot image for updates, and a list of what is in it."""

from __future__ import annotations

import gzip
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.errors import UsageError
from gateway.image import bootfiles, disk
from gateway.image.debian import Debian, Source
from gateway.image.kernel import Kernel, initramfs, read_kernel
from gateway.image.recipe import Recipe
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
KERNEL_PACKAGE = re.compile(r"linux-(image|binary|modules|base)-\d")


@dataclass(frozen=True, slots=True)
class Request:
    """What to build. ``plugins``: path below usr/share/penstock → bytes; ``refresh``: ask for newer packages;
    ``trust``: folder made by ``penstock-ota repo trust``, or None."""

    recipe: Recipe
    flavour: str
    out: Path
    cache: Path
    plugins: Mapping[str, bytes]
    release: int = 1
    source: Source = field(default_factory=Source)
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
    check_python()
    require([*TOOLS, TARGETS[request.recipe.arch].compiler])
    if request.recipe.boot.loader == "tryboot" and request.flavour == "minimal":
        raise UsageError(
            f"{request.recipe.board.file}: boot.loader: tryboot needs the flavour full: busybox cannot restart a "
            "machine with an argument for its firmware"
        )
    if request.trust is not None:
        missing = [name for name in ("root.json", "floor.json") if not (request.trust / name).is_file()]
        if missing:
            raise UsageError(f"{request.trust}: has no {' and no '.join(missing)}; penstock-ota repo trust makes them")


def build(request: Request, tell: Callable[[str], None]) -> Made:
    """Build everything; ``tell`` takes a line per step. Raises PenstockError."""
    check(request)
    recipe = request.recipe
    image, arch = recipe.image, recipe.arch
    work = request.cache / arch
    debian = Debian(work / image.suite, arch, image.suite, image.components, request.source)
    tell(f"packages of {image.suite} for {arch}")
    debian.update(always=request.refresh)
    found = packages(recipe, request.flavour, debian)
    hardware = _hardware(request, debian, work)
    boot_files = _boot_packages(recipe, hardware)
    tell(f"kernel {image.kernel}")
    kernel = read_kernel(_kernel_packages(image.kernel, hardware))
    wheels = Wheels(work, arch, request.source.mirror, tell)
    tell("Python packages")
    needed = wheels.needed()
    tell("this project, cross-compiled")
    own = wheels.own()
    tell(f"root file system of {len(found)} packages")
    parts = Parts(recipe, request.flavour, kernel, [*needed, own], request.plugins, request.trust, request.release)
    tree = make_root(parts, found)
    request.out.mkdir(parents=True, exist_ok=True)
    stem = f"penstock-{recipe.name}-{request.flavour}-{request.release}"
    slot = request.out / f"{stem}.slot.img"
    tell(f"slot image ({tree.size() // disk.MIB} MiB of files)")
    make_slot(recipe, kernel, tree, slot)
    tell("disk image")
    whole = request.out / f"{stem}.img"
    _make_disk(recipe, boot_files, kernel, slot, whole)
    about = request.out / f"{stem}.json"
    about.write_bytes(tree.read("usr/share/penstock/image.json"))
    return Made(whole, slot, about)


def _hardware(request: Request, debian: Debian, work: Path) -> Debian:
    """Where the kernel and the boot packages come from."""
    image = request.recipe.image
    if image.hardware_suite in ("", image.suite):
        return debian
    hardware = Debian(
        work / image.hardware_suite, request.recipe.arch, image.hardware_suite, image.components, request.source
    )
    hardware.update(always=request.refresh)
    return hardware


def _kernel_packages(meta: str, debian: Debian) -> list[Path]:
    """The packages that a meta package such as linux-image-arm64 stands for."""
    return [package.file for package in debian.fetch_all([meta], lambda name: bool(KERNEL_PACKAGE.match(name)))]


def _boot_packages(recipe: Recipe, debian: Debian) -> Tree:
    tree = Tree()
    if recipe.image.boot_packages:
        for package in debian.fetch(recipe.image.boot_packages):
            tree.add_deb(package.file)
    return tree


def make_slot(recipe: Recipe, kernel: Kernel, root: Tree, out: Path) -> None:
    """One slot: a FAT file system that every boot loader reads, the root file system a file in it."""
    dog = recipe.watchdog
    values = {"module": dog.module, "options": dog.options, "device": dog.device} if dog else {}
    settings = "".join(f"watchdog_{name}='{values.get(name, '')}'\n" for name in ("module", "options", "device"))
    early = [*recipe.image.early, *([dog.module] if dog and dog.module else [])]
    script = (FILES / "init").read_text("utf-8")
    image = kernel.image()
    files = {
        bootfiles.KERNEL: gzip.compress(image, 9, mtime=0) if recipe.image.compress else image,
        bootfiles.INITRD: initramfs(kernel, early, root.read("usr/bin/busybox"), script, settings),
    }
    files |= {name: kernel.device_tree(name) for name in recipe.boot.dtbs}
    files |= bootfiles.slot_files(recipe)
    with tempfile.TemporaryDirectory(prefix="penstock-slot-", dir=out.parent) as folder:
        packed = Path(folder) / bootfiles.ROOT
        disk.squashfs(root, packed)
        files[bootfiles.ROOT] = packed.read_bytes()
    used = sum(-(-len(data) // CLUSTER_BYTES) * CLUSTER_BYTES for data in files.values())
    size = -(-(used + used // 50 + SPARE_BYTES) // disk.MIB) * disk.MIB
    limit = recipe.storage.slot_mib * disk.MIB
    if size > limit:
        need = size // disk.MIB
        raise UsageError(
            f"{recipe.board.file}: storage.slot_mib: found {recipe.storage.slot_mib}, allowed: at least {need} for "
            f"this image, better {need * 5 // 4} because patches wait behind it"
        )
    disk.fat(files, out, size, "PENSLOT", f"slot/{recipe.name}")


def _make_disk(recipe: Recipe, packages: Tree, kernel: Kernel, slot: Path, out: Path) -> None:
    storage = recipe.storage
    files = bootfiles.boot_files(recipe)
    for name, path in recipe.boot.firmware.items():
        kind, _, rest = path.rpartition(":")
        files[name] = kernel.device_tree(rest) if kind == "dtb" else packages.read(path)
    with tempfile.TemporaryDirectory(prefix="penstock-disk-", dir=out.parent) as folder:
        at = Path(folder)
        disk.fat(files, at / "boot", storage.boot_mib * disk.MIB, "PENBOOT", f"boot/{recipe.name}")
        (at / "state").write_bytes(blank(BootState(1, "a", "", 0, frozenset("a"))))
        disk.ext4(at / "data", storage.data_mib, "penstock-data")
        contents = {"boot": at / "boot", "state": at / "state", "slot-a": slot, "data": at / "data"}
        disk.assemble(storage, recipe.name, contents, out)
