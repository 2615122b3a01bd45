"""The methods of the control interface, one row each. Normative: docs/control-protocol.md, held equal by a test."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import msgspec

from gateway.api.desk import Desk, Manner, PluginSummary, Swapped
from gateway.api.health import Health
from gateway.api.protocol import CHUNK_BYTES_MAX, PROTOCOL, ApiError
from gateway.api.server import Client, Method
from gateway.api.status import status
from gateway.clock import Clock
from gateway.config.reader import nearest
from gateway.graph import Plan
from gateway.store.container import PLUGIN_BYTES_MAX
from gateway.store.facts import HistoryEntry, Ref
from gateway.store.plugins import CODE_BYTES_MAX
from gateway.supervisor import State
from gateway.wasm import FIELDS, TARGET

UPLOAD = "upload"
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class OfPlugin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which plugin."""

    name: Name


class Push(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One piece of a plugin file: ``data`` (base64) starts at ``offset`` of ``bytes``; ``hash`` is that of the file."""

    hash: Hash
    bytes: Annotated[int, msgspec.Meta(ge=1, le=PLUGIN_BYTES_MAX)]
    offset: Annotated[int, msgspec.Meta(ge=0, le=PLUGIN_BYTES_MAX)]
    data: str


class PushCode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One piece of compiled code of the version with the hash ``module``; the rest as in ``Push``."""

    module: Hash
    target: Name
    hash: Hash
    bytes: Annotated[int, msgspec.Meta(ge=1, le=CODE_BYTES_MAX)]
    offset: Annotated[int, msgspec.Meta(ge=0, le=CODE_BYTES_MAX)]
    data: str


class Swap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``version``: a number, or the first digits of a hash. ``shadow_records``: compare so many before the swap, but
    for the fields ``allowed``."""

    name: Name
    version: Name
    carry_state: bool = True
    shadow_records: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    allowed: tuple[str, ...] = ()


class Rollback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``source``: the version to leave; nothing happens when another one runs."""

    name: Name
    source: Name | None = msgspec.field(name="from", default=None)


class Watch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often the state is sent."""

    period_ms: Annotated[int, msgspec.Meta(ge=100, le=60_000)] = 1000


class Hello(msgspec.Struct, frozen=True):
    """Who answers."""

    protocol: int
    version: str
    site: str
    target: str


class GraphEnd(msgspec.Struct, frozen=True):
    """A reader's end of a ring."""

    stage: str
    policy: str


class GraphNode(msgspec.Struct, frozen=True):
    """A stage or a link of the graph. ``plugin`` is empty for links, ``output`` is a record schema or empty,
    ``commands`` are the stages it takes commands of."""

    name: str
    kind: str
    plugin: str
    ports: tuple[str, ...]
    inputs: tuple[GraphEnd, ...]
    output: str
    commands: tuple[str, ...] = ()


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much of a file has arrived; with the last piece what it is."""

    received: int
    plugin: Ref | None = None


class Subject(Protocol):
    """What is controlled: a supervisor."""

    plan: Plan

    def snapshot(self) -> State:
        """The state now."""


@dataclass(frozen=True, slots=True)
class Control:
    """What the methods work on. ``desk`` is None in a gateway without a plugin store."""

    subject: Subject
    health: Callable[[], Health]
    clock: Clock
    version: str
    desk: Desk | None

    @property
    def plugins(self) -> Desk:
        """Raises ApiError no_store."""
        if self.desk is None:
            raise ApiError("no_store", "this gateway runs without a plugin store; start it with --state DIR")
        return self.desk

    # ---- looking ----

    async def hello(self, _params: Nothing, _client: Client) -> Hello:
        return Hello(PROTOCOL, self.version, self.subject.plan.site, TARGET)

    async def state(self, _params: Nothing, _client: Client) -> dict[str, Any]:
        return status(self.subject.snapshot())

    async def watch(self, params: Watch) -> AsyncIterator[dict[str, Any]]:
        while True:
            yield status(self.subject.snapshot())
            await self.clock.sleep(params.period_ms / 1000)

    async def graph(self, _params: Nothing, _client: Client) -> tuple[GraphNode, ...]:
        return graph_nodes(self.subject.plan)

    async def read_health(self, _params: Nothing, _client: Client) -> Health:
        return self.health()

    # ---- plugins ----

    async def list(self, _params: Nothing, _client: Client) -> tuple[PluginSummary, ...]:
        return await self.plugins.list()

    async def show(self, params: OfPlugin, _client: Client) -> PluginSummary:
        return await self.plugins.show(params.name)

    async def history(self, params: OfPlugin, _client: Client) -> tuple[HistoryEntry, ...]:
        return await self.plugins.history(params.name)

    async def push(self, params: Push, client: Client) -> Progress:
        desk, data = self.plugins, _received(params, client)
        if len(data) < params.bytes:
            return Progress(len(data))
        return Progress(len(data), await desk.push(bytes(data), params.hash, client.name))

    async def push_code(self, params: PushCode, client: Client) -> Progress:
        desk, data = self.plugins, _received(params, client)
        if len(data) < params.bytes:
            return Progress(len(data))
        ref = await desk.push_code(params.module, params.target, bytes(data), params.hash, client.name)
        return Progress(len(data), ref)

    async def swap(self, params: Swap, client: Client) -> Swapped:
        for name in params.allowed:
            if name not in FIELDS:
                raise ApiError("bad_request", f'params: allowed: found "{name}"; {nearest(name, FIELDS)}')
        manner = Manner(params.carry_state, params.shadow_records, params.allowed)
        return await self.plugins.swap(params.name, params.version, client.name, manner)

    async def rollback(self, params: Rollback, client: Client) -> Swapped:
        return await self.plugins.roll_back(params.name, client.name, params.source)

    def methods(self) -> Mapping[str, Method]:
        """By name, in the order of the document."""
        return {
            "hello": Method(Nothing, self.hello),
            "state": Method(Nothing, self.state),
            "watch": Method(Watch, stream=self.watch),
            "graph": Method(Nothing, self.graph),
            "health": Method(Nothing, self.read_health),
            "plugin.list": Method(Nothing, self.list),
            "plugin.show": Method(OfPlugin, self.show),
            "plugin.history": Method(OfPlugin, self.history),
            "plugin.push": Method(Push, self.push),
            "plugin.push_code": Method(PushCode, self.push_code),
            "plugin.swap": Method(Swap, self.swap),
            "plugin.rollback": Method(Rollback, self.rollback),
        }


def graph_nodes(plan: Plan) -> tuple[GraphNode, ...]:
    """Stages in topological order, then links."""
    stages = [
        GraphNode(
            one.name, one.manifest.kind, one.manifest.name, one.ports,
            tuple(GraphEnd(end.ring, end.policy) for end in one.inputs), one.manifest.output if one.output else "",
            tuple(end.ring.removesuffix(".commands") for end in one.commands),
        )
        for one in plan.stages
    ]  # fmt: skip
    links = [
        GraphNode(one.link.name, "link", "", (), tuple(GraphEnd(end.ring, end.policy) for end in one.inputs), "")
        for one in plan.links
    ]
    return (*stages, *links)


def _received(params: Push | PushCode, client: Client) -> bytearray:
    """What has come of a file: pieces of one at a time come over one connection, in order; the first begins anew."""
    piece = _bytes_of(params.data)
    kept = client.memory.pop(UPLOAD, None) if params.offset else (params.hash, bytearray())
    if kept is None or (params.hash, params.offset) != (kept[0], len(kept[1])):
        raise ApiError("out_of_order", f"found a piece at {params.offset} that does not follow; begin at 0")
    data: bytearray = kept[1]
    data += piece
    if len(data) > params.bytes or not piece:
        raise ApiError("out_of_order", f"found {len(data)} bytes, announced were {params.bytes}; begin at 0")
    if len(data) < params.bytes:
        client.memory[UPLOAD] = kept
    return data


def _bytes_of(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ApiError("bad_request", "params: data is not base64") from None
    if len(data) > CHUNK_BYTES_MAX:
        raise ApiError("bad_request", f"params: found {len(data)} bytes of data, allowed: at most {CHUNK_BYTES_MAX}")
    return data
