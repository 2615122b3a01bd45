"""The hash by which contents are known: of plugins in the store, of what a start was prepared for."""

from __future__ import annotations

from blake3 import blake3


def content_hash(data: bytes) -> str:
    """The BLAKE3 hash of ``data``, 64 hexadecimal digits."""
    return blake3(data).hexdigest()
