"""Starts of ``penstock run`` with a state folder: which plugins run, and what does not keep it from running."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.digest import content_hash
from gateway.store.container import embed
from gateway.store.plugins import PluginStore
from gateway.store.storage import Disk
from tests.gateway.app.starts import SITE, gain, make, run
from tests.gateway.modules import REFUSE, module
from tests.gateway.peers import until
from tests.gateway.store.goods import Ticking


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path)


def active(folder: Path) -> str:
    """The version of gain that the store's manifest names."""
    stated = json.loads((folder / "state" / "plugins" / "active_manifest.json").read_text())
    version: str = stated["body"]["plugins"]["gain"]["active"]["version"]
    return version


def test_plugins_are_installed_at_the_first_start_and_not_needed_elsewhere_after_it(folder: Path) -> None:
    assert run(folder)[0] == 0
    assert active(folder) == "1.0.0"
    for name in ("gain", "fieldbus"):
        (folder / "plugins" / name / "plugin.toml").unlink()
    status, state, log = run(folder)
    assert (status, state["stages"]["si"]["plugin"]) == (0, "gain"), log


def test_a_gateway_that_was_killed_starts_again(folder: Path) -> None:
    options = ["--board", str(folder / "board.toml"), "--state", str(folder / "state")]
    command = [sys.executable, "-m", "gateway.app.cli", "run", str(folder / "site.toml"), *options]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        asyncio.run(until((folder / "state" / "control.sock").exists, "it answers"))
        process.kill()
    assert (folder / "state" / "control.sock").exists(), "nobody has tidied up"
    status, _, log = run(folder)
    assert status == 0, log
    assert "control" not in log, "nothing to complain about"
    assert not (folder / "state" / "control.sock").exists()


def test_a_new_plugin_that_does_not_start_gives_way_to_the_one_before(folder: Path) -> None:
    run(folder)
    gain(folder, "1.1.0", module(init=REFUSE))
    status, state, log = run(folder)
    assert status == 0, log
    assert "the new plugin gain does not start, 1.0.0 runs instead: " in log
    assert state["stages"]["si"]["state"] == "running"
    assert active(folder) == "1.0.0"
    gain(folder, "1.1.1", module())
    assert run(folder)[0] == 0
    assert active(folder) == "1.1.1"


def test_the_first_one_that_does_not_start_is_an_error(folder: Path) -> None:
    gain(folder, "1.0.0", module(init=REFUSE))
    status, _, log = run(folder)
    assert status == 1
    assert 'stage "si": pen_init' in log


def test_damaged_files_are_told_and_do_not_keep_it_from_starting(folder: Path) -> None:
    run(folder)
    gain(folder, "1.1.0", module())
    run(folder)
    plugins = folder / "state" / "plugins"
    store = PluginStore(Disk(plugins), plugins, Ticking())
    blob = store.plugin(store.find("gain", "1.1.0")).wasm
    blob.write_bytes(blob.read_bytes()[:100])
    (plugins / "bad_hashes.json").write_text("{")
    status, _, log = run(folder)
    assert status == 0, log
    assert "1.1.0" in log
    assert "1.0.0 runs instead" in log
    assert "bad_hashes.json is damaged (" in log
    health = json.loads((folder / "state" / "health.json").read_text())
    assert "runs instead" in next(one["detail"] for one in health["checks"] if one["name"] == "store")


def test_mistakes_of_the_site_install_nothing(folder: Path) -> None:
    (folder / "site.toml").write_text(SITE.replace("port = 1\n", "port = 0\n"))
    assert run(folder)[0] == 2
    assert not (folder / "state" / "plugins" / "active_manifest.json").exists()


def test_the_number_of_versions_is_an_option(folder: Path) -> None:
    for minor in range(4):
        gain(folder, f"1.{minor}.0", module())
        assert run(folder, "--keep", "1")[0] == 0
    plugins = folder / "state" / "plugins"
    kept = [one.ref.version for one in PluginStore(Disk(plugins), plugins, Ticking(), keep=1).versions("gain")]
    assert kept == ["1.3.0", "1.2.0", "1.1.0"], "what runs, what ran before, and the newest other one"


def test_a_file_of_the_store_is_the_plugin_file(folder: Path) -> None:
    run(folder)
    text = (folder / "plugins" / "gain" / "plugin.toml").read_bytes()
    data = embed(module(), text)
    assert (folder / "state" / "plugins" / "blobs" / f"{content_hash(data)}.wasm").read_bytes() == data
