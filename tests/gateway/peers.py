"""Real peers for link tests: mosquitto, a subscriber, a proxy that cuts. They wait on conditions, not for a time."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from gateway.clock import Clock

PATIENCE_S = 20.0
MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


async def until(condition: Callable[[], bool], what: str) -> None:
    """Return when ``condition`` holds; fail with ``what`` when it takes too long."""
    clock = Clock()
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await clock.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"waited {PATIENCE_S:.0f} s in vain: {what}") from None


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Mosquitto:
    """A mosquitto on a port of its own. ``lines`` are added to its configuration."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self.port = free_port()
        self._config = folder / f"mosquitto-{self.port}.conf"
        auth = [] if any("allow_anonymous" in line for line in lines) else ["allow_anonymous true"]
        # As root it would become a user who cannot read the test's files.
        user = f"user {getpass.getuser()}"
        self._config.write_text("\n".join([user, *auth, f"listener {self.port} 127.0.0.1", *lines]))
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, again on the same port, and wait until it listens."""
        command = [MOSQUITTO, "-v", "-c", str(self._config)]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        seen = []
        for line in self._process.stderr:
            seen.append(line)
            if "running" in line:
                break
        else:
            raise AssertionError(f"mosquitto does not start: {''.join(seen)}")
        threading.Thread(target=self._process.stderr.read, daemon=True).start()

    def stop(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        self._process.wait(PATIENCE_S)

    def pause(self) -> None:
        """It keeps its connections but does not react."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@dataclass(eq=False)
class Subscriber:
    """Everything published on a broker below ``#``, in order of arrival."""

    messages: list[MQTTMessage] = field(default_factory=list)

    @property
    def bodies(self) -> list[str]:
        return [message.payload.decode() for message in self.messages]


@contextlib.contextmanager
def subscriber(port: int, user: str = "", password: str = "") -> Iterator[Subscriber]:
    """Subscribed to everything, with QoS 1, before the block starts."""
    heard, ready = Subscriber(), threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    if user:
        client.username_pw_set(user, password)
    client.on_message = lambda _client, _data, message: heard.messages.append(message)
    client.on_subscribe = lambda *_: ready.set()
    client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert ready.wait(PATIENCE_S), "the subscriber is subscribed"
    try:
        yield heard
    finally:
        client.disconnect()
        client.loop_stop()


class Proxy:
    """Between a client and a broker. ``deaf``: what the broker answers is swallowed. ``cut`` breaks all connections."""

    def __init__(self, target: int) -> None:
        self.deaf = False
        self.connections = 0
        self.port = 0
        self._target = target
        self._writers: list[asyncio.StreamWriter] = []

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client connection, until either side ends it."""
        self.connections += 1
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers += [writer, far_writer]
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, far_writer, answers=False))
                group.create_task(self._copy(far_reader, writer, answers=True))
        writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if not (answers and self.deaf):
                    writer.write(data)
                    await writer.drain()
        writer.close()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()


@contextlib.asynccontextmanager
async def proxy(target: int) -> AsyncIterator[Proxy]:
    """A proxy to the port ``target``, listening on ``.port``."""
    made = Proxy(target)
    server = await asyncio.start_server(made.accept, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        made.cut()
        server.close()
