"""The wrapper of the C runtime: lifetimes, errors, rings. Misuse raises, it never crashes."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

import pytest

from gateway.errors import (
    ClosedError,
    Frame,
    HostFault,
    RuntimeFault,
    WasmError,
    WasmExit,
    WasmLinkError,
    WasmTrap,
)
from gateway.record import Payload, Schema, decode, encode_payload, split
from gateway.signature import ExternKind, FuncType, Value, ValueType
from gateway.wasm import (
    Engine,
    EventKind,
    Execution,
    Instance,
    Loop,
    Module,
    Policy,
    Ring,
    StageConfig,
    StageState,
    Store,
    WasiConfig,
)
from tests.gateway.modules import ENDLESS, OK, REFUSE, TRAP, Code, library, module, section


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine() as made:
        yield made


def ring(*, schema: int = Schema.PAYLOADS, consumers: int = 2) -> Ring:
    return Ring("text", 4096, schema, consumers)


def payloads(count: int, start: int = 0) -> list[Payload]:
    return [Payload("t", b"body", 1, False, start + number, 0) for number in range(count)]


def stage(code: Module, **changes: object) -> StageConfig:
    limits = {"hal_grants": 0, "config": b"", "memory_bytes": 65536, "deadline_us": 20000}
    return StageConfig(name="it", module=code, **{**limits, **changes})  # type: ignore[arg-type]


# ---- rings ----


def test_records_go_through_a_ring() -> None:
    with ring() as made:
        one, other = made.attach(Policy.BLOCK), made.attach(Policy.DROP_OLDEST)
        sent = payloads(10)
        made.write(b"".join(map(encode_payload, sent)))
        for end in (one, other):
            assert [decode(view) for view in split(end.read())] == sent
            assert len(end.read()) == 0
            assert (end.stats().records, end.stats().dropped, end.stats().lag_bytes) == (10, 0, 0)
        assert (made.stats().records, made.stats().capacity) == (10, 4096)


def test_a_blocking_end_blocks_until_it_releases() -> None:
    with ring() as made:
        end = made.attach(Policy.BLOCK)
        batch = b"".join(map(encode_payload, payloads(32)))
        fits = made.stats().capacity // len(batch)
        for _ in range(fits):
            made.write(batch)
        with pytest.raises(HostFault, match="no room") as caught:
            made.write(batch)
        assert caught.value.status == "FULL"
        end.read()
        end.release()
        made.write(batch)


def test_a_dropping_end_loses_the_oldest_and_counts() -> None:
    with ring() as made:
        end = made.attach(Policy.DROP_OLDEST)
        for payload in payloads(500):
            made.write(encode_payload(payload))
        kept = [decode(view) for view in split(end.read())]
        assert kept == payloads(500)[-len(kept) :]
        assert end.stats().dropped == 500 - len(kept) > 0


def test_the_doorbell_rings_while_there_are_records() -> None:
    with ring() as made:
        end = made.attach(Policy.DROP_OLDEST)
        bell = end.doorbell()
        assert select.select([bell], [], [], 0)[0] == []
        made.write(encode_payload(payloads(1)[0]))
        assert select.select([bell], [], [], 10)[0] == [bell]
        assert len(end.read()) > 0
        assert len(end.read()) == 0
        assert select.select([bell], [], [], 0)[0] == []


def test_a_ring_has_so_many_ends() -> None:
    with ring(consumers=1) as made:
        made.attach(Policy.BLOCK)
        with pytest.raises(HostFault, match="ring text"):
            made.attach(Policy.BLOCK)


@pytest.mark.parametrize("raw", [b"1234", bytes(32), encode_payload(payloads(1)[0])[:-8]], ids=len)
def test_malformed_records_are_refused(raw: bytes) -> None:
    with ring() as made, pytest.raises(HostFault) as caught:
        made.write(raw)
    assert caught.value.status == "BAD_ARGUMENT"


@pytest.mark.parametrize("changes", [{"size": 0}, {"size": 1 << 31}, {"consumers_max": 0}, {"consumers_max": 65}])
def test_impossible_rings_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(HostFault, match="ring text"):
        Ring("text", **{"size": 4096, "schema": 1, "consumers_max": 1, **changes})


# ---- lifetimes ----


def test_use_after_close_raises() -> None:
    made = ring()
    end = made.attach(Policy.BLOCK)
    made.close()
    made.close()
    assert made.closed
    for use in (made.stats, end.read, end.release, end.stats, end.doorbell, lambda: made.write(b"")):
        with pytest.raises(ClosedError, match="ring text is closed"):
            use()


def test_what_is_in_use_is_not_closed() -> None:
    engine = Engine()
    loop = Loop(engine)
    with pytest.raises(HostFault, match="engine is in use by 1 open objects"):
        engine.close()
    loop.close()
    engine.close()
    with pytest.raises(ClosedError, match="engine is closed"):
        Loop(engine)


def test_a_ring_outlives_the_loop_of_its_stages(engine: Engine) -> None:
    made, loop = ring(schema=Schema.SAMPLES), Loop(engine)
    with Module(engine, "it", module()) as code:
        loop.add_stage(stage(code, outputs=[made], out_schema=Schema.SAMPLES))
    with pytest.raises(HostFault, match="ring text is in use"):
        made.close()
    loop.close()
    made.close()


def test_a_closed_loop_answers_nothing(engine: Engine) -> None:
    loop = Loop(engine)
    port = loop.add_port("plc", datagram=False)
    with Module(engine, "it", module()) as code:
        made = loop.add_stage(stage(code))
    loop.close()
    for use in (loop.start, loop.events_fd, port.stats, made.stats, made.metrics, lambda: port.set_fd(-1)):
        with pytest.raises(ClosedError, match="loop is closed"):
            use()


# ---- modules and stages ----


def test_a_module_knows_its_imports(engine: Engine) -> None:
    with Module(engine, "it", module(imports="now")) as code:
        assert [str(one) for one in code.imports()] == ["hal.now: func (i32) -> i64"]
        assert code.footprint_bytes > 0


def test_a_module_knows_what_it_has(engine: Engine) -> None:
    items = {
        1: b"\x60\1\x7e\0",  # type (i64)
        4: b"\x6f\1\1\x09",  # table of externref, 1 to 9
        5: b"\3\2\3",  # shared memory, 2 to 3
        13: b"\0\0",  # tag
        6: b"\x7d\1\x43\0\0\0\0\x0b",  # mutable f32
    }
    raw = b"\0asm\1\0\0\0" + b"".join(section(number, [item]) for number, item in items.items())
    with Module(engine, "it", raw) as code:
        kinds = (ExternKind.TABLE, ExternKind.MEMORY, ExternKind.GLOBAL, ExternKind.TAG)
        assert [str(code.type_of(kind, 0)) for kind in kinds] == [
            "table 1..9 externref",
            "memory 2..3 pages shared",
            "global mut f32",
            "tag (i64)",
        ]
        assert [code.count(kind) for kind in ExternKind] == [0, 1, 1, 1, 1]
        with pytest.raises(IndexError, match="module it has 1 of kind table, found 1"):
            code.type_of(ExternKind.TABLE, 1)


@pytest.mark.parametrize(
    ("raw", "status"),
    [(b"", "UNEXPECTED_END"), (b"ELF\x7f\1\0\0\0", "BAD_MAGIC"), (b"\0asm\2\0\0\0", "BAD_VERSION")],
)
def test_what_is_no_module_is_refused(engine: Engine, raw: bytes, status: str) -> None:
    with pytest.raises(WasmError, match="it: ") as caught:
        Module(engine, "it", raw)
    assert caught.value.status == status


def test_an_import_beyond_the_grants_is_refused_by_name(engine: Engine) -> None:
    with Loop(engine) as loop, Module(engine, "it", module(imports="now")) as code:
        with pytest.raises(WasmLinkError, match="now"):
            loop.add_stage(stage(code, hal_grants=0))
        loop.add_stage(stage(code, hal_grants=1 << 2))


def test_a_stage_with_another_schema_is_refused(engine: Engine) -> None:
    with ring() as made, Loop(engine) as loop, Module(engine, "it", module()) as code:
        with pytest.raises(HostFault) as caught:
            loop.add_stage(stage(code, outputs=[made], out_schema=Schema.SAMPLES))
        assert caught.value.status == "SCHEMA"


@pytest.mark.parametrize("init", [TRAP, ENDLESS + OK, REFUSE], ids=["trap", "endless", "refuses"])
def test_a_plugin_that_does_not_start_is_an_error(engine: Engine, init: bytes) -> None:
    with Loop(engine) as loop, Module(engine, "it", module(init=init)) as code, pytest.raises(RuntimeFault, match="it"):
        loop.add_stage(stage(code))


def test_counters_of_a_fresh_stage(engine: Engine) -> None:
    with Loop(engine) as loop, Module(engine, "it", module()) as code:
        made = loop.add_stage(stage(code))
        stats = made.stats()
        assert (stats.state, stats.traps, stats.records_in, stats.records_out) == (StageState.RUNNING, 0, 0, 0)
        assert stats.memory_bytes == 65536
        assert made.metrics() == []


# ---- instances and calls ----

GET, CALL = b"\x20", b"\x10"
DIVIDE = Code("div", "ii", "i", GET + b"\0" + GET + b"\1\x6d")
EXIT = ("wasi_snapshot_preview1", "proc_exit", "i", "")
WRITE = ("wasi_snapshot_preview1", "fd_write", "iiii", "i")
SPEAK = Code("speak", "", "i", b"".join(b"\x41" + bytes([n]) for n in (1, 0, 1, 8)) + CALL + b"\0")


@pytest.fixture
def store(engine: Engine) -> Iterator[Store]:
    with Store(engine) as made:
        yield made


@pytest.fixture
def execution(engine: Engine) -> Iterator[Execution]:
    with Execution(engine) as made:
        yield made


def instance(store: Store, engine: Engine, execution: Execution, raw: bytes, **options: object) -> Instance:
    with Module(engine, "it", raw) as code:
        return store.instantiate(code, execution, **options)  # type: ignore[arg-type]


def test_a_call_has_typed_values(engine: Engine, store: Store, execution: Execution) -> None:
    same = Code("same", "ilfdvr", "rvdfli", b"".join(GET + bytes([n]) for n in (5, 4, 3, 2, 1, 0)))
    func = instance(store, engine, execution, library(same)).func("same")
    assert str(func.type) == "(i32, i64, f32, f64, v128, funcref) -> (funcref, v128, f64, f32, i64, i32)"
    assert func.call(execution, -1, 1 << 63, 0.5, -0.1, 1 << 127, None) == (None, 1 << 127, -0.1, 0.5, -(1 << 63), -1)


@pytest.mark.parametrize(
    ("letter", "value"),
    [
        *[("i", 1 << 32), ("i", -(1 << 31) - 1), ("i", 1.0), ("i", None), ("l", 1 << 64), ("f", 1e39), ("f", None)],
        *[("v", -(1 << 128)), ("r", 0)],
    ],
)
def test_a_value_must_fit_its_type(
    engine: Engine, store: Store, execution: Execution, letter: str, value: Value
) -> None:
    func = instance(store, engine, execution, library(Code("f", letter, "", b""))).func("f")
    with pytest.raises(HostFault, match="allowed: a value of type"):
        func.call(execution, value)
    with pytest.raises(HostFault, match="found 0 arguments"):
        func.call(execution)


def test_a_trap_tells_where(engine: Engine, store: Store, execution: Execution) -> None:
    raw = library(DIVIDE)
    func = instance(store, engine, execution, raw).func("div")
    with pytest.raises(WasmTrap, match="integer divide by zero") as caught:
        func.call(execution, 1, 0)
    assert caught.value.status == "TRAP_DIV_ZERO"
    assert caught.value.frames == (Frame("div", 0, raw.index(b"\x6d\x0b")),)
    assert func.call(execution, 6, 3) == (2,)


def test_a_timed_call_takes_time(engine: Engine, store: Store, execution: Execution) -> None:
    func = instance(store, engine, execution, library(DIVIDE)).func("div")
    results, times = func.time(execution, 7, 6, -3)
    assert (results, len(times), min(times) > 0) == ((-2,), 7, True)
    with pytest.raises(WasmTrap):
        func.time(execution, 7, 6, 0)


def test_every_call_has_the_limits_anew(engine: Engine, store: Store) -> None:
    raw = library(Code("loop", "", "", ENDLESS), Code("call", "", "i", CALL + b"\2"), Code("", "", "i", OK))
    with Execution(engine, fuel=2) as execution:
        it = instance(store, engine, execution, raw)
        for _ in range(3):
            assert it.func("call").call(execution) == (0,)
            with pytest.raises(WasmTrap, match="fuel exhausted"):
                it.func("loop").call(execution)
        it.func("call").time(execution, 5)


def test_an_interrupt_ends_a_call(engine: Engine, store: Store, execution: Execution) -> None:
    func = instance(store, engine, execution, library(Code("loop", "", "", ENDLESS))).func("loop")
    execution.interrupt()
    with pytest.raises(WasmTrap) as caught:
        func.call(execution)
    assert caught.value.status == "TRAP_INTERRUPTED"


def test_only_functions_are_called(engine: Engine, store: Store, execution: Execution) -> None:
    it = instance(store, engine, execution, library(DIVIDE, memory=b"\0\1"))
    for name in ("divide", "memory", ""):
        with pytest.raises(HostFault, match=f"it: function {name}: not found"):
            it.func(name)
    assert it.func("div").type == FuncType((ValueType.I32, ValueType.I32), (ValueType.I32,))


def test_every_missing_import_is_named(engine: Engine, store: Store, execution: Execution) -> None:
    raw = library(DIVIDE, imports=[("env", "a", "i", ""), EXIT, ("env", "b", "", "l")])
    with pytest.raises(
        WasmLinkError, match=r"env\.a: func \(i32\); wasi_.*proc_exit: func \(i32\); env\.b: func \(\) -> i64"
    ):
        instance(store, engine, execution, raw)
    with pytest.raises(WasmLinkError, match=r"env\.a: func \(i32\); env\.b: func \(\) -> i64"):
        instance(store, engine, execution, raw, wasi=WasiConfig())


def test_missing_functions_of_wasi_may_be_refused(engine: Engine, store: Store, execution: Execution) -> None:
    raw = library(DIVIDE, imports=[("wasi_snapshot_preview1", "fd_sync", "i", "i")])
    instance(store, engine, execution, raw, wasi=WasiConfig())
    with pytest.raises(WasmLinkError, match="fd_sync"):
        instance(store, engine, execution, raw, wasi=WasiConfig(refuses_missing=True))


def test_an_exit_has_its_code(engine: Engine, store: Store, execution: Execution) -> None:
    raw = library(Code("leave", "i", "", GET + b"\0" + CALL + b"\0"), imports=[EXIT])
    func = instance(store, engine, execution, raw, wasi=WasiConfig()).func("leave")
    with pytest.raises(WasmExit, match="exited with code -3") as caught:
        func.call(execution, -3)
    assert (caught.value.code, caught.value.depth) == (-3, 1)


def test_an_error_of_the_output_comes_out_of_the_call(engine: Engine, store: Store, execution: Execution) -> None:
    def full(fd: int, data: bytes) -> None:
        raise OSError(28, f"{fd} {data!r}")

    heard: list[tuple[int, bytes]] = []
    data = b"\0\x41\0\x0b\x08\x10\0\0\0\3\0\0\0"  # at address 0: an iovec of the 3 bytes at 16
    raw = library(SPEAK, imports=[WRITE], memory=b"\0\1") + b"\x0b" + bytes([len(data) + 1, 1]) + data
    spoken = instance(store, engine, execution, raw, wasi=WasiConfig(output=lambda *what: heard.append(what)))
    assert spoken.func("speak").call(execution) == (0,)
    assert heard == [(1, bytes(3))]
    with pytest.raises(OSError, match=r"1 b'.x00.x00.x00'"):
        instance(store, engine, execution, raw, wasi=WasiConfig(output=full)).func("speak").call(execution)
    assert spoken.func("speak").call(execution) == (0,)


def test_a_text_with_a_nul_is_refused(engine: Engine, store: Store, execution: Execution) -> None:
    for config in (WasiConfig(args=["a\0b"]), WasiConfig(env={"a": "\0"})):
        with pytest.raises(HostFault, match="contains a NUL"):
            instance(store, engine, execution, library(DIVIDE), wasi=config)


def test_a_closed_store_answers_nothing(engine: Engine, execution: Execution) -> None:
    with Store(engine) as made:
        it = instance(made, engine, execution, library(DIVIDE))
        func = it.func("div")
    for use in (lambda: it.func("div"), lambda: func.call(execution, 1, 1), lambda: func.time(execution, 1, 1, 1)):
        with pytest.raises(ClosedError, match="store is closed"):
            use()


def test_a_closed_execution_runs_nothing(engine: Engine, store: Store) -> None:
    with Execution(engine) as made:
        func = instance(store, engine, made, library(DIVIDE)).func("div")
    with pytest.raises(ClosedError, match="execution is closed"):
        func.call(made, 1, 1)


# ---- ports and events ----


def test_a_port_reports_that_its_peer_has_gone(engine: Engine) -> None:
    with Loop(engine) as loop:
        port = loop.add_port("plc", datagram=False)
        with Module(engine, "it", module()) as code:
            loop.add_stage(stage(code, ports=[port]))
        loop.start()
        ours, theirs = os.pipe()
        port.set_fd(ours)
        os.close(theirs)
        levels = []
        while 0 not in levels:
            assert select.select([loop.events_fd()], [], [], 10)[0]
            levels += [event.level for event in loop.events() if event.kind == EventKind.PORT]
        assert levels == [1, 0]
        assert (port.stats().up, port.stats().downs) == (False, 1)
