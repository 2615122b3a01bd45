"""The command ``penstock``: a prepared run polls before anything heavy is imported; everything else is in ``commands``.

Exit status: 0 all right, 1 failed while running, 2 wrong configuration or usage.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    started = None
    if words[:1] == ["run"]:
        from gateway.app.prepared import start  # other commands need no data plane

        started = start(words, os.environ)
    from gateway.app.commands import run_command  # heavy: not before the data plane runs

    return run_command(words, started)


if __name__ == "__main__":
    raise SystemExit(main())
