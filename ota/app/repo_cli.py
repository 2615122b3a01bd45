"""``penstock-ota repo`` and ``bundle create``, ``minisign``: the build side."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ota.clock import Clock
from ota.errors import UsageError

if TYPE_CHECKING:
    from ota.repo.repository import Repository

TARGETS = ("x86_64", "aarch64", "armv7", "riscv64")
Groups: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_to(groups: Groups) -> None:
    """Add the build side's commands."""
    repo = groups.add_parser("repo", help="build side: a TUF repository in a folder")
    steps = repo.add_subparsers(required=True, metavar="STEP")
    _step(steps, "init", _init, "create it, with all keys: root and targets 2-of-3")
    key = _step(steps, "key", _key, "make keys for image-FAMILY or plugin-VENDOR and delegate to them")
    key.add_argument("role", metavar="ROLE")
    key.add_argument("--count", type=int, default=1, help="keys to make (default: 1)")
    key.add_argument("--threshold", type=int, default=1, help="signatures needed (default: 1)")
    sign = _step(steps, "sign", _sign, "add the signatures of the keys at hand to a change that waits for them")
    sign.add_argument("role", metavar="ROLE")
    _publish_step(steps)
    delta = _step(steps, "delta", _delta, "make a patch to a published artefact")
    delta.add_argument("name", metavar="NAME", help="KIND/OWNER/FILE of the artefact the patch gives")
    delta.add_argument("--from", dest="source", type=Path, metavar="FILE", help="what devices have; without: compress")
    delta.add_argument("--compression", default="lzma", help="lzma (256 MB of memory and up) or heatshrink")
    code = _step(steps, "code", _code, "add compiled code of a published plugin: what penstock aot --target makes")
    code.add_argument("name", metavar="NAME", help="plugin/VENDOR/FILE of the plugin")
    code.add_argument("--file", type=Path, required=True, metavar="FILE")
    code.add_argument("--target", required=True, metavar="MACHINE", choices=TARGETS, help=", ".join(TARGETS))
    rotate = _step(steps, "rotate", _rotate, "replace a key of a role")
    rotate.add_argument("role", metavar="ROLE")
    rotate.add_argument("--revoke", required=True, metavar="KEYID", help="start of the id of the key to replace")
    trust = _step(steps, "trust", _trust, "write root.json and floor.json, to be built into an image")
    trust.add_argument("--out", type=Path, required=True, metavar="DIR")
    trust.add_argument("--release", action="append", default=[], metavar="LINE=N", help="release of the image itself")


def _publish_step(steps: Groups) -> None:
    publish = _step(steps, "publish", _publish, "add an artefact; without --file: bring signed changes into effect")
    publish.add_argument("--file", type=Path, metavar="FILE")
    publish.add_argument("--as", dest="name", metavar="NAME", help="KIND/OWNER/FILE: image/rpi4/penstock-17.img")
    publish.add_argument("--name", dest="line", default="penstock", help="what releases are counted within")
    publish.add_argument("--release", type=int, metavar="N", help="a number that only grows")
    publish.add_argument("--label", default="", metavar="TEXT", help="the version for people (default: the release)")
    publish.add_argument("--rollout", action="append", default=[], metavar="GROUP=PERCENT", help="default: default=100")


def _step(steps: Groups, name: str, command: object, text: str) -> argparse.ArgumentParser:
    parser = steps.add_parser(name, help=text, description=text)
    parser.add_argument("repo", type=Path, metavar="REPO", help="folder of the repository")
    parser.add_argument("--keys", type=Path, required=True, metavar="DIR", help="folder of the private keys at hand")
    parser.set_defaults(command=command)
    return parser


def open_repository(options: argparse.Namespace) -> Repository:
    """The repository and keys that a command names."""
    from ota.app.cli import passphrase
    from ota.repo.keys import Keyring
    from ota.repo.repository import Repository

    return Repository(options.repo, Keyring(options.keys, passphrase()), Clock())


def _take_effect(repository: Repository) -> int:
    for line in repository.finish():
        print(f"waiting: {line}")
    repository.refresh()
    return 0


def _init(options: argparse.Namespace) -> int:
    from ota.repo.publish import init

    repository = open_repository(options)
    init(repository)
    print(f"{options.repo}: created. Move the keys of root, targets and bundle to where they stay offline.")
    return _take_effect(repository)


def _key(options: argparse.Namespace) -> int:
    from ota.repo.publish import delegate

    repository = open_repository(options)
    delegate(repository, options.role, count=options.count, threshold=options.threshold)
    return _take_effect(repository)


def _sign(options: argparse.Namespace) -> int:
    missing = open_repository(options).sign(options.role)
    print(
        f"{options.role}: {missing} more signature(s) needed" if missing else f"{options.role}: complete, now publish"
    )
    return 0


def _publish(options: argparse.Namespace) -> int:
    from ota.repo.publish import add
    from ota.trust.model import Custom, Release

    repository = open_repository(options)
    if options.file is not None:
        if not options.name or options.release is None:
            raise UsageError("publish --file needs --as KIND/OWNER/FILE and --release N")
        label = options.label or str(options.release)
        release = Release(options.line, options.release, label, rollout=_numbers(options.rollout) or {"default": 100})
        file = add(repository, options.file, options.name, Custom(release=release))
        print(f"{file.name}: {file.length} bytes, sha256 {file.sha256}")
    return _take_effect(repository)


def _numbers(texts: list[str]) -> dict[str, int]:
    found = {}
    for text in texts:
        match = re.fullmatch(r"([A-Za-z0-9._/-]+)=(\d+)", text)
        if match is None:
            raise UsageError(f"{text!r}: allowed: NAME=NUMBER")
        found[match.group(1)] = int(match.group(2))
    return found


def _delta(options: argparse.Namespace) -> int:
    from ota.repo.patches import add_patch

    repository = open_repository(options)
    with tempfile.TemporaryDirectory(prefix="penstock-ota-") as folder:
        file, share = add_patch(repository, options.name, options.source, options.compression, Path(folder))
    print(f"{file.name}: {file.length} bytes, {share:.1f} % of the artefact")
    return _take_effect(repository)


def _code(options: argparse.Namespace) -> int:
    from ota.repo.publish import add_code

    repository = open_repository(options)
    file = add_code(repository, options.file, options.name, options.target)
    print(f"{file.name}: {file.length} bytes, sha256 {file.sha256}")
    return _take_effect(repository)


def _rotate(options: argparse.Namespace) -> int:
    from ota.repo.publish import rotate

    repository = open_repository(options)
    print(f"{options.role}: new key {rotate(repository, options.role, options.revoke)}")
    return _take_effect(repository)


def _trust(options: argparse.Namespace) -> int:
    from ota.repo.publish import export_trust

    export_trust(open_repository(options), options.out, _numbers(options.release))
    print(f"{options.out}: root.json and floor.json", file=sys.stderr)
    return 0
