"""Stages get other versions while data flows: nothing is lost or repeated, and what does not fit changes nothing."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.app.plugin_build import build
from gateway.app.vectors import check_vectors
from gateway.config.manifest import load_manifest
from gateway.errors import PluginError, SwapError
from gateway.store import Plugin
from gateway.supervisor import StageReport
from tests.gateway.counter import Rig, running
from tests.gateway.modules import OK, REFUSE, TRAP, Code, constant, library, module, stores
from tests.gateway.peers import until

SWAPS = 100  # of the driver, and as many of the stage at the end


@pytest.fixture(scope="module", autouse=True)
def built(root: Path) -> None:
    for name in ("modbus", "scale", "outlier", "json_maker"):
        build(root / "plugins" / name, root / "build" / "plugins")


def report(rig: Rig, name: str) -> StageReport:
    return next(one for one in rig.supervisor.snapshot().stages if one.name == name)


def arrived(rig: Rig) -> int:
    return sum(map(len, rig.keeper.samples.values()))


async def more(rig: Rig, count: int = 10) -> None:
    before = arrived(rig)
    await until(lambda: arrived(rig) > before + count, "samples arrive")


def test_many_swaps_lose_and_repeat_nothing(tmp_path: Path) -> None:
    async def scene() -> Rig:
        async with running(tmp_path) as rig:
            await more(rig)
            for number in range(SWAPS):
                for stage, plugin in (("plc", "modbus"), ("clean", "outlier"), ("json", "json_maker")):
                    result = await rig.supervisor.swap(stage, rig.version(plugin, f"1.0.{number}"))
                    assert result.state_version == (2 if plugin == "modbus" else 1)
                    assert result.generation == number + 2
                if number % 10 == 0:
                    await more(rig, 1)
            await more(rig)
            plc = report(rig, "plc")
            assert (plc.version, plc.stats.generation, plc.stats.traps) == (f"1.0.{SWAPS - 1}", SWAPS + 1, 0)
            assert plc.stats.longest_pause_ns >= plc.stats.last_pause_ns > 0
            assert plc.metrics["requests_total"] >= plc.metrics["responses_total"] > 2 * SWAPS // 10
            assert plc.metrics["timeouts_total"] == plc.metrics["foreign_total"] == 0
        return rig

    rig = asyncio.run(scene())
    assert rig.keeper.faults() == []
    assert all(samples[0][:2] == (0, 1) for samples in rig.keeper.samples.values())
    read = {"a": rig.counter.reads[0], "b": rig.counter.reads[10]}
    kept = {tag: sum(one[2] == "good" for one in samples) for tag, samples in rig.keeper.samples.items()}
    assert all(0 <= read[tag] - kept[tag] <= 1 for tag in read), "at most the answer that the end cut off"


def test_a_request_on_the_way_is_answered_to_the_next_version(tmp_path: Path) -> None:
    async def scene() -> Rig:
        async with running(tmp_path) as rig:
            await more(rig)
            rig.counter.answers.clear()
            sent = report(rig, "plc").metrics["requests_total"]
            await until(
                lambda: report(rig, "plc").metrics["requests_total"] > report(rig, "plc").metrics["responses_total"],
                "a request is on its way",
            )
            assert (await rig.supervisor.swap("plc", rig.version("modbus", "2.0.0"))).state_version == 2
            rig.counter.answers.set()
            await more(rig)
            assert report(rig, "plc").metrics["requests_total"] > sent
            assert report(rig, "plc").metrics["timeouts_total"] == 0
        return rig

    assert asyncio.run(scene()).keeper.faults() == []


def plugin_of(rig: Rig, folder: Path, name: str, code: bytes, **changes: object) -> Plugin:
    wasm = folder / "other.wasm"
    wasm.write_bytes(code)
    manifest = rig.plugins[name].manifest
    return Plugin(replace(manifest, version="9.0.0", **changes), wasm)  # type: ignore[arg-type]


def schema(rig: Rig, folder: Path) -> Plugin:
    return plugin_of(rig, folder, "scale", rig.plugins["scale"].read(), output="payloads")


def memory(rig: Rig, folder: Path) -> Plugin:
    """Nine pages at the start where the manifest allows two."""
    return plugin_of(rig, folder, "scale", module().replace(b"\5\3\1\0\1", b"\5\3\1\0\x09"))


def refused_grant(rig: Rig, folder: Path) -> Plugin:
    return plugin_of(rig, folder, "scale", rig.plugins["scale"].read(), hal=("ring_in",))


WRONG = {
    "ring schema": (schema, "manifest", 'puts out payloads, plugin "outlier" reads samples'),
    "memory": (memory, "module", "memory 0 needs 9 pages"),
    "not a module": (lambda rig, folder: plugin_of(rig, folder, "scale", b"\0asm"), "module", "unexpected end"),
    "export": (lambda rig, folder: plugin_of(rig, folder, "scale", b"\0asm\1\0\0\0"), "module", "pen_abi_1"),
    "pen_init refuses": (
        lambda rig, folder: plugin_of(rig, folder, "scale", module(init=REFUSE)), "module", "pen_init returned 1",
    ),
    "pen_init traps": (lambda rig, folder: plugin_of(rig, folder, "scale", module(init=TRAP)), "module", "unreachable"),
    "grants": (refused_grant, "module", "is not granted by the manifest"),
    "another plugin": (lambda rig, _folder: rig.plugins["modbus"], "version", "it runs scale, found modbus"),
}  # fmt: skip


def test_what_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    async def scene() -> Rig:
        async with running(tmp_path) as rig:
            await more(rig)
            for make, step, text in WRONG.values():
                with pytest.raises(SwapError, match=text) as refused:
                    await rig.supervisor.swap("si", make(rig, tmp_path))
                assert refused.value.step == step
                assert report(rig, "si").problem == str(refused.value)
            with pytest.raises(SwapError, match="no pen_load"):
                await rig.supervisor.swap("plc", plugin_of(rig, tmp_path, "modbus", module()))
            with pytest.raises(SwapError, match="there is no such stage, allowed: plc, si, clean, json"):
                await rig.supervisor.swap("nobody", rig.plugins["scale"])
            await more(rig)
            assert {one.stats.generation for one in rig.supervisor.snapshot().stages} == {1}
            assert sum(one.stats.traps for one in rig.supervisor.snapshot().stages) == 0
            await rig.supervisor.swap("si", rig.version("scale", "1.1.0"))
            assert report(rig, "si").problem == ""
            await more(rig)
        return rig

    assert asyncio.run(scene()).keeper.faults() == []


WRITE_REGISTER_5 = bytes([0, 1, 0, 0, 0, 6, 1, 6, 0, 5, 0, 1])
ROGUE = library(
    Code("pen_abi_1", "", "", b""),
    Code("pen_init", "", "i", OK),
    Code(
        "pen_on_port",
        "ii",
        "",
        stores(WRITE_REGISTER_5) + constant(0) + constant(0) + constant(len(WRITE_REGISTER_5)) + b"\x10\0\x1a",
    ),
    imports=[("hal", "tx", "iii", "i")],
    memory=b"\0\1",
)


def test_a_driver_that_writes_on_its_own_is_held_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> Rig:
        async with running(tmp_path) as rig:
            await more(rig)
            rogue = plugin_of(rig, tmp_path, "modbus", ROGUE)
            free = replace(rogue, manifest=replace(rogue.manifest, bus=""))
            with pytest.raises(SwapError, match=r'manifest: capabilities\.bus is no longer "modbus"'):
                await rig.supervisor.swap("plc", free, carry_state=False)
            await rig.supervisor.swap("plc", rogue, carry_state=False)
            await until(lambda: report(rig, "plc").stats.refused == 1, "it tries to write")
            await until(lambda: "tx refused" in caplog.text, "it is told")
        return rig

    caplog.set_level("WARNING")
    assert asyncio.run(scene()).counter.written == []
    assert "tx refused: unit 1 holding 5 is not in writes of the stage's config" in caplog.text


def test_vectors_come_first(tmp_path: Path) -> None:
    def vectors(plugin: Plugin) -> None:
        if plugin.manifest.version == "3.0.0":
            raise PluginError('case "one": out: expected 32 bytes, got 0')
        check_vectors(plugin)

    async def scene() -> Rig:
        async with running(tmp_path, vectors) as rig:
            await more(rig)
            with pytest.raises(SwapError, match="expected 32 bytes, got 0") as refused:
                await rig.supervisor.swap("si", rig.version("scale", "3.0.0"))
            assert refused.value.step == "vectors"
            await rig.supervisor.swap("si", rig.version("scale", "3.1.0"))
            await more(rig)
        return rig

    assert asyncio.run(scene()).keeper.faults() == []


def test_two_swaps_at_once(tmp_path: Path) -> None:
    async def scene() -> Rig:
        async with running(tmp_path) as rig:
            await more(rig)
            swaps = [rig.supervisor.swap("plc", rig.version("modbus", f"2.0.{number}")) for number in range(2)]
            swaps.append(rig.supervisor.swap("json", rig.version("json_maker", "2.0.0")))
            first, second, other = await asyncio.gather(*swaps, return_exceptions=True)
            assert isinstance(second, SwapError)
            assert second.step == "busy"
            assert not isinstance(first, BaseException)
            assert not isinstance(other, BaseException)
            await more(rig)
        return rig

    assert asyncio.run(scene()).keeper.faults() == []


def test_a_version_that_traps_too_often_is_replaced_by_the_one_before(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as rig:
            await more(rig)
            bad = plugin_of(rig, tmp_path, "scale", module(on_records=TRAP))
            await rig.supervisor.swap("si", bad)
            await until(lambda: report(rig, "si").stats.generation == 3, "the version before runs again")
            await more(rig)
            si = report(rig, "si")
            assert (si.running, si.version) == (True, rig.plugins["scale"].manifest.version)
            assert si.stats.traps == 4
            assert "9.0.0 trapped too often" in si.problem
            with pytest.raises(SwapError, match="remembered as bad"):
                await rig.supervisor.swap("si", bad)
            others = [one for one in rig.supervisor.snapshot().stages if one.name != "si"]
            assert [one.stats.traps for one in others] == [0, 0, 0]

    asyncio.run(scene())


def test_a_storm_of_a_version_that_is_gone_blames_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two stages of a plugin stop at once: when the second is looked at, the first has taken it back already."""

    async def scene() -> None:
        async with running(tmp_path) as rig:
            await more(rig)
            await rig.supervisor.swap("si", plugin_of(rig, tmp_path, "scale", module(on_records=TRAP)))
            gone = rig.supervisor._plane.versions["si"]
            await until(lambda: report(rig, "si").stats.generation == 3, "the version before runs again")
            blamed: list[str] = []
            monkeypatch.setattr(rig.supervisor._versions, "mark_bad", lambda _plugin, reason: blamed.append(reason))
            rig.supervisor._stopped.put_nowait(("si", gone, "the other stage's storm"))
            await until(rig.supervisor._stopped.empty, "it was looked at")
            await more(rig)
            assert report(rig, "si").stats.generation == 3
            assert blamed == []

    asyncio.run(scene())


def test_a_version_runs_along_first(tmp_path: Path) -> None:
    """Driver and scale beside themselves put out the same; a scale that does nothing does not."""

    async def scene() -> Rig:
        async with running(tmp_path) as rig:
            await more(rig)
            for stage, plugin in (("plc", "modbus"), ("si", "scale")):
                done = await rig.supervisor.swap(stage, rig.version(plugin, "4.0.0"), shadow_records=20)
                assert done.compared >= 20
            trapping = plugin_of(rig, tmp_path, "scale", module(on_records=TRAP))
            with pytest.raises(SwapError, match="failed at shadow: the new version trapped"):
                await rig.supervisor.swap("si", trapping, shadow_records=20)
            await more(rig)
            assert [one.stats.traps for one in rig.supervisor.snapshot().stages] == [0, 0, 0, 0]
        return rig

    assert asyncio.run(scene()).keeper.faults() == []


def test_a_trap_of_the_driver_loses_a_frame_and_no_number(tmp_path: Path) -> None:
    """A driver that traps at every 50th reply, before it has written anything of it: its samples go on counting."""

    async def scene() -> Rig:
        async with running(tmp_path) as rig:
            await more(rig)
            await rig.supervisor.swap(
                "plc", trapping_driver(tmp_path, Path(rig.plugins["modbus"].manifest.file).parent)
            )
            await until(lambda: report(rig, "plc").stats.traps >= 2, "the driver traps")
            await more(rig)
            assert report(rig, "plc").running
        return rig

    rig = asyncio.run(scene())
    for samples in rig.keeper.samples.values():
        numbers = [number for number, _, _ in samples]
        assert numbers == list(range(len(numbers))), "no gap and no repeat"
        values = [value for _, value, quality in samples if quality == "good"]
        steps = [later - earlier for earlier, later in pairwise(values)]
        assert set(steps) <= {1, 2}, "each trap cost one reading"
        assert steps.count(2) <= 2
    assert rig.keeper.payloads == list(range(len(rig.keeper.payloads)))


def trapping_driver(folder: Path, plugin: Path) -> Plugin:
    copy = folder / "modbus"
    shutil.copytree(plugin, copy)
    source = copy / "modbus.c"
    text = source.read_text(encoding="utf-8")
    start = "static void got_data(const uint8_t *data) {\n"
    assert start in text
    fault = "    static uint32_t replies;\n    if (++replies % 50 == 0) __builtin_trap();\n"
    source.write_text(text.replace(start, start + fault), encoding="utf-8")
    return Plugin(replace(load_manifest(copy / "plugin.toml"), version="6.0.0"), build(copy, folder / "built"))


def test_what_differs_is_shown(tmp_path: Path) -> None:
    async def scene() -> Rig:
        async with running(tmp_path) as rig:
            await more(rig)
            other = build_variant(tmp_path, Path(rig.plugins["scale"].manifest.file).parent)
            shown = r"(2\d) of \1 records differ:\n  record 1 of output 0, tag \d: type 3 -> 4, value 0x"
            with pytest.raises(SwapError, match=shown) as no:
                await rig.supervisor.swap("si", other, shadow_records=20)
            assert no.value.step == "shadow"
            await rig.supervisor.swap("si", other, shadow_records=20, allowed=["type", "value"])
        return rig

    faults = asyncio.run(scene()).keeper.faults()
    assert len(faults) <= 2, "one step in the values of each tag: the new version counts from elsewhere"


def build_variant(folder: Path, plugin: Path) -> Plugin:
    """The same plugin with another arithmetic."""
    copy = folder / "scale"
    shutil.copytree(plugin, copy)
    source = copy / "scale.c"
    text = source.read_text(encoding="utf-8")
    assert "tag->gain == 1 &&" in text
    text = text.replace("tag->gain == 1 &&", "tag->gain != 1 &&").replace("* tag->gain +", "* tag->gain + 0.5 +")
    source.write_text(text, encoding="utf-8")
    wasm = build(copy, folder / "built")
    return Plugin(replace(load_manifest(copy / "plugin.toml"), version="5.0.0"), wasm)
