"""What is wrong is told before anything is fetched; and the parts of a root file system that need no packages."""

from __future__ import annotations

import lzma
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.app import plugin_build
from gateway.app.aot_build import compile_module, find_compiler
from gateway.app.image_cli import find_board, plugin_module
from gateway.clock import random_source
from gateway.config.board import load_board
from gateway.config.hardware import Image, Storage
from gateway.digest import content_hash
from gateway.errors import PenstockError, UsageError
from gateway.image import build, wheels
from gateway.image.build import Request, check
from gateway.image.kernel import Kernel, add_modules, read_kernel
from gateway.image.recipe import recipe
from gateway.image.root import APPLETS, FILES, NOT_FULL, NOT_MINIMAL, Parts, settings_text
from gateway.image.tree import Tree
from gateway.image.wheels import NOT_ON_BOARDS, requirements
from gateway.store.choose import as_file
from gateway.store.search import find
from gateway.wasm import TARGET, Engine, Module


def request(root: Path, **changes: object) -> Request:
    one = recipe(load_board(root / "board-configs" / "qemu-arm64.toml"))
    values = {"recipe": one, "flavour": "minimal", "out": root, "cache": root, "plugins": {}, **changes}
    return Request(**values)  # type: ignore[arg-type]


def test_an_unknown_board_is_told_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r'--board rpi3: there is no .*rpi3\.toml; did you mean "rpi'):
        find_board("rpi3")


def test_no_image_is_made_for_the_simulated_board() -> None:
    with pytest.raises(UsageError, match=r"has no \[image\] table"):
        recipe(find_board("sim"))


def test_another_python_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "PYTHON", "3.9")
    with pytest.raises(UsageError, match=r"the boards have 3\.9: make with PYTHON=python3\.9"):
        check(request(root))


def test_missing_tools_are_told_with_their_packages(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.image.tools.PATH", "/nowhere")
    with pytest.raises(UsageError, match="sudo apt install apt dosfstools dpkg e2fsprogs fdisk gcc-aarch64-linux-gnu "):
        check(request(root))


def test_a_trust_folder_that_is_none(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "require", list)
    (tmp_path / "root.json").write_text("{}")
    with pytest.raises(UsageError, match=r"has no floor\.json; penstock-ota repo trust makes them"):
        check(request(root, trust=tmp_path))


def test_the_command_tells_in_one_line() -> None:
    command = [sys.executable, "-m", "gateway.app.cli", "image", "build", "--board", "no-such"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("penstock: --board no-such: there is no ")
    assert done.stderr.count("\n") == 1


def test_boards_get_what_the_project_depends_on() -> None:
    names = {pin.partition("==")[0] for pin in requirements()}
    assert {"tuf", "securesystemslib", "cffi", "msgspec", "paho-mqtt", "pyserial", "blake3", "urllib3"} <= names
    assert names & NOT_ON_BOARDS == set()
    assert all("==" in pin for pin in requirements())


@pytest.mark.parametrize("name", ["libc6", "libssl3", "python3.11", "e2fsprogs", "libpython3.11-stdlib", "libffi8"])
def test_packages_that_every_root_needs_stay(name: str) -> None:
    assert NOT_MINIMAL.fullmatch(name) is None
    assert NOT_FULL.fullmatch(name) is None


def test_the_store_of_a_board_finds_what_the_image_has_compiled(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The image names compiled code by the contents of the module, as the plugin store names its files."""
    wasm = as_file(find("scale", [root / "plugins"]))
    stored = tmp_path / "blobs" / f"{content_hash(wasm)}.wasm"
    stored.parent.mkdir()
    stored.write_bytes(wasm)
    compiled = tmp_path / "compiled"
    compiled.mkdir()
    compile_module(find_compiler(TARGET), "scale", wasm, compiled / f"{content_hash(wasm)}.{TARGET}.so")
    caplog.set_level("INFO")
    for folder in ("", str(compiled)):
        monkeypatch.setenv("PENSTOCK_COMPILED", folder)
        with Engine() as engine, Module.of_file(engine, "scale", stored, wasm):
            assert ("runs compiled" in caplog.text) == bool(folder)


def test_the_images_plugin_is_the_published_one(root: Path, tmp_path: Path) -> None:
    """Patches to the next version start from what a device has: from the image, or installed over the air."""
    published = plugin_build.build(root / "plugins" / "scale", tmp_path / "published", embed=True).read_bytes()
    inside = plugin_module("scale", tmp_path / "cache")
    assert inside == published
    home = tmp_path / "plugins" / "scale"
    home.mkdir(parents=True)
    (home / "plugin.toml").write_bytes((root / "plugins" / "scale" / "plugin.toml").read_bytes())
    (home / "scale.wasm").write_bytes(inside)
    assert as_file(find("scale", [home.parent])) == published, "the store of a board keeps it as it is"


def test_the_clock_starts_no_earlier_than_the_floor(root: Path, tmp_path: Path) -> None:
    def image_time(trust: Path | None) -> str:
        one = recipe(load_board(root / "board-configs" / "qemu-arm64.toml"))
        text = settings_text(Parts(one, "minimal", kernel(), [], {}, trust, 1))
        return next(line for line in text.splitlines() if line.startswith("image_time="))

    assert image_time(None) == "image_time='1700000000'"
    (tmp_path / "floor.json").write_text('{"time_s": 1800000000}')
    assert image_time(tmp_path) == "image_time='1800000000'"
    (tmp_path / "floor.json").write_text("[]")
    with pytest.raises(UsageError, match=r"floor\.json: not a floor file"):
        image_time(tmp_path)


def test_a_slot_that_is_too_small(root: Path, tmp_path: Path) -> None:
    one = recipe(load_board(root / "board-configs" / "qemu-arm64.toml"))
    small = replace(one, storage=Storage(1, 2, 1), image=Image("k"), watchdog=None)
    files = Tree()
    files.file("usr/bin/busybox", random_source(1).randbytes(2 * 1024 * 1024))
    with pytest.raises(UsageError, match=r"storage\.slot_mib: found 2, allowed: at least 5 for this image, better 6 "):
        build.make_slot(small, kernel(), files, tmp_path / "slot")
    assert not (tmp_path / "slot").exists()


def kernel() -> Kernel:
    tree = Tree()
    tree.file("boot/vmlinuz-6", b"kernel")
    tree.file("usr/lib/modules/6/modules.builtin", "kernel/fs/built-in.ko\n")
    needs = {
        "kernel/a/one.ko": ("kernel/a/base.ko", "kernel/a/one.ko"),
        "kernel/a/base.ko": ("kernel/a/base.ko",),
        "kernel/b/two_x.ko": ("kernel/a/base.ko", "kernel/b/two_x.ko"),
    }
    return Kernel("6", tree, needs)


def test_a_kernel_in_several_packages_with_packed_modules(tmp_path: Path) -> None:
    """As Debian has it from Linux 7 on: what is packed comes out as the kernel takes it."""
    version, source = "7.1", tmp_path / "source"
    home = source / "usr/lib/modules" / version
    (home / "kernel").mkdir(parents=True)
    (home / "dtb/maker").mkdir(parents=True)
    (home / "vmlinuz").write_bytes(b"kernel")
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        (home / name).write_text("")
    (home / "dtb/maker/board.dtb").write_bytes(b"tree")
    (home / "kernel/one.ko.xz").write_bytes(lzma.compress(b"module"))
    debs = []
    for name, parts in {"binary": ["vmlinuz"], "modules": ["kernel"], "base": ["dtb", "modules.*"]}.items():
        package = tmp_path / name
        for path in [one for part in parts for one in home.glob(part)]:
            target = package / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        (package / "DEBIAN").mkdir()
        text = f"Package: linux-{name}-{version}\nVersion: 1\nArchitecture: all\nMaintainer: n <n@example.com>\n"
        (package / "DEBIAN/control").write_text(text + "Description: sample\n")
        debs.append(tmp_path / f"linux-{name}-{version}_1_all.deb")
        subprocess.run(["dpkg-deb", "--root-owner-group", "-b", package, debs[-1]], check=True, capture_output=True)
    found = read_kernel(debs)
    assert (found.version, found.image(), found.device_tree("board.dtb")) == (version, b"kernel", b"tree")
    assert found.closure(["one"]) == ["kernel/one.ko"]
    root = Tree()
    add_modules(root, found, ["one"])
    assert root.read(f"usr/lib/modules/{version}/kernel/one.ko") == b"module"
    assert "kernel/one.ko:" in root.read(f"usr/lib/modules/{version}/modules.dep").decode()


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("linux-image-6.1.0-57-arm64", True),
        ("linux-modules-7.3.4+deb13-arm64", True),
        ("linux-image-arm64", False),
        ("linux-modules-arm64", False),
        ("linux-base", False),
    ],
)
def test_which_packages_are_the_kernel(name: str, taken: bool) -> None:
    assert bool(build.KERNEL_PACKAGE.match(name)) == taken


def test_modules_come_with_what_they_need_in_order() -> None:
    assert kernel().closure(["two-x", "one", "built_in"]) == [
        "kernel/a/base.ko",
        "kernel/b/two_x.ko",
        "kernel/a/one.ko",
    ]


def test_a_module_that_the_kernel_does_not_have() -> None:
    with pytest.raises(PenstockError, match="kernel 6 has no module wiz; the board file asks for it"):
        kernel().closure(["wiz"])


def test_start_scripts_are_sound() -> None:
    """Every script parses, is a program, and uses only commands that are links to busybox or come with a package."""
    scripts = [path for path in FILES.rglob("*") if path.is_file() and path.read_bytes().startswith(b"#!")]
    assert len(scripts) >= 10
    for script in scripts:
        assert script.stat().st_mode & 0o100, f"{script}: not a program"
        done = subprocess.run(["sh", "-n", str(script)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    for command in ("mdev", "udhcpc", "su", "pidof", "killall", "stat", "xargs", "sha256sum"):
        assert command in APPLETS
