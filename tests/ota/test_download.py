"""Downloads that are cut, killed, lied to and budgeted."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import pytest

from ota.app.link import Weather
from ota.errors import BudgetError, Cancelled, StorageError, TransferError, TrustError
from ota.transfer.budget import Allowance, BudgetFile, Ledger, at_time
from ota.transfer.download import READ, STEP, Download, Means, Wanted
from ota.transfer.journal import Checkpoint, Head, encode_head, encode_point, parse
from ota.transfer.pace import Pace, Patience, RateWatch, backoff_range
from tests.ota.web import linked, serving
from tests.ota.world import NOW, URL, FolderServer, HandClock, Memory, means

ROOT = Path(__file__).resolve().parents[2]
SIZE = 3_000_000
DATA = random.Random(1).randbytes(SIZE)
SHA256 = hashlib.sha256(DATA).hexdigest()
WANTED = Wanted(f"{URL}/file", SIZE, SHA256)
ALLOWED_PER_DROP = 256 * 1024


@pytest.fixture
def server(tmp_path: Path) -> FolderServer:
    (tmp_path / "file").write_bytes(DATA)
    return FolderServer(tmp_path)


def download(server: FolderServer, folder: Path, storage: Memory, given: Means | None = None) -> Download:
    return Download(WANTED, storage, folder / "journal", given or means(server, folder, HandClock()))


def test_100_cuts_cost_nothing(server: FolderServer, tmp_path: Path) -> None:
    chance = random.Random(2)
    cuts = iter([chance.randrange(1, 2 * SIZE // 100) for _ in range(100)])
    server.cut = lambda: next(cuts, None)
    storage = Memory(SIZE)
    download(server, tmp_path, storage).run()
    assert storage.data == DATA
    assert server.wire == SIZE
    assert len(server.asked) > 90


class Killed(BaseException):
    """The process ends here: nothing behind it runs."""


class KilledStorage(Memory):
    """Ends the process at a write; what was not synced may be lost."""

    writes_left = -1

    def write_at(self, offset: int, data: bytes) -> None:
        self.writes_left -= 1
        if self.writes_left == 0:
            raise Killed
        super().write_at(offset, data)

    def sync(self) -> None:
        if self.writes_left == 0:
            raise Killed
        super().sync()


@pytest.mark.parametrize("power", [False, True], ids=["killed", "power cut"])
def test_cut_at_any_write_loses_at_most_a_step(server: FolderServer, tmp_path: Path, power: bool) -> None:
    """Nothing that the journal claims is missing afterwards; the end of every journal record may be torn off."""
    chance = random.Random(4)
    storage = KilledStorage(SIZE)
    journal = tmp_path / "journal"
    for _ in range(20):
        storage.writes_left = chance.randrange(2, 16)
        with pytest.raises(Killed):
            download(server, tmp_path, storage).run()
        if power:
            storage.lose_power()
            journal.write_bytes(journal.read_bytes()[: -chance.randrange(1, 50)])
    storage.writes_left = -1
    download(server, tmp_path, storage).run()
    assert storage.data == DATA
    assert server.wire <= SIZE + 20 * (2 * STEP if power else STEP + READ)


def test_journal_ahead_of_the_data(server: FolderServer, tmp_path: Path) -> None:
    """A card that lost what it said was synced: the checkpoints before the loss still count."""
    storage = Memory(SIZE)
    download(server, tmp_path, storage).run()
    storage.data[1_000_000] ^= 1
    server.wire = 0
    download(server, tmp_path, storage).run()
    assert storage.data == DATA
    assert SIZE - 1_000_000 <= server.wire <= SIZE - 1_000_000 + STEP


def test_journal_behind_the_data(server: FolderServer, tmp_path: Path) -> None:
    storage = Memory(SIZE)
    download(server, tmp_path, storage).run()
    journal = tmp_path / "journal"
    parsed = parse(journal.read_bytes())
    assert parsed is not None
    assert len(parsed.points) == -(-SIZE // STEP)
    journal.write_bytes(encode_head(parsed.head) + b"".join(map(encode_point, parsed.points[:3])) + b"torn")
    server.wire = 0
    download(server, tmp_path, storage).run()
    assert server.wire == SIZE - 3 * STEP


def test_a_finished_download_costs_nothing(server: FolderServer, tmp_path: Path) -> None:
    storage = Memory(SIZE)
    download(server, tmp_path, storage).run()
    asked = len(server.asked)
    download(server, tmp_path, storage).run()
    assert len(server.asked) == asked


def test_another_entity_tag_starts_over(server: FolderServer, tmp_path: Path) -> None:
    cuts = iter([1_000_000])
    server.cut = lambda: next(cuts, None)
    server.etag = '"first"'
    storage = Memory(SIZE)
    given = means(server, tmp_path, HandClock())
    one = Download(WANTED, storage, tmp_path / "journal", given)

    class Changing(HandClock):
        def wait(self, _seconds: float, _cancel: object) -> None:
            server.etag = '"second"'

    one._means = Means(server, Changing(), given.cancel, given.budget, given.pace, given.progress)
    one.run()
    assert storage.data == DATA
    assert server.wire == SIZE + 1_000_000


def test_a_server_without_ranges_is_given_up(server: FolderServer, tmp_path: Path) -> None:
    server.cut = lambda: 500_000
    server.etag = '"a"'
    honest = server.open

    class NoRanges(FolderServer):
        def open(self, request: object) -> object:  # type: ignore[override]
            server.etag += "x"
            return honest(request)  # type: ignore[arg-type]

    other = NoRanges(tmp_path)
    with pytest.raises(TransferError) as caught:
        download(other, tmp_path, Memory(SIZE)).run()
    assert caught.value.reason == "no-range"


def test_gives_up_after_fruitless_attempts(server: FolderServer, tmp_path: Path) -> None:
    clock = HandClock()
    server.cut = lambda: 0
    with pytest.raises(TransferError, match="cut"):
        download(server, tmp_path, Memory(SIZE), means(server, tmp_path, clock)).run()
    assert clock.waited == sorted(clock.waited)
    assert clock.waited[-1] > 50 * clock.waited[0]


def test_404_ends_at_once(server: FolderServer, tmp_path: Path) -> None:
    server.gone.add("file")
    clock = HandClock()
    with pytest.raises(TransferError) as caught:
        download(server, tmp_path, Memory(SIZE), means(server, tmp_path, clock)).run()
    assert (caught.value.reason, server.asked, clock.waited) == ("http-gone", ["file"], [])


def test_wrong_bytes_are_forgotten(server: FolderServer, tmp_path: Path) -> None:
    server.replaced["file"] = bytes(SIZE)
    with pytest.raises(TrustError):
        download(server, tmp_path, Memory(SIZE)).run()
    server.replaced.clear()
    storage = Memory(SIZE)
    download(server, tmp_path, storage).run()
    assert storage.data == DATA


def test_cancel_keeps_what_is_there(server: FolderServer, tmp_path: Path) -> None:
    given = means(server, tmp_path, HandClock())

    def stop(done: int, _total: int) -> None:
        if done > 1_000_000:
            given.cancel.set()

    stopping = Means(server, given.clock, given.cancel, given.budget, given.pace, stop)
    storage = Memory(SIZE)
    with pytest.raises(Cancelled):
        download(server, tmp_path, storage, stopping).run()
    download(server, tmp_path, storage).run()
    assert server.wire == SIZE


def test_too_small_a_slot_costs_no_bytes(server: FolderServer, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="do not fit"):
        download(server, tmp_path, Memory(SIZE - 1)).run()
    assert server.asked == []


def test_full_disk_is_named(server: FolderServer, tmp_path: Path) -> None:
    class Full(Memory):
        def write_at(self, _offset: int, _data: bytes) -> None:
            raise StorageError("storage-write", "no space left on device")

    with pytest.raises(StorageError, match="no space"):
        download(server, tmp_path, Full(SIZE)).run()


def test_budget_holds_and_the_next_period_continues(server: FolderServer, tmp_path: Path) -> None:
    clock = HandClock()
    given = means(server, tmp_path, clock, budget=1_000_000)
    storage = Memory(SIZE)
    for period in (1, 2, 3):
        with pytest.raises(BudgetError) as caught:
            download(server, tmp_path, storage, given).run()
        assert server.wire <= period * 1_000_000
        assert 0 < caught.value.wait_s <= 30 * 86_400
        clock.now += caught.value.wait_s
    download(server, tmp_path, storage, given).run()
    assert storage.data == DATA
    assert server.wire == SIZE


def test_budget_survives_clocks_and_damage(tmp_path: Path) -> None:
    clock = HandClock()
    budget = BudgetFile(tmp_path / "budget.json", Allowance(1000, 3600), clock)
    budget.charge(900)
    budget.give_back(100)
    assert budget.left() == 200
    clock.now -= 10 * 3600
    assert budget.left() == 200
    with pytest.raises(BudgetError):
        budget.charge(201)
    (tmp_path / "budget.json").write_bytes(b"torn")
    assert budget.left() == 0
    clock.now += 20 * 3600
    assert budget.left() == 1000
    assert at_time(Ledger(7200, 5), Allowance(10, 3600), 10_799) == Ledger(7200, 5)
    assert at_time(Ledger(7200, 5), Allowance(10, 3600), 10_801) == Ledger(10_800, 0)


def test_pace_and_patience() -> None:
    pace = Pace(1000)
    assert pace.delay_s(NOW, 1000) == 0
    assert pace.delay_s(NOW, 500) == pytest.approx(0.5)
    assert pace.delay_s(NOW + 10, 100) == 0
    assert Pace(0).delay_s(NOW, 10**9) == 0
    assert [backoff_range(attempt) for attempt in (0, 1, 20)] == [(0.5, 1), (1, 2), (150, 300)]
    watch = RateWatch(Patience(rate_min=10, rate_window_s=10), NOW)
    assert not watch.too_slow(NOW + 9, 1)
    assert watch.too_slow(NOW + 10, 1)
    assert not watch.too_slow(NOW + 20, 100)


def test_bandwidth_limit_waits(server: FolderServer, tmp_path: Path) -> None:
    clock = HandClock()
    given = means(server, tmp_path, clock)
    slow = Means(server, clock, given.cancel, given.budget, Pace(100_000), given.progress)
    download(server, tmp_path, Memory(SIZE), slow).run()
    assert clock.now - NOW == pytest.approx(SIZE / 100_000 - 1, rel=0.01)


def test_every_damage_to_a_journal_leaves_a_prefix() -> None:
    points = [Checkpoint(offset, bytes([offset]) * 32) for offset in (1, 2, 3)]
    whole = encode_head(Head("ab", 3, '"e"')) + b"".join(map(encode_point, points))
    for size in range(len(whole) + 1):
        journal = parse(whole[:size])
        assert journal is None or points[: len(journal.points)] == list(journal.points)
    for at in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            journal = parse(bytes(damaged))
            assert journal is None or points[: len(journal.points)] == list(journal.points)
            assert journal is None or len(journal.points) < 3


def test_real_link_100_cuts_and_20_kills(tmp_path: Path) -> None:
    """Over sockets, through a link that ends connections, by a process that gets SIGKILL at a chosen checkpoint."""
    size = 12_000_000
    data = random.Random(5).randbytes(size)
    (tmp_path / "file").write_bytes(data)
    sha256, chance, kills = hashlib.sha256(data).hexdigest(), random.Random(6), 0
    weather = Weather(7, mean_bytes=size // 160, silent=0.05)
    with serving(tmp_path) as (web, _), linked(web.server_port, weather) as (link, url):
        command = [sys.executable, "-m", "tests.ota.fetch_child", f"{url}/file", str(size), sha256, str(tmp_path)]
        while True:
            left = chance.randrange(1, 8) if kills < 20 else 1 << 30
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
                assert child.stdout is not None
                for _ in child.stdout:
                    left -= 1
                    if left == 0:
                        child.kill()
                        kills += 1
                        break
            if child.returncode == 0:
                break
            assert child.returncode == -9
    assert (tmp_path / "slot").read_bytes() == data
    assert kills == 20
    assert link.ended >= 100
    assert link.carried <= size + (link.ended + kills) * ALLOWED_PER_DROP
