"""The control socket: a Unix socket for its owner only, one JSON object per line, several clients at once.

A client that does not read is told nothing more and, after a while, cut off: its bytes wait in a buffer of bounded
size, never in the gateway's way. Normative: docs/control-protocol.md.
"""

from __future__ import annotations

import asyncio
import logging
import pwd
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.api import protocol
from gateway.api.address import address
from gateway.api.protocol import ApiError
from gateway.errors import PenstockError, StoreError

SOCKET_MODE = 0o600
CLIENTS_MAX = 16
STREAMS_MAX = 4  # of one connection
IDLE_S = 300.0  # without a request, and without a stream to hear
SEND_S = 10.0  # for an answer to be read
BUFFER_BYTES_MAX = 1 << 20
UNREAD_MAX = 60  # events in a row that a client had no room for
_log = logging.getLogger("penstock.control")


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks. ``name`` is the user's login, ``memory`` what a method keeps between two requests of a connection."""

    name: str
    memory: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Method:
    """What can be asked: the type of its parameters, and who answers: with a value, or with a stream of events."""

    params: type[Any]
    answer: Callable[[Any, Client], Awaitable[object]] | None = None
    stream: Callable[[Any], AsyncIterator[object]] | None = None


class ControlServer:
    """Answers on the socket ``path`` with ``methods``. That no other gateway uses the path is the caller's care."""

    def __init__(self, path: Path, methods: Mapping[str, Method]) -> None:
        self._path = path
        self._methods = methods
        self._clients = 0
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Listen until cancelled, then remove the socket. Raises ApiError when there can be none."""
        sock = _listening(self._path)
        try:
            async with asyncio.TaskGroup() as self._group:
                server = await asyncio.start_unix_server(self._accept, sock=sock, limit=protocol.LINE_BYTES_MAX)
                async with server:
                    try:
                        await asyncio.Future()  # until cancelled
                    finally:
                        self._group = None
        finally:
            sock.close()
            self._path.unlink(missing_ok=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._group is None:  # about to end
            writer.close()
            return
        if self._clients >= CLIENTS_MAX:
            writer.write(protocol.error_line(None, "too_many_clients", f"{CLIENTS_MAX} clients are connected already"))
            writer.close()
            return
        self._clients += 1
        task = self._group.create_task(self._serve(reader, writer))
        task.add_done_callback(self._gone)

    def _gone(self, _task: asyncio.Task[None]) -> None:
        self._clients -= 1

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection. Nothing a client does ends more than its own."""
        connection = _Connection(writer, self._methods)
        try:
            async with asyncio.TaskGroup() as streams:
                await connection.answer_all(reader, streams)
                connection.end_streams()
        except* (ConnectionError, TimeoutError) as gone:
            _log.debug("a client is gone: %s", gone.exceptions[0])
        finally:
            if connection.stuck:
                writer.transport.abort()  # what it has not read by now it will never read
            else:
                writer.close()


class _Connection:
    def __init__(self, writer: asyncio.StreamWriter, methods: Mapping[str, Method]) -> None:
        self.stuck = False
        self._writer = writer
        self._methods = methods
        self._client = Client(_user_of(writer), {})
        self._streams: list[asyncio.Task[None]] = []
        writer.transport.set_write_buffer_limits(high=BUFFER_BYTES_MAX)

    async def answer_all(self, reader: asyncio.StreamReader, streams: asyncio.TaskGroup) -> None:
        """Until the client closes, is idle for too long, or asks for too much at once."""
        while True:
            try:
                async with asyncio.timeout(None if self._streams else IDLE_S):
                    line = await reader.readline()
            except ValueError:
                text = f"a request has more than {protocol.LINE_BYTES_MAX} bytes"
                await self._send(protocol.error_line(None, "too_large", text))
                return
            if not line.endswith(b"\n"):
                return
            await self._answer(line, streams)

    def end_streams(self) -> None:
        for stream in self._streams:
            stream.cancel()

    async def _answer(self, line: bytes, streams: asyncio.TaskGroup) -> None:
        request_id: int | str | None = None
        try:
            request = protocol.read_request(line)
            request_id = request.id
            method = self._methods.get(request.method)
            if method is None:
                known = ", ".join(sorted(self._methods))
                raise ApiError("unknown_method", f'there is no method "{request.method}"; known: {known}')
            params = protocol.read_params(request.params, method.params)
            if method.stream is not None:
                self._streams = [one for one in self._streams if not one.done()]
                if len(self._streams) >= STREAMS_MAX:
                    raise ApiError("too_many_streams", f"{STREAMS_MAX} streams run over this connection already")
                self._streams.append(streams.create_task(self._stream(request.id, method.stream(params))))
                return
            assert method.answer is not None, "a method answers or streams"
            await self._send(protocol.result_line(request.id, await method.answer(params, self._client)))
        except (ApiError, StoreError) as error:
            await self._send(protocol.error_line(request_id, error.code, str(error)))
        except PenstockError as error:
            await self._send(protocol.error_line(request_id, "failed", str(error)))

    async def _stream(self, request_id: int | str, events: AsyncIterator[object]) -> None:
        """Send what comes; while the client has not read what it got, events are left out, not queued."""
        unread = 0
        async for event in events:
            unread = unread + 1 if self._writer.transport.get_write_buffer_size() else 0
            if unread > UNREAD_MAX:
                self.stuck = True
                raise TimeoutError
            if not unread:
                await self._send(protocol.event_line(request_id, event))

    async def _send(self, line: bytes) -> None:
        """Raises ConnectionError or TimeoutError when the client is gone or does not read."""
        self._writer.write(line)
        try:
            async with asyncio.timeout(SEND_S):
                await self._writer.drain()
        except TimeoutError:
            self.stuck = True
            raise


def _listening(path: Path) -> socket.socket:
    """A socket at ``path`` that only its owner may use. One that a killed gateway has left is replaced."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        with address(path) as name:
            sock.bind(name)
        path.chmod(SOCKET_MODE)  # before anybody can connect: nobody listens yet
        sock.setblocking(False)
        return sock
    except OSError as error:
        sock.close()
        raise ApiError("failed", f"{path}: no control socket: {error.strerror}") from None


def _user_of(writer: asyncio.StreamWriter) -> str:
    """The login of whoever is at the other end, or the number of a user without one."""
    sock = writer.get_extra_info("socket")
    _pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
