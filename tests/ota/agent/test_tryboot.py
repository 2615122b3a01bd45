"""``boot.kind = "tryboot"``: the agent on a Raspberry Pi, whose firmware is played by ``autoboot.txt``'s own rules."""

from __future__ import annotations

import configparser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ota.agent import machine
from ota.agent.settings import read_settings
from ota.boot.raw import blank
from ota.boot.table import Action
from ota.boot.tryboot import autoboot_text
from ota.clock import Cancel
from ota.errors import UsageError
from ota.ports import BootState
from tests.ota.agent.rig import Plant
from tests.ota.conftest import IMAGE_ONE, IMAGE_TWO
from tests.ota.web import serving
from tests.ota.world import IMAGE, HandClock, Publisher

SYSTEMCTL = """#!/bin/sh
echo "$@" >> {folder}/reboots
"""


@dataclass
class Pi:
    """Slots a and b are booted from partitions 2 and 3; a reboot is a call of ``systemctl``."""

    plant: Plant
    folder: Path
    command_line: Path
    boots: int = 0

    def power_on(self) -> str:
        """What the firmware does: one boot of the other partition after ``0 tryboot``, the usual one after all else."""
        self.boots += 1
        path = self.folder / "reboots"
        asked = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        rules = configparser.ConfigParser()
        rules.read(self.folder / "firmware" / "autoboot.txt")
        assert rules["all"]["tryboot_a_b"] == "1"
        section = "tryboot" if asked and asked[-1] == "reboot --reboot-argument=0 tryboot" else "all"
        slot = {"2": "a", "3": "b"}[rules[section]["boot_partition"]]
        self.command_line.write_text(f"console=tty1 penstock.slot={slot} rootwait\n")
        return slot


@pytest.fixture
def pi(publisher: Publisher, tmp_path: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pi]:
    publisher.add(f"{IMAGE}/p-2.img", IMAGE_TWO, 2)
    tools, firmware, line = tmp_path / "bin", tmp_path / "firmware", tmp_path / "cmdline"
    for folder in (tools, firmware):
        folder.mkdir()
    (tools / "systemctl").write_text(SYSTEMCTL.format(folder=tmp_path))
    (tools / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setattr(machine, "COMMAND_LINE", line)
    (firmware / "autoboot.txt").write_text(autoboot_text(2, 3))
    (tmp_path / "boot").write_bytes(blank(BootState(1, "a", "", 0, frozenset("a"))))
    with serving(publisher.folder / "repo") as (_, url):
        plant = Plant(tmp_path, publisher, clock, url)
        text = plant.config.read_text().replace('"sim"', f'"tryboot"\nfirmware = "{firmware}"')
        plant.config.write_text(text.replace("slot_bytes = 400000\n", ""))
        for slot in ("slot_a", "slot_b"):
            (tmp_path / slot).write_bytes(IMAGE_ONE.ljust(400_000, b"\0"))
        found = Pi(plant, tmp_path, line)
        for place in ("ota.agent.agent.boot_id", "tests.ota.agent.rig.boot_id"):
            monkeypatch.setattr(place, lambda: f"boot {found.boots}")
        assert found.power_on() == "a"
        yield found


def test_an_update_is_committed_by_the_firmwares_file(pi: Pi) -> None:
    pi.plant.install()
    assert pi.power_on() == "b"
    agent = pi.plant.agent(pi.plant.report())
    assert agent.settle(Cancel()) is Action.COMMIT
    status = agent.status()
    assert status["loader"]["kind"] == "tryboot"
    assert status["loader"]["autoboot.txt"] == autoboot_text(3, 2)
    assert (status["slot"], status["boot"]["good"], status["boot"]["trial"]) == ("b", "b", "")
    for _ in range(50):
        assert pi.power_on() == "b"


def test_a_power_cut_on_trial_costs_a_try(pi: Pi) -> None:
    pi.plant.install()
    assert pi.power_on() == "b"
    assert pi.power_on() == "a", "the power failed on trial, and nobody asked for the other partition again"
    assert pi.plant.agent().settle(Cancel()) is Action.TRY
    assert pi.power_on() == "b"
    assert pi.plant.agent(pi.plant.report()).settle(Cancel()) is Action.COMMIT
    assert pi.plant.events() == ["installed", "committed"]


def test_a_trial_that_never_reaches_the_agent_goes_back(pi: Pi) -> None:
    pi.plant.install()
    for _ in range(2):
        assert [pi.power_on(), pi.power_on()] == ["b", "a"]
        assert pi.plant.agent().settle(Cancel()) is Action.TRY
    assert [pi.power_on(), pi.power_on()] == ["b", "a"]
    assert pi.plant.agent().settle(Cancel()) is Action.CLEAR
    assert pi.plant.events() == ["installed", "rolled-back"]
    assert pi.power_on() == "a"


def test_a_sick_trial_is_rejected(pi: Pi) -> None:
    pi.plant.install()
    pi.power_on()
    assert pi.plant.agent(pi.plant.report("traps")).settle(Cancel()) is Action.REJECT
    assert pi.power_on() == "a"
    assert pi.plant.agent().settle(Cancel()) is Action.RUN


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("firmware = ", "# ", "boot.firmware: belongs to boot.kind 'tryboot'"),
        ('kind = "tryboot"', 'kind = "raw"', "boot.firmware: belongs to boot.kind 'tryboot'"),
        ("firmware = ", "partition_a = 3\nfirmware = ", "boot.partition_b: found 3"),
    ],
)
def test_mistakes_are_named(pi: Pi, old: str, new: str, message: str) -> None:
    config = pi.plant.config
    config.write_text(config.read_text().replace(old, new))
    with pytest.raises(UsageError) as caught:
        read_settings(config)
    assert message in caught.value.message
