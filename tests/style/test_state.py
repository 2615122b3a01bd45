"""No mutable file-scope data in C, judged by the objects a compiler makes of the sources."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.style.source import ROOT, files, name

# Symbol -> why it must exist. A process has one handler per signal, whoever embeds the library.
ALLOWED: dict[str, str] = {
    "install_lock": "the fault handler is one per process; threads make engines at the same time",
    "installed": "whether it was, so that the very first handler before it is remembered",
    "previous_segv": "the handlers before ours: faults that are not a plugin's are passed on to them",
    "previous_bus": "the same for SIGBUS",
    "passing_on": "thread-local: a signal that is raised meanwhile must not go round in a circle",
    "wr_fault_exec": "thread-local: the call that a fault in this thread belongs to",
}
COMPILER = ["cc"] if shutil.which("cc") else [sys.executable, "-m", "ziglang", "cc"]
SOURCES = sorted(files("runtime_c/wasm", "runtime_c/aot", "runtime_c/wasi", "runtime_c/flow", suffixes={".c"}))


@dataclass(frozen=True, slots=True)
class Section:
    """A section header of a 64-bit ELF object, as far as it matters here."""

    name: str
    type: int
    flags: int
    offset: int
    size: int
    link: int


def sections(image: bytes) -> list[Section]:
    """All sections, in the order symbols refer to them."""
    assert image[:6] == b"\x7fELF\x02\x01", "a little-endian 64-bit ELF object"
    table, count, names_at = struct.unpack_from("<Q", image, 40)[0], *struct.unpack_from("<HH", image, 60)
    raw = [struct.unpack_from("<IIQQQQIIQQ", image, table + 64 * index) for index in range(count)]
    names = image[raw[names_at][4] :]
    text = [names[head[0] : names.index(b"\0", head[0])].decode() for head in raw]
    return [Section(text[i], head[1], head[2], head[4], head[5], head[6]) for i, head in enumerate(raw)]


def mutable_symbols(image: bytes) -> Iterator[str]:
    """Names of the variables that code could write to. Constants that need relocating are not among them."""
    heads = sections(image)
    for symbols in (head for head in heads if head.type == 2):
        names = image[heads[symbols.link].offset :]
        for at in range(symbols.offset, symbols.offset + symbols.size, 24):
            name_at, info, _, index, _, size = struct.unpack_from("<IBBHQQ", image, at)
            home = heads[index] if index < len(heads) else None
            writable = home is not None and home.flags & 3 == 3 and not home.name.startswith(".data.rel.ro")
            if size and info & 15 in (1, 6) and (writable or index == 0xFFF2):  # object or thread-local; 0xFFF2: common
                yield names[name_at : names.index(b"\0", name_at)].decode()


def compile_one(source: Path, into: Path) -> bytes:
    flags = [
        "-std=c11",
        "-D_GNU_SOURCE",
        "-O0",
        "-fPIC",
        "-c",
        f"-I{ROOT / 'runtime_c'}",
        f"-I{ROOT / 'runtime_c/include'}",
        "-w",
    ]
    subprocess.run([*COMPILER, *flags, str(source), "-o", str(into)], check=True, cwd=ROOT)
    return into.read_bytes()


@pytest.mark.parametrize("source", SOURCES, ids=name)
def test_no_mutable_file_scope_data(source: Path, tmp_path: Path) -> None:
    found = set(mutable_symbols(compile_one(source, tmp_path / "one.o")))
    assert {symbol for symbol in found if symbol.split(".")[0] not in ALLOWED} == set()


def test_the_search_finds_every_kind(tmp_path: Path) -> None:
    source = tmp_path / "sample.c"
    source.write_text(
        "int zeroed; static int set = 3; _Thread_local int own = 1; const int fixed = 4;\n"
        'static const char *const names[] = {"a"};\n'
        "int f(void) { static int inner; return zeroed + set++ + own + fixed + inner++ + names[0][0]; }\n",
        encoding="utf-8",
    )
    found = {symbol.split(".")[0] for symbol in mutable_symbols(compile_one(source, tmp_path / "sample.o"))}
    assert found == {"zeroed", "set", "own", "inner"}
