"""Fakes that implement the ports: a clock moved by hand, a server in a folder, memory as storage, a boot loader."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ota.clock import Cancel, Clock
from ota.errors import StorageError, TransferError
from ota.ports import Request
from ota.repo.keys import Keyring
from ota.repo.patches import add_patch
from ota.repo.publish import add, add_code, delegate, export_trust, init
from ota.repo.repository import Repository
from ota.transfer.budget import Allowance, BudgetFile
from ota.transfer.download import Means
from ota.transfer.metadata import MetadataFetcher
from ota.transfer.pace import Pace
from ota.trust.client import Anchor, Catalogue, TrustClient
from ota.trust.floor import read_image_floor
from ota.trust.model import Custom, Release, Target

NOW = 1_800_000_000.0  # January 2027
DAY = 86_400.0
URL = "http://server"
IMAGE = "image/rpi4"


class HandClock(Clock):
    """Time passes only when somebody waits."""

    def __init__(self, unix: float = NOW) -> None:
        self.now = unix
        self.waited: list[float] = []

    def unix_s(self) -> float:
        return self.now

    def monotonic_s(self) -> float:
        return self.now

    def wait(self, seconds: float, cancel: Cancel) -> None:
        cancel.check()
        self.waited.append(seconds)
        self.now += seconds

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2


class Memory:
    """Storage in memory that can lose what was not synced."""

    def __init__(self, size: int, data: bytes = b"", name: str = "memory") -> None:
        self.name = name
        self.size = size
        self.data = bytearray(size)
        self.data[: len(data)] = data
        self.synced = bytes(self.data)

    def read_at(self, offset: int, size: int) -> bytes:
        return bytes(self.data[offset : offset + size])

    def write_at(self, offset: int, data: bytes) -> None:
        if offset + len(data) > self.size:
            raise StorageError("storage-full", f"{self.name}: full")
        self.data[offset : offset + len(data)] = data

    def sync(self) -> None:
        self.synced = bytes(self.data)

    def lose_power(self) -> None:
        """Back to what was synced."""
        self.data[:] = self.synced


@dataclass
class FolderServer:
    """A static server over the Fetcher port. ``replaced`` and ``gone`` change single paths."""

    folder: Path
    replaced: dict[str, bytes] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    etag: str = '"1"'
    wire: int = 0
    cut: Callable[[], int | None] = lambda: None

    def open(self, request: Request) -> FolderResponse:
        path = request.url.removeprefix(URL + "/")
        self.asked.append(path)
        data = self.replaced.get(path)
        if data is None:
            file = self.folder / path
            if path in self.gone or not file.is_file():
                raise TransferError("http-gone", f"{path}: 404", retry=False)
            data = file.read_bytes()
        data = b"" if request.probe else data
        first = request.first if not request.etag or request.etag == self.etag else 0
        return FolderResponse(self, data, first, self.cut())


class FolderResponse:
    """Ends with a lost connection after ``cut`` bytes."""

    def __init__(self, server: FolderServer, data: bytes, first: int, cut: int | None) -> None:
        self.first, self.total, self.etag = first, len(data), server.etag
        self._server, self._data, self._at = server, data, first
        self._left = cut if cut is not None else len(data)

    def read(self, size: int) -> bytes:
        if self._left == 0 and self._at < len(self._data):
            raise TransferError("connection-lost", "cut", retry=True)
        piece = self._data[self._at : self._at + min(size, self._left)]
        self._at += len(piece)
        self._left -= len(piece)
        self._server.wire += len(piece)
        return piece

    def close(self) -> None:
        pass


class Publisher:
    """A repository with its keys, and what a device's image knows of it."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder = folder
        self.clock = clock
        self.keys = folder / "keys"
        self.repository = self.with_keys(self.keys)

    def with_keys(self, keys: Path) -> Repository:
        return Repository(self.folder / "repo", Keyring(keys), self.clock)

    def create(self, *roles: str) -> Publisher:
        init(self.repository)
        for role in roles:
            delegate(self.repository, role, count=1, threshold=1)
        self.publish()
        return self

    def publish(self) -> list[str]:
        waiting = self.repository.finish()
        self.repository.refresh()
        return waiting

    def add(self, name: str, data: bytes, release: int, line: str = "penstock", **rollout: int) -> None:
        source = self.folder / "artefact"
        source.write_bytes(data)
        said = Release(line, release, f"v{release}", rollout=rollout or {"default": 100})
        add(self.repository, source, name, Custom(release=said))
        self.publish()

    def add_code(self, name: str, data: bytes, target: Target) -> None:
        source = self.folder / "code"
        source.write_bytes(data)
        add_code(self.repository, source, name, target)
        self.publish()

    def patch(self, name: str, source: bytes | None, compression: str = "lzma") -> None:
        old = self.folder / "old"
        if source is not None:
            old.write_bytes(source)
        add_patch(self.repository, name, old if source is not None else None, compression, self.folder)
        self.publish()

    def anchor(self, **releases: int) -> Anchor:
        export_trust(self.repository, self.folder / "trust", releases)
        trust = self.folder / "trust"
        return Anchor((trust / "root.json").read_bytes(), read_image_floor(trust / "floor.json"))

    def server(self) -> FolderServer:
        return FolderServer(self.folder / "repo")

    def copy(self, into: Path) -> Publisher:
        """The same repository and keys in another folder."""
        shutil.copytree(self.folder, into)
        return Publisher(into, self.clock)


def client(folder: Path, anchor: Anchor, clock: Clock) -> TrustClient:
    return TrustClient(folder / "state", anchor, clock)


def catalogue(
    one: TrustClient, server: FolderServer, clock: Clock, owner: str = "rpi4", kind: str = "image"
) -> Catalogue:
    fetcher = MetadataFetcher(server, clock, Cancel(), cache=one.cache)
    return fetcher.or_without_news(lambda: one.catalogue(fetcher, f"{URL}/metadata/", kind, owner))


def means(server: FolderServer, folder: Path, clock: Clock, budget: int = 0) -> Means:
    ledger = BudgetFile(folder / "budget.json", Allowance(budget), clock)
    return Means(server, clock, Cancel(), ledger, Pace(0), lambda _done, _total: None)
