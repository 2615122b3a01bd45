"""The spec runner itself: what it runs, what it leaves out, and that nothing can pass by accident."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.runtime_c.spec import Engine, Report, judge, main, run_script
from tests.runtime_c.spec_script import (
    Place,
    Rules,
    Script,
    SpecError,
    compile_script,
    format_numbers,
    imported_modules,
    load_rules,
    parse_numbers,
    read_archive,
)

EMPTY = b"\0asm\1\0\0\0"
# (module (import "M" "f" (func)) (import "spectest" "table64" (table 0 funcref)))
TYPES = bytes([1, 4, 1, 0x60, 0, 0])
IMPORTS = (
    bytes([2, 0x1B, 2, 1]) + b"M\1f\0\0" + bytes([8]) + b"spectest" + bytes([7]) + b"table64" + bytes([1, 0x70, 0, 0])
)
IMPORTER = EMPTY + TYPES + IMPORTS
# (module (func (export "seven") (result i32) (i32.const 7)) (func (export "trap") (unreachable)))
SEVEN = (
    EMPTY
    + bytes([1, 8, 2, 0x60, 0, 1, 0x7F, 0x60, 0, 0])
    + bytes([3, 3, 2, 0, 1])
    + bytes([7, 16, 2, 5])
    + b"seven\0\0\4trap\0\1"
    + bytes([10, 10, 2, 4, 0, 0x41, 7, 0x0B, 3, 0, 0, 0x0B])
)
NO_RULES = Rules(frozenset(), {}, {}, {}, {}, {}, {})


def rules(**changes: Any) -> Rules:
    fields = ("left_out", "needs", "never", "accept", "moves_nan")
    known: dict[str, Any] = {"pending": {"simd": "no simd"}, **{field: {} for field in fields}}
    return Rules(**({"digests": frozenset()} | known | changes))


def script(*commands: Mapping[str, Any], **modules: bytes) -> Script:
    numbered = tuple({"line": line, **command} for line, command in enumerate(commands, 1))
    return Script("suite/one", numbered, {f"one.{name[1:]}.wasm": data for name, data in modules.items()})


def invoke(field: str, *args: Mapping[str, str], module: str | None = None) -> dict[str, Any]:
    named = {} if module is None else {"module": module}
    return {"type": "invoke", "field": field, "args": list(args), **named}


def module(number: int, **more: str) -> dict[str, Any]:
    return {"type": "module", "filename": f"one.{number}.wasm", **more}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.build("native")


# ---- numbers, archives, rules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("numbers", [[3], [1, 2, 3], [1, 3, 4, 5, 9]])
def test_ranges_come_back(numbers: list[int]) -> None:
    assert parse_numbers(format_numbers(numbers)) == set(numbers)


def test_imports_are_found() -> None:
    assert imported_modules(IMPORTER) == {"M", "spectest"}
    assert imported_modules(EMPTY) == set()


def test_an_archive_without_scripts_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "empty.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "")
    with pytest.raises(SpecError, match=r"empty\.zip: no script"):
        list(read_archive(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[pending]\n[nevre]\n", "unknown key nevre"),
        ('[pending]\n[[never]]\nmodules = {a = "1"}\n', "needed: reason, and modules or lines"),
        ('[pending]\n[[never]]\nreason = "r"\n', "needed: reason, and modules or lines"),
        ('[pending]\n[[accept]]\ntext = "t"\nmodules = {a = "1"}\n', "needed: text, why"),
    ],
)
def test_wrong_rules_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(SpecError, match=message):
        load_rules(path)


def test_every_rule_has_a_reason() -> None:
    known = load_rules().for_minimal()
    assert all(len(reason) > 10 for reason in [*known.pending.values(), *known.never.values()])


# ---- skips ----------------------------------------------------------------------------------------------------------


def test_a_skip_takes_along_what_depends_on_it() -> None:
    needs = {Place("suite/one", "module", 0): frozenset({"simd"})}
    steps = compile_script(
        script(
            module(0, name="$A"),
            {"type": "assert_return", "action": invoke("f"), "expected": []},
            {"type": "register", "name": "$A", "as": "M"},
            module(1),
            {"type": "assert_return", "action": invoke("f"), "expected": []},
            module(2),
            {"type": "assert_return", "action": invoke("f"), "expected": []},
            {"type": "assert_return", "action": invoke("f", module="$A"), "expected": []},
            m0=EMPTY,
            m1=IMPORTER,
            m2=EMPTY,
        ),
        rules(needs=needs),
    )
    passed_on = "imports from a skipped module: no simd"
    assert [step.skip for step in steps] == ["no simd"] * 3 + [passed_on] * 2 + ["", "", "no simd"]


def test_lines_can_be_skipped_and_texts_accepted() -> None:
    refused = {"type": "assert_invalid", "filename": "one.0.wasm", "text": "unknown type"}
    accept = {Place("suite/one", "module", 0): ("type mismatch",)}
    never = {Place("suite/one", "line", 2): "because"}
    steps = compile_script(script(refused, refused, m0=EMPTY), rules(accept=accept, never=never))
    assert [step.text for step in steps] == ["0 invalid :unknown%20type|type%20mismatch :one.0.wasm", ""]
    assert steps[1].skip == "because"


def test_a_nan_that_is_only_moved_may_be_any() -> None:
    command = {
        "type": "assert_return",
        "action": invoke("nan"),
        "expected": [{"type": "f64", "value": "nan:canonical"}],
    }
    moves_nan = {Place("suite/one", "line", 2): "negates it"}
    steps = compile_script(script(command, command), rules(moves_nan=moves_nan))
    assert [step.text.split()[-2:] for step in steps] == [["0", "f64:nan"], ["0", "f64:anynan"]]


def test_unknown_commands_are_errors() -> None:
    with pytest.raises(SpecError, match=r"suite/one\.json: command 0: unknown type 'assert_magic'"):
        compile_script(script({"type": "assert_magic"}), NO_RULES)


# ---- lines ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ({"type": "i32", "value": "4294967295"}, "i32:4294967295"),
        ({"type": "f64", "value": "nan:canonical"}, "f64:nan"),
        ({"type": "f32", "value": "nan:arithmetic"}, "f32:nan"),
        ({"type": "externref", "value": "0"}, "ref:1"),
        ({"type": "externref"}, "ref:any"),
        ({"type": "refnull", "heap": "func", "value": "null"}, "ref:0"),
        ({"type": "v128", "lane_type": "f64", "value": ["1", "nan:canonical"]}, "f64:1,nan"),
        ({"type": "either", "values": [{"type": "i32", "value": "1"}, {"type": "i32", "value": "2"}]}, "i32:1|i32:2"),
    ],
)
def test_values(value: Mapping[str, Any], word: str) -> None:
    steps = compile_script(script({"type": "assert_return", "action": invoke("a b"), "expected": [value]}), NO_RULES)
    assert steps[0].text == f"0 return invoke - :a%20b 0 {word}"


# ---- running --------------------------------------------------------------------------------------------------------


def run(engine: Engine, *commands: Mapping[str, Any], **modules: bytes) -> Report:
    return run_script(engine, script(*commands, **modules), NO_RULES, "checked")


def test_what_is_right_passes(engine: Engine) -> None:
    report = run(
        engine,
        module(0),
        {"type": "assert_return", "action": invoke("seven"), "expected": [{"type": "i32", "value": "7"}]},
        {"type": "assert_trap", "action": invoke("trap"), "text": "unreachable"},
        {"type": "assert_malformed", "filename": "one.1.wasm", "text": "unknown binary version"},
        m0=SEVEN,
        m1=b"\0asm\2\0\0\0",
    )
    assert (report.passed, report.failures) == (4, ())


WRONG = [
    ({"type": "assert_return", "action": invoke("seven"), "expected": [{"type": "i32", "value": "8"}]}, "want i32:8"),
    ({"type": "assert_return", "action": invoke("seven"), "expected": []}, "got 1 results, want 0"),
    ({"type": "assert_return", "action": invoke("trap"), "expected": []}, "got TRAP_UNREACHABLE"),
    ({"type": "assert_return", "action": invoke("eight"), "expected": []}, "exports no such function"),
    ({"type": "assert_return", "action": invoke("seven", module="$M"), "expected": []}, "there is no instance"),
    ({"type": "assert_trap", "action": invoke("seven"), "text": "unreachable"}, "got class ok"),
    ({"type": "assert_trap", "action": invoke("trap"), "text": "integer overflow"}, "got text TRAP_UNREACHABLE"),
    ({"type": "assert_exhaustion", "action": invoke("trap"), "text": "call stack exhausted"}, "got text"),
    ({"type": "assert_malformed", "filename": "one.0.wasm", "text": "unexpected end"}, "got class ok"),
    ({"type": "assert_invalid", "filename": "one.1.wasm", "text": "unexpected end"}, "got class malformed"),
    ({"type": "assert_malformed", "filename": "one.1.wasm", "text": "unexpected end"}, "got text BAD_VERSION"),
    ({"type": "assert_unlinkable", "filename": "one.0.wasm", "text": "unknown import"}, "got class ok"),
    ({"type": "assert_unlinkable", "filename": "one.1.wasm", "text": "unknown import"}, "load: BAD_VERSION"),
    ({"type": "module", "filename": "one.1.wasm"}, "load: BAD_VERSION"),
    ({"type": "action", "action": invoke("trap"), "expected": []}, "got TRAP_UNREACHABLE"),
]


@pytest.mark.parametrize(("command", "text"), WRONG)
def test_what_is_wrong_fails(engine: Engine, command: Mapping[str, Any], text: str) -> None:
    report = run(engine, module(0), command, m0=SEVEN, m1=b"\0asm\2\0\0\0")
    assert report.passed == 1
    assert [failure.line for failure in report.failures] == [2]
    assert text in report.failures[0].text


def test_a_crash_belongs_to_its_command() -> None:
    steps = compile_script(script(module(0), module(0), module(0), module(0), m0=EMPTY), NO_RULES)
    report = judge(script(m0=EMPTY), steps, "guard", "0 pass\n1 fail why\n", "crashed: SIGSEGV")
    assert report.passed == 1
    assert [failure.text for failure in report.failures] == ["why", "crashed: SIGSEGV", "not reached"]


def test_silence_is_a_failure() -> None:
    steps = compile_script(script(module(0), m0=EMPTY), NO_RULES)
    report = judge(script(m0=EMPTY), steps, "guard", "end\n", "")
    assert [failure.text for failure in report.failures] == ["gave no answer"]
    assert report.skipped == Counter()


# ---- command line ---------------------------------------------------------------------------------------------------


def archive_of(path: Path, *commands: Mapping[str, Any], **modules: bytes) -> Path:
    one = script(*commands, **modules)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("one.json", json.dumps({"source_filename": "one.wast", "commands": list(one.commands)}))
        for name, data in one.modules.items():
            archive.writestr(name, data)
    return path


def test_another_archive_can_be_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = archive_of(tmp_path / "good.zip", module(0), m0=SEVEN)
    assert main([str(good), "--bounds", "checked", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["totals"] == {"commands": 1, "passed": 1, "failed": 0, "skipped": 0}
    assert told["files"][0]["script"] == "good/one"


def test_failures_set_the_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = archive_of(tmp_path / "bad.zip", module(0), m0=b"\0asm\2\0\0\0")
    assert main([str(bad), "--bounds", "checked"]) == 1
    out = capsys.readouterr().out
    assert "line 1, module: load: BAD_VERSION" in out
    assert out.endswith("1 runs, 0 passed, 1 failed, 0 skipped\n")


def test_what_cannot_be_run_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.zip")]) == 2
    assert "no such file" in capsys.readouterr().err
    good = archive_of(tmp_path / "good.zip", module(0), m0=SEVEN)
    assert main([str(good), "--only", "nothing*", "--json"]) == 2
    assert "no script matches" in capsys.readouterr().err
