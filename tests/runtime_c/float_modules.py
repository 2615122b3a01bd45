"""Modules of float instructions, whose NaNs must have the same bits everywhere: one that tries every instruction on
every pair of unusual numbers, and random ones, in which NaNs go all ways that values can."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass

from tests.runtime_c.loop_modules import const, get, put, sized, uleb
from tests.runtime_c.loops import section

I32, I64, F32, F64, V128 = 0x7F, 0x7E, 0x7D, 0x7C, 0x7B
VOID, BLOCK, LOOP, IF, ELSE, END, BR, BR_IF, CALL = 0x40, 0x02, 0x03, 0x04, 0x05, 0x0B, 0x0C, 0x0D, 0x10
LOAD = {F32: b"\x2a\x00", F64: b"\x2b\x00", V128: b"\xfd\x00\x00"}  # without the offset, as are these
STORE = {I32: b"\x36\x00", F32: b"\x38\x00", F64: b"\x39\x00", V128: b"\xfd\x0b\x00"}
BYTES = {F32: 4, F64: 8, V128: 16}

# Signalling and quiet NaNs of both signs, infinities, zeros, denormal, smallest and largest numbers, and some others.
UNUSUAL32 = (
    *(0x7FC00000, 0xFFC00000, 0x7FC12345, 0xFFEABCDE, 0x7F800001, 0xFFA00000, 0x7F800000, 0xFF800000),
    *(0x00000000, 0x80000000, 0x00000001, 0x807FFFFF, 0x00800000, 0x7F7FFFFF, 0x3F800000, 0xBFC00000),
)
UNUSUAL64 = (
    *(0x7FF8 << 48, 0xFFF8 << 48, 0x7FF8_0000_0001_2345, 0xFFFD_ABCD_0000_0000, 0x7FF0_0000_0000_0001, 0xFFF4 << 48),
    *(0x7FF0 << 48, 0xFFF0 << 48, 0, 1 << 63, 1, 0x800F_FFFF_FFFF_FFFF, 0x0010 << 48, 0x7FEF_FFFF_FFFF_FFFF),
    *(0x3FF0 << 48, 0xBFF8 << 48),
)
COUNT = len(UNUSUAL32)
TABLE = {F32: 0, F64: 4 * COUNT, V128: 0}
TABLE_BYTES = struct.pack(f"<{COUNT}I{COUNT}Q", *UNUSUAL32, *UNUSUAL64)
RESULTS = 4096  # where what was computed is stored


def simd(number: int, *operands: int) -> bytes:
    """A vector instruction."""
    return b"\xfd" + uleb(number) + bytes(operands)


UNARY = {
    F32: [bytes([code]) for code in range(0x8B, 0x92)],
    F64: [bytes([code]) for code in range(0x99, 0xA0)],
    V128: [simd(n) for n in (0x4D, 0x5E, 0x5F, 0x67, 0x68, 0x69, 0x6A, 0x74, 0x75, 0x7A, 0x94, 0xE0, 0xE1, 0xE3, 0xEC,
                             0xED, 0xEF, 0xF8, 0xF9, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF)],
}  # fmt: skip
BINARY = {
    F32: [bytes([code]) for code in range(0x92, 0x99)],
    F64: [bytes([code]) for code in range(0xA0, 0xA7)],
    V128: [simd(n) for n in (*range(0x41, 0x4D), *range(0x4E, 0x52), *range(0xE4, 0xEC), *range(0xF0, 0xF8), 0xAE)],
}
TERNARY = [simd(0x52)]
RELAXED_BINARY = [simd(number) for number in range(0x10D, 0x111)]
RELAXED_TERNARY = [simd(number) for number in (0x105, 0x106, 0x107, 0x108, 0x10B)]
TO_I32 = {F32: [b"\xbc", b"\xfc\x00"], F64: [b"\xbd\xa7", b"\xfc\x03", b"\xbd\x42\x20\x88\xa7"], V128: [simd(0x1B, 3)]}
ACROSS = {
    (F64, F32): [b"\xb6"], (F32, F64): [b"\xbb"], (F32, V128): [simd(0x13)], (F64, V128): [simd(0x14)],
    (V128, F32): [simd(0x1F, 0), simd(0x1F, 3)], (V128, F64): [simd(0x21, 0), simd(0x21, 1)],
}  # fmt: skip
COMPARE = {F32: range(0x5B, 0x61), F64: range(0x61, 0x67)}


def load(kind: int, at: int) -> bytes:
    """From a fixed address."""
    return const(at) + LOAD[kind] + uleb(0)


def assemble(
    types: list[bytes], functions: list[tuple[int, bytes]], pages: int, globals_: tuple[int, ...] = ()
) -> bytes:
    """A module of functions (number of the type, body), exported as f0, f1 …, an exported memory and globals."""
    zero = {F32: b"\x43" + bytes(4), F64: b"\x44" + bytes(8), V128: simd(12) + bytes(16)}
    exports = [b"\x06memory\x02\x00"]
    exports += [sized(f"f{i}".encode()) + b"\x00" + uleb(i) for i in range(len(functions))]
    exports += [sized(f"g{i}".encode()) + b"\x03" + uleb(i) for i in range(len(globals_))]
    return b"".join((
        b"\0asm\1\0\0\0", section(1, *types), section(3, *(uleb(kind) for kind, _ in functions)),
        section(5, b"\x01" + uleb(pages) * 2),
        section(6, *(bytes([kind, 1]) + zero[kind] + b"\x0b" for kind in globals_)),
        section(7, *exports), section(10, *(sized(body) for _, body in functions)),
        section(11, b"\x00" + const(0) + b"\x0b" + sized(TABLE_BYTES)),
    ))  # fmt: skip


# ---- every instruction on every pair ----

FIRST, SECOND, OUT = 0, 1, 2  # locals
ROOM = 4096  # for what a function stores


def repeated(counter: int, body: bytes) -> bytes:
    """For each number of the table."""
    step = get(counter) + const(1) + bytes([0x6A, 0x22, counter]) + const(COUNT) + bytes([0x49, BR_IF, 0])
    return const(0) + put(counter) + bytes([LOOP, VOID]) + body + step + bytes([END])


def element(kind: int, counter: int) -> bytes:
    """One number of the table; as a vector it and those behind it."""
    return get(counter) + const(8 if kind == F64 else 4) + b"\x6c" + LOAD[kind] + uleb(TABLE[kind])


def tried(code: bytes, operands: int, kind: int, result: int, at: int) -> bytes:
    """The body of a function that stores what comes out for each pair of operands, the third one being the first."""
    value = b"".join(element(kind, place) for place in (FIRST, SECOND, FIRST)[:operands]) + code
    kept = get(OUT) + value + STORE[result] + uleb(at) + get(OUT) + const(BYTES[result]) + b"\x6a" + put(OUT)
    return b"\x01\x03" + bytes([I32]) + repeated(FIRST, repeated(SECOND, kept) if operands > 1 else kept) + bytes([END])


def exhaustive(*, relaxed: bool) -> bytes:
    """The module."""
    tries = [(code, 1, kind, kind) for kind, codes in UNARY.items() for code in codes]
    tries += [(code, 2, kind, kind) for kind, codes in BINARY.items() for code in codes]
    tries += [(code, 1, *kinds) for kinds, codes in ACROSS.items() for code in codes]
    if relaxed:
        tries += [(code, 2, V128, V128) for code in RELAXED_BINARY] + [
            (code, 3, V128, V128) for code in RELAXED_TERNARY
        ]
    functions = [(0, tried(*one, RESULTS + ROOM * number)) for number, one in enumerate(tries)]
    return assemble([b"\x60\x00\x00"], functions, pages=1 + len(tries) * ROOM // 65536 + 1)


# ---- ways that random code seldom takes ----

FLOATS = b"\x60\x02\x7d\x7c\x01\x7c"  # the type of all functions: (f32, f64) -> f64


def number64(place: int) -> bytes:
    """The one of the table that is there."""
    return load(F64, TABLE[F64] + 8 * place)


def ways() -> bytes:
    """Functions that return a NaN as it was, or the canonical one."""
    payload = b"\x44" + struct.pack("<Q", UNUSUAL64[2])
    made, handed_on = number64(6) + number64(6) + b"\xa1", number64(2) + number64(14) + b"\xa0"
    unchanged = const(0) + bytes([IF, VOID]) + get(1) + get(1) + b"\xa0" + put(1) + bytes([END]) + get(1)
    bodies = [
        unchanged,  # a parameter that arithmetic may be put into
        b"\x43" + bytes(4) + payload + bytes([CALL, 0]),
        bytes([BLOCK, F64]) + made + const(1) + bytes([BR_IF, 0, 0x1A]) + number64(14) + bytes([END]),
        handed_on + b"\x99",
        payload + number64(14) + number64(15) + b"\xa2" + const(1) + b"\x1b",
    ]
    return assemble([FLOATS], [(0, b"\x00" + body + bytes([END])) for body in bodies], pages=1)


# ---- random ways ----

PARAMS = (F32, F64)
LOCALS = (*PARAMS, F32, F32, F64, F64, V128, V128, I32)
COUNTER = len(LOCALS) - 1
GLOBALS = (F32, F64, V128)
ROUNDS = 12


@dataclass
class Writer:
    """Writes one function ``(f32, f64) -> f64``; those with smaller numbers may be called."""

    rng: random.Random
    number: int
    relaxed: bool
    stored: int = 0
    calls_left: int = 2
    in_loop: bool = False

    def constant(self, kind: int) -> bytes:
        match kind:
            case 0x7F:
                return const(self.rng.choice([0, 1, 2, -1, 0x7FC00001]))
            case 0x7D:
                return b"\x43" + struct.pack("<I", self.rng.choice(UNUSUAL32))
            case 0x7C:
                return b"\x44" + struct.pack("<Q", self.rng.choice(UNUSUAL64))
            case _:
                lanes = [self.rng.choice(UNUSUAL32) for _ in range(4)]
                return simd(12) + struct.pack("<4I", *lanes)

    def local(self, kind: int) -> int:
        return self.rng.choice([place for place, one in enumerate(LOCALS[:-1]) if one == kind])

    def leaf(self, kind: int) -> bytes:
        if kind == I32 or self.rng.random() < 0.2:
            return self.constant(kind)
        if self.rng.random() < 0.6:
            return get(self.local(kind))
        if self.rng.random() < 0.3:
            return b"\x23" + uleb(GLOBALS.index(kind))
        return load(kind, TABLE[kind] + (8 if kind == F64 else 4) * self.rng.randrange(COUNT - 4))

    def arithmetic(self, kind: int, depth: int) -> bytes:
        below = depth - 1
        if kind == V128 and self.rng.random() < 0.15:
            three = TERNARY + (RELAXED_TERNARY if self.relaxed else [])
            return b"".join(self.value(V128, below) for _ in range(3)) + self.rng.choice(three)
        if self.rng.random() < 0.25:
            return self.value(kind, below) + self.rng.choice(UNARY[kind])
        two = BINARY[kind] + (RELAXED_BINARY if self.relaxed and kind == V128 else [])
        return self.value(kind, below) + self.value(kind, below) + self.rng.choice(two)

    def across(self, kind: int, depth: int) -> bytes:
        """From another type."""
        source = self.rng.choice([pair[0] for pair in ACROSS if pair[1] == kind])
        return self.value(source, depth - 1) + self.rng.choice(ACROSS[source, kind])

    def lanes(self, depth: int) -> bytes:
        """Lanes put elsewhere."""
        if self.rng.random() < 0.5:
            kind = self.rng.choice((F32, F64))
            lane = simd(0x20, self.rng.randrange(4)) if kind == F32 else simd(0x22, self.rng.randrange(2))
            return self.value(V128, depth - 1) + self.value(kind, depth - 1) + lane
        numbers = [self.rng.randrange(32) for _ in range(16)]
        return self.value(V128, depth - 1) + self.value(V128, depth - 1) + simd(13, *numbers)

    def condition(self, depth: int) -> bytes:
        kind = self.rng.choice((F32, F64, I32))
        if kind == I32:
            return self.integer(depth)
        return self.value(kind, depth - 1) + self.value(kind, depth - 1) + bytes([self.rng.choice(list(COMPARE[kind]))])

    def integer(self, depth: int) -> bytes:
        kind = self.rng.choice((F32, F64, V128))
        return self.value(kind, depth - 1) + self.rng.choice(TO_I32[kind])

    def chosen(self, kind: int, depth: int) -> bytes:
        """Of two values, by select, by if, or by a jump out of a block."""
        first, second, condition = (self.value(kind, depth - 1), self.value(kind, depth - 1), self.condition(depth - 1))
        match self.rng.randrange(3):
            case 0:
                return first + second + condition + (b"\x1c\x01" + bytes([kind]) if kind == V128 else b"\x1b")
            case 1:
                return condition + bytes([IF, kind]) + first + bytes([ELSE]) + second + bytes([END])
            case _:
                return bytes([BLOCK, kind]) + first + condition + bytes([BR_IF, 0, 0x1A]) + second + bytes([END])

    def called(self, kind: int, depth: int) -> bytes:
        self.calls_left -= 1
        callee = self.value(F32, depth - 1) + self.value(F64, depth - 1) + bytes([CALL]) + uleb(self.number - 1)
        return callee + {F64: b"", F32: b"\xb6", V128: simd(0x14)}[kind]

    def value(self, kind: int, depth: int) -> bytes:
        if depth <= 0:
            return self.leaf(kind)
        if kind == I32:
            return self.integer(depth)
        way = self.rng.random()
        if way < 0.5:
            return self.arithmetic(kind, depth)
        if way < 0.6:
            return self.across(kind, depth)
        if way < 0.75:
            return self.chosen(kind, depth)
        if way < 0.8 and kind == V128:
            return self.lanes(depth)
        if way < 0.82 and self.number > 0 and self.calls_left > 0 and not self.in_loop:
            return self.called(kind, depth)
        if way < 0.9:
            place = self.local(kind)
            return self.value(kind, depth - 1) + bytes([0x22, place])
        return self.leaf(kind)

    def store(self, depth: int) -> bytes:
        """To a place of its own, in a loop one per round."""
        kind = self.rng.choice((F32, F64, V128, I32))
        self.stored += 1
        at = RESULTS + ROOM * self.number + 16 * ROUNDS * (self.stored % 20)
        size = BYTES.get(kind, 4)
        place = get(COUNTER) + const(size.bit_length() - 1) + b"\x74" if self.in_loop else const(0)
        return place + self.value(kind, depth) + STORE[kind] + uleb(at)

    def statement(self, depth: int) -> bytes:
        way = self.rng.random()
        if way < 0.5:
            kind = self.rng.choice((F32, F64, V128))
            return self.value(kind, depth) + put(self.local(kind))
        if way < 0.6:
            kind = self.rng.choice(GLOBALS)
            return self.value(kind, depth) + b"\x24" + uleb(GLOBALS.index(kind))
        if way < 0.7:
            inner = b"".join(self.statement(1) for _ in range(self.rng.randrange(1, 3)))
            return self.condition(depth) + bytes([IF, VOID]) + inner + bytes([END])
        if way < 0.85 and not self.in_loop:
            return self.loop()
        return self.store(depth)

    def loop(self) -> bytes:
        """What is known to compilers: a counter, neighbours loaded and stored."""
        self.in_loop = True
        inner = b"".join(
            self.dense() if self.rng.random() < 0.5 else self.statement(1) for _ in range(self.rng.randrange(1, 4))
        )
        self.in_loop = False
        step = get(COUNTER) + const(1) + bytes([0x6A, 0x22, COUNTER]) + const(ROUNDS) + bytes([0x49, BR_IF, 0])
        return const(0) + put(COUNTER) + bytes([LOOP, VOID]) + inner + step + bytes([END])

    def dense(self) -> bytes:
        kind = self.rng.choice((F32, F64))
        shift = const(BYTES[kind].bit_length() - 1) + b"\x74"
        neighbour = get(COUNTER) + shift + LOAD[kind] + uleb(TABLE[kind])
        total = self.local(kind)
        code = self.rng.choice(BINARY[kind][:4])
        self.stored += 1
        at = RESULTS + ROOM * self.number + 16 * ROUNDS * (self.stored % 20)
        store = get(COUNTER) + shift + neighbour + get(total) + code + STORE[kind] + uleb(at)
        return neighbour + get(total) + code + put(total) if self.rng.random() < 0.5 else store

    def function(self) -> bytes:
        body = b"".join(self.statement(self.rng.randrange(1, 5)) for _ in range(self.rng.randrange(4, 14)))
        kinds = b"".join(bytes([1, kind]) for kind in LOCALS[len(PARAMS) :])
        return uleb(len(LOCALS) - len(PARAMS)) + kinds + body + self.value(F64, 3) + bytes([END])


def random_module(seed: int, *, relaxed: bool = False, functions: int = 12) -> bytes:
    """The module of a seed."""
    rng = random.Random(seed)
    bodies = [Writer(rng, number, relaxed).function() for number in range(functions)]
    return assemble([FLOATS], [(0, body) for body in bodies], 1 + functions * ROOM // 65536 + 1, GLOBALS)
