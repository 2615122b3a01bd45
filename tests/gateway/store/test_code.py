"""Compiled code beside the versions it is of: kept, tried, run, and gone with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.app.aot_build import compile_module, find_compiler
from gateway.config.manifest import parse_manifest
from gateway.digest import content_hash
from gateway.errors import StoreError
from gateway.store.choose import choose, install
from gateway.store.plugins import PluginStore
from gateway.store.storage import Disk
from gateway.wasm import TARGET, Engine, Module
from tests.gateway.store.goods import MANIFEST, Ticking, hashed, plugin_file

FIRST, SECOND = plugin_file(version="1.0.0"), plugin_file(version="2.0.0")


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Compiled code of FIRST."""
    out = tmp_path_factory.mktemp("code") / "module.so"
    compile_module(find_compiler(TARGET), "gain", FIRST, out)
    return out.read_bytes()


def opened(folder: Path, keep: int = 3) -> PluginStore:
    return PluginStore(Disk(folder), folder, Ticking(), keep)


def compiled(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "blobs").glob("*.so"))


def test_code_stays_with_its_version_and_runs(tmp_path: Path, code: bytes) -> None:
    store = opened(tmp_path)
    first, second = (store.add(*hashed(data), "tester") for data in (FIRST, SECOND))
    store.add_code(first, TARGET, code)
    again = opened(tmp_path)
    assert {one.ref: one.code for one in again.versions("gain")} == {first: (TARGET,), second: ()}
    with Engine() as engine:
        for ref, is_compiled in ((first, True), (second, False)):
            plugin = again.plugin(ref)
            with Module.of_file(engine, "gain", plugin.wasm, plugin.read()) as module:
                assert module.is_compiled == is_compiled


def test_code_that_does_not_fit_is_not_kept(tmp_path: Path, code: bytes) -> None:
    store = opened(tmp_path)
    first, second = (store.add(*hashed(data), "tester") for data in (FIRST, SECOND))
    damaged = code[:5000] + bytes([code[5000] ^ 1]) + code[5001:]
    for ref, target, data, text in (
        (second, TARGET, code, "does not fit gain 2.0.0"),
        (first, TARGET, damaged, "does not fit gain 1.0.0"),
        (first, TARGET, b"", "does not fit gain 1.0.0"),
        (first, "m68k", code, f"found code for m68k, allowed: {TARGET}"),
    ):
        with pytest.raises(StoreError, match=text) as no:
            store.add_code(ref, target, data)
        assert no.value.code == "bad_code"
    assert compiled(tmp_path) == []


def test_code_goes_with_its_version(tmp_path: Path, code: bytes) -> None:
    store = opened(tmp_path, keep=1)
    first = store.add(*hashed(FIRST), "tester")
    store.add_code(first, TARGET, code)
    for number in range(2, 5):
        store.add(*hashed(plugin_file(version=f"{number}.0.0")), "tester")
    assert "1.0.0" not in {one.ref.version for one in store.versions("gain")}
    assert compiled(tmp_path) == []


def test_code_of_nothing_is_removed_at_the_start(tmp_path: Path, code: bytes) -> None:
    first = opened(tmp_path).add(*hashed(FIRST), "tester")
    (tmp_path / "blobs" / f"{first.hash}.{TARGET}.so").write_bytes(code)
    (tmp_path / "blobs" / f"{content_hash(b'gone')}.{TARGET}.so").write_bytes(code)
    (tmp_path / "blobs" / "note.txt").write_bytes(b"not the store's")
    opened(tmp_path)
    assert compiled(tmp_path) == [f"{first.hash}.{TARGET}.so"]
    assert (tmp_path / "blobs" / "note.txt").exists()


@pytest.mark.parametrize("fits", [True, False])
def test_code_on_the_search_path_comes_along(
    tmp_path: Path, code: bytes, fits: bool, caplog: pytest.LogCaptureFixture
) -> None:
    home = tmp_path / "plugins" / "gain"
    home.mkdir(parents=True)
    (home / "plugin.toml").write_text(MANIFEST.format(name="gain", version="1.0.0", summary="multiplies"))
    assert parse_manifest((home / "plugin.toml").read_text(), "gain").version == "1.0.0"
    (home / "gain.wasm").write_bytes(FIRST)
    (home / f"gain.{TARGET}.so").write_bytes(code if fits else code[:-1])
    (tmp_path / "state").mkdir()
    store = opened(tmp_path / "state")
    plugins, fresh = install({"gain": choose("gain", store, [tmp_path / "plugins"])}, store)
    assert fresh == ("gain",)
    ref = store.find("gain", "1.0.0")
    assert plugins["gain"].hash == ref.hash
    assert compiled(tmp_path / "state") == ([f"{ref.hash}.{TARGET}.so"] if fits else [])
    assert ("is interpreted" in caplog.text) == (not fits)
