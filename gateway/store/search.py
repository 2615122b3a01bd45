"""Where plugins are found: a search path of folders with ``NAME/plugin.toml``, the wasm beside it or in build/."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.config.manifest import Manifest, load_manifest
from gateway.config.reader import nearest, show
from gateway.digest import content_hash
from gateway.errors import ConfigError, PluginError

MANIFEST_NAME = "plugin.toml"
# The plugins of a source tree, next to this package; absent in an installed one.
SOURCE_TREE = Path(__file__).resolve().parents[2] / "plugins"


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin on disk: its checked manifest and the file with its code. ``hash``: what the file must have, or ""."""

    manifest: Manifest
    wasm: Path
    hash: str = ""

    def read(self) -> bytes:
        """The module's bytes. Raises PluginError."""
        try:
            data = self.wasm.read_bytes()
        except OSError as error:
            raise PluginError(f'plugin "{self.manifest.name}": {self.wasm} cannot be read: {error.strerror}') from None
        if self.hash and content_hash(data) != self.hash:
            raise PluginError(f'plugin "{self.manifest.name}": {self.wasm} is damaged: its contents have another hash')
        return data


def search_path(given: Sequence[Path], site_folder: Path) -> tuple[Path, ...]:
    """The folders to look in, first hit wins: those given by the user, the site's own, the source tree's."""
    return tuple(dict.fromkeys([*given, site_folder / "plugins", SOURCE_TREE]))


def find(name: str, folders: Sequence[Path]) -> Plugin:
    """The plugin ``name``. Raises PluginError when there is none or it is not built, ConfigError for its manifest."""
    for folder in folders:
        path = folder / name / MANIFEST_NAME
        if path.is_file():
            manifest = load_manifest(path)
            if manifest.name != name:
                raise ConfigError(str(path), "name", f"found {show(manifest.name)}, allowed: {show(name)}, its folder")
            return Plugin(manifest, _wasm(name, folder))
    raise PluginError(f"found {show(name)}, which is no plugin; {nearest(name, names(folders))}")


def names(folders: Sequence[Path]) -> tuple[str, ...]:
    """Every plugin name in ``folders``, sorted."""
    return tuple(sorted({path.parent.name for folder in folders for path in folder.glob(f"*/{MANIFEST_NAME}")}))


def places_of(wanted: Iterable[str], folders: Sequence[Path]) -> tuple[Path, ...]:
    """Every file that decides what ``find`` answers for the plugins ``wanted``."""
    return tuple(
        path
        for folder in folders
        for name in wanted
        for path in (folder / name / MANIFEST_NAME, *_candidates(name, folder))
    )


def _candidates(name: str, folder: Path) -> tuple[Path, Path]:
    return folder / name / f"{name}.wasm", folder.parent / "build" / "plugins" / f"{name}.wasm"


def _wasm(name: str, folder: Path) -> Path:
    candidates = _candidates(name, folder)
    for path in candidates:
        if path.is_file():
            return path
    places = " or ".join(str(path) for path in candidates)
    raise PluginError(f'plugin "{name}" is not built: there is no {places}; run: penstock plugin build {folder / name}')
