"""A plugin as one file: a WebAssembly module that carries its ``plugin.toml`` in a custom section."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config.manifest import SECTION, Manifest, parse_manifest
from gateway.errors import ConfigError, StoreError

MAGIC = b"\0asm\1\0\0\0"
CUSTOM = 0
PLUGIN_BYTES_MAX = 4 << 20


def manifest_of(data: bytes, file: str) -> Manifest:
    """The checked manifest that a plugin file carries; ``file`` is what errors name. Raises StoreError bad_plugin."""
    text = embedded(data, file)
    if text is None:
        raise StoreError(
            "bad_plugin", f"{file}: carries no plugin.toml; make it with: penstock plugin build FOLDER --embed"
        )
    try:
        return parse_manifest(text.decode("utf-8"), f"{file}: plugin.toml")
    except UnicodeDecodeError as error:
        raise StoreError("bad_plugin", f"{file}: plugin.toml: not UTF-8 at byte {error.start}") from None
    except ConfigError as error:
        raise StoreError("bad_plugin", str(error)) from None


def embedded(data: bytes, file: str) -> bytes | None:
    """The plugin.toml in a module, None when there is none. Raises StoreError for what is no module."""
    return next((body for name, body in _custom_sections(data, file) if name == SECTION.encode()), None)


def embed(module: bytes, manifest: bytes) -> bytes:
    """The module with plugin.toml behind everything else."""
    return module + custom_section(SECTION, manifest)


def custom_section(name: str, content: bytes) -> bytes:
    """A section that may stand anywhere in a module, so also at its end."""
    text = name.encode()
    body = leb128(len(text)) + text + content
    return bytes([CUSTOM]) + leb128(len(body)) + body


def leb128(number: int) -> bytes:
    """An unsigned number as modules write it."""
    groups = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def sections(data: bytes, file: str) -> Iterator[tuple[int, int, int, int]]:
    """Of each its kind, where it begins, where its contents begin and end. Raises StoreError for what is no module."""
    if not data.startswith(MAGIC):
        raise StoreError("bad_plugin", f"{file}: not a WebAssembly module of version 1")
    at = len(MAGIC)
    while at < len(data):
        kind, begin = data[at], at
        size, at = read_leb128(data, at + 1, len(data), file)
        end = at + size
        if end > len(data):
            raise _cut(file)
        yield kind, begin, at, end
        at = end


def _custom_sections(data: bytes, file: str) -> Iterator[tuple[bytes, bytes]]:
    """Name and contents of each. What is inside of the other sections is the engine's to judge."""
    for kind, _, at, end in sections(data, file):
        if kind != CUSTOM:
            continue
        length, start = read_leb128(data, at, end, file)
        if start + length > end:
            raise _cut(file)
        yield data[start : start + length], data[start + length : end]


def read_leb128(data: bytes, at: int, end: int, file: str) -> tuple[int, int]:
    """A number that begins at ``at``, and where it ends. Raises StoreError: not before ``end``."""
    value = 0
    for shift in range(0, 35, 7):
        if at >= end:
            break
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _cut(file)


def _cut(file: str) -> StoreError:
    return StoreError("bad_plugin", f"{file}: a section ends outside of the file: is it complete?")
