"""The decision table, for every combination of facts."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from ota.boot.block import SLOTS, check
from ota.boot.table import (
    TABLE,
    TRIES,
    Action,
    Facts,
    Place,
    Trial,
    Verdict,
    Wish,
    arm_trial,
    begin_update,
    decide,
    facts_of,
    next_state,
    other_slot,
    rows_as_markdown,
)
from ota.errors import BootError
from ota.ports import BootState

ROOT = Path(__file__).resolve().parents[3]
BOTH = frozenset(SLOTS)


def every_facts() -> list[Facts]:
    product = itertools.product((True, False), Place, Trial, Verdict, Wish, (True, False), (True, False))
    return [Facts(*values) for values in product if (values[1] is Place.TRIAL) == (values[2] is Trial.HERE)]


def every_state() -> list[BootState]:
    found = []
    for good, trial, tries, valid in itertools.product(SLOTS, ("", *SLOTS), range(TRIES + 1), (("a",), ("b",), BOTH)):
        state = BootState(7, good, trial, tries if trial else 0, frozenset(valid))
        try:
            check(state)
        except BootError:
            continue
        found.append(state)
    return list(dict.fromkeys(found))


def test_every_combination_has_a_row_and_every_row_decides_one() -> None:
    used = {TABLE.index(decide(facts)) for facts in every_facts()}
    assert used == set(range(len(TABLE)))


def test_only_health_or_the_operator_commit() -> None:
    for facts in every_facts():
        if decide(facts).action is Action.COMMIT:
            assert facts.wish is Wish.GOOD or (facts.verdict is Verdict.HEALTHY and facts.trial is Trial.HERE)


def test_a_fallback_is_never_committed_by_itself() -> None:
    for facts in every_facts():
        if facts.place is Place.STRAY and facts.intact and facts.wish is Wish.NONE:
            assert decide(facts).action in (Action.STAY, Action.CLEAR, Action.TRY)


def test_a_committed_healthy_system_is_left_alone() -> None:
    for verdict in Verdict:
        facts = facts_of(BootState(3, "a", "", 0, BOTH), "a", verdict)
        assert decide(facts).action is Action.RUN


def test_what_is_written_is_bootable_and_keeps_a_way_back() -> None:
    for state, booted, verdict, wish, asked in itertools.product(every_state(), SLOTS, Verdict, Wish, (True, False)):
        facts = facts_of(state, booted, verdict, wish, asked=asked)
        after = next_state(decide(facts).action, state, booted)
        if after is None:
            continue
        check(after)
        assert after.generation == state.generation + 1
        assert state.good in after.valid, "the slot that was good can still be gone back to"
        if after.trial:
            assert after.tries_left == TRIES


def test_a_trial_that_failed_is_no_fallback_either() -> None:
    state = BootState(4, "a", "b", 0, BOTH)
    row = decide(facts_of(state, "a", Verdict.PENDING))
    assert row.action is Action.CLEAR
    assert next_state(row.action, state, "a") == BootState(5, "a", "", 0, frozenset("a"))


def test_a_loader_that_does_not_take_up_a_trial_is_asked_once() -> None:
    state = BootState(4, "a", "b", TRIES, BOTH)
    assert decide(facts_of(state, "a", Verdict.PENDING)).action is Action.TRY
    assert decide(facts_of(state, "a", Verdict.PENDING, asked=True)).action is Action.CLEAR


@pytest.mark.parametrize("booted", SLOTS)
def test_update_takes_the_other_slot_off_first(booted: str) -> None:
    other = other_slot(booted)
    before = BootState(8, booted, "", 0, BOTH)
    begun = begin_update(before, booted)
    assert begun == BootState(9, booted, "", 0, frozenset(booted))
    assert arm_trial(begun, booted) == BootState(10, booted, other, TRIES, BOTH)


def test_nothing_is_installed_over_the_way_back_of_a_trial() -> None:
    with pytest.raises(BootError, match="on trial"):
        begin_update(BootState(8, "a", "b", 2, BOTH), "b")


def test_lost_state_is_written_anew_for_what_runs() -> None:
    row = decide(facts_of(None, "b", Verdict.PENDING))
    assert next_state(row.action, None, "b") == BootState(1, "b", "", 0, frozenset("b"))


def test_rollback_from_a_fallback_goes_back_to_the_committed_slot() -> None:
    state = BootState(8, "a", "", 0, BOTH)
    assert next_state(Action.RETURN, state, "b") == BootState(9, "a", "", 0, BOTH)


def test_document_shows_this_table() -> None:
    text = (ROOT / "docs" / "ota.md").read_text("utf-8")
    shown = re.search(r"^\| # \| when \| action \| why \|\n(?:\|.*\n)+", text, re.MULTILINE)
    assert shown is not None, "docs/ota.md has no decision table"
    assert shown[0] == rows_as_markdown(), "run: python -m ota.boot.table"
