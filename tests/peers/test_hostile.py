"""A plugin that does what it must not takes itself down and nothing else; one that wants too much does not start."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.gateway.peers import Mosquitto, free_port, until
from tests.peers import hostile, site
from tests.peers.field import Image, tcp_server
from tests.peers.gateway import Gateway
from tests.peers.listener import Listener

TAGS = 10
TRAPS_ALLOWED = 3  # in 30 s
STORE_OPCODES = range(0x36, 0x3F)
WRONG = 2


@dataclass(frozen=True, slots=True)
class Deed:
    """What is done to an input record, in C, and what the trap says; ``opcodes``: the instruction it must point at."""

    code: str
    says: str
    opcodes: range = range(256)


DEEDS = {
    "store to the input": Deed("record->value.u64 = 0xDEAD;", "store to read-only memory in misbehave", STORE_OPCODES),
    "store beyond the memory": Deed(
        "(void)record; *(volatile uint32_t *)0xFFFFFF00u = 1;",
        "out of bounds memory access in misbehave",
        STORE_OPCODES,
    ),
    "endless loop": Deed("for (;;) (void)record->kind;", "deadline exceeded in misbehave"),
    "unreachable": Deed("(void)record; __builtin_trap();", "unreachable in misbehave", range(1)),
    "cursor beyond its records": Deed("(void)record; input->limit += 4096;", "ring cursor or record out of range"),
}


def text_of(server: int, broker: int) -> str:
    """A chain that works and, beside it, the hostile stage on the same driver's ring."""
    text = site.HEAD + site.tcp_port("field", server) + site.driver("field", poll_ms=20)
    text += site.stage("si", "scale", ["field"]) + site.uplink(["si"], broker)
    text += site.stage("spy", "hostile", ["field"])
    return text + "".join(site.tag(f"tag{at}", "field", unit=1, address=at) for at in range(TAGS))


@pytest.mark.parametrize("name", DEEDS)
def test_a_trap_takes_down_one_stage(name: str, tmp_path: Path, broker: Mosquitto) -> None:
    deed, image = DEEDS[name], Image(1)
    module = hostile.write_plugin(tmp_path, deed.code).read_bytes()
    image.put(1, "holding", 0, [1000 + at for at in range(TAGS)])

    async def scene() -> None:
        async with tcp_server(image) as number, Listener(broker.port) as heard:
            async with Gateway(tmp_path, text_of(number, broker.port)) as gateway:
                await gateway.until(lambda: gateway.stage("spy").get("state") == "stopped", "it is stopped")
                seen = len(heard.messages)
                await gateway.until(lambda: len(heard.messages) > seen + 30, "the others go on")
                final = await gateway.stop()
            spy = final["stages"]["spy"]
            assert (spy["state"], spy["traps"], spy["restarts"]) == ("stopped", TRAPS_ALLOWED + 1, TRAPS_ALLOWED)
            assert_told(gateway.log, deed, module)
            assert all(one["state"] == "running" for name, one in final["stages"].items() if name != "spy")
            assert gateway.traps == {"spy": TRAPS_ALLOWED + 1}
            await until(lambda: heard.count == final["stages"]["field"]["records_out"], "the last sample arrives")
        heard.assert_whole()
        values = {tag: {sample.v for sample in samples} for tag, samples in heard.samples.items()}
        assert values == {f"tag{at}": {1000 + at} for at in range(TAGS)}

    asyncio.run(scene())


def assert_told(log: str, deed: Deed, module: bytes) -> None:
    """Every trap is in the log, with functions and offsets that are right; and the end of the stage."""
    told = re.findall(r"stage spy trapped: trap in stage spy: (.*)", log)
    assert len(told) == TRAPS_ALLOWED + 1
    assert all(line.startswith(deed.says) for line in told), told
    assert re.search(r"stage spy is stopped: stage spy stopped: more than 3 traps in 30 s", log)
    bodies = {code.name: code for code in hostile.functions(module)}
    for line in told:
        frames = [(function, int(offset, 16)) for function, offset in re.findall(r"(\w+)@0x([0-9a-f]+)", line)]
        assert [function for function, _ in frames] in ([], ["misbehave", "pen_on_records"])
        for function, offset in frames:
            assert bodies[function].start <= offset < bodies[function].end
        for _, offset in frames[:1]:
            assert module[offset] in deed.opcodes


# ---- imports ----


@pytest.mark.parametrize(
    ("deed", "says"),
    [
        (
            '(void)record; hal_tx(0, "x", 1);',
            "it imports hal.tx, which capabilities.hal in its plugin.toml does not grant",
        ),
        ("(void)record; hal_now(0);", "it imports hal.now, which capabilities.hal in its plugin.toml does not grant"),
        (
            'extern int __attribute__((import_module("env"), import_name("system"))) run(const char *);'
            ' (void)record; run("reboot");',
            "it imports env.system; a plugin imports functions of module hal only",
        ),
        (
            'extern int __attribute__((import_module("hal"), import_name("open"))) run(const char *);'
            ' (void)record; run("passwords");',
            "it imports hal.open, which there is not; known: config, keep, kv_get, ",
        ),
    ],
)
def test_an_import_that_is_not_granted_refuses_the_plugin(deed: str, says: str, tmp_path: Path) -> None:
    hostile.write_plugin(tmp_path, deed)
    gateway = Gateway(tmp_path, text_of(free_port(), free_port()))
    done = subprocess.run(gateway.command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == WRONG, done.stderr
    error = json.loads(done.stdout)["error"]
    assert (error["file"], error["key"]) == (str(gateway.site), "stage.spy.plugin")
    module = tmp_path / "plugins" / "hostile" / "hostile.wasm"
    assert error["message"].startswith(f'{module}: plugin "hostile" 1.0.0: {says}')


def test_the_same_import_is_no_problem_when_it_is_granted(tmp_path: Path, broker: Mosquitto) -> None:
    hostile.write_plugin(tmp_path, "(void)record; hal_now(0);", hal='"ring_in", "now"')

    async def scene() -> None:
        async with tcp_server(Image(1)) as number:
            async with Gateway(tmp_path, text_of(number, broker.port)) as gateway:
                await gateway.until(lambda: gateway.stage("spy").get("records_in", 0) > 100, "it reads")
                await gateway.stop()
            assert gateway.traps == {}

    asyncio.run(scene())
