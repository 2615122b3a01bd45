"""``penstock-ota stage`` and ``bundle``: bring a release to a device, without touching what it boots."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ota.app.repo_cli import Groups, open_repository
from ota.clock import Cancel, Clock
from ota.errors import OtaError, UsageError
from ota.storage import FileStorage

if TYPE_CHECKING:
    from ota.ports import Fetcher
    from ota.transfer.budget import BudgetFile
    from ota.trust.client import Anchor, Catalogue, TrustClient

STATE_FOLDER = Path("/var/lib/penstock/ota")
TRUST_FOLDER = Path("/usr/share/penstock/trust")
ROOT_NAME = "root.json"
ANCHOR_LOOK_S = 2.0


def add_to(groups: Groups) -> None:
    """Add the commands."""
    text = "fetch and verify the newest release into a slot or file; changes no boot state"
    online = groups.add_parser("stage", help=text, description=text)
    online.add_argument("url", metavar="URL", help="the repository: what holds metadata/ and targets/")
    online.add_argument("--ca", metavar="FILE", help="trusted authorities (default: the system's)")
    online.add_argument("--certificate", metavar="FILE", help="client certificate (PEM)")
    online.add_argument("--key", metavar="FILE", help="its key, if not in the same file")
    online.add_argument("--plain", action="store_true", help="allow http, which hides nothing; trust does not need it")
    online.add_argument("--rate", type=int, default=0, metavar="N", help="bytes/s at most")
    online.add_argument("--budget", type=int, default=0, metavar="N", help="bytes in 30 days at most")
    _device_options(online, _stage_online)
    bundle = groups.add_parser("bundle", help="the same content on a stick")
    steps = bundle.add_subparsers(required=True, metavar="STEP")
    create = steps.add_parser("create", help="pack the newest releases of a role")
    create.add_argument("repo", type=Path, metavar="REPO")
    create.add_argument("--keys", type=Path, required=True, metavar="DIR", help="holds the key of the bundle role")
    create.add_argument("--role", required=True, metavar="ROLE", help="image-FAMILY or plugin-VENDOR")
    create.add_argument("--out", type=Path, required=True, metavar="FILE")
    create.add_argument("--patches", action="store_true", help="patches to these releases as well")
    create.set_defaults(command=_create)
    install = steps.add_parser("install", help="verify a bundle and bring its release into a slot or file")
    install.add_argument("bundle", type=Path, metavar="BUNDLE")
    _device_options(install, _stage_bundle)


def _device_options(parser: argparse.ArgumentParser, command: object) -> None:
    parser.add_argument("--line", required=True, metavar="KIND/OWNER/NAME", help="such as image/rpi4/penstock")
    parser.add_argument("--target", type=Path, required=True, metavar="PATH", help="inactive slot, or file to write")
    parser.add_argument("--source", type=Path, metavar="PATH", help="active slot or installed file, for patches")
    parser.add_argument("--device", default="", metavar="ID", help="identity for staged rollouts")
    parser.add_argument("--group", default="default", help="rollout group")
    parser.add_argument("--memory", type=int, default=16 << 20, metavar="N", help="bytes that applying may take")
    parser.add_argument("--trust", type=Path, default=TRUST_FOLDER, metavar="DIR", help="default: %(default)s")
    parser.add_argument("--state", type=Path, default=STATE_FOLDER, metavar="DIR", help="default: %(default)s")
    parser.set_defaults(command=command)


def _create(options: argparse.Namespace) -> int:
    from ota.repo.bundle import create_bundle

    for name in create_bundle(open_repository(options), options.role, options.out, with_patches=options.patches):
        print(name)
    return 0


def _stage_online(options: argparse.Namespace) -> int:
    from ota.transfer.http import HttpFetcher, Server, tls_context
    from ota.transfer.metadata import MetadataFetcher
    from ota.transfer.pace import Patience

    clock, cancel, (client, _) = Clock(), Cancel(), _trust(options)
    tls = tls_context(options.ca, options.certificate, options.key)
    budget = _budget(options, options.budget)
    fetcher = HttpFetcher(Server(tls, options.plain), clock, cancel, Patience(), budget)
    url = options.url.rstrip("/")
    kind, owner, _ = _line(options)
    metadata = MetadataFetcher(fetcher, clock, cancel, budget, client.cache)
    catalogue = metadata.or_without_news(lambda: client.catalogue(metadata, f"{url}/metadata/", kind, owner))
    return _install(options, client, catalogue, (fetcher, f"{url}/targets"), (budget, options.rate))


def _stage_bundle(options: argparse.Namespace) -> int:
    from ota.trust.bundle import BASE, Bundle, bundle_catalogue

    client, anchor = _trust(options)
    kind, owner, _ = _line(options)
    with Bundle(options.bundle, Cancel()) as bundle:
        catalogue = bundle_catalogue(bundle.read, anchor, client, kind, owner)
        return _install(options, client, catalogue, (bundle, BASE), (_budget(options, 0), 0))


def _budget(options: argparse.Namespace, limit: int) -> BudgetFile:
    from ota.transfer.budget import Allowance, BudgetFile

    return BudgetFile(options.state / "budget.json", Allowance(limit), Clock())


def _install(
    options: argparse.Namespace,
    client: TrustClient,
    catalogue: Catalogue,
    way: tuple[Fetcher, str],
    limits: tuple[BudgetFile, int],
) -> int:
    from ota.stage import Job, Place, stage
    from ota.transfer.download import Means
    from ota.transfer.pace import Pace
    from ota.trust.choice import Device, newest
    from ota.trust.floor import check_release

    chosen = newest(catalogue.artefacts, options.line, Device(options.device, options.group), frozenset())
    if chosen is None:
        print(f"{options.line}: nothing is offered to this device")
        return 0
    check_release(client.floor(), chosen.line, chosen.release.release)
    means = Means(way[0], Clock(), Cancel(), limits[0], Pace(limits[1]), _progress)
    with _storages(options, chosen.file.length) as (target, source):
        place = Place(target, source, options.state, options.memory)
        done = stage(Job(chosen, catalogue, way[1], _note), place, means)
    print(f"{chosen.file.name}: release {chosen.release.release} ({chosen.release.version}), by {done}, verified")
    return 0


@contextmanager
def _storages(options: argparse.Namespace, length: int) -> Iterator[tuple[FileStorage, FileStorage | None]]:
    """A block device as it is; a regular file with room for a patch behind it, cut to its length afterwards."""
    device = options.target.is_block_device()
    source = FileStorage(options.source, write=False) if options.source is not None else None
    try:
        with FileStorage(options.target, None if device else 2 * length + (1 << 20)) as target:
            yield target, source
            if not device:
                target.truncate(length)
    finally:
        if source is not None:
            source.close()


def read_anchor(folder: Path) -> Anchor:
    """What ``repo trust`` wrote and the image holds. Raises UsageError."""
    from ota.durable import read_file
    from ota.trust.client import Anchor
    from ota.trust.floor import read_image_floor

    root = read_file(folder / ROOT_NAME, 1 << 20)
    if root is None:
        raise UsageError(f"{folder / ROOT_NAME}: missing; make it with 'penstock-ota repo trust'")
    return Anchor(root, read_image_floor(folder / "floor.json"))


def await_anchor(folder: Path, clock: Clock, cancel: Cancel, say: Callable[[str], None]) -> None:
    """Return when there is one: a device whose image has no anchor gets it by provisioning. Raises Cancelled."""
    root = folder / ROOT_NAME
    if not root.exists():
        say(f"{root}: missing; nothing is trusted until the device is provisioned with it")
    while not root.exists():
        clock.wait(ANCHOR_LOOK_S, cancel)


def _trust(options: argparse.Namespace) -> tuple[TrustClient, Anchor]:
    from ota.trust.client import TrustClient

    anchor = read_anchor(options.trust)
    return TrustClient(options.state, anchor, Clock()), anchor


def _line(options: argparse.Namespace) -> tuple[str, str, str]:
    parts = options.line.split("/")
    if len(parts) != 3:
        raise UsageError(f"--line {options.line!r}: allowed: KIND/OWNER/NAME, such as image/rpi4/penstock")
    return parts[0], parts[1], parts[2]


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done * 100 // total:3d} % of {total} bytes", end="\n" if done == total else "", file=sys.stderr)


def _note(error: OtaError) -> None:
    print(f"penstock-ota: given up: {error}", file=sys.stderr)
