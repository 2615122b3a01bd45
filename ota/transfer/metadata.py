"""python-tuf's fetcher interface over ours: small files held in memory, with a few retries and a short cut."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
from tuf.api import exceptions
from tuf.ngclient.fetcher import FetcherInterface

from ota.clock import Cancel, Clock
from ota.durable import read_file
from ota.errors import Cancelled, OtaError, StorageError, TransferError, TrustError
from ota.ports import Fetcher, Request, Response
from ota.transfer.budget import BudgetFile
from ota.transfer.news import NEWS_BYTES_MAX, expand, read_news
from ota.transfer.pace import backoff_range

ATTEMPTS = 4
PIECE = 16 * 1024
CACHED_BYTES_MAX = 1024 * 1024
TIMESTAMP = "timestamp.json"

T = TypeVar("T")


class _Versioned(msgspec.Struct):
    version: int


class _Metadata(msgspec.Struct):
    signed: _Versioned


class MetadataFetcher(FetcherInterface):
    """Fetches metadata files. Nothing is written to a temporary folder, nothing beyond the limit is read.

    One object is one look at the repository: what it has found out about the newest root and timestamp it does not ask
    again. ``cache``: folder of the files that python-tuf keeps; with it news are asked for (``transfer/news.py``).
    """

    def __init__(
        self, fetcher: Fetcher, clock: Clock, cancel: Cancel, budget: BudgetFile | None = None,
        cache: Path | None = None,
    ) -> None:  # fmt: skip
        self._fetcher = fetcher
        self._budget = budget
        self._clock = clock
        self._cancel = cancel
        self._cache = cache
        self._news: dict[str, bytes] = {}
        self._cut_short = False
        self._timestamp = b""
        self._absent: set[str] = set()

    def or_without_news(self, ask: Callable[[], T]) -> T:
        """``ask``, and once more with the files themselves when what came by the short cut is refused."""
        try:
            return ask()
        except TrustError:
            if not self._cut_short:
                raise
        self._cache, self._timestamp = None, b""
        self._news.clear()
        return ask()

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """See FetcherInterface. The cause of a DownloadError is the TransferError that ended it."""
        base, _, name = url.rpartition("/")
        if re.fullmatch(r"\d+\.root\.json", name):
            return self._next_root(url, max_length)
        if name != TIMESTAMP:
            return self._by_news(name, max_length) or self._get(url, max_length)
        if not self._timestamp:
            self._timestamp = self._timestamp_by_news(base, max_length) or self._get(url, max_length)
        return self._timestamp

    def _next_root(self, url: str, max_length: int) -> bytes:
        """It is hardly ever there, and then only the head of the answer has to come."""
        if url in self._absent:
            raise exceptions.DownloadHTTPError(f"{url}: not there", 404)
        try:
            self._get(url, max_length, probe=True)
        except exceptions.DownloadHTTPError:
            self._absent.add(url)
            raise
        return self._get(url, max_length)

    # ---- news ----

    def _timestamp_by_news(self, base: str, max_length: int) -> bytes | None:
        """The cached one when nothing is new."""
        since = self._cached_snapshot()
        if since is None:
            return None
        try:
            data = self._get(f"{base}/news/{since}", NEWS_BYTES_MAX)
        except (exceptions.DownloadHTTPError, exceptions.DownloadLengthMismatchError):
            return None  # its snapshot is too old, or nobody writes news there
        self._cut_short = True
        self._news = read_news(data)
        return self._by_news(TIMESTAMP, max_length) if data else self._have("timestamp")

    def _by_news(self, name: str, max_length: int) -> bytes | None:
        stream = self._news.get(name)
        return expand(name, stream, self._have, max_length) if stream is not None else None

    def _cached_snapshot(self) -> int | None:
        """The version of it."""
        try:
            return msgspec.json.decode(self._have("snapshot") or b"", type=_Metadata).signed.version
        except msgspec.DecodeError:
            return None

    def _have(self, role: str) -> bytes | None:
        try:
            return read_file(self._cache / f"{role}.json", CACHED_BYTES_MAX) if self._cache is not None else None
        except StorageError:  # a cache that cannot be read costs bytes, no more
            return None

    # ---- fetching ----

    def _get(self, url: str, max_length: int, *, probe: bool = False) -> bytes:
        for attempt in range(ATTEMPTS):
            try:
                return self._once(Request(url, probe=probe), max_length)
            except TransferError as error:
                if not error.retry or attempt == ATTEMPTS - 1:
                    raise _as_tuf(error, url) from error
                wait_s = max(error.wait_s, self._clock.uniform(*backoff_range(attempt)))
                self._clock.wait(wait_s, self._cancel)
            except Cancelled as error:
                raise exceptions.DownloadError(str(error)) from error
        raise exceptions.DownloadError(url)

    def _once(self, request: Request, max_length: int) -> bytes:
        response = self._fetcher.open(request)
        try:
            data = bytearray()
            while piece := self._piece(response, min(PIECE, max_length + 1 - len(data))):
                data += piece
                if len(data) > max_length:
                    message = f"{request.url}: longer than the {max_length} bytes allowed"
                    raise exceptions.DownloadLengthMismatchError(message)
            return bytes(data)
        finally:
            response.close()

    def _piece(self, response: Response, size: int) -> bytes:
        """Charged before it is read."""
        if self._budget is None:
            return response.read(size)
        self._budget.charge(size)
        data = b""
        try:
            data = response.read(size)
        finally:
            self._budget.give_back(size - len(data))
        return data

    def _fetch(self, url: str) -> Iterator[bytes]:
        """Unused: only ``download_file`` would call it, and targets are not fetched through python-tuf."""
        raise exceptions.DownloadError(f"{url}: only metadata is fetched here")


def _as_tuf(error: OtaError, url: str) -> exceptions.DownloadError:
    if error.reason == "http-gone":
        return exceptions.DownloadHTTPError(f"{url}: not there", 404)
    return exceptions.DownloadError(str(error))
