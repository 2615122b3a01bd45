"""What the tests share, made once: the image, the host's side, the repository, a settled machine, a recorded update."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from ota.clock import Clock
from tests.hil import image
from tests.hil.disk import Artefact, artefact, partitions
from tests.hil.host import Host, host
from tests.hil.machine import Hardware, Machine, copy_disk, missing_programs
from tests.hil.recording import BOOT_SECONDS_MAX, CHECK, PROMPT, Recorder, Recording, Start
from tests.hil.releases import Releases, agent_settings
from tests.hil.report import Report

LONG = bool(os.environ.get("PENSTOCK_HIL_LONG"))
READY = os.environ.get("PENSTOCK_HIL_IMAGE", "")
collect_ignore = [] if LONG else ["test_full.py", "test_hung_gateway.py"]
SEED = int(os.environ.get("PENSTOCK_SEED", "20261125"))
OLD, NEW = "1", "2"
MIB = 1 << 20
_REPORT = pytest.StashKey[Report]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_REPORT] = Report(config.rootpath / "build" / "hil" / "report.json")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report = config.stash[_REPORT]
    if report.sections:
        terminalreporter.section(f"hardware in the loop (seed {SEED})")
        for line in report.lines():
            terminalreporter.write_line(line)
        terminalreporter.write_line(f"{report.file.relative_to(config.rootpath)} has all of it")


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Report:
    return request.config.stash[_REPORT]


@pytest.fixture
def chance() -> Random:
    """Everything random in a test. PENSTOCK_SEED=N repeats a run, as far as an emulator can."""
    print(f"seed {SEED} (PENSTOCK_SEED)")
    return Random(SEED)


@pytest.fixture(scope="session")
def folder(root: Path) -> Path:
    """Consoles, disks and logs of this run; the run before is removed."""
    if missing := missing_programs():
        pytest.fail(f"these tests need programs that are missing: sudo apt install {' '.join(missing)}")
    place = root / "build" / "hil"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return place


@pytest.fixture(scope="session")
def built(root: Path, folder: Path, report: Report) -> image.Built:
    """Made anew, or with PENSTOCK_HIL_IMAGE=FOLDER one that was made before."""
    clock = Clock()
    begin_s = clock.monotonic_s()
    made = image.found(Path(READY)) if READY else image.build(root, folder / "image")
    report.add("image", slot_mib=made.slot.stat().st_size / MIB, built_in_s=clock.monotonic_s() - begin_s)
    return made


@pytest.fixture(scope="session")
def world(folder: Path) -> Iterator[Host]:
    with host(folder / "host") as running:
        yield running


@pytest.fixture(scope="session")
def releases(folder: Path) -> Releases:
    return Releases(folder / "releases")


@pytest.fixture(scope="session")
def update_port(releases: Releases) -> Iterator[int]:
    with releases.server() as port:
        yield port


@pytest.fixture(scope="session")
def provisioned(
    built: image.Built,
    preparing: Future[tuple[Artefact, Artefact]],
    world: Host,
    releases: Releases,
    update_port: int,
    folder: Path,
    report: Report,
) -> Path:
    """The disk of a device that has been started once, has taken its site and runs it; meanwhile its update is made."""
    assert not preparing.cancelled()
    disk = copy_disk(built.disk, folder / "provisioned.img")
    site = folder / "penstock"
    shutil.copytree(releases.trust, site / "trust")
    shutil.copyfile(releases.authority.file, site / "ca.pem")
    (site / "site.toml").write_text(world.site(), "utf-8")
    (site / "ota.toml").write_text(agent_settings(update_port, "/data/site/ca.pem"), "utf-8")
    (site / "console").touch()
    image.provision(disk, site)
    with Machine(folder / "first-boot", Hardware(disk, bus=world.rtu.device)) as machine:
        machine.console.expect("taken: site hil", BOOT_SECONDS_MAX)
        machine.console.expect(PROMPT, BOOT_SECONDS_MAX)
        machine.console.expect("running: site", BOOT_SECONDS_MAX)
        machine.console.run("sync")
        report.add("image", first_boot_with_provisioning_s=machine.console.since_start_s())
    areas = partitions(disk)
    report.add("image", disk_mib=disk.stat().st_size / MIB, slot_partition_mib=areas[3].size / MIB)
    return disk


@pytest.fixture(scope="session")
def settled(provisioned: Path, world: Host, folder: Path) -> Start:
    """A machine that runs from slot a, polls and publishes, and whose agent has asked for updates in vain, frozen."""
    disk = copy_disk(provisioned, folder / "settled.img")
    with Machine(folder / "settled", Hardware(disk, bus=world.rtu.device)) as machine:
        machine.console.expect(PROMPT, BOOT_SECONDS_MAX)
        machine.console.expect(r"(?s)connected.*asks https|asks https.*connected", BOOT_SECONDS_MAX)
        machine.console.run(f"{CHECK} && sync")  # when it has its answer, so has the agent, which asked before
        machine.freeze(folder / "settled.frozen")
    return Start(disk, folder / "settled.frozen")


@pytest.fixture(scope="session")
def preparing(
    built: image.Built, releases: Releases, folder: Path, report: Report
) -> Iterator[Future[tuple[Artefact, Artefact]]]:
    """The update is made beside the first tests: the patch takes a while."""

    def prepare() -> tuple[Artefact, Artefact]:
        path = image.next_version(built.slot, folder / "next.slot.img", 2)
        new = releases.publish(path, 2, NEW)
        report.add("update", image_bytes=new.length, patch_bytes=releases.patch(2, built.slot))
        return artefact(OLD, built.slot), new

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(prepare)


@pytest.fixture(scope="session")
def versions(
    preparing: Future[tuple[Artefact, Artefact]], settled: Start, releases: Releases
) -> tuple[Artefact, Artefact]:
    """What slot a holds, and its update, which is offered from now on. The settled machine has not heard of it."""
    assert settled.frozen is not None
    made = preparing.result()
    releases.go_live()
    return made


@pytest.fixture(scope="session")
def recording(
    settled: Start, versions: tuple[Artefact, Artefact], world: Host, folder: Path, report: Report
) -> Recording:
    """A healthy update, recorded."""
    place = folder / "recording"
    place.mkdir()
    made = Recorder(place, settled, versions[1], world.rtu.device).run()
    report.add("update", **{f"{name}_s": value for name, value in made.seconds.items()}, writes=len(made.writes))
    return made
