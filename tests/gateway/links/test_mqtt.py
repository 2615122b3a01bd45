"""The MQTT uplink against mosquitto: delivery, reconnecting, back-pressure, TLS, passwords."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import Clock
from gateway.config.site import Input, MqttLink, Tls, Will
from gateway.links.mqtt import MqttUplink
from gateway.record import Payload, Schema, encode_payload
from gateway.wasm import Policy, Ring
from tests.gateway.peers import Mosquitto, Proxy, Subscriber, free_port, proxy, subscriber, until

RING_BYTES = 16384


class Impatient(Clock):
    """Reconnects without delay; everything else takes its time."""

    def jitter(self, low: float, high: float) -> float:
        assert low < high
        return 0.0


class Bench:
    """An uplink on a ring of its own."""

    def __init__(self, link: MqttLink) -> None:
        self.ring = Ring("text", RING_BYTES, Schema.PAYLOADS, 1)
        self.uplink = MqttUplink(link, [self.ring.attach(Policy.DROP_OLDEST)], Impatient())
        self._next = 0

    def write(self, count: int, *, topic: str = "works/data", qos: int = 1, retain: bool = False) -> list[str]:
        """Append ``count`` numbered payloads; returns their bodies."""
        bodies = []
        for _ in range(count):
            bodies.append(f"message {self._next}")
            payload = Payload(topic, bodies[-1].encode(), qos, retain, self._next, self._next)
            self.ring.write(encode_payload(payload))
            self._next += 1
        return bodies

    async def acknowledged(self, count: int) -> None:
        uplink = self.uplink
        await until(lambda: uplink.state().acknowledged >= count, f"{count} acknowledged: {uplink.state()}")

    async def published(self, count: int) -> None:
        await until(lambda: self.uplink.state().published >= count, f"{count} published: {self.uplink.state()}")

    async def connected(self, yes: bool = True) -> None:
        await until(lambda: self.uplink.connected is yes, f"connected {yes}: {self.uplink.state()}")


def link_to(port: int, **changes: Any) -> MqttLink:
    link = MqttLink(
        name="cloud",
        inputs=(Input("text", "drop-oldest"),),
        host="127.0.0.1",
        port=port,
        version=5,
        qos=1,
        client_id="penstock-test",
        keepalive_s=30,
        username="",
        password="",
        password_file="",
        tls=None,
        will=None,
        session_expiry_s=0,
        inflight_max=20,
        connect_timeout_s=5.0,
    )
    return replace(link, **changes)


@contextlib.asynccontextmanager
async def running(link: MqttLink) -> AsyncIterator[Bench]:
    bench = Bench(link)
    with bench.ring:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(bench.uplink.run())
            try:
                yield bench
            finally:
                task.cancel()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as started:
        yield started


@pytest.fixture
def heard(broker: Mosquitto) -> Iterator[Subscriber]:
    with subscriber(broker.port) as listening:
        yield listening


def play(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("qos", [0, 1])
def test_payloads_arrive_once_and_in_order(broker: Mosquitto, heard: Subscriber, version: int, qos: int) -> None:
    async def scene() -> None:
        async with running(link_to(broker.port, version=version)) as bench:
            bodies = bench.write(60, qos=qos)
            await bench.acknowledged(60)
            bodies += bench.write(60, qos=qos)
            await bench.acknowledged(120)
            await until(lambda: len(heard.messages) == 120, "all of them arrive")
            assert heard.bodies == bodies
            assert {message.qos for message in heard.messages} == {qos}
            state = bench.uplink.state()
            assert (state.published, state.outstanding, state.dropped, state.rejected, state.lost) == (120, 0, 0, 0, 0)

    play(scene())


def test_qos_of_the_link_is_the_most_that_is_used(broker: Mosquitto, heard: Subscriber) -> None:
    async def scene() -> None:
        async with running(link_to(broker.port, qos=0)) as bench:
            bench.write(1, qos=2)
            await until(lambda: len(heard.messages) == 1, "it arrives")
            assert heard.messages[0].qos == 0

    play(scene())


def test_retained_payloads_are_retained(broker: Mosquitto) -> None:
    async def scene() -> None:
        async with running(link_to(broker.port)) as bench:
            bodies = bench.write(1, retain=True)
            await bench.acknowledged(1)
            with subscriber(broker.port) as late:
                await until(lambda: late.bodies == bodies, "a late subscriber gets it")

    play(scene())


def test_records_wait_while_the_broker_is_away_and_the_oldest_are_dropped(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)

    async def scene() -> None:
        async with running(link_to(broker.port)) as bench:
            await until(lambda: "refused" in bench.uplink.state().problem, "the broker is not there")
            bodies = bench.write(2000)
            with broker, subscriber(broker.port) as heard:
                await until(lambda: heard.bodies[-1:] == bodies[-1:], "the newest arrives")
                await bench.acknowledged(len(heard.messages))
                state = bench.uplink.state()
                assert state.dropped > 0
                assert state.published + state.dropped == 2000
                assert heard.bodies == bodies[state.dropped :], "the oldest are missing, nothing else"

    play(scene())


def test_after_a_restart_of_the_broker_it_goes_on(broker: Mosquitto) -> None:
    async def scene() -> None:
        async with running(link_to(broker.port)) as bench:
            first = bench.write(5)
            await bench.acknowledged(5)
            broker.stop()
            await bench.connected(False)
            second = bench.write(5)
            broker.start()
            with subscriber(broker.port) as heard:
                await bench.connected()
                await bench.acknowledged(10)
                third = bench.write(5)
                await bench.acknowledged(15)
                await until(lambda: heard.bodies[-5:] == third, "what is new arrives")
                assert set(heard.bodies) <= {*second, *third}
            state = bench.uplink.state()
            assert (state.reconnects, state.published, state.dropped, state.lost) == (1, 15, 0, 0)
            assert len(first) == 5

    play(scene())


def test_what_is_not_acknowledged_is_sent_again_after_a_reconnect(broker: Mosquitto, heard: Subscriber) -> None:
    async def scene(between: Proxy) -> None:
        async with running(link_to(between.port, inflight_max=10)) as bench:
            await bench.connected()
            between.deaf = True
            bodies = bench.write(30)
            await until(lambda: len(heard.messages) == 10, "the window arrives, its acknowledgements do not")
            assert bench.uplink.state().outstanding == 10
            between.deaf = False
            between.cut()
            await bench.acknowledged(30)
            await until(lambda: len(heard.messages) == 40, "the window twice, the rest once")
            assert heard.bodies == bodies[:10] + bodies
            assert bench.uplink.state().published == 30

    async def with_proxy() -> None:
        async with proxy(broker.port) as between:
            await scene(between)

    play(with_proxy())


def test_qos_0_messages_that_never_left_are_counted_as_lost(broker: Mosquitto) -> None:
    """The broker stands still, so that the socket fills up; what then waits in memory is gone with the connection."""

    async def scene(between: Proxy) -> None:
        async with running(link_to(between.port, inflight_max=1000)) as bench:
            uplink = bench.uplink
            await bench.connected()
            broker.pause()
            sent = 0
            while uplink.state().outstanding < 3:
                bench.ring.write(encode_payload(Payload("works/data", bytes(7000), 0, False, sent, 0)))
                sent += 1
                await bench.published(sent)
            waiting = uplink.state().outstanding
            broker.go_on()
            broker.stop()
            between.cut()
            await until(lambda: uplink.state().lost > 0, "what did not leave is lost")
            assert 0 < uplink.state().lost <= waiting
            assert uplink.state().outstanding == 0
            broker.start()

    async def with_proxy() -> None:
        async with proxy(broker.port) as between:
            await scene(between)

    play(with_proxy())


def test_a_broker_that_stands_still_stops_nothing_but_the_window(broker: Mosquitto, heard: Subscriber) -> None:
    async def scene() -> None:
        async with running(link_to(broker.port, inflight_max=7)) as bench:
            await bench.connected()
            broker.pause()
            bodies = bench.write(50)
            await until(lambda: bench.uplink.state().outstanding == 7, "the window is full")
            bodies += bench.write(50)
            assert bench.uplink.state().published == 7
            broker.go_on()
            await bench.acknowledged(100)
            await until(lambda: heard.bodies == bodies, "everything arrives")

    play(scene())


def test_receive_maximum_of_the_broker_is_kept(tmp_path: Path) -> None:
    async def scene(broker: Mosquitto) -> None:
        async with running(link_to(broker.port, inflight_max=50)) as bench:
            await bench.connected()
            broker.pause()
            bench.write(20)
            await until(lambda: bench.uplink.state().outstanding >= 4, "the window is full")
            assert bench.uplink.state().published == 4
            broker.go_on()
            await bench.acknowledged(20)

    with Mosquitto(tmp_path, "max_inflight_messages 4") as broker:
        play(scene(broker))


WILL = Will("works/state", "gone", 1, False)


def test_the_will_speaks_when_the_connection_breaks(broker: Mosquitto, heard: Subscriber) -> None:
    async def scene() -> None:
        async with proxy(broker.port) as between, running(link_to(between.port, will=WILL)) as bench:
            await bench.connected()
            between.cut()
            await until(lambda: heard.bodies == ["gone"], "the broker publishes the will")
            await until(lambda: between.connections == 2, "it connects again")

    play(scene())


def test_the_will_is_silent_after_a_goodbye(broker: Mosquitto, heard: Subscriber) -> None:
    async def scene() -> None:
        async with running(link_to(broker.port, will=WILL)) as bench:
            await bench.connected()
        assert not bench.uplink.connected
        async with running(link_to(broker.port, client_id="other")) as bench:
            bodies = bench.write(1)
            await bench.acknowledged(1)
            await until(lambda: heard.bodies == bodies, "nothing else is heard")

    play(scene())


def test_unpublishable_payloads_are_counted_and_passed_over(broker: Mosquitto, heard: Subscriber) -> None:
    async def scene() -> None:
        async with running(link_to(broker.port)) as bench:
            bench.write(1, topic="a/#")
            bodies = bench.write(1)
            await bench.acknowledged(1)
            await until(lambda: heard.bodies == bodies, "the good one arrives")
            assert bench.uplink.state().rejected == 1

    play(scene())


def test_drain_returns_when_everything_is_acknowledged(broker: Mosquitto) -> None:
    async def scene() -> None:
        async with running(link_to(broker.port, inflight_max=3)) as bench:
            await bench.connected()
            bench.write(100)
            async with asyncio.timeout(20):
                await bench.uplink.drain()
            state = bench.uplink.state()
            assert (state.acknowledged, state.outstanding) == (100, 0)

    play(scene())


def test_drain_does_not_wait_for_a_broker_that_is_away() -> None:
    async def scene() -> None:
        async with running(link_to(free_port())) as bench:
            bench.write(1)
            await until(lambda: "refused" in bench.uplink.state().problem, "nobody is there")
            async with asyncio.timeout(20):
                await bench.uplink.drain()

    play(scene())


# ---- passwords ----


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Mosquitto]:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "works", "secret"], check=True, capture_output=True)
    with Mosquitto(tmp_path, "allow_anonymous false", f"password_file {passwords}") as started:
        yield started


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("from_file", [False, True])
def test_user_and_password(guarded: Mosquitto, tmp_path: Path, version: int, from_file: bool) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    login = {"password_file": str(secret)} if from_file else {"password": "secret"}

    async def scene() -> None:
        async with running(link_to(guarded.port, version=version, username="works", **login)) as bench:
            bench.write(1)
            await bench.acknowledged(1)

    play(scene())


@pytest.mark.parametrize("version", [4, 5])
def test_a_wrong_password_is_named_and_a_corrected_one_counts(guarded: Mosquitto, tmp_path: Path, version: int) -> None:
    secret = tmp_path / "secret"
    secret.write_text("wrong")
    link = link_to(guarded.port, version=version, username="works", password_file=str(secret))

    async def scene() -> None:
        async with running(link) as bench:
            await until(lambda: "refused: Not authorized" in bench.uplink.state().problem, "the broker refuses")
            secret.write_text("secret")
            await bench.connected()

    play(scene())


# ---- TLS ----


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority, a server certificate for 127.0.0.1, a client's, and a foreign authority."""
    folder = tmp_path_factory.mktemp("keys")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for name in ("ca", "foreign"):
        openssl("req", "-x509", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}")
    for name in ("server", "client"):
        openssl("req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
        sign = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names"]
        openssl("x509", "-req", "-in", f"{name}.csr", *sign, "-out", f"{name}.pem")
    return folder


@pytest.fixture
def encrypted(tmp_path: Path, keys: Path) -> Iterator[Mosquitto]:
    """mosquitto that wants a client certificate of our authority."""
    files = [f"cafile {keys}/ca.pem", f"certfile {keys}/server.pem", f"keyfile {keys}/server.key"]
    with Mosquitto(tmp_path, *files, "require_certificate true") as started:
        yield started


def tls(keys: Path, *, ca: str = "ca", own: str = "client", insecure: bool = False) -> Tls:
    return Tls(str(keys / f"{ca}.pem"), str(keys / f"{own}.pem"), str(keys / f"{own}.key"), insecure)


@pytest.mark.parametrize("version", [4, 5])
def test_tls_with_a_client_certificate(encrypted: Mosquitto, keys: Path, version: int) -> None:
    async def scene() -> None:
        async with running(link_to(encrypted.port, version=version, tls=tls(keys))) as bench:
            bench.write(200)
            await bench.acknowledged(200)

    play(scene())


def test_tls_refuses_a_broker_of_another_authority(encrypted: Mosquitto, keys: Path) -> None:
    async def scene() -> None:
        async with running(link_to(encrypted.port, tls=tls(keys, ca="foreign"))) as bench:
            await until(lambda: "verify failed" in bench.uplink.state().problem, bench.uplink.state().problem)
            assert not bench.uplink.connected

    play(scene())


def test_tls_insecure_accepts_any_authority(encrypted: Mosquitto, keys: Path) -> None:
    async def scene() -> None:
        async with running(link_to(encrypted.port, tls=tls(keys, ca="foreign", insecure=True))) as bench:
            await bench.connected()

    play(scene())


def test_tls_refuses_another_host_name(encrypted: Mosquitto, keys: Path) -> None:
    async def scene() -> None:
        async with running(link_to(encrypted.port, host="localhost", tls=tls(keys))) as bench:
            await until(lambda: "localhost" in bench.uplink.state().problem, "the name is checked")
            assert "mismatch" in bench.uplink.state().problem or "verify failed" in bench.uplink.state().problem

    play(scene())
