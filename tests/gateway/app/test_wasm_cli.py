"""``penstock wasm``: exit status, results, traps, messages."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.app.cli import main
from gateway.config.manifest import SECTION
from gateway.store.container import custom_section
from tests.gateway.modules import ENDLESS, TRAP, Code, library
from tests.runtime_c.toolchain import TOOLCHAINS, build

FAILED, MISUSED, INTERRUPTED, TRAPPED = 1, 2, 130, 134
GET, I32, CALL, DROP = b"\x20", b"\x41", b"\x10", b"\x1a"
DIVIDE = GET + b"\0" + GET + b"\1\x6d"
LOAD = GET + b"\0\x28\2\0"  # i32.load
GROW = GET + b"\0\x40\0"
FACTORIAL_LIKE = GET + b"\0\x04\x40" + GET + b"\0" + I32 + b"\1\x6b" + CALL + b"\0" + DROP + b"\x0b" + GET + b"\0"
WASI = "wasi_snapshot_preview1"

Run = Callable[..., tuple[object, str, str]]
Make = Callable[..., str]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs ``penstock wasm`` with these words: exit status, standard output, standard error."""

    def penstock_wasm(*words: str) -> tuple[object, str, str]:
        try:
            status: object = main(["wasm", *words])
        except SystemExit as ended:  # argparse found wrong usage
            status = ended.code
        return (status, *capfd.readouterr())

    return penstock_wasm


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Writes a module to the working folder."""
    monkeypatch.chdir(tmp_path)

    def write(raw: bytes, name: str = "it.wasm") -> str:
        (tmp_path / name).write_bytes(raw)
        return name

    return write


@pytest.fixture(scope="module")
def programs() -> Path:
    """The compiled programs of runtime_c/tests/programs."""
    return build(TOOLCHAINS["native"], "plugins") / "plugins" / "wasi"


def process(*words: str) -> subprocess.Popen[str]:
    """``penstock wasm`` as a process of its own."""
    command = [sys.executable, "-m", "gateway.app.cli", "wasm", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# ---- run: results ----


def test_a_result_per_line(run: Run, make: Make) -> None:
    pair = make(library(Code("swap", "il", "li", GET + b"\1" + GET + b"\0")))
    assert run("run", pair, "--invoke", "swap", "-5", "0x10") == (0, "16\n-5\n", "")
    assert run("run", pair, "--fuel", "9", "--invoke", "swap", "-5", "0x10") == (0, "16\n-5\n", "")
    assert run("run", "--invoke", "swap", "-5", "0x10", "--fuel", "9", pair) == (0, "16\n-5\n", "")


@pytest.mark.parametrize(
    ("letter", "text", "shown"),
    [
        ("i", "-0x1", "-1"), ("l", "0xffffffffffffffff", "-1"), ("f", "0.1", "0.1"), ("f", "-inf", "-inf"),
        ("d", "-nan", "-nan"), ("d", "0x1p-1", "0.5"),
        ("v", "0x" + "0123456789abcdef" * 2, "0x" + "0123456789abcdef" * 2),
        ("r", "null", "null"), ("x", "null", "null"),
    ],
)  # fmt: skip
def test_values_of_every_type_go_through(run: Run, make: Make, letter: str, text: str, shown: str) -> None:
    same = make(library(Code("same", letter * 2, letter, GET + b"\1")))
    zero = "null" if letter in "rx" else "0x0" if letter == "v" else "0"
    assert run("run", same, "--invoke", "same", zero, text) == (0, f"{shown}\n", "")


def test_without_a_function_it_shows_the_exports(run: Run, make: Make) -> None:
    it = make(library(Code("f", "id", "", b""), imports=[("env", "g", "", "l")], memory=b"\1\2\3"))
    assert run("run", it) == (0, "exports:\n  f: func (i32, f64)\n  memory: memory 2..3 pages\n", "")


def test_time_is_json(run: Run, make: Make) -> None:
    it = make(library(Code("twice", "i", "i", GET + b"\0" + I32 + b"\2\x6c")))
    status, out, err = run("run", it, "--invoke", "twice", "21", "--time", "5", "--fuel", "3")
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert (found["function"], found["results"], found["calls"]) == ("twice", ["42"], 5)
    assert found["median_ns"] >= found["min_ns"] > 0


# ---- run: traps ----


def test_a_trap_has_its_name_and_a_trace(run: Run, make: Make) -> None:
    inner = Code("", "ii", "i", DIVIDE, "div")
    outer = Code("share", "i", "i", I32 + b"\7" + GET + b"\0" + CALL + b"\0", "")
    raw = library(inner, outer)
    at = [raw.index(DIVIDE) + len(DIVIDE) - 1, raw.index(CALL + b"\0\x0b")]
    trace = f"trap: integer divide by zero\n  0: div (function 0) @{at[0]:#x}\n  1: share (function 1) @{at[1]:#x}\n"
    assert run("run", make(raw), "--invoke", "share", "0") == (TRAPPED, "", trace)
    assert run("run", make(raw), "--invoke", "share", "2") == (0, "3\n", "")


def test_a_function_without_a_name(run: Run, make: Make) -> None:
    raw = library(Code("", "", "", TRAP), Code("f", "", "", CALL + b"\0"))
    status, _, err = run("run", make(raw), "--invoke", "f")
    assert status == TRAPPED
    assert err.splitlines()[:2] == ["trap: unreachable", f"  0: function 0 @{raw.index(TRAP + bytes([11])):#x}"]


def test_a_long_trace_is_cut(run: Run, make: Make) -> None:
    deep = make(library(Code("deep", "i", "i", FACTORIAL_LIKE)))
    assert run("run", deep, "--invoke", "deep", "1000") == (0, "1000\n", "")
    status, _, err = run("run", deep, "--invoke", "deep", "1000", "--stack-max", "4096")
    assert (status, err.splitlines()[0]) == (TRAPPED, "trap: call stack exhausted")
    more = int(err.splitlines()[-1].split()[1])
    assert len(err.splitlines()) == 1 + 16 + 1
    assert 16 < more < 1000


@pytest.mark.parametrize(("option", "told"), [("--fuel", "fuel exhausted"), ("--deadline", "deadline exceeded")])
def test_limits_end_an_endless_loop(run: Run, make: Make, option: str, told: str) -> None:
    status, out, err = run("run", make(library(Code("f", "", "", ENDLESS))), "--invoke", "f", option, "20")
    assert (status, out, err.splitlines()[0]) == (TRAPPED, "", f"trap: {told}")


def test_limits_hold_for_the_start_of_a_program(run: Run, programs: Path) -> None:
    status, _, err = run("run", str(programs / "sleeper.wasm"), "--wasi", "--deadline", "20")
    assert (status, err.splitlines()[0]) == (TRAPPED, "trap: deadline exceeded")


@pytest.mark.parametrize("bounds", ["guard", "checked"])
def test_both_kinds_of_bounds(run: Run, make: Make, bounds: str) -> None:
    it = make(library(Code("load", "i", "i", LOAD), memory=b"\1\1\1"))
    assert run("run", it, "--invoke", "load", "65532", "--bounds", bounds) == (0, "0\n", "")
    status, _, err = run("run", it, "--invoke", "load", "65533", "--bounds", bounds)
    assert (status, err.splitlines()[0]) == (TRAPPED, "trap: out of bounds memory access")


def test_memory_is_limited(run: Run, make: Make) -> None:
    it = make(library(Code("grow", "i", "i", GROW), memory=b"\0\1"))
    assert run("run", it, "--invoke", "grow", "1", "--memory-max", "131072") == (0, "1\n", "")
    assert run("run", it, "--invoke", "grow", "2", "--memory-max", "131072") == (0, "-1\n", "")
    status, _, err = run("run", it, "--invoke", "grow", "0", "--memory-max", "65535")
    assert (status, err) == (
        FAILED, "penstock: it.wasm: memory larger than the limit: memory 0 needs 1 pages [LIMIT_MEMORY_BYTES]\n"
    )  # fmt: skip


# ---- run: WASI ----


def test_a_program_gets_arguments_and_environment(run: Run, programs: Path) -> None:
    hello = str(programs / "hello.wasm")
    words = ("--wasi", "--env", "NAME=you", "--env", "EMPTY=", "--", "--wasi", "-1")
    expected = "hello you, pi is 3.1416\n0: hello.wasm\n1: --wasi\n2: -1\n"
    assert run("run", hello, *words) == (0, expected, "done\n")


@pytest.mark.parametrize(("how", "status"), [("0", 0), ("7", 7), ("-1", 255), ("trap", TRAPPED), ("abort", TRAPPED)])
def test_the_exit_status_is_the_programs(run: Run, programs: Path, how: str, status: int) -> None:
    assert run("run", str(programs / "ends.wasm"), "--wasi", "--", how)[0] == status


def test_wasi_is_not_there_unasked(run: Run, programs: Path) -> None:
    status, out, err = run("run", str(programs / "sleeper.wasm"))
    assert (status, out) == (FAILED, "")
    assert f"unknown import: {WASI}." in err
    assert err.endswith("--wasi offers them [UNKNOWN_IMPORT]\n")


def test_an_unknown_import_is_named_with_its_type(run: Run, make: Make) -> None:
    it = make(library(Code("f", "", "", b""), imports=[("env", "g", "if", "l"), (WASI, "fd_paint", "i", "i")]))
    expected = f"penstock: it.wasm: unknown import: env.g: func (i32, f32) -> i64; {WASI}.fd_paint: func (i32) -> i32"
    assert run("run", it, "--invoke", "f", "--wasi") == (FAILED, "", f"{expected} [UNKNOWN_IMPORT]\n")


def test_a_library_is_initialised_first(run: Run, make: Make) -> None:
    initialize = Code("_initialize", "", "", I32 + b"\x2a\x24\0")  # global 0 = 42
    it = make(library(initialize, Code("get", "", "i", b"\x23\0"), globals_=b"\x7f\1\x41\0\x0b"))
    assert run("run", it, "--invoke", "get", "--wasi") == (0, "42\n", "")
    assert run("run", it, "--invoke", "get") == (0, "0\n", "")


def test_seeded_chance_repeats(run: Run, make: Make) -> None:
    body = I32 + b"\0" + I32 + b"\4" + CALL + b"\0" + DROP + I32 + b"\0\x28\2\0"
    it = make(library(Code("f", "", "i", body), imports=[(WASI, "random_get", "ii", "i")], memory=b"\0\1"))
    words = ("run", it, "--wasi", "--invoke", "f")
    assert run(*words, "--seed", "7") == run(*words, "--seed", "7")
    assert run(*words, "--seed", "7") != run(*words, "--seed", "8")
    assert len({run(*words)[1] for _ in range(3)}) > 1


def test_ctrl_c_is_a_trap(programs: Path) -> None:
    with process("run", str(programs / "endless.wasm"), "--wasi") as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.send_signal(signal.SIGINT)
        out, err = running.communicate()
    assert (running.returncode, out) == (INTERRUPTED, "")
    assert err.startswith("trap: interrupted by the host\n  0: ")


def test_a_reader_that_goes_away_ends_a_talking_program(programs: Path) -> None:
    with process("run", str(programs / "endless.wasm"), "--wasi", "--", "on") as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline() == "ready\n"
        running.stdout.close()
        assert running.stderr.read() == ""
    assert running.returncode == FAILED


# ---- run: mistakes ----


@pytest.fixture
def adder(make: Make) -> str:
    return make(library(Code("add", "ii", "i", GET + b"\0" + GET + b"\1\x6a"), memory=b"\0\1"), "add.wasm")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nope.wasm"], "nope.wasm: No such file or directory"),
        (["."], ".: Is a directory"),
        (["add.wasm", "--invoke", "ad"], "add.wasm: no function is exported as 'ad'; did you mean \"add\"?"),
        (["add.wasm", "--invoke", "memory"], "add.wasm: 'memory' is no function: memory 1.. pages"),
        (["add.wasm", "--invoke", "add", "1"], "add (i32, i32) -> i32: found 1 arguments, allowed: 2"),
        (["add.wasm", "--invoke", "add", "1", "2", "3"], "add (i32, i32) -> i32: found 3 arguments, allowed: 2"),
        (
            ["add.wasm", "--invoke", "add", "1", "2.5"],
            "add (i32, i32) -> i32: argument 2: found '2.5', allowed: i32, decimal or 0x…,"
            " from -2147483648 to 4294967295",
        ),
        *(
            (["add.wasm", *words], "--env, --seed and program arguments are for WASI: allowed with --wasi")
            for words in (["--env", "A=b"], ["--seed", "0"], ["--", "x"])
        ),
        (["add.wasm", "--time", "3"], "--time needs --invoke: a program runs once"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("adder")
def test_mistakes_are_told(run: Run, words: list[str], told: str) -> None:
    assert run("run", *words) == (MISUSED, "", f"penstock: {told}\n")


@pytest.mark.parametrize(
    "words",
    [
        [], ["jump"], ["run"], ["run", "add.wasm", "--invoke"], ["run", "add.wasm", "--invoke", "--fuel", "1"],
        ["run", "add.wasm", "--invoke=add"], ["run", "add.wasm", "--invoke", "add", "--invoke", "add"],
        ["run", "add.wasm", "--inv", "add"], ["run", "add.wasm", "--fuel", "0"], ["run", "add.wasm", "--fuel", "x"],
        ["run", "add.wasm", "--deadline", "-1"], ["run", "add.wasm", "--bounds", "none"],
        ["run", "add.wasm", "--env", "x"], ["run", "add.wasm", "other.wasm"], ["validate"], ["inspect"],
        ["inspect", "add.wasm", "--top", "0"], ["validate", "add.wasm", "--invoke", "f"],
    ],
)  # fmt: skip
@pytest.mark.usefixtures("adder")
def test_wrong_usage(run: Run, words: list[str]) -> None:
    status, out, err = run(*words)
    assert (status, out) == (MISUSED, "")
    assert "penstock wasm" in err.splitlines()[0]


def test_what_is_no_module(run: Run, make: Make) -> None:
    status, _, err = run("run", make(b"(module)", "it.wat"))
    assert (status, err.startswith("penstock: it.wat: no WebAssembly module: found b'(mod', allowed:")) == (
        MISUSED,
        True,
    )
    assert "wat2wasm" in err
    status, _, err = run("run", make(library(Code("f", "", "i", b""))))
    assert (status, err.startswith("penstock: it.wasm: type mismatch: ")) == (FAILED, True)


def test_a_stack_that_is_too_small(run: Run, adder: str) -> None:
    status, _, err = run("run", adder, "--invoke", "add", "1", "2", "--stack-max", "100")
    assert (status, err) == (FAILED, "penstock: a stack of 100 bytes: wrong argument [BAD_ARGUMENT]\n")


# ---- validate ----


def test_validate_judges_every_file(run: Run, make: Make, adder: str) -> None:
    wrong = make(library(Code("f", "", "i", b"")), "wrong.wasm")
    status, out, err = run("validate", adder, wrong, "nope", make(b"text", "text"))
    lines = out.splitlines()
    assert (status, err, len(lines)) == (FAILED, "", 4)
    assert lines[0] == "add.wasm: valid"
    assert lines[1].startswith("wrong.wasm: type mismatch: expected i32, found nothing at offset 0x")
    assert lines[2:] == ["nope: No such file or directory", "text: magic header not detected: at offset 0x0"]
    assert run("validate", adder, adder) == (0, "add.wasm: valid\n" * 2, "")


def test_validate_as_json(run: Run, make: Make, adder: str) -> None:
    status, out, _ = run("validate", "--json", adder, make(b"\0asm", "short"), "nope")
    found = [json.loads(line) for line in out.splitlines()]
    assert status == FAILED
    assert [(one["file"], one["valid"], one["status"]) for one in found] == [
        ("add.wasm", True, "OK"), ("short", False, "UNEXPECTED_END"), ("nope", False, "UNREADABLE"),
    ]  # fmt: skip


# ---- inspect ----

INSPECTED = library(
    Code("f", "", "i", I32 + b"\1"),
    Code("", "id", "", b"\1" * 300, "padding"),
    Code("", "", "", b""),
    imports=[("env", "g", "if", "l")],
    memory=b"\1\2\3",
    globals_=b"\x7e\1\x42\0\x0b",
) + custom_section(SECTION, b'name = "it"\nabi = 1\n')


def test_inspect_as_json(run: Run, make: Make) -> None:
    status, out, _ = run("inspect", make(INSPECTED), "--json")
    found = json.loads(out)
    assert (status, found["file"], found["bytes"]) == (0, "it.wasm", len(INSPECTED))
    names = ["type", "import", "function", "memory", "global", "export", "code", "custom", "custom"]
    assert [one["name"] for one in found["sections"]] == names
    assert [one["custom"] for one in found["sections"][-2:]] == ["name", SECTION]
    last = found["sections"][-1]
    assert last["offset"] + last["bytes"] == len(INSPECTED)
    assert found["imports"] == [
        {"kind": "func", "index": 0, "type": "(i32, f32) -> i64", "name": "g", "module": "env"}
    ]  # fmt: skip
    assert [(one["name"], one["type"]) for one in found["exports"]] == [("f", "() -> i32"), ("memory", "2..3 pages")]
    assert [one["type"] for one in found["memories"]] == ["2..3 pages"]
    assert found["functions"] == [
        {"index": 2, "name": "padding", "type": "(i32, f64)", "bytes": 302},
        {"index": 1, "name": "f", "type": "() -> i32", "bytes": 4},
        {"index": 3, "name": "", "type": "()", "bytes": 2},
    ]
    assert found["manifest"] == 'name = "it"\nabi = 1\n'


def test_inspect_as_text(run: Run, make: Make) -> None:
    status, out, _ = run("inspect", make(INSPECTED), "--top", "2")
    lines = out.splitlines()
    assert status == 0
    assert lines[0].startswith(f"it.wasm: {len(INSPECTED)} bytes, ")
    at = lines.index("functions: 3 with 308 bytes of code, the largest")
    assert lines[at + 1 :] == [
        "       302 padding (i32, f64) (function 2)",
        "         4 f () -> i32 (function 1)",
        SECTION,
        '  name = "it"',
        "  abi = 1",
    ]
    assert "  env.g: func (i32, f32) -> i64" in lines


def test_inspect_of_next_to_nothing(run: Run, make: Make) -> None:
    status, out, _ = run("inspect", make(b"\0asm\1\0\0\0", "empty.wasm"))
    assert (status, out.splitlines()[1:]) == (0, [])


def test_inspect_of_what_is_no_module(run: Run, make: Make) -> None:
    assert run("inspect", make(b"text"))[0] == MISUSED
    assert run("inspect", make(b"\0asm\2\0\0\0"))[0] == FAILED
