"""The kernel's side of an image: a subset of its modules, and the initramfs that finds the disk."""

from __future__ import annotations

import gzip
import io
import lzma
import stat
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gateway.errors import PenstockError
from gateway.image.tools import epoch_s, run
from gateway.image.tree import Node, Tree

_CPIO_MAGIC = "070701"
_TRAILER = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel. ``needs``: module path to the paths it needs, in loading order, itself last; paths without ``.xz``."""

    version: str
    tree: Tree
    needs: dict[str, tuple[str, ...]]

    @property
    def folder(self) -> str:
        """Of the modules."""
        return f"usr/lib/modules/{self.version}"

    def image(self) -> bytes:
        """The kernel itself, as U-Boot's ``booti`` or ``bootz`` and the Raspberry Pi firmware take it."""
        found = [*self.tree.glob(f"boot/vmlinuz-{self.version}"), *self.tree.glob(f"{self.folder}/vmlinuz")]
        return self.tree.read(found[0])

    def module(self, path: str) -> bytes:
        """A module as the kernel takes it, also where the package has it compressed."""
        packed = f"{self.folder}/{path}.xz"
        if packed in self.tree.nodes:
            return lzma.decompress(self.tree.read(packed))
        return self.tree.read(f"{self.folder}/{path}")

    def device_tree(self, name: str) -> bytes:
        """A compiled device tree. Raises PenstockError."""
        places = (f"usr/lib/linux-image-{self.version}", f"{self.folder}/dtb")
        found = [path for place in places for path in self.tree.glob(f"{place}/*{name}")]
        if not found:
            raise PenstockError(f"kernel {self.version} has no device tree {name}")
        return self.tree.read(found[0])

    def closure(self, names: Iterable[str]) -> list[str]:
        """Paths of modules by name with what they need, in loading order. What the kernel has built in is left out.

        Raises PenstockError for a name that the kernel does not know.
        """
        by_name = {_module_name(path): path for path in self.needs}
        built_in = {_module_name(line) for line in self.tree.read(f"{self.folder}/modules.builtin").decode().split()}
        order: dict[str, None] = {}
        for name in names:
            path = by_name.get(name.replace("-", "_"))
            if path is None and name.replace("-", "_") not in built_in:
                raise PenstockError(f"kernel {self.version} has no module {name}; the board file asks for it")
            for one in self.needs.get(path or "", ()):
                order.setdefault(one)
        return list(order)


def _module_name(path: str) -> str:
    return PurePosixPath(path).name.partition(".ko")[0].replace("-", "_")


def read_kernel(packages: Sequence[Path]) -> Kernel:
    """A kernel and its modules from its Debian packages: one, or from Linux 7 on one for each kind of file."""
    tree = Tree()
    for package in packages:
        tree.add_deb(package, lambda path: not path.startswith("usr/share/"))
    (version,) = {path.split("/")[3] for path in tree.glob("usr/lib/modules/*/modules.builtin")}
    with tempfile.TemporaryDirectory(prefix="penstock-depmod-") as folder:
        tree.write_folder(Path(folder), lambda path: path.startswith("usr/lib/modules/"))
        (Path(folder) / "lib").symlink_to("usr/lib")
        run("depmod", "-b", folder, version)
        lines = (Path(folder) / "lib/modules" / version / "modules.dep").read_text("utf-8").splitlines()
    needs = {}
    for line in lines:
        path, _, rest = line.replace(".ko.xz", ".ko").partition(":")
        needs[path] = (*reversed(rest.split()), path)
    return Kernel(version, tree, needs)


def add_modules(tree: Tree, kernel: Kernel, names: Sequence[str]) -> None:
    """Put modules with what they need, and their indexes, into a root file system."""
    subset = Tree()
    for path in kernel.closure(names):
        subset.file(f"{kernel.folder}/{path}", kernel.module(path))
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        subset.file(f"{kernel.folder}/{name}", kernel.tree.read(f"{kernel.folder}/{name}"))
    with tempfile.TemporaryDirectory(prefix="penstock-depmod-") as folder:
        subset.write_folder(Path(folder))
        (Path(folder) / "lib").symlink_to("usr/lib")
        run("depmod", "-b", folder, kernel.version)
        for one in sorted((Path(folder) / kernel.folder).glob("modules.*")):
            subset.file(f"{kernel.folder}/{one.name}", one.read_bytes())
    for path, node in subset:
        if path.startswith(kernel.folder):
            tree.put(path, node)


def initramfs(kernel: Kernel, early: Sequence[str], busybox: bytes, script: str, settings: str) -> bytes:
    """What runs before the root file system: ``script`` in ``busybox``, which loads the modules ``early``.

    ``settings``: shell variables that the script reads.
    """
    order = kernel.closure(early)
    nodes: dict[str, Node] = {name: Node(stat.S_IFDIR | 0o755) for name in ("bin", "dev", "modules", "new", "proc")}
    nodes |= {name: Node(stat.S_IFDIR | 0o755) for name in ("slot", "sys")}
    nodes["bin/busybox"] = Node(stat.S_IFREG | 0o755, busybox)
    nodes["init"] = Node(stat.S_IFREG | 0o755, script.encode())
    nodes["settings"] = Node(stat.S_IFREG | 0o644, settings.encode())
    names = [PurePosixPath(path).name for path in order]
    nodes["modules/order"] = Node(stat.S_IFREG | 0o644, "".join(f"{name}\n" for name in names).encode())
    for path, name in zip(order, names, strict=True):
        nodes[f"modules/{name}"] = Node(stat.S_IFREG | 0o644, kernel.module(path))
    return gzip.compress(cpio(nodes), 9, mtime=0)


def cpio(nodes: dict[str, Node]) -> bytes:
    """An archive in the ``newc`` format (kernel, Documentation/driver-api/early-userspace/buffer-format.rst)."""
    out = io.BytesIO()
    entries = [*sorted(nodes.items()), (_TRAILER, Node(0))]
    for number, (path, node) in enumerate(entries, 1):
        data = node.target.encode() if stat.S_ISLNK(node.mode) else node.data
        name = path.encode() + b"\0"
        inode = 0 if path == _TRAILER else number
        fields = (inode, node.mode, node.uid, node.gid, 1, epoch_s(), len(data), 0, 0, 0, 0, len(name), 0)
        out.write((_CPIO_MAGIC + "".join(f"{field:08x}" for field in fields)).encode() + name)
        out.write(b"\0" * (-out.tell() % 4))
        out.write(data)
        out.write(b"\0" * (-out.tell() % 4))
    return out.getvalue()
