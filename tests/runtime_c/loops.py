"""Random loops, interpreted and compiled: what ahead-of-time code counts, hoists and vectorises must not show.

``python -m tests.runtime_c.loops --count N --seed S``. Each module has functions of three addresses or limits with
loops, some in loops: counters up and down, signed and unsigned, by any step, with limits that are near, far, behind or
never met; loads and stores of all widths through pointers that move, overlap, follow each other closely and run out of
memory. The interpreter and the compiled module must agree on results, traps and where these are, fuel and memory; with
fuel, whose every unit is counted, and without, where loops run at full speed. Few modules of ``loop_modules.py``, whose
loops always end, go through the emulators, too (``test_aot.py``).
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from gateway.app import aot_build
from gateway.app.aot_build import find_compiler
from gateway.wasm import TARGET, Engine, emit_c
from tests.runtime_c.loop_modules import const, get, uleb
from tests.runtime_c.toolchain import TOOLCHAINS, build

FUNCTIONS, PAGES, FUEL, SEEDS, SWEEP = 6, 2, 3000, 12, 25
MEMORY = PAGES * 65536
PARAMS, COUNTERS, POINTERS, SUMS = (0, 1, 2), (3, 4), (5, 6, 7), (8, 9)  # i32 locals; the sums are what is returned
LIMITS = (10, 11)
I32, BLOCK, LOOP, BR, BR_IF, GET, SET, TEE, CONST = 0x7F, 0x02, 0x03, 0x0C, 0x0D, 0x20, 0x21, 0x22, 0x41
EQZ, EQ, NE, LT_S, LT_U, GT_S, GT_U, LE_S, LE_U, GE_S, GE_U = range(0x45, 0x50)
ADD, SUB, MUL, AND, OR, XOR, SHL = 0x6A, 0x6B, 0x6C, 0x71, 0x72, 0x73, 0x74
WRAP, EXTEND_S, TO_F32, TO_F64, FROM_F32, FROM_F64 = b"\xa7", b"\xac", b"\xb2", b"\xb7", b"\xfc\x00", b"\xfc\x02"
LOADS = [  # opcode, bytes, to i32
    *((0x28, 4, b""), (0x2C, 1, b""), (0x2D, 1, b""), (0x2E, 2, b""), (0x2F, 2, b"")),
    *((0x29, 8, WRAP), (0x2A, 4, FROM_F32), (0x2B, 8, FROM_F64)),
]
STORES = [  # opcode, bytes, from i32
    *((0x36, 4, b""), (0x3A, 1, b""), (0x3B, 2, b"")),
    *((0x37, 8, EXTEND_S), (0x38, 4, TO_F32), (0x39, 8, TO_F64)),
]


def section(number: int, *parts: bytes) -> bytes:
    """A section of a vector of these."""
    body = uleb(len(parts)) + b"".join(parts)
    return bytes([number]) + uleb(len(body)) + body


@dataclass
class Writer:
    """Writes one function."""

    rng: random.Random
    body: bytearray = field(default_factory=bytearray)

    def put(self, *parts: bytes | int) -> None:
        for part in parts:
            self.body += bytes([part]) if isinstance(part, int) else part

    def function(self) -> bytes:
        self.body = bytearray()
        for pointer in POINTERS:
            self.start(pointer)
        for limit in LIMITS:
            self.put(get(self.rng.choice(PARAMS)), const(self.rng.choice([7, 31, 127, 1023, -1])), AND, SET, limit)
        for _ in range(self.rng.randint(1, 2)):
            self.loop(COUNTERS[0], nests=self.rng.random() < 0.4)
        self.put(get(SUMS[0]), get(SUMS[1]), XOR, 0x0B)
        locals_ = uleb(1) + uleb(1 + LIMITS[-1] - len(PARAMS)) + bytes([I32])
        return uleb(len(locals_) + len(self.body)) + locals_ + bytes(self.body)

    def start(self, pointer: int) -> None:
        """Where a pointer begins: inside, near an end of memory, near another pointer, anywhere."""
        near = self.rng.choice([0, 1, 2, 4, 8, 12, 16, 31, 64, -1, -4, -8, -16])
        match self.rng.randrange(6):
            case 0 | 1:
                self.put(get(self.rng.choice(PARAMS)), const(0xFFFC), AND, const(near), ADD)
            case 2:
                self.put(const(MEMORY - self.rng.choice([0, 4, 64, 400, 4000]) + near))
            case 3 if pointer != POINTERS[0]:
                self.put(get(POINTERS[0]), const(near), ADD)
            case 4:
                self.put(const(self.rng.choice([0, 3, 16, 1024]) + near))
            case _:
                self.put(get(self.rng.choice(PARAMS)), const(near), ADD)
        self.put(SET, pointer)

    def loop(self, counter: int, *, nests: bool) -> None:
        step = self.rng.choice([1, 1, 1, 1, 2, 3, 4, 8, -1, -1, -1, -2, -4, self.rng.randint(-50, 50)])
        if self.rng.random() < 0.7:
            self.put(const(0 if step > 0 else self.rng.randint(1, 200)), SET, counter)
        elif self.rng.random() < 0.5:
            self.put(get(self.rng.choice([*PARAMS, *LIMITS])), SET, counter)
        shape = self.rng.random()
        if shape < 0.25:  # while: the condition comes first
            self.put(BLOCK, 0x40, LOOP, 0x40, get(counter))
            self.condition(counter)
            self.put(EQZ, BR_IF, 1)
            self.inside(counter, nests)
            self.put(get(counter), const(step), ADD, SET, counter, BR, 0, 0x0B, 0x0B)
            return
        self.put(LOOP, 0x40)
        early = self.rng.random() < 0.3
        if early:
            self.put(get(counter), const(step), ADD, SET, counter)
        self.inside(counter, nests)
        if early:
            self.put(get(counter))
        else:
            self.put(get(counter), const(step), ADD, TEE, counter)
        self.condition(counter)
        self.put(BR_IF, 0, 0x0B)

    def condition(self, counter: int) -> None:
        """The counter is on the stack; a truth value in its place."""
        if self.rng.random() < 0.2:
            return
        other = [*LIMITS, *PARAMS, counter]
        limit = (
            get(self.rng.choice(other)) if self.rng.random() < 0.6 else const(self.rng.choice([0, 1, 9, 64, 200, -1]))
        )
        compare = self.rng.choice([NE, LT_S, LT_U, GT_S, GT_U, LE_S, LE_U, GE_S, GE_U, LT_U, LT_S, EQ])
        if self.rng.random() < 0.2:  # the limit on the left
            self.put(SET, LIMITS[1], limit, get(LIMITS[1]), compare)
        else:
            self.put(limit, compare)

    def inside(self, counter: int, nests: bool) -> None:
        statements = [self.load, self.store, self.store, self.load]
        parts: list[Callable[[], None]] = [partial(self.move, one) for one in POINTERS if self.rng.random() < 0.6]
        parts += [partial(self.rng.choice(statements), counter) for _ in range(self.rng.randint(1, 5))]
        self.rng.shuffle(parts)
        if nests:
            parts.insert(self.rng.randrange(len(parts) + 1), partial(self.loop, COUNTERS[1], nests=False))
        for part in parts:
            part()

    def move(self, pointer: int) -> None:
        step = self.rng.choice([1, 2, 4, 4, 4, 8, 8, 16, -1, -4, -8, 12, 400, self.rng.randint(-64, 64)])
        if self.rng.random() < 0.05:
            self.put(get(pointer), get(self.rng.choice(LIMITS)), ADD, SET, pointer)
        else:
            self.put(get(pointer), const(step), ADD, SET, pointer)

    def address(self, counter: int, size: int) -> None:
        way = self.rng.random()
        self.put(get(self.rng.choice(POINTERS)))
        if way < 0.35:
            self.put(get(counter), const(self.rng.choice([size.bit_length() - 1, 0, 2, 3])), SHL, ADD)
        elif way < 0.45:
            self.put(get(counter), const(self.rng.choice([size, 4, 12, -4])), MUL, ADD)
        elif way < 0.5:
            self.put(get(self.rng.choice(COUNTERS)), SUB)
        elif way < 0.55:
            self.put(get(SUMS[0]), const(63), AND, ADD)

    def memarg(self) -> bytes:
        offset = self.rng.choice([0, 0, 0, 1, 4, 4, 8, 12, 16, 32, 100, MEMORY - 64, 0xFFFF_FFF0])
        return b"\x00" + uleb(offset if offset < 1000 or self.rng.random() < 0.1 else 0)

    def load(self, counter: int) -> None:
        code, size, convert = self.rng.choice(LOADS)
        total = self.rng.choice(SUMS)
        self.put(get(total))
        self.address(counter, size)
        self.put(code, self.memarg(), convert, self.rng.choice([ADD, ADD, ADD, XOR, SUB, MUL, OR]), SET, total)

    def store(self, counter: int) -> None:
        code, size, convert = self.rng.choice(STORES)
        self.address(counter, size)
        match self.rng.randrange(4):
            case 0:
                self.put(get(counter))
            case 1:
                self.put(get(self.rng.choice([*SUMS, *POINTERS, *PARAMS])))
            case 2:
                load, load_size, back = self.rng.choice(LOADS)
                self.address(counter, load_size)
                self.put(load, self.memarg(), back, const(self.rng.randint(-9, 9)), self.rng.choice([ADD, MUL, XOR]))
            case _:
                self.put(const(self.rng.randint(-1000, 1000)))
        self.put(convert, code, self.memarg())


def make_module(seed: int) -> bytes:
    """The module of this seed."""
    writer = Writer(random.Random(seed))
    bodies = [writer.function() for _ in range(FUNCTIONS)]
    names = [f"f{number}".encode() for number in range(FUNCTIONS)]
    exports = [uleb(len(name)) + name + b"\x00" + uleb(number) for number, name in enumerate(names)]
    fill = bytes(range(1, 252)) * 8
    return b"".join(
        (
            b"\0asm\1\0\0\0",
            section(1, b"\x60\x03" + bytes([I32] * 3) + b"\x01" + bytes([I32])),
            section(3, *[b"\x00"] * FUNCTIONS),
            section(5, b"\x01" + uleb(PAGES) + uleb(PAGES)),
            section(7, *exports),
            section(10, *bodies),
            section(11, *(b"\x00" + const(at) + b"\x0b" + uleb(len(fill)) + fill for at in (0, 30_000, MEMORY - 2008))),
        )
    )


def compare(seeds: range, *, bounds: str = "guard") -> tuple[int, list[str]]:
    """Calls compared, and the differences in words."""
    program = build(TOOLCHAINS["native"], "tools") / "tools" / "aot_compare"
    with tempfile.TemporaryDirectory(prefix="penstock-loops-") as name:
        folder = Path(name)
        paths = [folder / f"{seed}.wasm" for seed in seeds]
        for seed, path in zip(seeds, paths, strict=True):
            path.write_bytes(make_module(seed))
        with Engine() as engine:
            texts = [emit_c(engine, path.stem, path.read_bytes()) for path in paths]
        artefact = folder / "all.so"
        aot_build.build(find_compiler(TARGET), texts, artefact, checked=bounds == "checked")
        limits = ["--bounds", bounds, "--fuel", str(FUEL), "--seeds", str(SEEDS), "--sweep", str(SWEEP), "--again", "1"]
        done = subprocess.run(
            [program, artefact, *limits, *paths], capture_output=True, text=True, timeout=600, check=False
        )
    told = re.search(r"^compared (\d+) calls", done.stdout, re.MULTILINE)
    if told is None:
        raise RuntimeError(f"aot_compare ended with {done.returncode}: {done.stderr}")
    lines = [line.removeprefix(f"{folder}/") for line in done.stdout.splitlines()]
    return int(told[1]), [line for line in lines if not line.startswith("compared ")]


def main(arguments: list[str]) -> int:
    """Compare many; returns 1 if any differs."""
    parser = argparse.ArgumentParser(prog="loops", description="random loops, interpreted and compiled")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(10**9))
    options = parser.parse_args(arguments)
    calls, differences, batch = 0, 0, 20
    for first in range(options.seed, options.seed + options.count, batch):
        for bounds in ("guard", "checked"):
            done, told = compare(range(first, min(first + batch, options.seed + options.count)), bounds=bounds)
            calls, differences = calls + done, differences + len(told)
            for line in told[:20]:
                print(f"{bounds}: {line}", flush=True)
    print(f"seed {options.seed}: {options.count} modules, {calls} calls, {differences} differences")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
