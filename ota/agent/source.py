"""Where updates come from: the repository's server, a folder with the same content, or a bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ota.agent.settings import Settings
from ota.clock import Cancel, Clock
from ota.errors import TransferError, UsageError
from ota.ports import Fetcher, Request
from ota.transfer.budget import Allowance, BudgetFile
from ota.transfer.download import Means
from ota.transfer.http import HttpFetcher, Server, tls_context
from ota.transfer.metadata import MetadataFetcher
from ota.transfer.pace import Pace, Patience
from ota.trust.bundle import BASE, Bundle, bundle_catalogue
from ota.trust.choice import Device, newest
from ota.trust.client import Anchor, Catalogue, TrustClient
from ota.trust.model import Artefact, role_of

DAY_S = 86_400
Progress = Callable[[int, int], None]
FOLDER = "folder:/"


@dataclass(frozen=True, slots=True)
class Offer:
    """A release that this device may take."""

    artefact: Artefact
    catalogue: Catalogue


@dataclass(frozen=True, slots=True)
class Way:
    """How bytes come: ``base``: what names are put behind; ``rate`` in bytes/s, 0: no limit."""

    fetcher: Fetcher
    base: str
    budget: BudgetFile
    rate: int


class Source:
    """Trusted metadata and the bytes it speaks of. ``passed_over``: newest releases that failed here, by name."""

    def __init__(self, settings: Settings, clock: Clock, way: Way, catalogue: Callable[[str, str], Catalogue]) -> None:
        self.base = way.base
        self.passed_over: dict[str, str] = {}
        self._settings = settings
        self._clock = clock
        self._way = way
        self._catalogue = catalogue

    def newest(self, line: str, bad: frozenset[str]) -> Offer | None:
        """Refresh, then choose from a line. Raises TrustError, TransferError, StorageError."""
        catalogue, keys = self._of(line), self._settings.device
        device = Device(keys.id, keys.group)
        best = newest(catalogue.artefacts, line, device, frozenset())
        if best is not None and best.file.sha256 in bad:
            self.passed_over[best.file.name] = best.file.sha256
        chosen = newest(catalogue.artefacts, line, device, bad)
        return Offer(chosen, catalogue) if chosen is not None else None

    def exactly(self, line: str, sha256: str) -> Offer | None:
        """Refresh, then the artefact of a line with this hash, whatever the rollout says. Raises as ``newest``."""
        catalogue = self._of(line)
        found = [one for one in catalogue.artefacts if (one.line, one.file.sha256) == (line, sha256)]
        return Offer(found[0], catalogue) if found else None

    def artefacts(self, line: str) -> list[Artefact]:
        """Refresh, then everything of a line. Raises as ``newest``."""
        return [one for one in self._of(line).artefacts if one.line == line]

    def _of(self, line: str) -> Catalogue:
        kind, owner, _ = line.split("/")
        return self._catalogue(kind, owner)

    def means(self, cancel: Cancel, progress: Progress = lambda _done, _total: None) -> Means:
        """For fetching; ``progress`` is called with (bytes there, bytes in all)."""
        way = self._way
        return Means(way.fetcher, self._clock, cancel, way.budget, Pace(way.rate), progress)


def budget_of(settings: Settings, clock: Clock) -> BudgetFile:
    """The account of the device's link."""
    link = settings.link
    return BudgetFile(
        settings.paths.state / "budget.json", Allowance(link.budget_bytes, link.budget_days * DAY_S), clock
    )


def online(settings: Settings, client: TrustClient, clock: Clock, cancel: Cancel, url: str = "") -> Source:
    """The server of the settings, or another URL."""
    keys = settings.repository
    root, budget = (url or keys.url).rstrip("/"), budget_of(settings, clock)
    tls = tls_context(keys.ca or None, keys.certificate or None, keys.key or None)
    fetcher = HttpFetcher(Server(tls, keys.plain), clock, cancel, Patience(), budget)
    return _tuf(settings, client, clock, cancel, Way(fetcher, root, budget, settings.link.rate_bytes_s))


def folder(settings: Settings, client: TrustClient, clock: Clock, cancel: Cancel, path: Path) -> Source:
    """A copy of the repository's folder."""
    return _tuf(settings, client, clock, cancel, Way(_Folder(path), FOLDER.rstrip("/"), _free(settings, clock), 0))


def _tuf(settings: Settings, client: TrustClient, clock: Clock, cancel: Cancel, way: Way) -> Source:
    metadata = MetadataFetcher(way.fetcher, clock, cancel, way.budget, client.cache)

    def catalogue(kind: str, owner: str) -> Catalogue:
        return metadata.or_without_news(lambda: client.catalogue(metadata, f"{way.base}/metadata/", kind, owner))

    return Source(settings, clock, replace(way, base=f"{way.base}/targets"), catalogue)


def _free(settings: Settings, clock: Clock) -> BudgetFile:
    """For what comes from a stick."""
    return BudgetFile(settings.paths.state / "budget.json", Allowance(), clock)


@contextmanager
def bundle(settings: Settings, client: TrustClient, anchor: Anchor, clock: Clock, path: Path) -> Iterator[Source]:
    """A bundle file; open as long as the context."""
    with Bundle(path, Cancel()) as opened:
        lines = [settings.image.line, *(plugin.line for plugin in settings.plugin)]
        roles = sorted({role_of(*line.split("/")[:2]) for line in lines})
        if not any(opened.read(f"{role}.json") for role in roles):
            raise UsageError(f"{path}: holds nothing of {' or '.join(roles)}, which is what this device installs")

        def catalogue(kind: str, owner: str) -> Catalogue:
            if opened.read(f"{role_of(kind, owner)}.json") is None:  # a bundle is about one owner
                return Catalogue((), ())
            return bundle_catalogue(opened.read, anchor, client, kind, owner)

        yield Source(settings, clock, Way(opened, BASE, _free(settings, clock), 0), catalogue)


class _Folder:
    """The Fetcher port over files."""

    def __init__(self, root: Path) -> None:
        if not (root / "metadata").is_dir():
            raise UsageError(f"{root}: holds no metadata/: not a repository")
        self._root = root.resolve()

    def open(self, request: Request) -> _File:
        path = (self._root / request.url.removeprefix(FOLDER)).resolve()
        if not path.is_relative_to(self._root) or not path.is_file():
            raise TransferError("http-gone", f"{path}: not there", retry=False)
        return _File(path, request.first)


class _File:
    """See Response."""

    etag = ""

    def __init__(self, path: Path, first: int) -> None:
        self.first = first
        self.total = path.stat().st_size
        self._file = path.open("rb")
        self._file.seek(first)

    def read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            raise TransferError("file-read", f"{self._file.name}: {error.strerror}", retry=False) from error

    def close(self) -> None:
        self._file.close()
