"""A static web server with Range and If-Range, over HTTP or TLS, and a link in front of it, each in a thread."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ota.app.link import Link, Weather
from ota.clock import Clock

Odd = Callable[[BaseHTTPRequestHandler], bool]


class Web(ThreadingHTTPServer):
    """Serves a folder. ``odd``: what is asked first; True means that it has answered.

    ``sent``: bytes of bodies by path.
    """

    daemon_threads = True

    def __init__(self, folder: Path, odd: Odd | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.odd = odd
        self.requests: list[dict[str, str]] = []
        self.sent: dict[str, int] = {}

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that break off are what is tested."""


class _Handler(BaseHTTPRequestHandler):
    server: Web

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.requests.append(dict(self.headers.items()))
        if self.server.odd is not None and self.server.odd(self):
            return
        path = self.server.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(match.group(1)) if match and self.headers.get("If-Range", '"tag"') == '"tag"' else 0
        self.send_response(206 if first else 200)
        self.send_header("ETag", '"tag"')
        self.send_header("Content-Length", str(len(data) - first))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        name = self.path.lstrip("/")  # counted first: who has all of it may ask at once
        self.server.sent[name] = self.server.sent.get(name, 0) + len(data) - first
        self.wfile.write(data[first:])

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(folder: Path, odd: Odd | None = None, tls: ssl.SSLContext | None = None) -> Iterator[tuple[Web, str]]:
    """The server and its URL."""
    server = Web(folder, odd)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server, f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def linked(port: int, weather: Weather) -> Iterator[tuple[Link, str]]:
    """A link in front of a local port and the URL of its near end."""
    link = Link(("127.0.0.1", port), weather, Clock())
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(link.listen("127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield link, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(server: asyncio.Server) -> None:
    server.close()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class Authority:
    """A certificate authority that exists for one test."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / f"{name}.pem"
        certificate = self._build(self._name, self._key.public_key(), None)
        self.file.write_bytes(certificate.public_bytes(Encoding.PEM))

    def issue(self, name: str, host: str | None = None) -> Path:
        """A certificate with its key in one file."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._build(subject, key.public_key(), host)
        path = self._folder / f"{name}-cert.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(certificate.public_bytes(Encoding.PEM) + private)
        return path

    def _build(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, host: str | None) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(subject == self._name, None), critical=True)
        if host is not None:
            names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())


def server_context(certificate: Path, clients: Path | None = None) -> ssl.SSLContext:
    """A server's side of TLS; ``clients``: authority of client certificates, which are then required."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if clients is not None:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
