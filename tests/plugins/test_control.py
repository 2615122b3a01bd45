"""Plugins that watch and control: conditions against Python's own, controllers against a reference and a plant."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
import wasmtime

from gateway.app.plugin_build import build
from gateway.app.vectors import START_NS, encode_sample
from gateway.config.manifest import TagSettings, load_manifest, pack_config
from gateway.record import Kind, Record, Schema, decode, split
from tests.plugins.oracle import Ring, Setup, Stage
from tests.runtime_c import toolchain

STEP_NS = 500_000_000
OPERATORS = (">", ">=", "<", "<=", "==", "!=")


def start(name: str, config: dict[str, object], tags: Sequence[TagSettings], kept: bytes = b"") -> Stage:
    folder, engine = toolchain.ROOT / "plugins" / name, wasmtime.Engine()
    module = wasmtime.Module.from_file(engine, str(build(folder, toolchain.BUILD / "plugins")))
    manifest = load_manifest(folder / "plugin.toml")
    outputs = [Ring(False, Schema.SAMPLES, 1 << 17)] if manifest.output == "samples" else []
    rings = [Ring(True, Schema.SAMPLES, 1 << 17), *outputs, Ring(False, Schema.COMMANDS, 1 << 17)]
    stage = Stage(engine, module, Setup(rings=rings, config=pack_config(manifest, config, tags, file="test")))
    stage.kept = kept
    assert stage.start() == 0, stage.logs
    return stage


def taken(stage: Stage, ring: int) -> list[Record]:
    records = [decode(view) for view in split(stage.read(ring))]
    assert all(isinstance(record, Record) for record in records)
    return [record for record in records if isinstance(record, Record)]


def sample(tag: int, value: object, number: int) -> bytes:
    return encode_sample({"value": value}, tag, number, START_NS + number * STEP_NS)


Maker = Callable[[bytes], Stage]
"""Makes a stage; from what an instance had kept that trapped, if that is not empty."""


def swapped(old: Stage, make: Maker) -> Stage:
    new = make(b"")
    assert old.call("pen_save") == 1
    new.state = old.state
    assert new.call("pen_load", 1) == 0
    assert new.state == b""
    return new


def trapped(old: Stage, make: Maker) -> Stage:
    """Between two records."""
    return make(old.keeps)


WAYS = {"swap": swapped, "trap": trapped}


# ---- alarm --------------------------------------------------------------------------------------------------------


@dataclass
class Condition:
    """A random condition over three tags, as the plugin and as Python read it."""

    text: str
    python: str

    @classmethod
    def draw(cls, chance: random.Random) -> Condition:
        text, python = "", ""
        for number in range(chance.randint(1, 6)):
            word = chance.choice((" and ", " or ")) if number else ""
            tag, limit = chance.randrange(3), chance.choice((0, 1, -2, 2.5, -0.75, 3))
            sign = chance.choice(OPERATORS)
            operand = f"'t{tag}'" if tag else "value"
            text += f"{word}{operand} {sign} {limit}"
            python += f"{word}values[{tag}] {sign} {limit}"
        return cls(text, python)

    def holds(self, values: Sequence[float]) -> bool:
        return bool(eval(self.python, {"values": values}))


def alarm(condition: str, kept: bytes = b"", **settings: object) -> Stage:
    own = {"when": condition, "label": "x", "command": "t2", "on_raised": 1, "on_cleared": 0, **settings}
    tags = [TagSettings(0, "t0", "", own), TagSettings(1, "t1"), TagSettings(2, "t2")]
    return start("alarm", {"samples": False}, tags, kept)


@pytest.mark.parametrize("seed", range(30))
def test_conditions_hold_when_python_says_so(seed: int) -> None:
    chance = random.Random(seed)
    condition = Condition.draw(chance)
    stage, was, events = alarm(condition.text), False, 0
    values: list[float] = [chance.choice((0, 1, 2.5)) for _ in range(3)]
    for tag, value in enumerate(values):
        stage.write(0, sample(tag, value, tag))
    taken(stage, 0)  # while not all are known
    was = stage.metrics["active"] == 1
    stage.write(0, sample(0, values[0], 3))
    taken(stage, 0)
    assert (stage.metrics["active"] == 1) == condition.holds(values)
    was = condition.holds(values)
    for number in range(4, 150):
        tag = chance.randrange(3)
        values[tag] = chance.choice((chance.randint(-3, 4), chance.randint(-12, 16) / 4))
        stage.write(0, sample(tag, values[tag], number))
        now = condition.holds(values)
        found = taken(stage, 0)
        assert [str(one.value).split(":")[0] for one in found] == (
            [] if now == was else [f"{'raised' if now else 'cleared'} x"]
        ), (condition, values)
        was, events = now, events + len(found)
    orders = [one.value for one in taken(stage, 1)]
    assert all(a != b for a, b in pairwise(orders)), "each change is told once"


@pytest.mark.parametrize("way", WAYS)
def test_hysteresis_and_delays_go_on_in_the_next_instance(way: str) -> None:
    chance = random.Random(5)
    settings = {"hysteresis": 1.5, "on_delay_ms": 700, "off_delay_ms": 1200}
    values = [round(chance.uniform(-2, 6), 1) for _ in range(200)]

    def make(kept: bytes) -> Stage:
        return alarm("value > 2 and 't1' != 1", kept, **settings)

    def run(end_at: int) -> list[Record]:
        stage, found = make(b""), list[Record]()
        stage.write(0, sample(1, 0, 0))
        for number, value in enumerate(values):
            if number == end_at:
                new = WAYS[way](stage, make)
                new.elapsed_ns = stage.elapsed_ns
                stage = new
            stage.setup.unix_ns = START_NS
            stage.write(0, sample(0, value, number))
            stage.advance(STEP_NS)
            found += [*taken(stage, 0), *taken(stage, 1)]
        return found

    expected = run(-1)
    assert 5 < len([one for one in expected if one.kind == Kind.EVENT]) < 120
    assert [run(at) for at in (0, 1, 50, 121)] == [expected] * 4


# ---- pid ----------------------------------------------------------------------------------------------------------


@dataclass
class Reference:
    """The equations of plugins/pid/README.md, once more."""

    setpoint: float
    kp: float
    ki: float
    kd: float
    low: float
    high: float
    integral: float = 0.0
    last: float | None = None

    def step(self, value: float, seconds: float) -> float:
        deviation = self.setpoint - value
        slope = 0.0
        if self.last is None:
            self.integral = min(max(self.low - self.kp * deviation, self.low), self.high)
        else:
            slope = (self.last - value) / seconds
            before = self.kp * deviation + self.integral + self.kd * slope
            more = self.ki * deviation * seconds
            if not ((more > 0 and before >= self.high) or (more < 0 and before <= self.low)):
                self.integral = min(max(self.integral + more, self.low), self.high)
        self.last = value
        return min(max(self.kp * deviation + self.integral + self.kd * slope, self.low), self.high)


GAINS = {"kp": 0.7, "ki": 0.013, "kd": 1.3}


def controller(setpoint: float, kept: bytes = b"", **settings: object) -> Stage:
    own = {"command": "y", "setpoint": setpoint, **GAINS, **settings}
    return start("pid", {}, [TagSettings(0, "x", "", own), TagSettings(1, "y")], kept)


@pytest.mark.parametrize("kind", [int, float])
@pytest.mark.parametrize("seed", range(4))
def test_outputs_are_those_of_the_equations(seed: int, kind: type) -> None:
    chance = random.Random(seed)
    reference = Reference(setpoint=500, low=0, high=100, **GAINS)
    stage, value = controller(500), 300.0
    for number in range(400):
        value += chance.gauss(2 if value < 500 else -2, 5)
        expected = reference.step(kind(value), STEP_NS / 1e9)
        stage.write(0, sample(0, kind(value), number))
        found = taken(stage, 0)
        assert all(one.kind == Kind.COMMAND and one.tag == 1 for one in found)
        if found:
            assert found[0].value == pytest.approx(expected, abs=1e-3 if kind is int else 1e-9)
            output = found[0].value
        assert output == pytest.approx(expected, abs=1e-3 if kind is int else 1e-9)


def settle(steps: int, end_at: int = -1, way: str = "swap") -> list[float]:
    """A tank that heats with the output and cools to 20 by itself; at a step another instance takes over."""

    def make(kept: bytes) -> Stage:
        return controller(60, kept, kp=4, ki=0.4, kd=0)

    value, output, values, stage = 20.0, 0.0, list[float](), make(b"")
    for number in range(steps):
        if number == end_at:
            stage = WAYS[way](stage, make)
        stage.write(0, sample(0, value, number))
        for one in taken(stage, 0):
            assert isinstance(one.value, float)
            output = one.value
        value += (output * 0.8 - (value - 20)) * 0.02
        values.append(value)
    return values


@pytest.mark.parametrize("way", WAYS)
def test_a_plant_comes_to_its_setpoint_and_no_other_instance_is_felt(way: str) -> None:
    expected = settle(600)
    assert max(expected) < 66, "the integral does not wind up while the output is at its limit"
    assert expected[-1] == pytest.approx(60, abs=0.01)
    for at in (1, 17, 300):
        assert settle(600, at, way) == expected
