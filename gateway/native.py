"""What every start needs of the C runtime: functions that make its objects, and errors for what it refuses.

The only module that imports the cffi extension. ``gateway.wasm`` gives the pointers owners; a start uses them as they
are (``gateway.assembly``) before anything heavier is imported, so without typing, enum, dataclasses and pathlib.
"""

from __future__ import annotations

import os

from gateway._runtime import ffi as ffi
from gateway._runtime import lib as lib
from gateway.errors import HostFault, RuntimeFault, WasmError, WasmLinkError, WasmTrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NotRequired, TypedDict

    class StageNumbers(TypedDict):
        """What a stage may do and have, as ``gateway.wasm.StageConfig`` explains it."""

        hal_grants: int
        memory_bytes: int
        deadline_us: int
        kv_bytes: int
        state_bytes: int
        in_schema: int
        out_schema: int
        in_commands: int
        out_commands: int
        bus: int
        writes: list[tuple[bool, int, int, int, int]]
        fuel: NotRequired[int]


OK = lib.WR_OK
TARGET = os.uname().machine.replace("armv7l", "armv7").replace("armv8l", "armv7")  # in the names of artefacts
_FAULTS: dict[int, type[RuntimeFault]] = {
    lib.WR_CLASS_MALFORMED: WasmError,
    lib.WR_CLASS_INVALID: WasmError,
    lib.WR_CLASS_LIMIT: WasmError,
    lib.WR_CLASS_UNLINKABLE: WasmLinkError,
    lib.WR_CLASS_TRAP: WasmTrap,
    lib.WR_CLASS_HOST: HostFault,
}


def as_text(raw: bytes) -> str:
    """Text of the runtime, or of a plugin."""
    return raw.decode("utf-8", "replace")


def status_name(status: int) -> str:
    """The name of a wr_status without prefix, such as ``TRAP_DIV_ZERO``."""
    return as_text(ffi.string(lib.wr_status_name(status)))


def check(status: int, error: Any = None, what: str = "") -> None:
    """Raise what ``status`` stands for; ``what`` names the object where the runtime's message does not."""
    if status == OK:
        return
    message = as_text(ffi.string(error.message)) if error is not None else ""
    message = message or as_text(ffi.string(lib.wr_status_text(status)))
    fault = _FAULTS[lib.wr_status_class_of(status)]
    raise fault(status_name(status), f"{what}: {message}" if what else message)


def new_engine(bounds: int = lib.WR_BOUNDS_AUTO) -> Any:
    """A wr_engine; ``bounds``: WR_BOUNDS_*."""
    out = ffi.new("wr_engine **")
    check(lib.wr_engine_new(ffi.new("wr_engine_config *", {"bounds": bounds}), out))
    return out[0]


def new_ring(name: str, size: int, schema: int, consumers_max: int) -> Any:
    """A wr_ring."""
    out, error = ffi.new("wr_ring **"), ffi.new("wr_error *")
    label = ffi.new("char[]", name.encode())
    config = {"name": label, "bytes": size, "consumers_max": consumers_max, "schema": schema}
    check(lib.wr_ring_new(ffi.new("wr_ring_config *", config), out, error), error, f"ring {name}")
    return out[0]


def attach(ring: Any, policy: int, what: str) -> int:
    """The number of a new reading end. Raises HostFault FULL when all are taken."""
    index = ffi.new("uint32_t *")
    check(lib.wr_ring_attach(ring, policy, index), what=what)
    return int(index[0])


def new_loop(engine: Any) -> Any:
    """A wr_loop, which does not run yet."""
    out, error = ffi.new("wr_loop **"), ffi.new("wr_error *")
    check(lib.wr_loop_new(engine, ffi.NULL, out, error), error, "loop")
    return out[0]


def add_port(loop: Any, name: str, *, datagram: bool) -> int:
    """The number of a new port."""
    label, index = ffi.new("char[]", name.encode()), ffi.new("uint32_t *")
    config = ffi.new("wr_port_config *", {"name": label, "datagram": datagram})
    check(lib.wr_loop_add_port(loop, config, index), what=f"port {name}")
    return int(index[0])


def set_port_fd(loop: Any, port: int, fd: int, name: str) -> None:
    """The loop owns ``fd`` from now on; -1 closes the present one."""
    check(lib.wr_loop_set_port_fd(loop, port, fd), what=f"port {name}")


def new_module(engine: Any, name: str, wasm: bytes) -> Any:
    """A wr_module. Raises WasmError."""
    out, error = ffi.new("wr_module **"), ffi.new("wr_error *")
    check(lib.wr_module_load(engine, wasm, len(wasm), out, error), error, name)
    return out[0]


def code_of(file: str) -> str:
    """Compiled code for the module in ``file``: NAME.TARGET.so beside it or in $PENSTOCK_COMPILED; "" if there is none.

    Of system images it is in the latter: the store's files are named by their contents.
    """
    artefact = f"{os.path.splitext(file)[0]}.{TARGET}.so"
    places = [artefact]
    if folder := os.environ.get("PENSTOCK_COMPILED"):
        places.append(os.path.join(folder, os.path.basename(artefact)))
    return next(filter(os.path.isfile, places), "")


def attach_code(module: Any, artefact: str, wasm: bytes) -> None:
    """Instances made from now on run compiled code. Raises HostFault: it does not fit, and the module is as before."""
    error = ffi.new("wr_error *")
    check(lib.wr_aot_attach(module, wasm, len(wasm), os.fsencode(artefact), error), error)


def stage_config(name: str, module: Any, config: bytes, numbers: StageNumbers) -> tuple[Any, list[Any]]:
    """The C struct but for ports and rings, and what keeps its strings alive."""
    keep = [ffi.new("char[]", name.encode()), ffi.new("uint8_t[]", config or b"\0")]
    raw = ffi.new("wr_stage_config *")
    raw.name, raw.config, raw.config_bytes, raw.module = keep[0], keep[1], len(config), module
    raw.hal_grants, raw.deadline_us, raw.fuel = numbers["hal_grants"], numbers["deadline_us"], numbers.get("fuel", 0)
    raw.memory_bytes_max, raw.kv_bytes_max = numbers["memory_bytes"], numbers["kv_bytes"]
    raw.state_bytes_max = numbers["state_bytes"]
    raw.in_schema, raw.out_schema = numbers["in_schema"], numbers["out_schema"]
    raw.in_commands, raw.out_commands = numbers["in_commands"], numbers["out_commands"]
    keep.append(ffi.new("wr_write_rule[]", numbers["writes"]))
    raw.bus, raw.writes, raw.write_count = numbers["bus"], keep[-1], len(numbers["writes"])
    return raw, keep


def add_stage(loop: Any, raw: Any, ports: list[int], inputs: list[tuple[Any, int]], outputs: list[Any]) -> int:
    """Instantiate, link and initialise a stage; returns its number. ``raw``: of ``stage_config``; ``inputs``: rings and
    the numbers of their reading ends. Raises RuntimeFault, whose message names the stage."""
    raw.port_count, raw.in_count, raw.out_count = len(ports), len(inputs), len(outputs)
    raw.ports[0 : len(ports)] = ports
    raw.in_rings[0 : len(inputs)] = [ring for ring, _ in inputs]
    raw.in_consumers[0 : len(inputs)] = [end for _, end in inputs]
    raw.out_rings[0 : len(outputs)] = outputs
    index, error = ffi.new("uint32_t *"), ffi.new("wr_error *")
    check(lib.wr_loop_add_stage(loop, raw, index, error), error)
    return int(index[0])


def start(loop: Any) -> None:
    """Let the data plane's thread run."""
    check(lib.wr_loop_start(loop), what="loop")
