"""The data plane of a site: its engine, loop, rings, ports and stages by name, and how a stage gets another version."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from gateway.errors import RuntimeFault, SwapError
from gateway.graph import Plan, ReadPlan, StagePlan
from gateway.store import Plugin
from gateway.store.files import content_hash
from gateway.wasm import (
    FIELDS,
    Candidate,
    Consumer,
    Engine,
    Loop,
    Module,
    Policy,
    Ring,
    ShadowReport,
    Stage,
    StageConfig,
    Switched,
)

_POLICIES = {"block": Policy.BLOCK, "drop-oldest": Policy.DROP_OLDEST}


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

    def __init__(self, plan: Plan, plugins: Mapping[str, Plugin]) -> None:
        with contextlib.ExitStack() as stack:
            self.engine = stack.enter_context(Engine())
            self.rings: dict[str, Ring] = {}
            for ring in plan.rings:
                made = Ring(ring.name, ring.bytes, ring.schema, ring.consumers_max)
                self.rings[ring.name] = stack.enter_context(made)
            self.loop = stack.enter_context(Loop(self.engine))
            self.ports = {
                one.port.name: self.loop.add_port(one.port.name, datagram=one.port.kind == "udp") for one in plan.ports
            }
            self.versions: dict[str, Version] = {}
            self._one_at_a_time = threading.Lock()
            self.closing = threading.Event()  # set: whoever compares gives up
            self.readers: dict[str, dict[str, Consumer]] = {name: {} for name in self.rings}
            self.stages = self._add_stages(plan, plugins)
            self.sinks = {one.link.name: self.read(one.link.name, one.inputs) for one in plan.links}
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()

    def _add_stages(self, plan: Plan, plugins: Mapping[str, Plugin]) -> dict[str, Stage]:
        """Each plugin is loaded once; stages of the same plugin share its code."""
        code = {name: plugins[name].read() for name in sorted({stage.manifest.name for stage in plan.stages})}
        with contextlib.ExitStack() as loaded:
            modules = {
                name: loaded.enter_context(Module.of_file(self.engine, name, plugins[name].wasm, data))
                for name, data in code.items()
            }
            for stage in plan.stages:
                plugin = plugins[stage.manifest.name]
                is_compiled = modules[stage.manifest.name].is_compiled
                self.versions[stage.name] = Version(plugin, content_hash(code[stage.manifest.name]), is_compiled)
            return {stage.name: self._add_stage(stage, modules[stage.manifest.name]) for stage in plan.stages}

    def _add_stage(self, plan: StagePlan, module: Module) -> Stage:
        config = replace(
            _config(plan, module),
            ports=[self.ports[name] for name in plan.ports],
            inputs=self.read(plan.name, [*plan.inputs, *plan.commands]),
            outputs=[self.rings[name] for name in (plan.output, plan.command_output) if name],
        )
        try:
            return self.loop.add_stage(config)
        except RuntimeFault as fault:
            where = f'plugin "{plan.manifest.name}", {plan.manifest.file}'
            raise type(fault)(fault.status, f"{fault.message} ({where})") from None

    def read(self, reader: str, inputs: Iterable[ReadPlan]) -> list[Consumer]:
        """Attach ``reader`` to the rings it reads."""
        ends = []
        for one in inputs:
            end = self.rings[one.ring].attach(_POLICIES[one.policy])
            self.readers[one.ring][reader] = end
            ends.append(end)
        return ends

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


def _config(plan: StagePlan, module: Module) -> StageConfig:
    """All but the ends of the stage."""
    return StageConfig(
        name=plan.name,
        module=module,
        hal_grants=plan.manifest.hal_mask,
        config=plan.config,
        memory_bytes=plan.memory_bytes,
        deadline_us=plan.deadline_us,
        kv_bytes=plan.manifest.kv_bytes,
        state_bytes=plan.manifest.limits.state_bytes,
        in_schema=plan.in_schema,
        out_schema=plan.out_schema,
        in_commands=len(plan.commands),
        out_commands=1 if plan.command_output else 0,
        bus=plan.bus,
    )


@contextlib.contextmanager
def _step(stage: str, name: str) -> Iterator[None]:
    try:
        yield
    except RuntimeFault as fault:
        raise SwapError(stage, name, str(fault)) from None
