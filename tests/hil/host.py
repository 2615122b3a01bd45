"""The host's side of a test: a Modbus slave on each port, an MQTT broker and a subscriber, all real, in one thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ota.clock import Cancel, Clock
from tests.gateway.peers import Mosquitto
from tests.hil.machine import HOST
from tests.peers import site
from tests.peers.listener import Listener
from tests.peers.slave import Request, SerialSlave, Slave, TcpSlave, place_of

STOP_SECONDS_MAX = 60
BOARD_PORT = "rs485-1"
TCP, RTU = "plc", "meters"
UNITS = {TCP: 7, RTU: 17}
REGISTERS = (0, 2, 4, 6)
POLL_MS = {TCP: 250, RTU: 500}


@dataclass(eq=False)
class Host:
    """Everything that the gateway under test talks to. Read ``listener`` from any thread, it only grows."""

    tcp: TcpSlave
    rtu: SerialSlave
    broker: Mosquitto
    listener: Listener

    @property
    def slaves(self) -> dict[str, Slave]:
        """By the name of the port in the site."""
        return {TCP: self.tcp, RTU: self.rtu}

    def count(self) -> int:
        """Values that were read and have arrived."""
        return sum(sample.q == "good" for samples in list(self.listener.samples.values()) for sample in list(samples))

    def await_value(self, since: int, within_s: float) -> None:
        """Return when more than ``since`` values have arrived. Raises AssertionError."""
        clock, cancel = Clock(), Cancel()
        until_s = clock.monotonic_s() + within_s
        while self.count() <= since:
            assert clock.monotonic_s() < until_s, f"no value within {within_s:.0f} s"
            clock.wait(0.01, cancel)

    def forget(self) -> None:
        """What came so far belongs to another machine: begin anew, with replies counted from 0."""
        for slave in self.slaves.values():
            slave.replies.clear()
        self.listener.samples.clear()

    def losses(self) -> list[str]:
        """What is wrong with what came since ``forget``: every value says where it was read, and none is missing.

        Replies after the newest value may still be under way and are not missed.
        """
        found = []
        for source, slave in self.slaves.items():
            for at in REGISTERS:
                name = f"{source}/{at}"
                places = [place_of(sample.v) for sample in self.listener.samples.get(name, []) if sample.q == "good"]
                came = [place.reply for place in places]
                sent = {one.number for one in slave.replies if one.counts and covers(one.request, at)}
                missing = sorted(number for number in sent - set(came) if number < max(came, default=0))
                strangers = [place for place in places if (place.unit, place.address) != (UNITS[source], at)]
                found += [f"{name}: value from elsewhere: {place}" for place in strangers]
                found += [f"{name}: replies {missing} did not come"] if missing else []
                found += [f"{name}: out of order or twice"] if came != sorted(set(came)) else []
                found += [f"{name}: nothing came"] if not came else []
        return found

    def site(self) -> str:
        """A site that polls both slaves and publishes to the broker."""
        parts = ['[site]\nname = "hil"\n']
        parts.append(f'[port.{TCP}]\nkind = "tcp"\nhost = "{HOST}"\nport = {self.tcp.port}\n')
        parts.append(f'[port.{RTU}]\nkind = "serial"\ndevice = "{BOARD_PORT}"\nbaudrate = 115200\n')
        parts.append(site.driver(TCP, framing="tcp", poll_ms=POLL_MS[TCP], timeout_ms=2000))
        parts.append(site.driver(RTU, framing="rtu", poll_ms=POLL_MS[RTU], timeout_ms=2000))
        parts.append(site.uplink([TCP, RTU], self.broker.port).replace('"127.0.0.1"', f'"{HOST}"'))
        for source, unit in UNITS.items():
            parts += [
                site.tag(f"{source}/{at}", source, unit=unit, table="holding", address=at, type="u32")
                for at in REGISTERS
            ]
        return "".join(parts)


def covers(request: Request, address: int) -> bool:
    """Whether a request reads both registers of a value."""
    return request.address <= address and address + 2 <= request.address + request.count


@contextmanager
def host(folder: Path) -> Iterator[Host]:
    """All of it, running."""
    folder.mkdir(parents=True, exist_ok=True)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def call(make: Callable[[], Awaitable[object]]) -> object:
        async def run() -> object:
            return await make()

        return asyncio.run_coroutine_threadsafe(run(), loop).result(STOP_SECONDS_MAX)

    try:
        with Mosquitto(folder, "persistence false", "max_queued_messages 0") as broker:
            tcp, rtu, listener = TcpSlave(), SerialSlave(), Listener(broker.port)
            parts = (tcp, rtu, listener)
            for part in parts:
                call(part.__aenter__)
            try:
                yield Host(tcp, rtu, broker, listener)
            finally:
                for part in reversed(parts):
                    call(lambda part=part: part.__aexit__(None, None, None))  # type: ignore[misc]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
