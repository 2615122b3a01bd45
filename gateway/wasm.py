"""The C runtime for Python: the only module that imports the cffi extension.

Handles own what they name. Users of a thing are closed before the thing: a loop before the rings of its stages, modules
and loops before their engine. Closing too early raises HostFault, use after closing raises ClosedError. Nothing here
works per record: readers get whole batches.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import Any, Self

from gateway._runtime import ffi, lib
from gateway.errors import ClosedError, HostFault, RuntimeFault, WasmError, WasmLinkError, WasmTrap

_OK = lib.WR_OK
_EVENT = struct.Struct("<IHHIIq")
_EVENTS_BYTES = 16 * 1024
_METRICS_MAX = 32
_FAULTS: dict[int, type[RuntimeFault]] = {
    lib.WR_CLASS_MALFORMED: WasmError,
    lib.WR_CLASS_INVALID: WasmError,
    lib.WR_CLASS_LIMIT: WasmError,
    lib.WR_CLASS_UNLINKABLE: WasmLinkError,
    lib.WR_CLASS_TRAP: WasmTrap,
    lib.WR_CLASS_HOST: HostFault,
}


class Policy(IntEnum):
    """What happens when a consumer is slower than the producer."""

    BLOCK = lib.WR_POLICY_BLOCK
    DROP_OLDEST = lib.WR_POLICY_DROP_OLDEST


class EventKind(IntEnum):
    """What the data plane reports."""

    LOG = lib.WR_EVENT_LOG
    TRAP = lib.WR_EVENT_TRAP
    PORT = lib.WR_EVENT_PORT
    STAGE = lib.WR_EVENT_STAGE
    LOST = lib.WR_EVENT_LOST


class StageState(IntEnum):
    """A stage that trapped too often is stopped."""

    RUNNING = lib.WR_STAGE_RUNNING
    STOPPED = lib.WR_STAGE_STOPPED


@dataclass(frozen=True, slots=True)
class Event:
    """One report. ``level``: LOG 0 debug to 3 error, PORT 1 up 0 down, STAGE a StageState. ``source``: stage or port
    number. ``lost``: events dropped before this one (LOST only). ``time_ns`` is Unix time."""

    kind: EventKind
    level: int
    source: int
    text: str
    lost: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class RingStats:
    """Totals since the ring was made; ``capacity``, ``bytes`` and ``high_water`` in bytes."""

    records: int
    bytes: int
    capacity: int
    high_water: int
    blocked: int


@dataclass(frozen=True, slots=True)
class ConsumerStats:
    """Totals of one reading end; ``dropped`` records were never taken."""

    records: int
    dropped: int
    lag_bytes: int


@dataclass(frozen=True, slots=True)
class PortStats:
    """Totals of a port, in bytes; ``downs`` counts lost connections."""

    up: bool
    rx_bytes: int
    tx_bytes: int
    rx_overflows: int
    downs: int


@dataclass(frozen=True, slots=True)
class StageStats:
    """Totals of a stage. ``stalls`` counts calls that took nothing; ``memory_bytes`` is linear memory without rings."""

    state: int
    calls: int
    records_in: int
    records_out: int
    busy_ns: int
    longest_ns: int
    traps: int
    restarts: int
    stalls: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Metric:
    """A number a plugin publishes: a running total, or a level."""

    name: str
    is_counter: bool
    value: int


def status_name(status: int) -> str:
    """The name of a wr_status without prefix, such as ``TRAP_DIV_ZERO``."""
    return _text(ffi.string(lib.wr_status_name(status)))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _check(status: int, error: Any = None, what: str = "") -> None:
    """Raise what ``status`` stands for; ``what`` names the object where the runtime's message does not."""
    if status == _OK:
        return
    message = _text(ffi.string(error.message)) if error is not None else ""
    message = message or _text(ffi.string(lib.wr_status_text(status)))
    fault = _FAULTS[lib.wr_status_class_of(status)]
    raise fault(status_name(status), f"{what}: {message}" if what else message)


class _Handle:
    """A C object with an owner: counts who depends on it, and refuses to go before them."""

    def __init__(self, what: str, pointer: Any, free: Callable[[Any], None], needs: Sequence[_Handle] = ()) -> None:
        self.what = what
        self._live: Any = pointer
        self._free = free
        self._needs: list[_Handle] = []
        self._users = 0
        for one in needs:
            self._need(one)

    def _need(self, other: _Handle) -> None:
        other._users += 1
        self._needs.append(other)

    @property
    def pointer(self) -> Any:
        """The cffi pointer. Raises ClosedError."""
        if self._live is None:
            raise ClosedError(self.what)
        return self._live

    @property
    def closed(self) -> bool:
        return self._live is None

    def close(self) -> None:
        """Free it; again does nothing. Raises HostFault while something else still uses it."""
        if self._live is None:
            return
        if self._users:
            raise HostFault("BAD_STATE", f"{self.what} is in use by {self._users} open objects; close them first")
        self._free(self._live)
        self._live = None
        for one in self._needs:
            one._users -= 1
        self._needs.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Engine(_Handle):
    """Configuration shared by everything else."""

    def __init__(self) -> None:
        out = ffi.new("wr_engine **")
        _check(lib.wr_engine_new(ffi.NULL, out))
        super().__init__("engine", out[0], lib.wr_engine_free)


class Module(_Handle):
    """Validated, translated code. Loops keep what they use alive by themselves."""

    def __init__(self, engine: Engine, name: str, wasm: bytes) -> None:
        out, error = ffi.new("wr_module **"), ffi.new("wr_error *")
        _check(lib.wr_module_load(engine.pointer, wasm, len(wasm), out, error), error, name)
        super().__init__(f"module {name}", out[0], lib.wr_module_release, [engine])
        self.name = name

    @property
    def footprint_bytes(self) -> int:
        """Memory the module holds."""
        return int(lib.wr_module_footprint(self.pointer))

    def imports(self) -> list[tuple[str, str]]:
        """Module and name of each import, in order."""
        descriptions = [lib.wr_module_import(self.pointer, n) for n in range(lib.wr_module_import_count(self.pointer))]
        return [
            (_text(ffi.buffer(one.module, one.module_len)[:]), _text(ffi.buffer(one.name, one.name_len)[:]))
            for one in descriptions
        ]


class Ring(_Handle):
    """A shared-memory ring of records. ``size`` is in bytes, rounded up to a power of two of whole pages."""

    def __init__(self, name: str, size: int, schema: int, consumers_max: int) -> None:
        out, error = ffi.new("wr_ring **"), ffi.new("wr_error *")
        text = ffi.new("char[]", name.encode())
        config = {"name": text, "bytes": size, "consumers_max": consumers_max, "schema": schema}
        _check(lib.wr_ring_new(ffi.new("wr_ring_config *", config), out, error), error, f"ring {name}")
        super().__init__(f"ring {name}", out[0], lib.wr_ring_free)
        self.name = name

    def attach(self, policy: Policy) -> Consumer:
        """A new reading end. Raises HostFault FULL when all are taken."""
        index = ffi.new("uint32_t *")
        _check(lib.wr_ring_attach(self.pointer, policy, index), what=self.what)
        return Consumer(self, index[0])

    def write(self, records: bytes) -> None:
        """Append whole records, all or none. Raises HostFault FULL when there is no room now."""
        _check(lib.wr_ring_write(self.pointer, records, len(records)), what=self.what)

    def stats(self) -> RingStats:
        out = ffi.new("wr_ring_stats *")
        lib.wr_ring_stats_get(self.pointer, out)
        return RingStats(out.records, out.bytes, out.capacity, out.high_water, out.blocked)


class Consumer:
    """A reading end of a ring, for a stage or for the host; lives as long as the ring."""

    def __init__(self, ring: Ring, index: int) -> None:
        self.ring = ring
        self.index = index
        self._buffer: Any = None
        self._got = ffi.new("uint32_t *")

    def read(self) -> memoryview:
        """All records there are, as a view that is valid until the next read; empty when there are none.

        What a blocking end has read stays claimed until the next read or release.
        """
        if self._buffer is None:
            self._buffer = ffi.new("uint8_t[]", self.ring.stats().capacity)
        status = lib.wr_ring_read(self.ring.pointer, self.index, self._buffer, len(self._buffer), self._got)
        _check(status, what=self.ring.what)
        return memoryview(ffi.buffer(self._buffer, self._got[0])).toreadonly()

    def release(self) -> None:
        """Give up the claim on what was read."""
        _check(lib.wr_ring_release(self.ring.pointer, self.index), what=self.ring.what)

    def doorbell(self) -> int:
        """A descriptor that is readable while there are records; owned by the ring. Reading to the end resets it."""
        fd = ffi.new("int *")
        _check(lib.wr_ring_doorbell(self.ring.pointer, self.index, fd), what=self.ring.what)
        return int(fd[0])

    def stats(self) -> ConsumerStats:
        out = ffi.new("wr_consumer_stats *")
        _check(lib.wr_ring_consumer_stats(self.ring.pointer, self.index, out), what=self.ring.what)
        return ConsumerStats(out.records, out.dropped, out.lag_bytes)


@dataclass(frozen=True, slots=True)
class StageConfig:
    """What ``Loop.add_stage`` needs. ``hal_grants`` are bits of wr_hal; schemas 0: any; ``fuel`` 0: unlimited."""

    name: str
    module: Module
    hal_grants: int
    config: bytes
    memory_bytes: int
    deadline_us: int
    ports: Sequence[Port] = ()
    inputs: Sequence[Consumer] = ()
    in_schema: int = 0
    outputs: Sequence[Ring] = ()
    out_schema: int = 0
    fuel: int = 0
    kv_bytes: int = 4096


class Loop(_Handle):
    """The event loop of the data plane: its own native thread, ports and stages."""

    def __init__(self, engine: Engine) -> None:
        out, error = ffi.new("wr_loop **"), ffi.new("wr_error *")
        _check(lib.wr_loop_new(engine.pointer, ffi.NULL, out, error), error, "loop")
        super().__init__("loop", out[0], lib.wr_loop_free, [engine])
        self._events: Any = ffi.new("uint8_t[]", _EVENTS_BYTES)

    def start(self) -> None:
        _check(lib.wr_loop_start(self.pointer), what="loop")

    def stop(self) -> None:
        """Returns when the thread has ended; rings and counters stay readable."""
        lib.wr_loop_stop(self.pointer)

    def close(self) -> None:
        if not self.closed and not self._users:
            self.stop()
        super().close()

    def add_port(self, name: str, *, datagram: bool) -> Port:
        text = ffi.new("char[]", name.encode())
        index = ffi.new("uint32_t *")
        config = ffi.new("wr_port_config *", {"name": text, "datagram": datagram})
        _check(lib.wr_loop_add_port(self.pointer, config, index), what=f"port {name}")
        return Port(self, name, index[0])

    def add_stage(self, config: StageConfig) -> Stage:
        """Instantiate, link and initialise a stage; may be called while the loop runs. Raises RuntimeFault."""
        keep = [ffi.new("char[]", config.name.encode()), ffi.new("uint8_t[]", config.config or b"\0")]
        raw = ffi.new("wr_stage_config *")
        raw.name, raw.config, raw.config_bytes = keep[0], keep[1], len(config.config)
        raw.module, raw.hal_grants = config.module.pointer, config.hal_grants
        raw.memory_bytes_max, raw.deadline_us, raw.fuel = config.memory_bytes, config.deadline_us, config.fuel
        raw.kv_bytes_max, raw.in_schema, raw.out_schema = config.kv_bytes, config.in_schema, config.out_schema
        raw.port_count, raw.in_count, raw.out_count = len(config.ports), len(config.inputs), len(config.outputs)
        raw.ports[0 : len(config.ports)] = [port.index for port in config.ports]
        raw.in_rings[0 : len(config.inputs)] = [end.ring.pointer for end in config.inputs]
        raw.in_consumers[0 : len(config.inputs)] = [end.index for end in config.inputs]
        raw.out_rings[0 : len(config.outputs)] = [ring.pointer for ring in config.outputs]
        index, error = ffi.new("uint32_t *"), ffi.new("wr_error *")
        _check(lib.wr_loop_add_stage(self.pointer, raw, index, error), error)  # the message names the stage
        for ring in [*(end.ring for end in config.inputs), *config.outputs]:
            self._need(ring)
        return Stage(self, config.name, index[0])

    def events_fd(self) -> int:
        """A descriptor that is readable while there are events; owned by the loop."""
        fd = ffi.new("int *")
        _check(lib.wr_loop_events_fd(self.pointer, fd), what="loop")
        return int(fd[0])

    def events(self) -> Iterator[Event]:
        """The events since the last call, oldest first."""
        got = ffi.new("uint32_t *")
        while True:
            _check(lib.wr_loop_read_events(self.pointer, self._events, len(self._events), got), what="loop")
            if got[0] == 0:
                return
            yield from _decode_events(bytes(ffi.buffer(self._events, got[0])))


def _decode_events(raw: bytes) -> Iterator[Event]:
    at = 0
    while at < len(raw):
        size, kind, level, source, length, time_ns = _EVENT.unpack_from(raw, at)
        text_at = at + _EVENT.size
        is_lost = kind == EventKind.LOST
        text = "" if is_lost else _text(raw[text_at : text_at + length])
        yield Event(EventKind(kind), level, source, text, length if is_lost else 0, time_ns)
        at += size


class Port:
    """A byte stream or datagram end of a loop; lives as long as the loop."""

    def __init__(self, loop: Loop, name: str, index: int) -> None:
        self.loop = loop
        self.name = name
        self.index = index

    def set_fd(self, fd: int) -> None:
        """Hand over an open descriptor, which is the loop's from now on; -1 closes the present one."""
        _check(lib.wr_loop_set_port_fd(self.loop.pointer, self.index, fd), what=f"port {self.name}")

    def stats(self) -> PortStats:
        out = ffi.new("wr_port_stats *")
        _check(lib.wr_loop_port_stats(self.loop.pointer, self.index, out), what=f"port {self.name}")
        return PortStats(out.up, out.rx_bytes, out.tx_bytes, out.rx_overflows, out.downs)


class Stage:
    """A running plugin instance; lives as long as the loop."""

    def __init__(self, loop: Loop, name: str, index: int) -> None:
        self.loop = loop
        self.name = name
        self.index = index

    def stats(self) -> StageStats:
        out = ffi.new("wr_stage_stats *")
        _check(lib.wr_loop_stage_stats(self.loop.pointer, self.index, out), what=f"stage {self.name}")
        return StageStats(
            out.state, out.calls, out.records_in, out.records_out, out.busy_ns, out.longest_ns, out.traps, out.restarts,
            out.stalls, out.memory_bytes,
        )  # fmt: skip

    def metrics(self) -> list[Metric]:
        """What the plugin published last, by name."""
        into, count = ffi.new("wr_metric[]", _METRICS_MAX), ffi.new("uint32_t *")
        status = lib.wr_loop_stage_metrics(self.loop.pointer, self.index, into, _METRICS_MAX, count)
        _check(status, what=f"stage {self.name}")
        found = (into[n] for n in range(min(count[0], _METRICS_MAX)))
        return [Metric(_text(ffi.string(one.name)), one.kind == 0, one.value) for one in found]
