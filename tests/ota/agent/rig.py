"""A machine on disk, its repository behind HTTP, and a gateway that reports what it is told to."""

from __future__ import annotations

import json
from pathlib import Path

from ota.agent.agent import Agent
from ota.agent.health import boot_id
from ota.agent.settings import Settings, read_settings
from ota.agent.source import Source, online
from ota.clock import Cancel, Clock
from ota.trust.client import TrustClient
from tests.ota.conftest import IMAGE_ONE
from tests.ota.world import HandClock, Publisher

LINE = "image/rpi4/penstock"
MACHINE = """
[device]
id = "gw-1"
[repository]
url = "{url}"
plain = true
[image]
line = "image/rpi4/penstock"
slot_a = "{folder}/slot_a"
slot_b = "{folder}/slot_b"
slot_bytes = 400000
[boot]
kind = "sim"
state = "{folder}/boot"
[paths]
trust = "{folder}/publisher/trust"
state = "{folder}/state"
"""
HEALTH = """
[health]
file = "{folder}/health.json"
hold_s = 20
limit_s = 60
log = ["printf", "first\\nlast words"]
"""


def settings_text(folder: Path, url: str, *tables: str) -> str:
    """``ota.toml`` of a simulated machine; of ``tables``, too, ``{folder}`` is replaced."""
    return "".join((MACHINE, *tables)).replace("{folder}", str(folder)).replace("{url}", url)


class Plant:
    """A machine on disk, its repository behind HTTP, and a gateway that reports what it is told to."""

    def __init__(self, folder: Path, publisher: Publisher, clock: HandClock, url: str) -> None:
        self.folder, self.publisher, self.clock, self.url = folder, publisher, clock, url
        self.anchor = publisher.anchor(**{LINE: 1})
        (folder / "slot_a").write_bytes(IMAGE_ONE)
        self.config = folder / "ota.toml"
        self.config.write_text(settings_text(folder, url, HEALTH))
        self.lines: list[str] = []

    @property
    def settings(self) -> Settings:
        return read_settings(self.config)

    def agent(self, clock: Clock | None = None) -> Agent:
        client = TrustClient(self.settings.paths.state, self.anchor, self.clock)
        return Agent(self.settings, client, clock or self.clock, self.lines.append)

    def source(self, agent: Agent) -> Source:
        return online(agent.settings, agent.client, self.clock, Cancel())

    def install(self) -> Agent:
        agent = self.agent()
        offer = agent.install(self.source(agent), Cancel())
        assert offer is not None
        assert agent.restarting
        return agent

    def report(self, *failing: str) -> Clock:
        """A clock whose waits make the gateway report again."""
        plant = self

        class Reporting(HandClock):
            def wait(self, seconds: float, cancel: Cancel) -> None:
                super().wait(seconds, cancel)
                plant.write_health(self.now, *failing)

        return Reporting()

    def write_health(self, now: float, *failing: str, **other: object) -> None:
        checks = [{"name": "stages", "ok": True}, *({"name": name, "ok": False, "detail": "bad"} for name in failing)]
        report = {"format": 1, "boot_id": boot_id(), "time_ns": int(now * 1e9), "uptime_s": 100.0, "period_s": 5.0}
        (self.folder / "health.json").write_text(json.dumps({**report, "checks": checks, "links": [], **other}))

    def events(self) -> list[str]:
        return [entry.event for entry in self.agent().history()]
