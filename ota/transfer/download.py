"""Fetch one file of known length and hash straight into a Storage, over any number of connections and restarts.

Order: data, sync, checkpoint, sync. A killed process loses at most ``STEP`` bytes plus what the kernel had buffered.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from ota.clock import Cancel, Clock
from ota.digest import PIECE
from ota.durable import read_file, replace_file
from ota.errors import StorageError, TransferError, TrustError
from ota.ports import Fetcher, Request, Response, Storage
from ota.transfer.budget import BudgetFile
from ota.transfer.journal import FILE_BYTES_MAX, Checkpoint, Head, Journal, encode_head, encode_point, parse
from ota.transfer.pace import Pace, backoff_range

STEP = 128 * 1024
READ = 16 * 1024
FRUITLESS_MAX = 8
RESTARTS_MAX = 2


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to fetch: where it is, and what it must be."""

    url: str
    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Means:
    """What a download works with. ``progress`` is called with (bytes there, bytes in all) after each checkpoint."""

    fetcher: Fetcher
    clock: Clock
    cancel: Cancel
    budget: BudgetFile
    pace: Pace
    progress: Callable[[int, int], None]


class Download:
    """One file. Running it again continues it; ``forget`` ends it."""

    def __init__(self, wanted: Wanted, storage: Storage, journal: Path, means: Means) -> None:
        self._wanted = wanted
        self._storage = storage
        self._path = journal
        self._means = means
        self._hash = hashlib.sha256()
        self._done = self._marked = 0
        self._etag = ""
        self._restarts = 0

    @property
    def done(self) -> int:
        """Bytes that are there and known to be durable or just written."""
        return self._done

    def run(self) -> None:
        """Fetch what is missing. Raises TransferError when giving up for now, TrustError: other bytes than signed."""
        for _ in self.arrivals():
            pass

    def arrivals(self) -> Generator[int, None, None]:
        """The same step by step: yields how many bytes are there, at first those of earlier runs, at last all of them.

        The next step is fetched when it is asked for; closing the iterator ends the connection.
        """
        if self._wanted.length > self._storage.size:
            message = f"{self._storage.name}: {self._wanted.length} bytes do not fit into {self._storage.size}"
            raise StorageError("storage-full", message)
        self._resume()
        yield self._done
        fruitless = 0
        while self._done < self._wanted.length:
            before = self._done
            try:
                yield from self._connection()
            except TransferError as error:
                fruitless = 0 if self._done > before else fruitless + 1
                if not error.retry or fruitless > FRUITLESS_MAX:
                    raise
                pause_s = self._means.clock.uniform(*backoff_range(fruitless))
                self._means.clock.wait(max(error.wait_s, pause_s), self._means.cancel)
        if self._hash.hexdigest() != self._wanted.sha256:
            self.forget()
            raise TrustError("target-hash", f"{self._wanted.url}: the bytes are not what was signed; discarded")

    def forget(self) -> None:
        """Remove the journal: the next run starts from nothing."""
        self._path.unlink(missing_ok=True)

    def _resume(self) -> None:
        """Find the last checkpoint whose hash fits the data."""
        journal = parse(read_file(self._path, FILE_BYTES_MAX) or b"")
        same = journal is not None and (journal.head.sha256, journal.head.length) == (
            self._wanted.sha256,
            self._wanted.length,
        )
        if journal is None or not same:
            self._start_journal("")
            return
        self._etag = journal.head.etag
        kept = self._verify(journal)
        if kept < len(journal.points):
            points = b"".join(encode_point(point) for point in journal.points[:kept])
            replace_file(self._path, encode_head(journal.head) + points)
        else:
            self._cut(journal.size)

    def _cut(self, size: int) -> None:
        try:
            os.truncate(self._path, size)
        except OSError as error:
            raise StorageError("state-write", f"{self._path}: cannot be cut: {error.strerror}") from error

    def _verify(self, journal: Journal) -> int:
        """Read the data along the checkpoints; returns how many of them hold."""
        for number, point in enumerate(journal.points):
            ahead = self._hash.copy()
            at = self._done
            while at < point.offset:
                self._means.cancel.check()
                data = self._storage.read_at(at, min(PIECE, point.offset - at))
                if not data:
                    return number
                ahead.update(data)
                at += len(data)
            if ahead.digest() != point.digest:
                return number
            self._hash, self._done, self._marked = ahead, at, at
        return len(journal.points)

    def _start_journal(self, etag: str) -> None:
        self._hash, self._done, self._marked, self._etag = hashlib.sha256(), 0, 0, etag
        replace_file(self._path, encode_head(Head(self._wanted.sha256, self._wanted.length, etag)))

    def _connection(self) -> Iterator[int]:
        """One connection, from where we are; the server may make us start over, but not for ever."""
        response = self._means.fetcher.open(Request(self._wanted.url, self._done, self._etag))
        try:
            if response.total not in (None, self._wanted.length):
                message = f"{self._wanted.url}: {response.total} bytes long, signed are {self._wanted.length}"
                raise TrustError("target-length", message)
            if response.first != self._done:
                self._restarts += 1
                if self._restarts > RESTARTS_MAX:
                    message = f"{self._wanted.url}: always sent from the start: the server knows no Range"
                    raise TransferError("no-range", message, retry=False)
            if response.first != self._done or (self._done == 0 and response.etag != self._etag):
                self._start_journal(response.etag)
            yield from self._receive(response)
        finally:
            response.close()

    def _receive(self, response: Response) -> Iterator[int]:
        """Read to the end of the file or of the connection; what arrived is kept even when the connection breaks."""
        while self._done < self._wanted.length:
            goal = min(self._wanted.length, self._done + STEP)
            self._means.budget.charge(goal - self._done)
            try:
                self._fill(response, goal)
            finally:
                self._means.budget.give_back(goal - self._done)
                self._checkpoint()
            yield self._done

    def _fill(self, response: Response, goal: int) -> None:
        while self._done < goal:
            self._means.cancel.check()
            data = response.read(min(READ, goal - self._done))
            if not data:
                raise TransferError("connection-lost", f"{self._wanted.url}: ended early", retry=True)
            self._storage.write_at(self._done, data)
            self._hash.update(data)
            self._done += len(data)
            pause_s = self._means.pace.delay_s(self._means.clock.monotonic_s(), len(data))
            if pause_s:
                self._means.clock.wait(pause_s, self._means.cancel)

    def _checkpoint(self) -> None:
        if self._done == self._marked:
            return
        self._storage.sync()
        try:
            with self._path.open("ab") as file:
                file.write(encode_point(Checkpoint(self._done, self._hash.digest())))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError("state-write", f"{self._path}: cannot be written: {error.strerror}") from error
        self._marked = self._done
        self._means.progress(self._done, self._wanted.length)
