"""The state machine of a device: acts on the decision table, installs images into the slot that is not running.

Every durable effect is one call of a port, in an order that leaves the device bootable when the power fails before, in
or after any of them; ``tests/ota/agent/test_power_cuts.py`` cuts it there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ota.agent.notebook import Entry, Image, Notebook, StateFiles, read_notebook, write_notebook
from ota.boot.table import (
    Action,
    Trial,
    Verdict,
    Wish,
    arm_trial,
    begin_update,
    decide,
    facts_of,
    next_state,
    other_slot,
)
from ota.clock import Cancel, Clock
from ota.digest import sha256_of
from ota.errors import BootError, StorageError, TrustError
from ota.ports import BootControl, BootState, Slots, Storage

UNHEARD = "the new system was never heard of: it did not start, hung, or did not stay up long enough to report"


class Fill(Protocol):
    """Brings the bytes of an artefact into a slot."""

    def __call__(self, image: Image, slot: Storage, cancel: Cancel) -> None:
        """Return when all of it is in the slot, synced, and has been read back and verified. Raises OtaError."""


class Device:
    """One device between two boots. ``boot_id`` differs in each boot; ``tell`` gets durable history entries."""

    def __init__(
        self,
        boot: BootControl,
        slots: Slots,
        files: StateFiles,
        clock: Clock,
        boot_id: str,
        tell: Callable[[Entry], None],
    ) -> None:
        self._boot = boot
        self._slots = slots
        self._files = files
        self._clock = clock
        self._boot_id = boot_id
        self._tell = tell
        self.slot = boot.booted()
        self.notebook: Notebook = read_notebook(files)

    def state(self) -> BootState | None:
        """The boot state; None when both copies are lost. Raises BootError when it cannot be read at all."""
        try:
            return self._boot.read()
        except BootError as error:
            if error.reason == "boot-state-lost":
                return None
            raise

    # ---- deciding ----

    def settle(self, verdict: Verdict = Verdict.PENDING, wish: Wish = Wish.NONE, reason: str = "") -> Action:
        """Decide and act. ``reason``: why the verdict or the wish. WATCH: call again with a verdict.

        Raises BootError, StorageError: nothing changed, the same decision comes again.
        """
        state = self.state()
        if state is not None and state.trial == self.slot and self._bad_reason(self.slot) and wish is Wish.NONE:
            verdict, reason = Verdict.UNHEALTHY, self._bad_reason(self.slot)  # decided before the power failed
        asked = self.notebook.asked not in ("", self._boot_id)
        facts = facts_of(state, self.slot, verdict, wish, asked=asked, counts=self._boot.counts_tries)
        row = decide(facts)
        why = reason or row.why
        if row.action is Action.CLEAR and facts.trial is Trial.TRIED:
            why = self.notebook.complaint or UNHEARD
        self._act(row.action, state, why, withdrawn=wish is not Wish.NONE)
        return row.action

    def _act(self, action: Action, state: BootState | None, why: str, *, withdrawn: bool) -> None:
        after = next_state(action, state, self.slot)
        if action in (Action.REJECT, Action.CLEAR):
            assert state is not None
            try:
                self._give_up(state.trial, why, withdrawn=withdrawn and action is Action.CLEAR)
            except StorageError:
                if action is Action.CLEAR:
                    raise
                # A sick system does not stay because its disk is full; the worst is that it is tried once more.
        if after is not None:
            self._boot.write(after)
        if action is Action.COMMIT:
            self._note_committed(why)
        elif action is Action.RUN and self._last_event(self.slot) == "installed":
            self._note_committed("committed before the power failed")
        elif action is Action.REPAIR:
            self._record("repaired", self.slot, why)
        elif action is Action.STAY:
            self._record_once("fallback", self.slot, why)
        elif action is Action.TRY:
            self._note_asked()
        if action in (Action.REJECT, Action.TRY, Action.RETURN):
            self._boot.reboot()

    def _give_up(self, slot: str, why: str, *, withdrawn: bool) -> None:
        """Before the boot state forgets the trial, the notebook must know that its image failed, and why."""
        image = self.notebook.images.get(slot)
        if image is not None and not withdrawn and image.sha256 not in self.notebook.bad:
            self.notebook.bad = {**self.notebook.bad, image.sha256: why}
        self.notebook.asked = self.notebook.complaint = ""
        self._record_once("withdrawn" if withdrawn else "rolled-back", slot, why)

    # ---- installing ----

    def install(self, image: Image, fill: Fill, cancel: Cancel) -> None:
        """Fill the other slot, put it on trial, ask for the reboot. Raises OtaError; the running system stays as it is.

        An image that has failed here is refused; one that runs already is a success without doing anything.
        """
        begun = self._filled(image, fill, cancel)
        if begun is not None:
            self._record("installed", other_slot(self.slot), "")
            self._boot.write(arm_trial(begun, self.slot))
            self._note_asked()
            self._boot.reboot()

    def prepare(self, image: Image, fill: Fill, cancel: Cancel) -> None:
        """Fill the other slot, no more: nothing boots it before ``install``, which finds it filled. Raises OtaError."""
        if self._filled(image, fill, cancel) is not None:
            self._record_once("fetched", other_slot(self.slot), "")

    def _filled(self, image: Image, fill: Fill, cancel: Cancel) -> BootState | None:
        """The boot state with a filled other slot that is not valid yet; None when this image runs already."""
        if image.sha256 in self.notebook.bad:
            reason = self.notebook.bad[image.sha256]
            raise TrustError("known-bad", f"{image.version} has failed on this device and is not tried again: {reason}")
        state = self.state()
        if state is None:
            raise BootError("boot-state-lost", "the boot state is lost and must be repaired first: restart the agent")
        running = self.notebook.images.get(self.slot)
        if running is not None and running.sha256 == image.sha256 and state.good == self.slot:
            return None
        target = other_slot(self.slot)
        storage = self._slots.storage(target)
        begun = begin_update(state, self.slot)
        if self.notebook.images.get(target) == image and _holds(storage, image):  # it was fetched before
            self.notebook.asked = self.notebook.complaint = ""
            return begun
        self._boot.write(begun)
        self._forget(target)
        fill(image, storage, cancel)
        cancel.check()
        self.notebook.images = {**self.notebook.images, target: image}
        return begun

    def _forget(self, slot: str) -> None:
        self.notebook.images = {name: image for name, image in self.notebook.images.items() if name != slot}
        self.notebook.asked = self.notebook.complaint = ""
        self._save()

    # ---- remembering ----

    def complain(self, complaint: str) -> None:
        """While on trial: what is wrong so far, for the other slot to report if this one does not live to do it."""
        if complaint != self.notebook.complaint:
            self.notebook.complaint = complaint
            self._save()

    def note_plugin(self, entry: Entry, *, bad: bool) -> None:
        """Something happened to a plugin; ``bad``: its hash is never tried again."""
        if bad:
            self.notebook.bad = {**self.notebook.bad, entry.sha256: entry.reason}
        self.notebook.add(entry)
        self._save()
        self._tell(entry)

    def _note_committed(self, why: str) -> None:
        image = self.notebook.images.get(self.slot)
        if image is not None:  # the operator may accept what was rejected before
            self.notebook.bad = {sha256: text for sha256, text in self.notebook.bad.items() if sha256 != image.sha256}
        self.notebook.asked = self.notebook.complaint = ""
        self._record("committed", self.slot, why)

    def _bad_reason(self, slot: str) -> str:
        image = self.notebook.images.get(slot)
        return self.notebook.bad.get(image.sha256, "") if image is not None else ""

    def _last_event(self, slot: str) -> str:
        return next((entry.event for entry in reversed(self.notebook.history) if entry.slot == slot), "")

    def _note_asked(self) -> None:
        self.notebook.asked = self._boot_id
        self._save()

    def _record_once(self, event: str, slot: str, reason: str) -> None:
        """A decision that is taken again after a power cut is recorded once."""
        image = self.notebook.images.get(slot)
        last = self.notebook.history[-1] if self.notebook.history else None
        if last is not None and (last.event, last.slot, last.sha256) == (event, slot, image.sha256 if image else ""):
            self._save()
            return
        self._record(event, slot, reason)

    def _record(self, event: str, slot: str, reason: str) -> None:
        image = self.notebook.images.get(slot) or Image("", 0, "")
        entry = Entry(int(self._clock.unix_s()), event, slot, image.version, image.sha256, reason)
        self.notebook.add(entry)
        self._save()
        self._tell(entry)

    def _save(self) -> None:
        write_notebook(self._files, self.notebook)


def _holds(storage: Storage, image: Image) -> bool:
    try:
        return sha256_of(storage, image.length) == image.sha256
    except StorageError:
        return False
