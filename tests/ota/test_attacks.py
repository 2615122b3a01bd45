"""What an attacker may try, one test each: nothing is offered, and the error names the attack."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, TargetFile, Targets

from ota.errors import OtaError, TransferError, TrustError
from ota.repo.publish import rotate
from ota.stage import Job, Place, stage
from ota.trust.client import Anchor, Catalogue, TrustClient
from ota.trust.floor import Floor, check_release
from ota.trust.model import SIGNED_FIELD
from tests.ota.world import DAY, IMAGE, NOW, URL, FolderServer, HandClock, Memory, Publisher, catalogue, client, means


def refused(reason: str, call: Callable[[], object]) -> str:
    """The message of the OtaError that a call must raise."""
    with pytest.raises(OtaError) as caught:
        call()
    assert caught.value.reason == reason, str(caught.value)
    return caught.value.message


def only_keys(publisher: Publisher, tmp_path: Path, *names: str) -> Publisher:
    """What a thief has: the repository and some keys."""
    thief = publisher.copy(tmp_path / "thief")
    for key in thief.keys.glob("*.pem"):
        if key.stem not in names:
            key.unlink()
    return thief


def test_nothing_wrong(publisher: Publisher, tmp_path: Path, clock: HandClock) -> None:
    offered = catalogue(client(tmp_path, publisher.anchor(), clock), publisher.server(), clock)
    assert [artefact.release.release for artefact in offered.artefacts] == [1]


def test_replayed_old_repository(publisher: Publisher, tmp_path: Path, clock: HandClock) -> None:
    old = publisher.copy(tmp_path / "old")
    publisher.add(f"{IMAGE}/p-2.img", b"two", 2)
    device = client(tmp_path, publisher.anchor(), clock)
    catalogue(device, publisher.server(), clock)
    refused("metadata-version", lambda: catalogue(device, old.server(), clock))


def test_replayed_old_repository_after_the_cache_was_wiped(
    publisher: Publisher, tmp_path: Path, clock: HandClock
) -> None:
    old = publisher.copy(tmp_path / "old")
    publisher.add(f"{IMAGE}/p-2.img", b"two", 2)
    device = client(tmp_path, publisher.anchor(), clock)
    catalogue(device, publisher.server(), clock)
    shutil.rmtree(tmp_path / "state")
    refused("metadata-rollback", lambda: catalogue(device, old.server(), clock))


def test_wiped_metadata_alone_leaves_the_devices_own_floor(
    publisher: Publisher, tmp_path: Path, clock: HandClock
) -> None:
    anchor, old = publisher.anchor(), publisher.copy(tmp_path / "old")
    publisher.add(f"{IMAGE}/p-2.img", b"two", 2)
    device = client(tmp_path, anchor, clock)
    catalogue(device, publisher.server(), clock)
    shutil.rmtree(tmp_path / "state/metadata")
    refused("metadata-rollback", lambda: catalogue(device, old.server(), clock))


def test_signed_downgrade(publisher: Publisher, tmp_path: Path, clock: HandClock) -> None:
    device = client(tmp_path, publisher.anchor(**{"image/rpi4/penstock": 2}), clock)
    offered = catalogue(device, publisher.server(), clock).artefacts[0]
    refused("release-rollback", lambda: check_release(device.floor(), offered.line, offered.release.release))


def test_a_committed_release_is_a_floor(publisher: Publisher, tmp_path: Path, clock: HandClock) -> None:
    device = client(tmp_path, publisher.anchor(), clock)
    publisher.add(f"{IMAGE}/p-5.img", b"five", 5)
    newest = max(catalogue(device, publisher.server(), clock).artefacts, key=lambda one: one.release.release)
    device.committed(newest.line, newest.release.release)
    check_release(device.floor(), newest.line, 5)
    refused("release-rollback", lambda: check_release(device.floor(), newest.line, 4))


def test_frozen_repository(publisher: Publisher, tmp_path: Path, clock: HandClock) -> None:
    device = client(tmp_path, publisher.anchor(), clock)
    catalogue(device, publisher.server(), clock)
    clock.now += 8 * DAY
    message = refused("metadata-expired", lambda: catalogue(device, publisher.server(), clock))
    assert "believed date: 2027-01-23" in message


def test_mixed_snapshot(publisher: Publisher, tmp_path: Path, clock: HandClock) -> None:
    """A role's metadata of one state beside the snapshot of another."""
    role = publisher.repository.published("image-rpi4")
    before = role.read_bytes()
    publisher.add(f"{IMAGE}/p-2.img", b"two", 2)
    server = publisher.server()
    server.replaced[f"metadata/{publisher.repository.published('image-rpi4').name}"] = before
    device = client(tmp_path, publisher.anchor(), clock)
    refused("metadata-mismatch", lambda: catalogue(device, server, clock))


def test_one_stolen_targets_key_and_the_online_keys(publisher: Publisher, tmp_path: Path, clock: HandClock) -> None:
    device = client(tmp_path, publisher.anchor(), clock)
    thief = only_keys(publisher, tmp_path, "targets-1", "snapshot-1", "timestamp-1")
    with thief.repository.edit("targets") as signed:
        assert isinstance(signed, Targets)
        signed.targets[f"{IMAGE}/evil.img"] = TargetFile(4, {"sha256": "0" * 64}, f"{IMAGE}/evil.img")
    assert thief.repository.missing("targets") == 1
    staged = thief.folder / "repo/staged/targets.json"
    version = Metadata[Targets].from_file(str(staged)).signed.version
    staged.rename(thief.folder / f"repo/metadata/{version}.targets.json")
    thief.repository.refresh()
    refused("metadata-signature", lambda: catalogue(device, thief.server(), clock))


def test_stolen_timestamp_key(publisher: Publisher, tmp_path: Path, clock: HandClock) -> None:
    """It can keep an old state fresh until the snapshot expires, and nothing else: no time floor moves with it."""
    device = client(tmp_path, publisher.anchor(), clock)
    catalogue(device, publisher.server(), clock)
    before = device.floor()
    thief = only_keys(publisher, tmp_path, "timestamp-1")
    clock.now += 10 * DAY
    with thief.repository._online("timestamp", Targets()) as signed:
        signed.unrecognized_fields[SIGNED_FIELD] = int(NOW + 1000 * DAY)
    catalogue(device, thief.server(), clock)
    assert device.floor() == before
    clock.now += 5 * DAY
    refused("metadata-expired", lambda: catalogue(device, thief.server(), clock))


def test_stolen_vendor_key_signs_no_images(publisher: Publisher, tmp_path: Path, clock: HandClock) -> None:
    device = client(tmp_path, publisher.anchor(), clock)
    thief = only_keys(publisher, tmp_path, "plugin-acme-1", "snapshot-1", "timestamp-1")
    thief_targets(thief, "plugin-acme", f"{IMAGE}/evil.img")
    refused("target-owner", lambda: catalogue(device, thief.server(), clock, "acme", "plugin"))
    names = [artefact.file.name for artefact in catalogue(device, thief.server(), clock).artefacts]
    assert names == [f"{IMAGE}/p-1.img"]


def thief_targets(thief: Publisher, role: str, name: str) -> None:
    with thief.repository.edit(role) as signed:
        assert isinstance(signed, Targets)
        custom = {"release": {"name": "penstock", "release": 99, "version": "99"}}
        signed.targets[name] = TargetFile(4, {"sha256": "0" * 64}, name, {"custom": custom})
    thief.publish()


def test_a_rotated_key_is_worth_nothing(publisher: Publisher, tmp_path: Path, clock: HandClock) -> None:
    device = client(tmp_path, publisher.anchor(), clock)
    thief = only_keys(publisher, tmp_path, "image-rpi4-1", "snapshot-1", "timestamp-1")
    (old,) = publisher.repository.effective_keys("image-rpi4")
    rotate(publisher.repository, "image-rpi4", old[:12])
    assert publisher.publish() == []
    catalogue(device, publisher.server(), clock)
    for _ in range(3):
        thief_targets(thief, "image-rpi4", f"{IMAGE}/evil.img")
    for path in thief.repository.metadata.glob("*.targets.json"):
        path.unlink()
    for path in publisher.repository.metadata.glob("*.targets.json"):
        shutil.copy(path, thief.repository.metadata)
    thief.repository.refresh()
    refused("metadata-signature", lambda: catalogue(device, thief.server(), clock))


def test_rotation_undoes_a_fast_forward(publisher: Publisher, tmp_path: Path, clock: HandClock) -> None:
    device = client(tmp_path, publisher.anchor(), clock)
    thief = publisher.copy(tmp_path / "thief")
    with thief.repository.edit("image-rpi4") as signed:
        signed.version = 1_000_000
    thief.publish()
    catalogue(device, thief.server(), clock)
    refused("metadata-version", lambda: catalogue(device, publisher.server(), clock))
    for role in ("snapshot", "timestamp", "image-rpi4"):
        rotate(publisher.repository, role, publisher.repository.effective_keys(role)[0])
    publisher.publish()
    assert catalogue(device, publisher.server(), clock).artefacts


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_every_top_level_key_can_be_rotated(publisher: Publisher, tmp_path: Path, clock: HandClock, role: str) -> None:
    device = client(tmp_path, publisher.anchor(), clock)
    catalogue(device, publisher.server(), clock)
    rotate(publisher.repository, role, publisher.repository.effective_keys(role)[0])
    assert publisher.publish() == []
    assert catalogue(device, publisher.server(), clock).artefacts


def test_clock_at_1970(publisher: Publisher, tmp_path: Path, clock: HandClock) -> None:
    """Expired metadata stays expired: the image knows that it was built later."""
    old = publisher.copy(tmp_path / "old")
    clock.now += 400 * DAY
    with publisher.repository.edit("image-rpi4"):
        pass
    publisher.publish()
    anchor = publisher.anchor()
    without = Anchor(anchor.root, Floor(time_s=anchor.floor.time_s))
    clock.now = 0.0
    refused("metadata-expired", lambda: catalogue(client(tmp_path, without, clock), old.server(), clock))
    assert catalogue(client(tmp_path / "other", anchor, clock), publisher.server(), clock).artefacts


def test_clock_in_the_future(publisher: Publisher, tmp_path: Path, clock: HandClock) -> None:
    """Nothing is accepted, nothing is remembered: with the right time again all is well."""
    device = client(tmp_path, publisher.anchor(), clock)
    clock.now += 5000 * DAY
    message = refused("metadata-expired", lambda: catalogue(device, publisher.server(), clock))
    assert "Is the clock right" in message
    clock.now = NOW
    assert catalogue(device, publisher.server(), clock).artefacts


@pytest.mark.parametrize("name", ["timestamp.json", "2.root.json"])
def test_endless_metadata(publisher: Publisher, tmp_path: Path, clock: HandClock, name: str) -> None:
    server = publisher.server()
    server.replaced[f"metadata/{name}"] = bytes(10_000_000)
    refused("metadata-oversized", lambda: catalogue(client(tmp_path, publisher.anchor(), clock), server, clock))
    assert server.wire < 100_000


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "image-rpi4"])
def test_oversized_metadata(publisher: Publisher, tmp_path: Path, clock: HandClock, role: str) -> None:
    """One byte beyond what is signed about its length; of a timestamp, about which nothing is, beyond its limit."""
    server, path = publisher.server(), publisher.repository.published(role)
    size = 16 * 1024 if role == "timestamp" else path.stat().st_size
    server.replaced[f"metadata/{path.name}"] = path.read_bytes().ljust(size + 1)
    refused("metadata-oversized", lambda: catalogue(client(tmp_path, publisher.anchor(), clock), server, clock))


def test_endless_target(publisher: Publisher, tmp_path: Path, clock: HandClock) -> None:
    server = publisher.server()
    offered = catalogue(client(tmp_path, publisher.anchor(), clock), server, clock)
    path = f"targets/{offered.artefacts[0].file.path}"
    server.replaced[path] = (server.folder / path).read_bytes() + bytes(10_000_000)
    refused("target-length", lambda: fetch(offered, server, tmp_path, clock))


def test_target_with_other_bytes(publisher: Publisher, tmp_path: Path, clock: HandClock) -> None:
    server = publisher.server()
    offered = catalogue(client(tmp_path, publisher.anchor(), clock), server, clock)
    server.replaced[f"targets/{offered.artefacts[0].file.path}"] = bytes(offered.artefacts[0].file.length)
    refused("target-hash", lambda: fetch(offered, server, tmp_path, clock))


def fetch(offered: Catalogue, server: FolderServer, folder: Path, clock: HandClock) -> str:
    job = Job(offered.artefacts[0], offered, f"{URL}/targets", lambda _error: None)
    return stage(job, Place(Memory(1 << 20), None, folder, 1 << 24), means(server, folder, clock))


@pytest.mark.parametrize(
    "name",
    [
        "image/rpi4/../../../etc/passwd", "image/rpi4/..", "image/rpi4/a\\b", "/etc/passwd", "image/rpi4/.hidden",
        "image/rpi4/a\0b", "image/rpi4/a b", "image/rpi4/" + "a" * 200,
    ],
)  # fmt: skip
def test_path_traversal_in_target_names(publisher: Publisher, tmp_path: Path, clock: HandClock, name: str) -> None:
    device = client(tmp_path, publisher.anchor(), clock)
    thief_targets(publisher, "image-rpi4", name)
    refused("target-name", lambda: catalogue(device, publisher.server(), clock))


@pytest.mark.parametrize(
    "custom",
    [
        None, {}, {"release": {"name": "x"}}, {"release": {"name": "x", "release": 0, "version": ""}},
        {"release": {"name": "x", "release": 1, "version": "", "extra": 1}},
        {"release": {"name": "x", "release": 1, "version": "", "rollout": {"default": 101}}},
        {"release": {"name": "../x", "release": 1, "version": ""}},
        {"code": {"of": "image/rpi4/p-1.img", "target": "aarch64"}},
        {"code": {"of": "image/rpi4/p-1.img", "target": "mips"}},
        {"code": {"of": "plugin/acme/x", "target": "armv7"}, "release": {"name": "x", "release": 1, "version": ""}},
        {"delta": {"algorithm": "zip", "compression": "lzma", "from": {"length": 0, "sha256": ""}}},
    ],
)  # fmt: skip
def test_custom_data_that_makes_no_sense(
    publisher: Publisher, tmp_path: Path, clock: HandClock, custom: object
) -> None:
    device = client(tmp_path, publisher.anchor(), clock)
    with publisher.repository.edit("image-rpi4") as signed:
        assert isinstance(signed, Targets)
        signed.targets["image/rpi4/x"] = TargetFile(4, {"sha256": "0" * 64}, "image/rpi4/x", {"custom": custom})
    publisher.publish()
    refused("target-custom", lambda: catalogue(device, publisher.server(), clock))


def test_code_of_another_owners_plugin(publisher: Publisher, tmp_path: Path, clock: HandClock) -> None:
    """Native code is what a thief would like to bring in most: each vendor only for plugins of its own."""
    device = client(tmp_path, publisher.anchor(), clock)
    with publisher.repository.edit("plugin-acme") as signed:
        assert isinstance(signed, Targets)
        custom = {"code": {"of": "plugin/other/x.wasm", "target": "aarch64"}}
        name = "plugin/acme/x.aarch64.so"
        signed.targets[name] = TargetFile(4, {"sha256": "0" * 64}, name, {"custom": custom})
    publisher.publish()
    refused("code-owner", lambda: catalogue(device, publisher.server(), clock, "acme", "plugin"))


def test_missing_metadata_is_not_an_attack(publisher: Publisher, tmp_path: Path, clock: HandClock) -> None:
    server = publisher.server()
    server.gone.add("metadata/timestamp.json")
    device = client(tmp_path, publisher.anchor(), clock)
    with pytest.raises(TransferError) as caught:
        catalogue(device, server, clock)
    assert caught.value.reason == "http-gone"
    assert not caught.value.retry
    assert clock.waited == []


def test_unknown_owner_is_told(publisher: Publisher, tmp_path: Path, clock: HandClock) -> None:
    device: TrustClient = client(tmp_path, publisher.anchor(), clock)
    message = refused("usage", lambda: catalogue(device, publisher.server(), clock, "rpi5"))
    assert "image/rpi5" in message
    with pytest.raises(TrustError):
        catalogue(device, publisher.server(), clock, "../rpi4")
