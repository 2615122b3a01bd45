"""Updates: how large patches are, what applying them takes, and how many bytes a bad link costs."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.flow import ROOT
from gateway.app.plugin_build import build
from ota.clock import Clock
from ota.delta.make import make_patch
from ota.repo.keys import Keyring
from ota.repo.patches import add_patch
from ota.repo.publish import add, delegate, init
from ota.repo.repository import Repository
from ota.trust.model import Custom, Release

IMAGE_MIB = 64
PATCH_PERCENT_BAR = 3.0
MEMORY_MIB_BAR = {"lzma": 16.0, "heatshrink": 4.0}
PLUGIN_BYTES_BAR = 1024
CHANGED_LIBRARY = 3_000_000  # bytes of a library that is rebuilt: some code moves, addresses change all over it
LINE = "if (self.attempts > 1) await_late_answers(unit, self.attempts);"
CHANGED_LINE = LINE.replace("> 1", "> 1 && self.attempts < 250")

# Stages an image by a patch that it fetches piece by piece, and prints how far the memory of a process that has
# everything imported grows meanwhile. Journals and temporary files go to FOLDER/state.
CHILD = """
import json, lzma, resource, sys
from pathlib import Path
import heatshrink2.core
from ota.clock import Cancel, Clock
from ota.delta.make import pieces_of
from ota.digest import both_of, sha256_of
from ota.stage import Job, Place, stage
from ota.storage import FileStorage
from ota.transfer.budget import Allowance, BudgetFile
from ota.transfer.download import Means
from ota.transfer.pace import Pace
from ota.trust.client import Catalogue
from ota.trust.model import Artefact, Delta, File, Patch, Release, Source
compression, folder = sys.argv[1], Path(sys.argv[2])
class Server:
    etag = ""
    def open(self, request):
        self.first, self.total = request.first, size
        self.file = (folder / "patch").open("rb", buffering=0)
        self.file.seek(request.first)
        return self
    def read(self, size):
        return self.file.read(size)
    def close(self):
        self.file.close()
def described(name):
    path = folder / name
    with FileStorage(path, write=False) as file:
        return path.stat().st_size, sha256_of(file, file.size)
(size, patch_hash), (old_size, old_hash), (new_size, new_hash) = (described(name) for name in ("patch", "old", "new"))
to = Artefact(File("image/a/b", new_size, new_hash), Release("x", 1, ""))
start, pieces = Source(old_size, old_hash), pieces_of(folder / "patch")
delta = Delta("detools-sequential", compression, start, "image/a/b", 0, pieces)
offered = Catalogue((to,), (Patch(File("image/a/p", size, patch_hash), delta),))
notes = []
clock, state = Clock(), folder / "state"
means = Means(Server(), clock, Cancel(), BudgetFile(state / "b", Allowance(), clock), Pace(0), lambda done, total: None)
def peak():  # of this program; ru_maxrss would begin with that of the process that started it
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
with FileStorage(folder / "old", write=False) as old, FileStorage(folder / "got", int(sys.argv[3])) as slot:
    before = peak()
    way = stage(Job(to, offered, "x", notes.append), Place(slot, old, state, 1 << 30), means)
usage = resource.getrusage(resource.RUSAGE_SELF)
assert way == "patch", notes
print(json.dumps({"added": peak() - before, "cpu": usage.ru_utime + usage.ru_stime}))
"""
IN_ONE_MIB = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
MOUNT = 'mount -t tmpfs -o size=1m tmpfs "$1" && shift && exec "$@"'


def measure() -> dict[str, Any]:
    """Sizes in bytes and percent, memory in MiB as the kernel counts it, processor time in seconds."""
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name:
        folder = Path(name)
        image = _image(folder)
        plugin = _plugin(folder)
    bar = plugin["wire_bytes"] <= PLUGIN_BYTES_BAR and all(
        entry["patch_percent"] <= PATCH_PERCENT_BAR and entry["apply_added_mib"] <= MEMORY_MIB_BAR[compression]
        for compression, entry in image.items()
    )
    return {
        "image": {"mib": IMAGE_MIB, "changed": f"a library of {CHANGED_LIBRARY} bytes rebuilt", "patches": image},
        "plugin": plugin,
        "bar_met": bar,
    }


def _image(folder: Path) -> dict[str, Any]:
    old, new = images()
    (folder / "old").write_bytes(old)
    (folder / "new").write_bytes(new)
    found = {}
    for compression in MEMORY_MIB_BAR:
        make_patch(folder / "old", folder / "new", folder / "patch", compression)
        size = (folder / "patch").stat().st_size
        usage = _stage(folder, compression, len(new) + size + 4096)
        if hashlib.sha256((folder / "got").read_bytes()[: len(new)]).digest() != hashlib.sha256(new).digest():
            raise RuntimeError(f"{compression}: the result differs")
        found[compression] = {
            "patch_bytes": size,
            "patch_percent": round(100 * size / len(new), 2),
            "apply_added_mib": round(usage["added"] / 1024, 1),
            "apply_cpu_s": round(usage["cpu"], 1),
            "space_beside_the_slot_mib": usage["space"],
        }
    return found


def _stage(folder: Path, compression: str, room: int) -> dict[str, Any]:
    """In a process of its own, with 1 MiB for state and temporary files where this user may mount that."""
    state = folder / "state"
    state.mkdir(exist_ok=True)
    child = [sys.executable, "-c", CHILD, compression, str(folder), str(room)]
    confined = [*IN_ONE_MIB, MOUNT, "sh", str(state), *child]
    may_mount = (
        subprocess.run([*IN_ONE_MIB, "mount -t tmpfs tmpfs /mnt"], capture_output=True, check=False).returncode == 0
    )
    environment = {**os.environ, "TMPDIR": str(state)}
    command = confined if may_mount else child
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    return {**json.loads(done.stdout), "space": 1 if may_mount else None}


def images() -> tuple[bytes, bytes]:
    """An image of code-like bytes, and one in which a library was rebuilt and a few files changed."""
    chance = random.Random(1)
    words = [chance.randbytes(8) for _ in range(4096)]
    old = bytearray()
    while len(old) < IMAGE_MIB << 20:
        old += b"".join(chance.choices(words, k=16_384)) + bytes(chance.randrange(8192))
    del old[IMAGE_MIB << 20 :]
    new = bytearray(old)
    start = 20 << 20
    for at in range(start, start + CHANGED_LIBRARY, 64):  # a relocated address in each line of code
        new[at + 4 : at + 6] = chance.randbytes(2)
    new[start + 1000 : start + 1000] = chance.randbytes(500)
    del new[start + CHANGED_LIBRARY : start + CHANGED_LIBRARY + 500]
    return bytes(old), bytes(new)


def _plugin(folder: Path) -> dict[str, Any]:
    """The modbus plugin with one line and its version changed, as it is published."""
    source = ROOT / "plugins" / "modbus"
    changed = folder / "changed" / "modbus"
    shutil.copytree(source, changed)
    text = (changed / "modbus.c").read_text("utf-8")
    if text.count(LINE) != 1:
        raise RuntimeError(f"plugins/modbus/modbus.c has no longer the line {LINE!r}")
    (changed / "modbus.c").write_text(text.replace(LINE, CHANGED_LINE), encoding="utf-8")
    old = build(source, folder / "old.plugin", embed=True)
    new = build(changed, folder / "new.plugin", embed=True, version="0.1.1")
    patch, news = _wire(folder, old, new)
    return {
        "wasm_bytes": new.stat().st_size,
        "changed_line": CHANGED_LINE,
        "patch_bytes": patch,
        "metadata_bytes": news,
        "wire_bytes": patch + news,
    }


def _wire(folder: Path, old: Path, new: Path) -> tuple[int, int]:
    """Bytes of the patch, and of the news for a device that has polled before it was published."""
    repository = Repository(folder / "repo", Keyring(folder / "keys"), Clock())
    init(repository)
    delegate(repository, "plugin-acme", count=1, threshold=1)
    patch_bytes = since = 0
    for release, file in enumerate((old, new), 1):
        name = f"plugin/acme/modbus-0.1.{release}.wasm"
        add(repository, file, name, Custom(release=Release("modbus", release, f"0.1.{release}")))
        if file is new:
            patch_bytes = add_patch(repository, name, old, "lzma", folder)[0].length
        repository.finish()
        repository.refresh()
        since = since or repository.effective("snapshot").version
    return patch_bytes, (repository.metadata / "news" / str(since)).stat().st_size
