"""Loading a module takes little more memory than the loaded module keeps: at most six times the module's bytes, or
8 KiB, which is what any module needs and more than six times the smallest."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.runtime_c.toolchain import BUILD, TOOLCHAINS, build

RATIO_MOST = 6
BYTES_LEAST = 8192

PLUGINS = sorted((BUILD / "plugins").glob("*.wasm"))


@pytest.mark.parametrize("path", PLUGINS, ids=[path.stem for path in PLUGINS])
def test_load_memory(path: Path) -> None:
    tool = build(TOOLCHAINS["native"], "tools") / "tools" / "bench_footprint"
    done = subprocess.run([tool, path, "1"], check=True, capture_output=True, timeout=60)
    told = json.loads(done.stdout)
    assert told["module_kept_bytes"] <= told["load_peak_bytes"]
    assert told["load_peak_bytes"] <= max(RATIO_MOST * told["module_bytes"], BYTES_LEAST), told


def test_there_are_plugins_to_load() -> None:
    assert PLUGINS, "no plugins: run make build"
