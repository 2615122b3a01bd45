"""Plugins as files, without a compiler, and a clock that ticks."""

from __future__ import annotations

from gateway.clock import Clock
from gateway.digest import content_hash
from gateway.store.container import embed
from tests.gateway.modules import module

MANIFEST = """\
name = "{name}"
version = "{version}"
abi = 1
kind = "etl"
summary = "{summary}"
[capabilities]
hal = ["ring_in", "ring_out"]
[limits]
memory_bytes = 65536
deadline_us = 20000
[rings]
in = "samples"
out = "samples"
"""


class Ticking(Clock):
    """A second passes between any two looks."""

    def __init__(self) -> None:
        self.now_s = 0

    def unix_ns(self) -> int:
        self.now_s += 1
        return self.now_s * 1_000_000_000


def plugin_file(name: str = "gain", version: str = "1.0.0", summary: str = "multiplies") -> bytes:
    """A plugin of any name and version; the summary makes contents differ."""
    return embed(module(), MANIFEST.format(name=name, version=version, summary=summary).encode())


def hashed(data: bytes) -> tuple[bytes, str]:
    """What ``PluginStore.add`` takes."""
    return data, content_hash(data)
