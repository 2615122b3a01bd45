"""News are a short cut: they save bytes, and whatever is wrong with them, a device ends with what is signed."""

from __future__ import annotations

import random
import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest

from ota.clock import Cancel
from ota.errors import TrustError
from ota.transfer.metadata import MetadataFetcher
from ota.transfer.news import NEWS_BYTES_MAX, NEWS_SINCE_MAX, expand, read_news, write_news
from ota.trust.client import Catalogue, TrustClient
from tests.ota.world import DAY, IMAGE, URL, FolderServer, HandClock, Publisher, catalogue, client

SEED = 27
OLD = {
    "root": b"a root with keys",
    "snapshot": b"a snapshot with hashes",
    "plugin-acme": random.Random(1).randbytes(900),
}
NEW = {
    "timestamp.json": b"a root with hashes",
    "2.snapshot.json": b"a snapshot",
    "2.plugin-acme.json": OLD["plugin-acme"] + b"!",
}


def have(role: str) -> bytes | None:
    return OLD.get(role)


def nothing(_role: str) -> bytes | None:
    return None


def entry(name: str, stream: bytes) -> bytes:
    return struct.pack(">BH", len(name), len(stream)) + name.encode() + stream


# ---- the format ----


def test_there_and_back() -> None:
    news = write_news(NEW.items(), have)
    assert len(news) < 200, "what is known already costs next to nothing"
    assert {name: expand(name, stream, have, 1000) for name, stream in read_news(news).items()} == NEW


def test_what_starts_from_something_else_gives_nothing() -> None:
    streams = read_news(write_news(NEW.items(), have))
    for name, stream in streams.items():
        assert expand(name, stream, lambda _role: b"another", 1000) is None
        assert expand(name, stream, nothing, 1000) is None


def test_damaged_news_give_nothing_wrong() -> None:
    """Every bit flipped, every length cut off."""
    news = write_news(NEW.items(), have)
    damaged = [news[:length] for length in range(len(news))]
    for at in range(len(news) * 8):
        flipped = bytearray(news)
        flipped[at // 8] ^= 1 << at % 8
        damaged.append(bytes(flipped))
    for data in damaged:
        for name, stream in read_news(data).items():
            assert expand(name, stream, have, 1000) in (None, *NEW.values())


def test_random_bytes_are_no_news() -> None:
    chance = random.Random(SEED)
    for _ in range(2000):
        for name, stream in read_news(chance.randbytes(chance.randrange(300))).items():
            assert expand(name, stream, have, 1000) is None


def test_a_bomb_takes_no_more_than_the_limit() -> None:
    bomb = zlib.compress(bytes(50 << 20), 9)
    assert len(bomb) < 0xFFFF
    tracemalloc.start()
    assert expand("timestamp.json", bomb, nothing, 16 * 1024) is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 256 * 1024
    assert expand("timestamp.json", zlib.compress(bytes(16 * 1024 + 1)), nothing, 16 * 1024) is None
    assert expand("timestamp.json", zlib.compress(bytes(16 * 1024)), nothing, 16 * 1024) == bytes(16 * 1024)


def test_what_does_not_fit_is_left_out() -> None:
    noise = random.Random(SEED).randbytes(NEWS_BYTES_MAX)
    files = [("timestamp.json", b"t"), ("2.long.json", noise + noise), ("2.large.json", noise), ("2.small.json", b"s")]
    assert list(read_news(write_news(files, nothing))) == ["timestamp.json", "2.small.json"]


# ---- a device that uses them ----


class Polling:
    """A device that has polled once, and what it asks for from then on."""

    def __init__(self, publisher: Publisher, folder: Path, clock: HandClock) -> None:
        self.server = publisher.server()
        self.clock = clock
        self.client: TrustClient = client(folder, publisher.anchor(), clock)
        self.snapshot = publisher.repository.effective("snapshot").version
        self.poll()
        self.server.asked.clear()

    @property
    def news(self) -> str:
        return f"metadata/news/{self.snapshot}"

    def poll(self) -> Catalogue:
        return catalogue(self.client, self.server, self.clock)

    def is_right(self, publisher: Publisher, folder: Path) -> bool:
        """Does it see what a device sees that has never heard of news?"""
        fresh = client(folder / "fresh", publisher.anchor(), self.clock)
        return self.poll() == catalogue(fresh, publisher.server(), self.clock)


@pytest.fixture
def polling(publisher: Publisher, tmp_path: Path, clock: HandClock) -> Polling:
    return Polling(publisher, tmp_path, clock)


def release(publisher: Publisher) -> None:
    publisher.add(f"{IMAGE}/p-2.img", b"two", 2)


def test_nothing_new(polling: Polling) -> None:
    polling.server.wire = 0
    assert len(polling.poll().artefacts) == 1
    assert polling.server.asked == ["metadata/2.root.json", polling.news]
    assert polling.server.wire == 0


def test_an_update_is_one_request(polling: Polling, publisher: Publisher, tmp_path: Path) -> None:
    release(publisher)
    polling.server.wire = 0
    assert polling.is_right(publisher, tmp_path)
    assert polling.server.asked == ["metadata/2.root.json", polling.news]
    assert polling.server.wire < 800


def test_all_owners_in_one_look(polling: Polling, publisher: Publisher) -> None:
    """Roots and timestamps are asked for once in a look, whatever a device installs."""
    for _ in range(2):
        fetcher = MetadataFetcher(polling.server, polling.clock, Cancel(), cache=polling.client.cache)
        for kind, owner in (("image", "rpi4"), ("plugin", "acme"), ("image", "rpi4")):
            polling.client.catalogue(fetcher, f"{URL}/metadata/", kind, owner)
        publisher.add("plugin/acme/p-1.wasm", b"one", 1)
    assert polling.server.asked == [
        "metadata/2.root.json", polling.news, "metadata/1.plugin-acme.json",
        "metadata/2.root.json", f"metadata/news/{polling.snapshot}",
    ]  # fmt: skip


def test_a_new_root_comes_first(polling: Polling, publisher: Publisher, tmp_path: Path) -> None:
    from ota.repo.publish import rotate

    rotate(publisher.repository, "timestamp", publisher.repository.effective_keys("timestamp")[0])
    release(publisher)
    assert polling.is_right(publisher, tmp_path)
    root = "metadata/2.root.json"
    assert polling.server.asked == [root, root, "metadata/3.root.json", polling.news], "asked whether, then fetched"


def test_news_of_the_last_snapshots_only(polling: Polling, publisher: Publisher, tmp_path: Path) -> None:
    for _ in range(NEWS_SINCE_MAX + 1):
        publisher.repository.refresh()
    newest = publisher.repository.effective("snapshot").version
    kept = sorted(int(path.name) for path in (publisher.repository.metadata / "news").iterdir())
    assert kept == list(range(newest - NEWS_SINCE_MAX, newest + 1))
    assert polling.is_right(publisher, tmp_path), "by the files themselves"
    assert "metadata/timestamp.json" in polling.server.asked


def test_without_news_nothing_is_missing(polling: Polling, publisher: Publisher, tmp_path: Path) -> None:
    """As with repositories of earlier versions."""
    release(publisher)
    polling.server.gone.add(polling.news)
    assert polling.is_right(publisher, tmp_path)


@pytest.mark.parametrize("wrong", ["noise", "endless", "bomb", "cut", "flipped", "other", "replayed", "stuck"])
def test_wrong_news_change_nothing(
    polling: Polling, publisher: Publisher, tmp_path: Path, clock: HandClock, wrong: str
) -> None:
    before = (publisher.repository.metadata / "timestamp.json").read_bytes()
    clock.now += DAY
    release(publisher)
    publisher.repository.refresh()
    good = (publisher.repository.metadata / polling.news.removeprefix("metadata/")).read_bytes()
    other = (publisher.repository.metadata / f"news/{polling.snapshot + 1}").read_bytes()
    polling.server.replaced[polling.news] = {
        "noise": random.Random(SEED).randbytes(500),
        "endless": bytes(10_000_000),
        "bomb": entry("timestamp.json", zlib.compress(bytes(50 << 20), 9)),
        "cut": good[: len(good) // 2],
        "flipped": bytes([*good[:200], good[200] ^ 1, *good[201:]]),
        "other": other,
        "replayed": entry("timestamp.json", zlib.compress(before)),
        "stuck": b"",
    }[wrong]
    if wrong in ("stuck", "replayed"):  # the same as a repository that is frozen, and as long
        assert len(polling.poll().artefacts) == 1
        clock.now += 6.5 * DAY
        publisher.repository.refresh()
    assert polling.is_right(publisher, tmp_path)
    assert polling.server.wire < 100_000


def test_news_hide_no_frozen_repository(polling: Polling) -> None:
    polling.clock.now += 8 * DAY
    with pytest.raises(TrustError) as caught:
        polling.poll()
    assert caught.value.reason == "metadata-expired"


def test_news_bring_no_old_state_back(polling: Polling, publisher: Publisher, tmp_path: Path) -> None:
    """All of an old repository, with news that lead a device to it."""
    old = publisher.copy(tmp_path / "old")
    release(publisher)
    polling.poll()
    timestamp = (old.repository.metadata / "timestamp.json").read_bytes()
    thief = FolderServer(old.folder / "repo")
    thief.replaced[f"metadata/news/{polling.snapshot + 1}"] = entry("timestamp.json", zlib.compress(timestamp))
    polling.server = thief
    with pytest.raises(TrustError) as caught:
        polling.poll()
    assert caught.value.reason == "metadata-version"


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "image-rpi4", "targets"])
@pytest.mark.parametrize("new", [False, True])
def test_a_damaged_cache_costs_bytes_only(
    polling: Polling, publisher: Publisher, tmp_path: Path, role: str, new: bool
) -> None:
    if new:
        release(publisher)
    path = polling.client.cache / f"{role}.json"
    path.write_bytes(path.read_bytes()[:100])
    assert polling.is_right(publisher, tmp_path)


def test_a_role_that_was_not_looked_at_for_long(polling: Polling, publisher: Publisher, tmp_path: Path) -> None:
    """What a device has of a role may be older than its snapshot: then the role's file is fetched."""
    catalogue(polling.client, polling.server, polling.clock, "acme", "plugin")
    for number in (1, 2):
        publisher.add(f"plugin/acme/p-{number}.wasm", b"one" * number, number)
        polling.poll()
    fresh = client(tmp_path / "fresh", publisher.anchor(), polling.clock)
    seen = [catalogue(one, publisher.server(), polling.clock, "acme", "plugin") for one in (polling.client, fresh)]
    assert seen[0] == seen[1]
    assert len(seen[0].artefacts) == 2
