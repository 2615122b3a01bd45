"""Plugin updates by a gateway in memory: every outcome, and the power cut before or after each durable effect."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path

import blake3
import pytest
from msgspec.structs import replace

from ota.agent.notebook import Entry, read_notebook, write_notebook
from ota.agent.plugins import PluginUpdates
from ota.agent.settings import Settings, read_settings
from ota.agent.source import Source, Way
from ota.clock import Cancel
from ota.errors import GatewayRefused, GatewayUnavailable, StorageError, TransferError
from ota.repo.publish import codes
from ota.transfer.budget import Allowance, BudgetFile
from ota.transfer.metadata import MetadataFetcher
from ota.trust.client import Catalogue, TrustClient
from tests.ota.agent.rig import settings_text
from tests.ota.world import URL, FolderServer, HandClock, Publisher

LINE, NAME, FILE = "plugin/acme/scale", "scale", "plugin/acme/scale-2.wasm"
CODE = b"the new version, compiled"
OLDEST, OLD, NEW = b"two versions before", b"the version before", b"the new version"
BEHAVIOURS = ("healthy", "refused", "no-plugin", "storms", "sick", "races", "unused")
STAYS = ("healthy", "unused")


def content(data: bytes) -> str:
    return blake3.blake3(data).hexdigest()


class PowerCut(BaseException):
    """The power is gone."""


@dataclass
class Flash:
    """What survives: the agent's files and the gateway's store. ``cut``: number of an effect and when it is cut."""

    behaviour: str
    cut: tuple[int, str] = (-1, "")
    files: dict[str, bytes] = field(default_factory=dict)
    store: set[str] = field(default_factory=lambda: {content(OLDEST), content(OLD)})
    active: str = content(OLD)
    reasons: dict[str, str] = field(default_factory=dict)
    codes: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    effects: list[str] = field(default_factory=list)
    away: bool = False
    code: str = ""

    def effect(self, name: str) -> bool:
        """Whether it is carried out; the second call of a pair ends in the cut."""
        number, mode = self.cut
        self.effects.append(name)
        if len(self.effects) - 1 == number and mode == "before":
            raise PowerCut
        return len(self.effects) - 1 == number

    # ---- StateFiles ----

    def load(self, name: str, limit: int) -> bytes | None:
        data = self.files.get(name)
        assert data is None or len(data) <= limit
        return data

    def save(self, name: str, data: bytes) -> None:
        ends = self.effect(f"save {name}")
        self.files[name] = data
        if ends:
            raise PowerCut

    # ---- GatewayControl ----

    def push(self, data: bytes) -> str:
        self._ask()
        if self.behaviour == "no-plugin":
            raise GatewayRefused("bad_plugin", "no module")
        ends = self.effect("push")
        self.store.add(content(data))
        if ends:
            raise PowerCut
        return NAME

    def target(self) -> str:
        self._ask()
        return "aarch64"

    def push_code(self, wanted: str, target: str, code: bytes) -> None:
        self._ask()
        assert wanted in self.store
        ends = self.effect("push code")
        if self.behaviour == "odd-code":
            raise GatewayRefused("bad_code", "made for another module")
        self.codes[wanted] = (target, code)
        if ends:
            raise PowerCut

    def swap(self, name: str, wanted: str, shadow_records: int, allowed: tuple[str, ...]) -> None:
        self._ask()
        assert (name, shadow_records, allowed) == (NAME, 0, ())
        if wanted not in self.store:
            raise GatewayRefused("unknown_version", "no such version")
        if self.reasons.get(wanted):
            raise GatewayRefused("bad_version", f"remembered as bad: {self.reasons[wanted]}")
        if self.behaviour in ("refused", "unused"):
            code = {"refused": "swap_refused", "unused": "not_in_use"}[self.behaviour]
            raise GatewayRefused(code, "vector 3 differs")
        ends = self.effect("swap")
        self.active = wanted
        if self.behaviour == "storms":
            self.active, self.reasons[wanted] = content(OLD), "more than 3 traps in 30 s"
        if ends:
            raise PowerCut

    def versions(self, name: str) -> tuple[str, str]:
        assert name == NAME
        return "" if self.behaviour == "unused" else self.active, content(OLD)

    def given_up(self, name: str, wanted: str) -> str:
        assert name == NAME
        return self.reasons.get(wanted, "")

    def roll_back(self, name: str, wanted: str) -> None:
        assert name == NAME
        if self.behaviour == "races":
            self.active = content(OLD)
        ends = self.effect("rollback")
        if self.active == wanted:
            self.active = content(OLD)
        if ends:
            raise PowerCut

    def failing(self) -> dict[str, str]:
        self._ask()
        own = (
            {"polls": "plc leaves out cycles"}
            if self.behaviour in ("sick", "races") and self.active == content(NEW)
            else {}
        )
        return {"links": "cloud is down", **own}

    def _ask(self) -> None:
        if self.away:
            raise GatewayUnavailable("nobody")
        if self.code:
            raise GatewayRefused(self.code, "not now")


@dataclass
class Bench:
    """A repository with one release of the plugin, and a device's settings."""

    settings: Settings
    client: TrustClient
    clock: HandClock
    server: FolderServer
    publisher: Publisher
    said: list[str] = field(default_factory=list)
    budget: int = 0

    def compile(self) -> str:
        """Publish code for two kinds of machines; where the server has that of the gateway's."""
        self.publisher.add_code(FILE, b"other code", "x86_64")
        self.publisher.add_code(FILE, CODE, "aarch64")
        of = {one.code.target: one.file.path for one in codes(self.publisher.repository, "plugin-acme")}
        return f"targets/{of['aarch64']}"

    def source(self) -> Source:
        budget = BudgetFile(self.settings.paths.state / "budget.json", Allowance(self.budget), self.clock)
        metadata = MetadataFetcher(self.server, self.clock, Cancel())

        def catalogue(kind: str, owner: str) -> Catalogue:
            return self.client.catalogue(metadata, f"{URL}/metadata/", kind, owner)

        return Source(self.settings, self.clock, Way(self.server, f"{URL}/targets", budget, 0), catalogue)

    def boot(self, flash: Flash) -> list[str]:
        """An agent's start and one poll: what it installed, with why it did not stay."""
        updates, source, bad = self.updates(flash), self.source(), frozenset(read_notebook(flash).bad)
        return [updates.install(keys, offer, source, Cancel()) for keys, offer in updates.newer(source, bad)]

    def updates(self, flash: Flash) -> PluginUpdates:
        """Of an agent that starts."""

        def note(entry: Entry, bad: bool) -> None:
            notebook = read_notebook(flash)
            if bad:
                notebook.bad = {**notebook.bad, entry.sha256: entry.reason}
            notebook.add(entry)
            write_notebook(flash, notebook)

        return PluginUpdates(self.settings, self.client, self.clock, flash, flash, note, self.said.append)


@pytest.fixture
def bench(publisher: Publisher, tmp_path: Path, clock: HandClock) -> Bench:
    publisher.add(FILE, NEW, 2, line=NAME)
    anchor = publisher.anchor()
    config = tmp_path / "ota.toml"
    config.write_text(settings_text(tmp_path, URL, f'[[plugin]]\nline = "{LINE}"\ncompiled = true\n'))
    settings = read_settings(config)
    trusted = TrustClient(tmp_path / "trusted", anchor, clock)
    return Bench(settings, trusted, clock, publisher.server(), publisher)


def events(flash: Flash) -> list[str]:
    return [entry.event for entry in read_notebook(flash).history]


@pytest.mark.parametrize(
    ("behaviour", "problem", "told"),
    [
        ("healthy", "", ["installed", "committed"]),
        ("unused", "", ["installed", "committed"]),
        ("refused", "the gateway: vector 3 differs (swap_refused)", ["rolled-back"]),
        ("no-plugin", "the gateway: no module (bad_plugin)", ["rolled-back"]),
        ("storms", "more than 3 traps in 30 s", ["installed", "rolled-back"]),
        ("sick", "polls: plc leaves out cycles", ["installed", "rolled-back"]),
        ("races", "polls: plc leaves out cycles", ["installed", "rolled-back"]),
    ],
)
def test_every_outcome(bench: Bench, behaviour: str, problem: str, told: list[str]) -> None:
    flash = Flash(behaviour)
    assert bench.boot(flash) == [problem]
    assert events(flash) == told
    assert flash.active == content(NEW if behaviour == "healthy" else OLD)
    assert list(read_notebook(flash).bad.values()) == ([problem] if problem else [])
    assert bench.boot(flash) == [], "nothing is left to do"


@pytest.mark.parametrize("code", ["storage", "no_store", "too_many_clients", "failed", "away"])
def test_a_gateway_that_cannot_just_now_is_asked_again(bench: Bench, code: str) -> None:
    flash = Flash("healthy", away=code == "away", code="" if code == "away" else code)
    for _ in range(3):
        with pytest.raises(GatewayUnavailable):
            bench.boot(flash)
    assert events(flash) == []
    flash.away, flash.code = False, ""
    assert bench.boot(flash) == [""]
    assert sum(path.startswith("targets/") for path in bench.server.asked) == 1


def test_code_for_this_machine_goes_with_it(bench: Bench) -> None:
    """And nothing else of it is fetched."""
    path, flash = bench.compile(), Flash("healthy")
    assert bench.boot(flash) == [""]
    assert flash.effects[:3] == ["push", "push code", "save plugins.json"], "it is there before the swap"
    assert flash.codes == {content(NEW): ("aarch64", CODE)}
    assert [one for one in bench.server.asked if one.endswith(".so")] == [path]


def test_what_was_fetched_waits_for_its_installation(bench: Bench) -> None:
    bench.compile()
    flash = Flash("healthy")
    updates, source = bench.updates(flash), bench.source()
    ((keys, offer),) = updates.newer(source, frozenset())
    for _ in range(2):
        updates.fetch(keys, offer, source, Cancel())
    assert (flash.effects, flash.active) == ([], content(OLD))
    assert bench.boot(flash) == [""]
    assert flash.codes == {content(NEW): ("aarch64", CODE)}
    assert len([path for path in bench.server.asked if path.startswith("targets/")]) == 2


def test_code_may_come_compressed(bench: Bench) -> None:
    bench.publisher.add_code(FILE, CODE * 500, "aarch64")
    bench.publisher.patch("plugin/acme/scale-2.aarch64.so", None)
    flash = Flash("healthy")
    assert bench.boot(flash) == [""]
    assert flash.codes == {content(NEW): ("aarch64", CODE * 500)}
    assert next(one for one in bench.server.asked if one.endswith((".so", ".lzma"))).endswith(".lzma")


@pytest.mark.parametrize("why", ["none", "unwanted", "other", "missing", "damaged", "large", "odd", "costly"])
def test_without_its_code_a_plugin_is_interpreted(bench: Bench, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    flash = Flash("odd-code" if why == "odd" else "healthy")
    if why == "other":
        bench.publisher.add_code(FILE, b"other code", "armv7")
    elif why != "none":
        path = bench.compile()
        if why == "unwanted":
            (keys,) = bench.settings.plugin
            bench.settings = replace(bench.settings, plugin=(replace(keys, compiled=False),))
        elif why == "missing":
            bench.server.gone.add(path)
        elif why == "damaged":
            bench.server.replaced[path] = b"evil" + CODE[4:]
        elif why == "large":
            monkeypatch.setattr("ota.agent.plugin_files.CODE_BYTES_MAX", len(CODE) - 1)
        elif why == "costly":
            bench.budget = len(NEW) + 8192 + len(CODE) - 1
    assert bench.boot(flash) == [""]
    assert (flash.active, flash.codes) == (content(NEW), {})
    assert any("will be interpreted" in line for line in bench.said) == (why not in ("none", "unwanted", "other"))
    assert bench.boot(flash) == []


def test_a_link_that_is_lost_within_the_code_goes_on_with_the_next_poll(bench: Bench) -> None:
    bench.compile()
    flash = Flash("healthy")
    bench.server.cut = lambda: 0 if bench.server.asked[-1].endswith(".so") else None
    with pytest.raises(TransferError):
        bench.boot(flash)
    assert flash.store == {content(OLDEST), content(OLD)}, "not without its code yet"
    bench.server.cut = lambda: None
    assert bench.boot(flash) == [""]
    assert flash.codes == {content(NEW): ("aarch64", CODE)}
    assert sum(one.endswith(".wasm") for one in bench.server.asked) == 1


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_cut_at_every_effect(bench: Bench, behaviour: str, compiled: bool) -> None:
    """Afterwards the new version runs and is committed, or the one before runs and the new one is never tried again."""
    if compiled:
        bench.compile()
    clean = Flash(behaviour)
    bench.boot(clean)
    floor = bench.client._file.load()
    for number, mode in itertools.product(range(len(clean.effects)), ("before", "after")):
        flash = Flash(behaviour, (number, mode))
        bench.client._file.save(type(floor)(floor.time_s, floor.roles, {}))
        with pytest.raises(PowerCut):
            bench.boot(flash)
        for _ in range(3):
            bench.boot(flash)
        where = f"cut {mode} {clean.effects[number]}"
        stays = behaviour in STAYS
        assert flash.active == content(NEW if behaviour == "healthy" else OLD), where
        assert bool(read_notebook(flash).bad) != stays, where
        assert events(flash)[-1] == ("committed" if stays else "rolled-back"), where
        assert (LINE in bench.client.floor().releases) == stays, where
        assert bench.boot(flash) == [], where
        assert (content(NEW) in flash.codes) == (compiled and behaviour != "no-plugin"), where


def test_a_version_that_the_store_has_lost_is_brought_again(bench: Bench) -> None:
    flash = Flash("healthy", (2, "before"))
    with pytest.raises(PowerCut):
        bench.boot(flash)
    flash.store = {content(OLD)}
    with pytest.raises(GatewayUnavailable, match="no such version"):
        bench.boot(flash)
    assert bench.boot(flash) == [""]


def test_a_full_disk_of_the_agent_is_told(bench: Bench) -> None:
    class Full(Flash):
        def save(self, name: str, data: bytes) -> None:
            raise StorageError("state-write", f"{name}: no space for {len(data)} bytes")

    with pytest.raises(StorageError):
        bench.boot(Full("healthy"))
