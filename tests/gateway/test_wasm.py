"""The wrapper of the C runtime: lifetimes, errors, rings. Misuse raises, it never crashes."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

import pytest

from gateway.errors import ClosedError, HostFault, RuntimeFault, WasmError, WasmLinkError
from gateway.record import Payload, Schema, decode, encode_payload, split
from gateway.wasm import Engine, EventKind, Loop, Module, Policy, Ring, StageConfig, StageState
from tests.gateway.modules import ENDLESS, OK, REFUSE, TRAP, module


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
