"""From files to a plan: reads a site with its board and plugins and reports every mistake in one pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.config.board import read_board
from gateway.config.reader import Problems
from gateway.config.site import SerialPort, Site, read_site
from gateway.errors import ConfigError, PluginError
from gateway.graph import Plan, make_plan
from gateway.store import Plugin, places_of, search_path
from gateway.store.choose import Choice, choose, install
from gateway.store.plugins import PluginStore


@dataclass(frozen=True, slots=True)
class Loaded:
    """A site that can be run: its plan and its plugins by name. ``fresh``: those that the store has just installed.

    ``inputs``: the files that decide all of it, also where there is none yet.
    """

    plan: Plan
    plugins: dict[str, Plugin]
    fresh: tuple[str, ...] = ()
    inputs: tuple[Path, ...] = ()


def load(
    site_path: Path,
    board_path: Path | None,
    plugin_folders: Sequence[Path],
    *,
    to_run: bool,
    store: PluginStore | None = None,
    kept: Collection[str] = (),
) -> Loaded:
    """Read and check everything. ``to_run``: without a board file, serial ports are a mistake.

    With a ``store`` its versions are used, and what only the search path has is installed there once all is right; of
    the plugins ``kept`` the store's own are used whatever the search path has. Raises ConfigError for all mistakes of
    all files at once.
    """
    problems = Problems()
    site = read_site(site_path, problems)
    board = read_board(board_path, problems) if board_path is not None else None
    if site is None:
        problems.raise_any()
        raise AssertionError("a site that cannot be read is a problem")
    folders = search_path(plugin_folders, site.folder)
    choices = _choose_plugins(site, lambda name: choose(name, store, () if name in kept else folders), problems)
    if to_run and board_path is None:
        _want_board(site, problems)
    manifests = {name: one.plugin.manifest for name, one in choices.items()}
    plan = make_plan(site, board, manifests, problems)
    problems.raise_any()
    plugins, fresh = install(choices, store)
    decisions = store.decisions() if store is not None else ()
    asked = (site_path, *([board_path] if board_path else []))
    return Loaded(plan, plugins, fresh, (*asked, *places_of(plugins, folders), *decisions))


def _choose_plugins(site: Site, choose_one: Callable[[str], Choice], problems: Problems) -> dict[str, Choice]:
    found: dict[str, Choice] = {}
    for stage in site.stages.values():
        if stage.plugin in found or not stage.plugin:
            continue
        try:
            found[stage.plugin] = choose_one(stage.plugin)
        except PluginError as error:
            key = f"stage.{stage.name}.plugin"
            problems.add(site.source.file, key, str(error), site.source.line_of(key))
        except ConfigError as error:
            problems.extend(error)
    return found


def _want_board(site: Site, problems: Problems) -> None:
    for port in site.ports.values():
        if isinstance(port, SerialPort):
            key = f"port.{port.name}.device"
            message = f'which device "{port.device}" is must come from a board file: --board BOARD.toml'
            problems.add(site.source.file, key, message, site.source.line_of(key))
