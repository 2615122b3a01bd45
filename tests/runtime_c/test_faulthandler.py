"""Traps by memory protection beside Python's faulthandler, switched on before or after the engine."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.runtime_c.toolchain import ROOT

# One page of memory; load(address).
MODULE = bytes.fromhex("0061736d0100000001060160017f017f03020100050401010101070801046c6f616400000a0901070020002802000b")
PROGRAM = f"""
import ctypes, faulthandler, sys
from gateway.errors import WasmTrap
from gateway.wasm import Bounds, Engine, Execution, Module, Store

def trap():
    with Engine(bounds=Bounds.GUARD) as engine, Module(engine, "one", {MODULE!r}) as module:
        with Execution(engine) as execution, Store(engine) as store:
            instance = store.instantiate(module, execution)
            try:
                instance.func("load").call(execution, 65536)
            except WasmTrap as caught:
                print(caught.status)

steps = dict(trap=trap, enable=faulthandler.enable, crash=lambda: ctypes.string_at(0))
for step in sys.argv[1:]:
    steps[step]()
    sys.stdout.flush()
"""


def run(*steps: str) -> subprocess.CompletedProcess[str]:
    """A Python that does these in turn."""
    command = [sys.executable, "-c", PROGRAM, *steps]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("steps", ["enable trap trap", "trap enable trap trap"])
def test_traps_do_not_reach_it(steps: str) -> None:
    done = run(*steps.split())
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["TRAP_MEMORY_BOUNDS"] * steps.split().count("trap")
    assert done.stderr == ""


@pytest.mark.parametrize("steps", ["enable trap crash", "trap enable trap crash", "trap enable crash"])
def test_it_still_tells_of_crashes(steps: str) -> None:
    done = run(*steps.split())
    assert done.returncode == -signal.SIGSEGV
    assert done.stderr.count("Fatal Python error: Segmentation fault") == 1
    assert 'File "<string>"' in done.stderr


def test_a_crash_without_it_is_silent() -> None:
    done = run("trap", "crash")
    assert (done.returncode, done.stderr) == (-signal.SIGSEGV, "")
