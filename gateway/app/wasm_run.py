"""``penstock wasm run``: one call into a module, with limits, and what came of it."""

from __future__ import annotations

import json
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from gateway.app.aot_build import compile_module, find_compiler
from gateway.app.wasm_text import format_value, parse_value
from gateway.config.reader import nearest
from gateway.errors import HostFault, UsageError, WasmError, WasmLinkError, WasmTrap
from gateway.signature import Export, ExternKind, ExternType, FuncType, Value
from gateway.wasm import TARGET, WASI_MODULE, Bounds, Engine, Execution, Func, Instance, Module, Store, WasiConfig

MAGIC = b"\0asm"
START, INITIALIZE = "_start", "_initialize"  # what WASI calls: in programs, and first of all in libraries
NO_ARGUMENTS = ExternType(ExternKind.FUNC)


@dataclass(frozen=True, slots=True)
class Request:
    """What to run and how. Limits 0: none; ``rounds`` 0: call once and print the results, else time that many calls.
    ``aot``: the compiled code to run, empty: made for this run, None: interpret."""

    file: Path
    invoke: tuple[str, ...] = ()
    program: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    wasi: bool = False
    seed: int | None = None
    bounds: Bounds = Bounds.AUTO
    deadline_us: int = 0
    fuel: int = 0
    memory_bytes: int = 0
    stack_bytes: int = 0
    rounds: int = 0
    aot: str | None = None


def read_file(file: Path) -> bytes:
    """The bytes of a file. Raises UsageError."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error


def read_module(file: Path) -> bytes:
    """The bytes of a file that looks like a module. Raises UsageError."""
    raw = read_file(file)
    if not raw.startswith(MAGIC):
        hint = "; compile WebAssembly text first, with wat2wasm for example" if raw.lstrip().startswith(b"(") else ""
        raise UsageError(f"{file}: no WebAssembly module: found {raw[:4]!r}, allowed: {MAGIC!r} and so on{hint}")
    return raw


def run(request: Request) -> None:
    """Load, link, call, print. Raises UsageError, WasmError, WasmLinkError, WasmTrap, WasmExit."""
    if not request.wasi and (request.env or request.program or request.seed is not None):
        raise UsageError("--env, --seed and program arguments are for WASI: allowed with --wasi")
    raw = read_module(request.file)
    with Engine(bounds=request.bounds) as engine, Module(engine, str(request.file), raw) as module:
        target = _target(request, module)
        if target is None:
            print("\n".join(["exports:", *(f"  {one}" for one in module.exports())]))
            return
        arguments = _arguments(target, request.invoke[1:])
        if request.aot is not None:
            _attach(request, module, raw)
        with Store(engine) as store, _execution(request, engine) as execution:

            def work() -> None:
                instance = _instantiate(request, store, module, execution)
                _call(request, instance.func(target.name), execution, arguments)

            _interruptible(execution, work)


def describe_trap(trap: WasmTrap) -> str:
    """The trap and its back-trace, innermost call first."""
    lines = [f"trap: {trap.message}"]
    for number, frame in enumerate(trap.frames):
        what = f"{frame.name} (function {frame.function})" if frame.name else f"function {frame.function}"
        lines.append(f"{number:3}: {what} @{frame.offset:#x}")
    if trap.depth > len(trap.frames):
        lines.append("     and more" if trap.is_hurried else f"     and {trap.depth - len(trap.frames)} more")
    return "\n".join(lines)


# ---- what to call with what ----


def _target(request: Request, module: Module) -> Export | None:
    exports = {one.name: one for one in module.exports()}
    functions = {name: one for name, one in exports.items() if one.type.kind == ExternKind.FUNC}
    if not request.invoke:
        if request.rounds:
            raise UsageError("--time needs --invoke: a program runs once")
        return functions.get(START)
    name = request.invoke[0]
    if name in functions:
        return functions[name]
    if name in exports:
        raise UsageError(f"{request.file}: {name!r} is no function: {exports[name].type}")
    raise UsageError(f"{request.file}: no function is exported as {name!r}; {nearest(name, functions)}")


def _arguments(target: Export, texts: Sequence[str]) -> list[Value]:
    signature = target.type.func
    if len(texts) != len(signature.params):
        raise UsageError(f"{target.name} {signature}: found {len(texts)} arguments, allowed: {len(signature.params)}")
    values = []
    for number, (text, kind) in enumerate(zip(texts, signature.params, strict=True), 1):
        try:
            values.append(parse_value(text, kind))
        except UsageError as error:
            raise UsageError(f"{target.name} {signature}: argument {number}: {error}") from None
    return values


def _attach(request: Request, module: Module, raw: bytes) -> None:
    """What cannot run compiled is interpreted; standard error says why."""
    try:
        if request.aot:
            module.attach(Path(request.aot), raw)
            return
        with tempfile.TemporaryDirectory(prefix="penstock-aot-") as folder:
            artefact = Path(folder) / "module.so"
            checked = True if request.bounds is Bounds.CHECKED else None
            compile_module(find_compiler(TARGET), str(request.file), raw, artefact, checked=checked)
            module.attach(artefact, raw)
    except (WasmError, HostFault) as fault:
        print(f"penstock: interpreted: {fault}", file=sys.stderr)


def _execution(request: Request, engine: Engine) -> Execution:
    return Execution(engine, stack_bytes=request.stack_bytes, deadline_us=request.deadline_us, fuel=request.fuel)


def _instantiate(request: Request, store: Store, module: Module, execution: Execution) -> Instance:
    arguments = [request.file.name, *request.program]
    wasi = WasiConfig(arguments, request.env, _pass_on, request.seed) if request.wasi else None
    wanted = [one for one in module.imports() if one.module == WASI_MODULE]
    if wanted and not request.wasi:
        more = f" and {len(wanted) - 1} more" if len(wanted) > 1 else ""
        raise WasmLinkError("UNKNOWN_IMPORT", f"{module.name}: unknown import: {wanted[0]}{more}; --wasi offers them")
    instance = store.instantiate(module, execution, wasi=wasi, memory_bytes=request.memory_bytes)
    if request.wasi and any(one.name == INITIALIZE and one.type == NO_ARGUMENTS for one in module.exports()):
        instance.func(INITIALIZE).call(execution)
    return instance


# ---- calling ----


def _call(request: Request, func: Func, execution: Execution, arguments: Sequence[Value]) -> None:
    if not request.rounds:
        for text in _texts(func.type, func.call(execution, *arguments)):
            print(text)
        return
    results, times = func.time(execution, request.rounds, *arguments)
    report = {"function": func.name, "results": _texts(func.type, results), "calls": len(times)}
    print(json.dumps({**report, "median_ns": round(statistics.median(times)), "min_ns": min(times)}))


def _texts(signature: FuncType, results: Sequence[Value]) -> list[str]:
    return [format_value(value, kind) for value, kind in zip(results, signature.results, strict=True)]


def _pass_on(fd: int, data: bytes) -> None:
    """What a program writes goes where our own output goes, at once."""
    stream = sys.stdout if fd == 1 else sys.stderr
    stream.flush()
    stream.buffer.write(data)
    stream.buffer.flush()


def _interruptible(execution: Execution, work: Callable[[], None]) -> None:
    """Do it in a thread of its own: this one stays free to make Ctrl-C a trap of the running call."""
    before = signal.signal(signal.SIGINT, lambda *_: execution.interrupt())
    try:
        with ThreadPoolExecutor(1, "wasm") as pool:
            pool.submit(work).result()
    finally:
        signal.signal(signal.SIGINT, before)
