"""HTTP/1.1 GET and HEAD over TCP or TLS, with Range. One request per connection; nothing blocks longer than a poll.

The parser is ``http.client``'s; the socket underneath is ours, so that a silent link or a cancelled update ends a read
at once. Redirects are refused: a repository is one set of static files, and a redirect would name another host.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import re
import select
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from ota.clock import Cancel, Clock
from ota.errors import TransferError, UsageError
from ota.ports import Request
from ota.transfer.meter import Meter, Unmetered, carried
from ota.transfer.pace import Patience, RateWatch

RECEIVE_BUFFER = 64 * 1024  # what a kill can lose beyond the journal
TRY_AGAIN = (408, 425, 429)
NO_HEAD = (405, 501)
USER_AGENT = "penstock-ota"


@dataclass(frozen=True, slots=True)
class Server:
    """How to reach servers. ``tls``: made by ``tls_context``; None forbids https. ``plain``: http is allowed too."""

    tls: ssl.SSLContext | None = None
    plain: bool = False
    headers: tuple[tuple[str, str], ...] = ()


def tls_context(ca: str | None, certificate: str | None, key: str | None) -> ssl.SSLContext:
    """TLS 1.2 or later, host name checked. ``ca``: file of authorities, None for the system's. Raises UsageError."""
    try:
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate:
            context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"TLS: {ca or 'system authorities'}, {certificate or 'no certificate'}: {error}") from error
    return context


class HttpFetcher:
    """The Fetcher port over sockets. ``meter`` hears of all bytes that are not part of a body that was read."""

    def __init__(
        self, server: Server, clock: Clock, cancel: Cancel, patience: Patience, meter: Meter | None = None
    ) -> None:
        self._server = server
        self._clock = clock
        self._cancel = cancel
        self._patience = patience
        self._meter = meter if meter is not None else Unmetered()

    def open(self, request: Request) -> HttpResponse:
        """See Fetcher."""
        url = self._check(request.url)
        self._meter.reserve()
        wire = _Wire(self._clock, self._cancel, self._patience, request.url, self._meter)
        with contextlib.ExitStack() as undo:
            undo.callback(wire.close)
            wire.connect(str(url.hostname), url.port or (443 if url.scheme == "https" else 80))
            if url.scheme == "https":
                assert self._server.tls is not None
                wire.secure(self._server.tls, str(url.hostname))
            wire.send(self._head(url, request))
            response = self._answer(wire, request)
            undo.pop_all()
        return response

    def _check(self, url: str) -> SplitResult:
        parts = urlsplit(url)
        allowed = ["https"] * (self._server.tls is not None) + ["http"] * self._server.plain
        if parts.scheme not in allowed or not parts.hostname or re.search(r"[\x00-\x20\x7f]", url):
            raise UsageError(f"{url!r}: not usable, allowed: {' and '.join(allowed)} URLs")
        return parts

    def _head(self, url: SplitResult, request: Request) -> bytes:
        lines = [
            f"{_method(request)} {url.path or '/'}{'?' + url.query if url.query else ''} HTTP/1.1",
            f"Host: {url.netloc.rpartition('@')[2]}",
            f"User-Agent: {USER_AGENT}",
            "Accept-Encoding: identity",
            "Connection: close",
            *(f"{name}: {value}" for name, value in self._server.headers),
        ]
        if request.first:
            lines.append(f"Range: bytes={request.first}-")
            if request.etag:
                lines.append(f"If-Range: {request.etag}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _answer(self, wire: _Wire, request: Request) -> HttpResponse:
        answer = http.client.HTTPResponse(_Readable(wire), method=_method(request))  # type: ignore[arg-type]
        try:
            answer.begin()
        except (http.client.HTTPException, ValueError) as error:
            raise TransferError("http-invalid", f"{request.url}: not an HTTP answer: {error!r}", retry=True) from error
        if wire.ended:  # http.client takes the end of the connection for the end of the head
            raise TransferError("connection-lost", f"{request.url}: the answer's head broke off", retry=True)
        if answer.status not in ((200, *NO_HEAD) if request.probe else (200, 206)):
            raise _refused(answer, request.url)
        if answer.length is None and not answer.chunked:
            raise TransferError("http-length", f"{request.url}: the server tells no length", retry=False)
        return HttpResponse(answer, wire, request)


class HttpResponse:
    """See Response."""

    def __init__(self, answer: http.client.HTTPResponse, wire: _Wire, request: Request) -> None:
        self._answer = answer
        self._wire = wire
        self._url = request.url
        self._left = answer.length
        tag = answer.getheader("ETag", "")
        self.etag = tag if re.fullmatch(r'"[\x21\x23-\x7e]{0,256}"', tag) else ""
        self.first, self.total = 0, answer.length
        if answer.status == 206:
            self.first, self.total = self._content_range(answer.getheader("Content-Range", ""), request.first)

    def _content_range(self, text: str, asked: int) -> tuple[int, int]:
        match = re.fullmatch(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})", text)
        if match is None or int(match.group(1)) != asked:
            raise TransferError("http-range", f"{self._url}: asked for bytes from {asked}, got {text!r}", retry=False)
        return asked, int(match.group(3))

    def read(self, size: int) -> bytes:
        """See Response. A body that ends early raises TransferError."""
        try:
            data = self._answer.read1(size)
        except (http.client.HTTPException, ValueError) as error:
            raise TransferError("connection-lost", f"{self._url}: the body broke off: {error!r}", retry=True) from error
        self._wire.body += len(data)
        if self._left is not None:
            self._left -= len(data)
            if not data and self._left > 0:
                raise TransferError("connection-lost", f"{self._url}: {self._left} bytes are missing", retry=True)
        return data

    def close(self) -> None:
        """See Response."""
        self._wire.close()


def _method(request: Request) -> str:
    return "HEAD" if request.probe else "GET"


def _refused(answer: http.client.HTTPResponse, url: str) -> TransferError:
    status = f"{answer.status} {answer.reason}"
    if 300 <= answer.status < 400:
        return TransferError("http-redirect", f"{url}: {status}: redirects are not followed", retry=False)
    if 400 <= answer.status < 500 and answer.status not in TRY_AGAIN:
        return TransferError("http-gone", f"{url}: {status}: the server does not have it; no retry", retry=False)
    after = answer.getheader("Retry-After", "")
    wait_s = float(after) if re.fullmatch(r"\d{1,5}", after) else 0.0
    return TransferError("http-status", f"{url}: {status}", retry=True, wait_s=wait_s)


class _Readable:
    """What ``http.client`` takes for a socket."""

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._wire, 16 * 1024)


class _Wire(io.RawIOBase):
    """A non-blocking socket: every wait is cut into polls and looks at the Cancel, at silence and at the least rate.

    ``body``: bytes of it that were read, and charged by the reader.
    """

    def __init__(self, clock: Clock, cancel: Cancel, patience: Patience, url: str, meter: Meter) -> None:
        self._clock = clock
        self._cancel = cancel
        self._patience = patience
        self._url = url
        self._socket: socket.socket | None = None
        self.ended = False
        self.body = 0
        self._meter: Meter | None = meter
        self._watch = RateWatch(patience, clock.monotonic_s())

    def readable(self) -> bool:
        return True

    def connect(self, host: str, port: int) -> None:
        """Try every address of the host."""
        last = "no address"
        for family, kind, protocol, _, address in self._resolve(host, port):
            link = socket.socket(family, kind, protocol)
            self._socket = link
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            link.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                link.connect(address)
            self._wait(write=True, limit_s=self._patience.connect_s, what="connect")
            number = link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if not number:
                return
            last = os.strerror(number)
            link.close()
        raise TransferError("connect", f"{self._url}: cannot connect: {last}", retry=True)

    def _resolve(self, host: str, port: int) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        """Name resolution blocks, so it runs beside; one that hangs is left behind when patience ends."""
        found: list[list[tuple[int, int, int, str, tuple[str, int]]] | OSError] = []

        def look_up() -> None:
            try:
                found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))  # type: ignore[arg-type]
            except OSError as error:
                found.append(error)

        thread = threading.Thread(target=look_up, daemon=True)
        thread.start()
        end_s = self._clock.monotonic_s() + self._patience.connect_s
        while thread.is_alive() and self._clock.monotonic_s() < end_s:
            thread.join(self._patience.poll_s)
            self._cancel.check()
        if not found or isinstance(found[0], OSError):
            cause = found[0] if found else "no answer"
            raise TransferError("resolve", f"{self._url}: the name {host} cannot be resolved: {cause}", retry=True)
        return found[0]

    def secure(self, context: ssl.SSLContext, host: str) -> None:
        """TLS handshake. A certificate that does not verify is not retried with less care."""
        assert self._socket is not None
        try:
            secured = context.wrap_socket(self._socket, server_hostname=host, do_handshake_on_connect=False)
            self._socket = secured
            self._retry(secured.do_handshake, self._patience.connect_s, "TLS handshake")
        except ssl.SSLCertVerificationError as error:
            message = f"{self._url}: certificate refused: {error.verify_message}; is the clock right?"
            raise TransferError("tls-certificate", message, retry=False) from error
        except (ssl.SSLError, OSError) as error:
            raise TransferError("tls", f"{self._url}: TLS handshake failed: {error}", retry=True) from error

    def send(self, data: bytes) -> None:
        """Send all of it."""
        assert self._socket is not None
        link, view = self._socket, memoryview(data)
        while view:
            sent = self._retry(lambda: link.send(view), self._patience.idle_s, "send")  # noqa: B023
            view = view[sent:]

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """For io.BufferedReader: at least one byte, or 0 at the end."""
        assert self._socket is not None
        link = self._socket
        size = self._retry(lambda: link.recv_into(buffer), self._patience.idle_s, "read")
        self.ended = not size
        if self._watch.too_slow(self._clock.monotonic_s(), size):
            message = (
                f"{self._url}: less than {self._patience.rate_min} bytes/s for {self._patience.rate_window_s:.0f} s"
            )
            raise TransferError("too-slow", message, retry=True)
        return size

    def close(self) -> None:
        """Close the socket; the buffered reader above it has nothing to flush."""
        meter, self._meter = self._meter, None
        cost = carried(self._socket) if self._socket is not None else 0
        if self._socket is not None:
            self._socket.close()
        super().close()
        if meter is not None:
            meter.settle(max(0, cost - self.body))

    def _retry(self, call: Callable[[], int | None], limit_s: float, what: str) -> int:
        while True:
            self._cancel.check()
            try:
                return call() or 0
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(write=False, limit_s=limit_s, what=what)
            except ssl.SSLWantWriteError:
                self._wait(write=True, limit_s=limit_s, what=what)
            except ssl.SSLError:
                if what == "TLS handshake":
                    raise
                raise TransferError("connection-lost", f"{self._url}: TLS connection broken", retry=True) from None
            except OSError as error:
                message = f"{self._url}: connection lost: {error.strerror}"
                raise TransferError("connection-lost", message, retry=True) from error

    def _wait(self, *, write: bool, limit_s: float, what: str) -> None:
        assert self._socket is not None
        end_s = self._clock.monotonic_s() + limit_s
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT if write else select.POLLIN)
        while not poll.poll(self._patience.poll_s * 1000):
            self._cancel.check()
            if self._clock.monotonic_s() >= end_s:
                raise TransferError("silent", f"{self._url}: {what}: nothing for {limit_s:g} s", retry=True)
