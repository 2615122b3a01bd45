"""Site, board and plugin descriptions: TOML text in, checked frozen dataclasses out."""
