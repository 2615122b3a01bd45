"""Staging and installing: patch or full, budgets, and 1,000 flipped bits that change no boot state."""

from __future__ import annotations

import collections
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from ota.agent.device import Device
from ota.agent.machine import Files
from ota.agent.notebook import Image
from ota.boot.simulated import SimulatedBoot
from ota.clock import Cancel
from ota.errors import BudgetError, Cancelled, DeltaError, OtaError, StorageError, TransferError, TrustError
from ota.ports import BootState, Storage
from ota.repo.publish import rotate
from ota.stage import SPOOL_BYTES_MAX, Job, Place, candidates, stage
from ota.storage import FileStorage, Window
from ota.transfer.download import Means
from ota.trust.client import Catalogue
from ota.trust.model import Artefact, Delta, File, Patch, Release, Source
from tests.ota.conftest import IMAGE_ONE, IMAGE_TWO
from tests.ota.world import IMAGE, URL, FolderServer, HandClock, Memory, Publisher, catalogue, client, means

ROOM = 1 << 18


@dataclass
class Bench:
    """A device with image one in slot a, and a repository with image two and patches to it."""

    publisher: Publisher
    server: FolderServer
    clock: HandClock
    folder: Path
    offered: Catalogue
    source: Memory
    target: Memory
    notes: list[OtaError]

    @property
    def newest(self) -> Artefact:
        return max(self.offered.artefacts, key=lambda one: one.release.release)

    def job(self) -> Job:
        return Job(self.newest, self.offered, f"{URL}/targets", self.notes.append)

    def place(self, memory: int = 1 << 24) -> Place:
        return Place(self.target, self.source, self.folder, memory)

    def means(self, budget: int = 0) -> Means:
        return means(self.server, self.folder, self.clock, budget)

    def active(self) -> str:
        return "a"

    def inactive(self) -> str:
        return "b"

    def storage(self, slot: str) -> Memory:
        return {"a": self.source, "b": self.target}[slot]

    def patch(self) -> Patch:
        return min(self.offered.patches, key=lambda patch: patch.file.length)


def simulated() -> SimulatedBoot:
    return SimulatedBoot(BootState(1, "a", "", 0, frozenset("a")))


@pytest.fixture
def bench(publisher: Publisher, tmp_path: Path, clock: HandClock) -> Bench:
    publisher.add(f"{IMAGE}/p-2.img", IMAGE_TWO, 2)
    publisher.patch(f"{IMAGE}/p-2.img", IMAGE_ONE)
    server = publisher.server()
    offered = catalogue(client(tmp_path, publisher.anchor(), clock), server, clock)
    server.wire = 0
    slots = Memory(ROOM, IMAGE_ONE, "slot a"), Memory(ROOM, b"old", "slot b")
    return Bench(publisher, server, clock, tmp_path, offered, *slots, [])


def test_patch_first(bench: Bench) -> None:
    assert stage(bench.job(), bench.place(), bench.means()) == "patch"
    assert bench.target.data[: len(IMAGE_TWO)] == IMAGE_TWO
    assert bench.server.wire == bench.patch().file.length
    assert bench.notes == []


def test_other_source_falls_back_to_full_and_says_so(bench: Bench) -> None:
    bench.source.data[77] ^= 1
    assert stage(bench.job(), bench.place(), bench.means()) == "full"
    assert [note.reason for note in bench.notes] == ["source-differs"]
    assert bench.server.wire == len(IMAGE_TWO)


def test_full_only_inside_the_budget(bench: Bench) -> None:
    bench.source.data[77] ^= 1
    with pytest.raises(BudgetError, match="exceeds"):
        stage(bench.job(), bench.place(), bench.means(budget=100_000))
    assert bench.server.wire == 0


def test_patch_inside_a_budget_too_small_for_the_file(bench: Bench) -> None:
    assert stage(bench.job(), bench.place(), bench.means(budget=10_000)) == "patch"


def test_missing_patch_falls_back(bench: Bench) -> None:
    bench.server.gone.add(f"targets/{bench.patch().file.path}")
    assert stage(bench.job(), bench.place(), bench.means()) == "full"
    assert [note.reason for note in bench.notes] == ["target-missing"]


def test_lost_link_is_no_reason_for_a_full_download(bench: Bench) -> None:
    bench.server.cut = lambda: 0
    with pytest.raises(TransferError):
        stage(bench.job(), bench.place(), bench.means())
    assert bench.notes == []


def test_compressed_artefact_is_a_patch_from_nothing(bench: Bench) -> None:
    bench.publisher.patch(f"{IMAGE}/p-2.img", None)
    bench.offered = catalogue(client(bench.folder, bench.publisher.anchor(), bench.clock), bench.server, bench.clock)
    place = Place(bench.target, None, bench.folder, 1 << 24)
    assert stage(bench.job(), place, bench.means()) == "patch"
    assert bench.target.data[: len(IMAGE_TWO)] == IMAGE_TWO


def entry(length: int, source: int = 5, memory: int = 0) -> Patch:
    delta = Delta("detools-sequential", "lzma", Source(source, "00"), "image/a/b", memory)
    return Patch(File("image/a/p", length, "00"), delta)


def test_which_patches_are_worth_it() -> None:
    artefact = Artefact(File("image/a/b", 10_000, "00"), Release("x", 1, ""))
    small, large, greedy, packed = entry(100), entry(700), entry(50, memory=2000), entry(1000, source=0)
    assert candidates([large, small, greedy, packed], 1000, artefact, 100_000) == [small, packed]
    bulky = Artefact(File("image/a/b", 10_000_000, "00"), Release("x", 1, ""))
    spooled, endless = entry(SPOOL_BYTES_MAX), entry(SPOOL_BYTES_MAX + 1)
    assert candidates([endless, spooled], 1000, bulky, 10_050_000) == [spooled]
    assert candidates([greedy], 2000, artefact, 100_000) == [greedy]
    assert candidates([entry(10_000)], 1000, artefact, 100_000) == []


def device(bench: Bench, boot: SimulatedBoot) -> Device:
    return Device(boot, bench, Files(bench.folder / "notes"), bench.clock, "boot", lambda _entry: None)


def install(bench: Bench, boot: SimulatedBoot, given: Means) -> None:
    newest = bench.newest
    image = Image(newest.file.sha256, newest.file.length, newest.release.version)

    def fill(image: Image, slot: Storage, cancel: Cancel) -> None:
        assert image.length <= slot.size
        cancel.check()
        stage(bench.job(), Place(slot, bench.source, bench.folder, 1 << 24), given)

    device(bench, boot).install(image, fill, given.cancel)


def test_install_sets_a_trial_last(bench: Bench) -> None:
    boot = simulated()
    install(bench, boot, bench.means())
    state = boot.read()
    assert (state.good, state.trial, state.tries_left, state.valid) == ("a", "b", 3, frozenset("ab"))
    assert boot.reboots == 1


class Flipping(Memory):
    """A slot that flips one bit of what it was given, when it is read back."""

    at = -1
    bit = 0

    def read_at(self, offset: int, size: int) -> bytes:
        data = bytearray(super().read_at(offset, size))
        if offset <= self.at < offset + len(data):
            data[self.at - offset] ^= 1 << self.bit
        return bytes(data)


def refused(bench: Bench, boot: SimulatedBoot) -> set[str]:
    """Reasons that an installation ends with when there is no budget for the complete file."""
    bench.notes.clear()
    with pytest.raises((TrustError, DeltaError, StorageError, BudgetError)):
        install(bench, boot, bench.means(budget=50_000))
    state = boot.read()
    assert (state.good, state.trial, state.valid, boot.reboots) == ("a", "", frozenset("a"), 0)
    (bench.folder / "budget.json").unlink(missing_ok=True)
    return {note.reason for note in bench.notes}


@pytest.mark.parametrize(
    ("what", "reasons"),
    [("source", {"source-differs"}), ("patch", {"target-hash"}), ("result", {"result-hash"})],
)
def test_250_flipped_bits(bench: Bench, what: str, reasons: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _descriptor: None)  # no power is cut here
    chance, boot = random.Random(what), simulated()
    patch = bench.patch()
    path = f"targets/{patch.file.path}"
    good = (bench.server.folder / path).read_bytes()
    for _ in range(250):
        bench.target = Flipping(ROOM, b"old", "slot b")
        if what == "source":
            at = chance.randrange(len(IMAGE_ONE))
            bench.source.data[at] ^= (bit := 1 << chance.randrange(8))
            assert refused(bench, boot) == reasons
            bench.source.data[at] ^= bit
        elif what == "patch":
            bad = bytearray(good)
            bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
            bench.server.replaced[path] = bytes(bad)
            assert refused(bench, boot) == reasons
        else:
            bench.target.at, bench.target.bit = chance.randrange(len(IMAGE_TWO)), chance.randrange(8)
            assert refused(bench, boot) == reasons


def test_250_flipped_bits_of_metadata(publisher: Publisher, tmp_path: Path, clock: HandClock) -> None:
    """A new root among it, and signatures beyond the threshold."""
    chance, anchor, server = random.Random(9), publisher.anchor(), publisher.server()
    rotate(publisher.repository, "snapshot", publisher.repository.effective_keys("snapshot")[0])
    publisher.publish()
    roles = ("root", "timestamp", "snapshot", "targets", "image-rpi4")
    names = [publisher.repository.published(role).name for role in roles]
    reasons: collections.Counter[str] = collections.Counter()
    for number in range(250):
        name = chance.choice(names)
        bad = bytearray((publisher.repository.metadata / name).read_bytes())
        bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        server.replaced = {f"metadata/{name}": bytes(bad)}
        device = client(tmp_path / str(number), anchor, clock)
        with pytest.raises(TrustError) as caught:
            catalogue(device, server, clock)
        reasons[caught.value.reason] += 1
    print(dict(reasons))
    assert set(reasons) <= {"metadata-invalid", "metadata-mismatch", "metadata-signature", "metadata-encoding"}


def test_cancel_before_the_trial(bench: Bench) -> None:
    boot, given = simulated(), bench.means()
    given.cancel.set()
    with pytest.raises(Cancelled):
        install(bench, boot, given)
    assert boot.read().trial == ""


def test_file_storage(tmp_path: Path) -> None:
    with FileStorage(tmp_path / "slot", 10) as storage:
        storage.write_at(4, b"abcdef")
        storage.sync()
        assert storage.read_at(0, 100) == b"\0\0\0\0abcdef"
        with pytest.raises(StorageError, match="do not fit"):
            storage.write_at(5, b"abcdef")
        window = Window(storage, 4, 3)
        assert (window.read_at(1, 100), window.size) == (b"bc", 3)
        with pytest.raises(StorageError, match="do not fit"):
            window.write_at(2, b"xx")
        storage.truncate(6)
        assert storage.read_at(0, 100) == b"\0\0\0\0ab"
    with pytest.raises(StorageError, match="cannot be opened"):
        FileStorage(tmp_path / "missing" / "slot", 10)
    with FileStorage(Path("/dev/full"), 10) as full, pytest.raises(StorageError, match="No space left"):
        full.write_at(0, b"x")
