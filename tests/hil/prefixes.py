"""Power cuts after the fact: the disk after every recorded write, and with writes lost that no flush made durable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from ota.ports import BootState
from tests.hil.disk import Judge, read_state
from tests.hil.writelog import Replay, Write

SUBSETS = 3  # crash states with lost writes for every flush that makes state or data durable


@dataclass(slots=True)
class Verdict:
    """``prefixes``, ``subsets``: crash states looked at. ``states``: the boot state after the write of that number, at
    each change. ``problems``: (number of the write, what is wrong)."""

    prefixes: int = 0
    subsets: int = 0
    states: list[tuple[int, BootState | None]] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)


class Examination:
    """Replays ``writes`` on the judge's disk. ``chance``: which writes a cut loses, None for none: prefixes only."""

    def __init__(self, judge: Judge, replay: Replay, chance: Random | None) -> None:
        self._judge = judge
        self._replay = replay
        self._chance = chance
        self._floor = read_state(judge.disk)
        self._pending: list[tuple[Write, bytes]] = []
        self.verdict = Verdict()

    def run(self, writes: Sequence[Write]) -> Verdict:
        """All of it."""
        for number, write in enumerate(writes):
            self._pending.append((write, self._replay.holds(write)))
            self._replay.apply(write)
            self.verdict.prefixes += 1
            self._look(number)
            state = read_state(self._judge.disk)
            if not self.verdict.states or self.verdict.states[-1][1] != state:
                self.verdict.states.append((number, state))
            if write.flush:
                self._lose(number)
                self._floor, self._pending = state, []
        return self.verdict

    def _look(self, number: int) -> None:
        self._judge.note_written(self._replay.take_dirty())
        self.verdict.problems += [(number, problem) for problem in self._judge.problems(self._floor)]

    def _lose(self, number: int) -> None:
        """The disk with writes since the last flush missing, as a cut just before this one leaves it.

        At worst what decides has arrived, and nothing of what it decides about; else any of them, with chance 1/2.
        """
        small = any(self._judge.decides(write.offset, write.size) for write, _ in self._pending if write.size)
        if self._chance is None or not small:
            return
        worst = [self._judge.decides(write.offset, write.size) for write, _ in self._pending]
        for kept in (worst, *([self._chance.random() < 0.5 for _ in worst] for _ in range(SUBSETS - 1))):
            for write, before in reversed(self._pending):
                self._replay.put_back(write, before)
            for (write, _), stays in zip(self._pending, kept, strict=True):
                if stays:
                    self._replay.apply(write)
            self.verdict.subsets += 1
            self._look(number)
            for write, _ in self._pending:
                self._replay.apply(write)
        self._judge.note_written(self._replay.take_dirty())


def never_synced(writes: Sequence[Write], first: int, armed: int) -> list[Write]:
    """A wrong order: nothing is flushed from write ``first`` of the slot until it is on trial."""
    return [write for number, write in enumerate(writes) if not (write.flush and first <= number < armed)]
