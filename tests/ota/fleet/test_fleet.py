"""Ten thousand devices with their real state machines, one server, and everything that goes wrong, by one seed."""

from __future__ import annotations

import os
from random import Random

from ota.errors import TransferError
from tests.ota.agent.world import release
from tests.ota.fleet.ddi_server import CLOSED, Action, DdiServer
from tests.ota.fleet.device import MachineDevice

DEVICES = 10_000
ROUNDS = 30
FAULTS = 0.15
RESTARTS = 0.2
SEED = int(os.environ.get("PENSTOCK_SEED", "20261125"))
NEW = release("2.0.0").image.sha256
BEHAVIOURS = ["healthy"] * 17 + ["sick", "panics", "dead"]


def test_everybody_is_updated_or_known_to_have_failed() -> None:
    """Lost exchanges, agents that start anew, power cuts anywhere in an installation, one release in seven bad."""
    print(f"seed {SEED} (PENSTOCK_SEED)")
    rng = Random(SEED)
    round_number = 0

    def fault(_device: str, _method: str, _path: str, _after: bool) -> None:
        if round_number < ROUNDS - 8 and rng.random() < FAULTS:
            raise TransferError("network", "lost", retry=True)

    server = DdiServer(fault)
    devices = [
        MachineDevice(f"gw-{n}", server.port(f"gw-{n}"), rng.choice(BEHAVIOURS), chance=Random(SEED + n))
        for n in range(DEVICES)
    ]
    actions = {one.name: server.assign(one.name, Action(n, NEW)) for n, one in enumerate(devices)}
    sessions = {one.name: one.session() for one in devices}
    for round_number in range(ROUNDS):
        for device in devices:
            if actions[device.name].state == CLOSED and round_number > 3:
                continue
            if rng.random() < RESTARTS:
                sessions[device.name] = device.session()
            try:
                offer = sessions[device.name].poll().offer
            except TransferError:
                continue
            if offer is not None and rng.random() < 0.7:  # else the power fails during the download
                device.install(offer.artifact.sha256)
                sessions[device.name] = device.session()
    assert server.violations == []
    assert [(device.name, device.problems) for device in devices if device.problems] == []
    for device in devices:
        action = actions[device.name]
        assert action.state == CLOSED, device
        assert action.finished == ("success" if device.current == NEW else "failure")
        assert device.behaviour == "healthy" or device.current != NEW
        assert device.installs == [NEW], "installed once, whatever was lost"
    updated = sum(device.current == NEW for device in devices)
    print(f"{updated} updated, {DEVICES - updated} rolled back, {server.polls} polls")
    assert updated > 0.8 * DEVICES
