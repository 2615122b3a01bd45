"""Compares engines on random modules: results, traps by kind, globals and memory.

    python -m tests.runtime_c.differential [--count N] [--seed N] [--jobs N]

Module number N comes from seed N alone: random bytes, made a valid module by ``wasm-opt --translate-to-fuzz`` of
binaryen (apt: binaryen). The judge is wasmtime (Python package), told to make the one canonical NaN as well. A module
that both refuse, or that needs what the engine lacks, does not count. One that differs is saved as
``build/differential/N.wasm``.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from gateway import wasm
from gateway.app import aot_build
from gateway.app.aot_build import find_compiler
from gateway.errors import WasmError
from gateway.wasm import TARGET
from tests.runtime_c.toolchain import BUILD, ROOT, TOOLCHAINS, BuildError, build
from tests.runtime_c.wasm_shape import ShapeError, export_everything
from tests.runtime_c.wasmtime_run import Run, make_engine

FOLDER = BUILD / "differential"
GENERATOR = "wasm-opt"
MISSING = "no wasm-opt: sudo apt install binaryen"
OFTEN, SELDOM = 0.7, 0.1
FEATURES = {  # how often a module may use it; with references binaryen 108 mostly makes what is not valid any more
    "sign-ext": OFTEN,
    "mutable-globals": OFTEN,
    "nontrapping-float-to-int": OFTEN,
    "simd": 0.4,  # as long as modules with vectors are not compiled
    "bulk-memory": OFTEN,
    "tail-call": OFTEN,
    "multivalue": OFTEN,
    "extended-const": OFTEN,
    "threads": OFTEN,
    "reference-types": SELDOM,
}
INPUT_BYTES_MAX = 12000
FUEL = 1_000_000_000  # of the judge: never reached where ours suffices
BATCH = 50
COMPILED = "compiled"  # module_run says so before a module that is not interpreted
BATCH_SECONDS_MAX = 120
INCOMPARABLE = ("TRAP_STACK", "TRAP_FUEL")  # engines have their own depth and units: nothing counts from there on
SAME = {"TRAP_UNDEFINED_ELEMENT": "TRAP_TABLE_BOUNDS"}  # the judge does not tell them apart
BOTH = (
    "TRAP_UNALIGNED",
    "TRAP_MEMORY_BOUNDS",
)  # an atomic access may be both; we find the first, the judge the second
UNSUPPORTED = "refused UNSUPPORTED"  # such as garbage-collected types, which the generator makes now and then


@dataclass(frozen=True, slots=True)
class Column:
    """A way to run modules: how bounds are checked, and whether they are compiled first."""

    bounds: str
    compiled: bool = False

    def options(self, paths: list[Path], folder: Path) -> list[str]:
        """Options of module_run; compiles first what can be compiled, all into one artefact."""
        options = ["--bounds", self.bounds]
        if not self.compiled:
            return options
        texts = []
        with wasm.Engine() as engine:
            for path in paths:
                with contextlib.suppress(WasmError):
                    texts.append(wasm.emit_c(engine, "module", path.read_bytes()))
        out = folder / "modules.so"
        aot_build.build(find_compiler(TARGET), texts, out, checked=self.bounds == "checked", optimise="-O1")
        return [*options, "--aot", str(out)]


ENGINES = {"guard": Column("guard"), "checked": Column("checked"), "aot": Column("guard", compiled=True)}


@dataclass(slots=True)
class Tally:
    """``failures`` are texts, each with the seed."""

    compared: int = 0
    compiled: int = 0
    cut_short: int = 0
    not_counted: int = 0
    calls: int = 0
    traps: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Sum up."""
        self.compared += other.compared
        self.compiled += other.compiled
        self.cut_short += other.cut_short
        self.not_counted += other.not_counted
        self.calls += other.calls
        self.traps += other.traps
        self.failures += other.failures

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {name}" for name, count in self.traps.most_common())
        return (
            f"{self.compared} modules compared ({self.compiled} also compiled, {self.cut_short} up to a limit), "
            f"{self.not_counted} not counted, {self.calls} calls, traps: {kinds or 'none'}; {len(self.failures)} differ"
        )


def generate(seed: int, path: Path) -> bool:
    """Write the module of a seed; False if the generator makes none of it."""
    chance = random.Random(seed)
    data = path.with_suffix(".random")
    data.write_bytes(chance.randbytes(chance.randrange(100, INPUT_BYTES_MAX)))
    features = [f"--{'enable' if chance.random() < often else 'disable'}-{name}" for name, often in FEATURES.items()]
    command = [GENERATOR, str(data), "--translate-to-fuzz", "--mvp-features", *features, "-o", str(path)]
    done = subprocess.run(command, capture_output=True, check=False)
    data.unlink()
    if done.returncode != 0 or not path.is_file():
        return False
    try:
        path.write_bytes(export_everything(path.read_bytes()))
    except ShapeError:
        return False
    return True


def transcripts(program: Path, options: list[str], paths: list[Path]) -> dict[Path, list[str]]:
    """What module_run tells about each file; after a crash or a hang, the last one says so and the rest goes on."""
    told: dict[Path, list[str]] = {}
    left = list(paths)
    while left:
        ending = ""
        try:
            done = subprocess.run(
                [str(program), *options, *map(str, left)], capture_output=True, check=False, timeout=BATCH_SECONDS_MAX
            )
            output, ending = done.stdout, f"ended with status {done.returncode}" if done.returncode else ""
        except subprocess.TimeoutExpired as late:
            output, ending = late.stdout or b"", f"still running after {BATCH_SECONDS_MAX} s"
        lines: list[str] = []
        for line in output.decode(errors="replace").splitlines():
            if line.startswith("module "):
                lines = told[Path(line.removeprefix("module "))] = []
            else:
                lines.append(line)
        lines += [ending] if ending else []
        left = [path for path in left if path not in told] if ending and lines is not None else []
        if ending and not told:
            raise BuildError(f"{program} {ending} before the first module")
    return told


def comparable(lines: Iterable[str]) -> tuple[list[str], bool]:
    """The lines in the form that must be equal, up to where a limit of an engine shows; whether one did."""
    kept: list[str] = []
    for line in lines:
        if line == COMPILED:
            continue
        head, _, status = line.rpartition(" ")
        if status in INCOMPARABLE:
            return kept, True
        kept.append("refused" if line.startswith("refused") else f"{head} {SAME.get(status, status)}")
    return kept, False


def difference(ours: list[str], judge: list[str]) -> tuple[str, bool]:
    """The first line that differs, empty if none does; whether one of the two was cut short."""
    (left, left_cut), (right, right_cut) = comparable(ours), comparable(judge)
    cut = left_cut or right_cut
    length = min(len(left), len(right)) if cut else max(len(left), len(right))
    for number in range(length):
        pair = [lines[number] if number < len(lines) else "nothing" for lines in (left, right)]
        (head, _, status), (same_head, _, judged) = (one.rpartition(" ") for one in pair)
        if pair[0] != pair[1] and (head != same_head or (status, judged) != BOTH):
            return f"line {number + 1}: {pair[0]!r}, wasmtime {pair[1]!r}", cut
    return "", cut


def compare_batch(program: Path, seeds: list[int], folder: Path) -> Tally:
    """Generate and run the modules of some seeds in every engine."""
    tally = Tally()
    paths = {seed: folder / f"{seed}.wasm" for seed in seeds}
    made = [seed for seed in seeds if generate(seed, paths[seed])]
    tally.not_counted += len(seeds) - len(made)
    files = [paths[seed] for seed in made]
    ours = {name: transcripts(program, column.options(files, folder), files) for name, column in ENGINES.items()}
    judge_engine = make_engine()
    for seed in made:
        judge = Run(judge_engine, paths[seed].read_bytes(), FUEL).lines
        found = {name: difference(told[paths[seed]], judge) for name, told in ours.items()}
        wrong = {name: text for name, (text, _) in found.items() if text}
        if wrong and any(told[paths[seed]][:1] == [UNSUPPORTED] for told in ours.values()):
            tally.not_counted += 1
            continue
        if wrong:
            FOLDER.mkdir(parents=True, exist_ok=True)
            shutil.copy(paths[seed], FOLDER / f"{seed}.wasm")
            tally.failures += [f"seed {seed}, {name}: {text}" for name, text in wrong.items()]
        elif judge[0].startswith("refused"):
            tally.not_counted += 1
            continue
        tally.compared += 1
        tally.compiled += any(COMPILED in told[paths[seed]] for told in ours.values())
        tally.cut_short += any(cut for _, cut in found.values())
        tally.calls += sum(line.startswith("call ") for line in judge)
        tally.traps.update(line.rpartition(" ")[2] for line in judge if " TRAP_" in line)
    return tally


def _work(arguments: tuple[Path, list[int]]) -> Tally:
    with tempfile.TemporaryDirectory(prefix="differential-") as folder:
        return compare_batch(*arguments, Path(folder))


def compare(count: int, seed: int, jobs: int = 2) -> Tally:
    """Modules of ``seed`` and the numbers after it, until ``count`` are compared. Raises BuildError."""
    if shutil.which(GENERATOR) is None:
        raise BuildError(MISSING)
    program = build(TOOLCHAINS["native"], "tools") / "tools" / "module_run"
    tally = Tally()
    with ProcessPoolExecutor(jobs) as pool:
        while tally.compared < count and len(tally.failures) < 20:
            wanted = count - tally.compared + (count - tally.compared) // 10 + 1
            for one in pool.map(_work, ((program, batch) for batch in _batches(seed, wanted))):
                tally.add(one)
            seed += wanted
    return tally


def _batches(seed: int, count: int) -> Iterator[list[int]]:
    for first in range(seed, seed + count, BATCH):
        yield list(range(first, min(first + BATCH, seed + count)))


def main(arguments: list[str]) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="differential", description="Compare engines on random modules.")
    parser.add_argument("--count", type=int, default=2000, help="modules that must be compared")
    parser.add_argument("--seed", type=int, default=1, help="of the first module")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args(arguments)
    try:
        tally = compare(options.count, options.seed, options.jobs)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"seed {options.seed}: {tally}")
    for failure in tally.failures:
        print(f"  {failure}")
    if tally.failures:
        print(f"the modules are in {FOLDER.relative_to(ROOT)}")
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
