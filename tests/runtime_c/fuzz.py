"""Fuzzes the engine: load, link, call, with small limits, under address and undefined-behaviour sanitizers.

    python -m tests.runtime_c.fuzz [--seconds N] [--seed N] [--standalone]

Coverage-guided with libFuzzer where a clang brings it (apt: clang-14 libclang-rt-14-dev); elsewhere, or with
``--standalone``, mutations without a look at what they reach, and the output says so. Seeds are the plugins, the test
plugins and, where it is there, the modules of the official suite (PENSTOCK_WASM_SPEC). What was reached is kept in
``build/fuzz/corpus`` for the next run. A failing input is saved in ``build/fuzz`` and the exit status is 1.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.runtime_c.spec import ARCHIVES, SUITE
from tests.runtime_c.toolchain import BUILD, CLANG, ROOT, RUNTIME, TOOLCHAINS, BuildError, Toolchain, build

FOLDER = BUILD / "fuzz"
REGRESSIONS = RUNTIME / "fuzz" / "regressions"
DICTIONARY = RUNTIME / "fuzz" / "wasm.dict"
INPUT_BYTES_MAX = 8192
INPUT_SECONDS_MAX = 20  # an input takes milliseconds; what takes this long hangs
LOG_LINES = 60
PROBE = "int LLVMFuzzerTestOneInput(const unsigned char *b, unsigned long n); " \
    "int LLVMFuzzerTestOneInput(const unsigned char *b, unsigned long n) { return b && n > 99999999; }"  # fmt: skip


def find_clang() -> str | None:
    """The clang, if it comes with libFuzzer and the sanitizers."""
    command = [CLANG, "-fsanitize=fuzzer,address,undefined", "-x", "c", "-", "-o", os.devnull]
    if shutil.which(CLANG) is None:
        return None
    done = subprocess.run(command, input=PROBE, text=True, capture_output=True, check=False)
    return CLANG if done.returncode == 0 else None


def modules() -> Iterator[bytes]:
    """Seeds: small modules of the suite and every plugin."""
    for archive in (SUITE / name for name in ARCHIVES):
        if archive.is_file():
            with zipfile.ZipFile(archive) as opened:
                yield from (opened.read(name) for name in opened.namelist() if name.endswith(".wasm"))
    for path in [*(BUILD / "plugins").glob("*.wasm"), *BUILD.glob("runtime-*/plugins/*.wasm")]:
        yield path.read_bytes()
    for path in REGRESSIONS.glob("*.wasm"):
        yield path.read_bytes()


def write_seeds() -> list[Path]:
    """The seeds as files, each content once."""
    folder = FOLDER / "seeds"
    folder.mkdir(parents=True, exist_ok=True)
    paths = set()
    for module in modules():
        if len(module) <= INPUT_BYTES_MAX:
            path = folder / f"{hashlib.sha256(module).hexdigest()[:20]}.wasm"
            path.write_bytes(module)
            paths.add(path)
    return sorted(paths)


@dataclass(frozen=True, slots=True)
class Outcome:
    """``summary`` is one line; ``failure`` is empty, or says what was found, where the input is and how to run it."""

    summary: str
    failure: str = ""


def _failure(program: Path, log: str) -> str:
    """What a fuzzer said last; both kinds tell where they saved the input."""
    lines = "\n".join(log.splitlines()[-LOG_LINES:])
    saved = re.findall(r"(?:Test unit written to|the input is in) (\S+)", log)
    shown = str((FOLDER / saved[-1]).relative_to(ROOT)) if saved else "none was saved"
    return (
        f"{lines}\n\nfailing input: {shown}\nrun it again: {program.relative_to(ROOT)} INPUT\n"
        f"when it is fixed, keep it: {REGRESSIONS.relative_to(ROOT)}, with a line in index.txt there\n"
    )


def run_coverage_guided(clang: str, seconds: int, seed: int, runs: int = -1) -> Outcome:
    """libFuzzer for ``seconds``, or for ``runs`` inputs if that is less. Raises BuildError."""
    variables = (f"CC={clang}", "SANITIZE=address,undefined,fuzzer")
    program = build(Toolchain("fuzz", variables=variables), "fuzzers", "plugins") / "fuzz" / "engine"
    seeds = write_seeds()
    (FOLDER / "corpus").mkdir(exist_ok=True)
    command = [
        *(str(program), f"-max_total_time={seconds}", f"-seed={seed}", f"-runs={runs}", f"-max_len={INPUT_BYTES_MAX}"),
        *(f"-timeout={INPUT_SECONDS_MAX}", "-rss_limit_mb=3000", "-print_final_stats=1", f"-dict={DICTIONARY}"),
        *(f"-artifact_prefix={FOLDER}/", str(FOLDER / "corpus"), str(FOLDER / "seeds")),
    ]
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1"}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=environment)
    executed = re.findall(r"number_of_executed_units: (\d+)", done.stderr)
    coverage = re.findall(r" cov: (\d+)", done.stderr)
    summary = (
        f"libFuzzer of {clang}, {len(seeds)} seeds, seed {seed}: {''.join(executed[-1:]) or 'some'} inputs, "
        f"{''.join(coverage[-1:]) or 'no'} edges reached"
    )
    failed = done.returncode != 0
    return Outcome(summary, _failure(program, done.stderr) if failed else "")


def run_standalone(seconds: int) -> Outcome:
    """Mutations without feedback. Raises BuildError."""
    program = build(TOOLCHAINS["asan"], "fuzzers", "plugins") / "fuzz" / "standalone"
    seeds = write_seeds()
    environment = {**os.environ, **dict(TOOLCHAINS["asan"].env)}
    done = subprocess.run(
        [str(program), str(seconds), *map(str, seeds)],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env=environment,
    )
    summary = f"not coverage-guided: {done.stdout.strip()}"
    return Outcome(summary, _failure(program, done.stderr) if done.returncode else "")


def main(arguments: list[str]) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="fuzz", description="Fuzz the WebAssembly engine.")
    parser.add_argument("--seconds", type=int, default=60, help="how long")
    parser.add_argument("--seed", type=int, default=1, help="of libFuzzer")
    parser.add_argument("--standalone", action="store_true", help="without libFuzzer")
    options = parser.parse_args(arguments)
    clang = None if options.standalone else find_clang()
    if clang is None and not options.standalone:
        print("no clang with libFuzzer here: sudo apt install clang-14 libclang-rt-14-dev")
    try:
        found = run_coverage_guided(clang, options.seconds, options.seed) if clang else run_standalone(options.seconds)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 2
    print(found.summary)
    print(found.failure, end="", file=sys.stderr)
    return 1 if found.failure else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
