"""The cross-compiled package in the boards' own Python, under user-mode QEMU: imported, and running a plugin."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import pytest

from gateway.image.debian import Debian, Source
from gateway.image.root import NOT_MINIMAL, SITE
from gateway.image.tree import Tree
from gateway.image.wheels import Wheels

QEMU = {"aarch64": "qemu-aarch64-static", "armv7": "qemu-arm-static"}
RUN_SECONDS_MAX = 300
PROGRAM = """
import json, platform, sys
from pathlib import Path
import blake3, cryptography, msgspec, paho.mqtt.client, serial, tuf.ngclient
from gateway.app.vectors import compile_vectors
from gateway.wasm import TARGET, Engine, Module
import ota.app.cli
folder, wasm = map(Path, sys.argv[1:])
with Engine() as engine, Module(engine, "modbus", wasm.read_bytes()) as module:
    passed = module.run_vectors(compile_vectors(folder), "modbus")
print(json.dumps({"machine": platform.machine(), "target": TARGET, "passed": passed}))
"""


def board_root(root: Path, arch: str, folder: Path) -> Path:
    """The Python of a board with the wheels in it, as a folder."""
    cache = root / "build" / "image" / arch
    debian = Debian(cache / "headers", arch, "bookworm", ("main",), Source(security=False))
    debian.update()
    tree = Tree()
    for package in debian.fetch_all(["libc6", "python3.11"], lambda name: NOT_MINIMAL.fullmatch(name) is None):
        tree.add_deb(package.file)
    wheels = Wheels(cache, arch, Source().mirror, print)
    for wheel in (*wheels.needed(), wheels.own()):
        tree.add_wheel(wheel, SITE)
    tree.write_folder(folder)
    for path, node in tree:
        if stat.S_ISLNK(node.mode) and not node.target.startswith("/") and not (folder / path).exists():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).symlink_to(node.target)
    python = folder / "usr/bin/python3.11"
    python.chmod(0o755)
    return folder


@pytest.mark.parametrize("arch", list(QEMU))
def test_the_package_runs_in_the_boards_python(root: Path, tmp_path: Path, arch: str) -> None:
    folder = board_root(root, arch, tmp_path / "root")
    command = [QEMU[arch], "-L", str(folder), str(folder / "usr/bin/python3.11"), "-I", "-c"]
    command.append(f"import sys; sys.path.insert(0, {str(folder / SITE)!r})\n{PROGRAM}")
    done = subprocess.run(
        [*command, str(root / "plugins" / "modbus"), str(root / "build" / "plugins" / "modbus.wasm")],
        capture_output=True, text=True, check=False, timeout=RUN_SECONDS_MAX,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["machine"] == {"aarch64": "aarch64", "armv7": "armv7l"}[arch]
    assert told["target"] == arch
    assert "passed" in told["passed"], "the plugin's own vectors, run by the engine"
