"""The HTTP client against real sockets: what it asks, what it refuses, when it gives up."""

from __future__ import annotations

import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from ota.app.link import Weather
from ota.clock import Cancel, Clock
from ota.errors import Cancelled, TransferError, UsageError
from ota.ports import Request
from ota.transfer.http import HttpFetcher, Server, tls_context
from ota.transfer.pace import Patience
from tests.ota.web import Authority, linked, server_context, serving

BODY = bytes(range(256)) * 1000
SHORT = Patience(connect_s=5, idle_s=0.1, rate_min=1000, rate_window_s=0.1, poll_s=0.02)
Handler = BaseHTTPRequestHandler


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(BODY)
    return tmp_path


LONG, PLAIN = Patience(), Server(plain=True)


def fetcher(patience: Patience = LONG, server: Server = PLAIN, cancel: Cancel | None = None) -> HttpFetcher:
    return HttpFetcher(server, Clock(), cancel or Cancel(), patience)


def read_all(one: HttpFetcher, request: Request) -> bytes:
    response = one.open(request)
    data = b""
    try:
        while piece := response.read(10_000):
            data += piece
    finally:
        response.close()
    return data


def failing(reason: str, call: Callable[[], object]) -> TransferError:
    with pytest.raises(TransferError) as caught:
        call()
    assert caught.value.reason == reason, str(caught.value)
    return caught.value


def test_whole_file_and_range(folder: Path) -> None:
    with serving(folder) as (server, url):
        response = fetcher().open(Request(f"{url}/file"))
        assert (response.first, response.total, response.etag) == (0, len(BODY), '"tag"')
        response.close()
        assert read_all(fetcher(), Request(f"{url}/file")) == BODY
        assert read_all(fetcher(), Request(f"{url}/file", 1000, '"tag"')) == BODY[1000:]
        assert server.requests[-1]["If-Range"] == '"tag"'
        assert read_all(fetcher(), Request(f"{url}/file", 1000, '"other"')) == BODY


def test_a_probe_brings_no_body(folder: Path) -> None:
    with serving(folder) as (server, url):
        assert read_all(fetcher(), Request(f"{url}/file", probe=True)) == b""
        failing("http-gone", lambda: fetcher().open(Request(f"{url}/missing", probe=True)))
    assert not server.sent


@pytest.mark.parametrize(("status", "asked"), [(405, "http-gone"), (501, "http-status")])
def test_a_server_without_head_may_have_it(folder: Path, status: int, asked: str) -> None:
    """Or a new root would never be fetched from it."""

    def answer(handler: Handler) -> bool:
        handler.send_response(status)
        handler.end_headers()
        return True

    with serving(folder, answer) as (_, url):
        assert read_all(fetcher(), Request(f"{url}/file", probe=True)) == b""
        failing(asked, lambda: fetcher().open(Request(f"{url}/file")))


@pytest.mark.parametrize(
    ("status", "reason", "retry"),
    [(404, "http-gone", False), (410, "http-gone", False), (403, "http-gone", False), (302, "http-redirect", False),
     (503, "http-status", True), (429, "http-status", True), (500, "http-status", True)],
)  # fmt: skip
def test_refusals(folder: Path, status: int, reason: str, retry: bool) -> None:
    def answer(handler: Handler) -> bool:
        handler.send_response(status)
        handler.send_header("Retry-After", "17")
        handler.send_header("Location", "http://elsewhere/")
        handler.end_headers()
        return True

    with serving(folder, answer) as (_, url):
        error = failing(reason, lambda: fetcher().open(Request(f"{url}/file")))
    assert error.retry is retry
    assert error.wait_s == (17 if retry else 0)


def test_range_that_was_not_asked_for(folder: Path) -> None:
    def answer(handler: Handler) -> bool:
        handler.send_response(206)
        handler.send_header("Content-Range", "bytes 5-9/10")
        handler.send_header("Content-Length", "5")
        handler.end_headers()
        return True

    with serving(folder, answer) as (_, url):
        failing("http-range", lambda: fetcher().open(Request(f"{url}/file", 7)))


@pytest.mark.parametrize("head", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", b""])
def test_answers_that_are_not_http(folder: Path, head: bytes) -> None:
    def answer(handler: Handler) -> bool:
        handler.wfile.write(head)
        return True

    with serving(folder, answer) as (_, url):
        failing("http-invalid", lambda: fetcher().open(Request(f"{url}/file")))


def test_body_that_ends_early(folder: Path) -> None:
    def answer(handler: Handler) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"x" * 999)
        return True

    with serving(folder, answer) as (_, url):
        assert failing("connection-lost", lambda: read_all(fetcher(), Request(f"{url}/file"))).retry


@pytest.mark.parametrize("size", [10, 20, 60])
def test_head_that_ends_early(folder: Path, size: int) -> None:
    def answer(handler: Handler) -> bool:
        handler.wfile.write(
            b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "tag"\r\nX: yyyyyyyyyyyyy\r\n\r\n12345'[:size]
        )
        return True

    with serving(folder, answer) as (_, url):
        with pytest.raises(TransferError) as caught:
            fetcher().open(Request(f"{url}/file"))
        assert caught.value.retry


def test_answer_without_a_length(folder: Path) -> None:
    def answer(handler: Handler) -> bool:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\nbody")
        return True

    with serving(folder, answer) as (_, url):
        failing("http-length", lambda: fetcher().open(Request(f"{url}/file")))


def test_slow_loris(folder: Path) -> None:
    """A byte now and then keeps no connection alive."""

    def answer(handler: Handler) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        handler.connection.settimeout(0.03)
        for _ in range(1000):
            handler.wfile.write(b"x")
            try:
                handler.connection.recv(1)
                return True
            except TimeoutError:
                continue
        return True

    with serving(folder, answer) as (_, url):
        assert failing("too-slow", lambda: read_all(fetcher(SHORT), Request(f"{url}/file"))).retry


def test_silent_drop(folder: Path) -> None:
    """A link that forgot the connection: nothing arrives and nobody says so."""
    with (
        serving(folder) as (server, _),
        linked(server.server_port, Weather(3, mean_bytes=1000, silent=1.0)) as (_, url),
    ):
        assert failing("silent", lambda: read_all(fetcher(SHORT), Request(f"{url}/file"))).retry


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    assert failing("connect", lambda: fetcher().open(Request(f"http://127.0.0.1:{port}/"))).retry


def test_unknown_name() -> None:
    assert failing("resolve", lambda: fetcher().open(Request("http://name.invalid/"))).retry


def test_cancel_ends_a_silent_read(folder: Path) -> None:
    cancel = Cancel()

    def answer(handler: Handler) -> bool:
        cancel.set()
        handler.rfile.read(1)
        return True

    patient = Patience(idle_s=3600, poll_s=0.02)
    with serving(folder, answer) as (_, url), pytest.raises(Cancelled):
        fetcher(patient, cancel=cancel).open(Request(f"{url}/file"))


@pytest.mark.parametrize("url", ["ftp://host/x", "https://host/x", "http:///x", "http://host/a b", "http://h/\r\nX: y"])
def test_urls_that_are_not_used(url: str) -> None:
    with pytest.raises(UsageError):
        fetcher().open(Request(url))


def test_tls_with_client_certificate(folder: Path) -> None:
    authority = Authority(folder, "authority")
    context = server_context(authority.issue("server", "127.0.0.1"), authority.file)
    own = tls_context(str(authority.file), str(authority.issue("device")), None)
    without = tls_context(str(authority.file), None, None)
    with serving(folder, tls=context) as (_, url):
        assert read_all(fetcher(server=Server(own)), Request(f"{url}/file")) == BODY
        with pytest.raises(TransferError):
            read_all(fetcher(server=Server(without)), Request(f"{url}/file"))


@pytest.mark.parametrize("case", ["other authority", "other host"])
def test_tls_man_in_the_middle(folder: Path, case: str) -> None:
    """Refused at once, and not retried with less care."""
    known, other = Authority(folder, "known"), Authority(folder, "other")
    forged = other.issue("server", "127.0.0.1") if case == "other authority" else known.issue("server", "127.0.0.2")
    client = tls_context(str(known.file), None, None)
    with serving(folder, tls=server_context(forged)) as (server, url):
        assert not failing("tls-certificate", lambda: fetcher(server=Server(client)).open(Request(f"{url}/file"))).retry
        assert server.requests == []


def test_missing_certificate_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing\.pem"):
        tls_context(str(tmp_path / "missing.pem"), None, None)
