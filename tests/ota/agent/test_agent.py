"""The whole way on a simulated machine: publish, install over HTTP, restart, watch, commit or roll back."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ota.agent.health import boot_id, complaints
from ota.agent.machine import Files, power_on
from ota.agent.settings import read_settings
from ota.agent.source import Source, bundle, folder
from ota.app.cli import main
from ota.app.device_cli import await_anchor, read_anchor
from ota.boot.table import Action, Wish
from ota.clock import Cancel
from ota.errors import BootError, OtaError, StorageError, TrustError, UsageError
from ota.repo.bundle import create_bundle
from tests.ota.agent.rig import LINE, Plant
from tests.ota.conftest import IMAGE_ONE, IMAGE_TWO
from tests.ota.world import DAY, IMAGE, NOW, HandClock

ROOT = Path(__file__).resolve().parents[3]


def test_publish_install_restart_commit(plant: Plant) -> None:
    plant.install()
    assert any("by patch, verified" in line for line in plant.lines)
    assert power_on(plant.settings) == "b"
    agent = plant.agent(plant.report())
    assert agent.settle(Cancel()) is Action.COMMIT
    assert plant.events() == ["installed", "committed"]
    status = plant.agent().status()
    assert (status["slot"], status["boot"]["good"], status["floors"][LINE]) == ("b", "b", 2)
    assert (plant.folder / "slot_b").read_bytes()[: len(IMAGE_TWO)] == IMAGE_TWO
    assert agent.check(plant.source(agent)) is None
    for _ in range(50):
        assert power_on(plant.settings) == "b"


def test_sick_update_is_rolled_back_and_not_tried_again(plant: Plant) -> None:
    plant.install()
    assert power_on(plant.settings) == "b"
    agent = plant.agent(plant.report("polls"))
    assert agent.settle(Cancel()) is Action.REJECT
    assert agent.restarting
    assert power_on(plant.settings) == "a"
    back = plant.agent()
    assert back.settle(Cancel()) is Action.RUN
    assert plant.events() == ["installed", "rolled-back"]
    assert "polls: bad" in plant.agent().history()[-1].reason
    failed = plant.agent().status()["failed"]
    assert list(failed["lines"]) == ["first", "last words"]
    assert plant.agent().failure(failed["sha256"]) == ("polls: bad", "first", "last words")
    assert back.check(plant.source(back)) is None
    plant.publisher.add(f"{IMAGE}/p-3.img", IMAGE_TWO + b"3", 3)
    offer = back.check(plant.source(back))
    assert offer is not None
    assert offer.artefact.release.release == 3


def test_a_sick_update_with_a_full_disk_is_rolled_back(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant.install()
    assert power_on(plant.settings) == "b"

    def full(_files: Files, name: str, _data: bytes) -> None:
        raise StorageError("state-write", f"{name}: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Files, "save", full)
        agent = plant.agent(plant.report("polls"))
        assert agent.settle(Cancel()) is Action.REJECT
    assert any("cannot be kept for the other slot: notebook.json" in line for line in plant.lines)
    assert agent.restarting
    assert power_on(plant.settings) == "a"


def test_silent_gateway_is_rolled_back(plant: Plant) -> None:
    plant.install()
    power_on(plant.settings)
    assert plant.agent().settle(Cancel()) is Action.REJECT
    power_on(plant.settings)
    plant.agent().settle(Cancel())
    assert "has not reported" in plant.agent().history()[-1].reason


def test_update_that_never_reaches_the_agent(plant: Plant) -> None:
    """Three starts that end in the watchdog, the first by the installation, then the old slot, which tells of it."""
    plant.install()
    assert [power_on(plant.settings) for _ in range(3)] == ["b", "b", "a"]
    assert plant.agent().settle(Cancel()) is Action.CLEAR
    assert plant.events() == ["installed", "rolled-back"]


def test_nothing_of_a_committed_release_is_offered_again(plant: Plant) -> None:
    plant.publisher.add(f"{IMAGE}/older.img", b"older", 1, line="other")
    plant.install()
    power_on(plant.settings)
    plant.agent(plant.report()).settle(Cancel())
    with plant.publisher.repository.edit("image-rpi4") as signed:
        del signed.targets[f"{IMAGE}/p-2.img"]  # type: ignore[attr-defined]
    plant.publisher.publish()
    agent = plant.agent()
    assert agent.check(plant.source(agent)) is None


def test_operator_decides(plant: Plant) -> None:
    plant.install()
    power_on(plant.settings)
    assert plant.agent().wish(Wish.GOOD) is Action.COMMIT
    assert plant.agent().wish(Wish.BACK) is Action.RETURN
    assert power_on(plant.settings) == "a"
    assert plant.agent().wish(Wish.GOOD) is Action.COMMIT
    assert plant.agent().status()["boot"]["good"] == "a"


def test_agent_runs_until_the_restart(plant: Plant) -> None:
    agent = plant.agent()
    agent.run(lambda: plant.source(agent), Cancel())
    assert agent.restarting
    power_on(plant.settings)
    polls = 0

    def source() -> Source:
        nonlocal polls
        polls += 1
        if polls == 3:
            cancel.set()
        if polls == 2:
            raise TrustError("metadata-expired", "a bad poll")
        return plant.source(running)

    cancel, running = Cancel(), plant.agent(plant.report())
    with pytest.raises(OtaError, match="cancelled"):
        running.run(source, cancel)
    assert "no update: a bad poll [metadata-expired]" in plant.lines
    assert plant.events() == ["installed", "committed"]


def test_from_folder_and_bundle(plant: Plant) -> None:
    path = plant.folder / "stick.tar"
    agent = plant.agent()
    local = folder(agent.settings, agent.client, plant.clock, Cancel(), plant.publisher.folder / "repo")
    assert agent.install(local, Cancel()) is not None
    assert agent.wish(Wish.BACK) is Action.REJECT
    plant.publisher.add(f"{IMAGE}/p-3.img", IMAGE_ONE + b"3", 3)
    create_bundle(plant.publisher.repository, "image-rpi4", path, with_patches=True)
    plant.clock.now += 100 * DAY
    again = plant.agent()
    with bundle(again.settings, again.client, plant.anchor, plant.clock, path) as source:
        assert again.install(source, Cancel()) is not None
    create_bundle(plant.publisher.repository, "plugin-acme", path, with_patches=True)
    with (
        pytest.raises(UsageError, match="holds nothing of image-rpi4"),
        bundle(again.settings, again.client, plant.anchor, plant.clock, path),
    ):
        pass
    with pytest.raises(UsageError, match="not a repository"):
        folder(agent.settings, agent.client, plant.clock, Cancel(), plant.folder)


def test_two_processes_do_not_decide_at_once(plant: Plant) -> None:
    with plant.agent().device(), pytest.raises(BootError, match="another process"):
        plant.agent().wish(Wish.GOOD)


def test_health_file(plant: Plant) -> None:
    path, now, boot = plant.folder / "health.json", plant.clock.now, boot_id()
    assert complaints(path, plant.clock, boot) is None
    plant.write_health(now)
    assert complaints(path, plant.clock, boot) == ()
    assert complaints(path, plant.clock, "another boot") is None
    plant.write_health(now, "traps")
    assert complaints(path, plant.clock, boot) == ("traps: bad",)
    for other in ({"uptime_s": 10.0}, {"time_ns": int((now - 16) * 1e9)}, {"format": 2}, {"checks": 3}):
        plant.write_health(now, **other)
        assert complaints(path, plant.clock, boot) is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("plain = true", "plain = 3", "repository.plain: Expected `bool`"),
        ("plain = true", "plane = true", "repository: Object contains unknown field `plane`"),
        ('id = "gw-1"', "", "device: Object missing required field `id`"),
        ('kind = "sim"', 'kind = "grub"', "boot.kind: Invalid enum value 'grub'"),
        ("slot_bytes = 400000", "", "image.slot_bytes: needed"),
        ("image/rpi4/penstock", "plugin/x/y", "image.line: found 'plugin/x/y'"),
        ("hold_s = 20", "hold_s = 90", "health.hold_s: allowed"),
        ("[paths]", '[[plugin]]\nline = "plugin/acme/.."\n[paths]', "plugin.line: found 'plugin/acme/..'"),
        ("[paths]", "[gateway]\nhold_s = 0\n[paths]", "gateway.hold_s: found 0"),
        ("[device]", "[device", "not TOML"),
    ],
)
def test_mistakes_in_the_settings_are_named(plant: Plant, old: str, new: str, message: str) -> None:
    plant.config.write_text(plant.config.read_text().replace(old, new))
    with pytest.raises(UsageError) as caught:
        read_settings(plant.config)
    assert f"{plant.config}: {message}" in caught.value.message


def sign_today(plant: Plant) -> None:
    """For commands, which go by the machine's clock."""
    plant.clock.now = max(NOW, time.time())
    for role in ("image-rpi4", "targets"):
        with plant.publisher.repository.edit(role):
            pass
    plant.publisher.publish()


def test_what_is_not_tried_again_is_told(plant: Plant, capsys: pytest.CaptureFixture[str]) -> None:
    sign_today(plant)
    config = ["--config", str(plant.config)]
    assert main(["install", *config]) == 0
    assert main(["mark-bad", *config]) == 0
    capsys.readouterr()
    for command in ("check", "install"):
        assert main([command, *config]) == 0
        said = "image/rpi4/p-2.img failed on this device and is not tried again: the operator: mark-bad"
        assert capsys.readouterr().out.splitlines() == ["nothing newer", said]


def test_a_reader_that_has_seen_enough(plant: Plant) -> None:
    command = [sys.executable, "-m", "ota.app.cli", "status", "--config", str(plant.config)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""


def test_a_device_without_an_anchor_says_so_once(plant: Plant) -> None:
    """However long it takes; then it goes on."""
    trust, lines = plant.settings.paths.trust, list[str]()
    away = trust.rename(trust.with_name("away"))

    class Provisioned(HandClock):
        def wait(self, seconds: float, cancel: Cancel) -> None:
            super().wait(seconds, cancel)
            if len(self.waited) == 1000:
                away.rename(trust)

    await_anchor(trust, Provisioned(), Cancel(), lines.append)
    assert read_anchor(trust) == plant.anchor
    assert lines == [f"{trust}/root.json: missing; nothing is trusted until the device is provisioned with it"]


def test_an_agent_without_an_anchor_waits_for_it(plant: Plant) -> None:
    trust = plant.settings.paths.trust
    away = trust.rename(trust.with_name("away"))
    command = [sys.executable, "-m", "ota.app.cli", "agent", "run", "--config", str(plant.config)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "root.json: missing; nothing is trusted" in process.stderr.readline()
        away.rename(trust)
        assert process.stderr.readline().startswith("slot a; asks ")
        process.terminate()
        assert process.wait() in (0, 3), "ended on request, or for the restart into the update"


def test_command_line(plant: Plant, capsys: pytest.CaptureFixture[str]) -> None:
    """With the machine's clock: the repository is signed again today, or where the floors are if that is later."""
    sign_today(plant)

    def run(*words: object) -> str:
        assert main([*map(str, words), "--config", str(plant.config)]) == 0
        return capsys.readouterr().out

    assert run("check") == "image/rpi4/p-2.img: v2\n"
    assert "on trial after the restart" in run("install")
    assert run("sim-boot") == "b\n"
    assert run("mark-good") == "commit\n"
    assert run("check") == "nothing newer\n"
    assert [json.loads(line)["event"] for line in run("history").splitlines()] == ["installed", "committed"]
    assert json.loads(run("status"))["boot"]["good"] == "b"
    assert run("rollback") == "return\n"
    assert run("sim-boot") == "a\n"
    assert run("mark-bad") == "reject\n"
    assert main(["status", "--config", str(plant.folder / "none.toml")]) == 2
    assert "none.toml: cannot be read" in capsys.readouterr().err
