"""The control socket with methods of the tests' own: what a client may do, and what it cannot do to others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.api import server
from gateway.api.address import address
from gateway.api.protocol import LINE_BYTES_MAX, ApiError
from gateway.api.server import Client, ControlServer, Method
from gateway.clock import Clock
from gateway.errors import PluginError, StoreError
from tests.gateway.peers import until

CLOCK = Clock()


class Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: str


async def echo(params: Text, client: Client) -> dict[str, str]:
    return {"text": params.text, "user": client.name}


async def count(_params: Text, client: Client) -> int:
    client.memory["count"] = client.memory.get("count", 0) + 1
    return int(client.memory["count"])


async def fail(params: Text, _client: Client) -> object:
    errors = {"api": ApiError("no_previous", "a"), "store": StoreError("storage", "b"), "other": PluginError("c")}
    raise errors[params.text]


def endless(size: int) -> Callable[[Text], AsyncIterator[object]]:
    async def events(_params: Text) -> AsyncIterator[object]:
        for number in range(1 << 30):
            yield {"number": number, "much": "x" * size}
            await CLOCK.sleep(0)

    return events


METHODS = {
    "echo": Method(Text, echo),
    "count": Method(Text, count),
    "fail": Method(Text, fail),
    "numbers": Method(Text, stream=endless(10)),
    "flood": Method(Text, stream=endless(100_000)),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


class Peer:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, method: str, text: str = "", request_id: object = 1) -> Any:
        self.send(json.dumps({"id": request_id, "method": method, "params": {"text": text}}).encode() + b"\n")
        return await self.answer()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> Any:
        line = await self.reader.readline()
        return json.loads(line) if line else None


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock, address(path) as name:
        return sock.connect_ex(name) == 0


def scene(path: Path, play: Callable[[Callable[[], Awaitable[Peer]]], Awaitable[None]]) -> None:
    """Run ``play`` against a running server; it gets a maker of connections."""

    async def connect() -> Peer:
        with address(path) as name:
            return Peer(*await asyncio.open_unix_connection(name, limit=1 << 20))

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(ControlServer(path, METHODS).run())
            await until(lambda: answers(path), "somebody answers")
            async with asyncio.timeout(20):
                await play(connect)
            serving.cancel()

    asyncio.run(run())


def test_answers_and_their_ids(path: Path) -> None:
    async def play(connect: Callable[[], Awaitable[Peer]]) -> None:
        peer = await connect()
        user = (await peer.ask("echo", "hello", "a"))["result"]["user"]
        assert await peer.ask("echo", "hello", 7) == {"id": 7, "result": {"text": "hello", "user": user}}
        assert [(await peer.ask("count"))["result"] for _ in range(2)] == [1, 2]
        assert (await (await connect()).ask("count"))["result"] == 1, "memory is a connection's own"

    scene(path, play)
    assert not path.exists(), "the socket goes with the server"


@pytest.mark.parametrize(
    ("line", "answer_id", "code"),
    [
        (b"nonsense", None, "bad_request"),
        (b'{"id": 1}', None, "bad_request"),
        (b'{"id": 1, "method": "echo", "more": 1}', None, "bad_request"),
        (b'{"id": 1.5, "method": "echo"}', None, "bad_request"),
        (b'{"id": 1, "method": "echo", "params": {"text": "\xff"}}', 1, "bad_request"),
        (b'{"id": 1, "method": "echo"}', 1, "bad_request"),
        (b'{"id": 1, "method": "echo", "params": {"text": 1}}', 1, "bad_request"),
        (b'{"id": 1, "method": "echo", "params": {"text": "", "x": 1}}', 1, "bad_request"),
        (b'{"id": 2, "method": "ecko", "params": {"text": ""}}', 2, "unknown_method"),
        (b'{"id": 3, "method": "fail", "params": {"text": "api"}}', 3, "no_previous"),
        (b'{"id": 4, "method": "fail", "params": {"text": "store"}}', 4, "storage"),
        (b'{"id": 5, "method": "fail", "params": {"text": "other"}}', 5, "failed"),
        (b"[" * 10_000, None, "bad_request"),
    ],
)
def test_what_is_wrong_is_told_and_the_connection_goes_on(
    path: Path, line: bytes, answer_id: int | None, code: str
) -> None:
    async def play(connect: Callable[[], Awaitable[Peer]]) -> None:
        peer = await connect()
        peer.send(line + b"\n")
        answer = await peer.answer()
        assert (answer["id"], answer["error"]["code"]) == (answer_id, code)
        assert (await peer.ask("echo", "on"))["result"]["text"] == "on"

    scene(path, play)


def test_a_line_that_is_too_long_ends_the_connection(path: Path) -> None:
    async def play(connect: Callable[[], Awaitable[Peer]]) -> None:
        peer, other = await connect(), await connect()
        peer.send(b'"' + b"x" * (LINE_BYTES_MAX + 1000))
        assert (await peer.answer())["error"]["code"] == "too_large"
        assert await peer.answer() is None
        text = "x" * (LINE_BYTES_MAX - 100)
        assert (await other.ask("echo", text))["result"]["text"] == text

    scene(path, play)


def test_there_is_a_most_of_clients(path: Path) -> None:
    async def play(connect: Callable[[], Awaitable[Peer]]) -> None:
        peers = [await connect() for _ in range(server.CLIENTS_MAX)]
        for peer in peers:
            assert "result" in await peer.ask("echo")
        late = await connect()
        assert (await late.answer())["error"]["code"] == "too_many_clients"
        assert await late.answer() is None
        peers[0].writer.close()

        async def has_room() -> bool:
            newcomer = await connect()
            answer = await newcomer.ask("echo")
            return "result" in answer

        while not await has_room():
            pass

    scene(path, play)


def test_a_client_that_does_not_read_is_cut_off_and_hinders_nobody(path: Path) -> None:
    async def play(connect: Callable[[], Awaitable[Peer]]) -> None:
        deaf = socket.socket(socket.AF_UNIX)
        with address(path) as name:
            deaf.connect(name)
        deaf.sendall(b'{"id": 1, "method": "flood", "params": {"text": ""}}\n')
        other = await connect()
        for _ in range(50):
            assert "result" in await other.ask("echo")
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while data := await asyncio.to_thread(deaf.recv, 1 << 16):
                received += len(data)
        assert received < 3_000_000, "what is not read is left out, not stored"
        assert "result" in await other.ask("echo")
        deaf.close()

    scene(path, play)


def test_a_stream_goes_on_between_answers_and_ends_with_the_connection(path: Path) -> None:
    async def play(connect: Callable[[], Awaitable[Peer]]) -> None:
        peer = await connect()
        first = await peer.ask("numbers", request_id="stream")
        assert first == {"id": "stream", "event": {"number": 0, "much": "x" * 10}}
        peer.send(b'{"id": 2, "method": "echo", "params": {"text": "t"}}\n')
        seen: list[Any] = []
        while not seen or seen[-1]["id"] != 2:
            seen.append(await peer.answer())
        assert (await peer.answer())["id"] == "stream"
        peer.writer.close()
        assert "result" in await (await connect()).ask("echo")

    scene(path, play)


def test_a_connection_has_a_most_of_streams(path: Path) -> None:
    async def play(connect: Callable[[], Awaitable[Peer]]) -> None:
        peer = await connect()
        for number in range(server.STREAMS_MAX + 1):
            peer.send(b'{"id": %d, "method": "numbers", "params": {"text": ""}}\n' % number)
        while "error" not in (answer := await peer.answer()):
            pass
        assert (answer["id"], answer["error"]["code"]) == (server.STREAMS_MAX, "too_many_streams")
        assert "event" in await peer.answer(), "the others go on"

    scene(path, play)


def test_a_client_that_vanishes_in_the_middle_of_a_line(path: Path) -> None:
    async def play(connect: Callable[[], Awaitable[Peer]]) -> None:
        for _ in range(2 * server.CLIENTS_MAX):
            peer = await connect()
            peer.send(b'{"id": 1, "met')
            await peer.writer.drain()
            peer.writer.transport.abort()
        while "result" not in (await (await connect()).ask("echo") or {}):
            pass

    scene(path, play)


def test_only_its_owner_may_connect(path: Path) -> None:
    async def play(connect: Callable[[], Awaitable[Peer]]) -> None:
        await connect()
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600

    scene(path, play)


def test_what_a_killed_gateway_left_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left, address(path) as name:
        left.bind(name)
    assert path.exists()

    async def play(connect: Callable[[], Awaitable[Peer]]) -> None:
        assert "result" in await (await connect()).ask("echo")

    scene(path, play)


def test_a_path_may_be_long(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()

    async def play(connect: Callable[[], Awaitable[Peer]]) -> None:
        assert "result" in await (await connect()).ask("echo")

    scene(folder / "control.sock", play)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ApiError, match=r"no control socket: No such file"):
        asyncio.run(ControlServer(tmp_path / "nowhere" / "s", METHODS).run())
