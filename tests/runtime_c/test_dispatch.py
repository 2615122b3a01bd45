"""Every handler of the interpreter ends in a jump to the next one, in the machine code of each compiler.

A compiler that makes a call of it instead still gives right answers, but slower ones and with a growing stack.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.runtime_c.toolchain import HOST, TOOLCHAINS, Toolchain, build

COMPILERS = ("gcc", "zig", "aarch64", "zig-aarch64")
FUNCTION = re.compile(r"^[0-9a-f]+ <(?P<name>\w[\w.]*)>:\n(?P<code>(?:.+\n)*)", re.MULTILINE)
CALLS = {"x86_64": re.compile(r"\tcall\w*\s+(?:\*|QWORD)"), "aarch64": re.compile(r"\tblra?\w*\s")}
JUMPS = {"x86_64": re.compile(r"\tjmp\w*\s+(?:\*|QWORD)"), "aarch64": re.compile(r"\tbra?\w*\s+x\d")}
# Branches, calls between functions, loads and stores, integer and float arithmetic, and what is fused of them.
FREQUENT = re.compile(
    r"op_(?:(?:BR|BRN|LOOP)_.*|BR|RETURN1?K?|CALL(?:_INDIRECT)?|MOVE|SELECT|CONST\d\d[SH]?|GLOBAL_[GS]ET|.*_(?:TO|AND|OF)_.*_.*"
    r"|[IF](?:32|64)_(?:ADD|SUB|MUL|AND|OR|XOR|SHL|SHR_[SU]|ROT[LR]|EQ|NE|LT|GT|LE|GE).*"
    r"|[IF](?:32|64)_(?:LOAD|STORE)\w*_[XA]?[GC])$"
)
SAVES = {"x86_64": re.compile(r"\tpush|\tsub\w*\s+\$\w+,%rsp"), "aarch64": re.compile(r"\[sp, ?#-\d+\]!|\tsub\tsp, sp")}


def disassembler(target: str) -> str:
    """Path of the objdump that reads this target's objects; skips where there is none."""
    names = ("objdump", "llvm-objdump") if target == HOST else (f"{target}-linux-gnu-objdump", "llvm-objdump")
    found = next((path for path in map(shutil.which, names) if path is not None), None)
    if found is None:
        pytest.skip(f"no {names[0]}: sudo apt install binutils" + ("" if target == HOST else f"-{target}-linux-gnu"))
    return found


def handlers(toolchain: Toolchain) -> dict[str, str]:
    """Handler name -> disassembly."""
    objdump = disassembler(toolchain.target)
    if toolchain.name == "gcc" and shutil.which("gcc") is None:
        pytest.skip("no gcc: sudo apt install gcc")
    interp: Path = toolchain.folder / "obj" / "wasm" / "interp.o"
    build(toolchain, str(interp))
    command = [objdump, "-d", "--no-show-raw-insn", str(interp)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {match["name"]: match["code"] for match in FUNCTION.finditer(text) if match["name"].startswith("op_")}


@pytest.mark.parametrize("name", COMPILERS)
def test_handlers_end_in_a_jump(name: str) -> None:
    toolchain = TOOLCHAINS[name]
    if toolchain.target not in CALLS:
        pytest.skip(f"handlers are no functions on {toolchain.target}")
    found = handlers(toolchain)
    assert len(found) > 300
    assert [name for name, code in found.items() if CALLS[toolchain.target].search(code)] == []
    jumping = [name for name, code in found.items() if JUMPS[toolchain.target].search(code)]
    assert len(jumping) > 0.9 * len([name for name in found if ".cold" not in name])


@pytest.mark.parametrize("name", COMPILERS)
def test_frequent_handlers_save_no_registers(name: str) -> None:
    """What is seldom needed and would need registers, such as looking at the deadline, is a handler of its own."""
    toolchain = TOOLCHAINS[name]
    if toolchain.target not in CALLS:
        pytest.skip(f"handlers are no functions on {toolchain.target}")
    frequent = {name: code for name, code in handlers(toolchain).items() if FREQUENT.match(name)}
    assert len(frequent) > 600
    assert [name for name, code in frequent.items() if SAVES[toolchain.target].search(code)] == []


@pytest.mark.parametrize(
    ("target", "calling", "jumping"),
    [
        ("x86_64", "  1f:\tcall   *%rax\n", "  1f:\tjmp    *(%rdi)\n"),
        ("x86_64", "  1f:\tcallq\t*0x8(%rdi)\n", "  1f:\tjmpq\t*%rcx\n"),
        ("aarch64", "  10:\tblr\tx8\n", "  10:\tbr\tx8\n"),
    ],
)
def test_the_patterns_themselves(target: str, calling: str, jumping: str) -> None:
    assert CALLS[target].search(calling)
    assert not CALLS[target].search(jumping)
    assert JUMPS[target].search(jumping)
    assert not JUMPS[target].search(calling)
    assert not CALLS[target].search("  1f:\tcall   40 <wr_exec_check>\n  24:\tbl\t0 <wr_exec_check>\n")
