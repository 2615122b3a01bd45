"""A boot control in memory, with the loader's part of it; for tests, and for trying the agent on a development host."""

from __future__ import annotations

from collections.abc import Callable

from ota.boot.block import decode, encode, newest
from ota.boot.loader import attempts
from ota.errors import BootError
from ota.ports import BootState


class SimulatedBoot:
    """Two copies of the state, and a machine that boots by them.

    ``store``: called with (copy, block) for every write, before it takes effect; raise from it to cut the power: what
    it has put into ``blocks`` by then is what remains.
    """

    counts_tries = True

    def __init__(self, state: BootState, store: Callable[[int, bytes], None] | None = None) -> None:
        self.blocks = [encode(state), b""]
        self.running = state.good
        self.reboots = 0
        self._store = store

    def read(self) -> BootState:
        """The newest intact copy. Raises BootError when there is none."""
        state, _ = newest([decode(block) for block in self.blocks])
        if state is None:
            raise BootError("boot-state-lost", "no intact copy of the boot state")
        return state

    def write(self, state: BootState) -> None:
        """Replace the older copy."""
        block = encode(state)
        _, copy = newest([decode(one) for one in self.blocks])
        if self._store is not None:
            self._store(copy, block)
        self.blocks[copy] = block

    def booted(self) -> str:
        """The running slot."""
        return self.running

    def reboot(self) -> None:
        """Ask for a restart; ``power_on`` carries it out."""
        self.reboots += 1

    def power_on(self, loads: Callable[[str], bool]) -> str | None:
        """Boot as a loader does; ``loads`` says whether a slot's kernel starts. None: no slot boots."""
        state, _ = newest([decode(block) for block in self.blocks])
        for attempt in attempts(state):
            if attempt.write is not None:
                try:
                    self.write(attempt.write)
                except BootError:  # as the script: what cannot be charged is not tried
                    continue
            if loads(attempt.slot):
                self.running = attempt.slot
                return attempt.slot
        return None
