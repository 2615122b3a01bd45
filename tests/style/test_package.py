"""What a source distribution must hold to be built elsewhere."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

from tests.style.source import ROOT, files, name

WANTED = ("gateway", "ota", "runtime_c", "plugins", "board-configs", "docs", "tests", "bench", ".ci")


def test_source_distribution_is_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(tmp_path), "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = tmp_path.glob("penstock-*.tar.gz")
    with tarfile.open(archive) as members:
        held = {member.name.partition("/")[2] for member in members}
    made = {".so", ".o", ".wasm", ".pyc"}
    wanted = {name(path) for path in files(*WANTED) if path.suffix not in made and path.name != "_runtime.c"}
    assert wanted - held == set()
    assert {"LICENSE", "README.md", "Makefile", "requirements.lock", "requirements-dev.lock"} <= held
    assert [entry for entry in held if entry.startswith("build/") or entry.endswith((".so", ".o"))] == []
