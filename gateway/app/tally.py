"""Loss and duplicates as a subscriber sees them, from the numbers that sources give their records."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import msgspec

from gateway.errors import PenstockError

WRAP = 1 << 32
GAP_MAX = 1 << 20  # a larger jump is a source that began anew, not a loss


class Sample(msgspec.Struct, frozen=True):
    """One sample or event in a payload of the json_maker plugin. ``t``: Unix time in ms, ``n``: the source's number."""

    tag: str
    t: int
    n: int
    q: str
    v: bool | int | float | str | None
    unit: str = ""
    kind: str = "sample"


class Message(msgspec.Struct, frozen=True):
    """A payload of the json_maker plugin."""

    seq: int
    samples: list[Sample]


@dataclass(eq=False, slots=True)
class Sequence:
    """Follows one counter that starts at 0 and wraps at 2**32."""

    next: int = 0
    seen: int = 0
    duplicated: int = 0
    missing: set[int] = field(default_factory=set)

    @property
    def distinct(self) -> int:
        """How many different numbers have arrived."""
        return self.seen - self.duplicated

    def see(self, number: int) -> None:
        """Note the arrival of ``number``. One that arrives late is neither lost nor a duplicate."""
        self.seen += 1
        ahead = (number - self.next) % WRAP
        if ahead < GAP_MAX:
            self.missing.update((self.next + step) % WRAP for step in range(ahead))
            self.next = (number + 1) % WRAP
        elif number in self.missing:
            self.missing.remove(number)
        else:
            self.duplicated += 1


@dataclass(eq=False, slots=True)
class Tally:
    """Everything that arrived, counted; ``latest`` is the newest sample of each tag. Events are only counted: several
    stages may make some for one tag, each with numbers of its own."""

    messages: Sequence = field(default_factory=Sequence)
    tags: defaultdict[str, Sequence] = field(default_factory=lambda: defaultdict(Sequence))
    latest: dict[str, Sample] = field(default_factory=dict)
    events: int = 0

    def add(self, body: bytes) -> None:
        """Count one message. Raises PenstockError if it is not one of the json_maker plugin."""
        try:
            message = _DECODER.decode(body)
        except msgspec.DecodeError as error:
            raise PenstockError(f"a message of {len(body)} bytes that json_maker did not write: {error}") from None
        self.messages.see(message.seq)
        for sample in message.samples:
            if sample.kind == "event":
                self.events += 1
                continue
            self.tags[sample.tag].see(sample.n)
            self.latest[sample.tag] = sample

    @property
    def samples(self) -> int:
        """Samples that arrived, duplicates included."""
        return sum(sequence.seen for sequence in self.tags.values())

    @property
    def lost(self) -> int:
        """Samples whose number is missing between others that arrived."""
        return sum(len(sequence.missing) for sequence in self.tags.values())

    @property
    def duplicated(self) -> int:
        """Samples that arrived more than once."""
        return sum(sequence.duplicated for sequence in self.tags.values())


_DECODER = msgspec.json.Decoder(Message)
