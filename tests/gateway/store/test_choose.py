"""Which version a gateway starts with."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import PluginError
from gateway.store.choose import choose, install
from gateway.store.container import embed
from gateway.store.plugins import PluginStore
from tests.gateway.modules import module
from tests.gateway.store.disk import FakeDisk
from tests.gateway.store.goods import MANIFEST, Ticking, hashed, plugin_file


def provide(folder: Path, version: str, code: bytes | None = None, summary: str = "s") -> None:
    """Put gain of a version on the search path."""
    home = folder / "gain"
    home.mkdir(exist_ok=True)
    (home / "plugin.toml").write_text(MANIFEST.format(name="gain", version=version, summary=summary))
    (home / "gain.wasm").write_bytes(module() if code is None else code)


@pytest.fixture
def store() -> PluginStore:
    return PluginStore(FakeDisk(), Path("state"), Ticking())


def start(store: PluginStore, folder: Path) -> str:
    """What a start would run, and whether it came anew from the search path."""
    choice = choose("gain", store, [folder])
    plugins, fresh = install({"gain": choice}, store)
    return f"{plugins['gain'].manifest.version}{' fresh' if fresh else ''}"


def test_a_life(store: PluginStore, tmp_path: Path) -> None:
    provide(tmp_path, "1.0.0")
    assert start(store, tmp_path) == "1.0.0 fresh"
    assert start(store, tmp_path) == "1.0.0"
    provide(tmp_path, "1.0.0", summary="built again")
    assert start(store, tmp_path) == "1.0.0 fresh", "a developer's build"
    store.activate(store.add(*hashed(plugin_file(version="1.2.0")), "tester"), "tester")
    assert start(store, tmp_path) == "1.2.0", "pushed and swapped by hand"
    provide(tmp_path, "1.1.0")
    assert start(store, tmp_path) == "1.2.0", "a new image, but with an older version"
    provide(tmp_path, "1.3.0")
    assert start(store, tmp_path) == "1.3.0 fresh", "a new image"
    store.roll_back("gain", "tester")
    assert start(store, tmp_path) == "1.2.0", "what was given up by hand does not come back by itself"
    assert start(store, tmp_path / "nowhere") == "1.2.0", "the search path is not needed any more"


def test_what_does_not_start_comes_again(store: PluginStore, tmp_path: Path) -> None:
    for version in ("1.0.0", "1.1.0"):
        provide(tmp_path, version)
        assert start(store, tmp_path) == f"{version} fresh"
    store.roll_back("gain", "penstock", "does not start", forget_origin=True)
    assert start(store, tmp_path) == "1.1.0 fresh"


def test_bad_and_broken_ones_do_not_replace_what_runs(
    store: PluginStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for version in ("1.0.0", "1.1.0"):
        provide(tmp_path, version)
        start(store, tmp_path)
    store.mark_bad(store.find("gain", "1.1.0"), "4 traps")
    store.roll_back("gain", "supervisor", forget_origin=True)
    assert start(store, tmp_path) == "1.0.0"
    assert "is remembered as bad: 4 traps; 1.0.0 runs on" in caplog.messages[-1]
    provide(tmp_path, "1.2.0", module(imports="now"))
    assert start(store, tmp_path) == "1.0.0"
    assert "it imports hal.now, which capabilities.hal" in caplog.messages[-1]


def test_without_another_one_it_is_a_mistake(store: PluginStore, tmp_path: Path) -> None:
    provide(tmp_path, "1.0.0", module(imports="now"))
    with pytest.raises(PluginError, match=r"gain\.wasm: .* it imports hal\.now"):
        choose("gain", store, [tmp_path])
    provide(tmp_path, "1.0.0", b"")
    with pytest.raises(PluginError, match=r"gain\.wasm: not a WebAssembly module"):
        choose("gain", store, [tmp_path])
    with pytest.raises(PluginError, match='found "gain", which is no plugin'):
        choose("gain", store, [])


def test_a_module_may_carry_its_manifest_already_but_no_other(store: PluginStore, tmp_path: Path) -> None:
    text = MANIFEST.format(name="gain", version="1.0.0", summary="s").encode()
    provide(tmp_path, "1.0.0", embed(module(), text))
    assert choose("gain", store, [tmp_path]).module == embed(module(), text)
    provide(tmp_path, "1.0.1", embed(module(), text))
    with pytest.raises(PluginError, match=r"carries another plugin\.toml than .*; build it again"):
        choose("gain", store, [tmp_path])


def test_a_full_disk_does_not_stop_a_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    disk = FakeDisk()
    store = PluginStore(disk, Path("state"), Ticking())
    provide(tmp_path, "1.0.0")
    disk.fail_at = range(1 << 30)
    assert start(store, tmp_path) == "1.0.0"
    assert caplog.messages[-1].startswith("plugins are run from the search path and not kept: ")


def test_without_a_store_there_is_the_search_path(tmp_path: Path) -> None:
    provide(tmp_path, "1.0.0")
    choice = choose("gain", None, [tmp_path])
    assert install({"gain": choice}, None) == ({"gain": choice.plugin}, ())
