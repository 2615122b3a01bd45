"""From a site, a board and manifests to a plan that a supervisor only has to carry out. Pure: no files, no handles.

Everything about a site that needs to know its plugins is checked here, and all mistakes are noted before giving up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.config.board import Board
from gateway.config.bus import Bus, parse_writes
from gateway.config.manifest import Manifest, TagSettings, Value, pack_config
from gateway.config.reader import Problems, nearest, show
from gateway.config.site import Input, MqttLink, Policy, Port, Rs485, SerialPort, Site, Stage, Tag
from gateway.errors import ConfigError
from gateway.record import SCHEMA_NAMES, Schema

if TYPE_CHECKING:
    from gateway.lines import PortSetup, Rs485Setup

NO_RING = "none"
COMMAND_RING_BYTES = 16384


@dataclass(frozen=True, slots=True)
class PortPlan:
    """A port to open. ``device`` is the device file of a serial port, else empty."""

    port: Port
    device: str

    def setup(self) -> PortSetup:
        """What opens it."""
        port = self.port
        if not isinstance(port, SerialPort):
            return {
                "kind": port.kind,
                "host": port.host,
                "port": port.port,
                "connect_timeout_s": port.connect_timeout_s,
                "keepalive_s": port.keepalive_s,
            }
        return {
            "kind": port.kind,
            "device": self.device,
            "baudrate": port.baudrate,
            "bytesize": port.data_bits,
            "parity": port.parity[0].upper(),
            "stopbits": port.stop_bits,
            "flow": port.flow,
            "rs485": _rs485_setup(port.rs485) if port.rs485 is not None else None,
        }


def _rs485_setup(rs485: Rs485) -> Rs485Setup:
    return {
        "rts_level_for_tx": rs485.rts_level_for_tx,
        "rts_level_for_rx": rs485.rts_level_for_rx,
        "loopback": rs485.loopback,
        "delay_before_tx": rs485.delay_before_tx_s,
        "delay_before_rx": rs485.delay_before_rx_s,
    }


@dataclass(frozen=True, slots=True)
class RingPlan:
    """The output ring of the stage of the same name, or NAME.commands, its output for commands."""

    name: str
    bytes: int
    schema: Schema
    consumers_max: int


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """One reading end: which ring, and what happens when the reader is too slow."""

    ring: str
    policy: Policy


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One plugin instance. ``config`` is the packed block, ``tags`` the indices it holds, ``output`` and
    ``command_output`` a ring or "". ``commands`` are read behind ``inputs``."""

    name: str
    manifest: Manifest
    config: bytes
    tags: tuple[int, ...]
    ports: tuple[str, ...]
    inputs: tuple[ReadPlan, ...]
    commands: tuple[ReadPlan, ...]
    output: str
    command_output: str
    in_schema: Schema
    out_schema: Schema
    deadline_us: int
    memory_bytes: int
    bus: Bus | None


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """One link and the rings it drains."""

    link: MqttLink
    inputs: tuple[ReadPlan, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """What a plan was made from."""

    site: Site
    board: Board | None
    manifests: Mapping[str, Manifest]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to set up: stages in topological order, so that each ring exists before it is read."""

    site: str
    ports: tuple[PortPlan, ...]
    rings: tuple[RingPlan, ...]
    stages: tuple[StagePlan, ...]
    links: tuple[LinkPlan, ...]
    tags: tuple[Tag, ...]
    origin: Origin


def plan_stage(plan: Plan, stage: str, manifest: Manifest) -> StagePlan:
    """The stage as it would be with another version of its plugin. Raises ConfigError: the site does not fit it."""
    origin, problems = plan.origin, Problems()
    manifests = {**origin.manifests, manifest.name: manifest}
    changed = make_plan(origin.site, origin.board, manifests, problems)
    problems.raise_any()
    return next(one for one in changed.stages if one.name == stage)


def make_plan(site: Site, board: Board | None, manifests: Mapping[str, Manifest], problems: Problems) -> Plan:
    """Check ``site`` against its plugins and ``board`` and lay out rings, stages and configuration blocks.

    ``manifests`` maps the plugin names of the site that were found; the caller has noted those that were not. Without a
    board serial devices are not checked. Mistakes go to ``problems``: the plan is for use only when there are none.
    """
    return _Planner(site, board, manifests, problems).plan()


@dataclass(slots=True)
class _Planner:
    site: Site
    board: Board | None
    manifests: Mapping[str, Manifest]
    problems: Problems

    def plan(self) -> Plan:
        order = self._topological()
        tags = self._tags_by_stage(order)
        for stage in self.site.stages.values():
            self._check_stage(stage)
        self._check_links()
        self._check_sources()
        plan = Plan(
            site=self.site.name,
            ports=tuple(self._ports()),
            rings=tuple(self._rings()),
            stages=tuple(plan for name in order for plan in self._stage(self.site.stages[name], tags[name])),
            links=tuple(LinkPlan(link, _reads(link.inputs)) for link in self.site.links.values()),
            tags=self.site.tags,
            origin=Origin(self.site, self.board, self.manifests),
        )
        if not self.problems.found:  # any mistake in a name makes something look unused
            self._check_unused(tags)
        return plan

    def _problem(self, key: str, message: str) -> None:
        """Note a mistake, unless one at this place or in this array is noted already: it would only follow from it."""
        if any(one.key == key or one.key.startswith(f"{key}[") for one in self.problems.found):
            return
        self.problems.add(self.site.source.file, key, message, self.site.source.line_of(key))

    def _manifest(self, stage: str) -> Manifest | None:
        """The manifest of a stage's plugin; None where it, or the stage, is unknown and noted already."""
        found = self.site.stages.get(stage)
        return self.manifests.get(found.plugin) if found else None

    # ---- ports ----

    def _ports(self) -> Iterable[PortPlan]:
        users: dict[str, str] = {}
        for port in self.site.ports.values():
            device = self._device(port) if isinstance(port, SerialPort) and self.board else ""
            if device and users.setdefault(device, port.name) != port.name:
                self._problem(
                    f"port.{port.name}.device", f'port "{users[device]}" uses {device} already; a device has one user'
                )
            yield PortPlan(port, device)

    def _device(self, port: SerialPort) -> str:
        assert self.board is not None, "the caller checks"
        device = self.board.devices.get(port.device, "")
        if port.device and port.device not in self.board.devices:
            self._problem(
                f"port.{port.name}.device",
                f"found {show(port.device)}, which is no port of {self.board.file};"
                f" {nearest(port.device, self.board.devices)}",
            )
        return device

    # ---- stages ----

    def _check_stage(self, stage: Stage) -> None:
        manifest = self.manifests.get(stage.plugin)
        if manifest is None:
            return
        key, plugin = f"stage.{stage.name}", f'plugin "{stage.plugin}"'
        if len(stage.ports) != manifest.ports:
            self._problem(f"{key}.ports", f"found {len(stage.ports)}, allowed: {manifest.ports}, as {plugin} takes")
        if manifest.input == NO_RING and stage.inputs:
            self._problem(f"{key}.inputs", f"found {len(stage.inputs)}, allowed: none, {plugin} reads no ring")
        elif manifest.input != NO_RING and not stage.inputs:
            self._problem(f"{key}.inputs", f"missing; {plugin} reads {manifest.input} from at least one stage")
        elif manifest.input != NO_RING:
            self._check_schemas(f"{key}.inputs", stage.inputs, manifest.input, plugin)
        self._check_commands(stage, manifest)
        self._check_targets(stage, manifest)
        self._check_limits(stage, manifest)

    def _check_commands(self, stage: Stage, manifest: Manifest) -> None:
        key = f"stage.{stage.name}.commands"
        if stage.commands and not manifest.takes_commands:
            self._problem(key, f'found {len(stage.commands)}, allowed: none, plugin "{stage.plugin}" takes no commands')
        for index, name in enumerate(stage.commands):
            source = self._manifest(name)
            if source is not None and not source.gives_commands:
                self._problem(f"{key}[{index}]", f'stage "{name}" gives no commands')

    def _check_targets(self, stage: Stage, manifest: Manifest) -> None:
        """A tag that is told what to do must be of a driver that takes commands of this stage."""
        targets = {spec.name for spec in manifest.tag if spec.type == "tag" and spec.name.startswith("command")}
        by_name = {tag.name: tag for tag in self.site.tags}
        for tag in self.site.tags if manifest.gives_commands else ():
            table, settings = self._settings(stage, tag)
            for name in targets & settings.keys():
                target = by_name.get(str(settings[name]))
                driver = self.site.stages.get(target.stage) if target else None
                if driver is not None and stage.name not in driver.commands:
                    self._problem(
                        f"tag[{tag.index}].{table}.{name}",
                        f'stage "{driver.name}", which "{settings[name]}" is read by, takes no commands of stage '
                        f'"{stage.name}"; add commands = ["{stage.name}"] to it',
                    )

    def _settings(self, stage: Stage, tag: Tag) -> tuple[str, Mapping[str, object]]:
        """What the site sets for a tag in a stage, and under which name: that of the stage, unless it is that of a
        plugin, else that of its plugin."""
        own = tag.plugins.get(stage.name) if self._is_own_name(stage) else None
        return (stage.plugin, tag.plugins.get(stage.plugin, {})) if own is None else (stage.name, own)

    def _is_own_name(self, stage: Stage) -> bool:
        return stage.name not in {one.plugin for one in self.site.stages.values()}

    def _check_limits(self, stage: Stage, manifest: Manifest) -> None:
        limits = manifest.limits
        for name, found, most, unit in (
            ("deadline_us", stage.deadline_us, limits.deadline_us, "us"),
            ("memory_bytes", stage.memory_bytes, limits.memory_bytes, "bytes"),
        ):
            if found is not None and found > most:
                self._problem(
                    f"stage.{stage.name}.limits.{name}",
                    f"found {found}, allowed: at most {most} {unit}, the limit in {manifest.file}",
                )

    def _check_schemas(self, key: str, inputs: Sequence[Input], wanted: str, reader: str) -> None:
        for index, one in enumerate(inputs):
            source = self._manifest(one.stage)
            if source is None or source.output == wanted:
                continue
            gives = "puts out nothing" if source.output == NO_RING else f"puts out {source.output}"
            hint = "; a format plugin turns samples into payloads" if wanted == "payloads" else ""
            self._problem(f"{key}[{index}]", f'stage "{one.stage}" {gives}, {reader} reads {wanted}{hint}')

    def _check_links(self) -> None:
        for link in self.site.links.values():
            self._check_schemas(f"link.{link.name}.inputs", link.inputs, "payloads", "a link")

    def _readers(self, stage: str) -> int:
        """How many stages and links read the ring of ``stage``."""
        ends: list[Stage | MqttLink] = [*self.site.stages.values(), *self.site.links.values()]
        return sum(one.stage == stage for end in ends for one in end.inputs)

    def _rings(self) -> Iterable[RingPlan]:
        for stage in self.site.stages.values():
            manifest = self.manifests.get(stage.plugin)
            if manifest is not None and manifest.output != NO_RING:
                consumers = self._readers(stage.name)
                yield RingPlan(stage.name, stage.ring_bytes, SCHEMA_NAMES[manifest.output], consumers)
            if followers := self._followers(stage.name):
                yield RingPlan(f"{stage.name}.commands", COMMAND_RING_BYTES, Schema.COMMANDS, followers)

    def _followers(self, stage: str) -> int:
        """How many stages take commands of ``stage``; a command output that nobody reads does not exist."""
        return sum(stage in one.commands for one in self.site.stages.values())

    def _stage(self, stage: Stage, tags: Sequence[Tag]) -> Iterable[StagePlan]:
        manifest = self.manifests.get(stage.plugin)
        if manifest is None:
            return
        yield StagePlan(
            name=stage.name,
            manifest=manifest,
            config=self._pack(stage, manifest, tags),
            tags=tuple(tag.index for tag in tags),
            ports=stage.ports,
            inputs=_reads(stage.inputs),
            commands=tuple(ReadPlan(f"{name}.commands", "drop-oldest") for name in stage.commands),
            command_output=f"{stage.name}.commands" if self._followers(stage.name) else "",
            output="" if manifest.output == NO_RING else stage.name,
            in_schema=SCHEMA_NAMES.get(manifest.input, Schema.ANY),
            out_schema=SCHEMA_NAMES.get(manifest.output, Schema.ANY),
            deadline_us=stage.deadline_us or manifest.limits.deadline_us,
            memory_bytes=stage.memory_bytes or manifest.limits.memory_bytes,
            bus=self._bus(stage, manifest),
        )

    def _bus(self, stage: Stage, manifest: Manifest) -> Bus | None:
        """What the site allows a driver of a known bus to write; mistakes in types are told when it is packed."""
        if not manifest.bus:
            return None
        framing, writes = (stage.config.get(spec.name, spec.default) for spec in manifest.bus_fields)
        try:
            return Bus(str(framing), parse_writes(str(writes)))
        except ValueError as error:
            self._problem(f"stage.{stage.name}.config.writes", str(error))
            return None

    def _pack(self, stage: Stage, manifest: Manifest, tags: Sequence[Tag]) -> bytes:
        serial = [port for name in stage.ports if isinstance(port := self.site.ports.get(name), SerialPort)]
        facts: dict[str, Value] = {"baudrate": serial[0].baudrate} if serial else {}
        names = {tag.name: tag.index for tag in self.site.tags}
        settings = []
        for tag in tags:
            table, values = self._settings(stage, tag)
            settings.append(TagSettings(tag.index, tag.name, tag.unit, values, table))
        key, file = f"stage.{stage.name}.config", self.site.source.file
        try:
            return pack_config(manifest, stage.config, settings, file=file, key=key, facts=facts, names=names)
        except ConfigError as error:
            for one in error.each:
                # A tag's key reads tag[3] "its name": modbus.unit; the name is for people, not part of the path.
                path = re.sub(r' ".*": ', ".", one.key)
                self.problems.add(one.file, one.key, one.message, self.site.source.line_of(path))
            return b""

    # ---- order and tags ----

    def _topological(self) -> list[str]:
        """Stage names, sources first; a loop is noted once and its stages follow in file order."""
        order: list[str] = []
        waiting = {name: {one.stage for one in stage.inputs} for name, stage in self.site.stages.items()}
        waiting = {name: sources & waiting.keys() for name, sources in waiting.items()}
        while waiting:
            ready = [name for name, sources in waiting.items() if not sources & waiting.keys()]
            if not ready:
                loop = _loop(waiting)
                self._problem(f"stage.{loop[0]}.inputs", f"the stages form a loop: {' <- '.join([*loop, loop[0]])}")
                ready = list(waiting)
            order += ready
            waiting = {name: sources for name, sources in waiting.items() if name not in ready}
        return order

    def _tags_by_stage(self, order: Sequence[str]) -> dict[str, list[Tag]]:
        """The tags that reach each stage: its own, and those of all stages before it."""
        reach: dict[str, set[int]] = {}
        for name in order:
            own = {tag.index for tag in self.site.tags if tag.stage == name}
            reach[name] = own.union(*(reach.get(one.stage, set()) for one in self.site.stages[name].inputs))
        return {name: [tag for tag in self.site.tags if tag.index in reach[name]] for name in order}

    def _drivers(self) -> list[str]:
        stages = self.site.stages.values()
        return [one.name for one in stages if one.plugin in self.manifests and self._is_driver(one)]

    def _is_driver(self, stage: Stage) -> bool:
        return self.manifests[stage.plugin].kind == "driver"

    def _check_sources(self) -> None:
        drivers = self._drivers()
        for tag in self.site.tags:
            if self._manifest(tag.stage) is not None and tag.stage not in drivers:
                self._problem(
                    f"tag[{tag.index}].from",
                    f"found {show(tag.stage)}, whose plugin is no driver, allowed: a driver stage; "
                    f"{nearest(tag.stage, drivers)}",
                )

    # ---- what nobody uses ----

    def _check_unused(self, tags: Mapping[str, Sequence[Tag]]) -> None:
        stages = self.site.stages.values()
        used = {port for stage in stages for port in stage.ports}
        for port in self.site.ports:
            if port not in used:
                self._problem(f"port.{port}", "no stage uses this port")
        for stage in stages:
            output = self.manifests[stage.plugin].output
            if output != NO_RING and not self._readers(stage.name):
                self._problem(
                    f"stage.{stage.name}", f"nothing reads its {output}; name it in the inputs of a stage or link"
                )
        for name in self._drivers():
            if not any(tag.stage == name for tag in self.site.tags):
                self._problem(f"stage.{name}", f'reads nothing; a [[tag]] with from = "{name}" is missing')
        for tag in self.site.tags:
            self._check_settings_used(tag, tags)

    def _check_settings_used(self, tag: Tag, tags: Mapping[str, Sequence[Tag]]) -> None:
        """Settings under a plugin name that no stage will read are a mistake, mostly of spelling."""
        reached = [self.site.stages[name] for name, found in tags.items() if tag in found]
        readers = {one.plugin for one in reached}
        stages = {one.name for one in reached if self._is_own_name(one)}
        for plugin in tag.plugins:
            if plugin not in readers | stages:
                self._problem(
                    f"tag[{tag.index}].{plugin}",
                    f'no stage that "{tag.name}" reaches runs a plugin {show(plugin)}; {nearest(plugin, readers)}',
                )


def _reads(inputs: Iterable[Input]) -> tuple[ReadPlan, ...]:
    return tuple(ReadPlan(one.stage, one.policy) for one in inputs)


def _loop(waiting: Mapping[str, set[str]]) -> list[str]:
    """One loop among stages that all wait for another one."""
    path = [next(iter(waiting))]
    while True:
        following = min(waiting[path[-1]] & waiting.keys())
        if following in path:
            return path[path.index(following) :]
        path.append(following)
