"""The exchange with a fleet server over real sockets: token, statuses, limits, and links that lead elsewhere."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ota.clock import Cancel
from ota.errors import TransferError, UsageError
from ota.fleet.http import HttpServer
from ota.fleet.messages import MESSAGE_BYTES_MAX


class Handler(BaseHTTPRequestHandler):
    """Answers by the path: /status/N, /big, /hang, /drip, /cut; else echoes token and body."""

    def do_GET(self) -> None:
        parts = self.path.strip("/").split("/")
        if parts[0] == "status":
            self._answer(int(parts[1]), b"{}")
        elif parts[0] == "big":
            self._answer(200, b" " * (MESSAGE_BYTES_MAX + 1))
        elif parts[0] == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"{")
            self.close_connection = True
        elif parts[0] == "drip":
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(100_000):
                    self.wfile.write(b" ")
                    Cancel().wait(0.02)
        elif parts[0] == "hang":
            self.connection.recv(1)  # until the client gives up
        else:
            self._answer(200, self.headers.get("Authorization", "none").encode())

    def do_POST(self) -> None:
        self.server.heard = self.rfile.read(int(self.headers["Content-Length"]))  # type: ignore[attr-defined]
        self._answer(200, b"")

    def log_message(self, *_: object) -> None:
        """Be quiet."""

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def base(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def test_token_and_body_arrive(server: ThreadingHTTPServer) -> None:
    client = HttpServer(base(server), "TargetToken secret", None)
    assert client.get(f"{base(server)}/echo") == b"TargetToken secret"
    client.send("POST", f"{base(server)}/feedback", b'{"a":1}')
    assert server.heard == b'{"a":1}'  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("status", "reason", "retry"),
    [(404, "gone", False), (410, "gone", False), (401, "refused", False), (403, "refused", False),
     (500, "status", True), (503, "status", True), (429, "status", True), (302, "status", False)],
)  # fmt: skip
def test_statuses(server: ThreadingHTTPServer, status: int, reason: str, retry: bool) -> None:
    with pytest.raises(TransferError) as caught:
        HttpServer(base(server), "", None).get(f"{base(server)}/status/{status}")
    assert (caught.value.reason, caught.value.retry) == (reason, retry)


@pytest.mark.parametrize(("path", "reason"), [("big", "oversized"), ("hang", "network"), ("cut", "network")])
def test_what_does_not_come_whole(server: ThreadingHTTPServer, path: str, reason: str) -> None:
    with pytest.raises(TransferError) as caught:
        HttpServer(base(server), "", None, timeout_s=0.3).get(f"{base(server)}/{path}")
    assert caught.value.reason == reason


def test_a_trickle_of_bytes_ends(server: ThreadingHTTPServer) -> None:
    """Each byte comes in time, and all of them never."""
    with pytest.raises(TransferError) as caught:
        HttpServer(base(server), "", None, timeout_s=0.2).get(f"{base(server)}/drip")
    assert (caught.value.reason, caught.value.retry) == ("network", True)


def test_nobody_there_can_be_tried_again(server: ThreadingHTTPServer) -> None:
    url = base(server)
    server.server_close()
    with pytest.raises(TransferError) as caught:
        HttpServer(url, "", None).get(url)
    assert caught.value.retry


def test_the_token_goes_nowhere_else(server: ThreadingHTTPServer) -> None:
    client = HttpServer(base(server), "TargetToken secret", None)
    for url in ("http://127.0.0.1:1/x", f"https://127.0.0.1:{server.server_port}/x", "http://elsewhere.example/"):
        with pytest.raises(TransferError) as caught:
            client.get(url)
        assert caught.value.reason == "ddi-origin"


def test_https_needs_tls_settings() -> None:
    with pytest.raises(UsageError, match="must be https with TLS settings"):
        HttpServer("https://fleet.example", "", None)
