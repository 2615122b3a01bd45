"""Floats have the same bits everywhere: those of NaN, and of denormal numbers, which ARM's vector units would flush."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from gateway.app import aot_build
from gateway.app.aot_build import Compiler, find_compiler
from gateway.wasm import Engine, emit_c
from tests.runtime_c import differential, float_modules
from tests.runtime_c.test_c_units import require
from tests.runtime_c.toolchain import TOOLCHAINS, build
from tests.runtime_c.wasmtime_run import Run, make_engine

SEEDS = 25
FOREIGN_SEEDS = 2
MEMORY_HASH = (
    "fa7ee207"  # of the memory that the module of all instructions leaves: whoever changes results changes this
)
INTERPRETED = ("native", "zig", "aarch64", "armv7", "riscv64")
COMPILED = (  # toolchain of the tool that loads it, compiler
    *(("native", "gcc"), ("native", "zig"), ("aarch64-shared", "gcc"), ("aarch64-shared", "zig")),
    *(("armv7-shared", "gcc"), ("armv7-shared", "zig"), ("riscv64-shared", "gcc"), ("riscv64-shared", "zig")),
)


def written(modules: Mapping[str, bytes], folder: Path) -> list[Path]:
    """As files, named so."""
    for name, module in modules.items():
        (folder / f"{name}.wasm").write_bytes(module)
    return [folder / f"{name}.wasm" for name in modules]


def compiled(target: str, compiler: str, paths: Sequence[Path], out: Path) -> Path:
    """All modules in one artefact."""
    zig = (sys.executable, "-m", "ziglang", "cc", "-target", aot_build.TARGETS[target].zig)
    chosen = Compiler(zig, target, is_clang=True) if compiler == "zig" else find_compiler(target)
    with Engine() as engine:
        texts = [emit_c(engine, path.stem, path.read_bytes()) for path in paths]
    aot_build.build(chosen, texts, out, checked=aot_build.TARGETS[target].is_checked, optimise="-O2")
    return out


def transcript(toolchain: str, paths: Sequence[Path], compiler: str = "") -> list[str]:
    """What module_run tells; all modules interpreted, or all compiled."""
    chosen = TOOLCHAINS[toolchain]
    require(chosen)
    tool = build(chosen, "tools") / "tools" / "module_run"
    options = ["--bounds", "checked" if aot_build.TARGETS[chosen.target].is_checked else "guard"]
    if compiler:
        options += ["--aot", str(compiled(chosen.target, compiler, paths, paths[0].with_suffix(f".{toolchain}.so")))]
    command = [*chosen.runner(), str(tool), *options, *map(str, paths)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout.splitlines()
    assert lines.count(differential.COMPILED) == (len(paths) if compiler else 0)
    return [line for line in lines if line != differential.COMPILED]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The module of all instructions."""
    return written({"all": float_modules.exhaustive(relaxed=True)}, tmp_path_factory.mktemp("all"))


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[str]]:
    """Random modules, and what comes out of them here."""
    modules = {f"seed-{seed}": float_modules.random_module(seed, relaxed=True) for seed in range(FOREIGN_SEEDS)}
    paths = written({"ways": float_modules.ways(), **modules}, tmp_path_factory.mktemp("some"))
    return paths, transcript("native", paths)


@pytest.mark.parametrize("toolchain", INTERPRETED)
def test_every_instruction_gives_the_same_bits(toolchain: str, everything: list[Path]) -> None:
    assert transcript(toolchain, everything)[-1].split()[-1] == MEMORY_HASH


@pytest.mark.parametrize(("toolchain", "compiler"), COMPILED)
def test_every_compiled_instruction_gives_the_same_bits(toolchain: str, compiler: str, everything: list[Path]) -> None:
    assert transcript(toolchain, everything, compiler)[-1].split()[-1] == MEMORY_HASH


@pytest.mark.parametrize(("toolchain", "compiler"), [*((one, "") for one in INTERPRETED[1:]), *COMPILED])
def test_random_code_gives_the_same_bits(toolchain: str, compiler: str, some: tuple[list[Path], list[str]]) -> None:
    paths, expected = some
    assert transcript(toolchain, paths, compiler) == expected


@pytest.mark.parametrize("column", differential.ENGINES)
def test_bits_are_those_of_another_engine(column: str, tmp_path: Path) -> None:
    """Which is told to make canonical NaNs. Relaxed instructions it chooses other results for."""
    modules = {f"seed-{seed}": float_modules.random_module(seed) for seed in range(1000, 1000 + SEEDS)}
    fixed = {"all": float_modules.exhaustive(relaxed=False), "ways": float_modules.ways()}
    paths = written({**fixed, **modules}, tmp_path)
    program = build(TOOLCHAINS["native"], "tools") / "tools" / "module_run"
    options = differential.ENGINES[column].options(paths, tmp_path)
    told = differential.transcripts(program, options, paths)
    judge = make_engine()
    nans = 0
    for path in paths:
        lines = Run(judge, path.read_bytes(), differential.FUEL).lines
        assert [line for line in told[path] if line != differential.COMPILED] == lines, path.stem
        nans += sum("f64:7ff8000000000000" in line for line in lines)
    assert nans > SEEDS


def test_vectors_of_arm_are_not_used(everything: list[Path], tmp_path: Path) -> None:
    """They take denormal numbers for zero, whatever the mode. An emulator need not."""
    source, assembly = tmp_path / "all.c", tmp_path / "all.s"
    with Engine() as engine:
        source.write_bytes(emit_c(engine, "all", everything[0].read_bytes()))
    command = aot_build.command_line(find_compiler("armv7"), [source], assembly, checked=True, optimise="-O2")
    subprocess.run([*command, "-S"], check=True, timeout=300)
    text = assembly.read_text()
    assert len(re.findall(r"vadd\.f32\s+s", text)) > 5
    assert re.findall(r"v(?:add|sub|mul|mla|max|min|abs)\.f32\s+[dq]\d.*", text) == []
