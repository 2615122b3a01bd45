"""The data plane of a site: its engine, loop, rings, ports and stages by name, and how a stage gets another version."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.assembly import Assembly
from gateway.config.bus import WriteRule
from gateway.digest import check_hash, content_hash
from gateway.errors import RuntimeFault, SwapError
from gateway.graph import Plan, ReadPlan, StagePlan
from gateway.store import Plugin
from gateway.wasm import (
    BUSES,
    FIELDS,
    TABLES,
    Candidate,
    Consumer,
    Engine,
    Loop,
    Module,
    Policy,
    Port,
    Ring,
    ShadowReport,
    Stage,
    StageConfig,
    Switched,
)

if TYPE_CHECKING:
    from gateway.assembly import Setup, StageSetup
    from gateway.native import StageNumbers

_POLICIES = {"block": Policy.BLOCK, "drop-oldest": Policy.DROP_OLDEST}
_log = logging.getLogger("penstock.plane")

LOOK_S = 0.02  # between two looks at how far comparing is


@dataclass(frozen=True, slots=True)
class Shadow:
    """How a new version is compared with the running one before it takes over: over so many records, in which the
    ``allowed`` FIELDS may differ, within ``most_s``."""

    records: int
    allowed: tuple[str, ...] = ()
    most_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Swapped:
    """What a swap was like; ``report`` is None without a shadow."""

    switched: Switched
    report: ShadowReport | None


@dataclass(frozen=True, slots=True)
class Version:
    """What a stage runs; ``hash`` is that of the module's bytes, ``compiled``: not interpreted."""

    plugin: Plugin
    hash: str
    compiled: bool


class Plane:
    """The data plane's objects of a plan, by name; closes them in the right order."""

    def __init__(self, plan: Plan, plugins: Mapping[str, Plugin], made: Assembly | None = None) -> None:
        """``made``: its C objects, when they are there already, for the same ``setup_of``."""
        if made is None:
            manifests = {stage.manifest.name: stage.manifest.file for stage in plan.stages}
            made = Assembly(setup_of(plan, plugins), manifests)
        self.is_started, self.summary = made.is_started, made.setup["summary"]
        with contextlib.ExitStack() as stack:
            self.engine = stack.enter_context(Engine(adopted=made.engine))
            self.rings = {name: stack.enter_context(Ring.adopt(name, ring)) for name, ring in made.rings.items()}
            self.loop = stack.enter_context(Loop(self.engine, adopted=made.loop, rings=self.rings.values()))
            self._stack = stack.pop_all()
        self.ports = {name: Port(self.loop, name, index) for name, index in made.ports.items()}
        self.stages = {name: Stage(self.loop, name, index) for name, index in made.stages.items()}
        self.readers = {
            ring: {reader: Consumer(self.rings[ring], end) for reader, end in ends.items()}
            for ring, ends in made.readers.items()
        }
        self.sinks = {
            one.link.name: [self.readers[source.ring][one.link.name] for source in one.inputs] for one in plan.links
        }
        hashes = {plugin["name"]: plugin["hash"] for plugin in made.setup["plugins"]}
        self.versions = {
            stage.name: Version(plugins[name], hashes[name], name in made.code)
            for stage in plan.stages
            for name in (stage.manifest.name,)
        }
        self._one_at_a_time = threading.Lock()
        self.closing = threading.Event()  # set: whoever compares gives up
        for name, artefact in made.code.items():
            _log.info("%s runs compiled: %s", name, artefact)
        for name, why in made.refused.items():
            _log.warning("%s is interpreted: %s", name, why)

    def start(self) -> None:
        """Let it run, unless it does already."""
        if not self.is_started:
            self.loop.start()
            self.is_started = True

    def close(self) -> None:
        self._stack.close()

    # ---- another version ----

    def swap(self, plan: StagePlan, plugin: Plugin, *, carry_state: bool, shadow: Shadow | None = None) -> Swapped:
        """Let ``plugin`` take over the stage of ``plan``, which was made for it; takes its time: for a thread of its
        own. One after the other. Raises PluginError, SwapError; then the stage is as it was.
        """
        report = None
        data = plugin.read()
        with self._one_at_a_time, contextlib.ExitStack() as stack:
            with _step(plan.name, "module"):
                module = stack.enter_context(Module.of_file(self.engine, plan.manifest.name, plugin.wasm, data))
                config = _config(plan, module)
                stage = self.stages[plan.name]
            if shadow is not None:
                with _step(plan.name, "shadow"), self.loop.candidate(stage, config, carry_state=carry_state) as trial:
                    report = self._compare(plan.name, trial, shadow)
            with _step(plan.name, "module"):
                candidate = stack.enter_context(self.loop.candidate(stage, config, carry_state=carry_state))
            with _step(plan.name, "switch"):
                switched = candidate.commit()
        self.versions[plan.name] = Version(plugin, content_hash(data), module.is_compiled)
        return Swapped(switched, report)

    def _compare(self, stage: str, trial: Candidate, shadow: Shadow) -> ShadowReport:
        """Let a candidate run along until enough records are compared. Raises SwapError for what must not differ."""
        trial.shadow(sum(FIELDS[name] for name in shadow.allowed))
        report = trial.shadow_report()
        looks = int(shadow.most_s / LOOK_S)
        while report.compared < shadow.records and not report.broken and looks and not self.closing.wait(LOOK_S):
            report, looks = trial.shadow_report(), looks - 1
        if report.broken:
            raise SwapError(stage, "shadow", report.broken)
        if report.differences:
            shown = "".join(f"\n  {one}" for one in report.first)
            raise SwapError(stage, "shadow", f"{report.differences} of {report.compared} records differ:{shown}")
        if report.compared < shadow.records:
            raise SwapError(
                stage, "shadow", f"{report.compared} of {shadow.records} records came in {shadow.most_s:g} s"
            )
        return report


def setup_of(plan: Plan, plugins: Mapping[str, Plugin]) -> Setup:
    """What is to be made for a plan. Each plugin is loaded once; stages of the same plugin share its code.

    Raises PluginError when one cannot be read.
    """
    names = sorted({stage.manifest.name for stage in plan.stages})
    return {
        "summary": f"site {plan.site}, {len(plan.stages)} stages, {len(plan.tags)} tags",
        "rings": [
            {"name": one.name, "bytes": one.bytes, "schema": int(one.schema), "consumers_max": one.consumers_max}
            for one in plan.rings
        ],
        "ports": {one.port.name: one.setup() for one in plan.ports},
        "plugins": [
            {"name": name, "file": str(plugins[name].wasm), "hash": content_hash(wasm), "check": check_hash(wasm)}
            for name in names
            for wasm in (plugins[name].read(),)
        ],
        "stages": [_stage_setup(stage) for stage in plan.stages],
        "sinks": {one.link.name: _reads(one.inputs) for one in plan.links},
    }


def _stage_setup(plan: StagePlan) -> StageSetup:
    return {
        "name": plan.name,
        "plugin": plan.manifest.name,
        "config": plan.config,
        "numbers": _numbers(plan),
        "ports": list(plan.ports),
        "inputs": _reads([*plan.inputs, *plan.commands]),
        "outputs": [name for name in (plan.output, plan.command_output) if name],
    }


def _reads(inputs: Iterable[ReadPlan]) -> list[tuple[str, int]]:
    return [(one.ring, int(_POLICIES[one.policy])) for one in inputs]


def _numbers(plan: StagePlan) -> StageNumbers:
    return {
        "hal_grants": plan.manifest.hal_mask,
        "memory_bytes": plan.memory_bytes,
        "deadline_us": plan.deadline_us,
        "kv_bytes": plan.manifest.kv_bytes,
        "state_bytes": plan.manifest.limits.state_bytes,
        "in_schema": int(plan.in_schema),
        "out_schema": int(plan.out_schema),
        "in_commands": len(plan.commands),
        "out_commands": 1 if plan.command_output else 0,
        "bus": BUSES[plan.bus.framing] if plan.bus is not None else 0,
        "writes": [_write(one) for one in plan.bus.writes] if plan.bus is not None else [],
    }


def _write(rule: WriteRule) -> tuple[bool, int, int, int, int]:
    """The members of wr_write_rule."""
    return rule.unit is None, rule.unit or 0, rule.first, rule.last, TABLES[rule.table]


def _config(plan: StagePlan, module: Module) -> StageConfig:
    """All but the ends of the stage."""
    return StageConfig(name=plan.name, module=module, config=plan.config, **_numbers(plan))


@contextlib.contextmanager
def _step(stage: str, name: str) -> Iterator[None]:
    try:
        yield
    except RuntimeFault as fault:
        raise SwapError(stage, name, str(fault)) from None
