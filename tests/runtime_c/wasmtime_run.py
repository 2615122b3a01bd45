"""Runs whole modules in wasmtime and tells what can be seen of it, in the lines of ``runtime_c/tools/module_run.c``.

The unchecked C interface is used, because the typed one of the Python package knows no vectors.
"""

from __future__ import annotations

import ctypes
import struct
import zlib
from typing import Any

import wasmtime
from wasmtime import _ffi as ffi
from wasmtime import _func

from tests.runtime_c.wasm_shape import Shape, Signature, read_shape

RESET = b"hangLimitInitializer"  # see module_run.c
MEMORY_MAX = 64 << 20
TABLE_MAX = 10_000_000
_SLOT = ctypes.sizeof(ffi.wasmtime_val_raw_t)
_MASK = (1 << 64) - 1
_LANES = 0x3F3F3F3F3F3F3F3F  # no NaN in any lane
_VALUE_TYPES = {
    "i32": wasmtime.ValType.i32,
    "i64": wasmtime.ValType.i64,
    "f32": wasmtime.ValType.f32,
    "f64": wasmtime.ValType.f64,
    "funcref": wasmtime.ValType.funcref,
    "externref": wasmtime.ValType.externref,
}
TRAPS = {
    "STACK_OVERFLOW": "TRAP_STACK",
    "MEMORY_OUT_OF_BOUNDS": "TRAP_MEMORY_BOUNDS",
    "HEAP_MISALIGNED": "TRAP_UNALIGNED",
    "TABLE_OUT_OF_BOUNDS": "TRAP_TABLE_BOUNDS",
    "INDIRECT_CALL_TO_NULL": "TRAP_UNINITIALIZED_ELEMENT",
    "BAD_SIGNATURE": "TRAP_CALL_TYPE",
    "INTEGER_OVERFLOW": "TRAP_INT_OVERFLOW",
    "INTEGER_DIVISION_BY_ZERO": "TRAP_DIV_ZERO",
    "BAD_CONVERSION_TO_INTEGER": "TRAP_INT_CONVERSION",
    "UNREACHABLE": "TRAP_UNREACHABLE",
    "OUT_OF_FUEL": "TRAP_FUEL",
    "ATOMIC_WAIT_NON_SHARED_MEMORY": "TRAP_NOT_SHARED",
}


def make_engine() -> wasmtime.Engine:
    """An engine with the features that the generator uses; compiling is most of the work, so it does not optimise."""
    config = wasmtime.Config()
    config.cranelift_opt_level = "none"
    config.parallel_compilation = False
    config.wasm_threads = True
    config.shared_memory = True
    config.wasm_tail_call = True
    config.consume_fuel = True
    config.cranelift_nan_canonicalization = True
    return wasmtime.Engine(config)


def argument(kind: str, export: int, place: int) -> bytes:
    """The 16 bytes of an argument, as ``put_argument`` of module_run.c makes them."""
    mixed = (export * 31 + place + 1) * 0x9E3779B97F4A7C15 & _MASK
    small = struct.unpack("b", struct.pack("B", mixed >> 56))[0]
    made = {
        "i32": lambda: struct.pack("<I", small & 0xFFFFFFFF if mixed & 1 else mixed >> 32),
        "i64": lambda: struct.pack("<Q", small & _MASK if mixed & 1 else mixed),
        "f32": lambda: struct.pack("<f", small / 4),
        "f64": lambda: struct.pack("<d", small / 4),
        "v128": lambda: struct.pack("<QQ", mixed & _LANES, mixed >> 8 & _LANES),
    }
    return (made[kind]() if kind in made else b"").ljust(_SLOT, b"\0")


def text_of(kind: str, raw: bytes) -> str:
    """A value as module_run.c prints it."""
    if kind == "v128":
        return f"v128:{int.from_bytes(raw[:16], 'little'):032x}"
    if kind in ("i32", "f32"):
        return f"{kind}:{int.from_bytes(raw[:4], 'little'):08x}"
    if kind in ("i64", "f64"):
        return f"{kind}:{int.from_bytes(raw[:8], 'little'):016x}"
    width = 8 if kind == "funcref" else 4
    return "ref:ref" if any(raw[:width]) else "ref:null"


def texts_of(kinds: list[str], raw: bytes) -> str:
    """Values of slots, each with a space in front."""
    return "".join(f" {text_of(kind, raw[n * _SLOT : (n + 1) * _SLOT])}" for n, kind in enumerate(kinds))


def trap_name(trap: wasmtime.Trap) -> str:
    """The status of the same kind."""
    code = trap.trap_code
    return TRAPS.get(code.name, code.name) if code is not None else f"no code: {trap.message}"


class Run:
    """One module in a store of its own; ``lines`` is what was seen."""

    def __init__(self, engine: wasmtime.Engine, wasm: bytes, fuel: int) -> None:
        self.lines: list[str] = []
        self._fuel = fuel
        self._callbacks: list[Any] = []  # what C calls has to be kept
        try:
            self._module = wasmtime.Module(engine, wasm)
        except wasmtime.WasmtimeError as error:
            self.lines.append(f"refused {error}")
            return
        self._shape = read_shape(wasm)
        self._store = wasmtime.Store(engine)
        self._store.set_limits(memory_size=MEMORY_MAX, table_elements=TABLE_MAX)
        self._run(self._link(engine, self._shape))

    def _link(self, engine: wasmtime.Engine, shape: Shape) -> wasmtime.Linker:
        linker = wasmtime.Linker(engine)
        linker.allow_shadowing = True
        for module, name, (params, results) in shape.imports:
            if "v128" not in params + results:  # the C interface cannot say v128
                linker.define(self._store, module.decode(), name.decode(), self._host_func(params, results))
        linker.define_unknown_imports_as_default_values(self._store, self._module)
        return linker

    def _run(self, linker: wasmtime.Linker) -> None:
        self._store.set_fuel(self._fuel)
        try:
            instance = linker.instantiate(self._store, self._module)
        except wasmtime.Trap as trap:
            self.lines.append(f"starts {trap_name(trap)}")
            return
        except wasmtime.WasmtimeError as error:
            self.lines.append(f"starts {error}")
            return
        self.lines.append("starts OK")
        items = [self._export(instance, index) for index in range(len(self._shape.exports))]
        resets = [item.of.func for (name, _, _), item in zip(self._shape.exports, items, strict=True) if name == RESET]
        for index, (name, _, signature) in enumerate(self._shape.exports):
            if signature is not None:
                for reset in resets:
                    wasmtime.Func._from_raw(reset)(self._store)
                self._call(name.hex() or "-", index, items[index].of.func, signature)
        for (name, _, _), item in zip(self._shape.exports, items, strict=True):
            self._show(name.hex() or "-", item)

    def _host_func(self, params: list[str], results: list[str]) -> wasmtime.Func:
        def log(_env: Any, _caller: Any, raw: Any, _count: int) -> int:
            self.lines.append(f"log{texts_of(params, ctypes.string_at(raw, len(params) * _SLOT))}")
            ctypes.memset(raw, 0, len(results) * _SLOT)
            return 0

        callback = ffi.wasmtime_func_unchecked_callback_t(log)
        self._callbacks.append(callback)
        made = ffi.wasmtime_func_t()
        kind = wasmtime.FuncType([_VALUE_TYPES[one]() for one in params], [_VALUE_TYPES[one]() for one in results])
        finalizer = ctypes.cast(0, ctypes.CFUNCTYPE(None, ctypes.c_void_p))
        ffi.wasmtime_func_new_unchecked(
            self._store._context(), kind.ptr(), callback, None, finalizer, ctypes.byref(made)
        )
        return wasmtime.Func._from_raw(made)

    def _export(self, instance: wasmtime.Instance, index: int) -> Any:
        name, length, item = ctypes.POINTER(ctypes.c_char)(), ctypes.c_size_t(), ffi.wasmtime_extern_t()
        ffi.wasmtime_instance_export_nth(
            self._store._context(),
            ctypes.byref(instance._instance),
            index,
            ctypes.byref(name),
            ctypes.byref(length),
            ctypes.byref(item),
        )
        return item

    def _call(self, name: str, index: int, func: Any, signature: Signature) -> None:
        params, results = signature
        count = max(len(params), len(results), 1)
        raw = (ffi.wasmtime_val_raw_t * count)()
        given = b"".join(argument(one, index, place) for place, one in enumerate(params))
        ctypes.memmove(raw, given, len(given))
        self._store.set_fuel(self._fuel)
        try:
            with _func.enter_wasm(self._store) as trap:
                error = ffi.wasmtime_func_call_unchecked(self._store._context(), ctypes.byref(func), raw, count, trap)
                if error:
                    raise wasmtime.WasmtimeError._from_ptr(error)
        except wasmtime.Trap as caught:
            self.lines.append(f"call {name} trap {trap_name(caught)}")
            return
        self.lines.append(f"call {name}{texts_of(results, bytes(raw))}")

    def _show(self, name: str, item: Any) -> None:
        context = self._store._context()
        if item.kind == ffi.WASMTIME_EXTERN_MEMORY.value:
            memory = ctypes.byref(item.of.memory)
            size = ffi.wasmtime_memory_data_size(context, memory)
            self._show_memory(name, ffi.wasmtime_memory_data(context, memory), size)
        elif item.kind == ffi.WASMTIME_EXTERN_SHAREDMEMORY.value:
            shared = item.of.sharedmemory
            self._show_memory(name, ffi.wasmtime_sharedmemory_data(shared), ffi.wasmtime_sharedmemory_data_size(shared))
        elif item.kind == ffi.WASMTIME_EXTERN_GLOBAL.value:
            value = ffi.wasmtime_val_t()
            ffi.wasmtime_global_get(context, ctypes.byref(item.of.global_), ctypes.byref(value))
            self.lines.append(f"global {name}{_global_text(value)}")
        elif item.kind == ffi.WASMTIME_EXTERN_TABLE.value:
            self.lines.append(f"table {name} {ffi.wasmtime_table_size(context, ctypes.byref(item.of.table))}")

    def _show_memory(self, name: str, data: Any, size: int) -> None:
        digest = zlib.crc32(ctypes.string_at(data, size)) if size else 0
        self.lines.append(f"memory {name} {size >> 16} {digest:08x}")


def _global_text(value: Any) -> str:
    for kind in ("i32", "i64", "f32", "f64", "v128"):
        if value.kind == getattr(ffi, f"WASMTIME_{kind.upper()}").value:
            return f" {text_of(kind, bytes(value.of))}"
    if value.kind == ffi.WASMTIME_FUNCREF.value:
        return " ref:ref" if value.of.funcref.store_id else " ref:null"
    return " ref:ref" if value.of.externref.store_id else " ref:null"
