"""Messages of the control socket: one JSON object per line. Bytes in, checked values out; no I/O.

Normative: docs/control-protocol.md.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from gateway.errors import PenstockError

PROTOCOL = 1
LINE_BYTES_MAX = 256 << 10  # of a request; answers may be longer
CHUNK_BYTES_MAX = 128 << 10  # of a file, before it is written as base64

# Code -> meaning: stable, for programs; messages are for people and may change.
ERROR_CODES = {
    "bad_request": "not a request: no JSON object, a wrong type, an unknown key",
    "too_large": "a request line is longer than 262144 bytes; the connection is closed",
    "too_many_clients": "16 clients are connected already; the connection is closed",
    "too_many_streams": "4 streams run over this connection already",
    "unknown_method": "there is no such method",
    "unknown_plugin": "there is no such plugin",
    "unknown_version": "the plugin has no such version, or more than one that fits",
    "not_in_use": "no stage of the site runs this plugin",
    "already_active": "this version runs already",
    "not_active": "the version to go back from does not run; nothing has changed",
    "swap_refused": "the new version was not taken; the old one runs on",
    "no_previous": "there is no version to go back to",
    "bad_hash": "the contents are not those that were announced",
    "bad_plugin": "the file is no plugin that this gateway could run",
    "bad_code": "the compiled code does not fit the version, or this machine",
    "bad_version": "this version is remembered as bad and never run again",
    "version_taken": "this version is installed already with other contents",
    "out_of_order": "a piece of a file is not the one that follows",
    "no_store": "the gateway runs without a plugin store",
    "storage": "the disk does not take it; nothing has changed",
    "failed": "anything else; the message says what",
}

T = TypeVar("T")


class ApiError(PenstockError):
    """An answer that says why not. ``code`` is one of ERROR_CODES."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client sends. ``id`` comes back in every answer to it."""

    id: int | str
    method: str
    params: msgspec.Raw = msgspec.Raw(b"{}")


class ErrorBody(msgspec.Struct, frozen=True):
    """Why a request was not granted."""

    code: str
    message: str


def read_request(line: bytes) -> Request:
    """A line as a request. Raises ApiError bad_request."""
    return _decode(line, Request, "request")


def read_params(params: msgspec.Raw, kind: type[T]) -> T:
    """The parameters of a method. Raises ApiError bad_request."""
    return _decode(bytes(params), kind, "params")


def _decode(data: bytes, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise ApiError("bad_request", f"{what}: {error}") from None
    except UnicodeDecodeError as error:
        raise ApiError("bad_request", f"{what}: not UTF-8 at byte {error.start}") from None


def result_line(to: int | str, result: object) -> bytes:
    """The last answer to a request."""
    return msgspec.json.encode({"id": to, "result": result}) + b"\n"


def event_line(to: int | str, event: object) -> bytes:
    """An answer after which more follow."""
    return msgspec.json.encode({"id": to, "event": event}) + b"\n"


def error_line(to: int | str | None, code: str, message: str) -> bytes:
    """The answer that says why not."""
    assert code in ERROR_CODES, code
    return msgspec.json.encode({"id": to, "error": ErrorBody(code, message)}) + b"\n"
