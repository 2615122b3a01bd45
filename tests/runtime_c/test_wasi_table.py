"""The table of WASI functions agrees with wasi-libc, the C library of WASI programs (here from the ziglang wheel)."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from tests.runtime_c.toolchain import RUNTIME

ZIG = importlib.util.find_spec("ziglang")
assert ZIG is not None
assert ZIG.origin is not None
LIBC = Path(ZIG.origin).parent / "lib" / "libc"
LETTERS = {"int32_t": "i", "int64_t": "l"}
WITHOUT_WRAPPER = {"proc_raise"}  # preview 1 has it, wasi-libc does not import it
OURS = (RUNTIME / "wasi" / "wasi.h").read_text("utf-8")


def libc_functions() -> dict[str, str]:
    """Parameters of each function as wasi-libc declares its import."""
    text = (LIBC / "wasi/libc-bottom-half/sources/__wasilibc_real.c").read_text("utf-8")
    pattern = r"(int32_t|_Noreturn void) __imported_wasi_snapshot_preview1_(\w+)\(([^)]*)\) __attribute__"
    return {
        name: "".join(LETTERS[word.split()[0]] for word in parameters.split(",") if word.strip() not in ("", "void"))
        for _, name, parameters in re.findall(pattern, text)
    }


def test_functions_and_their_types() -> None:
    table = OURS.split("#define WR_WASI_TABLE(X)")[1].split("\n\n")[0]
    ours = dict(re.findall(r'X\((\w+), "(\w*)", \w+\)', table))
    assert len(ours) == 46
    assert {name: ours[name] for name in ours if name not in WITHOUT_WRAPPER} == libc_functions()


def test_errors() -> None:
    headers = (LIBC / "include/wasm-wasi-musl/wasi").glob("*.h")
    text = "".join(path.read_text("utf-8") for path in headers)
    numbers = {name: int(number) for name, number in re.findall(r"__WASI_ERRNO_(\w+) \(UINT16_C\((\d+)\)\)", text)}
    ours = {name: int(number) for name, number in re.findall(r"    WASI_(\w+) = (\d+),?\n", OURS) if name != "OK"}
    assert len(ours) >= 6
    assert {name: numbers[name] for name in ours} == ours
