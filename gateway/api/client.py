"""A client of the control socket that waits for each answer; for programs without an event loop."""

from __future__ import annotations

import base64
import contextlib
import itertools
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from gateway.api.address import address
from gateway.api.protocol import CHUNK_BYTES_MAX, ErrorBody
from gateway.digest import content_hash
from gateway.errors import PenstockError

T = TypeVar("T")

ANSWER_S = 600.0  # a swap of several stages, each after a comparison of up to a minute


class ControlError(PenstockError):
    """The gateway said no, or cannot be asked. ``code``: one of ERROR_CODES, or "unreachable"."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


class _Answer(msgspec.Struct):
    id: int | str | None
    result: msgspec.Raw = msgspec.Raw()
    event: msgspec.Raw = msgspec.Raw()
    error: ErrorBody | None = None


class ControlClient:
    """Connected to the gateway whose socket is ``path``. Raises ControlError when there is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ids = itertools.count(1)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(ANSWER_S)
        try:
            with address(path) as name:
                self._socket.connect(name)
        except OSError as error:
            self._socket.close()
            raise ControlError("unreachable", _why_unreachable(path, error)) from None
        self._lines = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        self._socket.close()

    def call(self, method: str, params: Mapping[str, Any], kind: type[T]) -> T:
        """The result of a method. Raises ControlError."""
        self._send(method, params)
        return self._decode(self._receive().result, kind)

    def stream(self, method: str, params: Mapping[str, Any], kind: type[T]) -> Iterator[T]:
        """Events, until the gateway ends. Raises ControlError."""
        self._send(method, params)
        while True:
            yield self._decode(self._receive().event, kind)

    def push(self, data: bytes) -> Any:
        """Send a plugin file in pieces; returns what it is as the gateway sees it."""
        return self._upload("plugin.push", data, {})

    def push_code(self, module: str, target: str, code: bytes) -> Any:
        """Send compiled code of the version whose file has the hash ``module``."""
        return self._upload("plugin.push_code", code, {"module": module, "target": target})

    def _upload(self, method: str, data: bytes, about: Mapping[str, Any]) -> Any:
        content, done = content_hash(data), {}
        for offset in range(0, len(data) or 1, CHUNK_BYTES_MAX):
            piece = base64.b64encode(data[offset : offset + CHUNK_BYTES_MAX]).decode()
            params = {**about, "hash": content, "bytes": len(data), "offset": offset, "data": piece}
            done = self.call(method, params, dict)
        return done["plugin"]

    def _send(self, method: str, params: Mapping[str, Any]) -> None:
        request = {"id": next(self._ids), "method": method, "params": params}
        with contextlib.suppress(OSError):  # cut off: the last answer, still to be read, tells why
            self._socket.sendall(msgspec.json.encode(request) + b"\n")

    def _receive(self) -> _Answer:
        try:
            line = self._lines.readline()
        except TimeoutError:
            raise ControlError("unreachable", f"{self._path}: no answer within {ANSWER_S:.0f} s") from None
        except OSError as error:
            raise ControlError("unreachable", f"{self._path}: {error.strerror}") from None
        if not line:
            raise ControlError("unreachable", f"{self._path}: the gateway has ended")
        answer = self._decode(msgspec.Raw(line), _Answer)
        if answer.error is not None:
            raise ControlError(answer.error.code, answer.error.message)
        return answer

    def _decode(self, raw: msgspec.Raw, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(raw, type=kind)
        except msgspec.MsgspecError as error:
            raise ControlError("unreachable", f"{self._path}: not a gateway of this version: {error}") from None


def _why_unreachable(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return f"no gateway runs at {path}; start one with penstock run, or say with --state DIR where it is"
    if isinstance(error, PermissionError):
        return f"{path}: permission denied; only the user who runs the gateway, and root, may control it"
    return f"{path}: {error.strerror or error}"
