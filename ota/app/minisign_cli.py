"""``penstock-ota minisign``: detached signatures for people who fetch a file by hand."""

from __future__ import annotations

import argparse
from pathlib import Path

from ota.app.repo_cli import Groups
from ota.errors import UsageError


def add_to(groups: Groups) -> None:
    """Add the commands."""
    group = groups.add_parser("minisign", help="detached signatures that the minisign program checks")
    steps = group.add_subparsers(required=True, metavar="STEP")
    key = steps.add_parser("key", help="make a key and its public file")
    key.add_argument("--public", type=Path, required=True, metavar="FILE", help="public key file to write")
    key.set_defaults(command=_key)
    sign = steps.add_parser("sign", help="write FILE.minisig")
    sign.add_argument("file", type=Path, metavar="FILE")
    sign.add_argument("--comment", default="", metavar="TEXT", help="signed as well (default: the file's name)")
    sign.set_defaults(command=_sign)
    for step in (key, sign):
        step.add_argument("--keys", type=Path, required=True, metavar="DIR", help="folder of private keys")
        step.add_argument("--name", default="minisign", help="of the key (default: %(default)s)")
    verify = steps.add_parser("verify", help="check FILE against FILE.minisig and print the trusted comment")
    verify.add_argument("file", type=Path, metavar="FILE")
    verify.add_argument("--public", type=Path, required=True, metavar="FILE", help="public key file")
    verify.set_defaults(command=_verify)


def _key(options: argparse.Namespace) -> int:
    from ota.app.cli import passphrase
    from ota.repo.keys import Keyring
    from ota.repo.minisign import public_file

    keys = Keyring(options.keys, passphrase())
    keys.make(options.name)
    _write(options.public, public_file(keys.private(options.name).public_key()))
    return 0


def _sign(options: argparse.Namespace) -> int:
    from ota.app.cli import passphrase
    from ota.repo.keys import Keyring
    from ota.repo.minisign import sign

    key = Keyring(options.keys, passphrase()).private(options.name)
    _write(_beside(options.file), sign(key, options.file, options.comment or f"file:{options.file.name}"))
    return 0


def _verify(options: argparse.Namespace) -> int:
    from ota.repo.minisign import verify

    print(verify(_read(options.public), options.file, _read(_beside(options.file))))
    return 0


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".minisig")


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
    print(path)
