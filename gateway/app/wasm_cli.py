"""``penstock wasm``: run, validate and inspect WebAssembly modules, without a site.

Options of ``run`` are long ones only, so whatever follows ``--invoke NAME`` up to the next word that starts with ``--``
is an argument of the function, negative numbers included. What follows a ``--`` of its own is for the program.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.app import wasm_inspect, wasm_run
from gateway.errors import PenstockError, UsageError, WasmError, WasmExit, WasmTrap
from gateway.wasm import Bounds, Engine, Module

Command = Callable[[argparse.Namespace], int]

OK, FAILED, MISUSED, INTERRUPTED, TRAPPED = 0, 1, 2, 130, 134
EXIT_CODES = 256
RUN_EPILOG = f"""\
exit status: {OK} all right; the program's own code when it exits; {FAILED} the module is refused;
{MISUSED} wrong usage; {TRAPPED} trap; {INTERRUPTED} interrupted by Ctrl-C

arguments: i32, i64 decimal or 0x…; f32, f64 decimal, 0x1.8p1, inf, nan; v128 0x…; references null
"""
BOUNDS = {"guard": Bounds.GUARD, "checked": Bounds.CHECKED}


def main(arguments: Sequence[str]) -> int:
    """Run one command, the words after ``penstock wasm``; returns the exit status."""
    options = _parse(list(arguments))
    command: Command = options.command
    try:
        status = command(options)
        sys.stdout.flush()
    except UsageError as error:
        print(f"penstock: {error}", file=sys.stderr)
        return MISUSED
    except WasmExit as ended:
        return ended.code % EXIT_CODES
    except WasmTrap as trap:
        print(wasm_run.describe_trap(trap), file=sys.stderr)
        return INTERRUPTED if trap.status == "TRAP_INTERRUPTED" else TRAPPED
    except PenstockError as error:
        print(f"penstock: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:  # not in a call: there it is a trap
        return INTERRUPTED
    except BrokenPipeError:  # who read our output has gone: the rest has no reader
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        print(f"penstock: standard output: {error.strerror}", file=sys.stderr)
        return FAILED
    return status


def _parse(words: list[str]) -> argparse.Namespace:
    parser = _parser()
    if words[:1] != ["run"]:
        return parser.parse_args(words)
    at = words.index("--") if "--" in words else len(words)
    own, program = words[:at], words[at + 1 :]
    begin = own.index("--invoke") if "--invoke" in own else len(own)
    end = next((n for n in range(begin + 1, len(own)) if own[n].startswith("--")), len(own))
    options = parser.parse_args(own[:begin] + own[end:])
    if options.invoke is not None or end == begin + 1:
        parser.error("--invoke: allowed: once, as --invoke NAME ARGS…")
    options.invoke, options.program = own[begin + 1 : end], program
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="penstock wasm", description="The engine on its own.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _run_command(commands.add_parser(
        "run", help="call a function, or run a WASI command", epilog=RUN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="penstock wasm run FILE [--invoke NAME ARGS…] [options] [-- program args]", allow_abbrev=False,
    ))  # fmt: skip
    validate = commands.add_parser("validate", help="tell whether files are valid modules")
    validate.add_argument("files", nargs="+", type=Path, metavar="FILE")
    validate.set_defaults(command=_validate)
    inspect = commands.add_parser("inspect", help="show what is in a module")
    inspect.add_argument("file", type=Path, metavar="FILE")
    inspect.add_argument("--top", type=_count, default=10, metavar="N", help="largest functions (default: %(default)s)")
    inspect.set_defaults(command=_inspect)
    for one in (validate, inspect):
        one.add_argument("--json", action="store_true", help="as JSON on standard output")
    return parser


def _run_command(run: argparse.ArgumentParser) -> None:
    run.add_argument("file", type=Path, metavar="FILE")
    run.add_argument("--invoke", metavar="NAME ARGS…", help="call this exported function; else _start, if there is one")
    run.add_argument("--fuel", type=_count, default=0, metavar="N", help="trap after N calls and loop rounds")
    run.add_argument("--deadline", type=_count, default=0, metavar="MS", help="trap after this many milliseconds")
    run.add_argument("--memory-max", type=_count, default=0, metavar="BYTES", help="most a memory may grow to")
    run.add_argument("--stack-max", type=_count, default=0, metavar="BYTES", help="stack for calls (default: 256 KiB)")
    run.add_argument("--wasi", action="store_true", help="offer WASI preview 1: clocks, random, output; no files")
    run.add_argument("--bounds", choices=BOUNDS, help="how memory accesses are checked (default: what suits)")
    run.add_argument("--time", type=_count, default=0, metavar="N", help="call N times; JSON with the median, in ns")
    run.add_argument("--aot", nargs="?", const="", metavar="FILE.so", help="run compiled code (default: compile first)")
    run.add_argument("--env", type=_variable, action="append", default=[], metavar="K=V", help="a variable; repeatable")
    run.add_argument("--seed", type=int, metavar="N", help="WASI random numbers that repeat")
    run.set_defaults(command=_run)


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 1 << 32:
        raise argparse.ArgumentTypeError(f"found {text}, allowed: a whole number from 1 to 4294967295")
    return int(text)


def _variable(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not name or not found:
        raise argparse.ArgumentTypeError(f"found {text}, allowed: NAME=value")
    return name, value


def _run(options: argparse.Namespace) -> int:
    wasm_run.run(
        wasm_run.Request(
            file=options.file,
            invoke=tuple(options.invoke),
            program=tuple(options.program),
            env=dict(options.env),
            wasi=options.wasi,
            seed=options.seed,
            bounds=BOUNDS.get(options.bounds, Bounds.AUTO),
            deadline_us=options.deadline * 1000,
            fuel=options.fuel,
            memory_bytes=options.memory_max,
            stack_bytes=options.stack_max,
            rounds=options.time,
            aot=options.aot,
        )
    )
    return OK


def _validate(options: argparse.Namespace) -> int:
    failed = False
    with Engine() as engine:
        for file in options.files:
            status, message = _judge(engine, file)
            failed |= status != "OK"
            if options.json:
                print(json.dumps({"file": str(file), "valid": status == "OK", "status": status, "message": message}))
            else:
                print(f"{file}: {message}")
    return FAILED if failed else OK


def _judge(engine: Engine, file: Path) -> tuple[str, str]:
    """Status and what to say about a file."""
    try:
        Module(engine, str(file), wasm_run.read_file(file)).close()
    except WasmError as error:
        return error.status, error.message.removeprefix(f"{file}: ")
    except UsageError as error:
        return "UNREADABLE", str(error).removeprefix(f"{file}: ")
    return "OK", "valid"


def _inspect(options: argparse.Namespace) -> int:
    raw = wasm_run.read_module(options.file)
    with Engine() as engine, Module(engine, str(options.file), raw) as module:
        report = wasm_inspect.inspect(module, raw)
    print(wasm_inspect.as_json(report) if options.json else wasm_inspect.as_text(report, options.top))
    return OK
