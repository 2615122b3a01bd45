"""The command line: ``penstock run``, ``check``, ``graph``, ``top``, ``plugin``, ``wasm``, ``aot`` and ``demo``.

Exit status: 0 all right, 1 failed while running, 2 wrong configuration or usage. Results go to standard output,
logs and errors to standard error. Each command imports what it needs when it runs: a gateway has little memory.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from gateway import __version__
from gateway.app import image_cli, plugin_cli
from gateway.app.prepared import Started
from gateway.errors import ConfigError, PenstockError, UsageError

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Command = Callable[[argparse.Namespace], int]

OK, FAILED, MISCONFIGURED = 0, 1, 2
KEEP = 3
KEEP_HELP = "versions to keep of each plugin: 1 to 20 that ran before, and as many others; default: %(default)s"
LOG_LEVELS = ("debug", "info", "warning", "error")
EPILOG = "Exit status: 0 all right, 1 failed while running, 2 wrong configuration or usage."


def run_command(words: Sequence[str], started: Started | None = None) -> int:
    """Run one command; returns the exit status. ``started``: what the data plane of ``run`` is doing already."""
    try:
        return _command(list(words), started)
    finally:
        if started is not None:
            started.drop()


def _command(words: list[str], started: Started | None) -> int:
    if words[:1] == ["demo"]:  # has options of its own, as the next
        from gateway.app.demo import main as demo

        return demo(words[1:])
    if words[:1] == ["wasm"]:
        from gateway.app.wasm_cli import main as wasm

        return wasm(words[1:])
    options = _parser().parse_args(words)
    options.words, options.started = words, started
    command: Command = options.command
    try:
        return command(options)
    except ConfigError as error:
        _tell_mistakes(error, as_json=getattr(options, "json", False))
        return MISCONFIGURED
    except PenstockError as error:
        site = f"{options.site}: " if hasattr(options, "site") else ""
        print(f"penstock: {site}{error}", file=sys.stderr)
        return MISCONFIGURED if isinstance(error, UsageError) else FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="penstock", description="Industrial IoT gateway.", epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"penstock {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _site_command(commands, "run", _run, "run a site until SIGTERM or Ctrl-C")
    _site_command(commands, "check", _check, "check a site file without running it")
    _graph_command(commands)
    _top_command(commands)
    plugin_cli.add_parser(commands)
    _aot_command(commands)
    image_cli.add_parsers(commands)
    commands.add_parser("wasm", help="run, validate or inspect a WebAssembly module (penstock wasm --help)")
    commands.add_parser("demo", help="run against a simulated plant (penstock demo --help)")
    return parser


def _aot_command(commands: Commands) -> None:
    text = "compile a WebAssembly module to machine code, by way of C"
    parser = commands.add_parser("aot", help=text, description=text, epilog=EPILOG)
    parser.add_argument("file", type=Path, metavar="FILE.wasm")
    parser.add_argument("-o", "--out", type=Path, metavar="OUT", help="default: FILE.TARGET.so, where a gateway looks")
    parser.add_argument("--target", metavar="NAME", help="x86_64, aarch64, armv7 or riscv64 (default: this machine)")
    parser.add_argument("--cc", default="", metavar="CMD", help="C compiler (default: gcc for the target, else zig cc)")
    parser.add_argument("--bounds", choices=("guard", "checked"), help="how accesses are checked (default: as can be)")
    parser.add_argument("--emit-c", action="store_true", help="keep the C text beside OUT")
    parser.set_defaults(command=_aot)


def _aot(options: argparse.Namespace) -> int:
    from gateway.app.aot_build import compile_file

    print(compile_file(options.file, options.out, options.target, options.cc, options.bounds, options.emit_c))
    return OK


def _site_command(commands: Commands, name: str, command: Command, text: str) -> None:
    parser = commands.add_parser(name, help=text, description=text, epilog=EPILOG)
    _site_options(parser)
    parser.add_argument("--json", action="store_true", help="results as JSON lines on standard output")
    if name == "run":
        parser.add_argument("--state", type=Path, metavar="DIR", help="what lasts: plugins; and the control socket")
        parser.add_argument("--keep", type=int, choices=range(1, 21), default=KEEP, metavar="N", help=KEEP_HELP)
        parser.add_argument("--seconds", type=_seconds, metavar="N", help="stop by itself after N seconds")
        parser.add_argument("--status-s", type=_seconds, metavar="N", help="with --json: a status line every N seconds")
        parser.add_argument("--log", choices=LOG_LEVELS, default="info", help="default: %(default)s")
    parser.set_defaults(command=command)


def _site_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", type=Path, metavar="SITE", help="site file (TOML)")
    parser.add_argument("--board", type=Path, metavar="BOARD", help="board file: which device each serial port is")
    parser.add_argument(
        "--plugins",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="look for plugins here first; repeatable",
    )


def _graph_command(commands: Commands) -> None:
    text = "show how the stages of a site are connected"
    parser = commands.add_parser("graph", help=text, description=text, epilog=EPILOG)
    _site_options(parser)
    parser.add_argument("--svg", nargs="?", const="-", metavar="FILE", help="a picture, to FILE or standard output")
    parser.set_defaults(command=_graph)


def _top_command(commands: Commands) -> None:
    text = "watch the running gateway: stages, rings, rates, lag, traps, versions"
    parser = commands.add_parser("top", help=text, description=text, epilog=EPILOG)
    parser.add_argument("--once", action="store_true", help="one picture instead of a live one")
    parser.add_argument("--period", type=_period, default=1.0, metavar="S", help="0.1 to 60; default: %(default)s")
    plugin_cli.add_control_options(parser)
    parser.set_defaults(command=_top)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"found {text}, allowed: a number greater than 0")
    return value


def _period(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 60:
        raise argparse.ArgumentTypeError(f"found {text}, allowed: 0.1 to 60 seconds")
    return value


def _tell_mistakes(error: ConfigError, *, as_json: bool) -> None:
    for one in error.each:
        if as_json:
            mistake = {"file": one.file, "line": one.line, "key": one.key, "message": one.message}
            print(json.dumps({"error": mistake}))
        else:
            print(one, file=sys.stderr)


def _run(options: argparse.Namespace) -> int:
    from gateway.app.run import RunOptions, log_to_stderr, run_site
    from gateway.app.site_check import load
    from gateway.app.state import opened

    log_to_stderr(options.log.upper())
    with opened(options.state, options.keep, options.started) as state:
        load_site = functools.partial(
            load, options.site, options.board, options.plugins, to_run=True, store=state.store
        )
        run_options = RunOptions(options.seconds, options.json, options.status_s, tuple(options.words))
        run_site(load_site, run_options, state, options.started)
    return OK


def _check(options: argparse.Namespace) -> int:
    from gateway.app.site_check import load

    plan = load(options.site, options.board, options.plugins, to_run=False).plan
    counts = {"ports": len(plan.ports), "stages": len(plan.stages), "links": len(plan.links), "tags": len(plan.tags)}
    if options.json:
        print(json.dumps({"site": plan.site, **counts}))
    else:
        print(
            f"{options.site}: {plan.site}: {', '.join(f'{count} {what}' for what, count in counts.items())}: all right"
        )
    return OK


def _graph(options: argparse.Namespace) -> int:
    from gateway.app import graph_view
    from gateway.app.site_check import load

    plan = load(options.site, options.board, options.plugins, to_run=False).plan
    picture = graph_view.text(plan) if options.svg is None else graph_view.svg(plan)
    if options.svg in (None, "-"):
        print(picture, end="")
        return OK
    try:
        Path(options.svg).write_text(picture, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{options.svg}: cannot be written: {error.strerror}") from None
    return OK


def _top(options: argparse.Namespace) -> int:
    from gateway.app.places import places
    from gateway.app.top import watch

    watch(places(options.state).socket, options.period, once=options.once, as_json=options.json)
    return OK
