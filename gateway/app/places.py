"""Where a gateway keeps what lasts (plugins), and what ends with it (control socket, health)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SOCKET, HEALTH = "control.sock", "health.json"
NAME = "penstock"


@dataclass(frozen=True, slots=True)
class Places:
    """Two folders, which may be one. ``given``: the user has chosen them."""

    state: Path
    run: Path
    given: bool = False

    @property
    def socket(self) -> Path:
        return self.run / SOCKET

    @property
    def health(self) -> Path:
        return self.run / HEALTH


def places(state: Path | None, environment: Mapping[str, str] = os.environ, *, is_root: bool | None = None) -> Places:
    """The folder a user gave, else those of the service manager, of the system for root, or of the user.

    The same rule finds them for ``penstock run`` and for the commands that talk to it.
    """
    if state is not None:
        return Places(state.absolute(), state.absolute(), given=True)
    if folders := environment.get("STATE_DIRECTORY"):  # systemd: StateDirectory=, RuntimeDirectory=, each maybe several
        own = Path(folders.partition(":")[0])
        run = environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        return Places(own, Path(run) if run else own)
    if os.geteuid() == 0 if is_root is None else is_root:
        return Places(Path("/var/lib") / NAME, Path("/run") / NAME)
    home = Path(environment.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / NAME
    runtime = environment.get("XDG_RUNTIME_DIR")
    return Places(home, Path(runtime) / NAME if runtime else home)
