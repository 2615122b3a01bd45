"""Patches that are applied while they arrive: cut, killed, damaged, and with hardly any space beside the slots."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from ota.app.link import Weather
from ota.clock import Clock
from ota.errors import OtaError
from ota.repo.publish import delegate, export_trust, init
from ota.stage import SPOOL_BYTES_MAX, SPOOL_NAME, Job, Place, stage
from ota.trust.client import Catalogue
from ota.trust.model import PIECE_BYTES, Patch
from tests.ota.web import linked, serving
from tests.ota.world import URL, FolderServer, HandClock, Memory, Publisher, catalogue, client, means

ROOT = Path(__file__).resolve().parents[2]
ALLOWED_PER_DROP = 256 * 1024
METADATA_MAX = 16 * 1024
SIZE = 3 << 19
FRESH = 400_000
NAME = "image/rpi4/p-2.img"
KILLS = 8


@dataclass(frozen=True)
class Made:
    """A repository of today with an update and one patch to it; ``trust`` is what the device's image knows."""

    publisher: Publisher
    old: bytes
    new: bytes

    @property
    def patch_bytes(self) -> int:
        (patch,) = [one for one in self.publisher.folder.glob("repo/targets/image/rpi4/*") if one.suffix != ".img"]
        return patch.stat().st_size

    def device(self, folder: Path) -> Path:
        """A folder with what a device has."""
        export_trust(self.publisher.repository, folder / "trust", {})
        (folder / "old").write_bytes(self.old)
        (folder / "state").mkdir()
        return folder / "state"


def made(folder: Path, old: bytes | None, new: bytes, compression: str) -> Made:
    publisher = Publisher(folder, Clock())
    init(publisher.repository)
    delegate(publisher.repository, "image-rpi4", count=1, threshold=1)
    publisher.publish()
    publisher.add(NAME, new, 2)
    publisher.patch(NAME, old, compression)
    return Made(publisher, old or b"", new)


@pytest.fixture(scope="module")
def patched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    """By compression: an image, and one with so many new bytes that its patch has several pieces."""
    chance = random.Random(8)
    old = chance.randbytes(SIZE)
    new = old[: SIZE // 4] + chance.randbytes(FRESH) + old[SIZE // 4 + FRESH :]
    return {one: made(tmp_path_factory.mktemp(one), old, new, one) for one in ("lzma", "heatshrink")}


@dataclass
class Stand:
    """A repository with a patch of several pieces, and a device in memory."""

    server: FolderServer
    offered: Catalogue
    old: bytes
    new: bytes
    folder: Path
    clock: HandClock

    @property
    def patch(self) -> Patch:
        return self.offered.patches[0]

    def stage(self, target: Memory) -> tuple[str, list[str]]:
        """How, and the reasons of what was given up."""
        notes: list[OtaError] = []
        newest = max(self.offered.artefacts, key=lambda one: one.release.release)
        job = Job(newest, self.offered, f"{URL}/targets", notes.append)
        place = Place(target, Memory(len(self.old), self.old), self.folder, 1 << 24)
        return stage(job, place, means(self.server, self.folder, self.clock)), [note.reason for note in notes]


@pytest.fixture(params=["lzma", "heatshrink"])
def stand(request: pytest.FixtureRequest, patched: dict[str, Made], tmp_path: Path) -> Stand:
    source = patched[request.param]
    server, clock = source.publisher.server(), HandClock(Clock().unix_s())
    offered = catalogue(client(tmp_path, source.publisher.anchor(), clock), server, clock)
    server.wire = 0
    return Stand(server, offered, source.old, source.new, tmp_path, clock)


def test_the_result_is_written_while_the_patch_arrives(stand: Stand) -> None:
    class Watched(Memory):
        first_at = -1

        def write_at(self, offset: int, data: bytes) -> None:
            if offset == 0 and self.first_at < 0:
                self.first_at = stand.server.wire
            super().write_at(offset, data)

    target = Watched(2 * SIZE)
    assert stand.stage(target) == ("patch", [])
    assert target.data[: len(stand.new)] == stand.new
    assert len(stand.patch.delta.pieces) == -(-stand.patch.file.length // PIECE_BYTES) > 3
    assert 0 < target.first_at <= 2 * PIECE_BYTES
    assert stand.server.wire == stand.patch.file.length


def test_a_full_slot_takes_a_patch_by_way_of_a_small_file(stand: Stand) -> None:
    target = Memory(SIZE)
    assert stand.patch.file.length <= SPOOL_BYTES_MAX
    assert stand.stage(target) == ("patch", [])
    assert target.data == stand.new
    assert not (stand.folder / SPOOL_NAME).exists()


def test_damage_ends_the_patch_at_its_piece(stand: Stand) -> None:
    """Nothing that is not signed reaches the decompressor, and no more than the piece around it is fetched."""
    path = f"targets/{stand.patch.file.path}"
    good = (stand.server.folder / path).read_bytes()
    for piece in range(3):
        bad = bytearray(good)
        bad[piece * PIECE_BYTES + 777] ^= 4
        stand.server.replaced[path] = bytes(bad)
        stand.server.wire = 0
        assert stand.stage(Memory(2 * SIZE)) == ("full", ["target-hash"])
        assert stand.server.wire <= (piece + 2) * PIECE_BYTES + len(stand.new)
    stand.server.replaced.clear()
    assert stand.stage(Memory(2 * SIZE)) == ("patch", []), "what was damaged is forgotten"


@pytest.mark.parametrize(("compression", "room"), [("lzma", 2 * SIZE), ("heatshrink", SIZE)])
def test_cuts_and_kills_cost_little(patched: dict[str, Made], compression: str, room: int, tmp_path: Path) -> None:
    """Over sockets, through a bad link, by a process that gets SIGKILL at some checkpoint of the patch or after it."""
    source = patched[compression]
    source.device(tmp_path)
    size, chance, kills = source.patch_bytes, random.Random(room), 0
    weather = Weather(9, mean_bytes=size // 12, silent=0.05)
    with serving(source.publisher.folder / "repo") as (web, _), linked(web.server_port, weather) as (link, url):
        command = [sys.executable, "-m", "tests.ota.stage_child", url, str(tmp_path), str(room)]
        while True:
            left = chance.randrange(1, 4) if kills < KILLS else 1 << 30
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
                assert child.stdout is not None
                lines = []
                for line in child.stdout:
                    lines.append(line)
                    left -= 1
                    if left == 0:
                        child.kill()
                        kills += 1
                        break
            if child.returncode == 0:
                break
            assert child.returncode == -9
        bodies = sum(sent for path, sent in web.sent.items() if path.startswith("targets/"))
    assert lines[-1] == "patch\n"
    assert (tmp_path / "slot").read_bytes()[:SIZE] == source.new
    assert kills >= 3, "each run that is not killed at once gets further"
    print(f"{bodies} bytes of a patch of {size}, {link.ended} cuts, {kills} kills")
    assert link.carried <= size + (link.ended + kills) * ALLOWED_PER_DROP + (kills + 1) * METADATA_MAX


def namespace() -> list[str]:
    """How to run something with a mount of its own; skips where that is not allowed."""
    ways = [
        ["unshare", "--mount"],
        ["unshare", "--user", "--map-root-user", "--mount"],
        ["sudo", "-n", "unshare", "--mount"],
    ]
    probe = ["sh", "-c", "mount -t tmpfs tmpfs /mnt"]
    for way in ways:
        try:
            if subprocess.run([*way, *probe], capture_output=True, check=False).returncode == 0:
                return way
        except FileNotFoundError:
            continue
    if os.environ.get("PENSTOCK_NO_SKIP"):
        pytest.fail("nobody here may mount a tmpfs: run as root, or allow user namespaces")
    pytest.skip("nobody here may mount a tmpfs: run as root, or allow user namespaces")


def stage_in(space: str, source: Made, folder: Path, room: int) -> tuple[str, str]:
    """Stage in a process whose state, journals, metadata and temporary folder share so much space: how, and its log."""
    state = source.device(folder)
    script = 'mount -t tmpfs -o "size=$1" tmpfs "$2" && shift 2 && exec "$@"'
    with serving(source.publisher.folder / "repo") as (_, url):
        child = [sys.executable, "-m", "tests.ota.stage_child", url, str(folder), str(room)]
        command = [*namespace(), "sh", "-c", script, "sh", space, str(state), *child]
        environment = {**os.environ, "TMPDIR": str(state)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "slot").read_bytes()[: len(source.new)] == source.new
    return done.stdout.splitlines()[-1], done.stderr


@pytest.mark.parametrize("compression", ["lzma", "heatshrink"])
def test_one_mebibyte_is_enough_for_a_larger_patch(tmp_path: Path, compression: str) -> None:
    chance = random.Random(10)
    new = b"".join(piece * 2 for piece in (chance.randbytes(1024) for _ in range(1400)))
    source = made(tmp_path / "publisher", None, new, compression)
    assert source.patch_bytes > 1 << 20
    assert stage_in("1m", source, tmp_path, len(new) + source.patch_bytes + 4096) == ("patch", "")


def test_one_mebibyte_is_enough_for_a_full_slot(patched: dict[str, Made], tmp_path: Path) -> None:
    assert stage_in("1m", patched["lzma"], tmp_path, SIZE) == ("patch", "")


def test_less_than_needed_is_noticed(patched: dict[str, Made], tmp_path: Path) -> None:
    """The bar can be missed: the file for the patch does not fit, is given up, and the complete image comes."""
    way, log = stage_in("256k", patched["lzma"], tmp_path, SIZE)
    assert way == "full"
    assert "No space left on device" in log
