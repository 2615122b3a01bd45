"""What the supervisor asks about versions while it runs: which are bad, and which one to go back to."""

from __future__ import annotations

import logging
from collections.abc import Callable

from gateway.errors import StoreError
from gateway.store.plugins import PluginStore
from gateway.store.search import Plugin

WHO = "supervisor"
_log = logging.getLogger("penstock.control")


class StoreVersions:
    """The supervisor's view of a store; used in any thread.

    ``replaced`` hears, in that thread, the name of each plugin of which a version was given up.
    """

    def __init__(self, store: PluginStore, replaced: Callable[[str], object]) -> None:
        self._store = store
        self._replaced = replaced

    def is_bad(self, plugin: Plugin) -> str:
        """Why it must not run; "" when it may."""
        return self._store.is_bad(plugin.hash)

    def mark_bad(self, plugin: Plugin, reason: str) -> None:
        """Never run it again, if there is another version: without one it gets its chance again at the next start."""
        name = plugin.manifest.name
        with self._store.lock:
            entry = self._store.entry(name)
            if entry is None or not plugin.hash:
                return
            other = self.previous(plugin)
            if other is None:
                self._store.note(
                    WHO, "rollback", entry.active, None, result="refused", reason=f"{reason}; no other version is there"
                )
                return
            try:
                ref = next(one.ref for one in self._store.versions(name) if one.ref.hash == plugin.hash)
                self._store.mark_bad(ref, reason)
                if entry.active.hash == plugin.hash:
                    self._store.roll_back(name, WHO, reason)
                    self._replaced(name)
            except StoreError as error:
                _log.error("%s: what is bad could not be written down: %s", name, error)

    def previous(self, plugin: Plugin) -> Plugin | None:
        """What to run instead of ``plugin``; None when there is nothing."""
        name = plugin.manifest.name
        with self._store.lock:
            entry = self._store.entry(name)
            if entry is not None and entry.active.hash != plugin.hash:
                return self._store.plugin(entry.active)
            ref = self._store.previous(name)
            return self._store.plugin(ref) if ref else None
