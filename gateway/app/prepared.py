"""The prepared start: what one start has worked out lets the next one run the data plane before Python is up.

Reading and checking a site takes modules that cost twenty times as much as running it. So a start that took the long
way keeps the list of what is to be made, with everything it follows from: command line, surroundings, and the contents
of each file that was read. The next start makes it at once if nothing of that has changed, tells that it is ready,
opens the ports that answer at once, and then takes the long way all the same, which must come to the same list.

No typing, enum, dataclasses, pathlib and logging here: tests/gateway/app/test_prepared.py lists what may be imported.
"""

from __future__ import annotations

import marshal
import os
import sys

from gateway.app.lock import Lock
from gateway.app.notify import Notifier
from gateway.assembly import Assembly
from gateway.clock import Clock
from gateway.digest import check_hash
from gateway.errors import PenstockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import TypedDict

    from gateway.assembly import Setup

    class Prepared(TypedDict):
        """``inputs``: contents by path, as hashes, "" for no file; ``code``: size and time of the modules that read
        them; ``tells``: whether the log wants to know."""

        surroundings: tuple[object, ...]
        inputs: dict[str, str]
        code: dict[str, tuple[int, int]]
        setup: Setup
        tells: bool


FILE = "prepared.start"
IMAGE = "/usr/share/penstock/image.json"  # what a system image is: another one has other code of the same age
_HASH_DIGITS = 64


class Started:
    """A data plane that runs; its owner is who ``take``s it. ``folder``: of the state, which is locked."""

    def __init__(self, folder: str, lock: Lock, assembly: Assembly) -> None:
        self.folder = folder
        self.lock = lock
        self._assembly: Assembly | None = assembly

    def take(self, setup: Setup) -> Assembly | None:
        """The data plane, if it is what the long way comes to; None when it was another one, which is gone now."""
        assembly = self._assembly
        if assembly is None or assembly.setup != setup:
            self.drop()
            return None
        self._assembly = None
        return assembly

    def drop(self) -> None:
        """Nobody wants it: it ends, and the next start takes the long way. Nothing after it was taken."""
        if self._assembly is not None:
            forget(self.folder)
            self._assembly.close()
            self._assembly = None


def start(words: Sequence[str], environment: Mapping[str, str]) -> Started | None:
    """Run what the last start with the same command line has prepared; None when there is nothing that still holds.

    Mistakes are not told: who takes the long way finds and explains them.
    """
    folder = _state_folder(words, environment)
    if not folder or not os.path.isfile(os.path.join(folder, FILE)):
        return None
    try:
        lock = Lock(folder)
    except PenstockError:
        return None
    try:
        prepared = _read(folder)
        if prepared is not None and _holds(prepared, words, environment):
            assembly = Assembly(prepared["setup"])
            assembly.start()
            _tell(prepared, environment)
            _open_ports(assembly, prepared["setup"])
            return Started(folder, lock, assembly)
    except (OSError, PenstockError):
        forget(folder)
    lock.release()
    return None


def keep(
    folder: str,
    words: Sequence[str],
    environment: Mapping[str, str],
    inputs: Iterable[str],
    setup: Setup,
    *,
    tells: bool,
) -> None:
    """Prepare the next start with this command line. Raises OSError."""
    prepared: Prepared = {
        "surroundings": _surroundings(words, environment),
        "inputs": {path: _contents(path) for path in (IMAGE, *inputs)},
        "code": {path: _age(path) for path in _modules()},
        "setup": setup,
        "tells": tells,
    }
    _write(folder, prepared)


def _write(folder: str, prepared: Prepared) -> None:
    body = marshal.dumps(prepared)  # type: ignore[arg-type]  # of plain values all through
    path = os.path.join(folder, FILE)
    with open(f"{path}.tmp", "wb") as file:
        file.write(check_hash(body).encode() + body)
    os.replace(f"{path}.tmp", path)  # a power cut may lose the new one: the hash tells


def forget(folder: str) -> None:
    """The next start takes the long way."""
    try:
        os.unlink(os.path.join(folder, FILE))
    except OSError:
        return  # there was none; or the disk is broken, of which others tell


def _state_folder(words: Sequence[str], environment: Mapping[str, str]) -> str:
    """Where a service or a test keeps its state, by the rule of ``gateway.app.places``; "" for the user's own folders,
    whose gateways need not be fast."""
    if "--state" in words[:-1]:
        return os.path.join(os.getcwd(), words[words.index("--state") + 1])
    return environment.get("STATE_DIRECTORY", "").partition(":")[0]


def _read(folder: str) -> Prepared | None:
    with open(os.path.join(folder, FILE), "rb") as file:
        data = file.read()
    digits, body = data[:_HASH_DIGITS], data[_HASH_DIGITS:]
    if check_hash(body).encode() != digits:
        return None
    prepared: Prepared = marshal.loads(body)
    return prepared


def _holds(prepared: Prepared, words: Sequence[str], environment: Mapping[str, str]) -> bool:
    return (
        prepared["surroundings"] == _surroundings(words, environment)
        and all(_contents(path) == known for path, known in prepared["inputs"].items())
        and all(_age(path) == known for path, known in prepared["code"].items())
    )


def _surroundings(words: Sequence[str], environment: Mapping[str, str]) -> tuple[object, ...]:
    return sys.version, tuple(words), os.getcwd(), environment.get("PENSTOCK_COMPILED", "")


def _contents(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return check_hash(file.read())
    except FileNotFoundError:
        return ""


def _modules() -> Iterable[str]:
    """Files of the gateway's own modules that are imported."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "gateway" and getattr(module, "__file__", None):
            yield str(module.__file__)


def _age(path: str) -> tuple[int, int]:
    about = os.stat(path)
    return about.st_size, about.st_mtime_ns


def _open_ports(assembly: Assembly, setup: Setup) -> None:
    from gateway.lines import open_at_once  # nobody waits for it who wants to hear that this is ready

    for name, fd in open_at_once(setup["ports"], Clock()).items():
        assembly.open_port(name, fd)


def _tell(prepared: Prepared, environment: Mapping[str, str]) -> None:
    """In the words of the supervisor: logging itself is too heavy here."""
    Notifier(environment).ready()
    if prepared["tells"]:
        text = f"{Clock().log_time()} INFO    penstock.supervisor: running: {prepared['setup']['summary']}"
        print(text, file=sys.stderr, flush=True)
