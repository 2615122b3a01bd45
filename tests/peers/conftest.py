"""What every test here needs: the peers' programs, the built plugins, a broker."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.app.plugin_build import build
from tests.gateway.peers import Mosquitto

# Program -> Debian package.
PROGRAMS = {"mosquitto": "mosquitto", "mosquitto_sub": "mosquitto-clients", "mbpoll": "mbpoll", "socat": "socat"}
PLUGINS = ("modbus", "scale", "alarm", "pid", "json_maker")
PLACES = "/usr/sbin:/usr/local/sbin"  # where mosquitto is and an ordinary user's PATH does not look


@pytest.fixture(scope="session", autouse=True)
def programs() -> None:
    missing = [
        package for name, package in PROGRAMS.items() if not (shutil.which(name) or shutil.which(name, path=PLACES))
    ]
    if missing:
        pytest.fail(f"these tests need programs that are missing: sudo apt install {' '.join(missing)}")


@pytest.fixture(scope="session", autouse=True)
def built(root: Path) -> None:
    for name in PLUGINS:
        build(root / "plugins" / name, root / "build" / "plugins")


@pytest.fixture
def seed() -> int:
    """Of everything random in a test. PENSTOCK_SEED=N is another one."""
    chosen = int(os.environ.get("PENSTOCK_SEED", "20261125"))
    print(f"seed {chosen} (PENSTOCK_SEED)")
    return chosen


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A mosquitto that forgets nothing over a restart and never drops what a subscriber has not taken yet."""
    lines = ["persistence true", f"persistence_location {tmp_path}/", "max_queued_messages 0"]
    with Mosquitto(tmp_path, *lines) as started:
        yield started
