"""``penstock image build``, ``penstock flash`` and ``penstock provision``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from gateway.clock import Clock
from gateway.config.reader import nearest
from gateway.errors import UsageError

if TYPE_CHECKING:
    from gateway.config.board import Board

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
SOURCE = Path(__file__).resolve().parents[2]
BOARDS = SOURCE / "board-configs"


def add_parsers(commands: Commands) -> None:
    """Add the commands."""
    image = commands.add_parser("image", help="build the system image of a board", description="Images of boards.")
    steps = image.add_subparsers(required=True, metavar="STEP")
    build = steps.add_parser("build", help="build a disk image, and a slot image for updates")
    build.add_argument("--board", required=True, metavar="NAME", help="of board-configs/, or a board file")
    build.add_argument("--flavour", choices=("minimal", "full"), help="default: as the board file says")
    build.add_argument(
        "--out", type=Path, default=SOURCE / "build" / "images", metavar="DIR", help="default: %(default)s"
    )
    build.add_argument("--release", type=_release, default=1, metavar="N", help="number of the image; default: 1")
    build.add_argument("--trust", type=Path, metavar="DIR", help="root.json and floor.json to build in")
    build.add_argument("--mirror", metavar="URL", help="Debian archive; default: PENSTOCK_MIRROR, else Debian's own")
    build.add_argument("--no-security", dest="security", action="store_false", help="without Debian's security updates")
    build.add_argument("--refresh", action="store_true", help="look for newer packages instead of those kept")
    build.add_argument("--cache", type=Path, default=SOURCE / "build" / "image", metavar="DIR", help="what is kept")
    build.set_defaults(command=_build)
    flash = commands.add_parser("flash", help="write a disk image to a card", description="Write an image to a card.")
    flash.add_argument("image", type=Path, metavar="IMAGE")
    flash.add_argument("device", type=Path, metavar="DEVICE", help="a whole disk such as /dev/sdb, or a file")
    flash.add_argument("--not-removable", default="", metavar="NAME", help="this disk is meant: its name, such as sdb")
    flash.set_defaults(command=_flash)
    text = "on a device: make its keys, take a site folder"
    take = commands.add_parser("provision", help=text, description=text)
    take.add_argument("folder", type=Path, nargs="?", metavar="FOLDER", help="with site.toml, ota.toml …")
    take.add_argument("--data", type=Path, default=Path("/data"), metavar="DIR", help="default: %(default)s")
    take.set_defaults(command=_provision)


def _flash(options: argparse.Namespace) -> int:
    from gateway.image.flash import Machine, look, refuse, write

    image, machine = options.image, Machine()
    if not image.is_file():
        raise UsageError(f"{image}: there is no such image; penstock image build makes one")
    if not options.device.exists() and options.device.parent.is_dir() and options.device.parent != Path("/dev"):
        options.device.touch()
    target = look(options.device, machine)
    refuse(image, target, machine, options.not_removable)
    shows = sys.stderr.isatty()

    def progress(what: str, done: int, size: int) -> None:
        if shows or done == size:
            print(f"\r  {what} {done // 10**6} of {size // 10**6} MB", end="", file=sys.stderr)
        if done == size:
            print(file=sys.stderr)

    print(f"{target.path}: sha256 {write(image, target, progress)}, read back and compared")
    return 0


def _provision(options: argparse.Namespace) -> int:
    from gateway.app.provision import provision

    for line in provision(options.data, options.folder):
        print(line)
    return 0


def _release(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 1 << 31:
        raise argparse.ArgumentTypeError(f"found {text}, allowed: a number from 1")
    return int(text)


def _build(options: argparse.Namespace) -> int:
    from gateway.image.build import Request, build
    from gateway.image.debian import Source, default_mirror
    from gateway.image.recipe import recipe

    one = recipe(find_board(options.board))
    clock, begin = Clock(), Clock().monotonic_s()

    def tell(line: str) -> None:
        print(f"  {clock.monotonic_s() - begin:6.1f} s  {line}", file=sys.stderr, flush=True)

    flavour = options.flavour or one.image.flavour
    tell(f"plugins for {one.arch}")
    request = Request(
        one, flavour, options.out, options.cache, _plugins(one.arch, options.cache / "plugins"), options.release,
        Source(options.mirror or default_mirror(), options.security), options.refresh, options.trust,
    )  # fmt: skip
    made = build(request, tell)
    tell("done")
    for path in (made.disk, made.slot, made.about):
        print(path)
    return 0


def find_board(text: str) -> Board:
    """A board by its name or file. Raises UsageError, ConfigError."""
    from gateway.config.board import load_board

    path = Path(text) if text.endswith(".toml") else BOARDS / f"{text}.toml"
    if not path.is_file():
        known = nearest(text, [one.stem for one in BOARDS.glob("*.toml")])
        raise UsageError(f"--board {text}: there is no {path}; {known}")
    return load_board(path)


def plugin_module(name: str, cache: Path) -> bytes:
    """A plugin of the source tree as it is published, too: patches to what comes after it start from these bytes."""
    from gateway.app.plugin_build import build

    return build(SOURCE / "plugins" / name, cache, embed=True).read_bytes()


def _plugins(arch: str, cache: Path) -> dict[str, bytes]:
    """Every plugin of the source tree with manifest and vectors, and compiled for the board."""
    from gateway.app.aot_build import compile_module, find_compiler
    from gateway.digest import content_hash
    from gateway.store.search import names

    folder = SOURCE / "plugins"
    files: dict[str, bytes] = {}
    for name in names([folder]):
        home = f"plugins/{name}"
        wasm = plugin_module(name, cache)
        files[f"{home}/plugin.toml"] = (folder / name / "plugin.toml").read_bytes()
        files[f"{home}/{name}.wasm"] = wasm
        for vectors in sorted((folder / name / "vectors").glob("*.toml")):
            files[f"{home}/vectors/{vectors.name}"] = vectors.read_bytes()
        with tempfile.TemporaryDirectory(prefix="penstock-aot-") as made:
            out = Path(made) / "module.so"
            compile_module(find_compiler(arch), name, wasm, out)
            files[f"compiled/{content_hash(wasm)}.{arch}.so"] = out.read_bytes()
    return files
