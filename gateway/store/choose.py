"""Which version of a plugin a gateway starts with: what the store ran last, or what the search path brings anew.

A plugin on the search path is taken when the store has none, or when its contents are others than those the search
path gave before and its version is not older than the one that runs: that is what a new system image, or a developer's
build, looks like. What was pushed and swapped by hand stays otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.digest import content_hash
from gateway.errors import PluginError, StoreError
from gateway.store.admission import admit
from gateway.store.container import embed, embedded
from gateway.store.facts import Ref
from gateway.store.plugins import PluginStore
from gateway.store.search import Plugin, find
from gateway.store.version import is_older
from gateway.wasm import TARGET

WHO = "penstock"
_log = logging.getLogger("penstock.store")


@dataclass(frozen=True, slots=True)
class Choice:
    """A plugin to start with. ``module``: its file, when it comes from the search path and is to be installed;
    ``artefact``: where its compiled code may lie."""

    plugin: Plugin
    module: bytes | None = None
    artefact: Path | None = None


def choose(name: str, store: PluginStore | None, folders: Sequence[Path]) -> Choice:
    """The version to run. Raises PluginError when there is none, ConfigError for a wrong manifest."""
    if store is None:
        return Choice(find(name, folders))
    entry = store.entry(name)
    try:
        found = find(name, folders)
    except PluginError:
        if entry is None:
            raise
        return Choice(store.plugin(entry.active))
    module = as_file(found)
    artefact = found.wasm.with_suffix(f".{TARGET}.so")
    if entry is None:
        _refuse(found, module, store)
        return Choice(found, module, artefact)
    is_known = content_hash(module) in (entry.origin, entry.active.hash)
    if is_known or is_older(found.manifest.version, entry.active.version):
        return Choice(store.plugin(entry.active))
    try:
        _refuse(found, module, store)
    except PluginError as error:
        _log.warning("%s; %s runs on", error, entry.active.version)
        return Choice(store.plugin(entry.active))
    return Choice(found, module, artefact)


def _refuse(found: Plugin, module: bytes, store: PluginStore) -> None:
    """Raise PluginError for what must not or could not run."""
    name = found.manifest.name
    if why := store.is_bad(content_hash(module)):
        raise PluginError(f'plugin "{name}": {found.wasm} is remembered as bad: {why}')
    try:
        admit(module)
    except StoreError as error:
        raise PluginError(f"{found.wasm}: {error}") from None


def as_file(plugin: Plugin) -> bytes:
    """A plugin of the search path as the one file that the store keeps. Raises PluginError."""
    module, text = plugin.read(), Path(plugin.manifest.file).read_bytes()
    try:
        inside = embedded(module, str(plugin.wasm))
    except StoreError as error:
        raise PluginError(f'plugin "{plugin.manifest.name}": {error}') from None
    if inside is None:
        return embed(module, text)
    if inside != text:
        raise PluginError(f"{plugin.wasm} carries another plugin.toml than {plugin.manifest.file}; build it again")
    return module


def install(choices: Mapping[str, Choice], store: PluginStore | None) -> tuple[dict[str, Plugin], tuple[str, ...]]:
    """Keep what is new, in one step; returns what to run, and the names of what was kept.

    A disk that takes nothing is told and not in the way.
    """
    new = {name: one.module for name, one in choices.items() if one.module is not None}
    plugins = {name: one.plugin for name, one in choices.items()}
    if store is None or not new:
        return plugins, ()
    try:
        store.install(new.values(), WHO, "from the search path")
    except StoreError as error:
        _log.error("plugins are run from the search path and not kept: %s", error)
        return plugins, ()
    for name in new:
        entry = store.entry(name)
        assert entry is not None, "what was installed is in use"
        _install_code(entry.active, choices[name].artefact, store)
        plugins[name] = store.plugin(entry.active)
    return plugins, tuple(new)


def _install_code(ref: Ref, artefact: Path | None, store: PluginStore) -> None:
    """Compiled code beside the module on the search path comes along, if it fits."""
    if artefact is None or not artefact.is_file():
        return
    try:
        store.add_code(ref, TARGET, artefact.read_bytes())
    except (OSError, StoreError) as error:
        hint = "compile what `penstock plugin build --embed` has made"
        _log.warning("%s is not kept, %s is interpreted: %s; %s", artefact, ref, error, hint)
