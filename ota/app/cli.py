"""The command line ``penstock-ota``.

Exit status: 0 all right, 1 refused or failed, 2 wrong usage. Results go to standard output, errors to standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from ota import __version__
from ota.errors import OtaError, UsageError

OK, FAILED, MISUSED = 0, 1, 2
Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    command: Command = options.command
    try:
        status = command(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever read it has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except UsageError as error:
        print(f"penstock-ota: {error.message}", file=sys.stderr)
        return MISUSED
    except OtaError as error:
        print(f"penstock-ota: {error}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="penstock-ota", description="Updates: build side and device side.")
    parser.add_argument("--version", action="version", version=f"penstock-ota {__version__}")
    groups = parser.add_subparsers(required=True, metavar="COMMAND")
    from ota.app import agent_cli, device_cli, link_cli, minisign_cli, repo_cli

    for part in (repo_cli, agent_cli, device_cli, minisign_cli, link_cli):
        part.add_to(groups)
    return parser


def passphrase() -> str:
    """Of the private keys; empty when they are not encrypted."""
    from ota.repo.keys import PASSPHRASE_VARIABLE

    return os.environ.get(PASSPHRASE_VARIABLE, "")


if __name__ == "__main__":
    sys.exit(main())
