"""The file tree in memory: what packages put in comes out as it was, and the same every time."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from gateway.errors import PenstockError
from gateway.image.kernel import cpio
from gateway.image.tree import Node, Tree, merged

CONTROL = "Package: sample\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@example.com>\nDescription: sample\n"


def make_deb(folder: Path) -> Path:
    source = folder / "source"
    for path, text in {"bin/tool": "#!", "usr/lib/sample/data": "data", "lib/sample/more": "m"}.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(text)
    (source / "bin/tool").chmod(0o755)
    (source / "usr/lib/sample/again").hardlink_to(source / "usr/lib/sample/data")
    (source / "usr/lib/sample/link").symlink_to("data")
    (source / "DEBIAN").mkdir()
    (source / "DEBIAN/control").write_text(CONTROL)
    deb = folder / "sample_1_all.deb"
    command = ["dpkg-deb", "--root-owner-group", "-b", str(source), str(deb)]
    subprocess.run(command, check=True, capture_output=True)
    return deb


def test_a_package_comes_in(tmp_path: Path) -> None:
    tree = Tree()
    tree.add_deb(make_deb(tmp_path))
    assert tree.read("bin/tool") == tree.read("usr/bin/tool") == b"#!"
    assert stat.S_IMODE(tree.nodes["usr/bin/tool"].mode) == 0o755
    assert tree.read("usr/lib/sample/again") == b"data"
    assert tree.nodes["usr/lib/sample/link"].target == "data"
    assert tree.read("usr/lib/sample/more") == b"m", "lib and usr/lib are one"
    assert {tree.nodes[name].target for name in ("bin", "lib", "sbin")} == {"usr/bin", "usr/lib", "usr/sbin"}


def test_a_damaged_package_is_named(tmp_path: Path) -> None:
    deb = make_deb(tmp_path)
    deb.write_bytes(deb.read_bytes()[:-100])
    with pytest.raises((PenstockError, tarfile.TarError)):
        Tree().add_deb(deb)


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(PenstockError, match="the packages hold no file usr/x"):
        Tree().read("usr/x")


def test_removing_takes_what_is_below() -> None:
    tree = Tree()
    for path in ("usr/share/doc/a/b", "usr/share/docs", "usr/lib/x/doc"):
        tree.file(path, "")
    tree.remove(["usr/share/doc"])
    assert tree.glob("usr/share/doc*") == ["usr/share/docs"]
    assert tree.glob("usr/lib/x/*") == ["usr/lib/x/doc"]


def test_the_archive_depends_on_the_contents_alone() -> None:
    def archive(paths: list[str]) -> bytes:
        tree = Tree()
        for path in paths:
            tree.file(path, path, 0o600, 990, 990)
        out = io.BytesIO()
        tree.write_tar(out)
        return out.getvalue()

    paths = [f"usr/share/{name}" for name in "fghabc"]
    data = archive(paths)
    assert data == archive(paths[::-1])
    with tarfile.open(fileobj=io.BytesIO(data)) as members:
        assert members.getnames() == sorted(members.getnames())
        one = members.getmember("usr/share/a")
        assert (one.mode, one.uid, one.gid, one.size) == (0o600, 990, 990, 11)
        assert members.getmember("usr/share").isdir()


def test_a_wheel_without_its_scripts(tmp_path: Path) -> None:
    wheel = tmp_path / "sample-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("sample/a.py", "sample-1.data/platlib/b.so", "sample-1.data/scripts/run", "sample-1.data/data/x"):
            archive.writestr(name, name)
    tree = Tree()
    tree.add_wheel(wheel, "site")
    assert tree.glob("site/*") == ["site/b.so", "site/sample", "site/sample/a.py"]


def test_merged_directories() -> None:
    assert [merged(path) for path in ("/bin/sh", "lib/x/y", "usr/bin/sh", "lib", "library/x")] == [
        "usr/bin/sh", "usr/lib/x/y", "usr/bin/sh", "lib", "library/x",
    ]  # fmt: skip


def test_cpio_is_what_the_kernels_format_is() -> None:
    """Read by the definition, field by field."""
    nodes = {
        "bin": Node(stat.S_IFDIR | 0o755),
        "bin/tool": Node(stat.S_IFREG | 0o755, b"12345"),
        "init": Node(stat.S_IFLNK | 0o777, target="bin/tool"),
    }
    data = cpio(nodes)
    assert len(data) % 4 == 0
    found, at = {}, 0
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name_size, size = fields[11], fields[6]
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        begin = -(-(at + 110 + name_size) // 4) * 4
        at = -(-(begin + size) // 4) * 4
        if name == "TRAILER!!!":
            break
        found[name] = (fields[1], data[begin : begin + size])
    assert at == len(data)
    assert found == {
        "bin": (stat.S_IFDIR | 0o755, b""),
        "bin/tool": (stat.S_IFREG | 0o755, b"12345"),
        "init": (stat.S_IFLNK | 0o777, b"bin/tool"),
    }


def test_files_of_a_folder_keep_that_they_are_programs(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("x")
    os.chmod(tmp_path / "run", 0o700)
    (tmp_path / "data").write_text("y")
    tree = Tree()
    tree.add_folder(tmp_path, "etc")
    assert [oct(stat.S_IMODE(tree.nodes[f"etc/{name}"].mode)) for name in ("run", "data")] == ["0o755", "0o644"]
