"""The methods over a real socket, as the client of the commands calls them; the gateway behind them is a plan."""

from __future__ import annotations

import asyncio
import base64
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.api.address import address
from gateway.api.client import ControlClient, ControlError
from gateway.api.desk import Desk
from gateway.api.health import HealthMonitor
from gateway.api.methods import Control
from gateway.api.protocol import CHUNK_BYTES_MAX
from gateway.api.server import ControlServer
from gateway.app.site_check import load
from gateway.clock import Clock
from gateway.digest import content_hash
from gateway.graph import Plan
from gateway.store.container import custom_section, embed
from gateway.store.plugins import PluginStore
from gateway.store.search import Plugin
from gateway.supervisor import State
from gateway.wasm import TARGET
from tests.gateway import sites
from tests.gateway.modules import module
from tests.gateway.store.disk import FakeDisk
from tests.gateway.store.goods import MANIFEST, Ticking, hashed, plugin_file

LONG = embed(module() + custom_section("ballast", bytes(3 * CHUNK_BYTES_MAX)), MANIFEST.format(
    name="gain", version="3.0.0", summary="long").encode())  # fmt: skip


class Gateway:
    """What the methods need of a supervisor; its stage takes every version."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def snapshot(self) -> State:
        return State(self.plan.site, 1.0, (), (), (), ())

    def stages_of(self, plugin: str) -> Sequence[str]:
        return ("si",) if plugin == "gain" else ()

    def running(self, stage: str) -> str:
        raise AssertionError(f"nobody asks for {stage}")

    async def swap(
        self,
        stage: str,
        plugin: Plugin,
        *,
        carry_state: bool = True,
        shadow_records: int = 0,
        allowed: Sequence[str] = (),
    ) -> object:
        assert (stage, plugin.manifest.name, carry_state, shadow_records, allowed) == ("si", "gain", True, 0, ())
        return {"pause_ns": 12345}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return load(*sites.write(tmp_path), [], to_run=True).plan


@pytest.fixture
def store() -> PluginStore:
    made = PluginStore(FakeDisk(), Path("state"), Ticking())
    made.install([plugin_file()], "penstock", "first")
    return made


def serve(path: Path, plan: Plan, store: PluginStore | None) -> Iterator[Path]:
    """A control socket in a thread of its own."""
    gateway, clock = Gateway(plan), Clock()
    monitor = HealthMonitor(clock, "1.2.3")
    loop = asyncio.new_event_loop()
    ready, ending = threading.Event(), asyncio.Event()

    async def run() -> None:
        desk = Desk(store, gateway, asyncio.Queue()) if store else None
        control = Control(gateway, lambda: monitor.judge(gateway.snapshot()), clock, "1.2.3", desk)
        serving = asyncio.create_task(ControlServer(path, control.methods()).run())
        loop.call_soon(ready.set)
        await ending.wait()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    assert ready.wait(20)
    try:
        yield path
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join()
        loop.close()


@pytest.fixture
def path(tmp_path: Path, plan: Plan, store: PluginStore) -> Iterator[Path]:
    yield from serve(tmp_path / "control.sock", plan, store)


@pytest.fixture
def client(path: Path) -> Iterator[ControlClient]:
    with ControlClient(path) as made:
        yield made


def test_who_answers(client: ControlClient) -> None:
    told = {"protocol": 1, "version": "1.2.3", "site": "works", "target": TARGET}
    assert client.call("hello", {}, dict[str, Any]) == told
    assert client.call("state", {}, dict[str, Any])["site"] == "works"
    assert client.call("health", {}, dict[str, Any])["healthy"] is True


def test_watching(client: ControlClient) -> None:
    events = client.stream("watch", {"period_ms": 100}, dict[str, Any])
    assert [next(events)["uptime_s"] for _ in range(3)] == [1.0, 1.0, 1.0]


def test_the_graph(client: ControlClient) -> None:
    nodes = client.call("graph", {}, list[dict[str, Any]])
    assert [(one["name"], one["kind"], one["plugin"]) for one in nodes] == [
        ("plc", "driver", "fieldbus"), ("meters", "driver", "fieldbus"), ("si", "etl", "gain"),
        ("text", "format", "writer"), ("cloud", "link", ""),
    ]  # fmt: skip
    assert nodes[2]["inputs"] == [{"stage": "plc", "policy": "block"}, {"stage": "meters", "policy": "block"}]
    assert (nodes[0]["ports"], nodes[0]["output"]) == (["plc"], "samples")


def test_push_swap_rollback(client: ControlClient) -> None:
    assert client.push(LONG) == {"name": "gain", "version": "3.0.0", "hash": content_hash(LONG)}
    done = client.call("plugin.swap", {"name": "gain", "version": "3.0.0"}, dict[str, Any])
    assert (done["source"]["version"], done["target"]["version"]) == ("1.0.0", "3.0.0")
    assert done["stages"] == {"si": {"pause_ns": 12345}}
    shown = client.call("plugin.show", {"name": "gain"}, dict[str, Any])
    assert [(one["ref"]["version"], one["state"]) for one in shown["versions"]] == [
        ("3.0.0", "active"), ("1.0.0", "good"),
    ]  # fmt: skip
    back = {"name": "gain", "from": content_hash(LONG)}
    assert client.call("plugin.rollback", back, dict[str, Any])["target"]["version"] == "1.0.0"
    assert [one["name"] for one in client.call("plugin.list", {}, list[dict[str, Any]])] == ["gain"]
    history = client.call("plugin.history", {"name": "gain"}, list[dict[str, Any]])
    assert [one["action"] for one in history] == ["install", "push", "swap", "rollback"]
    assert history[1]["source"] is None


def piece(file: bytes, offset: int, *, size: int = CHUNK_BYTES_MAX, **other: Any) -> dict[str, Any]:
    text = base64.b64encode(file[offset : offset + size]).decode()
    return {"hash": content_hash(file), "bytes": len(file), "offset": offset, "data": text, **other}


def after_a_first_piece(client: ControlClient) -> None:
    received = client.call("plugin.push", piece(LONG, 0), dict[str, Any])
    assert received == {"received": CHUNK_BYTES_MAX}


@pytest.mark.parametrize(
    ("params", "code"),
    [
        (piece(LONG, 2 * CHUNK_BYTES_MAX), "out_of_order"),
        (piece(plugin_file(), CHUNK_BYTES_MAX), "out_of_order"),
        (piece(LONG, CHUNK_BYTES_MAX, size=0), "out_of_order"),
        (piece(LONG, CHUNK_BYTES_MAX, size=CHUNK_BYTES_MAX + 1), "bad_request"),
        (piece(LONG, CHUNK_BYTES_MAX, data="%"), "bad_request"),
        (piece(LONG, CHUNK_BYTES_MAX, hash="00"), "bad_request"),
        (piece(LONG, CHUNK_BYTES_MAX, bytes=1 << 30), "bad_request"),
        (piece(LONG, CHUNK_BYTES_MAX, bytes=CHUNK_BYTES_MAX + 1), "out_of_order"),
    ],
)
def test_pieces_that_do_not_fit(client: ControlClient, params: dict[str, Any], code: str) -> None:
    after_a_first_piece(client)
    with pytest.raises(ControlError) as caught:
        client.call("plugin.push", params, dict[str, Any])
    assert caught.value.code == code
    assert client.push(LONG)["version"] == "3.0.0", "beginning anew works"


def test_a_file_that_is_not_what_was_announced(client: ControlClient) -> None:
    data = plugin_file(version="1.1.0")
    params = {**piece(data, 0), "hash": content_hash(b"else")}
    with pytest.raises(ControlError, match="the contents have the hash") as caught:
        client.call("plugin.push", params, dict[str, Any])
    assert caught.value.code == "bad_hash"


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("plugin.swap", {"name": "gain", "version": "9"}, "unknown_version"),
        ("plugin.swap", {"name": "gian", "version": "1.0.0"}, "unknown_plugin"),
        ("plugin.swap", {"name": "gain", "version": "1.0.0"}, "already_active"),
        ("plugin.swap", {"name": "gain", "version": "1.0.0", "shadow_records": -1}, "bad_request"),
        ("plugin.swap", {"name": "gain", "version": "1.0.0", "allowed": ["vlaue"]}, "bad_request"),
        ("plugin.swap", {"name": "", "version": "1.0.0"}, "bad_request"),
        ("plugin.rollback", {"name": "gain"}, "no_previous"),
        ("plugin.rollback", {"name": "gain", "from": "1.0.0"}, "no_previous"),
        ("plugin.rollback", {"name": "gain", "from": "9"}, "unknown_version"),
        ("plugin.rollback", {"name": "gain", "from": ""}, "bad_request"),
        ("plugin.show", {"name": "x" * 100}, "bad_request"),
        ("plugin.history", {"name": "../x"}, "unknown_plugin"),
        ("watch", {"period_ms": 1}, "bad_request"),
        ("hello", {"x": 1}, "bad_request"),
    ],
)
def test_what_is_refused(client: ControlClient, method: str, params: dict[str, Any], code: str) -> None:
    with pytest.raises(ControlError) as caught:
        client.call(method, params, msgspec.Raw)
    assert caught.value.code == code


def test_a_gateway_without_a_store(tmp_path: Path, plan: Plan) -> None:
    for path in serve(tmp_path / "control.sock", plan, None):
        with ControlClient(path) as client:
            with pytest.raises(ControlError, match="start it with --state DIR") as caught:
                client.call("plugin.list", {}, msgspec.Raw)
            assert caught.value.code == "no_store"
            assert client.call("hello", {}, dict[str, Any])["site"] == "works"


# ---- the client's own errors ----


def answering(path: Path, answer: bytes) -> Callable[[], None]:
    """Somebody who is no gateway, for one connection; call the result at the end."""
    sock = socket.socket(socket.AF_UNIX)
    with address(path) as name:
        sock.bind(name)
    sock.listen()

    def talk() -> None:
        peer, _ = sock.accept()
        with peer:
            peer.recv(1000)
            peer.sendall(answer)

    thread = threading.Thread(target=talk)
    thread.start()

    def end() -> None:
        thread.join()
        sock.close()

    return end


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "the gateway has ended"),
        (b"hello\n", "not a gateway of this version: "),
        (b'{"id": 1, "result": 5}\n', "not a gateway of this version: Expected `object`"),
        (b'{"id": null, "error": {"code": "too_many_clients", "message": "16 clients"}}\n', "16 clients"),
    ],
)
def test_what_answers_is_no_gateway(tmp_path: Path, answer: bytes, message: str) -> None:
    end = answering(tmp_path / "s", answer)
    with ControlClient(tmp_path / "s") as client, pytest.raises(ControlError, match=message):
        client.call("hello", {}, dict[str, Any])
    end()


def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=r"no gateway runs at .*; start one with penstock run, or say with --state"):
        ControlClient(tmp_path / "nowhere" / "control.sock")
    with socket.socket(socket.AF_UNIX) as left, address(tmp_path / "s") as name:
        left.bind(name)
    with pytest.raises(ControlError, match=r"no gateway runs at "):
        ControlClient(tmp_path / "s")


def test_a_socket_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(ControlError, match=r"permission denied; only the user who runs the gateway, and root, may"):
        ControlClient(tmp_path / "s")


def test_the_same_file_again_is_no_mistake(client: ControlClient) -> None:
    data, content = hashed(plugin_file())
    assert client.push(data)["hash"] == content
