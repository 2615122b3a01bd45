"""Runs the official WebAssembly test suite against the engine.

    python -m tests.runtime_c.spec [ARCHIVE.zip…] [--bounds guard|checked|both]
                                   [--target native|minimal|aarch64|armv7|riscv64] [--only GLOB] [--aot] [--json]
                                   [--jobs N]

Without archives: ``core-3.0.zip`` and ``threads.zip`` from the folder in PENSTOCK_WASM_SPEC, or from
``../shared/wasm-spec`` beside the project. Every command counts: passed, failed, or skipped with a reason from
``spec_rules.toml``. The exit status is 1 if any failed. With --aot modules run compiled; what is only interpreted is
counted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gateway import wasm
from gateway.app import aot_build
from gateway.app.aot_build import Compiler, find_compiler
from gateway.errors import UsageError, WasmError
from tests.runtime_c.spec_script import (
    Rules,
    Script,
    SpecError,
    Step,
    compile_script,
    load_rules,
    read_archive,
    write_script,
)
from tests.runtime_c.toolchain import ROOT, TOOLCHAINS, BuildError, build

SUITE = Path(os.environ.get("PENSTOCK_WASM_SPEC", ROOT.parent / "shared" / "wasm-spec"))
ARCHIVES = ("core-3.0.zip", "threads.zip")
BOUNDS = {"guard": ("guard",), "checked": ("checked",), "both": ("guard", "checked")}
TARGETS = ("native", "minimal", "aarch64", "armv7", "riscv64")
RUNNING = ("module", "definition", "uninstantiable", "unlinkable")
SCRIPT_SECONDS_MAX = 300  # per script and process; emulators are slow


@dataclass(frozen=True, slots=True)
class Failure:
    """A command that did not do what the suite wants: its line in the source and what happened."""

    line: int
    verb: str
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """Result of one script: counts of commands, the failures, and skip reasons with their counts."""

    script: str
    bounds: str
    passed: int
    failures: tuple[Failure, ...]
    skipped: Counter[str]
    interpreted: int = 0  # modules that --aot could not compile

    @property
    def commands(self) -> int:
        """All commands of the script."""
        return self.passed + len(self.failures) + self.skipped.total()


@dataclass(frozen=True, slots=True)
class Engine:
    """``spec_run`` as built for a target, with what runs it."""

    command: tuple[str, ...]
    minimal: bool = False
    compiler: Compiler | None = None  # --aot

    @classmethod
    def build(cls, target: str, aot: bool = False) -> Engine:
        """Build the tool; ``BuildError`` if it cannot be built or run here."""
        toolchain = TOOLCHAINS[f"{target}-shared" if aot and target != "native" else target]
        runner = toolchain.runner()
        tool = build(toolchain, "tools") / "tools" / "spec_run"
        return cls((*runner, str(tool)), target == "minimal", find_compiler(toolchain.target) if aot else None)

    def compile(self, modules: Iterable[bytes], folder: Path, bounds: str) -> list[str]:
        """Compile modules into one artefact, as well as they can be; returns the options to run with it."""
        if self.compiler is None:
            return []
        texts = []
        with wasm.Engine() as engine:
            for module in dict.fromkeys(modules):
                with contextlib.suppress(WasmError):
                    texts.append(wasm.emit_c(engine, "module", module))
        out = folder / "modules.so"
        if texts:
            aot_build.build(self.compiler, texts, out, checked=bounds == "checked", optimise="-O1")
        return ["--aot", str(out)]

    def run(self, path: Path, bounds: str, options: Iterable[str] = ()) -> tuple[str, str]:
        """Run a script; returns its output and how it ended, empty for well."""
        command = [*self.command, str(path), "--bounds", bounds, *options]
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=SCRIPT_SECONDS_MAX)
        except subprocess.TimeoutExpired as late:
            return (late.stdout or b"").decode(errors="replace"), f"still running after {SCRIPT_SECONDS_MAX} s"
        output = done.stdout.decode(errors="replace")
        if done.returncode < 0:
            return output, f"crashed: {signal.Signals(-done.returncode).name}"
        if done.returncode > 0 or not output.endswith("end\n"):
            return output, f"ended with status {done.returncode}: {done.stderr.decode(errors='replace').strip()}"
        return output, ""


def _outcomes(output: str) -> dict[int, str]:
    """Command number -> failure text, empty if it passed."""
    outcomes = {}
    for line in output.splitlines():
        number, _, rest = line.partition(" ")
        if number.isdigit() and rest.startswith(("pass", "fail ")):
            outcomes[int(number)] = rest[5:]
    return outcomes


def judge(script: Script, steps: list[Step], bounds: str, output: str, ending: str) -> Report:
    """Compare what was run with what was said: a command without an answer has failed."""
    outcomes = _outcomes(output)
    failures = []
    for step in steps:
        if step.skip:
            continue
        if step.index not in outcomes:
            failures.append(Failure(step.line, step.verb, ending or "gave no answer"))
            ending = "not reached"
        elif outcomes[step.index]:
            failures.append(Failure(step.line, step.verb, outcomes[step.index]))
    skipped = Counter(step.skip for step in steps if step.skip)
    passed = len(steps) - len(failures) - skipped.total()
    return Report(script.name, bounds, passed, tuple(failures), skipped, _interpreted(output))


def _interpreted(output: str) -> int:
    words = next((line.split() for line in output.splitlines() if line.startswith("compiled ")), None)
    return int(words[3]) - int(words[1]) if words else 0


def run_script(engine: Engine, script: Script, rules: Rules, bounds: str) -> Report:
    """Run one script in a process of its own."""
    steps = compile_script(script, rules)
    with tempfile.TemporaryDirectory(prefix="spec-") as folder:
        path = write_script(script, steps, Path(folder))
        files = sorted({script.commands[step.index].get("filename", "") for step in steps if step.verb in RUNNING})
        modules = [script.modules[file] for file in files if file in script.modules]
        options = engine.compile(modules, Path(folder), bounds)
        output, ending = engine.run(path, bounds, options)
    return judge(script, steps, bounds, output, ending)


def rules_for(archive: Path) -> Rules:
    """The reviewed rules where they are about this very archive; else what the oracle says about it now."""
    rules = load_rules()
    if rules.knows(archive):
        return rules
    from tests.runtime_c.spec_oracle import Oracle, needs_of  # wasmtime is loaded only for foreign archives

    return rules.about(needs_of(read_archive(archive), Oracle()))


def run_archive(engine: Engine, archive: Path, bounds: Iterable[str], only: str, jobs: int) -> Iterator[Report]:
    """Reports by script, then bounds mode, in order."""
    rules = rules_for(archive).for_minimal() if engine.minimal else rules_for(archive)
    work = [(script, mode) for script in read_archive(archive, only) for mode in bounds]
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda item: run_script(engine, item[0], rules, item[1]), work)


# ---- command line ---------------------------------------------------------------------------------------------------


def _line(report: Report) -> str:
    counts = f"{report.commands:6} {report.passed:6} {len(report.failures):6} {report.skipped.total():6}"
    counts += f"  {report.interpreted} interpreted" if report.interpreted else ""
    return f"{report.script:<42} {report.bounds:<8}{counts}"


def _print_report(report: Report) -> None:
    print(_line(report), flush=True)
    for failure in report.failures[:20]:
        print(f"    line {failure.line}, {failure.verb}: {failure.text}")
    if len(report.failures) > 20:
        print(f"    … and {len(report.failures) - 20} more")


def _print_totals(reports: list[Report]) -> None:
    skipped: Counter[str] = sum((report.skipped for report in reports), Counter())
    passed, failed = sum(report.passed for report in reports), sum(len(report.failures) for report in reports)
    for reason, count in skipped.most_common():
        print(f"{count:7} skipped: {reason}")
    print(f"{len(reports)} runs, {passed} passed, {failed} failed, {skipped.total()} skipped")
    if interpreted := sum(report.interpreted for report in reports):
        print(f"{interpreted} modules were interpreted: they cannot be compiled")


def _as_json(report: Report) -> dict[str, object]:
    failures = [{"line": one.line, "command": one.verb, "text": one.text} for one in report.failures]
    return {
        "script": report.script,
        "bounds": report.bounds,
        "commands": report.commands,
        "passed": report.passed,
        "failed": len(failures),
        "skipped": report.skipped.total(),
        "failures": failures,
        "reasons": dict(report.skipped),
    }


def _print_json(reports: list[Report]) -> None:
    files = [_as_json(report) for report in reports]
    totals = {
        "commands": sum(report.commands for report in reports),
        "passed": sum(report.passed for report in reports),
        "failed": sum(len(report.failures) for report in reports),
        "skipped": sum(report.skipped.total() for report in reports),
    }
    print(json.dumps({"files": files, "totals": totals}))


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line as told at the top of this file."""
    parser = argparse.ArgumentParser(prog="spec", description="Run the official WebAssembly test suite.")
    parser.add_argument("archives", nargs="*", type=Path, metavar="ARCHIVE.zip", help="default: the suite's two")
    parser.add_argument("--spec", action="append", default=[], type=Path, metavar="FILE.zip", help="one more archive")
    parser.add_argument("--bounds", choices=sorted(BOUNDS), default=None, help="how memory is guarded; default: both")
    parser.add_argument("--target", choices=TARGETS, default="native", help="foreign ones run in an emulator")
    parser.add_argument("--only", default="*", metavar="GLOB", help="scripts to run, such as 'br*' or 'threads/*'")
    parser.add_argument("--aot", action="store_true", help="compile the modules ahead of time")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    parser.add_argument("--jobs", type=int, default=2, help="scripts at a time")
    return parser.parse_args(arguments)


def bounds_of(choice: str | None, target: str) -> tuple[str, ...]:
    """Bounds modes to run; a 32-bit address space has no room for guards."""
    return BOUNDS[choice or ("checked" if target == "armv7" else "both")]


def main(arguments: list[str]) -> int:
    """Returns the exit status."""
    options = parse_arguments(arguments)
    bounds = bounds_of(options.bounds, options.target)
    archives = [*options.archives, *options.spec] or [SUITE / name for name in ARCHIVES]
    if lost := [str(path) for path in archives if not path.is_file()]:
        print(f"no such file: {', '.join(lost)}; PENSTOCK_WASM_SPEC names the suite's folder", file=sys.stderr)
        return 2
    reports = []
    try:
        engine = Engine.build(options.target, options.aot)
        if not options.json:
            print(f"{'script':<42} {'bounds':<7}commands passed failed skipped")
        for archive in archives:
            for report in run_archive(engine, archive, bounds, options.only, options.jobs):
                reports.append(report)
                if not options.json:
                    _print_report(report)
    except (BuildError, SpecError, UsageError) as error:
        print(error, file=sys.stderr)
        return 2
    if not reports:
        print(f"no script matches {options.only!r}", file=sys.stderr)
        return 2
    (_print_json if options.json else _print_totals)(reports)
    return 1 if any(report.failures for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
