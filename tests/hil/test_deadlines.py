"""Calls end in time: within twice their deadline or 200 µs, whatever they do, on a processor of 500 MIPS.

Its time is counted in instructions, so it is the engine's own, the kernel's included, and the same in each run; how
late calls are on a machine that others use, too, ``make bench ONLY=engine`` tells.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import deadlines
from gateway.app.aot_build import compile_file
from tests.hil import counted, image
from tests.hil.report import Report
from tests.runtime_c.toolchain import TOOLCHAINS, build

ROUNDS = 100
DEADLINES_US = (100, 200, 1000)


@pytest.fixture(scope="module")
def place(folder: Path, built: image.Built) -> Path:
    out = folder / "deadlines"
    out.mkdir()
    counted.kernel(built.slot, out / "kernel")
    return out


@pytest.mark.parametrize("target", counted.LOADERS)
@pytest.mark.parametrize("engine", deadlines.ENGINES)
def test_calls_end_in_time(engine: str, target: str, place: Path, report: Report) -> None:
    toolchain, module = TOOLCHAINS[f"{target}-shared"], deadlines.build()
    files = {"init": build(toolchain, "tools") / "tools" / "bench_deadlines", "module.wasm": module}
    options = []
    if engine == "aot":
        files["module.so"] = place / "module.so"
        compile_file(module, files["module.so"], target, "", None, keep_c=False)
        options = ["--aot", "/module.so"]
    arguments = ["/module.wasm", *options, str(ROUNDS), *map(str, DEADLINES_US)]
    text = counted.run(place, place / "kernel", files, arguments, target, Path(toolchain.library))
    rows = deadlines.rows(text)
    assert len(rows) == len(DEADLINES_US) * (len(deadlines.WAYS) + len(deadlines.CONTROLS))
    most = {
        deadline_us: max(row["most_us"] for row in rows if row["deadline_us"] == deadline_us)
        for deadline_us in DEADLINES_US
    }
    report.add("deadlines", **{f"{target}_{engine}_most_us": {f"of {deadline}": us for deadline, us in most.items()}})
    assert [row for row in rows if row["calls"] != ROUNDS or row["late"] != 0] == []
