"""A file tree in memory: what goes into an image, with owners and modes that the build machine's user need not have.

Paths are relative and start in ``usr``, ``etc`` …; ``bin``, ``lib`` and ``sbin`` become ``usr/bin`` and so on by
themselves.
"""

from __future__ import annotations

import fnmatch
import io
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from gateway.errors import PenstockError
from gateway.image.tools import PATH, epoch_s

MERGED = ("bin", "sbin", "lib")


def _everything(path: str) -> bool:
    return bool(path)


@dataclass(frozen=True, slots=True)
class Node:
    """One entry. ``mode``: type and permissions; ``data`` of a file; ``target`` of a symbolic link."""

    mode: int
    data: bytes = b""
    target: str = ""
    uid: int = 0
    gid: int = 0


class Tree:
    """Entries by path; folders above an entry exist by themselves."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        for name in MERGED:
            self.link(name, f"usr/{name}")

    def put(self, path: str, node: Node) -> None:
        """Add or replace an entry."""
        path = merged(path)
        for parent in list(PurePosixPath(path).parents)[-2::-1]:
            self.nodes.setdefault(str(parent), Node(stat.S_IFDIR | 0o755))
        known = self.nodes.get(path)
        if stat.S_ISDIR(node.mode) and known is not None:
            return  # packages agree on folders
        self.nodes[path] = node

    def file(self, path: str, data: bytes | str, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        """Add a regular file."""
        self.put(path, Node(stat.S_IFREG | mode, data.encode() if isinstance(data, str) else data, "", uid, gid))

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self.nodes[path if path in MERGED else merged(path)] = Node(stat.S_IFLNK | 0o777, target=target)

    def folder(self, path: str, mode: int = 0o755) -> None:
        """Add a folder."""
        self.put(path, Node(stat.S_IFDIR | mode))

    def read(self, path: str) -> bytes:
        """A file's bytes. Raises PenstockError."""
        node = self.nodes.get(merged(path))
        if node is None or not stat.S_ISREG(node.mode):
            raise PenstockError(f"the packages hold no file {path}")
        return node.data

    def glob(self, pattern: str) -> list[str]:
        """Paths that match, sorted; ``*`` crosses folders."""
        return sorted(path for path in self.nodes if fnmatch.fnmatchcase(path, pattern))

    def remove(self, patterns: Iterable[str]) -> None:
        """Forget what matches, and what is below it."""
        for pattern in patterns:
            for path in self.glob(pattern) + self.glob(f"{pattern}/*"):
                self.nodes.pop(path, None)

    def size(self) -> int:
        """Sum of the files' sizes."""
        return sum(len(node.data) for node in self.nodes.values())

    # ---- taking in ----

    def add_deb(self, file: Path, wanted: Callable[[str], bool] = _everything) -> None:
        """The files of a Debian package."""
        process = subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", str(file)], stdout=subprocess.PIPE, env={"PATH": PATH, "LC_ALL": "C"}
        )
        assert process.stdout is not None
        with process:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                for member in archive:
                    path = member.name.removeprefix("./")
                    if path and path != "." and wanted(merged(path)):
                        self._add_member(archive, member, path)
            process.stdout.read()
        if process.returncode != 0:
            raise PenstockError(f"{file}: dpkg-deb failed; remove the file and build again")

    def _add_member(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
        if member.isdir():
            self.put(path, Node(stat.S_IFDIR | (member.mode & 0o7777), uid=member.uid, gid=member.gid))
        elif member.issym():
            self.put(path, Node(stat.S_IFLNK | 0o777, target=member.linkname))
        elif member.islnk():
            self.put(path, self.nodes[merged(member.linkname.removeprefix("./"))])
        elif member.isreg():
            content = archive.extractfile(member)
            assert content is not None
            self.put(path, Node(stat.S_IFREG | (member.mode & 0o7777), content.read(), "", member.uid, member.gid))

    def add_wheel(self, file: Path, site: str) -> None:
        """A wheel's modules below ``site``. Scripts and headers are left out."""
        with zipfile.ZipFile(file) as archive:
            for name in sorted(archive.namelist()):
                head, _, rest = name.partition("/")
                if name.endswith("/"):
                    continue
                if head.endswith(".data"):
                    kind, _, rest = rest.partition("/")
                    if kind not in ("purelib", "platlib"):
                        continue
                    name = rest
                self.file(
                    f"{site}/{name}", archive.read(name if not head.endswith(".data") else f"{head}/{kind}/{rest}")
                )

    def add_folder(self, source: Path, path: str = "", wanted: Callable[[str], bool] = _everything) -> None:
        """A folder of the build machine; all files belong to root, programs stay programs."""
        for one in sorted(source.rglob("*")):
            name = str(PurePosixPath(path) / one.relative_to(source).as_posix())
            if one.is_file() and wanted(name):
                self.file(name, one.read_bytes(), 0o755 if one.stat().st_mode & 0o100 else 0o644)

    # ---- giving out ----

    def __iter__(self) -> Iterator[tuple[str, Node]]:
        return iter(sorted(self.nodes.items()))

    def write_tar(self, out: IO[bytes]) -> None:
        """All of it as a tar archive, the same bytes for the same tree."""
        with tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT) as archive:
            for path, node in self:
                info = tarfile.TarInfo(path)
                info.mode, info.uid, info.gid, info.mtime = stat.S_IMODE(node.mode), node.uid, node.gid, epoch_s()
                if stat.S_ISDIR(node.mode):
                    info.type = tarfile.DIRTYPE
                elif stat.S_ISLNK(node.mode):
                    info.type, info.linkname = tarfile.SYMTYPE, node.target
                info.size = len(node.data)
                archive.addfile(info, io.BytesIO(node.data))

    def write_folder(self, folder: Path, wanted: Callable[[str], bool] = _everything) -> None:
        """Regular files into a folder of the build machine."""
        for path, node in self:
            if stat.S_ISREG(node.mode) and wanted(path):
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(node.data)


def merged(path: str) -> str:
    """The path below ``usr`` of what used to be in ``/bin``, ``/sbin`` and ``/lib``."""
    path = path.strip("/")
    return f"usr/{path}" if path.partition("/")[0] in MERGED and "/" in path else path
