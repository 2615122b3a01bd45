"""Ten thousand devices, one server, and everything that goes wrong on the way, by one seed."""

from __future__ import annotations

import os
from random import Random

from ota.errors import TransferError
from tests.ota.fleet.ddi_server import CLOSED, Action, DdiServer
from tests.ota.fleet.device import FleetDevice

DEVICES = 10_000
ROUNDS = 30
FAULTS = 0.15
RESTARTS = 0.2
SEED = int(os.environ.get("PENSTOCK_SEED", "20261125"))
NEW = "ab" * 32


def test_everybody_is_updated_or_known_to_have_failed() -> None:
    print(f"seed {SEED} (PENSTOCK_SEED)")
    rng = Random(SEED)
    round_number = 0

    def fault(_device: str, _method: str, _path: str, _after: bool) -> None:
        if round_number < ROUNDS - 8 and rng.random() < FAULTS:
            raise TransferError("network", "lost", retry=True)

    server = DdiServer(fault)
    devices = [
        FleetDevice(f"gw-{n}", server.port(f"gw-{n}"), "sick" if rng.random() < 0.05 else "healthy")
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
    for device in devices:
        action = actions[device.name]
        assert action.state == CLOSED, device
        assert action.finished == ("success" if device.behaviour == "healthy" else "failure")
        assert device.installs == [NEW], "installed once, whatever was lost"
    assert server.polls > DEVICES
