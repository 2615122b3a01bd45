"""python-tuf's fetcher interface over ours: small files, held in memory, with a few retries."""

from __future__ import annotations

from collections.abc import Iterator

from tuf.api import exceptions
from tuf.ngclient.fetcher import FetcherInterface

from ota.clock import Cancel, Clock
from ota.errors import Cancelled, OtaError, TransferError
from ota.ports import Fetcher, Request, Response
from ota.transfer.budget import BudgetFile
from ota.transfer.pace import backoff_range

ATTEMPTS = 4
PIECE = 16 * 1024


class MetadataFetcher(FetcherInterface):
    """Fetches metadata files. Nothing is written to a temporary folder, nothing beyond the limit is read."""

    def __init__(self, fetcher: Fetcher, clock: Clock, cancel: Cancel, budget: BudgetFile | None = None) -> None:
        self._fetcher = fetcher
        self._budget = budget
        self._clock = clock
        self._cancel = cancel

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """See FetcherInterface. The cause of a DownloadError is the TransferError that ended it."""
        for attempt in range(ATTEMPTS):
            try:
                return self._once(url, max_length)
            except TransferError as error:
                if not error.retry or attempt == ATTEMPTS - 1:
                    raise _as_tuf(error, url) from error
                wait_s = max(error.wait_s, self._clock.uniform(*backoff_range(attempt)))
                self._clock.wait(wait_s, self._cancel)
            except Cancelled as error:
                raise exceptions.DownloadError(str(error)) from error
        raise exceptions.DownloadError(url)

    def _once(self, url: str, max_length: int) -> bytes:
        response = self._fetcher.open(Request(url))
        try:
            data = bytearray()
            while piece := self._piece(response, min(PIECE, max_length + 1 - len(data))):
                data += piece
                if len(data) > max_length:
                    raise exceptions.DownloadLengthMismatchError(f"{url}: longer than the {max_length} bytes allowed")
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
