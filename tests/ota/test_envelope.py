"""What python-tuf would read over: bytes that say the same in another way, and signatures that nothing needs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Timestamp

from ota.errors import TrustError
from ota.repo.publish import rotate
from ota.trust.envelope import check_encoding, check_signatures
from tests.ota.world import FolderServer, HandClock, Publisher, catalogue, client

Change = Callable[[dict[str, Any]], object]


def compact(contents: object) -> bytes:
    return json.dumps(contents, sort_keys=True, separators=(",", ":")).encode()


def spaced(data: bytes) -> bytes:
    return json.dumps(json.loads(data), sort_keys=True).encode()


def reordered(data: bytes) -> bytes:
    contents = json.loads(data)
    return json.dumps(
        {"signed": contents["signed"], "signatures": contents["signatures"]}, separators=(",", ":")
    ).encode()


def doubled(data: bytes) -> bytes:
    return b'{"signatures":[],' + data[1:]


def escaped(data: bytes) -> bytes:
    return data.replace(b'"timestamp"', b'"\\u0074imestamp"')


def changed(change: Change) -> Callable[[bytes], bytes]:
    def apply(data: bytes) -> bytes:
        contents = json.loads(data)
        change(contents)
        return compact(contents)

    return apply


def lower(data: bytes) -> bytes:
    return data.replace(b"T08:00:00Z", b"t08:00:00z")


def shout(contents: dict[str, Any]) -> None:
    contents["signatures"][0]["sig"] = contents["signatures"][0]["sig"].upper()


@pytest.mark.parametrize(
    "change",
    [
        spaced, reordered, doubled, escaped, lower, lambda data: data + b"\n", lambda data: b" " + data, changed(shout),
        changed(lambda it: it.update(note="")), changed(lambda it: it["signatures"][0].update(note="")),
        changed(lambda it: it["signatures"][0].update(sig="0")), changed(lambda it: it["signatures"][0].update(sig="")),
    ],
)  # fmt: skip
def test_another_encoding_is_refused(
    publisher: Publisher, tmp_path: Path, clock: HandClock, change: Callable[[bytes], bytes]
) -> None:
    server, device = publisher.server(), client(tmp_path, publisher.anchor(), clock)
    good = (publisher.repository.metadata / "timestamp.json").read_bytes()
    bad = change(good)
    assert bad != good
    refused(server, device, "metadata/timestamp.json", bad, clock, "metadata-encoding")


def refused(server: FolderServer, device: Any, path: str, data: bytes, clock: HandClock, reason: str) -> None:
    server.replaced[path] = data
    with pytest.raises(TrustError) as caught:
        catalogue(device, server, clock)
    assert caught.value.reason == reason, str(caught.value)


@pytest.mark.parametrize(
    "data", [b"", b"nonsense", b"[" * 10_000, b"7", b"\xff", b'{"signatures":[],"signed":{}}', b'{"signatures":7}']
)
def test_what_is_no_metadata_is_named(publisher: Publisher, tmp_path: Path, clock: HandClock, data: bytes) -> None:
    device = client(tmp_path, publisher.anchor(), clock)
    refused(publisher.server(), device, "metadata/timestamp.json", data, clock, "metadata-invalid")


@pytest.mark.parametrize("keyid", ["f" * 64, ""])
@pytest.mark.parametrize("role", ["timestamp", "root"])
def test_a_signature_that_nothing_needs_must_be_good(
    publisher: Publisher, tmp_path: Path, clock: HandClock, role: str, keyid: str
) -> None:
    """One of a key that nobody names; a wrong one of the third key, where two are enough."""
    server, device = publisher.server(), client(tmp_path, publisher.anchor(), clock)
    rotate(publisher.repository, "snapshot", publisher.repository.effective_keys("snapshot")[0])
    publisher.publish()
    path = publisher.repository.published(role)
    contents = json.loads(path.read_bytes())
    last = contents["signatures"][-1]
    contents["signatures"].append({"keyid": keyid, "sig": last["sig"]})
    refused(server, device, f"metadata/{path.name}", compact(contents), clock, "metadata-signature")
    if role == "root":
        del contents["signatures"][-1]
        last["sig"] = contents["signatures"][0]["sig"]
        refused(server, device, f"metadata/{path.name}", compact(contents), clock, "metadata-signature")


def test_every_bit_of_a_timestamp_and_of_a_roots_envelope(publisher: Publisher) -> None:
    """In ``signed`` of a root each bit is under the signatures, as it is here; they only are many."""
    rotate(publisher.repository, "snapshot", publisher.repository.effective_keys("snapshot")[0])
    publisher.publish()
    metadata = publisher.repository.metadata
    old, timestamp, root = ((metadata / name).read_bytes() for name in ("1.root.json", "timestamp.json", "2.root.json"))
    delegator = Metadata[Root].from_bytes(old).signed
    for role, data, end in (("timestamp", timestamp, len(timestamp)), ("root", root, root.index(b'"signed"'))):
        assert_read(role, data, delegator)
        for bit in range(end * 8):
            bad = bytearray(data)
            bad[bit // 8] ^= 1 << bit % 8
            try:
                assert_read(role, bytes(bad), delegator)
            except (TrustError, RepositoryError):
                continue
            pytest.fail(f"{role}, bit {bit}: {data[bit // 8 - 40 : bit // 8 + 40]!r}")


def assert_read(role: str, data: bytes, delegator: Root) -> None:
    """What a device does with it: ours first, then python-tuf's."""
    check_encoding(role, data)
    check_signatures(role, data, delegator)
    metadata: Metadata[Any] = Metadata.from_bytes(data)
    delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)


@pytest.mark.parametrize("role", ["timestamp", "snapshot"])
@pytest.mark.parametrize("field", ["length", "hashes"])
def test_nothing_is_taken_by_its_version_alone(
    publisher: Publisher, tmp_path: Path, clock: HandClock, role: str, field: str
) -> None:
    device = client(tmp_path, publisher.anchor(), clock)
    repository = publisher.repository
    if role == "snapshot":
        with repository._online("snapshot", Snapshot()) as snapshot:
            assert isinstance(snapshot, Snapshot)
            setattr(snapshot.meta["image-rpi4.json"], field, None)
    with repository._online("timestamp", Timestamp()) as timestamp:
        assert isinstance(timestamp, Timestamp)
        if role == "timestamp":
            setattr(timestamp.snapshot_meta, field, None)
        else:
            data = repository.published("snapshot").read_bytes()
            timestamp.snapshot_meta = type(timestamp.snapshot_meta).from_data(2, data, ["sha256"])
            timestamp.snapshot_meta.version = repository.effective("snapshot").version
    with pytest.raises(TrustError, match="names no sha256 or length") as caught:
        catalogue(device, publisher.server(), clock)
    assert caught.value.reason == "metadata-invalid"
