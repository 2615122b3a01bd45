"""A client of the gateway's control socket, by ``docs/control-protocol.md``; the gateway itself is never imported."""

from __future__ import annotations

import base64
import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import blake3
import msgspec

from ota.errors import GatewayRefused, GatewayUnavailable

PIECE = 128 * 1024
ANSWER_BYTES_MAX = 8 * 1024 * 1024
ANSWER_S = 600.0  # a swap of several stages, each after a comparison of up to a minute
PATH_BYTES_MAX = 100  # of a Unix socket's address
LATER = ("storage", "no_store", "too_many_clients", "failed")
"""Codes that say nothing about the plugin: it is tried again later."""
GONE = ("not_active", "unknown_version")
"""Codes of a rollback from a version that somebody else has left."""

T = TypeVar("T")


class _Refusal(msgspec.Struct):
    code: str
    message: str


class _Answer(msgspec.Struct):
    id: int | str | None = None
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: _Refusal | None = None


class _Version(msgspec.Struct):
    name: str
    hash: str


class _Hello(msgspec.Struct):
    target: str


class _Pushed(msgspec.Struct):
    received: int
    plugin: _Version | None = None


class _Shown(msgspec.Struct):
    active: _Version | None = None
    previous: _Version | None = None


class _Done(msgspec.Struct):
    action: str
    result: str
    reason: str = ""
    source: _Version | None = None


class _Check(msgspec.Struct):
    name: str
    ok: bool
    detail: str = ""


class _Health(msgspec.Struct):
    checks: list[_Check]


class SocketGateway:
    """See GatewayControl. Each call is a connection of its own, so a gateway may restart in between."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def push(self, data: bytes) -> str:
        """See GatewayControl."""
        return self._upload("plugin.push", data, {})

    def target(self) -> str:
        """See GatewayControl."""
        return self._call("hello", {}, _Hello).target

    def push_code(self, content: str, target: str, code: bytes) -> None:
        """See GatewayControl."""
        self._upload("plugin.push_code", code, {"module": content, "target": target})

    def _upload(self, method: str, data: bytes, about: dict[str, str]) -> str:
        """In pieces, over one connection; returns the name of the plugin."""
        content = blake3.blake3(data).hexdigest()
        with self._connection() as connection:
            pushed = _Pushed(0)
            for offset in range(0, len(data), PIECE):
                piece = base64.b64encode(data[offset : offset + PIECE]).decode()
                params = {**about, "hash": content, "bytes": len(data), "offset": offset, "data": piece}
                pushed = connection.call(method, params, _Pushed)
        if pushed.plugin is None:
            raise GatewayUnavailable(f"{self._path}: took {pushed.received} of {len(data)} bytes and did not answer")
        return pushed.plugin.name

    def swap(self, name: str, content: str, shadow_records: int, allowed: tuple[str, ...]) -> None:
        """See GatewayControl."""
        params = {"name": name, "version": content, "shadow_records": shadow_records, "allowed": list(allowed)}
        try:
            self._call("plugin.swap", params, dict[str, Any])
        except GatewayRefused as error:
            if error.code != "already_active":
                raise

    def versions(self, name: str) -> tuple[str, str]:
        """See GatewayControl."""
        shown = self._call("plugin.show", {"name": name}, _Shown)
        active, previous = (one.hash if one is not None else "" for one in (shown.active, shown.previous))
        return active, previous

    def given_up(self, name: str, content: str) -> str:
        """See GatewayControl."""
        for entry in reversed(self._call("plugin.history", {"name": name}, list[_Done])):
            if entry.action == "rollback" and entry.source is not None and entry.source.hash == content:
                return entry.reason or "rolled back by its operator"
        return ""

    def roll_back(self, name: str, content: str) -> None:
        """See GatewayControl."""
        try:
            self._call("plugin.rollback", {"name": name, "from": content}, dict[str, Any])
        except GatewayRefused as error:
            if error.code not in GONE:
                raise

    def failing(self) -> dict[str, str]:
        """See GatewayControl."""
        return {check.name: check.detail for check in self._call("health", {}, _Health).checks if not check.ok}

    def _call(self, method: str, params: dict[str, Any], kind: type[T]) -> T:
        with self._connection() as connection:
            return connection.call(method, params, kind)

    @contextmanager
    def _connection(self) -> Iterator[_Connection]:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.settimeout(ANSWER_S)
        try:
            with _address(self._path) as address:
                link.connect(address)
            with link.makefile("rb") as lines:
                yield _Connection(self._path, link, lines)
        except OSError as error:
            raise GatewayUnavailable(f"{self._path}: the gateway does not answer: {error.strerror or error}") from error
        finally:
            link.close()


class _Connection:
    def __init__(self, path: Path, link: socket.socket, lines: BinaryIO) -> None:
        self._path = path
        self._link = link
        self._lines = lines
        self._ids = itertools.count(1)

    def call(self, method: str, params: dict[str, Any], kind: type[T]) -> T:
        request = {"id": next(self._ids), "method": method, "params": params}
        self._link.sendall(msgspec.json.encode(request) + b"\n")
        line = self._lines.readline(ANSWER_BYTES_MAX)
        if not line.endswith(b"\n"):
            raise GatewayUnavailable(f"{self._path}: the gateway ended while it was asked for {method}")
        try:
            answer = msgspec.json.decode(line, type=_Answer)
            if answer.error is None:
                return msgspec.json.decode(answer.result, type=kind)
        except msgspec.MsgspecError as error:
            raise GatewayUnavailable(f"{self._path}: {method}: not an answer of protocol 1: {error}") from error
        raise GatewayRefused(answer.error.code, answer.error.message)


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """The path, or a short way to it: the kernel takes 107 bytes."""
    if len(os.fsencode(path)) <= PATH_BYTES_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
