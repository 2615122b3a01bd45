"""Functions made by ``Func.typed`` do what ``Func.call`` does."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable, Iterator

import pytest

from gateway.errors import ClosedError, HostFault, WasmTrap
from gateway.signature import Value
from gateway.wasm import Engine, Execution, Module, Store
from tests.gateway.modules import ENDLESS, TRAP, Code, library

SUM = b"\x20\0\x20\1"  # both parameters
LAST = b"\x20\x0f"
RAW = library(
    Code("i32", "ii", "i", SUM + b"\x6a"),
    Code("i64", "ll", "l", SUM + b"\x7c"),
    Code("f32", "ff", "f", SUM + b"\x92"),
    Code("f64", "dd", "d", SUM + b"\xa0"),
    Code("nothing", "", "", b""),
    Code("sixteen", "i" * 16, "i", LAST),
    Code("seventeen", "i" * 17, "i", LAST),
    Code("two", "", "ii", b"\x41\1\x41\2"),
    Code("vector", "v", "", b""),
    Code("trap", "i", "i", TRAP, "trap"),
    Code("endless", "", "", ENDLESS),
)
Typed = Callable[[str], Callable[..., Value]]


@pytest.fixture
def store() -> Iterator[Store]:
    with Engine() as engine, Store(engine) as made:
        yield made


@pytest.fixture
def execution(store: Store) -> Iterator[Execution]:
    (engine,) = store._needs
    assert isinstance(engine, Engine)
    with Execution(engine, deadline_us=50_000) as made:
        yield made


@pytest.fixture
def typed(store: Store, execution: Execution) -> Typed:
    (engine,) = store._needs
    assert isinstance(engine, Engine)
    with Module(engine, "it", RAW) as code:
        instance = store.instantiate(code, execution)
    return lambda name: instance.func(name).typed(execution)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("i32", (3, 4), 7),
        ("i32", (2**31 - 1, 1), -(2**31)),
        ("i32", (2**32 - 1, 0), -1),
        ("i64", (2**63 - 1, 1), -(2**63)),
        ("i64", (2**64 - 1, 0), -1),
        ("f32", (0.5, 1), 1.5),
        ("f32", (math.inf, 1.0), math.inf),
        ("f64", (0.1, 0.2), 0.1 + 0.2),
        ("nothing", (), None),
        ("sixteen", range(16), 15),
    ],
)
def test_results(typed: Typed, name: str, arguments: tuple[Value, ...], expected: Value) -> None:
    assert typed(name)(*arguments) == expected


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("i32", (2**32, 0)),
        ("i32", (-(2**31) - 1, 0)),
        ("i32", (1.5, 0)),
        ("i32", (1,)),
        ("i64", (2**64, 0)),
        ("i64", (-(2**63) - 1, 0)),
        ("f32", (1e39, 0)),
        ("f64", ("1", 0)),
        ("nothing", (1,)),
    ],
)
def test_wrong_arguments(typed: Typed, name: str, arguments: tuple[object, ...]) -> None:
    with pytest.raises(HostFault) as caught:
        typed(name)(*arguments)
    assert caught.value.status == "BAD_ARGUMENT"


def test_no_keywords(typed: Typed) -> None:
    with pytest.raises(HostFault):
        typed("i32")(1, b=2)


@pytest.mark.parametrize("name", ["seventeen", "two", "vector"])
def test_types_without_a_fast_way(typed: Typed, name: str) -> None:
    with pytest.raises(HostFault, match="up to 16 numbers") as caught:
        typed(name)
    assert caught.value.status == "UNSUPPORTED"


def test_a_trap_tells_where(typed: Typed) -> None:
    with pytest.raises(WasmTrap) as caught:
        typed("trap")(1)
    assert [frame.name for frame in caught.value.frames] == ["trap"]


def test_the_deadline_counts_in_each_call(typed: Typed) -> None:
    endless = typed("endless")
    for _ in range(2):
        with pytest.raises(WasmTrap) as caught:
            endless()
        assert caught.value.status == "TRAP_DEADLINE"


def test_it_may_outlive_what_it_calls(typed: Typed, store: Store, execution: Execution) -> None:
    add = typed("i32")
    execution.close()
    with pytest.raises(ClosedError, match="execution is closed"):
        add(1, 2)
    store.close()
    with pytest.raises(ClosedError, match="store is closed"):
        add(1, 2)


def test_it_goes_when_nobody_holds_it(typed: Typed) -> None:
    add = typed("i32")
    seen = weakref.ref(add)
    del add
    gc.collect()
    assert seen() is None
