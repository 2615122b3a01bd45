"""What ``penstock run`` keeps on disk, opened: the plugin store, and the folder it alone may use."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.app.lock import Lock
from gateway.app.places import Places, places
from gateway.app.prepared import Started
from gateway.clock import Clock
from gateway.errors import StoreError
from gateway.store.plugins import PluginStore
from gateway.store.storage import FOLDER_MODE, Disk

PLUGINS = "plugins"
_log = logging.getLogger("penstock")


@dataclass(frozen=True, slots=True)
class OpenState:
    """Both None when the default folder cannot be used: the gateway then runs without, and cannot be controlled."""

    places: Places | None
    store: PluginStore | None


@contextlib.contextmanager
def opened(folder: Path | None, keep: int, started: Started | None = None) -> Iterator[OpenState]:
    """Open the state in ``folder``, or in the default one. ``started`` has its lock already.

    Raises PenstockError when another gateway uses it, StoreError when a folder that was asked for cannot be used. The
    default one may be read-only: field buses are polled nevertheless.
    """
    where = places(folder)
    with contextlib.ExitStack() as stack:
        try:
            _make(where)
            stack.callback((started.lock if started else Lock(where.state)).release)
            if started is not None:
                stack.callback(started.drop)  # nobody has taken it: before the folder is another one's
            store = PluginStore(Disk(where.state / PLUGINS), where.state / PLUGINS, Clock(), keep)
        except StoreError as error:
            if where.given:
                raise
            _log.error("%s; running without plugin store and control socket", error)
            yield OpenState(None, None)
            return
        yield OpenState(where, store)


def _make(where: Places) -> None:
    for folder in (where.state, where.state / PLUGINS, where.run):
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        try:
            folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            for one in missing:
                Disk(one.parent).fsync_dir("")
        except OSError as error:
            raise StoreError("storage", f"{folder}: cannot be made: {error.strerror}; use --state DIR") from None
