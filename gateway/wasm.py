"""The C runtime for Python, as objects.

Handles own what they name. Users of a thing are closed before the thing: a loop before the rings of its stages, modules
and loops before their engine. Closing too early raises HostFault, use after closing raises ClosedError. Nothing here
works per record: readers get whole batches.
"""

from __future__ import annotations

import logging
import os
import struct
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from gateway import native
from gateway._runtime_call import TypedCall
from gateway.errors import (
    ClosedError,
    Frame,
    HostFault,
    PluginError,
    WasmExit,
    WasmLinkError,
    WasmTrap,
)
from gateway.native import OK, as_text, check, ffi, lib, status_name
from gateway.signature import (
    Export,
    ExternKind,
    ExternType,
    FuncType,
    Import,
    Value,
    ValueType,
    pack_value,
    slot_count,
    unpack_value,
)

_log = logging.getLogger("penstock.wasm")
_EVENT = struct.Struct("<IHHIIq")
_EVENTS_BYTES = 16 * 1024
_METRICS_MAX = 32
_REPORT_BYTES = 256 * 1024
_UNLIMITED = (1 << 64) - 1
_TYPED_PARAMS_MAX = 16
_CALL, _SET_LIMITS = ffi.addressof(lib, "wr_call"), ffi.addressof(lib, "wr_exec_set_limits")
_NUMBERS = (ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64)
TARGET = native.TARGET
WASI_MODULE = "wasi_snapshot_preview1"


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
    """Totals of a stage. ``stalls`` counts calls that took nothing; ``memory_bytes`` is linear memory without rings.

    ``generation`` of its plugin is 1, and one more for each swap; the pauses say how long the loop stood still for the
    last swap and for the worst one, 0 before the first.
    """

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
    generation: int
    refused: int
    last_pause_ns: int
    longest_pause_ns: int


@dataclass(frozen=True, slots=True)
class Metric:
    """A number a plugin publishes: a running total, or a level."""

    name: str
    is_counter: bool
    value: int


def _address(of: Any) -> int:
    return int(ffi.cast("uintptr_t", of))


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


class Bounds(IntEnum):
    """How memory accesses are checked. GUARD: by the hardware's memory protection; AUTO: so where addresses suffice."""

    AUTO = lib.WR_BOUNDS_AUTO
    GUARD = lib.WR_BOUNDS_GUARD
    CHECKED = lib.WR_BOUNDS_CHECKED


class Engine(_Handle):
    """Configuration shared by everything else."""

    def __init__(self, *, bounds: Bounds = Bounds.AUTO, adopted: Any = None) -> None:
        super().__init__("engine", adopted or native.new_engine(bounds), lib.wr_engine_free)


# ---- modules: what they import, export and contain ----


def _func_type(raw: Any) -> FuncType:
    params, results = raw.params[0 : raw.param_count], raw.results[0 : raw.result_count]
    return FuncType(tuple(map(ValueType, params)), tuple(map(ValueType, results)))


def _extern_type(raw: Any) -> ExternType:
    kind = ExternKind(raw.kind)
    if kind in (ExternKind.FUNC, ExternKind.TAG):
        return ExternType(kind, _func_type(raw.func))
    value = ValueType(raw.value) if raw.value else None
    maximum = None if raw.max == _UNLIMITED else int(raw.max)
    return ExternType(
        kind, value=value, is_mutable=raw.is_mutable, is64=raw.is64, is_shared=raw.is_shared, minimum=raw.min,
        maximum=maximum,
    )  # fmt: skip


class Module(_Handle):
    """Validated, translated code. Loops and instances keep what they use alive by themselves."""

    def __init__(self, engine: Engine, name: str, wasm: bytes) -> None:
        super().__init__(
            f"module {name}", native.new_module(engine.pointer, name, wasm), lib.wr_module_release, [engine]
        )
        self.name = name
        self.is_compiled = False  # whether instances made from now on run compiled code

    @property
    def footprint_bytes(self) -> int:
        """Memory the module holds."""
        return int(lib.wr_module_footprint(self.pointer))

    def imports(self) -> list[Import]:
        """What it needs, in order."""
        raw = [lib.wr_module_import(self.pointer, n) for n in range(lib.wr_module_import_count(self.pointer))]
        return [
            Import(
                as_text(ffi.buffer(one.module, one.module_len)[:]),
                as_text(ffi.buffer(one.name, one.name_len)[:]),
                one.index,
                self.type_of(ExternKind(one.kind), one.index),
            )
            for one in raw
        ]

    def exports(self) -> list[Export]:
        """What it offers, in order."""
        raw = [lib.wr_module_export(self.pointer, n) for n in range(lib.wr_module_export_count(self.pointer))]
        return [
            Export(
                as_text(ffi.buffer(one.name, one.name_len)[:]), one.index, self.type_of(ExternKind(one.kind), one.index)
            )
            for one in raw
        ]

    def count(self, kind: ExternKind) -> int:
        """How many it has: imported ones, which come first, and its own."""
        return int(lib.wr_module_count(self.pointer, kind))

    def type_of(self, kind: ExternKind, index: int) -> ExternType:
        """``index`` below ``count(kind)``. Raises IndexError."""
        if not 0 <= index < self.count(kind):
            raise IndexError(f"{self.what} has {self.count(kind)} of kind {kind}, found {index}")
        return _extern_type(lib.wr_module_type(self.pointer, kind, index))

    def function_name(self, index: int) -> str:
        """From the name section, or as exported; empty where the module does not tell."""
        length = ffi.new("uint32_t *")
        name = lib.wr_module_func_name(self.pointer, index, length)
        return as_text(ffi.buffer(name, length[0])[:]) if name else ""

    def custom(self, name: str) -> bytes | None:
        """The bytes of the first custom section of this name."""
        length = ffi.new("size_t *")
        found = lib.wr_module_custom(self.pointer, name.encode(), length)
        return bytes(ffi.buffer(found, length[0])) if found else None

    def attach(self, artefact: Path, wasm: bytes) -> None:
        """Instances made from now on run the compiled code in ``artefact``; ``wasm`` is what the module was made of.
        Raises HostFault: the file is damaged, or for another module, machine or engine; it stays interpreted."""
        native.attach_code(self.pointer, os.path.abspath(artefact), wasm)  # a bare name would be looked for elsewhere
        self.is_compiled = True

    @classmethod
    def of_file(cls, engine: Engine, name: str, file: Path, wasm: bytes) -> Module:
        """The module in ``file``, compiled where NAME.TARGET.so lies beside it or in $PENSTOCK_COMPILED, and fits; the
        log tells which. Raises WasmError."""
        module = cls(engine, name, wasm)
        if artefact := native.code_of(str(file)):
            try:
                module.attach(Path(artefact), wasm)
                _log.info("%s runs compiled: %s", name, artefact)
            except HostFault as fault:
                _log.warning("%s is interpreted: %s", name, fault)
        return module

    def run_vectors(self, script: str, name: str, *, bytewise: bool = False) -> str:
        """Run a plugin's own vectors (a script of ``gateway.app.vectors``, ``name`` for its errors); returns how many
        passed. ``bytewise``: received bytes come one by one. For a thread of its own. Raises PluginError."""
        text, label = ffi.new("char[]", script.encode()), ffi.new("char[]", name.encode())
        raw = ffi.new("wr_vectors *", {"name": label, "script": text, "len": len(text) - 1, "bytewise": bytewise})
        report = ffi.new("char[]", _REPORT_BYTES)
        status = lib.wr_vectors_run(self._needs[0].pointer, self.pointer, raw, report, _REPORT_BYTES)
        said = as_text(ffi.string(report))
        if status == lib.WR_BAD_STATE:
            raise PluginError(said.strip())
        check(status, what=self.what)
        return said


def emit_c(engine: Engine, name: str, wasm: bytes) -> bytes:
    """A module as C text. Raises WasmError: the module is not valid, or has instructions that are only interpreted."""
    text, length, error = ffi.new("char **"), ffi.new("size_t *"), ffi.new("wr_error *")
    check(lib.wr_aot_emit_c(engine.pointer, wasm, len(wasm), text, length, error), error, name)
    try:
        return bytes(ffi.buffer(text[0], length[0]))
    finally:
        lib.wr_aot_free_c(text[0])


def seal(artefact: Path, target: str) -> None:
    """Complete a shared object that was compiled for ``target``. Raises HostFault."""
    error = ffi.new("wr_error *")
    check(lib.wr_aot_seal(os.fsencode(artefact), target.encode(), error), error)


# ---- stores, instances, calls ----

Output = Callable[[int, bytes], None]


@dataclass(frozen=True, slots=True)
class WasiConfig:
    """What a WASI program sees. The first of ``args`` is its name. ``output`` gets the descriptor (1 or 2) and what is
    written there; an OSError it raises ends the call and comes out of it. ``seed``: random numbers repeat.
    ``refuses_missing``: functions that could only answer ENOSYS are not found when linking."""

    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    output: Output | None = None
    seed: int | None = None
    refuses_missing: bool = False


class _Sink:
    """Where output of programs goes, and what went wrong there."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.handle = ffi.new_handle(self)
        self.error: OSError | None = None


@ffi.def_extern(name="wr_python_output", error=lib.WR_TRAP_HOST)  # type: ignore[untyped-decorator]
def _on_output(user: Any, fd: int, data: Any, length: int) -> int:
    sink: _Sink = ffi.from_handle(user)
    try:
        sink.output(fd, bytes(ffi.buffer(data, length)))
    except OSError as error:
        sink.error = error
        return int(lib.WR_TRAP_HOST)
    return int(OK)


class Execution(_Handle):
    """What calls run in, one at a time: a stack, and limits that each call has anew.

    0 is no limit, for ``stack_bytes`` 256 KiB. One unit of ``fuel`` is a call or a loop's jump back.
    """

    def __init__(self, engine: Engine, *, stack_bytes: int = 0, deadline_us: int = 0, fuel: int = 0) -> None:
        out = ffi.new("wr_exec **")
        check(lib.wr_exec_new(engine.pointer, stack_bytes, out), what=f"a stack of {stack_bytes} bytes")
        super().__init__("execution", out[0], lib.wr_exec_free, [engine])
        self.deadline_us = deadline_us
        self.fuel = fuel
        self._typed: weakref.WeakSet[Any] = weakref.WeakSet()

    def close(self) -> None:
        super().close()
        for call in self._typed:  # they may outlive what they call
            call.close()

    def interrupt(self) -> None:
        """From another thread: the running call, or the next one, traps with TRAP_INTERRUPTED."""
        lib.wr_exec_interrupt(self.pointer)

    def start(self) -> Any:
        """The pointer for a call that follows, with fresh limits."""
        lib.wr_exec_set_limits(self.pointer, self.deadline_us, self.fuel)
        return self.pointer

    def trap(self, status: int) -> WasmTrap:
        """The trap that just ended a call with this status."""
        raw = lib.wr_exec_trap(self.pointer)
        kept = raw.frames[0 : raw.frame_count]
        frames = [Frame(as_text(ffi.string(one.name)), one.func_index, one.offset) for one in kept]
        if status == lib.WR_TRAP_EXIT:
            return WasmExit(raw.exit_code, frames, raw.frames_total)
        return WasmTrap(status_name(status), as_text(ffi.string(lib.wr_status_text(status))), frames, raw.frames_total)


class Store(_Handle):
    """Owns instances: they live as long as it does."""

    def __init__(self, engine: Engine) -> None:
        out = ffi.new("wr_store **")
        check(lib.wr_store_new(engine.pointer, out))
        super().__init__("store", out[0], lib.wr_store_free, [engine])
        self._sinks: list[_Sink] = []
        self._typed: weakref.WeakSet[Any] = weakref.WeakSet()

    def close(self) -> None:
        super().close()
        for call in self._typed:  # they may outlive what they call
            call.close()

    def instantiate(
        self, module: Module, execution: Execution, *, wasi: WasiConfig | None = None, memory_bytes: int = 0
    ) -> Instance:
        """A new instance; runs the module's start function. Imports are those of WASI, if given. ``memory_bytes``: most
        it may have in each memory, 0: 4 GiB. Raises WasmLinkError naming every import that is missing, WasmTrap,
        WasmError when a limit is exceeded."""
        imports = self._link(module, self._make_wasi(wasi) if wasi else None)
        limits = ffi.new("wr_instance_limits *", {"memory_bytes_max": memory_bytes})
        out, error = ffi.new("wr_instance **"), ffi.new("wr_error *")
        status = lib.wr_instance_new(
            self.pointer, module.pointer, imports, len(imports), limits, execution.start(), out, error
        )
        self.check_call(status, execution)
        check(status, error, module.name)
        return Instance(self, module, out[0])

    def check_call(self, status: int, execution: Execution) -> None:
        """Raise what ended a call: a trap, or the error of an output."""
        for sink in self._sinks:
            if sink.error is not None:
                error, sink.error = sink.error, None
                raise error
        if lib.wr_status_class_of(status) == lib.WR_CLASS_TRAP:
            raise execution.trap(status)

    def _make_wasi(self, config: WasiConfig) -> Any:
        texts = [_texts(config.args), _texts([f"{name}={value}" for name, value in config.env.items()])]
        raw = ffi.new("wr_wasi_config *", {"is_seeded": config.seed is not None, "seed": config.seed or 0})
        raw.args, raw.arg_count, raw.env, raw.env_count = texts[0][0], len(texts[0][1]), texts[1][0], len(texts[1][1])
        raw.refuses_missing = config.refuses_missing
        if config.output is not None:
            sink = _Sink(config.output)
            self._sinks.append(sink)
            raw.output, raw.output_user = lib.wr_python_output, sink.handle
        out = ffi.new("wr_wasi **")
        check(lib.wr_wasi_new(self.pointer, raw, out), what="wasi")
        return out[0]

    def _link(self, module: Module, wasi: Any) -> Any:
        wanted, missing = module.imports(), []
        imports = ffi.new("wr_extern[]", len(wanted))
        for index, one in enumerate(wanted):
            status = lib.WR_UNKNOWN_IMPORT
            if wasi is not None and one.module == WASI_MODULE:
                name = one.name.encode()
                status = lib.wr_wasi_import(wasi, name, len(name), imports + index)
            if status == lib.WR_UNKNOWN_IMPORT:
                missing.append(str(one))
            else:
                check(status, what=str(one))
        if missing:
            raise WasmLinkError("UNKNOWN_IMPORT", f"{module.name}: unknown import: {'; '.join(missing)}")
        return imports


def _texts(texts: Sequence[str]) -> tuple[Any, list[Any]]:
    """An array of C strings and what keeps them alive."""
    if any("\0" in text for text in texts):
        raise HostFault("BAD_ARGUMENT", "an argument or variable contains a NUL")
    kept = [ffi.new("char[]", os.fsencode(text)) for text in texts]
    return ffi.new("char *[]", kept), kept


class Instance:
    """A module with memories, tables and globals of its own; lives as long as its store."""

    def __init__(self, store: Store, module: Module, pointer: Any) -> None:
        self.store = store
        self.name = module.name
        self._pointer = pointer

    @property
    def is_compiled(self) -> bool:
        """Whether its code runs compiled; else it is interpreted."""
        if self.store.closed:
            raise ClosedError(self.store.what)
        return bool(lib.wr_instance_is_compiled(self._pointer))

    def func(self, name: str) -> Func:
        """An exported function. Raises HostFault NOT_FOUND."""
        out, raw = ffi.new("wr_extern *"), name.encode()
        if self.store.closed:
            raise ClosedError(self.store.what)
        status = lib.wr_instance_export(self._pointer, raw, len(raw), out)
        if status == OK and out.kind != lib.WR_EXTERN_FUNC:
            status = lib.WR_NOT_FOUND
        check(status, what=f"{self.name}: function {name}")
        return Func(self.store, name, out.of.func)


class Func:
    """A function to be called; lives as long as its store."""

    def __init__(self, store: Store, name: str, pointer: Any) -> None:
        self.store = store
        self.name = name
        self.type = _func_type(lib.wr_func_type_of(pointer))
        self._pointer = pointer

    def call(self, execution: Execution, *arguments: Value) -> tuple[Value, ...]:
        """Its results. Raises WasmTrap, and HostFault when the arguments do not fit its type."""
        slots = self._slots(arguments)
        self.store.check_call(lib.wr_call(execution.start(), self._pointer, slots, slots), execution)
        return self._results(slots)

    def time(self, execution: Execution, count: int, *arguments: Value) -> tuple[tuple[Value, ...], list[int]]:
        """Calls it ``count`` times with the same arguments: results of the last call, nanoseconds of each call."""
        arguments_in, slots = self._slots(arguments), self._slots(arguments)
        times = ffi.new("uint64_t[]", count)
        status = lib.wr_call_timed(execution.start(), self._pointer, arguments_in, slots, times, count)
        self.store.check_call(status, execution)
        return self._results(slots), list(times)

    def typed(self, execution: Execution) -> Callable[..., Value]:
        """A function that calls it many times as fast as ``call``: it takes the arguments and returns the result, or
        None. The execution's limits are those of now. For up to 16 numbers and at most one result; otherwise raises
        HostFault UNSUPPORTED."""
        if len(self.type.params) > _TYPED_PARAMS_MAX or len(self.type.results) > 1 or not self._has_numbers_only():
            allowed = f"up to {_TYPED_PARAMS_MAX} numbers, at most one result"
            raise HostFault("UNSUPPORTED", f"{self.name} {self.type}: allowed: {allowed}")
        if self.store.closed:
            raise ClosedError(self.store.what)

        def settle(status: int) -> NoReturn:
            for owner in (self.store, execution):
                if owner.closed:
                    raise ClosedError(owner.what)
            self.store.check_call(status, execution)
            check(status, what=f"{self.name} {self.type}")
            raise AssertionError("settled a call that went well")

        addresses = (_address(one) for one in (_CALL, _SET_LIMITS, execution.pointer, self._pointer))
        signature = bytes(self.type.params), self.type.results[0] if self.type.results else 0
        call: Callable[..., Value]
        call = TypedCall(*addresses, execution.deadline_us, execution.fuel, *signature, settle)
        self.store._typed.add(call)
        execution._typed.add(call)
        return call

    def _has_numbers_only(self) -> bool:
        return all(kind in _NUMBERS for kind in (*self.type.params, *self.type.results))

    def _slots(self, arguments: Sequence[Value]) -> Any:
        if self.store.closed:
            raise ClosedError(self.store.what)
        if len(arguments) != len(self.type.params):
            raise HostFault("BAD_ARGUMENT", f"{self.name} {self.type}: found {len(arguments)} arguments")
        packed = b"".join(map(pack_value, self.type.params, arguments))
        slots = ffi.new("wr_slot[]", max(len(packed), 8 * sum(map(slot_count, self.type.results))) // 8 + 1)
        ffi.memmove(slots, packed, len(packed))
        return slots

    def _results(self, slots: Any) -> tuple[Value, ...]:
        raw, at, found = bytes(ffi.buffer(slots)), 0, []
        for kind in self.type.results:
            size = 8 * slot_count(kind)
            found.append(unpack_value(kind, raw[at : at + size]))
            at += size
        return tuple(found)


# ---- rings ----


class Ring(_Handle):
    """A shared-memory ring of records. ``size`` is in bytes, rounded up to a power of two of whole pages."""

    def __init__(self, name: str, size: int, schema: int, consumers_max: int) -> None:
        self._own(name, native.new_ring(name, size, schema, consumers_max))

    @classmethod
    def adopt(cls, name: str, pointer: Any) -> Ring:
        """A ring that was made without an owner."""
        ring = cls.__new__(cls)
        ring._own(name, pointer)
        return ring

    def _own(self, name: str, pointer: Any) -> None:
        super().__init__(f"ring {name}", pointer, lib.wr_ring_free)
        self.name = name

    def attach(self, policy: Policy) -> Consumer:
        """A new reading end. Raises HostFault FULL when all are taken."""
        return Consumer(self, native.attach(self.pointer, policy, self.what))

    def write(self, records: bytes) -> None:
        """Append whole records, all or none. Raises HostFault FULL when there is no room now."""
        check(lib.wr_ring_write(self.pointer, records, len(records)), what=self.what)

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
        check(status, what=self.ring.what)
        return memoryview(ffi.buffer(self._buffer, self._got[0])).toreadonly()

    def release(self) -> None:
        """Give up the claim on what was read."""
        check(lib.wr_ring_release(self.ring.pointer, self.index), what=self.ring.what)

    def doorbell(self) -> int:
        """A descriptor that is readable while there are records; owned by the ring. Reading to the end resets it."""
        fd = ffi.new("int *")
        check(lib.wr_ring_doorbell(self.ring.pointer, self.index, fd), what=self.ring.what)
        return int(fd[0])

    def stats(self) -> ConsumerStats:
        out = ffi.new("wr_consumer_stats *")
        check(lib.wr_ring_consumer_stats(self.ring.pointer, self.index, out), what=self.ring.what)
        return ConsumerStats(out.records, out.dropped, out.lag_bytes)


@dataclass(frozen=True, slots=True)
class StageConfig:
    """What ``Loop.add_stage`` needs. ``hal_grants`` are bits of wr_hal; schemas 0: any; ``fuel`` 0: unlimited.

    The last ``in_commands`` of the inputs and ``out_commands`` of the outputs are rings of commands. ``bus`` is one of
    BUSES, or 0; ``writes`` are rules: any unit, unit, first and last address, one of TABLES."""

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
    state_bytes: int = 65536
    in_commands: int = 0
    out_commands: int = 0
    bus: int = 0
    writes: Sequence[tuple[bool, int, int, int, int]] = ()


# Framings and tables of a field bus as the runtime knows them.
BUSES = {"tcp": lib.WR_BUS_MODBUS_TCP, "rtu": lib.WR_BUS_MODBUS_RTU, "rtu_tcp": lib.WR_BUS_MODBUS_RTU}
TABLES = {"coil": lib.WR_BUS_COIL, "holding": lib.WR_BUS_HOLDING}

# Fields of records that may be allowed to differ between two versions; "value" also means the bytes that follow.
FIELDS = {
    "kind": lib.WR_FIELD_KIND,
    "quality": lib.WR_FIELD_QUALITY,
    "type": lib.WR_FIELD_TYPE,
    "tag": lib.WR_FIELD_TAG,
    "seq": lib.WR_FIELD_SEQ,
    "time_ns": lib.WR_FIELD_TIME,
    "value": lib.WR_FIELD_VALUE,
}


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """Two versions on the same input: ``compared`` records that both put out, ``differences`` of them that are not the
    same, the ``first`` of these as text; bytes that one has put out and the other has not. ``broken``: why comparing
    has ended, or ""."""

    compared: int
    differences: int
    old_waiting_bytes: int
    new_waiting_bytes: int
    broken: str
    first: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Switched:
    """What a switch to another version was like. ``state_version`` 0: no state was carried, the version began anew."""

    pause_ns: int
    generation: int
    state_bytes: int
    state_version: int


class Loop(_Handle):
    """The event loop of the data plane: its own native thread, ports and stages."""

    def __init__(self, engine: Engine, *, adopted: Any = None, rings: Iterable[Ring] = ()) -> None:
        """``adopted``: a wr_loop that was made without an owner, with stages on ``rings``."""
        super().__init__("loop", adopted or native.new_loop(engine.pointer), lib.wr_loop_free, [engine, *rings])
        self._events: Any = ffi.new("uint8_t[]", _EVENTS_BYTES)

    def start(self) -> None:
        native.start(self.pointer)

    def stop(self) -> None:
        """Returns when the thread has ended; rings and counters stay readable."""
        lib.wr_loop_stop(self.pointer)

    def close(self) -> None:
        if not self.closed and not self._users:
            self.stop()
        super().close()

    def add_port(self, name: str, *, datagram: bool) -> Port:
        return Port(self, name, native.add_port(self.pointer, name, datagram=datagram))

    def add_stage(self, config: StageConfig) -> Stage:
        """Instantiate, link and initialise a stage; may be called while the loop runs. Raises RuntimeFault."""
        raw, _keep = _stage_config(config)
        ports = [port.index for port in config.ports]
        inputs = [(end.ring.pointer, end.index) for end in config.inputs]
        index = native.add_stage(self.pointer, raw, ports, inputs, [ring.pointer for ring in config.outputs])
        for ring in [*(end.ring for end in config.inputs), *config.outputs]:
            self._need(ring)
        return Stage(self, config.name, index)

    def candidate(self, stage: Stage, config: StageConfig, *, carry_state: bool) -> Candidate:
        """Another version for ``stage``, made beside it; ports and rings of ``config`` do not count.

        Takes its time without holding up the loop: not for the thread of an event loop. Raises RuntimeFault.
        """
        raw, _keep = _stage_config(config)
        out, error = ffi.new("wr_swap **"), ffi.new("wr_error *")
        check(lib.wr_swap_new(self.pointer, stage.index, raw, carry_state, out, error), error)
        return Candidate(self, stage, out[0])

    def events_fd(self) -> int:
        """A descriptor that is readable while there are events; owned by the loop."""
        fd = ffi.new("int *")
        check(lib.wr_loop_events_fd(self.pointer, fd), what="loop")
        return int(fd[0])

    def events(self) -> Iterator[Event]:
        """The events since the last call, oldest first."""
        got = ffi.new("uint32_t *")
        while True:
            check(lib.wr_loop_read_events(self.pointer, self._events, len(self._events), got), what="loop")
            if got[0] == 0:
                return
            yield from _decode_events(bytes(ffi.buffer(self._events, got[0])))


def _stage_config(config: StageConfig) -> tuple[Any, list[Any]]:
    """The C struct but for ports and rings, and what keeps its strings alive."""
    return native.stage_config(
        config.name,
        config.module.pointer,
        config.config,
        {
            "hal_grants": config.hal_grants,
            "memory_bytes": config.memory_bytes,
            "deadline_us": config.deadline_us,
            "kv_bytes": config.kv_bytes,
            "state_bytes": config.state_bytes,
            "in_schema": config.in_schema,
            "out_schema": config.out_schema,
            "in_commands": config.in_commands,
            "out_commands": config.out_commands,
            "bus": config.bus,
            "writes": list(config.writes),
            "fuel": config.fuel,
        },
    )


class Candidate(_Handle):
    """A version that is ready to become a stage, on rings of its own; after ``commit`` the one it replaced.

    Closing frees it, best not in the thread of an event loop either.
    """

    def __init__(self, loop: Loop, stage: Stage, pointer: Any) -> None:
        super().__init__(f"candidate for stage {stage.name}", pointer, lib.wr_swap_free, [loop])
        self.stage = stage

    def commit(self) -> Switched:
        """Carry the state over and switch, between two events of the loop. Raises RuntimeFault: then the running
        version goes on, and this candidate is of no more use."""
        out, error = ffi.new("wr_swap_result *"), ffi.new("wr_error *")
        check(lib.wr_swap_commit(self.pointer, out, error), error)
        return Switched(out.pause_ns, out.generation, out.state_bytes, out.state_version)

    def shadow(self, ignored: int) -> None:
        """Run along with the running version, with its state; it cannot be committed any more. ``ignored``: sum of
        FIELDS that may differ. Raises RuntimeFault."""
        error = ffi.new("wr_error *")
        check(lib.wr_swap_shadow(self.pointer, ignored, error), error)

    def shadow_report(self) -> ShadowReport:
        """What comparing has shown so far."""
        out = ffi.new("wr_shadow_report *")
        check(lib.wr_swap_shadow_report(self.pointer, out), what=self.what)
        shown = min(out.differences, lib.WR_DIFFERENCES_MAX)
        return ShadowReport(
            out.compared, out.differences, out.old_waiting_bytes, out.new_waiting_bytes,
            as_text(ffi.string(out.broken)), tuple(map(_difference, out.first[0:shown])),
        )  # fmt: skip


def _difference(raw: Any) -> str:
    """One line: where, and each field before and after; of values the 64 bits, in hex."""
    shown = []
    for name, bit in FIELDS.items():
        if raw.fields & bit:
            old, new = (getattr(one, name) for one in (raw.old_record, raw.new_record))
            shown.append(f"{name} {old:#x} -> {new:#x}" if name == "value" else f"{name} {old} -> {new}")
    return f"record {raw.record} of output {raw.output}, tag {raw.old_record.tag}: {', '.join(shown)}"


def _decode_events(raw: bytes) -> Iterator[Event]:
    at = 0
    while at < len(raw):
        size, kind, level, source, length, time_ns = _EVENT.unpack_from(raw, at)
        text_at = at + _EVENT.size
        is_lost = kind == EventKind.LOST
        text = "" if is_lost else as_text(raw[text_at : text_at + length])
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
        native.set_port_fd(self.loop.pointer, self.index, fd, self.name)

    def is_open(self) -> bool:
        """Whether it has a descriptor."""
        return self.stats().up

    def stats(self) -> PortStats:
        out = ffi.new("wr_port_stats *")
        check(lib.wr_loop_port_stats(self.loop.pointer, self.index, out), what=f"port {self.name}")
        return PortStats(out.up, out.rx_bytes, out.tx_bytes, out.rx_overflows, out.downs)


class Stage:
    """A running plugin instance; lives as long as the loop."""

    def __init__(self, loop: Loop, name: str, index: int) -> None:
        self.loop = loop
        self.name = name
        self.index = index

    def stats(self) -> StageStats:
        out = ffi.new("wr_stage_stats *")
        check(lib.wr_loop_stage_stats(self.loop.pointer, self.index, out), what=f"stage {self.name}")
        return StageStats(
            out.state, out.calls, out.records_in, out.records_out, out.busy_ns, out.longest_ns, out.traps, out.restarts,
            out.stalls, out.memory_bytes, out.generation, out.refused, out.last_pause_ns, out.longest_pause_ns,
        )  # fmt: skip

    def metrics(self) -> list[Metric]:
        """What the plugin published last, by name."""
        into, count = ffi.new("wr_metric[]", _METRICS_MAX), ffi.new("uint32_t *")
        status = lib.wr_loop_stage_metrics(self.loop.pointer, self.index, into, _METRICS_MAX, count)
        check(status, what=f"stage {self.name}")
        found = (into[n] for n in range(min(count[0], _METRICS_MAX)))
        return [Metric(as_text(ffi.string(one.name)), one.kind == 0, one.value) for one in found]
