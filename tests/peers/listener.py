"""mosquitto_sub as reader: what left the broker, in order of arrival, and whether anything is missing or came twice."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

SUBSCRIBE_MOST_S = 30.0
LINE_BYTES_MAX = 1 << 20
VERSIONS = {4: "mqttv311", 5: "mqttv5"}
HELLO = "listener/hello"  # a retained message: mosquitto_sub prints it as soon as it is subscribed


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample or event of a payload; the names are those of the JSON."""

    tag: str
    v: Any
    q: str
    t: int
    n: int
    kind: str


@dataclass(frozen=True, slots=True)
class Message:
    """One payload as mosquitto_sub printed it."""

    qos: int
    topic: str
    seq: int
    samples: list[Sample]


@dataclass(frozen=True, slots=True)
class Account:
    """Numbers that count from 0: how many came, which are missing up to the last one, which came again or late."""

    count: int
    missing: list[int]
    repeated: list[int]
    late: list[int]

    @property
    def is_whole(self) -> bool:
        """Each number once and in order."""
        return not (self.missing or self.repeated or self.late)


def account(numbers: Iterable[int]) -> Account:
    """Follow ``numbers`` in order of arrival; small enough not to wrap."""
    seen: set[int] = set()
    repeated, late, count = [], [], 0
    for number in numbers:
        count += 1
        if number in seen:
            repeated.append(number)
        elif seen and number < max(seen):
            late.append(number)
        seen.add(number)
    return Account(count, sorted(set(range(max(seen, default=-1) + 1)) - seen), repeated, late)


class Listener:
    """A mosquitto_sub that is subscribed to everything while the block runs.

    Its session survives restarts of the broker: what the broker accepts while it is away is delivered later.
    """

    def __init__(self, broker_port: int, version: int = 5) -> None:
        self.messages: list[Message] = []
        self.samples: dict[str, list[Sample]] = {}
        self.events: dict[str, list[Sample]] = {}
        self._command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker_port), "-V", VERSIONS[version]]
        self._command += ["-t", "#", "-q", "2", "-i", f"listener-{broker_port}", "-c", "-F", "%q %t %p"]
        self._command += ["-x", "3600"] if version == 5 else []
        self._greeting = ["mosquitto_pub", "-p", str(broker_port), "-h", "127.0.0.1", "-q", "1", "-r", "-t", HELLO]
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        pipe = subprocess.PIPE
        greeting = await asyncio.create_subprocess_exec(*self._greeting, "-m", "subscribed")
        assert await greeting.wait() == 0, "the broker takes messages"
        self._process = await asyncio.create_subprocess_exec(*self._command, stdout=pipe, limit=LINE_BYTES_MAX)
        subscribed = asyncio.Event()
        self._reading = asyncio.create_task(self._read(subscribed))
        try:
            async with asyncio.timeout(SUBSCRIBE_MOST_S):
                await subscribed.wait()
        except TimeoutError:
            await self.__aexit__(None, None, None)
            raise AssertionError(f"mosquitto_sub has not subscribed within {SUBSCRIBE_MOST_S:.0f} s") from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._reading is not None
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()
        await self._reading

    async def _read(self, subscribed: asyncio.Event) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            qos, topic, body = line.decode().split(" ", 2)
            if topic == HELLO:
                subscribed.set()
            else:
                self._take(int(qos), topic, body)

    def _take(self, qos: int, topic: str, body: str) -> None:
        payload = json.loads(body)
        samples = [
            Sample(one["tag"], one["v"], one["q"], one["t"], one["n"], one.get("kind", "sample"))
            for one in payload["samples"]
        ]
        self.messages.append(Message(qos, topic, payload["seq"], samples))
        for sample in samples:
            kept = self.events if sample.kind == "event" else self.samples
            kept.setdefault(sample.tag, []).append(sample)

    # ---- what came ----

    def latest(self, tag: str) -> Sample | None:
        """The newest sample of a tag."""
        found = self.samples.get(tag)
        return found[-1] if found else None

    def quality(self, *tags: str) -> set[str]:
        """The newest qualities of these tags; "none" where nothing has come yet."""
        return {found.q if (found := self.latest(tag)) else "none" for tag in tags}

    @property
    def payloads(self) -> Account:
        """Payloads by their ``seq``."""
        return account(message.seq for message in self.messages)

    def numbers(self, tag: str) -> Account:
        """Samples of a tag by their ``n``."""
        return account(sample.n for sample in self.samples.get(tag, []))

    @property
    def count(self) -> int:
        """Samples of all tags."""
        return sum(len(found) for found in self.samples.values())

    def assert_whole(self) -> None:
        """No payload and no sample is missing, came twice or in another order."""
        assert self.payloads.is_whole, self.payloads
        for tag in self.samples:
            assert self.numbers(tag).is_whole, (tag, self.numbers(tag))
