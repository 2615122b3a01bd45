"""Compiles WebAssembly modules ahead of time: module → C → shared object, by the C compiler that there is."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.clock import Clock
from gateway.errors import UsageError
from gateway.wasm import TARGET, Engine, emit_c, seal


@dataclass(frozen=True, slots=True)
class Target:
    """``gcc``: its cross compiler and the package with it; ``zig``: its name there; ``machine``: its number in ELF
    files; ``flags`` and ``zig_flags``: of the code."""

    gcc: str
    package: str
    zig: str
    machine: int
    flags: tuple[str, ...] = ()
    zig_flags: tuple[str, ...] = ()
    is_checked: bool = False  # 32 bits have no room for guard pages


TARGETS = {
    "x86_64": Target("x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu", "x86_64-linux-musl", 62),
    "aarch64": Target("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu", "aarch64-linux-musl", 183),
    "armv7": Target(
        "arm-linux-gnueabihf-gcc", "gcc-arm-linux-gnueabihf", "arm-linux-musleabihf", 40,
        ("-march=armv7-a", "-mfpu=vfpv3-d16", "-mfloat-abi=hard", "-fexceptions"),
        ("-mcpu=generic+v7a-neon-d32", "-fexceptions"), is_checked=True,
    ),
    "riscv64": Target("riscv64-linux-gnu-gcc", "gcc-riscv64-linux-gnu", "riscv64-linux-musl", 243),
}  # fmt: skip

FLAGS = (
    "-std=gnu11", "-w", "-fPIC", "-shared", "-nostdlib", "-ffreestanding", "-fvisibility=hidden",
    "-fno-strict-aliasing", "-fno-stack-protector",
    "-ffp-contract=off", "-fno-math-errno",  # the same results everywhere
    "-fasynchronous-unwind-tables", "-fno-optimize-sibling-calls",  # back-traces show every function
    "-Wl,--build-id=none", "-Wl,-s",
)  # fmt: skip
# What would give two instructions of the module one address, so that a trap could not tell which it was.
GCC_FLAGS = (
    "-ftree-vectorize", "-fvect-cost-model=cheap",
    "-fno-ipa-icf", "-fno-crossjumping", "-fno-tree-tail-merge", "-fno-code-hoisting", "-fno-partial-inlining",
    "-fno-ipa-pure-const",  # a function found never to return could not be walked through
    "-Wl,-z,noseparate-code",  # less to map; the linker of zig cc does not know it
    "-fno-thread-jumps",  # makes branches, and copies of what is behind them, of what modules choose without (select)
)  # fmt: skip
CLANG_FLAGS = ("-Wno-everything", "-Wl,--no-gc-sections")


@dataclass(frozen=True, slots=True)
class Compiler:
    """``command`` makes code for ``target``."""

    command: tuple[str, ...]
    target: str
    is_clang: bool

    @property
    def processor_flags(self) -> tuple[str, ...]:
        """The least processor of the target, by the words that the compiler has for it."""
        about = TARGETS[self.target]
        return about.zig_flags if _is_zig(self.command) else about.flags


def find_compiler(target: str, command: str = "") -> Compiler:
    """The given command, the machine's or a cross gcc, or the compiler in the ziglang wheel. Raises UsageError saying
    what to install."""
    about = TARGETS[target]
    if command:
        words = tuple(shlex.split(command))
        if not words or shutil.which(words[0]) is None:
            raise UsageError(f"--cc {command}: there is no such command")
        if _is_zig(words) and "-target" not in words:  # which compiles for this machine unless told otherwise
            words += ("-target", about.zig)
        return Compiler(words, target, _is_clang(words))
    for name in (("cc", "gcc") if target == TARGET else ()) + (about.gcc,):
        if shutil.which(name):
            return Compiler((name,), target, _is_clang((name,)))
    if importlib.util.find_spec("ziglang"):
        return Compiler((sys.executable, "-m", "ziglang", "cc", "-target", about.zig), target, is_clang=True)
    package = "gcc" if target == TARGET else about.package
    raise UsageError(f"no C compiler for {target}: apt install {package}, or pip install ziglang, or give --cc")


def _is_zig(words: Sequence[str]) -> bool:
    return any(Path(word).name in ("zig", "ziglang") for word in words)


def _is_clang(words: Sequence[str]) -> bool:
    try:
        told = subprocess.run([*words, "--version"], capture_output=True, text=True, check=False, timeout=60).stdout
    except OSError as error:
        raise UsageError(f"{shlex.join(words)}: {error.strerror}") from error
    return "clang" in told


def command_line(compiler: Compiler, sources: Sequence[Path], out: Path, *, checked: bool, optimise: str) -> list[str]:
    """What turns C into a shared object."""
    special = CLANG_FLAGS if compiler.is_clang else GCC_FLAGS
    return [
        *compiler.command, optimise, *FLAGS, *special, *compiler.processor_flags,
        f"-DWR_IS_CHECKED={int(checked)}", *(("-DWR_CHECKED",) if checked else ()),
        *map(str, sources), "-o", str(out), *(() if compiler.is_clang else ("-lgcc",)),
    ]  # fmt: skip


def build(
    compiler: Compiler, texts: Sequence[bytes], out: Path, *, checked: bool = False, optimise: str = "-O2"
) -> None:
    """Compile C texts into one artefact; it is there whole or not at all. Raises UsageError with what the compiler
    said."""
    with tempfile.TemporaryDirectory(prefix="penstock-aot-", dir=out.parent) as folder:
        sources = [Path(folder) / f"{number}.c" for number in range(len(texts))]
        for source, text in zip(sources, texts, strict=True):
            source.write_bytes(text)
        made = Path(folder) / "module.so"
        command = command_line(compiler, sources, made, checked=checked, optimise=optimise)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise UsageError(f"{shlex.join(compiler.command)} failed:\n{done.stdout}{done.stderr}".rstrip())
        _check_processor(made, compiler)
        seal(made, compiler.target)
        os.replace(made, out)


def _check_processor(made: Path, compiler: Compiler) -> None:
    with made.open("rb") as file:
        machine = int.from_bytes(file.read(20)[18:], "little")
    if machine != TARGETS[compiler.target].machine:
        raise UsageError(
            f"{shlex.join(compiler.command)} made code for another processor than {compiler.target}: "
            f"give --cc a compiler for it, such as {TARGETS[compiler.target].gcc}"
        )


def compile_file(
    file: Path, out: Path | None, target: str | None, command: str, bounds: str | None, keep_c: bool
) -> str:
    """``penstock aot``: returns what was made, in a line. Raises UsageError, WasmError."""
    target = target or TARGET
    if target not in TARGETS:
        raise UsageError(f"--target {target}: allowed: {', '.join(TARGETS)}")
    if bounds == "guard" and TARGETS[target].is_checked:
        raise UsageError(f"--bounds guard: {target} has too few addresses for it, allowed: checked")
    try:
        wasm = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    out = out or file.with_suffix(f".{target}.so")
    checked = None if bounds is None else bounds == "checked"
    clock = Clock()
    begin = clock.monotonic_s()
    c_file = out.with_suffix(".c") if keep_c else None
    compile_module(find_compiler(target, command), str(file), wasm, out, checked=checked, keep_c=c_file)
    took = clock.monotonic_s() - begin
    return f"{out}: {out.stat().st_size} bytes for {target}, from {len(wasm)} bytes, in {took:.1f} s"


def compile_module(
    compiler: Compiler, name: str, wasm: bytes, out: Path, *, checked: bool | None = None, keep_c: Path | None = None
) -> None:
    """One module to an artefact. ``checked``: whether it compares addresses instead of relying on guard pages; None: as
    the target is. ``keep_c``: where its C text goes as well. Raises UsageError, WasmError."""
    with Engine() as engine:
        text = emit_c(engine, name, wasm)
    if keep_c is not None:
        keep_c.write_bytes(text)
    build(compiler, [text], out, checked=TARGETS[compiler.target].is_checked if checked is None else checked)
