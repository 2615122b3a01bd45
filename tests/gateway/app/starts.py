"""A small site in a folder, and starts of ``penstock run`` with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.gateway.modules import module
from tests.gateway.store.goods import MANIFEST

SITE = """\
[site]
name = "works"
[port.plc]
kind = "tcp"
host = "127.0.0.1"
port = 1
[stage.plc]
plugin = "fieldbus"
ports = ["plc"]
[stage.si]
plugin = "gain"
inputs = ["plc"]
[[tag]]
name = "t"
from = "plc"
"""
DRIVER = MANIFEST.replace('kind = "etl"', 'kind = "driver"').replace('in = "samples"', 'in = "none"')
DRIVER = DRIVER.replace("[limits]", "ports = 1\n[limits]")


def provide(folder: Path, name: str, manifest: str, version: str, code: bytes) -> None:
    """Put a plugin on the site's search path."""
    home = folder / "plugins" / name
    home.mkdir(parents=True, exist_ok=True)
    (home / "plugin.toml").write_text(manifest.format(name=name, version=version, summary="s"))
    (home / f"{name}.wasm").write_bytes(code)


def make(folder: Path) -> Path:
    """A site with a driver and a stage whose records nobody wants."""
    (folder / "site.toml").write_text(SITE)
    (folder / "board.toml").write_text('[board]\nname = "b"\n')
    provide(folder, "fieldbus", DRIVER, "1.0.0", module())
    gain(folder, "1.0.0", module())
    return folder


def gain(folder: Path, version: str, code: bytes) -> None:
    """A version of the stage's plugin."""
    provide(folder, "gain", MANIFEST.replace('out = "samples"', 'out = "none"'), version, code)


def words(folder: Path, *more: str) -> list[str]:
    """The command line of ``run``."""
    options = ["--board", str(folder / "board.toml"), "--state", str(folder / "state"), "--seconds", "0.2", "--json"]
    return ["run", str(folder / "site.toml"), *options, *more]


def run(folder: Path, *more: str) -> tuple[int, dict[str, Any], str]:
    """Run the site for a moment: exit status, last status line, log."""
    command = [sys.executable, "-m", "gateway.app.cli", *words(folder, *more)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = done.stdout.splitlines()
    return done.returncode, json.loads(lines[-1]) if lines else {}, done.stderr
