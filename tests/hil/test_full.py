"""The flavour with systemd: it boots, publishes, and systemd keeps its services as their units say."""

from __future__ import annotations

from pathlib import Path

from tests.hil import image
from tests.hil.host import Host
from tests.hil.machine import Hardware, Machine
from tests.hil.recording import BOOT_SECONDS_MAX, PROMPT
from tests.hil.report import Report

UNITS = ("penstock", "penstock-agent")
SANDBOX = ("NoNewPrivileges=yes", "ProtectSystem=strict", "PrivateTmp=yes", "RestrictNamespaces=yes")


def test_full_flavour(root: Path, provisioned: Path, world: Host, folder: Path, report: Report) -> None:
    """Last: a gateway that hangs is started again by systemd's watchdog, without anybody else's doing."""
    made = image.build(root, folder / "full", "full")
    image.provision(made.disk, provisioned.with_name("penstock"))
    before = world.count()
    with Machine(folder / "full", Hardware(made.disk, bus=world.rtu.device)) as machine:
        world.await_value(before, BOOT_SECONDS_MAX)
        report.add("full flavour", first_boot_to_message_s=machine.console.since_start_s())
        machine.console.expect(PROMPT, BOOT_SECONDS_MAX)
        machine.console.run("export SYSTEMD_PAGER=cat")
        for unit in UNITS:
            machine.console.run(f"systemctl is-active {unit}")
            told = machine.console.run(f"systemctl show -p {','.join(one.partition('=')[0] for one in SANDBOX)} {unit}")
            assert sorted(told.split()) == sorted(SANDBOX)
        told = machine.console.run("systemctl show -p Type,NotifyAccess,User,WatchdogUSec penstock")
        assert sorted(told.split()) == ["NotifyAccess=main", "Type=notify", "User=penstock", "WatchdogUSec=30s"]
        assert "RuntimeWatchdogUSec=30s" in machine.console.run("systemctl show -p RuntimeWatchdogUSec")
        machine.console.run("systemctl kill -s STOP penstock")
        machine.console.expect("running: site", BOOT_SECONDS_MAX)
        machine.console.run("until systemctl is-active penstock; do sleep 1; done")
        assert machine.console.run("systemctl show -p NRestarts penstock").strip() == "NRestarts=1"
    made.disk.unlink()
    made.slot.unlink()
