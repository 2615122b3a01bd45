"""The build side: roles, thresholds on separate machines, rotation, rollout, minisign, bundles, the command line."""

from __future__ import annotations

import json
import random
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import get_args

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.app.aot_build import TARGETS as AOT_TARGETS
from ota.app.cli import main
from ota.app.repo_cli import TARGETS
from ota.clock import Cancel
from ota.delta.make import MEMORY
from ota.errors import TransferError, TrustError, UsageError
from ota.ports import Request
from ota.repo import minisign
from ota.repo.bundle import create_bundle
from ota.repo.keys import Keyring
from ota.repo.publish import delegate, rotate
from ota.trust.bundle import Bundle, bundle_catalogue
from ota.trust.choice import Device, is_offered, newest
from ota.trust.client import Catalogue
from ota.trust.floor import Floor, RoleFloor, Seen, check_seen, highest, learn
from ota.trust.model import Artefact, File, Release, Target
from tests.ota.conftest import IMAGE_ONE, IMAGE_TWO
from tests.ota.world import DAY, IMAGE, HandClock, Publisher, client

ALL = Device("d", "default")


def test_signatures_from_two_machines(publisher: Publisher, tmp_path: Path) -> None:
    """Root and targets need 2 of 3: the change waits until the second key holder has signed."""
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, names in ((one, ("targets-1", "snapshot-1", "timestamp-1")), (two, ("targets-2",))):
        folder.mkdir()
        for name in names:
            shutil.copy(publisher.keys / f"{name}.pem", folder)
    first = publisher.with_keys(one)
    delegate(first, "image-x86", count=2, threshold=2)
    assert first.finish() == [
        "targets: 1 more signature(s) needed, see penstock-ota repo sign",
        "image-x86: 1 more signature(s) needed, see penstock-ota repo sign",
    ]
    first.refresh()
    assert publisher.with_keys(two).sign("targets") == 0
    assert first.finish() == []
    first.refresh()
    assert "image-x86" in first.roles()


def test_unneeded_signature_is_told(publisher: Publisher) -> None:
    with pytest.raises(UsageError, match="nothing waits"):
        publisher.repository.sign("root")


def test_keys_are_private_and_never_overwritten(tmp_path: Path) -> None:
    keys = Keyring(tmp_path / "keys", "secret")
    signer = keys.make("a")
    path = tmp_path / "keys/a.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"ENCRYPTED" in path.read_bytes()
    assert list(keys.signers()) == [signer.public_key.keyid]
    with pytest.raises(UsageError, match="never overwritten"):
        keys.make("a")
    with pytest.raises(UsageError, match="PENSTOCK_OTA_PASSPHRASE"):
        Keyring(tmp_path / "keys", "wrong").signers()


def test_mistakes_of_a_publisher(publisher: Publisher) -> None:
    with pytest.raises(UsageError, match="image-FAMILY"):
        delegate(publisher.repository, "picture-x", count=1, threshold=1)
    with pytest.raises(UsageError, match="threshold 2 of 1"):
        delegate(publisher.repository, "image-x", count=1, threshold=2)
    with pytest.raises(UsageError, match="exists"):
        delegate(publisher.repository, "image-rpi4", count=1, threshold=1)
    with pytest.raises(UsageError, match="release 1 of penstock is image/rpi4/p-1"):
        publisher.add(f"{IMAGE}/again.img", b"x", 1)
    with pytest.raises(TrustError, match="not a name"):
        publisher.add("image/rpi4/../x", b"x", 2)
    with pytest.raises(UsageError, match="has no role 'image-other'"):
        publisher.add("image/other/x", b"x", 2)
    with pytest.raises(UsageError, match="one of image-rpi4 is needed"):
        rotate(publisher.repository, "image-rpi4", "ffffffffffff")


def test_useless_patch_is_refused(publisher: Publisher) -> None:
    noise = bytes((index * 7919 >> 3) & 255 for index in range(3000))
    publisher.add(f"{IMAGE}/noise.img", noise, 3)
    with pytest.raises(UsageError, match="over 60 %"):
        publisher.patch(f"{IMAGE}/noise.img", b"something else")
    with pytest.raises(UsageError, match="allowed: lzma, heatshrink"):
        publisher.patch(f"{IMAGE}/noise.img", noise, "zip")
    with pytest.raises(UsageError, match="not published"):
        publisher.patch(f"{IMAGE}/other.img", noise)
    assert set(MEMORY) == {"lzma", "heatshrink"}


def offer(name: str, release: int, rollout: dict[str, int], sha256: str = "ab") -> Artefact:
    return Artefact(File(f"image/rpi4/{name}", 1, sha256), Release("penstock", release, "", "", rollout))


def test_rollout_is_a_stable_share() -> None:
    tenth = offer("a", 1, {"default": 10, "canary": 100})
    takers = [number for number in range(2000) if is_offered(tenth, Device(str(number)))]
    assert 150 < len(takers) < 250
    half = offer("a", 1, {"default": 50})
    assert all(is_offered(half, Device(str(number))) for number in takers)
    assert all(is_offered(tenth, Device(str(number), "canary")) for number in range(100))
    assert not is_offered(offer("a", 1, {"canary": 100}), ALL)
    other = offer("b", 2, {"default": 10}, "cd")
    assert {number for number in range(2000) if is_offered(other, Device(str(number)))} != set(takers)


def test_newest_release_that_has_not_failed() -> None:
    one, two = offer("one", 1, {"default": 100}, "01"), offer("two", 2, {"default": 100}, "02")
    assert newest([one, two], "image/rpi4/penstock", ALL, frozenset()) == two
    assert newest([one, two], "image/rpi4/penstock", ALL, frozenset({"02"})) == one
    assert newest([one, two], "image/rpi4/other", ALL, frozenset()) is None


def test_floors_only_rise() -> None:
    seen = Seen("targets", 5, ("k",), 1000)
    floor = learn(Floor(), seen)
    assert floor == Floor(1000, {"targets": RoleFloor(5, ("k",))})
    assert learn(floor, Seen("targets", 4, ("k",), 900)) == floor
    with pytest.raises(TrustError, match="an old repository"):
        check_seen(floor, Seen("targets", 4, ("k",), 0))
    check_seen(floor, Seen("targets", 4, ("other",), 0))
    assert highest(Floor(releases={"a": 2, "b": 1}), Floor(releases={"a": 1})).releases == {"a": 2, "b": 1}


def bundled(publisher: Publisher, path: Path, folder: Path, clock: HandClock) -> Catalogue:
    anchor = publisher.anchor()
    with Bundle(path, Cancel()) as bundle:
        return bundle_catalogue(bundle.read, anchor, client(folder, anchor, clock), "image", "rpi4")


def test_bundle_lives_longer_than_the_timestamp(publisher: Publisher, tmp_path: Path, clock: HandClock) -> None:
    path = tmp_path / "bundle.tar"
    assert create_bundle(publisher.repository, "image-rpi4", path, with_patches=True) == [f"{IMAGE}/p-1.img"]
    clock.now += 300 * DAY
    assert [one.release.release for one in bundled(publisher, path, tmp_path, clock).artefacts] == [1]
    clock.now += 100 * DAY
    with pytest.raises(TrustError, match="metadata-expired"):
        bundled(publisher, path, tmp_path, clock)


def test_old_bundle_is_refused(publisher: Publisher, tmp_path: Path, clock: HandClock) -> None:
    old, new = tmp_path / "old.tar", tmp_path / "new.tar"
    anchor = publisher.anchor()
    create_bundle(publisher.repository, "image-rpi4", old, with_patches=False)
    publisher.add(f"{IMAGE}/p-2.img", IMAGE_TWO, 2)
    create_bundle(publisher.repository, "image-rpi4", new, with_patches=False)
    device = client(tmp_path, anchor, clock)
    with Bundle(new, Cancel()) as bundle:
        bundle_catalogue(bundle.read, anchor, device, "image", "rpi4")
    with Bundle(old, Cancel()) as bundle, pytest.raises(TrustError, match="metadata-rollback"):
        bundle_catalogue(bundle.read, anchor, device, "image", "rpi4")


def test_bundle_after_root_rotation(publisher: Publisher, tmp_path: Path, clock: HandClock) -> None:
    anchor = publisher.anchor()
    rotate(publisher.repository, "root", publisher.repository.effective_keys("root")[0])
    assert publisher.publish() == []
    path = tmp_path / "bundle.tar"
    create_bundle(publisher.repository, "image-rpi4", path, with_patches=False)
    with Bundle(path, Cancel()) as bundle:
        assert bundle_catalogue(bundle.read, anchor, client(tmp_path, anchor, clock), "image", "rpi4").artefacts


def test_compiled_code_is_published_and_bundled(
    publisher: Publisher, tmp_path: Path, clock: HandClock, capsys: pytest.CaptureFixture[str]
) -> None:
    repo, keys, code = publisher.folder / "repo", publisher.keys, tmp_path / "x.so"
    for number in (1, 2):
        publisher.add(f"plugin/acme/x-{number}.wasm", b"x" * number, number, line="x")
        code.write_bytes(b"code" * number)
        name = f"plugin/acme/x-{number}.wasm"
        assert (
            main(["repo", "code", str(repo), "--keys", str(keys), name, "--file", str(code), "--target", "armv7"]) == 0
        )
        assert f"x-{number}.armv7.so: {4 * number} bytes" in capsys.readouterr().out
    assert (
        main(
            [
                "repo",
                "code",
                str(repo),
                "--keys",
                str(keys),
                "plugin/acme/y.wasm",
                "--file",
                str(code),
                "--target",
                "armv7",
            ]
        )
        == 2
    )
    assert "plugin/acme/y.wasm: not published" in capsys.readouterr().err
    names = create_bundle(publisher.repository, "plugin-acme", tmp_path / "bundle.tar", with_patches=False)
    assert names == ["plugin/acme/x-2.wasm", "plugin/acme/x-2.armv7.so"]
    anchor = publisher.anchor()
    with Bundle(tmp_path / "bundle.tar", Cancel()) as bundle:
        found = bundle_catalogue(bundle.read, anchor, client(tmp_path, anchor, clock), "plugin", "acme")
    newest_one = max(found.artefacts, key=lambda one: one.release.release)
    compiled = found.code_of(newest_one, "armv7")
    assert compiled is not None
    assert (compiled.file.name, compiled.file.length) == ("plugin/acme/x-2.armv7.so", 8)
    assert found.code_of(newest_one, "riscv64") is None
    assert get_args(Target) == TARGETS == tuple(AOT_TARGETS)


def test_flipped_bits_in_a_bundle(publisher: Publisher, tmp_path: Path, clock: HandClock) -> None:
    """As online (test_stage.py): a new root among it, and signatures beyond the threshold."""
    anchor, chance, path = publisher.anchor(), random.Random(10), tmp_path / "bundle.tar"
    rotate(publisher.repository, "snapshot", publisher.repository.effective_keys("snapshot")[0])
    publisher.publish()
    create_bundle(publisher.repository, "image-rpi4", path, with_patches=False)
    device = client(tmp_path, anchor, clock)
    with Bundle(path, Cancel()) as bundle:
        for _ in range(250):
            name = chance.choice(["2.root.json", "targets.json", "bundle.json", "image-rpi4.json"])
            bad = bytearray(bundle.read(name) or b"")
            bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)

            def read(asked: str, name: str = name, bad: bytes = bytes(bad)) -> bytes | None:
                return bad if asked == name else bundle.read(asked)

            with pytest.raises(TrustError) as caught:
                bundle_catalogue(read, anchor, device, "image", "rpi4")
            assert caught.value.reason.startswith("metadata-")


def test_a_bundles_envelope_is_exact(publisher: Publisher, tmp_path: Path, clock: HandClock) -> None:
    anchor, path = publisher.anchor(), tmp_path / "bundle.tar"
    create_bundle(publisher.repository, "image-rpi4", path, with_patches=False)
    good = publisher.repository.published("bundle").read_bytes()
    sig = json.loads(good)["signatures"][0]["sig"].encode()
    another = b'{"signatures":[{"keyid":"a","sig":"' + sig + b'"},' + good.removeprefix(b'{"signatures":[')
    changed = {"metadata-encoding": good.replace(sig, sig.upper()), "metadata-signature": another}
    with Bundle(path, Cancel()) as bundle:
        for reason, data in changed.items():
            read = {**{name: bundle.read(name) for name in ("targets.json", "image-rpi4.json")}, "bundle.json": data}
            with pytest.raises(TrustError, match=reason):
                bundle_catalogue(read.get, anchor, client(tmp_path, anchor, clock), "image", "rpi4")


@pytest.mark.parametrize("name", ["targets", "image-rpi4", "bundle"])
def test_bundle_of_mixed_or_missing_metadata(publisher: Publisher, tmp_path: Path, clock: HandClock, name: str) -> None:
    path, anchor = tmp_path / "bundle.tar", publisher.anchor()
    create_bundle(publisher.repository, "image-rpi4", path, with_patches=False)
    other = publisher.copy(tmp_path / "other")
    with other.repository.edit(name):
        pass
    other.publish()
    mixed = other.repository.published(name).read_bytes()
    with Bundle(path, Cancel()) as bundle:
        for replaced, reason in ((mixed, "metadata-"), (None, "bundle-incomplete"), (b"{}", "metadata-invalid")):

            def read(asked: str, data: bytes | None = replaced) -> bytes | None:
                return data if asked == f"{name}.json" else bundle.read(asked)

            device = client(tmp_path / str(reason), anchor, clock)
            if name == "bundle" and replaced is mixed:
                assert bundle_catalogue(read, anchor, device, "image", "rpi4")
                continue
            with pytest.raises(TrustError, match=reason):
                bundle_catalogue(read, anchor, device, "image", "rpi4")


def test_bundle_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"not a tar file")
    with pytest.raises(UsageError, match="not a bundle"):
        Bundle(tmp_path / "x", Cancel())
    with tarfile.open(tmp_path / "y", "w"):
        pass
    with Bundle(tmp_path / "y", Cancel()) as bundle, pytest.raises(TransferError, match="http-gone"):
        bundle.open(Request("bundle:/targets/../../etc/passwd"))


def test_minisign_program_agrees(tmp_path: Path) -> None:
    """Our signature is accepted by the program, and its by us."""
    key = Ed25519PrivateKey.generate()
    image, public = tmp_path / "image", tmp_path / "ours.pub"
    image.write_bytes(IMAGE_ONE)
    public.write_text(minisign.public_file(key.public_key()))
    (tmp_path / "image.minisig").write_text(minisign.sign(key, image, "release 17"))
    done = subprocess.run(["minisign", "-V", "-p", public, "-m", image], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "release 17" in done.stdout
    theirs: list[str | Path] = ["minisign", "-G", "-W", "-p", tmp_path / "t.pub", "-s", tmp_path / "t.key"]
    if subprocess.run(theirs, capture_output=True, check=False).returncode:
        theirs.remove("-W")
        subprocess.run(theirs, input=b"\n\n", capture_output=True, check=True)
    sign: list[str | Path] = ["minisign", "-S", "-H", "-s", tmp_path / "t.key", "-m", image, "-t", "by the program"]
    subprocess.run(sign, input=b"\n", capture_output=True, check=True)
    signature = (tmp_path / "image.minisig").read_text()
    assert minisign.verify((tmp_path / "t.pub").read_text(), image, signature) == "by the program"


# Made by minisign 0.11 (key with an empty passphrase) over the bytes "penstock\n".
VECTOR_PUBLIC = (
    "untrusted comment: minisign public key FF7C4F064C11B79B\n"
    "RWSbtxFMBk98/+JsPkCj3rGsL5HwpAWtXS3o7wBLQPniRiIE4/zKABDN\n"
)
VECTOR_SIGNATURE = (
    "untrusted comment: signature from minisign secret key\n"
    "RUSbtxFMBk98/yI723j/YzZKv1LEtsNSOPtRK9l+WFtfTc1GPg47C68zdu1f0zAjqrc5MJisQSvIhR9cosV+jyjgq8itQ7gZ/gs=\n"
    "trusted comment: a vector\n"
    "o2nVFX+t7xyXAkzsNhMCiseTb8AtWpTGxHeTeSyn6X97GsE+p46jh0JLZowemN2wnpYL9dtaSY6R/mTeGRI+AA==\n"
)


def test_minisign_vector_and_every_flipped_bit(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"penstock\n")
    assert minisign.verify(VECTOR_PUBLIC, image, VECTOR_SIGNATURE) == "a vector"
    lines = VECTOR_SIGNATURE.splitlines()
    for number in (1, 2, 3):
        for at in range(len(lines[number])):
            line = lines[number]
            bad = [*lines]
            bad[number] = line[:at] + chr(ord(line[at]) ^ 1) + line[at + 1 :]
            with pytest.raises(TrustError):
                minisign.verify(VECTOR_PUBLIC, image, "\n".join(bad))
    image.write_bytes(b"penstocK\n")
    with pytest.raises(TrustError):
        minisign.verify(VECTOR_PUBLIC, image, VECTOR_SIGNATURE)


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_minisign_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, public = tmp_path / "image", tmp_path / "people.pub"
    image.write_bytes(IMAGE_ONE)
    keys = ["--keys", tmp_path / "keys", "--name", "people"]
    assert run("minisign", "key", *keys, "--public", public) == 0
    assert run("minisign", "sign", image, *keys, "--comment", "release 3") == 0
    assert run("minisign", "verify", image, "--public", public) == 0
    assert "release 3" in capsys.readouterr().out
    image.write_bytes(IMAGE_TWO)
    assert run("minisign", "verify", image, "--public", public) == 1
    assert run("minisign", "sign", image, "--keys", tmp_path, "--name", "none") == 2
    assert "none.pem: cannot be read" in capsys.readouterr().err


def test_command_line_from_nothing_to_a_verified_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repo, keys, trust, state = (tmp_path / name for name in ("repo", "keys", "trust", "state"))
    old, new, got = tmp_path / "old.wasm", tmp_path / "new.wasm", tmp_path / "got.wasm"
    old.write_bytes(IMAGE_ONE)
    new.write_bytes(IMAGE_TWO)
    at = [repo, "--keys", keys]
    assert run("repo", "init", *at) == 0
    assert run("repo", "key", *at, "plugin-acme") == 0
    assert run("repo", "trust", *at, "--out", trust, "--release", "plugin/acme/modbus=1") == 0
    name = "plugin/acme/modbus-2.wasm"
    publish = ["--file", new, "--as", name, "--name", "modbus", "--release", 2, "--label", "1.1.0"]
    assert run("repo", "publish", *at, *publish) == 0
    assert run("repo", "delta", *at, name, "--from", old) == 0
    stick = tmp_path / "stick.tar"
    assert run("bundle", "create", *at, "--role", "plugin-acme", "--out", stick, "--patches") == 0
    device = ["--line", "plugin/acme/modbus", "--target", got, "--trust", trust, "--state", state]
    assert run("bundle", "install", stick, *device, "--source", old) == 0
    assert "release 2 (1.1.0), by patch, verified" in capsys.readouterr().out
    assert got.read_bytes() == IMAGE_TWO
    assert run("bundle", "install", stick, *device[:-4], "--trust", tmp_path, "--state", state) == 2
    assert run("repo", "sign", *at, "root") == 2
    assert "nothing waits" in capsys.readouterr().err
