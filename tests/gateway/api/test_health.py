"""What the gateway's health says of states."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from gateway.api.health import Health, HealthMonitor, write_health
from gateway.supervisor import LinkState, StageReport, State
from gateway.wasm import StageStats
from tests.gateway.store.goods import Ticking

STATS = StageStats(**dict.fromkeys(StageStats.__slots__, 0))
LINK = LinkState("cloud", True, 0, 0, 0, 0, 0, 0, 0, "")


def stage(name: str, *, running: bool = True, traps: int = 0, cycles: int = -1, skipped: int = 0) -> StageReport:
    metrics = {"cycles_total": cycles, "cycles_skipped_total": skipped} if cycles >= 0 else {}
    return StageReport(name, "p", "1.0.0", "", running, "", replace(STATS, traps=traps), metrics)


def state(uptime_s: float, *stages: StageReport, link: LinkState = LINK) -> State:
    return State("works", uptime_s, stages, (), (), (link,))


def judged(*states: State) -> Health:
    monitor = HealthMonitor(Ticking(), "1.2.3")
    return [monitor.judge(one) for one in states][-1]


def failed(health: Health) -> dict[str, str]:
    assert health.healthy is all(one.ok for one in health.checks)
    return {one.name: one.detail for one in health.checks if not one.ok}


def test_all_is_well() -> None:
    health = judged(state(5, stage("plc", cycles=10)), state(10, stage("plc", cycles=20)))
    assert failed(health) == {}
    assert (health.site, health.version, health.uptime_s) == ("works", "1.2.3", 10)


@pytest.mark.parametrize(
    ("states", "faults"),
    [
        ([state(5, stage("plc", running=False))], {"stages": "stage plc is stopped"}),
        ([state(5, stage("si", traps=3))], {}),
        ([state(5, stage("si")), state(10, stage("si", traps=3))], {}),
        ([state(5, stage("si")), state(10, stage("si", traps=4))], {"traps": "stage si: 4 traps in 30 s"}),
        ([state(5, stage("si")), state(36, stage("si", traps=4)), state(67, stage("si", traps=4))], {}),
        ([state(5, stage("p", cycles=90, skipped=10)), state(9, stage("p", cycles=180, skipped=20))], {}),
        (
            [state(5, stage("p", cycles=100)), state(9, stage("p", cycles=180, skipped=20))],
            {"polls": "stage p left out 20 of 100 polls in 30 s"},
        ),
        ([state(5, link=replace(LINK, connected=False))], {"links": "link cloud is down and does not say why"}),
    ],
)  # fmt: skip
def test_what_fails(states: list[State], faults: dict[str, str]) -> None:
    assert failed(judged(*states)) == faults


def test_a_link_that_says_why_it_is_down_is_accounted_for() -> None:
    health = judged(state(5, link=replace(LINK, connected=False, problem="connection refused")))
    assert health.healthy
    assert [one.detail for one in health.checks if one.name == "links"] == ["link cloud is down: connection refused"]
    assert [(one.name, one.connected) for one in health.links] == [("cloud", False)]


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "health.json"
    for uptime_s in (5.0, 10.0):
        write_health(path, judged(state(uptime_s)))
        stated = json.loads(path.read_text())
        assert (stated["format"], stated["healthy"], stated["uptime_s"]) == (1, True, uptime_s)
        assert msgspec.json.decode(path.read_bytes(), type=Health).boot_id
    assert [one.name for one in tmp_path.iterdir()] == ["health.json"]


def test_what_the_store_found_is_told() -> None:
    health = HealthMonitor(Ticking(), "1", ["blobs/x is damaged"]).judge(state(1))
    assert [(one.ok, one.detail) for one in health.checks if one.name == "store"] == [(True, "blobs/x is damaged")]
