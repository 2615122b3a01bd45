"""Thousands of random operations on store and desk, against a model that predicts what comes of each.

Operations: push, swap, roll back, trap storm, restart, another site, plugins of a new image. The disk may be full and
the power may go at any write of any of them. What is random comes from one seed, which is printed.
"""

from __future__ import annotations

import asyncio
import copy
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.api.desk import Desk
from gateway.api.protocol import ApiError
from gateway.api.versions import StoreVersions
from gateway.clock import random_source
from gateway.digest import content_hash
from gateway.errors import PluginError, StoreError
from gateway.store import facts
from gateway.store.files import unseal
from gateway.store.plugins import PluginStore
from gateway.store.search import Plugin
from gateway.store.version import precedence
from tests.gateway.store.disk import FakeDisk, Fate, Moment, PowerCut
from tests.gateway.store.goods import Ticking, plugin_file

OPERATIONS, WORLDS = 10_000, 20
SEED = int(os.environ.get("PENSTOCK_SEED", "20261125"))  # the same each time, so that a difference is the change's
KEEP = 2
NAMES = ("modbus", "outlier", "scale")
VERSIONS = ("0.9.0", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.1.0", "1.10.0", "2.0.0")
BUILDS = ("first", "other", "refuses")  # contents of one version; the last one does not take over from another
FILES = {(n, v, b): plugin_file(n, v, b) for n in NAMES for v in VERSIONS for b in BUILDS}
HASHES = {key: content_hash(data) for key, data in FILES.items()}
BUILD_OF = {content: key for key, content in HASHES.items()}


def refuses(content: str) -> bool:
    return BUILD_OF[content][2] == "refuses"


def version_of(content: str) -> str:
    return BUILD_OF[content][1]


# ---- the model ----


@dataclass
class Model:
    """What should be: contents by name. ``before``: what ran before the last change, which is kept as well."""

    kept: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in NAMES})
    active: dict[str, str] = field(default_factory=dict)
    good: dict[str, list[str]] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)
    bad: set[str] = field(default_factory=set)

    def previous(self, name: str) -> str:
        return next((one for one in self.good.get(name, []) if one not in self.bad), "")

    def put(self, name: str, content: str, good: list[str]) -> None:
        self.before = dict(self.active)
        self.active[name], self.good[name] = content, good

    def use(self, name: str, content: str) -> None:
        ran = [self.active[name], *self.good[name]] if name in self.active else []
        self.put(name, content, [one for one in ran if one != content and one not in self.bad][:KEEP])

    def collect(self, name: str, fresh: str) -> None:
        needed = {fresh, *self.active.values(), *self.before.values(), *(x for g in self.good.values() for x in g)}
        spare = self.kept[name] - needed
        unused = sorted(spare - self.bad, key=lambda one: (precedence(version_of(one)), one), reverse=True)
        self.kept[name] -= set(unused[KEEP:]) | (spare & self.bad)

    # ---- operations: the code of the error, "" for none ----

    def push(self, content: str) -> str:
        name, version, _ = BUILD_OF[content]
        if content in self.bad:
            return "bad_version"
        if content not in self.kept[name]:
            if version in map(version_of, self.kept[name]):
                return "version_taken"
            self.kept[name].add(content)
            self.collect(name, content)
        return ""

    def swap(self, name: str, version: str, in_use: bool) -> str:
        found = [one for one in self.kept[name] if version_of(one) == version]
        if not self.kept[name] and name not in self.active:
            return "unknown_plugin"
        if len(found) != 1:
            return "unknown_version"
        if name not in self.active or not in_use:
            return "not_in_use"
        if found[0] == self.active[name]:
            return "already_active"
        if found[0] in self.bad:
            return "bad_version"
        if refuses(found[0]):
            return "swap_refused"
        self.use(name, found[0])
        self.collect(name, found[0])
        return ""

    def roll_back(self, name: str, in_use: bool) -> str:
        if not self.kept[name] and name not in self.active:
            return "unknown_plugin"
        if name not in self.active or not in_use:
            return "not_in_use"
        target = self.previous(name)
        if not target:
            return "no_previous"
        if refuses(target):
            return "swap_refused"
        self.go_back(name)
        return ""

    def go_back(self, name: str) -> None:
        target = self.previous(name)
        self.put(name, target, self.good[name][self.good[name].index(target) + 1 :])
        self.collect(name, target)

    def storm(self, name: str) -> str:
        if name in self.active and self.previous(name):
            self.bad.add(self.active[name])
            self.go_back(name)
        return ""

    def install(self, contents: Sequence[str]) -> str:
        """What is bad stops the installation of everything, before it begins."""
        if any(one in self.bad for one in contents):
            return "bad_version"
        before = dict(self.active) if contents else self.before
        for content in contents:
            name = BUILD_OF[content][0]
            self.kept[name].add(content)
            self.use(name, content)
        self.before = before
        for content in contents:
            self.collect(BUILD_OF[content][0], content)
        return ""


# ---- the world ----


class Stages:
    """One stage per plugin that the site uses; some versions refuse to take over."""

    def __init__(self) -> None:
        self.site: set[str] = set(NAMES)
        self.runs: dict[str, str] = {}

    def stages_of(self, plugin: str) -> Sequence[str]:
        return [f"{plugin}-stage"] if plugin in self.site else []

    def running(self, stage: str) -> str:
        return self.runs[stage.removesuffix("-stage")]

    async def swap(
        self,
        stage: str,
        plugin: Plugin,
        *,
        carry_state: bool = True,
        shadow_records: int = 0,
        allowed: Sequence[str] = (),
    ) -> object:
        assert carry_state
        assert (shadow_records, allowed) == (0, ())
        if refuses(plugin.hash):
            raise PluginError("its vectors fail")
        self.runs[stage.removesuffix("-stage")] = plugin.hash
        return None


class World:
    """A gateway on a disk: store, desk and stages, which a restart makes anew."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.disk = FakeDisk()
        self.stages = Stages()
        self.ghosts: set[str] = set()  # what a broken disk may not have removed for good: a power cut may bring it back
        self.restart()

    def restart(self) -> None:
        self.store = PluginStore(self.disk, Path("state"), Ticking(), KEEP)
        self.desk = Desk(self.store, self.stages, asyncio.Queue())
        self.versions = StoreVersions(self.store, lambda _name: None)
        self.stages.runs = {name: one for name, one in self.found().active.items() if name in self.stages.site}

    def found(self) -> Model:
        """What is, in the form of the model; ``before`` and ``bad`` show in what they do."""
        model = Model()
        for name in self.store.names():
            model.kept[name] = {one.ref.hash for one in self.store.versions(name)}
            entry = self.store.entry(name)
            if entry is not None:
                model.active[name], model.good[name] = entry.active.hash, [one.hash for one in entry.good]
        model.bad = {content for content in BUILD_OF if self.store.is_bad(content)}
        return model

    async def storm(self, name: str) -> None:
        """What the supervisor does after too many traps."""
        entry = self.store.entry(name)
        if entry is None:
            return
        plugin = self.store.plugin(entry.active)
        self.versions.mark_bad(plugin, "4 traps in 30 s")
        instead = self.versions.previous(plugin)
        if instead is not None and name in self.stages.site:
            self.stages.runs[name] = instead.hash

    async def install(self, contents: Sequence[str]) -> None:
        """A start with plugins that the search path brings."""
        self.store.install([FILES[BUILD_OF[one]] for one in contents], "penstock", "from the search path")


Act = tuple[str, Callable[[Model], str], Callable[[World], Awaitable[object]]]


def random_act(world: World, model: Model) -> Act:
    """An operation: its text, what the model makes of it, and the thing itself."""
    chance = world.chance
    name = chance.choice(NAMES)
    version = chance.choice(VERSIONS)
    content = HASHES[name, version, chance.choice(BUILDS)]
    in_use = name in world.stages.site
    if chance.random() < 0.7 and model.kept[name]:  # mostly what is there
        version = version_of(chance.choice(sorted(model.kept[name])))
    fresh = [HASHES[one, chance.choice(VERSIONS), chance.choice(BUILDS)] for one in NAMES if chance.random() < 0.5]
    acts: dict[str, Act] = {
        "push": (
            f"push {BUILD_OF[content]}",
            lambda model: model.push(content),
            lambda world: world.desk.push(FILES[BUILD_OF[content]], content, "tester"),
        ),
        "swap": (
            f"swap {name} {version}",
            lambda model: model.swap(name, version, in_use),
            lambda world: world.desk.swap(name, version, "tester"),
        ),
        "back": (
            f"roll back {name}",
            lambda model: model.roll_back(name, in_use),
            lambda world: world.desk.roll_back(name, "tester"),
        ),
        "storm": (f"storm {name}", lambda model: model.storm(name), lambda world: world.storm(name)),
        "install": (
            f"install {[BUILD_OF[one] for one in fresh]}",
            lambda model: model.install(fresh),
            lambda world: world.install(fresh),
        ),
    }
    return acts[chance.choices(list(acts), weights=(30, 30, 12, 8, 6))[0]]


async def attempt(world: World, act: Act) -> str:
    try:
        await act[2](world)
    except (ApiError, StoreError) as error:
        return error.code
    return ""


def same(one: Model, other: Model) -> bool:
    return (one.kept, one.active, one.good, one.bad) == (other.kept, other.active, other.good, other.bad)


async def undisturbed(world: World, model: Model, act: Act) -> Model:
    """The model predicts the outcome exactly."""
    expected = copy.deepcopy(model)
    code = act[1](expected)
    assert await attempt(world, act) == code
    assert same(world.found(), expected), f"{world.found()}\n{expected}"
    if act[0].startswith("install"):
        world.restart()
    running = {name: one for name, one in expected.active.items() if name in world.stages.site}
    assert world.stages.runs == running, "what runs is what the store says"
    return expected


async def disturbed(world: World, model: Model, act: Act) -> Model:
    """The power goes, or the disk takes no more: what is there afterwards is what was before, or what should be."""
    chance, disk = world.chance, world.disk
    expected = copy.deepcopy(model)
    code = act[1](expected)
    at = disk.count + chance.randrange(24)
    if chance.random() < 0.5:
        disk.fail_at = range(at, at + chance.choice((1, 1, 1 << 30)))
        assert await attempt(world, act) in (code, "storage")
        disk.fail_at = range(0)
        world.ghosts |= {one for name in NAMES for one in model.kept[name] | expected.kept[name]}
    else:
        disk.cut_at, disk.moment = at, chance.choice(list(Moment))
        try:
            assert await attempt(world, act) == code
        except PowerCut:
            disk.reboot(chance.choice(list(Fate)), chance)
        disk.cut_at = -1
    world.restart()
    assert world.store.problems == [] or all("is not run" in one for one in world.store.problems)
    found = world.found()
    assert settled(found) in (settled(model), settled(expected)), f"{found}\n{model}\n{expected}"
    for name in NAMES:
        possible = model.kept[name] | expected.kept[name]
        if act[0].startswith("install"):
            possible = possible | {one for one in BUILD_OF if BUILD_OF[one][0] == name}
        assert found.kept[name] <= possible | world.ghosts
        assert found.kept[name] >= {found.active[name], *found.good[name]} if name in found.active else True
    found.before = {name: one.active.hash for name, one in last_manifest(world).items()}
    return found


def settled(model: Model) -> tuple[object, ...]:
    return model.active, {name: good for name, good in model.good.items() if good}


def last_manifest(world: World) -> dict[str, facts.Entry]:
    data = world.disk.files().get("rollback_manifest.json")
    return dict(unseal(data, facts.ManifestFile).plugins) if data else {}


def test_the_model_predicts_what_happens() -> None:
    print(f"seed {SEED} (PENSTOCK_SEED)")
    chance = random_source(SEED)

    async def play() -> None:
        for number in range(OPERATIONS):
            if number % (OPERATIONS // WORLDS) == 0:  # before everything is remembered as bad
                world, model = World(chance), Model()
            if chance.random() < 0.04:
                world.stages.site = {name for name in NAMES if chance.random() < 0.8}
                world.restart()
                assert same(world.found(), model), f"{number}: restart\n{world.found()}\n{model}"
            act = random_act(world, model)
            outcome = disturbed if chance.random() < 0.5 else undisturbed
            try:
                model = await outcome(world, model, act)
            except AssertionError as error:
                raise AssertionError(f"operation {number}, {outcome.__name__}: {act[0]}: {error}") from error

    asyncio.run(play())
