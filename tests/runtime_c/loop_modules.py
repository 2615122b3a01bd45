"""Random modules of loops that count: WebAssembly functions ``(i32, i32) -> i32`` whose loops end within
``ROUNDS_MAX`` rounds whatever they are given, with addresses inside and outside of a memory of one page."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

ROUNDS_MAX = 3000
MASK = 0xFFFFFFFF
PARAMS = 2
COUNTERS, INVARIANT, VALUE = range(2, 5), 5, 6  # locals
INNER = range(7, 9)
LOCALS = 9
I32, VOID = 0x7F, 0x40
LOADS = {0x28: 4, 0x2C: 1, 0x2D: 1, 0x2E: 2, 0x2F: 2}
STORES = {0x36: 4, 0x3A: 1, 0x3B: 2}
STEPS = (1, 1, 1, 1, 2, 4, 4, 4, 4, 8, 3, 16, -1, -1, -4, -4, -3)
INSIDE = (0, 0, 1, 16, 100, 1024, 20000, 40000)
OUTSIDE = (65000, 65532, MASK, MASK - 15, MASK - 399, 0x80000000, 0x7FFFFFF0)
DISPLACEMENTS = (0, 0, 0, 1, 4, 4, 8, 256, 32000)
FAR = (65000, 65532, 0x7FFFFFFF, 0xFFFFFFFF)


def signed(value: int) -> int:
    """Of 32 bits."""
    value &= MASK
    return value - (value >> 31 << 32)


COMPARES: dict[int, Callable[[int, int], bool]] = {
    0x47: lambda a, b: a != b,
    0x48: lambda a, b: signed(a) < signed(b),
    0x49: lambda a, b: a < b,
    0x4A: lambda a, b: signed(a) > signed(b),
    0x4B: lambda a, b: a > b,
    0x4C: lambda a, b: signed(a) <= signed(b),
    0x4D: lambda a, b: a <= b,
    0x4E: lambda a, b: signed(a) >= signed(b),
    0x4F: lambda a, b: a >= b,
}


def leb(value: int) -> bytes:
    """Signed; fits unsigned numbers below 2^6, 2^13 and so on too."""
    out = bytearray()
    while True:
        byte = value & 0x7F
        value >>= 7
        if (value == 0 and not byte & 0x40) or (value == -1 and byte & 0x40):
            return bytes([*out, byte])
        out.append(byte | 0x80)


def uleb(value: int) -> bytes:
    """Unsigned."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def const(value: int) -> bytes:
    """i32.const"""
    return b"\x41" + leb(signed(value))


def get(local: int) -> bytes:
    """local.get"""
    return bytes([0x20, local])


def put(local: int) -> bytes:
    """local.set"""
    return bytes([0x21, local])


@dataclass(frozen=True, slots=True)
class Counting:
    """What a loop counts with: ``local`` from ``start`` by ``step``, while it compares so."""

    local: int
    start: int
    step: int
    by_local: bool  # the step is that local's value: 1 to 4
    compare: int
    limit: int
    swapped: bool

    def ends(self) -> bool:
        """Within ROUNDS_MAX rounds, for each step."""
        return all(self.rounds(step) <= ROUNDS_MAX for step in (range(1, 5) if self.by_local else (self.step,)))

    def rounds(self, step: int) -> int:
        """How many, with that step; not more than ROUNDS_MAX and one."""
        value, rounds = self.start, 0
        while rounds <= ROUNDS_MAX:
            value = value + step & MASK
            rounds += 1
            pair = (self.limit, value) if self.swapped else (value, self.limit)
            if not COMPARES[self.compare](*pair):
                break
        return rounds

    def next(self) -> bytes:
        """The end of the body: the step, the condition, the jump."""
        step = get(INVARIANT) if self.by_local else const(self.step)
        stepped = get(self.local) + step + bytes([0x6A, 0x22, self.local])
        if self.compare == 0x47 and self.limit == 0:
            return stepped + b"\x0d\x00"
        pair = const(self.limit) + stepped if self.swapped else stepped + const(self.limit)
        return pair + bytes([self.compare]) + b"\x0d\x00"


def start_of(chance: random.Random) -> int:
    """Mostly such that the loop stays inside of the memory."""
    return chance.choice(OUTSIDE if chance.random() < 0.12 else INSIDE)


def counting(chance: random.Random, local: int) -> Counting:
    """One that ends."""
    while True:
        start, step = start_of(chance), chance.choice(STEPS)
        far = start + step * chance.choice((1, 2, 3, 7, 16, 50, 400, 2500)) + chance.choice((0, 0, 0, 1, -1))
        it = Counting(local, start, step, chance.random() < 0.15, chance.choice([0x47, *COMPARES]), far & MASK,
                      chance.random() < 0.3)  # fmt: skip
        if chance.random() < 0.2:
            it = Counting(local, -step * chance.randrange(1, 900) & MASK, step, False, 0x47, 0, False)
        if it.ends():
            return it


def address(chance: random.Random, counters: list[int]) -> bytes:
    """A sum of counters, mostly one, and of what does not change."""
    code = get(chance.choice(counters))
    scale = chance.choice((0, 0, 0, 1, 2, 2, 3))
    code += const(scale) + b"\x74" if scale else b""
    for _ in range(chance.choice((0, 0, 1, 1, 2))):
        number = const(chance.choice((4, 8, 64, 1000, 5000, 0xFFFFFFF0)))
        other = chance.choice([get(chance.choice(counters)), get(0), number])
        code += other + bytes([chance.choice((0x6A, 0x6A, 0x6B))])
    return code


def offset(chance: random.Random) -> bytes:
    """Alignment and displacement of an access."""
    return b"\x00" + uleb(chance.choice(FAR if chance.random() < 0.02 else DISPLACEMENTS))


def statement(chance: random.Random, counters: list[int], exits: bool = True) -> bytes:
    """A load into the value or a store; now and then only in some rounds, or the last one."""
    where = address(chance, counters)
    if chance.random() < 0.5:
        code = get(VALUE) + where + bytes([chance.choice(list(LOADS))]) + offset(chance) + bytes(
            [chance.choice((0x6A, 0x73, 0x6B))]) + put(VALUE)  # fmt: skip
    else:
        what = chance.choice([get(VALUE), const(chance.randrange(256)), get(chance.choice(counters)), get(1)])
        code = where + what + bytes([chance.choice(list(STORES))]) + offset(chance)
    if chance.random() < 0.1:
        condition = get(VALUE) + const(chance.choice((1, 3, 16))) + b"\x71"
        return condition + bytes([0x04, VOID]) + code + b"\x0b"
    if exits and chance.random() < 0.03:
        return code + get(VALUE) + const(0x1234567) + b"\x4b\x45" + b"\x0d\x01"  # out of the loop
    return code


def dense(chance: random.Random, step: int, in_nest: bool = False) -> bytes:
    """A load or store next to that of the round before, what vector code is made of; in an inner loop only loads."""
    width = abs(step)
    where = get(COUNTERS[0]) + const(chance.choice((0, 0, 64, 512, 2048, 4096, 9000, 20000))) + b"\x6a"
    if chance.random() < 0.4:
        where += get(0) + b"\x6a"
    if in_nest and chance.random() < 0.7:
        where += get(chance.choice(list(INNER))) + const(chance.choice((0, 2, 4, 6))) + b"\x74\x6a"
    displacement = b"\x00" + uleb(chance.choice((0, 0, 0, width, 2 * width, 1000, 30000)))
    if in_nest or chance.random() < 0.5:
        load = chance.choice([code for code, size in LOADS.items() if size == width])
        return get(VALUE) + where + bytes([load]) + displacement + bytes([chance.choice((0x6A, 0x73))]) + put(VALUE)
    what = chance.choice([get(VALUE), const(chance.randrange(256)), get(COUNTERS[0]), get(1)])
    store = next(code for code, size in STORES.items() if size == width)
    return where + what + bytes([store]) + displacement


def sized(body: bytes) -> bytes:
    """With its length in front."""
    return uleb(len(body)) + body


def function(chance: random.Random) -> bytes:
    """The body of one, with its size in front."""
    return finished(loops(chance))


def finished(code: bytes) -> bytes:
    """A function of that, with its size in front."""
    return sized(bytes([1, LOCALS - PARAMS, I32]) + code + get(VALUE) + get(COUNTERS[0]) + b"\x6a\x0b")


def loops(chance: random.Random) -> bytes:
    """One or two, and what goes on with inside of them."""
    code = get(1) + const(3) + b"\x71" + const(1) + b"\x6a" + put(INVARIANT)
    code += get(0) + const(chance.choice((3, 0xFFC, 0xFFFF))) + b"\x71" + put(0)
    for _ in range(chance.choice((1, 1, 2))):
        loop = counting(chance, COUNTERS[0])
        code += const(loop.start) + put(loop.local)
        more = chance.sample(COUNTERS[1:], chance.randrange(0, 3))
        code += b"".join(const(start_of(chance)) + put(one) for one in more)
        counters = [COUNTERS[0], *more]
        is_dense = loop.step in (1, 2, 4, -1, -4) and not loop.by_local and chance.random() < 0.8

        def some(counters: list[int] = counters, step: int = loop.step if is_dense else 0) -> bytes:
            count = chance.randrange(0, 3)
            return b"".join(dense(chance, step) if step else statement(chance, counters) for _ in range(count))

        body = some()
        if chance.random() < 0.5:
            body += inner(chance, counters, loop.step if is_dense else 0)
        body += some()
        steps = b"".join(get(one) + const(chance.choice(STEPS)) + b"\x6a" + put(one) for one in more)
        code += bytes([0x02, VOID, 0x03, VOID]) + body + steps + loop.next() + b"\x0b\x0b"
    return code


def inner(chance: random.Random, counters: list[int], step: int) -> bytes:
    """An inner loop of few rounds, so that all together they are not too many; ``step`` 0: not dense."""
    while True:
        loop = counting(chance, INNER[0])
        if loop.rounds(loop.step) < 40 and not loop.by_local:
            break
    start = chance.choice([const(0), get(counters[0]), const(start_of(chance))])
    body = b"".join(
        dense(chance, step, in_nest=True) if step else statement(chance, [*counters, *INNER], exits=False)
        for _ in range(chance.randrange(1, 3))
    )
    body += get(INNER[1]) + const(chance.choice(STEPS)) + b"\x6a" + put(INNER[1])
    head = const(loop.start) + put(INNER[0]) + start + put(INNER[1]) + bytes([0x03, VOID])
    return head + body + loop.next() + b"\x0b"


def module(seed: int, functions: int = 30) -> bytes:
    """A module of that many exported functions f0, f1, and so on, and a memory."""
    chance = random.Random(seed)
    return assemble({f"f{i}": function(chance) for i in range(functions)}, parameters=PARAMS)


def large(seed: int, parts: int) -> bytes:
    """A module of one large function of as many parts as ``function`` makes functions of, and of exported functions f0,
    f1, and so on that have one of these run."""
    chance = random.Random(seed)
    pieces = (bytes([0x02, VOID, 0x23, 0]) + const(i) + b"\x47\x0d\x00" + loops(chance) + b"\x0b" for i in range(parts))
    select = (const(i) + b"\x24\x00" + get(0) + get(1) + b"\x10\x00" for i in range(parts))
    callers = {f"f{i}": sized(b"\x00" + code + b"\x0b") for i, code in enumerate(select)}
    return assemble({"large": finished(b"".join(pieces)), **callers}, parameters=PARAMS)


SEGMENT = 60000  # bytes of the data segment, and elements of the other one


def assemble(
    bodies: dict[str, bytes],
    parameters: int,
    pages: int = 1,
    segments: bool = False,
    shared: bool = False,
    imports: Sequence[tuple[str, str]] = (),
    table: Sequence[int] = (),
) -> bytes:
    """Exported functions of i32s to i32, behind imported ones of that type; a memory, a table of 70,000 that begins
    with some of them, and a mutable global; passive segments."""

    def section(number: int, items: list[bytes]) -> bytes:
        content = uleb(len(items)) + b"".join(items)
        return bytes([number]) + uleb(len(content)) + content

    def text(name: str) -> bytes:
        return sized(name.encode())

    exports = [text(name) + b"\x00" + uleb(len(imports) + i) for i, name in enumerate(bodies)]
    imported = [text(module) + text(name) + b"\x00\x00" for module, name in imports]
    signature = bytes([0x60, parameters, *[I32] * parameters, 1, I32])
    elements = [b"\x01\x00" + uleb(SEGMENT) + b"\0" * SEGMENT] if segments else []
    elements += [b"\x00\x41\x00\x0b" + uleb(len(table)) + b"".join(map(uleb, table))] if table else []
    data = [b"\x01" + uleb(SEGMENT) + bytes(SEGMENT)] if segments else []
    return b"".join([
        b"\0asm\x01\0\0\0", section(1, [signature]), section(2, imported), section(3, [b"\0"] * len(bodies)),
        section(4, [b"\x70\x00" + uleb(70000)]), section(5, [bytes([3 if shared else 1]) + uleb(pages) * 2]),
        section(6, [bytes([I32, 1, 0x41, 0, 0x0B])]), section(7, exports), section(9, elements),
        b"\x0c\x01" + uleb(len(data)), section(10, list(bodies.values())), section(11, data),
    ])  # fmt: skip
