"""``penstock plugin``: make, build and test plugin folders; list, push, swap and roll back in a running gateway."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from gateway.errors import UsageError

Steps: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Command = Callable[[argparse.Namespace], int]


class Ref(msgspec.Struct, frozen=True):
    """A version, as the control protocol tells it."""

    name: str
    version: str
    hash: str

    def __str__(self) -> str:
        return f"{self.version} ({self.hash[:8]})"


class Hello(msgspec.Struct, frozen=True):
    """The gateway that answers: what it runs on."""

    target: str


class Version(msgspec.Struct, frozen=True):
    """A version that is kept."""

    ref: Ref
    bytes: int
    state: str
    code: list[str] = []


class Plugin(msgspec.Struct, frozen=True):
    """A plugin of a running gateway."""

    name: str
    active: Ref | None
    previous: Ref | None
    stages: list[str]
    versions: list[Version]


class Entry(msgspec.Struct, frozen=True):
    """A line of a plugin's history."""

    time_ns: int
    who: str
    action: str
    source: Ref | None
    target: Ref | None
    result: str
    reason: str


class Swapped(msgspec.Struct, frozen=True):
    """What a swap or a rollback did."""

    source: Ref
    target: Ref
    stages: dict[str, Any]


def add_parser(commands: Steps) -> None:
    """Add ``plugin`` and its steps to the command line."""
    plugin = commands.add_parser("plugin", help="make, build, test, push, swap plugins")
    steps = plugin.add_subparsers(required=True, metavar="STEP")
    _folder_steps(steps)
    for name, command, operands, text in (
        ("list", _list, (), "plugins of the running gateway"),
        ("show", _show, ("NAME",), "one of them, with all its versions"),
        ("push", _push, ("FILE",), "send a plugin file to the gateway, which keeps it and does not run it yet"),
        ("compile", _compile, ("NAME", "VERSION"), "compile a version that the gateway has, by the C compiler here"),
        ("swap", _swap, ("NAME", "VERSION"), "let another version run, while data flows"),
        ("rollback", _rollback, ("NAME",), "let the version before run again"),
        ("history", _history, ("NAME",), "what was done with it"),
    ):
        step = steps.add_parser(name, help=text, description=text)
        for operand in operands:
            step.add_argument(operand.lower(), metavar=operand, type=Path if operand == "FILE" else str)
        if name == "swap":
            _swap_options(step)
        if name == "rollback":
            step.add_argument("--from", dest="source", metavar="VERSION", help="only if this one runs")
        add_control_options(step)
        step.set_defaults(command=command)


def _swap_options(step: argparse.ArgumentParser) -> None:
    step.add_argument("--shadow", type=int, default=0, metavar="N", help="first compare N records of both versions")
    step.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="FIELD",
        help="with --shadow: these may differ in it (such as value or quality); repeatable",
    )
    step.add_argument("--without-state", action="store_true", help="the new version begins anew")


def add_control_options(parser: argparse.ArgumentParser) -> None:
    """How a command finds the running gateway, and how it answers."""
    parser.add_argument("--state", type=Path, metavar="DIR", help="state folder of the gateway, as given to run")
    parser.add_argument("--json", action="store_true", help="the gateway's answer as JSON")


def _folder_steps(steps: Steps) -> None:
    for name, command, text in (
        ("build", _build, "compile it to WebAssembly"),
        ("header", _header, "print the C structs of its configuration"),
        ("test", _test, "build it and run its vectors, also byte by byte"),
    ):
        step = steps.add_parser(name, help=text, description=text)
        step.add_argument("folder", type=Path, metavar="FOLDER", help="folder with plugin.toml")
        step.add_argument("--out", type=Path, default=Path("build/plugins"), metavar="DIR", help="default: %(default)s")
        if name == "build":
            step.add_argument("--embed", action="store_true", help="put plugin.toml into the module, to push it")
            step.add_argument("--as", dest="version", default="", metavar="VERSION", help="and this version into that")
        step.set_defaults(command=command)
    from gateway.app.plugin_new import languages

    step = steps.add_parser("new", help="make a folder that builds, tests and runs")
    step.add_argument("name", metavar="NAME")
    step.add_argument("--lang", choices=languages(), default="c", help="default: %(default)s")
    step.add_argument("--in", dest="folder", type=Path, default=Path(), metavar="DIR", help="default: here")
    step.set_defaults(command=_new)


# ---- folders ----


def _build(options: argparse.Namespace) -> int:
    from gateway.app.plugin_build import build

    if options.version and not options.embed:
        raise UsageError("--as VERSION needs --embed: it is the version that the module carries")
    module = build(options.folder, options.out, embed=options.embed, version=options.version)
    print(f"{module}: {module.stat().st_size} bytes")
    return 0


def _header(options: argparse.Namespace) -> int:
    from gateway.app.plugin_build import header
    from gateway.config.manifest import load_manifest

    print(header(load_manifest(options.folder / "plugin.toml")), end="")
    return 0


def _test(options: argparse.Namespace) -> int:
    from gateway.app.plugin_build import build
    from gateway.app.vectors import run_vectors

    print(run_vectors(options.folder, build(options.folder, options.out)), end="")
    return 0


def _new(options: argparse.Namespace) -> int:
    from gateway.app.plugin_new import new

    for path in new(options.name, options.lang, options.folder):
        print(path)
    print(f"now run: penstock plugin test {options.folder / options.name}")
    return 0


# ---- a running gateway ----


def _ask(options: argparse.Namespace, method: str, params: dict[str, Any], kind: type[Any]) -> Any:
    """The answer; with --json it is printed as it came, and None is returned."""
    from gateway.api.client import ControlClient
    from gateway.app.places import places

    with ControlClient(places(options.state).socket) as client:
        if not options.json:
            return client.call(method, params, kind)
        print(bytes(client.call(method, params, msgspec.Raw)).decode())
        return None


def _list(options: argparse.Namespace) -> int:
    plugins = _ask(options, "plugin.list", {}, list[Plugin])
    if plugins is not None:
        rows = [
            (one.name, one.active or "–", ", ".join(one.stages) or "–", one.previous or "–", len(one.versions))
            for one in plugins
        ]
        print(columns(("plugin", "runs", "in stages", "before", "kept"), rows), end="")
    return 0


def _show(options: argparse.Namespace) -> int:
    plugin = _ask(options, "plugin.show", {"name": options.name}, Plugin)
    if plugin is not None:
        print(f"{plugin.name}: {plugin.active or 'not in use'}, stages: {', '.join(plugin.stages) or 'none'}")
        rows = [
            (one.ref.version, one.state, one.bytes, ", ".join(one.code) or "–", one.ref.hash) for one in plugin.versions
        ]
        print(columns(("version", "state", "bytes", "compiled", "hash"), rows), end="")
    return 0


def _push(options: argparse.Namespace) -> int:
    from gateway.api.client import ControlClient
    from gateway.app.places import places

    try:
        data = options.file.read_bytes()
    except OSError as error:
        raise UsageError(f"{options.file}: cannot be read: {error.strerror}") from None
    with ControlClient(places(options.state).socket) as client:
        ref = client.push(data)
        target = client.call("hello", {}, Hello).target
        artefact = options.file.with_suffix(f".{target}.so")
        compiled = artefact.is_file()
        if compiled:
            client.push_code(ref["hash"], target, artefact.read_bytes())
    if options.json:
        print(json.dumps(ref))
    else:
        how = f"with compiled code, {artefact}" if compiled else f"and will be interpreted: there is no {artefact}"
        print(f"{ref['name']} {ref['version']} ({ref['hash'][:8]}) is there, {how}; to run it:")
        print(f"penstock plugin swap {ref['name']} {ref['version']}")
    return 0


def _compile(options: argparse.Namespace) -> int:
    """Compile a version that the gateway has, here: for a device with a C compiler, or on its behalf."""
    import tempfile

    from gateway.api.client import ControlClient
    from gateway.app.aot_build import compile_module, find_compiler
    from gateway.app.places import places
    from gateway.app.state import PLUGINS

    where = places(options.state)
    with ControlClient(where.socket) as client, tempfile.TemporaryDirectory(prefix="penstock-") as folder:
        plugin = client.call("plugin.show", {"name": options.name}, Plugin)
        target = client.call("hello", {}, Hello).target
        ref = next((one.ref for one in plugin.versions if one.ref.version == options.version), None)
        if ref is None:
            known = ", ".join(one.ref.version for one in plugin.versions)
            raise UsageError(f'plugin "{options.name}" has no version {options.version}; installed: {known}')
        wasm = (where.state / PLUGINS / "blobs" / f"{ref.hash}.wasm").read_bytes()
        artefact = Path(folder) / "module.so"
        compile_module(find_compiler(target), options.name, wasm, artefact)
        client.push_code(ref.hash, target, artefact.read_bytes())
    print(f"{options.name} {ref} has compiled code for {target}: it runs from the next swap to it, or start, on")
    return 0


def _swap(options: argparse.Namespace) -> int:
    if options.allow and not options.shadow:
        raise UsageError("--allow FIELD needs --shadow N: it is about what that compares")
    params = {
        "name": options.name,
        "version": options.version,
        "carry_state": not options.without_state,
        "shadow_records": options.shadow,
        "allowed": options.allow,
    }
    return _tell_change(options, _ask(options, "plugin.swap", params, Swapped))


def _rollback(options: argparse.Namespace) -> int:
    source = {"from": options.source} if options.source is not None else {}
    return _tell_change(options, _ask(options, "plugin.rollback", {"name": options.name, **source}, Swapped))


def _tell_change(options: argparse.Namespace, done: Swapped | None) -> int:
    if done is not None:
        stages = ", ".join(_stage_line(name, detail) for name, detail in done.stages.items())
        print(f"{options.name}: {done.source} → {done.target} in {stages}")
    return 0


def _stage_line(name: str, detail: Any) -> str:
    """A stage and how long its data waited, where the gateway tells."""
    if not isinstance(detail, dict) or "pause_ns" not in detail:
        return name
    compared = f", {detail['compared']} records compared" if detail.get("compared") else ""
    how = "compiled" if detail.get("compiled") else "interpreted"
    return f"{name} (pause {detail['pause_ns'] / 1e6:.3f} ms{compared}, {how})"


def _history(options: argparse.Namespace) -> int:
    entries = _ask(options, "plugin.history", {"name": options.name}, list[Entry])
    if entries is not None:
        rows = [
            (_time(one.time_ns), one.who, one.action, one.source or "–", one.target or "–", one.result, one.reason)
            for one in entries
        ]
        print(columns(("time (UTC)", "who", "what", "from", "to", "result", "reason"), rows), end="")
    return 0


def _time(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")


def columns(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of text, each column as wide as its widest cell, numbers to the right."""
    cells = [head, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(head))]
    kinds = [len(cells) > 1 and all(_is_number(row[index]) for row in cells[1:]) for index in range(len(head))]
    lines = [
        "  ".join(
            f"{cell:>{width}}" if is_number else f"{cell:<{width}}"
            for cell, width, is_number in zip(row, widths, kinds, strict=True)
        )
        for row in cells
    ]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _is_number(cell: str) -> bool:
    return cell == "–" or cell.replace(".", "", 1).isdecimal()
