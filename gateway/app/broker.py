"""A small MQTT 3.1.1 broker for the demo, made of amqtt, on a free loopback port.

``python -m gateway.app.broker`` prints a JSON object, ``{"port": ...}``, and serves. For real sites use a real broker.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType

from gateway.app.child import serve_until_eof


async def serve(port: int) -> None:
    """Run the broker on 127.0.0.1 until standard input ends.

    The listening socket is ours and not amqtt's: only so can the system choose the port and we know which.
    """
    config = BrokerConfig(
        listeners={"default": ListenerConfig(type=ListenerType.EXTERNAL)},
        plugins={"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    )
    broker = Broker(config)
    await broker.start()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await broker.external_connected(StreamReaderAdapter(reader), StreamWriterAdapter(writer), "default")

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    await serve_until_eof({"port": server.sockets[0].getsockname()[1]})
    server.close()
    await broker.shutdown()


def main(arguments: list[str] | None = None) -> int:
    """``python -m gateway.app.broker [--port N]``."""
    parser = argparse.ArgumentParser(prog="broker", description="MQTT broker for the demo on loopback")
    parser.add_argument("--port", type=int, default=0, help="TCP port (default: a free one)")
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    asyncio.run(serve(parser.parse_args(arguments).port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
