"""Builds of the C runtime for tests: each toolchain has its own folder below ``build/`` and is built once."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "runtime_c"
BUILD = ROOT / "build"
ZIG_CC = f"{sys.executable} -m ziglang cc"
CLANG = next((name for name in ("clang", *(f"clang-{n}" for n in range(22, 13, -1))) if shutil.which(name)), "clang")
HOST = platform.machine().replace("armv7l", "armv7").replace("armv8l", "armv7")
QEMU_NAMES = {"aarch64": "aarch64", "armv7": "arm", "riscv64": "riscv64", "x86_64": "x86_64"}


class BuildError(Exception):
    """make failed; the text is its output."""


@dataclass(frozen=True, slots=True)
class Toolchain:
    """``variables`` go to runtime_c/Makefile; ``env`` to the programs that are run."""

    name: str
    target: str = HOST
    variables: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    library: str = ""  # folder of the target's shared C library

    @property
    def folder(self) -> Path:
        """Where its build lands."""
        return BUILD / f"runtime-{self.name}"

    def environment(self) -> dict[str, str]:
        """What its programs run in."""
        emulated = {"WR_TEST_EMULATED": "1"} if self.target != HOST else {}
        return {**os.environ, **dict(self.env), **emulated}

    def runner(self) -> list[str]:
        """Command that runs its programs: nothing, or the user-mode emulator; ``BuildError`` if that is not there."""
        if self.target == HOST:
            return []
        if (emulator := find_emulator(self.target)) is None:
            raise BuildError(missing_emulator(self.target))
        return [emulator, "-L", self.library] if self.library else [emulator]


SANITIZER_ENV = (("ASAN_OPTIONS", "detect_leaks=1:handle_segv=0"), ("UBSAN_OPTIONS", "print_stacktrace=1"))
TOOLCHAINS: Mapping[str, Toolchain] = {
    toolchain.name: toolchain
    for toolchain in (
        Toolchain("native"),
        Toolchain("gcc", variables=("CC=gcc",)),
        Toolchain("zig", variables=(f"CC={ZIG_CC}",)),
        Toolchain("asan", variables=("CC=gcc", "SANITIZE=address,undefined"), env=SANITIZER_ENV),
        Toolchain("clang-asan", variables=(f"CC={CLANG}", "SANITIZE=address,undefined"), env=SANITIZER_ENV),
        Toolchain("clang-tsan", variables=(f"CC={CLANG}", "SANITIZE=thread")),
        Toolchain("minimal", variables=("CC=gcc", "MINIMAL=1")),
        Toolchain("tsan", variables=("CC=gcc", "SANITIZE=thread")),
        Toolchain("aarch64", target="aarch64"),
        Toolchain("zig-aarch64", target="aarch64", variables=(f"CC={ZIG_CC} -target aarch64-linux-musl",)),
        Toolchain("armv7", target="armv7"),
        Toolchain("riscv64", target="riscv64"),
        # They load shared objects, so they need the target's C library: that of the cross compiler.
        Toolchain("aarch64-shared", target="aarch64", variables=("STATIC=",), library="/usr/aarch64-linux-gnu"),
        Toolchain("armv7-shared", target="armv7", variables=("STATIC=",), library="/usr/arm-linux-gnueabihf"),
        Toolchain("riscv64-shared", target="riscv64", variables=("STATIC=",), library="/usr/riscv64-linux-gnu"),
    )
}


def find_emulator(target: str) -> str | None:
    """Path of the user-mode emulator, or None."""
    name = f"qemu-{QEMU_NAMES[target]}"
    return shutil.which(f"{name}-static") or shutil.which(name)


def missing_compiler(toolchain: Toolchain) -> str:
    """What to do about the C compiler that a toolchain names and that is not here; empty if it is."""
    for name, packages in (("gcc", "gcc"), (CLANG, "clang-14 libclang-rt-14-dev")):
        if f"CC={name}" in toolchain.variables and shutil.which(name) is None:
            return f"no {name}: sudo apt install {packages}"
    return ""


def missing_emulator(target: str) -> str:
    """What to do about it."""
    return f"no user-mode emulator for {target}: sudo apt install qemu-user-static"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one process at a time; tests run in several."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build(toolchain: Toolchain, *goals: str) -> Path:
    """Make the goals of runtime_c/Makefile; returns the build folder; ``BuildError`` carries the compiler's words."""
    with locked(BUILD / f"runtime-{toolchain.name}.lock"):
        command = [
            *("make", "-s", "-j2", "-C", str(RUNTIME), *goals, f"TARGET={toolchain.target}", "WERROR=1"),
            *(f"BUILD={toolchain.folder}", f"PYTHON={sys.executable}", *toolchain.variables),
        ]
        inherited = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "CC")}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=inherited)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return toolchain.folder
