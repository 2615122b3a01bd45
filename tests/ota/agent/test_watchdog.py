"""The watchdog: fed on trial, disarmed after it, or fed for good where the kernel does not let go of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ota.agent import watchdog as module
from ota.agent.watchdog import Watchdog
from ota.boot.table import Action
from ota.clock import Cancel, Clock
from ota.errors import BootError, Cancelled
from tests.ota.agent.plant import wait_for
from tests.ota.agent.rig import Plant
from tests.ota.world import HandClock


class Fast(Clock):
    """Waits a thousandth of the time."""

    def wait(self, seconds: float, cancel: Cancel) -> None:
        super().wait(seconds / 1000, cancel)


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in the place of the device, and its folder in sysfs."""
    path, facts = tmp_path / "watchdog", tmp_path / "sysfs" / "watchdog0"
    path.touch()
    facts.mkdir(parents=True)
    (facts / "nowayout").write_text("0\n")
    (facts / "state").write_text("inactive\n")
    monkeypatch.setattr(module, "SYSFS", facts.parent)
    return path


def no_way_out(device: Path) -> None:
    facts = device.parent / "sysfs" / "watchdog0"
    (facts / "nowayout").write_text("1\n")
    (facts / "state").write_text("active\n")


def test_fed_and_disarmed(device: Path) -> None:
    lines: list[str] = []
    one = Watchdog(str(device), 5.0, Fast(), lines.append)
    one.feed()
    assert device.read_bytes() == b"", "not armed yet"
    one.arm()
    one.feed()
    one.release()
    one.feed()
    one.end()
    assert device.read_bytes() == b"\0V"
    assert lines == []


def test_without_a_device_nothing_happens() -> None:
    one = Watchdog("", 5.0, Fast(), lambda _line: None)
    one.arm()
    one.feed()
    one.take_over()
    one.release()
    one.end()


def test_a_missing_device_is_named(tmp_path: Path) -> None:
    with pytest.raises(BootError, match="cannot be opened"):
        Watchdog(str(tmp_path / "missing"), 5.0, Fast(), lambda _line: None).arm()


def test_with_no_way_out_it_is_fed_for_good_and_by_the_next_agent(device: Path) -> None:
    no_way_out(device)
    lines: list[str] = []
    first = Watchdog(str(device), 5.0, Fast(), lines.append)
    first.arm()
    first.release()
    assert "is fed for as long as the agent runs" in lines[0]
    wait_for(lambda: len(device.read_bytes()) > 5, "it is fed")
    first.end()
    assert "unless an agent is started in time" in lines[-1]
    after = device.read_bytes()
    assert after.count(b"V") == 1, "harmless, and right for kernels that tell wrongly"
    second = Watchdog(str(device), 5.0, Fast(), lines.append)
    second.take_over()
    wait_for(lambda: len(device.read_bytes()) > len(after) + 5, "it is fed again")
    second.end()


def test_one_that_nobody_armed_is_left_alone(device: Path) -> None:
    Watchdog(str(device), 5.0, Fast(), lambda _line: None).take_over()
    assert device.read_bytes() == b""


@pytest.mark.parametrize("stays", [False, True])
def test_an_agent_feeds_it_on_trial(plant: Plant, device: Path, stays: bool) -> None:
    if stays:
        no_way_out(device)
    plant.config.write_text(plant.config.read_text().replace("hold_s", f'watchdog = "{device}"\nhold_s'))
    plant.install()
    agent = plant.agent(plant.report())
    assert agent.settle(Cancel()) is Action.COMMIT
    fed = device.read_bytes()
    assert fed.count(b"\0") >= 4, "every look_s in hold_s"
    assert fed.endswith(b"V") != stays
    agent.end()


def test_an_agent_that_is_stopped_on_trial_disarms_it(plant: Plant, device: Path) -> None:
    class Stopping(HandClock):
        def wait(self, seconds: float, cancel: Cancel) -> None:
            super().wait(seconds, cancel)
            cancel.set()

    plant.config.write_text(plant.config.read_text().replace("hold_s", f'watchdog = "{device}"\nhold_s'))
    plant.install()
    agent = plant.agent(Stopping())
    with pytest.raises(Cancelled):
        agent.settle(Cancel())
    agent.end()
    assert device.read_bytes().endswith(b"V")
