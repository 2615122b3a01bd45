"""A device on duty: a simulated machine on disk, its repository behind HTTP, its agent, its settings."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ota.agent.agent import Agent
from ota.agent.health import boot_id
from ota.agent.settings import read_settings
from ota.agent.source import Source, online
from ota.clock import Cancel, Clock
from ota.errors import Cancelled
from ota.fleet.duty import Duty, server_of
from ota.trust.client import Anchor, TrustClient
from tests.ota.agent.rig import settings_text
from tests.ota.fleet.ddi_server import Action, DdiServer
from tests.ota.fleet.ddi_web import Quick
from tests.ota.web import Web
from tests.ota.world import Publisher

PATIENCE_S = 60.0
DEVICE = "gw-1"
HEALTH = """
[health]
file = "{folder}/health.json"
hold_s = %d
limit_s = 60
look_s = 1
log = ["echo", "the last words"]
"""


@dataclass
class Post:
    """One device on duty."""

    folder: Path
    publisher: Publisher
    anchor: Anchor
    web: Web
    repository: str
    ddi: DdiServer
    lines: list[str] = field(default_factory=list)

    def configure(self, fleet: str, more: str = "plain = true", tenant: str = "default", hold_s: int = 20) -> None:
        fleet_table = f'[fleet]\nurl = "{fleet}"\ntenant = "{tenant}"\n{more}\n'
        text = settings_text(self.folder, self.repository, HEALTH % hold_s, fleet_table)
        (self.folder / "ota.toml").write_text(text)

    def agent(self) -> Agent:
        settings = read_settings(self.folder / "ota.toml")
        client = TrustClient(settings.paths.state, self.anchor, Clock())
        return Agent(settings, client, Quick(), self.lines.append)

    def duty(self, agent: Agent) -> Duty:
        def source(stop: Cancel) -> Source:
            return online(agent.settings, agent.client, Clock(), stop)

        return Duty(agent, server_of(agent.settings, Clock()), source, Quick(), self.lines.append)

    def run(self, until: Callable[[], bool]) -> Agent:
        """On duty until the machine restarts or the condition holds."""
        agent, cancel = self.agent(), Cancel()
        watcher = threading.Thread(target=self._watch, args=(agent, until, cancel))
        watcher.start()
        try:
            self.duty(agent).run(cancel)
        except Cancelled:
            assert until(), self.lines
        finally:
            cancel.set()
            watcher.join()
        return agent

    def _watch(self, agent: Agent, until: Callable[[], bool], cancel: Cancel) -> None:
        for _ in range(int(PATIENCE_S * 100)):
            if agent.restarting:
                return
            if until():
                break
            try:
                cancel.wait(0.01)
            except Cancelled:
                return
        cancel.set()

    def report(self, *failing: str) -> None:
        """The gateway's health."""
        checks = [{"name": name, "ok": False, "detail": "bad"} for name in failing]
        now = int(Clock().unix_s() * 1e9)
        report = {"format": 1, "boot_id": boot_id(), "time_ns": now, "uptime_s": 100.0, "period_s": 100.0}
        (self.folder / "health.json").write_text(json.dumps({**report, "checks": checks, "links": []}))

    def assign(self, number: int, name: str, **more: object) -> Action:
        return self.ddi.assign(DEVICE, Action(number, "", filename=name, **more))  # type: ignore[arg-type]
