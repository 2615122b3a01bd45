"""What the agent does about the boot state: an ordered table, facts to action; the first row that fits decides.

Pure: nothing here reads or writes. ``docs/ota.md`` shows the table as ``rows_as_markdown`` prints it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

from ota.boot.block import SLOTS
from ota.errors import BootError
from ota.ports import BootState

TRIES = 3
"""Boots that a slot on trial gets to prove itself."""


class Place(Enum):
    """Where this system was started from."""

    GOOD = "the committed slot"
    TRIAL = "the slot on trial"
    STRAY = "neither"


class Trial(Enum):
    """What there is on trial."""

    NONE = "nothing"
    HERE = "this slot"
    WAITS = "the other slot, not booted"
    TRIED = "the other slot, and it came back"


class Verdict(Enum):
    """What is known about the health of this system."""

    PENDING = "pending"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class Wish(Enum):
    """What the operator asked for."""

    NONE = "nothing"
    GOOD = "mark-good"
    BAD = "mark-bad"
    BACK = "rollback"


class Action(Enum):
    """What to do; ``next_state`` says what that writes."""

    RUN = "run"
    WATCH = "watch"
    COMMIT = "commit"
    REJECT = "reject"
    CLEAR = "clear"
    TRY = "try"
    STAY = "stay"
    RETURN = "return"
    REFUSE = "refuse"
    REPAIR = "repair"


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything a decision depends on.

    ``intact``: a copy of the boot state could be read. ``asked``: an earlier boot asked for the reboot into the trial.
    ``other_valid``: the slot that is not running holds a complete, verified image.
    """

    intact: bool
    place: Place
    trial: Trial
    verdict: Verdict
    wish: Wish
    asked: bool
    other_valid: bool


@dataclass(frozen=True, slots=True)
class Row:
    """Fits when every named fact has one of the given values."""

    needs: Mapping[str, tuple[object, ...]]
    action: Action
    why: str


TABLE: tuple[Row, ...] = (
    Row({"intact": (False,)}, Action.REPAIR, "both copies are lost: what runs is what there is"),
    Row({"trial": (Trial.HERE,), "wish": (Wish.BAD, Wish.BACK)}, Action.REJECT, "the operator rejects the trial"),
    Row({"trial": (Trial.HERE,), "wish": (Wish.GOOD,)}, Action.COMMIT, "the operator accepts the trial"),
    Row({"trial": (Trial.HERE,), "verdict": (Verdict.UNHEALTHY,)}, Action.REJECT, "the gateway is not healthy"),
    Row({"trial": (Trial.HERE,), "verdict": (Verdict.HEALTHY,)}, Action.COMMIT, "healthy for the set time"),
    Row({"trial": (Trial.HERE,)}, Action.WATCH, "the watchdog is armed, health is awaited"),
    Row({"trial": (Trial.TRIED,)}, Action.CLEAR, "the trial failed: report it, never try that hash again"),
    Row({"trial": (Trial.WAITS,), "wish": (Wish.BAD, Wish.BACK)}, Action.CLEAR, "the operator withdraws the trial"),
    Row({"trial": (Trial.WAITS,), "asked": (True,)}, Action.CLEAR, "the loader did not take the trial up: report it"),
    Row({"trial": (Trial.WAITS,)}, Action.TRY, "reboot into the trial"),
    Row({"place": (Place.STRAY,), "wish": (Wish.GOOD,)}, Action.COMMIT, "the operator accepts the fallback"),
    Row({"wish": (Wish.BAD, Wish.BACK), "other_valid": (True,)}, Action.RETURN, "the other slot goes on trial"),
    Row({"wish": (Wish.BAD, Wish.BACK)}, Action.REFUSE, "the other slot holds no complete image"),
    Row({"place": (Place.STRAY,)}, Action.STAY, "the committed slot did not load: report it, commit nothing"),
    Row({}, Action.RUN, "nothing is on trial"),
)


def decide(facts: Facts) -> Row:
    """The first row that fits."""
    return next(row for row in TABLE if _fits(row, facts))


def _fits(row: Row, facts: Facts) -> bool:
    return all(getattr(facts, name) in values for name, values in row.needs.items())


def facts_of(
    state: BootState | None,
    booted: str,
    verdict: Verdict,
    wish: Wish = Wish.NONE,
    *,
    asked: bool = False,
    counts: bool = True,
) -> Facts:
    """The facts of a system that runs from slot ``booted``.

    ``counts``: see BootControl; a loader that does not is asked again as long as there are tries.
    """
    if state is None:
        return Facts(False, Place.STRAY, Trial.NONE, verdict, wish, asked, other_valid=False)
    trial = Trial.NONE
    if state.trial:
        waits = state.tries_left >= (TRIES if counts else 1)
        asked = asked and counts
        trial = Trial.HERE if state.trial == booted else Trial.WAITS if waits else Trial.TRIED
    place = Place.TRIAL if trial is Trial.HERE else Place.GOOD if booted == state.good else Place.STRAY
    return Facts(True, place, trial, verdict, wish, asked, other_valid=other_slot(booted) in state.valid)


def next_state(action: Action, state: BootState | None, booted: str) -> BootState | None:
    """What an action writes; None: nothing. RETURN and TRY are followed by a reboot, and so is REJECT."""
    if action is Action.REPAIR:
        return BootState(1, booted, "", 0, frozenset(booted))
    if state is None:
        return None
    fresh = replace(state, generation=state.generation + 1)
    match action:
        case Action.COMMIT:
            return replace(fresh, good=booted, trial="", tries_left=0, valid=state.valid | {booted})
        case Action.REJECT | Action.CLEAR:
            return replace(fresh, trial="", tries_left=0, valid=state.valid - {state.trial})
        case Action.RETURN:
            return _returning(fresh, booted)
        case _:
            return None


def _returning(fresh: BootState, booted: str) -> BootState:
    """Towards the other slot: on trial, or just committed again when the running one was only a fallback for it."""
    other = other_slot(booted)
    if other == fresh.good:
        return replace(fresh, trial="", tries_left=0)
    return replace(fresh, trial=other, tries_left=TRIES)


def begin_update(state: BootState, booted: str) -> BootState:
    """Written before the first byte goes to the other slot: from then on nobody boots it.

    From a fallback this commits the running slot: the committed one did not load and is about to be overwritten. Raises
    BootError on trial: what has not proved itself must not overwrite what it would fall back to.
    """
    if state.trial == booted:
        raise BootError("on-trial", f"slot {booted!r} is on trial: install again when it is committed or rolled back")
    target = other_slot(booted)
    kept = state.valid - {target} | {booted}
    return replace(state, generation=state.generation + 1, good=booted, trial="", tries_left=0, valid=kept)


def arm_trial(state: BootState, booted: str) -> BootState:
    """Written when the other slot is complete, synced and verified; then the machine reboots."""
    target = other_slot(booted)
    return replace(state, generation=state.generation + 1, trial=target, tries_left=TRIES, valid=state.valid | {target})


def other_slot(slot: str) -> str:
    """The slot that is not this one."""
    return SLOTS[1 - SLOTS.index(slot)]


def rows_as_markdown() -> str:
    """The table for ``docs/ota.md``."""
    lines = ["| # | when | action | why |", "|---|---|---|---|"]
    for number, row in enumerate(TABLE, 1):
        when = "; ".join(f"{name}: {_shown(values)}" for name, values in row.needs.items()) or "else"
        lines.append(f"| {number} | {when} | **{row.action.value}** | {row.why} |")
    return "\n".join(lines) + "\n"


def _shown(values: tuple[object, ...]) -> str:
    return " or ".join(str(one.value) if isinstance(one, Enum) else "yes" if one else "no" for one in values)


if __name__ == "__main__":
    print(rows_as_markdown(), end="")
