"""The MQTT uplink: drains payload rings into a broker with paho-mqtt, MQTT 3.1.1 and 5.

paho runs on the asyncio loop without a thread of its own: we watch its socket, it parses and keeps the session. Only
what blocks, resolving and connecting, happens in a thread. A record leaves its ring when there is room in the window of
unacknowledged messages; from then on it is in paho's session, which sends it again, marked DUP, after a reconnect.
While the broker is away nothing is read, so records wait in the rings, which drop the oldest and count them.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY, Client, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.clock import Clock
from gateway.config.site import MqttLink, Tls
from gateway.errors import LinkError
from gateway.links.backoff import Backoff
from gateway.links.blocking import in_thread
from gateway.record import Payload, RecordError, decode, split
from gateway.supervisor import LinkState
from gateway.wasm import ConsumerStats

BACKOFF_FIRST_S = 0.5
BACKOFF_MOST_S = 30.0
TICK_S = 1.0
RECEIVE_MAXIMUM_DEFAULT = 65535


class Source(Protocol):
    """Where payloads come from: ``gateway.wasm.Consumer``, or a fake in tests."""

    def read(self) -> memoryview:
        """Whole records, valid until the next read; empty when there are none."""

    def doorbell(self) -> int:
        """A descriptor that is readable while there are records."""

    def stats(self) -> ConsumerStats:
        """What waits to be read and what was overwritten before."""


class MqttUplink:
    """One broker connection. ``run`` keeps it up until cancelled; ``state`` may be asked at any time."""

    def __init__(self, link: MqttLink, sources: Sequence[Source], clock: Clock) -> None:
        self.name = link.name
        self._link = link
        self._sources = list(sources)
        self._clock = clock
        self._log = logging.getLogger(f"penstock.link.{link.name}")
        self._tls = None if link.tls is None else _tls_context(link.tls)
        self._client = self._make_client()
        self._records: Iterator[memoryview] = iter(())
        self._outstanding: dict[int, int] = {}  # message id -> QoS
        self._published = self._acknowledged = self._rejected = self._lost = self._connects = 0
        self._window = link.inflight_max
        self._qos_max = link.qos
        self._problem = "not connected yet"
        self._watched: int | None = None  # descriptor of the socket, while the loop watches it
        self._listening = False  # to the doorbells
        self._connack: asyncio.Future[Any] | None = None
        self._ended = asyncio.Event()
        self._idle = asyncio.Event()
        self._ended.set()

    @property
    def connected(self) -> bool:
        """True between the broker's acceptance and the end of the connection."""
        return not self._ended.is_set()

    def state(self) -> LinkState:
        """Totals since the start."""
        return LinkState(
            name=self.name,
            connected=self.connected,
            published=self._published,
            acknowledged=self._acknowledged,
            outstanding=len(self._outstanding),
            dropped=sum(source.stats().dropped for source in self._sources),
            rejected=self._rejected,
            lost=self._lost,
            reconnects=max(0, self._connects - 1),
            problem=self._problem,
        )

    async def run(self) -> None:
        """Connect, publish until the connection ends, connect again; until cancelled, which says goodbye."""
        backoff = Backoff(BACKOFF_FIRST_S, BACKOFF_MOST_S, self._clock.jitter)
        try:
            while True:
                lasted_s = await self._once()
                await self._clock.sleep(backoff.after(lasted_s))
        finally:
            self._goodbye()

    async def drain(self) -> None:
        """Returns when the rings are empty and everything is acknowledged; at once when there is no connection."""
        self._pump()
        if self.connected:
            await self._idle.wait()

    # ---- connection ----

    async def _once(self) -> float:
        """One connection; returns the seconds it lasted, 0 when it did not come about."""
        try:
            await self._connect()
        except LinkError as error:
            self._unwatch()
            self._note(str(error))
            return 0.0
        started_s = self._clock.monotonic_s()
        self._note("", logging.INFO)
        await self._serve()
        return self._clock.monotonic_s() - started_s

    async def _connect(self) -> None:
        link = self._link
        where = f"{link.host}:{link.port}"
        try:
            self._load_secrets()
            self._client.connect_async(  # also drops what is left of the connection before
                link.host,
                link.port,
                link.keepalive_s,
                clean_start=MQTT_CLEAN_START_FIRST_ONLY,
                properties=self._expiry(),
            )
            self._forget_unsent()
            await in_thread(f"connect {self.name}", self._client.reconnect, None, lambda _: None)
            self._connack = asyncio.get_running_loop().create_future()
            self._watch_socket()
            async with asyncio.timeout(link.connect_timeout_s):
                await self._connack
        except TimeoutError:
            raise LinkError(f"{where}: timed out") from None
        except (OSError, ValueError) as error:
            raise LinkError(f"{where}: {getattr(error, 'strerror', None) or error}") from None

    async def _serve(self) -> None:
        """Look after keepalive until the connection ends."""
        while self.connected:
            try:
                async with asyncio.timeout(min(TICK_S, self._link.keepalive_s / 4)):
                    await self._ended.wait()
            except TimeoutError:
                self._client.loop_misc()
                self._pump()

    def _goodbye(self) -> None:
        if self.connected:
            self._ended.set()
            self._note("stopped", logging.INFO)
            self._client.disconnect()
            self._client.loop_write()
        self._unwatch()
        self._client.on_socket_close = None  # a connection attempt in its thread may still end, without our loop

    def _note(self, problem: str, level: int = logging.WARNING) -> None:
        """Log changes, not attempts."""
        if problem != self._problem:
            self._log.log(level, "%s", problem or f"connected: {self._link.host}:{self._link.port}")
        self._problem = problem

    def _forget_unsent(self) -> None:
        """QoS 0 messages that were still waiting for the socket are gone with the connection."""
        gone = [mid for mid, qos in self._outstanding.items() if qos == 0]
        for mid in gone:
            del self._outstanding[mid]
        self._lost += len(gone)

    # ---- set-up ----

    def _make_client(self) -> Client:
        link = self._link
        protocol = MQTTv5 if link.version == 5 else MQTTv311
        client = Client(
            CallbackAPIVersion.VERSION2, client_id=link.client_id, protocol=protocol, reconnect_on_failure=False
        )
        client.max_inflight_messages_set(0)  # the window is ours
        client.connect_timeout = link.connect_timeout_s
        if self._tls is not None:
            client.tls_set_context(self._tls)
            client.tls_insecure_set(link.tls is not None and link.tls.insecure)
        if link.will is not None:
            client.will_set(link.will.topic, link.will.payload, link.will.qos, link.will.retain)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = _nothing  # keeps paho from writing by itself; we ask want_write
        return client

    def _load_secrets(self) -> None:
        """Read password and certificates again, so that renewed ones count from the next connection on."""
        link = self._link
        if link.username:
            password = Path(link.password_file).read_text().rstrip("\r\n") if link.password_file else link.password
            self._client.username_pw_set(link.username, password or None)
        if self._tls is not None and link.tls is not None and link.tls.cert:
            self._tls.load_cert_chain(link.tls.cert, link.tls.key)

    def _expiry(self) -> Properties | None:
        if self._link.version != 5:
            return None
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = self._link.session_expiry_s
        return properties

    # ---- what paho calls, always inside of loop_read, loop_write, loop_misc or disconnect ----

    def _on_connect(self, _client: Client, _data: object, _flags: object, reason: Any, properties: Any) -> None:
        if self._connack is None or self._connack.done():
            return
        if reason.is_failure:
            self._connack.set_exception(LinkError(f"{self._link.host}:{self._link.port}: refused: {reason}"))
            return
        limit = getattr(properties, "ReceiveMaximum", RECEIVE_MAXIMUM_DEFAULT)
        self._window = min(self._link.inflight_max, limit)
        self._qos_max = min(self._link.qos, getattr(properties, "MaximumQoS", 1))
        self._connects += 1
        self._ended.clear()
        self._connack.set_result(None)

    def _on_disconnect(self, _client: Client, _data: object, _flags: object, reason: Any, _properties: object) -> None:
        self._end(f"connection ended: {reason}")

    def _on_socket_close(self, _client: Client, _data: object, _socket: object) -> None:
        self._unwatch()

    def _on_publish(self, _client: Client, _data: object, mid: int, reason: Any, _properties: object) -> None:
        if self._outstanding.pop(mid, None) is None:
            return
        if reason.is_failure:
            self._reject(f"message refused: {reason}")
        else:
            self._acknowledged += 1

    def _end(self, problem: str) -> None:
        self._unwatch()
        if self._connack is not None and not self._connack.done():
            self._connack.set_exception(LinkError(f"{self._link.host}:{self._link.port}: {problem}"))
        if self.connected:
            self._ended.set()
            self._idle.set()
            self._note(problem)

    # ---- socket and doorbells ----

    def _watch_socket(self) -> None:
        loop = asyncio.get_running_loop()
        connection = self._client.socket()
        if not isinstance(connection, socket.socket):
            raise LinkError(f"{self._link.host}:{self._link.port}: the connection broke at once")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._watched = connection.fileno()
        loop.add_reader(self._watched, self._readable)
        self._rewatch()

    def _unwatch(self) -> None:
        loop = asyncio.get_running_loop()
        if self._watched is not None:
            loop.remove_reader(self._watched)
            loop.remove_writer(self._watched)
            self._watched = None
        self._listen(False)

    def _readable(self) -> None:
        result = self._client.loop_read()
        while result == 0 and self._buffered():
            result = self._client.loop_read()
        self._pump()

    def _buffered(self) -> bool:
        """TLS: bytes that are decrypted already do not make the socket readable."""
        connection = self._client.socket()
        return isinstance(connection, ssl.SSLSocket) and connection.pending() > 0

    def _writable(self) -> None:
        self._client.loop_write()
        self._pump()

    def _rewatch(self) -> None:
        """Ask for what is needed now: room in the socket, records in the rings."""
        if self._watched is not None and self._client.want_write():
            asyncio.get_running_loop().add_writer(self._watched, self._writable)
        elif self._watched is not None:
            asyncio.get_running_loop().remove_writer(self._watched)
        self._listen(self.connected and len(self._outstanding) < self._window)

    def _listen(self, wanted: bool) -> None:
        if wanted == self._listening:
            return
        self._listening = wanted
        loop = asyncio.get_running_loop()
        for source in self._sources:
            if wanted:
                loop.add_reader(source.doorbell(), self._pump)
            else:
                loop.remove_reader(source.doorbell())

    # ---- publishing ----

    def _pump(self) -> None:
        """Publish while there are records and room in the window."""
        while self.connected and len(self._outstanding) < self._window:
            payload = self._next()
            if payload is None:
                break
            self._publish(payload)
        self._rewatch()
        waiting = self._outstanding or any(source.stats().lag_bytes for source in self._sources)
        if waiting and self.connected:
            self._idle.clear()
        else:
            self._idle.set()

    def _next(self) -> Payload | None:
        """The next payload of any ring; rings take turns by batches."""
        while True:
            try:
                for raw in self._records:
                    record = decode(raw)
                    if isinstance(record, Payload):
                        return record
            except RecordError as error:
                self._reject(f"not a payload: {error}")
                continue
            if not self._refill():
                return None

    def _refill(self) -> bool:
        for _ in self._sources:
            source = self._sources.pop(0)
            self._sources.append(source)
            batch = source.read()
            if batch:
                self._records = split(batch)
                return True
        return False

    def _publish(self, payload: Payload) -> None:
        qos = min(payload.qos, self._qos_max)
        try:
            info = self._client.publish(payload.topic, payload.body, qos, payload.retain)
        except ValueError as error:
            self._reject(f"not publishable on {payload.topic!r}: {error}")
            return
        self._published += 1
        self._outstanding[info.mid] = qos

    def _reject(self, message: str) -> None:
        self._rejected += 1
        if self._rejected == 1:
            self._log.warning("%s; more of these are only counted", message)


def _tls_context(tls: Tls) -> ssl.SSLContext:
    """Certificate checks as asked. Raises LinkError when the file with the authorities is unusable."""
    try:
        context = ssl.create_default_context(cafile=tls.ca or None)
    except OSError as error:
        raise LinkError(f"{tls.ca}: no usable certificate: {error.strerror or error}") from None
    if tls.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _nothing(*_: object) -> None:
    """For callbacks whose mere presence matters."""
