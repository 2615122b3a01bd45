"""Boards whose U-Boot has a boot counter and a redundant environment: ``fw_printenv`` and ``fw_setenv -s``.

U-Boot counts ``bootcount`` up while ``upgrade_available`` is 1 and runs ``altbootcmd`` when it exceeds ``bootlimit``.
One ``fw_setenv -s`` is one transaction. A single copy of the environment is refused: torn, U-Boot takes its built-in
default.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from ota.boot.block import check
from ota.boot.raw import SLOT_ARGUMENT
from ota.boot.table import TRIES
from ota.errors import BootError
from ota.ports import BootState

TOOL_SECONDS_MAX = 30
_NAMES = ("pen_gen", "pen_good", "pen_ok", "pen_trial", "bootcount")


def default_environment(boot_good: str, boot_trial: str) -> str:
    """Variables for the image's environment and for U-Boot's built-in one: the counter is armed there, too.

    ``boot_good``, ``boot_trial``: commands that boot slot ``${pen_good}`` and ``${pen_trial}``.
    """
    return (
        f"bootlimit={TRIES}\n"
        "upgrade_available=0\nbootcount=0\npen_gen=1\npen_good=a\npen_ok=a\npen_trial=\n"
        f"pen_boot_good={boot_good}\npen_boot_trial={boot_trial}\n"
        'bootcmd=if test -n "${pen_trial}"; then run pen_boot_trial; fi; run pen_boot_good\n'
        "altbootcmd=run pen_boot_good\n"
    )


class UBootEnvControl:
    """``config``: ``fw_env.config`` of the board; ``reboot``: restarts the machine."""

    counts_tries = True

    def __init__(self, config: Path, reboot: Callable[[], None], command_line: Path = Path("/proc/cmdline")) -> None:
        self._config = config
        self._reboot = reboot
        self._command_line = command_line

    def read(self) -> BootState:
        """What the environment says. Raises BootError: unreadable, or without Penstock's variables."""
        output = self._run("fw_printenv")
        fields = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
        missing = [name for name in ("pen_gen", "pen_good", "pen_ok") if not fields.get(name)]
        if missing:
            raise BootError("boot-state-lost", f"U-Boot environment: {', '.join(missing)} not set")
        try:
            counted = int(fields.get("bootcount") or "0")
            trial = fields.get("pen_trial", "")
            state = BootState(
                generation=int(fields["pen_gen"], 16),
                good=fields["pen_good"],
                trial=trial,
                tries_left=max(TRIES - counted, 0) if trial else 0,
                valid=frozenset(fields["pen_ok"]),
            )
        except ValueError as error:
            raise BootError("boot-state-lost", f"U-Boot environment: {error}") from error
        check(state)
        return state

    def write(self, state: BootState) -> None:
        """One transaction, read back. Raises BootError; then the state before still holds."""
        check(state)
        self._require_two_copies()
        lines = {
            "pen_gen": f"{state.generation:x}",
            "pen_good": state.good,
            "pen_ok": "".join(sorted(state.valid)),
            "pen_trial": state.trial,
            "upgrade_available": "1" if state.trial else "0",
            "bootcount": str(TRIES - state.tries_left if state.trial else 0),
        }
        self._run("fw_setenv", "-s", "/dev/stdin", text="".join(f"{name}={value}\n" for name, value in lines.items()))
        if (stored := self.read()) != state:
            raise BootError("boot-state-write", f"U-Boot environment: reads back as {stored}")

    def booted(self) -> str:
        """Slot of the running system, from the kernel's command line. Raises BootError."""
        found = SLOT_ARGUMENT.search(self._command_line.read_text("utf-8", "replace"))
        if found is None:
            raise BootError("boot-slot", f"{self._command_line}: no penstock.slot=a or b")
        return found[1]

    def reboot(self) -> None:
        """Restart the machine."""
        self._reboot()

    def _require_two_copies(self) -> None:
        lines = [line for line in self._config.read_text("utf-8").splitlines() if re.match(r"\s*[^\s#]", line)]
        if len(lines) != 2:
            raise BootError(
                "boot-state-write", f"{self._config}: {len(lines)} copies of the environment, two are needed"
            )

    def _run(self, tool: str, *arguments: str, text: str | None = None) -> str:
        command = [tool, "-c", str(self._config), *arguments]
        try:
            done = subprocess.run(
                command,
                input=text,
                capture_output=True,
                text=True,
                check=False,
                timeout=TOOL_SECONDS_MAX,
                env={**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"},
            )
        except FileNotFoundError:
            raise BootError("boot-tool", f"{tool} is not installed: package libubootenv-tool") from None
        except subprocess.TimeoutExpired:
            raise BootError("boot-tool", f"{tool} still runs after {TOOL_SECONDS_MAX} s") from None
        complaints = done.stderr.strip().splitlines()
        if done.returncode != 0 or any("CRC" in line or "default" in line.lower() for line in complaints):
            raise BootError("boot-tool", f"{tool}: {complaints[-1] if complaints else f'status {done.returncode}'}")
        return done.stdout
