"""The files of a plugin's release, fetched and verified as for images: the module, and its code compiled for a machine.

They wait in the state folder until the gateway has taken them, so an agent that dies in between fetches nothing again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from ota.agent.settings import PluginKeys, Settings
from ota.agent.source import Offer, Source
from ota.clock import Cancel
from ota.digest import both_of, sha256_of
from ota.errors import BudgetError, StorageError, TrustError
from ota.stage import Job, Place, stage
from ota.storage import FileStorage
from ota.trust.model import Artefact, Patch

PLUGIN_BYTES_MAX = 4 * 1024 * 1024  # the gateway takes no more
CODE_BYTES_MAX = 16 * 1024 * 1024  # nor of this


class PluginFiles:
    """``say`` gets lines for the operator's log."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._say = say

    def module(self, keys: PluginKeys, offer: Offer, source: Source, cancel: Cancel) -> bytes:
        """The verified file. Raises what fetching raises."""
        return self._file(self._folder(keys), offer, source, cancel, PLUGIN_BYTES_MAX)

    def code(self, keys: PluginKeys, offer: Offer, source: Source, cancel: Cancel, target: str) -> bytes:
        """Its compiled code for this machine; empty where there is none, or none to be had: a plugin does not wait for
        what only makes it faster. Raises what fetching raises when a link is lost, to go on with the next poll."""
        found = offer.catalogue.code_of(offer.artefact, target)
        if found is None:
            return b""
        folder = self._folder(keys) / "code"
        try:
            return self._file(folder, Offer(found, offer.catalogue), source, cancel, CODE_BYTES_MAX)
        except (TrustError, BudgetError) as error:
            self._say(f"{offer.artefact.file.name} will be interpreted: {error}")
            return b""

    def forget(self, keys: PluginKeys) -> None:
        """They are no longer needed."""
        shutil.rmtree(self._folder(keys), ignore_errors=True)

    def _folder(self, keys: PluginKeys) -> Path:
        return self._settings.paths.state / "plugins" / keys.name

    def _file(self, folder: Path, offer: Offer, source: Source, cancel: Cancel, limit: int) -> bytes:
        artefact = offer.artefact
        length = artefact.file.length
        if length > limit:
            message = f"{artefact.file.name}: {length} bytes, the gateway takes no more than {limit >> 20} MiB"
            raise TrustError("plugin-size", message)
        folder.mkdir(parents=True, exist_ok=True)
        with FileStorage(folder / "file", 2 * length + (1 << 20)) as target:
            if not _holds(target, artefact):
                self._stage(offer, target, source, cancel, folder)
            return target.read_at(0, length)

    def _stage(self, offer: Offer, target: FileStorage, source: Source, cancel: Cancel, folder: Path) -> None:
        found = self._installed(offer.catalogue.patches_to(offer.artefact))
        base = FileStorage(found, write=False) if found is not None else None
        try:
            job = Job(offer.artefact, offer.catalogue, source.base, lambda error: self._say(f"given up: {error}"))
            place = Place(target, base, folder, self._settings.image.memory_bytes)
            way = stage(job, place, source.means(cancel))
        finally:
            if base is not None:
                base.close()
        self._say(f"{offer.artefact.file.name}: by {way}, verified")

    def _installed(self, patches: list[Patch]) -> Path | None:
        """What of the gateway's store the smallest patch starts from."""
        wanted = {patch.delta.source: patch.file.length for patch in patches if patch.delta.source.length}
        found: dict[Path, int] = {}
        for path in self._settings.gateway.plugins.glob("blobs/*"):
            for source, size in wanted.items():
                try:
                    if path.stat().st_size == source.length and _sha256_of(path, source.length) == source.sha256:
                        found[path] = size
                except (OSError, StorageError):  # the gateway may remove old versions at any time
                    continue
        return min(found, key=lambda path: found[path], default=None)


def _holds(target: FileStorage, artefact: Artefact) -> bool:
    """Is the file of an earlier try still there, complete?"""
    try:
        return both_of(target, artefact.file.length)[0] == artefact.file.sha256
    except StorageError:
        return False


def _sha256_of(path: Path, length: int) -> str:
    with FileStorage(path, write=False) as file:
        return sha256_of(file, length)
