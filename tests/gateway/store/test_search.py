"""Where plugins are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError, PluginError
from gateway.store import SOURCE_TREE, find, names, search_path
from tests.gateway import sites


def test_a_plugin_is_its_manifest_and_its_code(tmp_path: Path) -> None:
    sites.write(tmp_path)
    folder = tmp_path / "plugins"
    (folder / "gain" / "gain.wasm").write_bytes(b"\0asm")
    plugin = find("gain", [tmp_path / "elsewhere", folder])
    assert (plugin.manifest.name, plugin.read()) == ("gain", b"\0asm")


def test_the_first_folder_wins(tmp_path: Path) -> None:
    for number in (1, 2):
        sites.write(tmp_path / str(number))
    folders = [tmp_path / "2" / "plugins", tmp_path / "1" / "plugins"]
    assert find("gain", folders).wasm.is_relative_to(tmp_path / "2")


def test_code_may_be_in_the_build_tree(tmp_path: Path) -> None:
    sites.write(tmp_path)
    (tmp_path / "plugins" / "gain" / "gain.wasm").unlink()
    built = tmp_path / "build" / "plugins" / "gain.wasm"
    built.parent.mkdir(parents=True)
    built.write_bytes(b"built")
    assert find("gain", [tmp_path / "plugins"]).read() == b"built"


def test_what_is_given_comes_before_the_sites_own_and_the_source_tree(tmp_path: Path) -> None:
    given, site = tmp_path / "given", tmp_path / "site"
    assert search_path([given], site) == (given, site / "plugins", SOURCE_TREE)
    assert search_path([SOURCE_TREE], site) == (SOURCE_TREE, site / "plugins")


def test_names_are_listed_once(tmp_path: Path) -> None:
    sites.write(tmp_path)
    folder = tmp_path / "plugins"
    assert names([folder, folder]) == ("fieldbus", "gain", "writer")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gian", 'found "gian", which is no plugin; did you mean "gain"?'),
        ("writer", 'plugin "writer" is not built: there is no '),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, name: str, message: str) -> None:
    sites.write(tmp_path)
    (tmp_path / "plugins" / "writer" / "writer.wasm").unlink()
    with pytest.raises(PluginError) as caught:
        find(name, [tmp_path / "plugins"])
    assert str(caught.value).startswith(message)


def test_a_folder_has_the_name_of_its_plugin(tmp_path: Path) -> None:
    sites.write(tmp_path)
    (tmp_path / "plugins" / "gain").rename(tmp_path / "plugins" / "gain2")
    with pytest.raises(ConfigError, match=r'plugin\.toml: name: found "gain", allowed: "gain2", its folder'):
        find("gain2", [tmp_path / "plugins"])


def test_code_that_vanished_is_named(tmp_path: Path) -> None:
    sites.write(tmp_path)
    plugin = find("gain", [tmp_path / "plugins"])
    plugin.wasm.unlink()
    with pytest.raises(PluginError, match=r'plugin "gain": .*gain\.wasm cannot be read: No such file'):
        plugin.read()
