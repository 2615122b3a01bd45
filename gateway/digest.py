"""Hashes of contents: the one by which plugins are known, and one for what every start has to check.

A start checks with what Python has in itself: loading blake3 would take longer than all that is hashed.
"""

from __future__ import annotations

from _blake2 import blake2b  # hashlib would load OpenSSL


def content_hash(data: bytes) -> str:
    """The BLAKE3 hash of ``data``, 64 hexadecimal digits: the name of a plugin's version."""
    from blake3 import blake3  # not before the data plane runs

    return blake3(data).hexdigest()


def check_hash(data: bytes) -> str:
    """The BLAKE2b hash of ``data``, 64 hexadecimal digits: that it is what it was, within one machine."""
    return blake2b(data, digest_size=32).hexdigest()
