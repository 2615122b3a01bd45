"""Updates: how large patches are, what applying them takes, and how many bytes a bad link costs."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.flow import ROOT
from ota.delta.make import make_patch

IMAGE_MIB = 64
PATCH_PERCENT_BAR = 3.0
MEMORY_MIB_BAR = {"lzma": 16.0, "heatshrink": 4.0}
PLUGIN_BYTES_BAR = 1024
CHANGED_LIBRARY = 3_000_000  # bytes of a library that is rebuilt: some code moves, addresses change all over it
LINE = "if (self.attempts > 1) await_late_answers(unit, self.attempts);"
CHANGED_LINE = LINE.replace("> 1", "> 1 && self.attempts < 250")

# Prints how far the memory of a process that has everything imported grows while it applies a patch.
CHILD = """
import json, resource, sys
from pathlib import Path
from ota.clock import Cancel
from ota.delta.apply import apply_patch
from ota.storage import FileStorage
from ota.trust.model import Artefact, Delta, File, Patch, Release, Source
import lzma, heatshrink2.core
compression, folder, source_length, length = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
size = (folder / "patch").stat().st_size
delta = Delta("detools-sequential", compression, Source(source_length, ""), "image/a/b", 0)
patch, to = Patch(File("image/a/p", size, ""), delta), Artefact(File("image/a/b", length, ""), Release("x", 1, ""))
def peak():  # of this program; ru_maxrss would begin with that of the process that started it
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
with FileStorage(folder / "old", write=False) as old, FileStorage(folder / "patch", write=False) as data:
    with FileStorage(folder / "got", length) as target:
        apply_patch(patch, to, (old, data), target, Cancel())
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"added": peak() - before, "cpu": usage.ru_utime + usage.ru_stime}))
"""


def measure() -> dict[str, Any]:
    """Sizes in bytes and percent, memory in MiB as the kernel counts it, processor time in seconds."""
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name:
        folder = Path(name)
        image = _image(folder)
        plugin = _plugin(folder)
    bar = plugin["patch_bytes"] <= PLUGIN_BYTES_BAR and all(
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
        arguments = [compression, str(folder), str(len(old)), str(len(new))]
        done = subprocess.run([sys.executable, "-c", CHILD, *arguments], cwd=ROOT, check=True, capture_output=True)
        usage = json.loads(done.stdout)
        if hashlib.sha256((folder / "got").read_bytes()).digest() != hashlib.sha256(new).digest():
            raise RuntimeError(f"{compression}: the result differs")
        found[compression] = {
            "patch_bytes": size,
            "patch_percent": round(100 * size / len(new), 2),
            "apply_added_mib": round(usage["added"] / 1024, 1),
            "apply_cpu_s": round(usage["cpu"], 1),
        }
    return found


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
    """The modbus plugin with one line changed, built with the same compiler."""
    source = ROOT / "plugins" / "modbus"
    changed = folder / "changed" / "modbus"
    subprocess.run(["cp", "-r", str(source.parent), str(changed.parent)], check=True)
    text = (changed / "modbus.c").read_text("utf-8")
    if text.count(LINE) != 1:
        raise RuntimeError(f"plugins/modbus/modbus.c has no longer the line {LINE!r}")
    (changed / "modbus.c").write_text(text.replace(LINE, CHANGED_LINE), encoding="utf-8")
    for place, out in ((source, "old.plugin"), (changed, "new.plugin")):
        command = [sys.executable, "-m", "gateway.app.cli", "plugin", "build", str(place), "--out", str(folder / out)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (old,), (new,) = (list((folder / out).rglob("*.wasm")) for out in ("old.plugin", "new.plugin"))
    if old.read_bytes() == new.read_bytes():
        raise RuntimeError("the changed line made no difference")
    make_patch(old, new, folder / "plugin.patch", "lzma")
    size = (folder / "plugin.patch").stat().st_size
    return {"wasm_bytes": new.stat().st_size, "changed_line": CHANGED_LINE, "patch_bytes": size}
