"""The C unit tests of the runtime, by every compiler, under sanitizers and on foreign targets."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.runtime_c.fuzz import REGRESSIONS
from tests.runtime_c.toolchain import (
    HOST,
    RUNTIME,
    TOOLCHAINS,
    Toolchain,
    build,
    find_emulator,
    missing_compiler,
    missing_emulator,
)

PROGRAMS = sorted(path.stem for path in (RUNTIME / "tests").glob("test_*.c"))
RUN_BY = ("gcc", "minimal", "zig", "asan", "clang-asan", "aarch64", "armv7")
THREADED = (
    "test_loop",
    "test_port",
    "test_ring",
    "test_shadow",
    "test_swap",
    "test_threads",
)  # what the thread sanitizer is for
BUILT_BY = ("riscv64",)
PROGRAM_SECONDS_MAX = 300  # emulators are slow


def require(toolchain: Toolchain) -> None:
    """Skip, with what would help, where the machine lacks the compiler or the emulator."""
    if reason := missing_compiler(toolchain):
        pytest.skip(reason)
    if toolchain.target != HOST and find_emulator(toolchain.target) is None:
        pytest.skip(missing_emulator(toolchain.target))


def run(toolchain: Toolchain, program: str, *arguments: str) -> str:
    """Build and run a program; returns its output, fails the test with it if the program failed."""
    require(toolchain)
    folder = build(toolchain, "tests")
    folders = {"WR_TEST_PLUGINS": str(folder / "plugins"), "WR_TEST_REGRESSIONS": str(REGRESSIONS)}
    environment = {**toolchain.environment(), **folders}
    done = subprocess.run(
        [*toolchain.runner(), str(folder / "tests" / program), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=PROGRAM_SECONDS_MAX,
    )
    output = f"{done.stdout}{done.stderr}"
    assert done.returncode == 0, f"{program} by {toolchain.name}: exit status {done.returncode}\n{output}"
    return done.stdout  # emulators tell on the error output of children that are meant to die


def test_there_are_programs() -> None:
    assert len(PROGRAMS) >= 6


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("name", RUN_BY)
def test_program(name: str, program: str) -> None:
    output = run(TOOLCHAINS[name], program)
    assert output.rstrip().endswith(" passed, 0 failed"), output


@pytest.mark.parametrize("program", THREADED)
@pytest.mark.parametrize("name", ["tsan", "clang-tsan"])
def test_no_data_races(name: str, program: str) -> None:
    assert "WARNING: ThreadSanitizer" not in run(TOOLCHAINS[name], program)


@pytest.mark.parametrize("name", BUILT_BY)
def test_builds(name: str) -> None:
    folder = build(TOOLCHAINS[name], "lib", "tests", "tools")
    assert [program for program in PROGRAMS if not (folder / "tests" / program).is_file()] == []


def test_a_failing_check_is_told(tmp_path: Path) -> None:
    """The harness itself: a test that must fail does, with place and values."""
    require(TOOLCHAINS["gcc"])
    source = tmp_path / "wrong.c"
    source.write_text(
        '#include "check.h"\n'
        "static void wrong(check_t *check) { CHECK_EQ_U64(1 + 1, 3); }\n"
        "static const check_test TESTS[] = {CHECK_TEST(wrong)};\n"
        "CHECK_MAIN(TESTS)\n"
    )
    folder = build(TOOLCHAINS["gcc"], "lib", "tests")
    flags = ["-I", str(RUNTIME / "include"), "-I", str(RUNTIME / "tests"), "-pthread"]
    objects = [str(folder / "obj" / "tests" / "check.o"), str(folder / "libwr.a")]
    program = tmp_path / "wrong"
    subprocess.run(["gcc", *flags, str(source), *objects, "-lm", "-o", str(program)], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "wrong.c:2: 1 + 1: got 2 (0x2), want 3 (0x3)" in done.stdout
    assert done.stdout.endswith("0 passed, 1 failed\n")
