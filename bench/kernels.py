"""The kernels of ``bench/kernels`` and how to build them, natively and as WebAssembly."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.flow import ROOT
from gateway.app.aot_build import compile_file

SOURCES = ROOT / "bench" / "kernels"
BUILD = ROOT / "build" / "bench" / "kernels"
WASM_FLAGS = ("-target", "wasm32-freestanding", "-nostdlib", "-O2", "-Wl,--no-entry", "-Wl,--strip-debug")


@dataclass(frozen=True, slots=True)
class Kernel:
    """``work`` is what a round does: 5 to 20 ms of native code. ``few`` is for slow engines and for counting."""

    name: str
    work: int
    few: int
    simd: bool = False

    @property
    def native(self) -> Path:
        return BUILD / self.name

    @property
    def wasm(self) -> Path:
        return BUILD / f"{self.name}.wasm"

    @property
    def aot(self) -> Path:
        return BUILD / f"{self.name}.so"

    @property
    def wasm_few(self) -> Path:
        """The same module with an export ``fixed`` that runs ``few``."""
        return BUILD / f"{self.name}_few.wasm"


KERNELS = (
    Kernel("mix", 600, 20),
    Kernel("fib", 34, 24),
    Kernel("matmul_f32", 400, 4),
    Kernel("matmul_f64", 300, 4),
    Kernel("sha256", 40_000, 800),
    Kernel("sieve", 120, 3),
    Kernel("dispatch", 6_000_000, 100_000),
    Kernel("json", 6_000, 150),
    Kernel("etl", 12_000, 300),
    Kernel("quicksort", 60, 2),
    Kernel("mandelbrot", 25, 1),
    Kernel("mandelbrot_simd", 60, 3, simd=True),
)


def build() -> None:
    """Compile all kernels: ``cc -O2`` natively, ``zig cc -O2`` as modules, and these ahead of time."""
    BUILD.mkdir(parents=True, exist_ok=True)
    zig = [sys.executable, "-m", "ziglang", "cc", *WASM_FLAGS]
    for kernel in KERNELS:
        source = SOURCES / f"{kernel.name}.c"
        flags = ["-msimd128"] if kernel.simd else []
        for command in (
            ["cc", "-O2", str(source), str(ROOT / "bench" / "native.c"), "-o", str(kernel.native)],
            [*zig, *flags, str(source), "-o", str(kernel.wasm)],
            [*zig, *flags, f"-DKERNEL_WORK={kernel.few}", str(source), "-o", str(kernel.wasm_few)],
        ):
            subprocess.run(command, check=True)
        compile_aot(kernel.wasm, kernel.aot)


def compile_aot(wasm: Path, out: Path) -> None:
    """As ``penstock aot`` does without options."""
    compile_file(wasm, out, None, "", None, keep_c=False)
