"""Ways to answer badly. Names as they appear in tests."""

from __future__ import annotations

from tests.peers.slave import Exchange, Manner, well

GARBAGE_MOST = 40


async def silent(_exchange: Exchange) -> None:
    """Not at all."""


async def byte_by_byte(exchange: Exchange) -> None:
    """Right, in single bytes."""
    exchange.believed()
    await exchange.send(*(bytes([byte]) for byte in exchange.frame()))


async def split(exchange: Exchange) -> None:
    """Right, in two pieces; each time split somewhere else."""
    exchange.believed()
    frame = exchange.frame()
    at = 1 + exchange.reply.number % (len(frame) - 1)
    await exchange.send(frame[:at], frame[at:])


async def merged(exchange: Exchange) -> None:
    """Right, in one piece with a reply nobody waits for before it and the same one again behind it."""
    exchange.believed()
    await exchange.send(_foreign(exchange) + exchange.frame() + exchange.frame())


def _foreign(exchange: Exchange) -> bytes:
    """Right but for another unit and another transaction."""
    return exchange.frame(unit=exchange.request.unit + 100, transaction=exchange.request.transaction ^ 0x5A5A)


async def after_garbage(exchange: Exchange) -> None:
    """Right, with noise before it. In a TCP stream noise may look like the head of a frame and swallow it."""
    exchange.believed()
    noise = exchange.slave.chance.randbytes(exchange.slave.chance.randint(1, GARBAGE_MOST))
    await exchange.send(noise + exchange.frame())


async def wrong_transaction(exchange: Exchange) -> None:
    await exchange.send(exchange.frame(transaction=exchange.request.transaction ^ 1))


async def wrong_unit(exchange: Exchange) -> None:
    await exchange.send(exchange.frame(unit=exchange.request.unit ^ 0x40))


async def wrong_function(exchange: Exchange) -> None:
    await exchange.send(exchange.frame(function=exchange.request.function + 1))


async def too_short(exchange: Exchange) -> None:
    """A whole frame with one register less than was asked for."""
    await exchange.send(exchange.frame(count=exchange.request.count - 1))


async def too_long(exchange: Exchange) -> None:
    """A whole frame with one register more than was asked for."""
    await exchange.send(exchange.frame(count=exchange.request.count + 1))


async def bad_crc(exchange: Exchange) -> None:
    """One bit is wrong, anywhere behind unit and function."""
    frame = bytearray(exchange.frame())
    bit = exchange.slave.chance.randrange(16, 8 * len(frame))
    frame[bit // 8] ^= 1 << bit % 8
    await exchange.send(bytes(frame))


async def cut_short(exchange: Exchange) -> None:
    """The first half of a frame, then nothing."""
    frame = exchange.frame()
    await exchange.send(frame[: len(frame) // 2])


async def hangs_up(exchange: Exchange) -> None:
    """Ends the connection in the middle of a frame."""
    await cut_short(exchange)
    exchange.hang_up()


def late(seconds: float, *, counts: bool = False) -> Manner:
    """Right, but so much later. ``counts``: the values may land all the same, in their own tags."""

    async def answer(exchange: Exchange) -> None:
        exchange.reply.counts = counts
        exchange.send_later(seconds, exchange.frame())

    return answer


def exception(code: int) -> Manner:
    """Refuses."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send(exchange.exception(code))

    return answer


def at_most(times: int, manner: Manner) -> Manner:
    """So, but only so often, then well."""
    left = times

    async def answer(exchange: Exchange) -> None:
        nonlocal left
        left -= 1
        await (manner if left >= 0 else well)(exchange)

    return answer


def any_of(*manners: Manner, share: float = 0.4) -> Manner:
    """One of ``manners`` by chance, otherwise well."""

    async def answer(exchange: Exchange) -> None:
        chance = exchange.slave.chance
        await (chance.choice(manners) if chance.random() < share else well)(exchange)

    return answer
