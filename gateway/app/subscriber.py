"""The demo's own eyes at the far end: subscribes to the topic and counts what really arrives."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from gateway.app.tally import Tally
from gateway.errors import LinkError

CONNECT_TIMEOUT_S = 10.0
QOS = 1


class Subscriber:
    """An MQTT 3.1.1 client in a thread of its own. Bodies wait in a queue until ``count`` puts them into the tally."""

    def __init__(self, host: str, port: int, topic: str) -> None:
        self.tally = Tally()
        self._address = (host, port)
        self._topic = topic
        self._bodies: deque[bytes] = deque()
        # A session that outlives a broken connection: what the broker accepted meanwhile is still delivered.
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"penstock-demo-{os.getpid()}",
            clean_session=False,
            protocol=MQTTProtocolVersion.MQTTv311,
        )

    async def start(self) -> None:
        """Connect and subscribe. Raises LinkError when there is no broker or it refuses."""
        loop = asyncio.get_running_loop()
        subscribed = asyncio.Event()
        self._client.on_connect = self._connected

        def note_subscribed(*_: Any) -> None:
            loop.call_soon_threadsafe(subscribed.set)

        self._client.on_subscribe = note_subscribed
        self._client.on_message = self._arrived
        host, port = self._address
        try:
            await asyncio.to_thread(self._client.connect, host, port)
            self._client.loop_start()
            await asyncio.wait_for(subscribed.wait(), CONNECT_TIMEOUT_S)
        except (OSError, TimeoutError) as error:
            self.stop()
            raise LinkError(f"no MQTT broker at {host}:{port}: {error or 'it does not answer'}") from None

    def count(self) -> None:
        """Put everything that arrived so far into the tally. Raises PenstockError for a foreign message."""
        while self._bodies:
            self.tally.add(self._bodies.popleft())

    def stop(self) -> None:
        """Disconnect; returns when the thread has ended."""
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client: Client, *_: Any) -> None:
        client.subscribe(self._topic, QOS)

    def _arrived(self, _client: Client, _user: object, message: MQTTMessage) -> None:
        self._bodies.append(bytes(message.payload))
