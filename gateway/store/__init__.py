"""Plugins on disk: where they are found (``search``) and which versions are kept, run and run no more (``plugins``).

Format and reasons: docs/adr/0009-plugin-store.md.
"""

from gateway.store.search import MANIFEST_NAME, SOURCE_TREE, Plugin, find, names, places_of, search_path

__all__ = ["MANIFEST_NAME", "SOURCE_TREE", "Plugin", "find", "names", "places_of", "search_path"]
