"""``penstock plugin`` and ``penstock top`` against a gateway that polls and publishes: nothing is lost meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.api.client import ControlClient
from gateway.app.cli import main
from gateway.app.plugin_build import build
from gateway.app.plugin_new import new
from gateway.wasm import TARGET
from tests.gateway.peers import Mosquitto
from tests.peers import site
from tests.peers.gateway import Gateway
from tests.peers.listener import Listener
from tests.peers.slave import TcpSlave

POLL_MS = 20
TAG = "counter"


@dataclass(frozen=True, slots=True)
class Said:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str


@dataclass(eq=False)
class Scene:
    """A gateway that publishes, and what arrives."""

    gateway: Gateway
    heard: Listener

    async def penstock(self, *words: str) -> Said:
        """Run a command that talks to the gateway."""
        command = [sys.executable, "-m", "gateway.app.cli", *words, "--state", str(self.gateway.state)]
        pipe = subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
        out, err = await process.communicate()
        assert process.returncode is not None
        return Said(process.returncode, out.decode(), err.decode())

    async def ok(self, *words: str) -> str:
        said = await self.penstock(*words)
        assert (said.status, said.err) == (0, ""), said
        return said.out

    async def refused(self, *words: str, status: int = 1) -> str:
        said = await self.penstock(*words)
        assert (said.status, said.out) == (status, ""), said
        return said.err

    async def ask(self, *words: str) -> Any:
        return json.loads(await self.ok(*words, "--json"))

    async def ask_state(self) -> Any:
        with ControlClient(self.gateway.state / "control.sock") as client:
            return client.call("state", {}, dict)

    async def more(self) -> None:
        """Wait until ten more samples have arrived: those read from now on."""
        wanted = len(self.heard.samples.get(TAG, [])) + 10
        await self.gateway.until(lambda: len(self.heard.samples.get(TAG, [])) >= wanted, "samples arrive")


@contextlib.asynccontextmanager
async def scene(folder: Path, broker: Mosquitto, lost_most: int) -> AsyncIterator[Scene]:
    async with TcpSlave() as slave, Listener(broker.port) as heard:
        port, framing, devices = slave.reached_by("field")
        text = site.HEAD + port + site.driver("field", framing=framing, poll_ms=POLL_MS, timeout_ms=500)
        text += site.stage("si", "trim", ["field"]) + site.uplink(["si"], broker.port)
        text += site.tag(TAG, "field", unit=1, address=0, type="u32") + "trim = { offset = 0.5 }\n"
        build(new_plugin(folder / "plugins"), folder / "build" / "plugins")
        async with Gateway(folder, text, devices) as gateway:
            made = Scene(gateway, heard)
            await made.more()
            yield made
            await gateway.stop()
            assert heard.payloads.is_whole
            samples = heard.numbers(TAG)
            assert len(samples.missing) <= lost_most, samples
            assert (samples.repeated, samples.late) == ([], []), samples


def new_plugin(folder: Path) -> Path:
    """The plugin of the stage between driver and uplink, as ``penstock plugin new`` makes it."""
    if not (folder / "trim").exists():
        new("trim", "c", folder)
    return folder / "trim"


def changed_plugin(folder: Path, old: str, new: str, *, vectors: bool) -> str:
    """A version 9.9.9 of it that does something else."""
    home = new_plugin(folder / "changed")
    source = (home / "trim.c").read_text()
    assert source.count(old) == 1
    (home / "trim.c").write_text(source.replace(old, new))
    if not vectors:
        shutil.rmtree(home / "vectors")
    return str(build(home, folder / "changed" / "build", embed=True, version="9.9.9"))


def play(folder: Path, broker: Mosquitto, act: Callable[[Scene], Any], *, lost_most: int = 0) -> None:
    async def run() -> None:
        async with scene(folder, broker, lost_most) as made:
            await act(made)

    asyncio.run(run())


@pytest.fixture
def newer(root: Path, tmp_path: Path) -> Callable[[str, str], str]:
    """Makes the file of a plugin with another version."""

    def make(name: str, version: str) -> str:
        folder = new_plugin(tmp_path / "plugins") if name == "trim" else root / "plugins" / name
        return str(build(folder, tmp_path / version, embed=True, version=version))

    return make


def test_push_swap_and_rollback_lose_nothing(
    tmp_path: Path, broker: Mosquitto, newer: Callable[[str, str], str]
) -> None:
    async def act(here: Scene) -> None:
        for name, stage in (("trim", "si"), ("modbus", "field"), ("json_maker", "json")):
            pushed = await here.ok("plugin", "push", newer(name, "9.0.0"))
            assert pushed.endswith(f"penstock plugin swap {name} 9.0.0\n")
            for words, version in ((("swap", name, "9.0.0"), "9.0.0"), (("rollback", name), "0.1.0")):
                assert f" → {version} (" in await here.ok("plugin", *words)
                await here.more()
                shown = await here.ask("plugin", "show", name)
                assert (shown["active"]["version"], shown["stages"]) == (version, [stage])
            entries = await here.ask("plugin", "history", name)
            assert [(one["action"], one["result"]) for one in entries] == [
                ("install", "done"), ("push", "done"), ("swap", "done"), ("rollback", "done"),
            ]  # fmt: skip
            assert "rollback" in await here.ok("plugin", "history", name)
        assert all(one["traps"] == 0 for one in here.gateway.status["stages"].values())

    play(tmp_path, broker, act)


def test_compiled_code_is_pushed_with_its_version_or_made_afterwards(
    tmp_path: Path, broker: Mosquitto, newer: Callable[[str, str], str]
) -> None:
    async def act(here: Scene) -> None:
        plain, compiled = newer("modbus", "8.0.0"), newer("modbus", "9.0.0")
        assert main(["aot", compiled]) == 0
        assert "and will be interpreted: there is no" in await here.ok("plugin", "push", plain)
        assert "is there, with compiled code, " in await here.ok("plugin", "push", compiled)
        for version, how in (("8.0.0", "interpreted"), ("9.0.0", "compiled")):
            assert f", {how})" in await here.ok("plugin", "swap", "modbus", version)
            await here.more()
            assert (await here.ask_state())["stages"]["field"]["compiled"] == (how == "compiled")
        assert "8.0.0 (" in await here.ok("plugin", "compile", "modbus", "8.0.0")
        assert ", compiled)" in await here.ok("plugin", "swap", "modbus", "8.0.0")
        await here.more()
        code = {one["ref"]["version"]: one["code"] for one in (await here.ask("plugin", "show", "modbus"))["versions"]}
        assert code == {"9.0.0": [TARGET], "8.0.0": [TARGET], "0.1.0": []}
        assert all(one["traps"] == 0 for one in here.gateway.status["stages"].values())

    play(tmp_path, broker, act)


def test_what_was_swapped_runs_after_a_restart(
    tmp_path: Path, broker: Mosquitto, newer: Callable[[str, str], str]
) -> None:
    async def act(here: Scene) -> None:
        await here.ok("plugin", "push", newer("trim", "9.0.0"))
        await here.ok("plugin", "swap", "trim", "9.0.0")
        gateway = here.gateway
        await gateway.stop()
        here.heard.assert_whole()
        here.heard.samples.clear()  # a driver begins anew at a start
        here.heard.messages.clear()
        gateway.status = {}
        await gateway.__aenter__()
        await here.more()
        assert (await here.ask("plugin", "show", "trim"))["active"]["version"] == "9.0.0"

    play(tmp_path, broker, act)


def test_a_version_that_traps_is_given_up_and_never_taken_again(tmp_path: Path, broker: Mosquitto) -> None:
    bad = changed_plugin(tmp_path, "    self.changed++;", "    __builtin_trap();", vectors=False)

    async def act(here: Scene) -> None:
        await here.ok("plugin", "push", bad)
        await here.ok("plugin", "swap", "trim", "9.9.9")
        gateway = here.gateway
        await gateway.until(lambda: gateway.stage("si")["version"] == "0.1.0", "the version before runs again")
        await here.more()
        assert gateway.stage("si")["state"] == "running"
        shown = await here.ask("plugin", "show", "trim")
        assert shown["active"]["version"] == "0.1.0"
        assert {one["ref"]["version"]: one["state"] for one in shown["versions"]}["9.9.9"] == "bad"
        assert "is remembered as bad and never run again: " in await here.refused("plugin", "swap", "trim", "9.9.9")
        assert "is remembered as bad" in await here.refused("plugin", "push", bad)
        entry = (await here.ask("plugin", "history", "trim"))[-1]
        assert (entry["who"], entry["action"], entry["result"]) == ("supervisor", "rollback", "done")
        assert "more than 3 traps in 30 s" in entry["reason"]

    play(tmp_path, broker, act, lost_most=4)  # one for each trap


def test_a_version_that_fails_its_vectors_is_refused(tmp_path: Path, broker: Mosquitto) -> None:
    wrong = changed_plugin(tmp_path, "+ tag->offset", "- tag->offset", vectors=True)

    async def act(here: Scene) -> None:
        await here.ok("plugin", "push", wrong)
        told = await here.refused("plugin", "swap", "trim", "9.9.9")
        assert "was not taken, 0.1.0 runs on: " in told
        assert "vectors" in told
        await here.more()
        entry = (await here.ask("plugin", "history", "trim"))[-1]
        assert (entry["action"], entry["result"], entry["target"]["version"]) == ("swap", "refused", "9.9.9")

    play(tmp_path, broker, act)


def test_a_version_may_run_along_before_it_takes_over(tmp_path: Path, broker: Mosquitto) -> None:
    other = changed_plugin(tmp_path, "+ tag->offset", "- tag->offset", vectors=False)

    async def act(here: Scene) -> None:
        await here.ok("plugin", "push", other)
        swap = ("plugin", "swap", "trim", "9.9.9", "--shadow", "20")
        told = await here.refused(*swap)
        assert "was not taken, 0.1.0 runs on: " in told
        assert "value" in told
        await here.more()
        assert "records compared" in await here.ok(*swap, "--allow", "value")
        await here.more()
        assert here.gateway.stage("si")["version"] == "9.9.9"

    play(tmp_path, broker, act)


def test_what_is_wrong_is_told(tmp_path: Path, broker: Mosquitto, newer: Callable[[str, str], str]) -> None:
    async def act(here: Scene) -> None:
        again = newer("trim", "9.0.0")
        (tmp_path / "no.wasm").write_bytes(b"text")
        for words, message in (
            (("show", "trmi"), 'found "trmi", which is no plugin; did you mean "trim"?'),
            (("swap", "trim", "7"), 'plugin "trim" has no version "7"; installed: 0.1.0'),
            (("swap", "trim", "0.1.0"), "runs already"),
            (("rollback", "trim"), 'plugin "trim" has no version to go back to'),
            (("push", str(tmp_path / "no.wasm")), "not a WebAssembly module of version 1"),
        ):
            assert message in await here.refused("plugin", *words)
        nothing = await here.refused("plugin", "push", str(tmp_path / "nothing"), status=2)
        assert "cannot be read: No such file or directory" in nothing
        for _ in range(2):
            assert (await here.ask("plugin", "push", again))["version"] == "9.0.0", "twice is no mistake"

    play(tmp_path, broker, act)


def test_top_and_health(tmp_path: Path, broker: Mosquitto) -> None:
    async def act(here: Scene) -> None:
        picture = await here.ok("top", "--once", "--period", "0.2")
        for expected in (
            "peers   up 0 min",
            "field",
            "modbus",
            "0.1.0",
            "running",
            "si",
            "cloud  connected",
            "records/s",
        ):
            assert expected in picture
        state = await here.ask("top", "--once")
        assert state["stages"].keys() == {"field", "si", "json"}
        health = json.loads((here.gateway.state / "health.json").read_text())
        assert health["site"] == "peers"
        assert [one["name"] for one in health["checks"]] == ["stages", "traps", "polls", "links", "store"]

    play(tmp_path, broker, act)


def test_one_gateway_per_state_folder_and_none_is_told(tmp_path: Path, broker: Mosquitto) -> None:
    async def act(here: Scene) -> None:
        process = await asyncio.create_subprocess_exec(*here.gateway.command, stderr=subprocess.PIPE)
        _, err = await process.communicate()
        assert process.returncode == 1
        assert b"is in use by another gateway (process " in err

    play(tmp_path, broker, act)
    command = [sys.executable, "-m", "gateway.app.cli", "plugin", "list", "--state", str(tmp_path / "state")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"penstock: no gateway runs at {tmp_path / 'state' / 'control.sock'}; start one with")
