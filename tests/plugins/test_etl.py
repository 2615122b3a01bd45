"""ETL plugins against the statistics module, and carried over a swap at any record."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from pathlib import Path

import pytest
import wasmtime

from gateway.app.cli import main
from gateway.app.plugin_build import build
from gateway.app.vectors import START_NS, encode_sample
from gateway.config.manifest import TagSettings, load_manifest, pack_config
from gateway.record import Quality, Record, decode, split
from tests.plugins.oracle import Ring, Setup, Stage
from tests.runtime_c import toolchain

SETTINGS: dict[str, dict[str, object]] = {
    "outlier": {"window": 20},
    "resample": {},
    "deadband": {"absolute": 1.5, "silence_ms": 5000},
}
STEP_NS = 700_000_000


def start(name: str, settings: dict[str, object], kept: bytes = b"") -> Stage:
    folder, engine = toolchain.ROOT / "plugins" / name, wasmtime.Engine()
    module = wasmtime.Module.from_file(engine, str(build(folder, toolchain.BUILD / "plugins")))
    config: dict[str, object] = {"interval_ms": 10000} if name == "resample" else {}
    block = pack_config(load_manifest(folder / "plugin.toml"), config, [TagSettings(0, "x", "", settings)], file="test")
    setup = Setup(rings=[Ring(True, 1, 1 << 17), Ring(False, 1, 1 << 17)], config=block, unix_ns=START_NS)
    stage = Stage(engine, module, setup)
    stage.kept = kept
    assert stage.start() == 0, stage.logs
    return stage


def feed(stage: Stage, values: Sequence[float], first: int = 0) -> list[Record]:
    for seq, value in enumerate(values, first):
        stage.write(0, encode_sample({"value": value}, 0, seq, START_NS + seq * STEP_NS))
    records = [decode(view) for view in split(stage.read(0))]
    assert all(isinstance(record, Record) for record in records)
    return [record for record in records if isinstance(record, Record)]


def noise(seed: int, kind: type, count: int = 600) -> list[float]:
    """A slow drift with noise, and now and then a value far off."""
    chance = random.Random(seed)
    raw = [
        1000 + i * 0.05 + chance.gauss(0, 3) + (chance.random() < 0.03) * chance.choice((-90, 70)) for i in range(count)
    ]
    return [kind(round(value)) if kind is int else value for value in raw]


def swapped(old: Stage, name: str) -> Stage:
    version = old.call("pen_save")
    new = start(name, SETTINGS[name])
    new.state = old.state
    assert version == 1
    assert new.call("pen_load", version) == 0
    assert new.state == b""
    return new


@pytest.mark.parametrize("kind", [int, float])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_swap_changes_no_result(name: str, kind: type) -> None:
    values = noise(1, kind)
    expected = feed(start(name, SETTINGS[name]), values)
    for at in (0, 1, 7, 333):
        stage = start(name, SETTINGS[name])
        found = feed(stage, values[:at])
        assert found + feed(swapped(stage, name), values[at:], at) == expected


@pytest.mark.parametrize("kind", [int, float])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_trap_between_two_records_changes_no_result(name: str, kind: type) -> None:
    values = noise(1, kind)
    expected = feed(start(name, SETTINGS[name]), values)
    for at in (1, 7, 333):
        stage = start(name, SETTINGS[name])
        found = feed(stage, values[:at])
        assert found + feed(start(name, SETTINGS[name], stage.keeps), values[at:], at) == expected


@pytest.mark.parametrize("name", SETTINGS)
def test_a_state_that_is_not_its_own_is_refused(name: str) -> None:
    stage = start(name, SETTINGS[name])
    assert stage.call("pen_load", 2) == 1
    assert stage.call("pen_load", 1) == 1, "nothing was saved"


@pytest.mark.parametrize("kind", [int, float])
@pytest.mark.parametrize("seed", range(3))
def test_outliers_are_those_of_the_statistics_module(seed: int, kind: type) -> None:
    values = noise(seed, kind)
    window: list[float] = []
    strikes = found = 0
    for record, value in zip(feed(start("outlier", SETTINGS["outlier"]), values), values, strict=True):
        far = False
        if len(window) >= 10:
            ratio = abs(value - statistics.fmean(window)) / statistics.stdev(window)
            far = (
                ratio > 3 if abs(ratio - 3) > 0.01 else record.quality is Quality.BAD
            )  # within the rounding of integers
        strikes = strikes + 1 if far else 0
        if strikes == 5:
            window, strikes, far = [], 0, False
        assert record.quality is (Quality.BAD if far else Quality.GOOD), (record, window)
        found += far
        window = window if far else [*window, value][-20:]
    assert found > 5


@pytest.mark.parametrize("kind", [int, float])
@pytest.mark.parametrize("seed", range(3))
def test_means_are_those_of_the_statistics_module(seed: int, kind: type) -> None:
    values = noise(seed, kind)
    groups: dict[int, list[float]] = {}
    for seq, value in enumerate(values):
        groups.setdefault((START_NS + seq * STEP_NS) // 10**10, []).append(value)
    results = feed(start("resample", {}), values)
    assert len(results) == len(groups) - 1  # the last interval is not over
    for record, (interval, group) in zip(results, groups.items(), strict=False):
        assert record.time_ns == (interval + 1) * 10**10
        assert record.value == pytest.approx(statistics.fmean(group), abs=0.5 if kind is int else 1e-9)


@pytest.mark.parametrize(
    "site", sorted((toolchain.ROOT / "docs" / "examples").glob("*.toml")), ids=lambda site: site.stem
)
def test_example_sites_are_right(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(site)]) == 0, capsys.readouterr().err
