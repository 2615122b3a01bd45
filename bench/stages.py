"""Stages in a loop: swaps under load, a chain of four, how many fit into memory, how soon one works."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gateway.app.aot_build import compile_module, find_compiler
from gateway.app.vectors import encode_sample
from gateway.config.manifest import Manifest, TagSettings, load_manifest, pack_config
from gateway.record import Schema
from gateway.wasm import TARGET, Engine, Loop, Module, Policy, Ring, StageConfig
from tests.gateway.counter import running
from tests.gateway.modules import module as minimal

ROOT = Path(__file__).resolve().parent.parent
SWAPS = 1000  # of the driver, and as many of the stage behind it
PAUSE_BAR_US = 2000
SAMPLES = 1000
CHAIN_BARS_MS = {"interp": 10.0, "aot": 1.0}
IDLE = 1000
MADE = 10_000
LOOP_STAGES = 4000  # a loop takes 4096
RSS_BAR_BYTES = 32 << 20
MADE_BAR_S = 1.0
START_BARS_MS = {"interp": 2.0, "aot": 1.0}
ROUNDS = 9
TAGS: dict[str, dict[str, object]] = {
    "scale": {"gain": 2.0, "offset": 1.0},
    "alarm": {"name": "t", "when": "value > 0"},
}


@dataclass(frozen=True, slots=True)
class Built:
    """A plugin that has been built."""

    manifest: Manifest
    code: bytes
    artefact: Path | None = None  # its compiled code

    def module(self, engine: Engine) -> Module:
        module = Module(engine, self.manifest.name, self.code)
        if self.artefact is not None:
            module.attach(self.artefact, self.code)
        return module

    def compiled(self, folder: Path) -> Built:
        artefact = folder / f"{self.manifest.name}.so"
        if not artefact.exists():
            compile_module(find_compiler(TARGET), self.manifest.name, self.code, artefact)
        return replace(self, artefact=artefact)

    def packed(self, settings: dict[str, object]) -> bytes:
        tags = [TagSettings(0, "t", "", TAGS.get(self.manifest.name, {}))]
        return pack_config(self.manifest, settings, tags, file="bench", key="config")

    def config(self, module: Module, settings: dict[str, object]) -> StageConfig:
        return StageConfig(
            name=self.manifest.name,
            module=module,
            hal_grants=self.manifest.hal_mask,
            config=self.packed(settings),
            memory_bytes=self.manifest.limits.memory_bytes,
            deadline_us=1_000_000,
        )


def built(name: str) -> Built:
    manifest = load_manifest(ROOT / "plugins" / name / "plugin.toml")
    return Built(manifest, (ROOT / "build" / "plugins" / f"{name}.wasm").read_bytes())


def with_ends(config: StageConfig, source: Ring | None, target: Ring) -> StageConfig:
    inputs = [source.attach(Policy.BLOCK)] if source else []
    return replace(config, inputs=inputs, outputs=[target])


def samples(count: int) -> bytes:
    return b"".join(encode_sample({"value": 1.5 * seq}, 0, seq, seq) for seq in range(count))


# ---- swaps ----


def swap() -> dict[str, Any]:
    """Swaps at full poll rate: each reading of the server counts up, so does each record."""

    async def scene() -> tuple[list[int], list[int], list[str], int]:
        with tempfile.TemporaryDirectory() as folder:
            async with running(Path(folder)) as rig:
                driver, stage = [], []
                for number in range(SWAPS):
                    made = await rig.supervisor.swap("plc", rig.version("modbus", f"1.0.{number}"))
                    driver.append(made.pause_ns)
                    made = await rig.supervisor.swap("clean", rig.version("outlier", f"1.0.{number}"))
                    stage.append(made.pause_ns)
            return driver, stage, rig.keeper.faults(), sum(map(len, rig.keeper.samples.values()))

    driver, stage, faults, count = asyncio.run(scene())
    pauses = {"driver": _pauses(driver), "stage": _pauses(stage)}
    worst = max(one["p99_us"] for one in pauses.values())
    return {
        "what": f"{SWAPS} swaps of modbus and of outlier each, poll_ms = 10, one counting register per request",
        "samples": count,
        "gaps_and_repeats": len(faults),
        "pause": pauses,
        "bar_p99_us": PAUSE_BAR_US,
        "bar_met": not faults and worst <= PAUSE_BAR_US,
    }


def _pauses(pauses_ns: Sequence[int]) -> dict[str, float]:
    ordered = sorted(pauses_ns)
    p50, p99 = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
    return {"p50_us": p50 / 1e3, "p99_us": p99 / 1e3, "max_us": ordered[-1] / 1e3}


# ---- a chain ----


CHAIN: dict[str, dict[str, object]] = {
    "scale": {},
    "outlier": {},
    "resample": {},
    "json_maker": {"topic": "t", "batch_ms": 0},
}


def chain() -> dict[str, Any]:
    """Samples through four stages, interpreted and compiled: time spent in the plugins."""
    with tempfile.TemporaryDirectory(prefix="penstock-chain-") as folder:
        plain = [built(name) for name in CHAIN]
        kinds = {"interp": plain, "aot": [plugin.compiled(Path(folder)) for plugin in plain]}
        rounds = {kind: [_chain(plugins) for _ in range(ROUNDS)] for kind, plugins in kinds.items()}
    medians = {kind: round(statistics.median(took), 3) for kind, took in rounds.items()}
    return {
        "what": f"{SAMPLES} samples through {', '.join(CHAIN)}: time in the four plugins",
        "plugin_bytes": sum(len(plugin.code) for plugin in plain),
        "ms": medians,
        "ms_rounds": {kind: [round(one, 3) for one in took] for kind, took in rounds.items()},
        "bar_ms": CHAIN_BARS_MS,
        "bar_met": all(medians[kind] <= bar for kind, bar in CHAIN_BARS_MS.items()),
    }


def _chain(plugins: Sequence[Built]) -> float:
    with contextlib.ExitStack() as stack:
        engine = stack.enter_context(Engine())
        schemas = [Schema.SAMPLES] * len(plugins) + [Schema.PAYLOADS]
        rings = [stack.enter_context(Ring(f"r{n}", 1 << 18, one, 1)) for n, one in enumerate(schemas)]
        loop = stack.enter_context(Loop(engine))
        stages = []
        for plugin, source, target in zip(plugins, rings, rings[1:], strict=False):
            with plugin.module(engine) as module:
                config = plugin.config(module, CHAIN[plugin.manifest.name])
                stages.append(loop.add_stage(with_ends(config, source, target)))
        rings[0].write(samples(SAMPLES))
        loop.start()
        _until(lambda: stages[2].stats().records_in == SAMPLES)
        return sum(stage.stats().busy_ns for stage in stages) / 1e6


def _until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit, "it works within a minute"


# ---- density and start ----


def density() -> dict[str, Any]:
    """Idle stages of scale, all on one pair of rings each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * IDLE)), hard))
    idle_bytes = _idle_bytes()
    made_s = statistics.median(_made_s() for _ in range(3))
    return {
        "what": f"{IDLE} idle stages of scale with a ring of 4 KiB each; {MADE} stages without rings made",
        "idle_bytes": idle_bytes,
        "bar_idle_bytes": RSS_BAR_BYTES,
        "made_s": round(made_s, 3),
        "bar_made_s": MADE_BAR_S,
        "bar_met": idle_bytes <= RSS_BAR_BYTES and made_s <= MADE_BAR_S,
    }


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize()


def _idle_bytes() -> int:
    """Resident memory that the stages and their rings add."""
    scale = built("scale")
    with Engine() as engine, Module(engine, "scale", scale.code) as module, Loop(engine) as loop:
        before, rings = _rss_bytes(), []
        for number in range(IDLE):
            rings.append(Ring(f"r{number}", 4096, Schema.SAMPLES, 1))
            source = rings[-2] if number else None
            loop.add_stage(with_ends(scale.config(module, {}), source, rings[-1]))
        added = _rss_bytes() - before
        loop.close()
        for ring in rings:
            ring.close()
    return added


def _made_s() -> float:
    """Seconds for MADE stages, by the thousand, with a loop each."""
    total = 0.0
    with Engine() as engine, Module(engine, "minimal", minimal()) as module:
        config = StageConfig("minimal", module, 0, b"", 65536, 1_000_000)
        for first in range(0, MADE, LOOP_STAGES):
            with Loop(engine) as loop:
                start = time.perf_counter()
                for _ in range(min(LOOP_STAGES, MADE - first)):
                    loop.add_stage(config)
                total += time.perf_counter() - start
    return total


def start() -> dict[str, Any]:
    """From the bytes of a plugin of some 10 KB to the first record that it has handled, in a loop that runs; the best
    round, as its two threads wait for each other and for whatever else the machine does."""
    alarm = built("alarm")
    with tempfile.TemporaryDirectory(prefix="penstock-start-") as folder:
        kinds = {"interp": alarm, "aot": alarm.compiled(Path(folder))}
        rounds = {kind: [_start(plugin) for _ in range(5 * ROUNDS)] for kind, plugin in kinds.items()}
    best = {kind: round(min(took), 3) for kind, took in rounds.items()}
    return {
        "what": "alarm: module loaded, stage made, one sample written, sample and event read",
        "plugin_bytes": len(alarm.code),
        "ms": best,
        "median_ms": {kind: round(statistics.median(took), 3) for kind, took in rounds.items()},
        "bar_ms": START_BARS_MS,
        "bar_met": all(best[kind] <= bar for kind, bar in START_BARS_MS.items()),
    }


def _start(plugin: Built) -> float:
    record = samples(2)[len(samples(1)) :]
    source, target, orders = (
        Ring(name, 65536, schema, 1)
        for name, schema in (("in", Schema.SAMPLES), ("out", Schema.SAMPLES), ("orders", Schema.COMMANDS))
    )
    end = target.attach(Policy.BLOCK)
    with Engine() as engine, Loop(engine) as loop:
        loop.start()
        begin = time.perf_counter()
        with plugin.module(engine) as module:
            config = with_ends(plugin.config(module, {}), source, target)
            loop.add_stage(replace(config, outputs=[target, orders], out_commands=1))
        source.write(record)
        _until(lambda: len(end.read()) > 0)
        took = time.perf_counter() - begin
    for ring in (source, target, orders):
        ring.close()
    return took * 1e3
