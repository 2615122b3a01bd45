"""Every plugin folder, one walk: manifest, size, README, vectors on our engine and on another one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.app.plugin_build import build, tables
from gateway.app.vectors import compile_vectors, run_script
from gateway.config.manifest import load_manifest
from tests.plugins.oracle import VectorError
from tests.plugins.oracle import run_script as run_on_oracle
from tests.runtime_c import toolchain

PLUGINS = toolchain.ROOT / "plugins"
FOLDERS = sorted(path.parent for path in PLUGINS.glob("*/plugin.toml"))
BYTES_MAX = {"modbus": 16384, "scale": 2048, "json_maker": 6144}
TARGETS = ("native", "aarch64", "armv7")
every_plugin = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def module_of(folder: Path) -> Path:
    return build(folder, toolchain.BUILD / "plugins")


def test_the_walk_finds_the_plugins() -> None:
    assert {folder.name for folder in FOLDERS} == set(BYTES_MAX)


@every_plugin
def test_manifest_is_right_and_named_like_its_folder(folder: Path) -> None:
    assert load_manifest(folder / "plugin.toml").name == folder.name


@every_plugin
def test_module_is_small_and_names_its_functions(folder: Path) -> None:
    module = module_of(folder).read_bytes()
    assert len(module) <= BYTES_MAX[folder.name]
    assert b"pen_abi_1" in module
    assert b"\x04name" in module


@every_plugin
def test_module_imports_what_its_manifest_asks_for(folder: Path) -> None:
    imported = set(re.findall(rb"\x03hal.([a-z_]+)\x00", module_of(folder).read_bytes()))
    assert {name.decode() for name in imported} == set(load_manifest(folder / "plugin.toml").hal)


@every_plugin
def test_readme_shows_the_settings_of_the_manifest(folder: Path) -> None:
    assert tables(load_manifest(folder / "plugin.toml")) in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@every_plugin
def test_vectors_on_the_oracle(folder: Path, bytewise: bool) -> None:
    assert len(run_on_oracle(module_of(folder), compile_vectors(folder), bytewise=bytewise)) >= 5


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("target", TARGETS)
@every_plugin
def test_vectors_on_our_runtime(folder: Path, target: str, bytewise: bool) -> None:
    tools = toolchain.TOOLCHAINS[target]
    if tools.target != toolchain.HOST and toolchain.find_emulator(tools.target) is None:
        pytest.skip(toolchain.missing_emulator(tools.target))
    runner = tools.folder / "tools" / "vectors"
    toolchain.build(tools, str(runner))
    script = compile_vectors(folder)
    printed = run_script(script, module_of(folder), runner, bytewise=bytewise, launcher=tools.runner())
    cases = sum(line.startswith("case ") for line in script.splitlines())
    assert printed.startswith(f"{cases} cases passed")


@pytest.mark.parametrize("line", ["out 0 -", "metric samples_total 0", "log nothing", "trap stack", "refuse topic"])
def test_the_oracle_notices_what_is_wrong(line: str) -> None:
    """One sample makes one payload at once; each line expects something else."""
    case = next(part for part in compile_vectors(PLUGINS / "json_maker").split("case ") if "no waiting" in part)
    setup, steps = case.split("start\n")
    script = (
        f"case {setup}{line}\n" if line.startswith("refuse") else f"case {setup}start\n{steps.split('out')[0]}{line}\n"
    )
    with pytest.raises(VectorError):
        run_on_oracle(module_of(PLUGINS / "json_maker"), script)
