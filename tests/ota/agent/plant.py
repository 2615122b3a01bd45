"""A real gateway process with the real Modbus plugin on a simulated plant, its records at a real broker."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from bench.ota import CHANGED_LINE, LINE
from gateway.app.plugin_build import build
from gateway.app.tally import Message, Sample, Tally
from ota.clock import Cancel
from tests.gateway.peers import Mosquitto, Subscriber, subscriber

ROOT = Path(__file__).resolve().parents[3]
DEMO = ROOT / "gateway/app/demo_site.toml"
PLUGINS = ("modbus", "scale", "json_maker")
PATIENCE_S = 60.0
TOOL = [sys.executable, "-m", "gateway.app.cli"]


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Return when a condition holds; fail with ``what`` when it takes too long."""
    for _ in range(int(PATIENCE_S * 50)):
        if condition():
            return
        Cancel().wait(0.02)
    raise AssertionError(f"waited {PATIENCE_S:.0f} s in vain: {what}")


RECEIVES = "void PEN_EXPORT(pen_on_rx)(int32_t port) {"


def changed_modbus(folder: Path, version: str, *, traps: bool = False, vectors: bool = True) -> bytes:
    """The Modbus plugin with one line changed. ``traps``: it traps whenever something was received; ``vectors``: it
    carries its vectors, which tell so before it runs."""
    source = folder / version / "modbus"
    shutil.copytree(ROOT / "plugins" / "modbus", source)
    text = (source / "modbus.c").read_text("utf-8").replace(LINE, CHANGED_LINE)
    assert text.count(CHANGED_LINE) == text.count(RECEIVES) == 1
    if traps:
        text = text.replace(RECEIVES, f"{RECEIVES} __builtin_trap();")
    (source / "modbus.c").write_text(text, encoding="utf-8")
    if not vectors:
        shutil.rmtree(source / "vectors")
    return build(source, folder / f"out-{version}", embed=True, version=version).read_bytes()


@dataclass(eq=False)
class Works:
    """``state``: of the gateway: socket, health and plugin store."""

    state: Path
    heard: Subscriber
    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        """Start the gateway and wait until it reads the plant."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stderr=log, stdout=log)
        before = len(self.heard.messages)
        wait_for(lambda: len(self.heard.messages) > before + 2, f"data flows: {self.log.read_text()}")

    def stop(self) -> None:
        """End it, if it runs."""
        if self.process is not None:
            self.process.terminate()
            assert self.process.wait(PATIENCE_S) == 0, self.log.read_text()
            self.process = None

    def about(self, name: str) -> dict[str, Any]:
        """A plugin as the gateway tells: what runs, what would after a rollback, what is kept."""
        done = subprocess.run(
            [*TOOL, "plugin", "list", "--state", str(self.state), "--json"], capture_output=True, text=True, check=True
        )
        return next(one for one in json.loads(done.stdout) if one["name"] == name)

    def show(self, name: str) -> dict[str, str]:
        """The version that runs."""
        active: dict[str, str] = self.about(name)["active"]
        return active

    def blob(self) -> bytes:
        """What of the Modbus plugin runs."""
        return (self.state / "plugins" / "blobs" / f"{self.show('modbus')['hash']}.wasm").read_bytes()

    def messages(self) -> list[bytes]:
        """Everything that arrived so far."""
        return [bytes(message.payload) for message in self.heard.messages]


def tally(bodies: list[bytes]) -> Tally:
    """Losses and duplicates among messages."""
    counted = Tally()
    for body in bodies:
        counted.add(body)
    return counted


def longest_silence_ms(bodies: list[bytes]) -> dict[str, int]:
    """By tag, the longest time between two samples, by the times of their capture."""
    by_tag: dict[str, list[Sample]] = {}
    for body in bodies:
        for sample in msgspec.json.decode(body, type=Message).samples:
            by_tag.setdefault(sample.tag, []).append(sample)
    return {
        tag: max((after.t - before.t for before, after in itertools.pairwise(found)), default=0)
        for tag, found in by_tag.items()
    }


@contextmanager
def works(folder: Path) -> Iterator[Works]:
    """The demo's site with a plant and a broker of its own; the gateway runs."""
    for name in PLUGINS:
        build(ROOT / "plugins" / name, ROOT / "build" / "plugins")
    command = [sys.executable, "-m", "gateway.app.plant"]
    plant = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    with plant, Mosquitto(folder) as broker, subscriber(broker.port) as heard:
        assert plant.stdin is not None
        assert plant.stdout is not None
        where = json.loads(plant.stdout.readline())
        text = DEMO.read_text("utf-8").replace("port = 5020", f"port = {where['tcp_port']}")
        site, board, state = folder / "site.toml", folder / "board.toml", folder / "gateway"
        site.write_text(text.replace("port = 1883", f"port = {broker.port}"), encoding="utf-8")
        board.write_text(f'[board]\nname = "b"\n[port.rs485-1]\ndevice = "{where["serial"]}"\n')
        state.mkdir()
        released = folder / "plugins" / "modbus"  # as images have it: the very file that is published
        released.mkdir(parents=True)
        shutil.copy(ROOT / "plugins/modbus/plugin.toml", released)
        shutil.copy(build(ROOT / "plugins/modbus", folder / "out", embed=True), released)
        run = [*TOOL, "run", str(site), "--board", str(board), "--state", str(state)]
        found = Works(state, heard, run, folder / "gateway.log")
        try:
            found.start()
            yield found
        finally:
            found.stop()
            plant.stdin.close()
