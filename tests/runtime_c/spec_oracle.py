"""Finds out which later features each module of the official suite needs and writes ``spec_features.toml``.

    python -m tests.runtime_c.spec_oracle ARCHIVE.zip…

The judge is an independent engine, wasmtime: a module needs a feature if its verdict on the module (accepted, or
refused with what text) changes when that feature alone is switched off. Run it when the suite changes and review the
difference.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import wasmtime
from wasmtime import _bindings

from tests.runtime_c.spec_script import (
    FEATURES_FILE,
    Place,
    Script,
    digest,
    format_numbers,
    module_number,
    read_archive,
)

RESTS_ON: dict[str, tuple[str, ...]] = {  # feature -> features it cannot be had without
    "simd": (),
    "relaxed_simd": ("simd",),
    "exceptions": (),
    "tail_call": (),
    "function_references": (),
    "memory64": (),
    "multi_memory": (),
    "threads": (),
    "gc": ("function_references",),
}
LOCAL_GLOBAL = "global.get of locally defined global"  # wasmtime counts it as gc, but it is of no use to objects
HEAD = """\
# Made by tests/runtime_c/spec_oracle.py; do not edit. Which modules of the official suite need which features beyond
# WebAssembly 2.0 without SIMD: [features joined by +], then SCRIPT = "module numbers" or "all".

[archives] # SHA-256 of what was judged
"""


def _engine(switched_on: set[str]) -> wasmtime.Engine:
    config = wasmtime.Config()
    for feature, bases in RESTS_ON.items():
        enabled = feature in switched_on and all(base in switched_on for base in bases)
        getattr(_bindings, f"wasmtime_config_wasm_{feature}_set")(config.ptr(), enabled)
    return wasmtime.Engine(config)


def _verdict(engine: wasmtime.Engine, module: bytes) -> str:
    try:
        wasmtime.Module.validate(engine, module)
    except wasmtime.WasmtimeError as error:
        return re.sub(r" \(at offset.*", "", str(error), flags=re.DOTALL)
    return ""


class Oracle:
    """Engines with everything, with nothing, and with everything but one feature."""

    def __init__(self) -> None:
        every = set(RESTS_ON)
        self._everything = _engine(every)
        self._nothing = _engine(set())
        self._without = {feature: _engine(every - {feature}) for feature in RESTS_ON}

    def needs(self, module: bytes) -> frozenset[str]:
        """Features beyond the base that the module needs; those another one brings along are not named."""
        full = _verdict(self._everything, module)
        if _verdict(self._nothing, module) == full:
            return frozenset()
        verdicts = {feature: _verdict(engine, module) for feature, engine in self._without.items()}
        needed = {feature for feature, verdict in verdicts.items() if verdict != full}
        brought = {base for feature in needed for base in RESTS_ON[feature]}
        if "gc" in needed and LOCAL_GLOBAL in verdicts["gc"]:
            needed = needed - {"gc"} | {"const_global"}
            if LOCAL_GLOBAL not in verdicts["function_references"]:
                brought -= {"function_references"}
        return frozenset(needed - brought)


def classify(script: Script, oracle: Oracle) -> dict[frozenset[str], str]:
    """Feature set -> which modules of the script need exactly it."""
    found: dict[frozenset[str], list[int]] = defaultdict(list)
    for filename, module in script.modules.items():
        found[oracle.needs(module)].append(module_number(filename))
    whole = len(found) == 1
    return {needs: "all" if whole else format_numbers(sorted(numbers)) for needs, numbers in found.items() if needs}


def needs_of(scripts: Iterable[Script], oracle: Oracle) -> dict[Place, frozenset[str]]:
    """Features that each module needs, as in ``Rules``."""
    return {
        Place(script.name, "module", module_number(filename)): oracle.needs(module)
        for script in scripts
        for filename, module in script.modules.items()
    }


def main(archives: list[Path]) -> None:
    """Write the file for the given archives."""
    oracle = Oracle()
    table: dict[str, list[str]] = defaultdict(list)
    for archive in archives:
        for script in read_archive(archive):
            for needs, numbers in classify(script, oracle).items():
                table["+".join(sorted(needs))].append(f'"{script.name}" = "{numbers}"\n')
    parts = [f'\n["{features}"]\n{"".join(lines)}' for features, lines in sorted(table.items())]
    head = HEAD + "".join(f'"{archive.name}" = "{digest(archive)}"\n' for archive in archives)
    FEATURES_FILE.write_text(head + "".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
