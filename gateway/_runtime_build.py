"""Builds the C extension ``gateway._runtime`` from runtime_c: what setup.py names as cffi module.

The declarations come from runtime_c/include/wr.h itself: the C preprocessor expands it with WR_CDEF defined. Compiles
with ``cc``, or with the compiler in the ``ziglang`` wheel where there is no ``cc``.
``python setup.py build_ext --inplace`` builds without installing.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent.parent
RUNTIME = ROOT / "runtime_c"
HEADER = RUNTIME / "include" / "wr.h"
PARTS = ("wasm", "aot", "wasi", "flow")
# Functions of gateway/wasm.py that the runtime calls.
CALLBACKS = """
extern "Python" wr_status wr_python_output(void *user, uint32_t fd, const uint8_t *bytes, uint32_t len);
"""
FLAGS = (
    "-std=c11",
    "-D_GNU_SOURCE",
    "-D_FILE_OFFSET_BITS=64",
    "-O2",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fomit-frame-pointer",
    "-fasynchronous-unwind-tables",  # back-traces through compiled code
    "-fexceptions",  # and through functions that do not return
    "-g1",
    "-fno-semantic-interposition",
    "-fvisibility=hidden",
    "-pthread",
)


def compiler() -> list[str]:
    """The C compiler command: $CC, ``cc``, or the one in the ziglang wheel. Raises SystemExit when there is none."""
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    if shutil.which("cc"):
        return ["cc"]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    raise SystemExit("no C compiler: install one (apt install gcc) or the ziglang package (pip install ziglang)")


def declarations(command: list[str]) -> str:
    """wr.h as plain declarations, for cffi."""
    arguments = [*command, "-E", "-P", "-x", "c", "-DWR_CDEF", str(HEADER)]
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout


def sources() -> list[str]:
    """The C files, relative to the root as setuptools wants them."""
    files = (path for part in PARTS for path in sorted((RUNTIME / part).glob("*.c")))
    return [str(path.relative_to(ROOT)) for path in files]


def make_builder() -> FFI:
    """The cffi builder; tells setuptools which compiler to use."""
    command = compiler()
    os.environ["CC"] = shlex.join(command)
    os.environ["LDSHARED"] = shlex.join([*command, "-shared"])
    builder = FFI()
    builder.cdef(declarations(command) + CALLBACKS)
    builder.set_source(
        "gateway._runtime",
        '#include "wr.h"',
        sources=sources(),
        include_dirs=["runtime_c", "runtime_c/include", *(f"runtime_c/{part}" for part in PARTS)],
        depends=[str(path.relative_to(ROOT)) for path in sorted(RUNTIME.glob("*/*.h"))],
        extra_compile_args=list(FLAGS),
        extra_link_args=["-pthread", "-ldl", *(["-lunwind"] if "ziglang" in command else [])],
        py_limited_api=False,
    )
    return builder


ffibuilder = make_builder()
