"""Every plugin folder, one walk: manifest, size, README, vectors on our engine and on another one."""

from __future__ import annotations

import re
import subprocess
import zlib
from pathlib import Path

import pytest

from gateway.app.plugin_build import build, tables
from gateway.app.vectors import SECTION, check_vectors, compile_vectors, packed
from gateway.config.manifest import load_manifest
from gateway.errors import PluginError
from gateway.store import Plugin
from gateway.store.container import custom_section
from tests.plugins.oracle import VectorError
from tests.plugins.oracle import run_script as run_on_oracle
from tests.runtime_c import toolchain

PLUGINS = toolchain.ROOT / "plugins"
FOLDERS = sorted(path.parent for path in PLUGINS.glob("*/plugin.toml"))
BYTES_MAX = {
    "modbus": 23552, "scale": 1280, "json_maker": 5632, "outlier": 2944, "resample": 2688, "deadband": 1792,
    "alarm": 9216, "pid": 5120,
}  # fmt: skip
CHAIN = ("scale", "outlier", "resample", "json_maker")  # readings to payloads
CHAIN_BYTES_MAX = 12 * 1024
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


def test_the_chain_from_readings_to_payloads_is_small() -> None:
    assert sum(len(module_of(PLUGINS / name).read_bytes()) for name in CHAIN) <= CHAIN_BYTES_MAX


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
    options = ["--bytewise"] if bytewise else []
    command = [*tools.runner(), str(runner), *options, str(module_of(folder)), "/dev/stdin"]
    done = subprocess.run(command, input=script, capture_output=True, encoding="utf-8", check=False, timeout=300)
    cases = sum(line.startswith("case ") for line in script.splitlines())
    assert done.stdout.startswith(f"{cases} cases passed"), done.stderr


@every_plugin
def test_vectors_in_this_process(folder: Path, tmp_path: Path) -> None:
    """As a gateway does before a swap: those of the folder, or those that the module carries, however damaged."""
    manifest, module = load_manifest(folder / "plugin.toml"), module_of(folder)
    check_vectors(Plugin(manifest, module))
    inside = packed(folder)
    assert inside is not None
    for content, problem in (
        (inside, ""),
        (inside[:-9], "damaged"),
        (zlib.compress(b"case x\nstart"), "does not start"),
    ):
        carrier = tmp_path / "carrier.wasm"
        carrier.write_bytes(module.read_bytes() + custom_section(SECTION, content))
        if problem:
            with pytest.raises(PluginError, match=problem):
                check_vectors(Plugin(manifest, carrier))
        else:
            check_vectors(Plugin(manifest, carrier))


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
