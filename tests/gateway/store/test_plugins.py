"""Damaged files, full histories, names and versions: what the store says and does."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from gateway.digest import content_hash
from gateway.errors import StoreError
from gateway.store.container import custom_section, embed, embedded, manifest_of
from gateway.store.plugins import PluginStore
from gateway.store.storage import Disk
from gateway.store.version import is_older, next_version, precedence
from tests.gateway.modules import module
from tests.gateway.store.disk import FakeDisk
from tests.gateway.store.goods import MANIFEST, Ticking, hashed, plugin_file

ROOT = Path("state")
OLD, NEW = plugin_file(version="1.0.0"), plugin_file(version="1.1.0")


def opened(disk: FakeDisk | Disk, keep: int = 2) -> PluginStore:
    return PluginStore(disk, ROOT, Ticking(), keep)


@pytest.fixture
def disk() -> FakeDisk:
    """gain 1.1.0 runs, 1.0.0 ran before."""
    made = FakeDisk()
    store = opened(made)
    store.install([OLD], "penstock", "first")
    store.activate(store.add(*hashed(NEW), "tester"), "tester")
    return made


def runs(store: PluginStore) -> str:
    entry = store.entry("gain")
    return entry.active.version if entry else ""


def blob(data: bytes) -> str:
    return f"blobs/{content_hash(data)}.wasm"


@pytest.mark.parametrize("rot", [b"", b"{}", b"\xff\xff", b'{"blake3": "00", "body": {}}'])
@pytest.mark.parametrize(
    ("file", "version", "told"),
    [
        ("active_manifest.json", "1.0.0", "active_manifest.json is damaged ("),
        ("rollback_manifest.json", "1.1.0", "rollback_manifest.json is damaged ("),
        (blob(NEW), "1.0.0", f"{blob(NEW)} is damaged (its contents have another hash) and was set aside"),
        (blob(OLD), "1.1.0", f"{blob(OLD)} is damaged ("),
    ],
)
def test_what_is_damaged_is_named_and_set_aside(disk: FakeDisk, file: str, version: str, told: str, rot: bytes) -> None:
    disk.damage(file, rot)
    store = opened(disk)
    assert runs(store) == version
    assert store.problems[0].startswith(told)
    assert disk.files()[f"set_aside/{file.removeprefix('blobs/')}"] == rot
    again = opened(disk)
    assert (runs(again), again.problems) == (version, []), "it is told once"


@pytest.mark.parametrize("position", range(0, 400, 7))
def test_a_flipped_bit_anywhere_in_a_manifest_is_seen(disk: FakeDisk, position: int) -> None:
    data = bytearray(disk.files()["active_manifest.json"])
    data[position] ^= 1
    disk.damage("active_manifest.json", bytes(data))
    store = opened(disk)
    assert runs(store) in ("1.0.0", "1.1.0")
    if runs(store) == "1.0.0":
        assert "active_manifest.json is damaged" in store.problems[0]


def test_without_any_manifest_the_newest_version_runs(disk: FakeDisk) -> None:
    disk.damage("active_manifest.json", b"")
    disk.damage("rollback_manifest.json", b"")
    store = opened(disk)
    assert runs(store) == "1.1.0"
    assert len(store.problems) == 2


def test_when_everything_is_damaged_the_store_is_empty_and_usable(disk: FakeDisk) -> None:
    for path in disk.files():
        disk.damage(path, b"rotten")
    store = opened(disk)
    assert store.names() == ()
    store.install([OLD], "penstock", "again")
    assert runs(opened(disk)) == "1.0.0"
    assert len(disk.list("set_aside")) <= 8


def test_bad_hashes_survive_and_a_damaged_list_of_them_is_told(disk: FakeDisk) -> None:
    store = opened(disk)
    store.mark_bad(store.find("gain", "1.1.0"), "4 traps in 30 s")
    later = opened(disk)
    assert runs(later) == "1.0.0", "what the power cut off is finished at the start"
    told = f'plugin "gain" 1.1.0 ({content_hash(NEW)[:8]}) is not run (4 traps in 30 s); 1.0.0 runs instead'
    assert later.problems == [told]
    assert later.history("gain")[-1].action == "repair"
    with pytest.raises(StoreError, match=r"is remembered as bad and never run again: 4 traps in 30 s"):
        later.add(*hashed(NEW), "tester")
    disk.damage("bad_hashes.json", b"[]")
    assert opened(disk).problems[0].startswith("bad_hashes.json is damaged (")


def test_a_damaged_history_does_not_matter(disk: FakeDisk) -> None:
    disk.damage("history/gain.json", b"")
    store = opened(disk)
    assert store.history("gain") == ()
    store.roll_back("gain", "tester", "because")
    (entry,) = store.history("gain")
    assert (entry.who, entry.action, entry.result, entry.reason) == ("tester", "rollback", "done", "because")
    assert (entry.source and entry.source.version, entry.target and entry.target.version) == ("1.1.0", "1.0.0")


def test_the_name_of_a_plugin_is_no_path(disk: FakeDisk) -> None:
    before = disk.files()
    store = opened(disk)
    for ask in (store.history, store.versions, lambda name: store.roll_back(name, "tester")):
        with pytest.raises(StoreError, match="which is no plugin"):
            ask("../active_manifest")
    assert disk.files() == before


def test_a_history_has_an_end(disk: FakeDisk) -> None:
    store = opened(disk)
    refs = [store.find("gain", version) for version in ("1.0.0", "1.1.0")]
    for number in range(120):
        store.activate(refs[number % 2], f"user{number}", reason="x" * 1000)
    entries = store.history("gain")
    assert [entry.who for entry in entries] == [f"user{number}" for number in range(20, 120)]
    assert len(disk.files()["history/gain.json"]) < 100_000


def test_a_disk_that_cannot_be_read_at_all_is_told() -> None:
    disk = FakeDisk()
    disk.fail_at, disk.error = range(100), errno.EROFS
    with pytest.raises(StoreError, match=r"state: cannot be opened: Read-only file system; mount it writable"):
        opened(disk)


def test_what_runs_stays_when_the_disk_is_read_only(disk: FakeDisk) -> None:
    disk.damage(blob(NEW), b"")
    disk.fail_at, disk.error = range(1 << 30), errno.EROFS
    store = opened(disk)
    assert runs(store) == "1.0.0"


def test_old_versions_are_collected(disk: FakeDisk) -> None:
    store = opened(disk)
    for minor in range(2, 9):
        store.activate(store.add(*hashed(plugin_file(version=f"1.{minor}.0")), "tester"), "tester")
    for patch in range(1, 9):
        store.add(*hashed(plugin_file(version=f"1.0.{patch}")), "tester")
    kept = [(one.ref.version, one.state) for one in store.versions("gain")]
    assert kept == [
        ("1.8.0", "active"), ("1.7.0", "good"), ("1.6.0", "good"), ("1.5.0", "installed"), ("1.4.0", "installed"),
        ("1.0.8", "installed"),  # pushed last
    ]  # fmt: skip
    assert {f"{one.ref.hash}.wasm" for one in store.versions("gain")} == set(disk.list("blobs"))


@pytest.mark.parametrize(
    ("name", "wanted", "code", "message"),
    [
        ("gian", "1.0.0", "unknown_plugin", 'found "gian", which is no plugin; did you mean "gain"?'),
        ("gain", "1.0", "unknown_version", 'plugin "gain" has no version "1.0"; installed: 1.1.0, 1.0.0'),
        ("gain", content_hash(OLD)[:5], "unknown_version", "installed: 1.1.0, 1.0.0"),
    ],
)
def test_names_that_are_wrong(disk: FakeDisk, name: str, wanted: str, code: str, message: str) -> None:
    with pytest.raises(StoreError, match=message.replace("?", r"\?")) as caught:
        opened(disk).find(name, wanted)
    assert caught.value.code == code


def test_a_version_has_a_number_and_a_hash(disk: FakeDisk) -> None:
    store = opened(disk)
    assert store.find("gain", content_hash(OLD)[:6].upper()) == store.find("gain", "1.0.0")
    store.install([plugin_file(version="1.1.0", summary="another build")], "penstock", "developer")
    with pytest.raises(StoreError, match=r"has 1\.1\.0 more than once; allowed: \w{8} or \w{8}"):
        store.find("gain", "1.1.0")


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        (plugin_file(version="1.1.0", summary="other"), "version_taken", "other contents; give these a version"),
        (plugin_file(version="1.0.0", summary="other"), "version_taken", "from the search path; give these a version"),
        (plugin_file(version="1.0.0", summary="other"), "version_taken", "build FOLDER --embed --as 1.1.1"),
        (b"\x7fELF", "bad_plugin", "not a WebAssembly module of version 1"),
        (module(), "bad_plugin", "carries no plugin.toml; make it with: penstock plugin build FOLDER --embed"),
        (plugin_file(version="1.2.0")[:-1], "bad_plugin", "a section ends outside of the file: is it complete"),
        (embed(module(), b'name = "gain"'), "bad_plugin", "plugin.toml: version: missing"),
        (embed(module(), b"\xff"), "bad_plugin", "plugin.toml: not UTF-8 at byte 0"),
        (plugin_file(version="1.2.0") + b"\0\x80", "bad_plugin", "unexpected end"),
        (module() + b"\0\x80", "bad_plugin", "a section ends outside of the file"),
        (bytes(4 << 20) + b"x", "bad_plugin", "found 4194305 bytes, allowed: at most 4194304"),
        (
            embed(module(imports="now"), MANIFEST.format(name="gain", version="1.2.0", summary="s").encode()),
            "bad_plugin",
            r'plugin "gain" 1.2.0: it imports hal.now, which capabilities.hal in its plugin.toml does not grant',
        ),
        (
            embed(module(imports="nwo"), MANIFEST.format(name="gain", version="1.2.0", summary="s").encode()),
            "bad_plugin",
            r'it imports hal.nwo, which there is not; did you mean "now"',
        ),
        (
            embed(b"\0asm\1\0\0\0", MANIFEST.format(name="gain", version="1.2.0", summary="s").encode()),
            "bad_plugin",
            r"it exports no memory memory; it exports no func pen_abi_1; it exports no func pen_init",
        ),
    ],
)
def test_what_is_not_kept(disk: FakeDisk, data: bytes, code: str, message: str) -> None:
    before = disk.files()
    with pytest.raises(StoreError, match=message) as caught:
        opened(disk).add(*hashed(data), "tester")
    assert caught.value.code == code
    assert disk.files() == before


def test_contents_must_be_those_announced(disk: FakeDisk) -> None:
    with pytest.raises(StoreError, match=r"changed on its way\?") as caught:
        opened(disk).add(plugin_file(version="1.2.0"), content_hash(b"else"), "tester")
    assert caught.value.code == "bad_hash"


def test_on_a_real_disk(tmp_path: Path) -> None:
    store = PluginStore(Disk(tmp_path), tmp_path, Ticking())
    store.install([OLD], "penstock", "first")
    (tmp_path / "blobs" / "x.wasm.tmp").write_bytes(b"half")
    again = PluginStore(Disk(tmp_path), tmp_path, Ticking())
    entry = again.entry("gain")
    assert entry is not None
    assert again.plugin(entry.active).read() == OLD
    assert not list(tmp_path.rglob("*.tmp"))
    stated = json.loads((tmp_path / "active_manifest.json").read_text())
    assert stated["body"]["plugins"]["gain"]["active"]["version"] == "1.0.0"
    again.plugin(entry.active).wasm.write_bytes(b"rotten")
    with pytest.raises(Exception, match=r"is damaged: its contents have another hash"):
        again.plugin(entry.active).read()


def test_the_manifest_in_a_module() -> None:
    text = MANIFEST.format(name="gain", version="1.0.0", summary="s").encode()
    assert embedded(embed(module(), text), "f") == text
    assert (
        embedded(module() + custom_section("other", b"x" * 1000) + custom_section("penstock.manifest", b"m"), "f")
        == b"m"
    )
    assert embedded(module(), "f") is None
    assert manifest_of(embed(module(), text), "f").version == "1.0.0"


def test_order_of_versions() -> None:
    # The example of semver.org, clause 11, and more.
    versions = "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1".split()
    versions += "1.0.0 1.0.1 1.2.0 1.10.0".split()
    shuffled = versions[::-1]
    assert sorted(shuffled, key=precedence) == versions
    assert precedence("1.0.0+build.7") == precedence("1.0.0")
    assert is_older("1.9.0", "1.10.0")
    assert not is_older("1.0.0", "1.0.0-rc.1")
    assert [next_version(one) for one in ("1.0.9", "2.0.0-rc.1", "0.1.0+dev.3")] == ["1.0.10", "2.0.0", "0.1.1"]
