"""How many bytes a metered link may still carry. ``Ledger`` and its arithmetic are pure, ``BudgetFile`` keeps it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ota.clock import Clock
from ota.durable import read_file, replace_file
from ota.errors import BudgetError, StorageError
from ota.transfer.meter import RESERVE_BYTES


@dataclass(frozen=True, slots=True)
class Allowance:
    """``limit`` bytes in each period of ``period_s`` seconds; limit 0 is no limit."""

    limit: int = 0
    period_s: int = 30 * 86_400


class Ledger(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The period that is running (its start in Unix seconds) and the bytes charged to it."""

    start_s: int = 0
    used: int = 0


def at_time(ledger: Ledger, allowance: Allowance, now_s: int) -> Ledger:
    """The ledger at a time: a new period when this one is over. A clock that goes back starts no new period."""
    if now_s < ledger.start_s + allowance.period_s:
        return ledger
    return Ledger(now_s - now_s % allowance.period_s, 0)


class BudgetFile:
    """Bytes are charged before they are fetched, so that a power cut cannot give any away. Also the Meter of a link.

    Threads and processes may share the file.
    """

    def __init__(self, path: Path, allowance: Allowance, clock: Clock) -> None:
        self._path = path
        self._allowance = allowance
        self._clock = clock

    def left(self) -> int | None:
        """Bytes that this period still allows; None is no limit."""
        if not self._allowance.limit:
            return None
        return max(0, self._allowance.limit - self._ledger().used)

    def charge(self, size: int) -> None:
        """Take bytes out of the budget. Raises BudgetError when they are not there; then nothing is taken."""
        if not self._allowance.limit:
            return
        with self._locked():
            ledger = self._ledger()
            left = max(0, self._allowance.limit - ledger.used)
            if size > left:
                wait_s = max(0.0, ledger.start_s + self._allowance.period_s - self._clock.unix_s())
                of = f"{left} of {self._allowance.limit} are left for {wait_s / 3600:.1f} h"
                raise BudgetError(f"{size} bytes are needed, {of}", wait_s)
            self._save(Ledger(ledger.start_s, ledger.used + size))

    def give_back(self, size: int) -> None:
        """Return bytes that were charged and not fetched."""
        self.spend(-size)

    def spend(self, size: int) -> None:
        """Take bytes that were carried already, whether they are left or not."""
        if size and self._allowance.limit:
            with self._locked():
                ledger = self._ledger()
                self._save(Ledger(ledger.start_s, max(0, ledger.used + size)))

    def reserve(self) -> None:
        """See Meter."""
        self.charge(RESERVE_BYTES)

    def settle(self, used: int) -> None:
        """See Meter."""
        self.spend(used - RESERVE_BYTES)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        path = self._path.with_name(self._path.name + ".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError("state-write", f"{path}: cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _ledger(self) -> Ledger:
        data = read_file(self._path, 4096)
        now_s = int(self._clock.unix_s())
        try:
            ledger = Ledger() if data is None else msgspec.json.decode(data, type=Ledger)
        except msgspec.DecodeError:  # damaged: assume the worst for this period
            ledger = Ledger(now_s - now_s % self._allowance.period_s, self._allowance.limit)
            self._save(ledger)
        return at_time(ledger, self._allowance, now_s)

    def _save(self, ledger: Ledger) -> None:
        replace_file(self._path, msgspec.json.encode(ledger))
