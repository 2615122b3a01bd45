"""What every boot loader does with the boot state: which slots it tries, in which order, after which write.

This is the specification of the boot script (``boot/script.py``) and of the simulated loader; a test runs the script in
a real U-Boot and compares.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ota.boot.block import SLOTS
from ota.ports import BootState


@dataclass(frozen=True, slots=True)
class Attempt:
    """Boot ``slot``. ``write``: the state that must be stored before; if that fails the attempt is left out."""

    slot: str
    write: BootState | None
    why: str


def attempts(state: BootState | None) -> tuple[Attempt, ...]:
    """What the loader tries in turn, until a kernel starts. ``state``: the newest intact copy."""
    if state is None:
        return tuple(Attempt(slot, None, "no intact boot state") for slot in SLOTS)
    order = []
    if state.trial and state.tries_left > 0:
        charged = replace(state, generation=state.generation + 1, tries_left=state.tries_left - 1)
        order.append(Attempt(state.trial, charged, "on trial, one try less"))
    order.append(Attempt(state.good, None, "committed"))
    order += [
        Attempt(slot, None, "the committed slot does not load, this one is complete")
        for slot in SLOTS
        if slot != state.good and slot in state.valid
    ]
    return tuple(order)
