"""The DDI server in memory behind HTTP or HTTPS, with tokens; and clocks that go faster than ours."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ota.clock import Cancel, Clock
from ota.errors import TransferError
from tests.ota.fleet.ddi_server import BASE, DdiServer

TENANT = "/default/controller/v1"
FASTER = 100.0


class Quick(Clock):
    """A hundred seconds pass in one."""

    def monotonic_s(self) -> float:
        return super().monotonic_s() * FASTER

    def wait(self, seconds: float, cancel: Cancel) -> None:
        super().wait(seconds / FASTER, cancel)


class DdiWeb(ThreadingHTTPServer):
    """``authorization``: what requests must carry; empty for none."""

    daemon_threads = True

    def __init__(self, ddi: DdiServer, authorization: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.ddi = ddi
        self.authorization = authorization
        self.lock = threading.Lock()
        self.url = ""

    def handle_error(self, request: object, client_address: object) -> None:
        """Handshakes that are refused are what is tested."""


class _Handler(BaseHTTPRequestHandler):
    server: DdiWeb

    def do_GET(self) -> None:
        self._exchange(None)

    def do_POST(self) -> None:
        self._exchange(self.rfile.read(int(self.headers["Content-Length"])))

    do_PUT = do_POST

    def _exchange(self, body: bytes | None) -> None:
        web = self.server
        if web.authorization and self.headers.get("Authorization") != web.authorization:
            self._answer(401, b"{}")
            return
        path = self.path.removeprefix(TENANT)
        device = path.lstrip("/").split("/")[0]
        try:
            with web.lock:
                data = web.ddi.exchange(device, self.command, BASE + path, body)
        except TransferError:
            self._answer(404, b"{}")
            return
        self._answer(200, data.replace(BASE.encode(), (web.url + TENANT).encode()))

    def _answer(self, status: int, data: bytes) -> None:
        json.loads(data)
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def ddi_serving(ddi: DdiServer, authorization: str = "", tls: ssl.SSLContext | None = None) -> Iterator[DdiWeb]:
    """It runs in a thread; its ``url`` is the server's."""
    web = DdiWeb(ddi, authorization)
    if tls is not None:
        web.socket = tls.wrap_socket(web.socket, server_side=True)
    web.url = f"{'https' if tls else 'http'}://127.0.0.1:{web.server_address[1]}"
    thread = threading.Thread(target=web.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield web
    finally:
        web.shutdown()
        thread.join()
        web.server_close()
