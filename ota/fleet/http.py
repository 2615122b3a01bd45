"""The fleet server over HTTP(S): one short exchange per call, every wait bounded, no redirects."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from ota.errors import TransferError, UsageError
from ota.fleet.messages import MESSAGE_BYTES_MAX
from ota.transfer.meter import carried

TIMEOUT_S = 30.0
WAITS_MAX = 4  # of a whole exchange
_GONE = (404, 410)
_BUSY = (408, 425, 429, 500, 502, 503, 504)


class HttpServer:
    """``base``: any URL of the server; others must have the same origin, for they get the device's token.

    ``authorization``: ``TargetToken …`` or ``GatewayToken …``; empty with a client certificate in ``tls``. ``spend``
    hears after each exchange how many bytes it took.
    """

    def __init__(
        self,
        base: str,
        authorization: str,
        tls: ssl.SSLContext | None,
        timeout_s: float = TIMEOUT_S,
        spend: Callable[[int], None] = lambda _size: None,
    ) -> None:
        self._origin = _origin(base)
        if self._origin[0] != ("https" if tls is not None else "http"):
            raise UsageError(f"{base}: must be https with TLS settings, http without")
        self._authorization = authorization
        self._tls = tls
        self._timeout_s = timeout_s
        self._spend = spend

    def get(self, url: str) -> bytes:
        """A JSON document. Raises TransferError: "gone" for 404 and 410."""
        return self._exchange("GET", url, None)

    def send(self, method: str, url: str, body: bytes) -> None:
        """POST or PUT a JSON document. Raises TransferError."""
        self._exchange(method, url, body)

    def _exchange(self, method: str, url: str, body: bytes | None) -> bytes:
        headers = {"Accept": "application/hal+json, application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._authorization:
            headers["Authorization"] = self._authorization
        parts = urlsplit(url)
        if _origin(url) != self._origin:
            where = "://".join(self._origin)
            raise TransferError("ddi-origin", f"{url}: a link away from {where}, which is not followed", retry=False)
        connection = self._connection(parts.netloc)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        try:
            with self._metered(connection):
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                data = answer.read(MESSAGE_BYTES_MAX + 1)
                missing = answer.length if len(data) <= MESSAGE_BYTES_MAX else 0
        except (OSError, http.client.HTTPException) as error:
            raise TransferError("network", f"{url}: {error}", retry=True) from error
        finally:
            connection.close()
        if missing:
            raise TransferError("network", f"{url}: {missing} bytes of the answer did not come", retry=True)
        return _checked(url, answer.status, data)

    @contextmanager
    def _metered(self, connection: http.client.HTTPConnection) -> Iterator[None]:
        """Connect; tell what it has cost, and end an exchange that a trickle of bytes keeps from ending."""
        connection.connect()
        link = socket.socket(fileno=os.dup(connection.sock.fileno()))  # the connection may close its own at once
        end = threading.Timer(WAITS_MAX * self._timeout_s, _shut, [link])
        end.daemon = True
        end.start()
        try:
            yield
        finally:
            end.cancel()
            end.join()
            self._spend(carried(link))
            link.close()

    def _connection(self, netloc: str) -> http.client.HTTPConnection:
        if self._tls is not None:
            return http.client.HTTPSConnection(netloc, timeout=self._timeout_s, context=self._tls)
        return http.client.HTTPConnection(netloc, timeout=self._timeout_s)


def _shut(link: socket.socket) -> None:
    with suppress(OSError):  # it has ended at this very moment
        link.shutdown(socket.SHUT_RDWR)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def _checked(url: str, status: int, data: bytes) -> bytes:
    if len(data) > MESSAGE_BYTES_MAX:
        raise TransferError("oversized", f"{url}: more than {MESSAGE_BYTES_MAX} bytes", retry=False)
    if 200 <= status < 300:
        return data
    if status in _GONE:
        raise TransferError("gone", f"{url}: status {status}", retry=False)
    if status in (401, 403):
        raise TransferError("refused", f"{url}: status {status}: check the device's token or certificate", retry=False)
    raise TransferError("status", f"{url}: status {status}", retry=status in _BUSY)
