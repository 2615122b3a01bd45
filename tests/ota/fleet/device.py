"""A device as a fleet session sees it: files, what runs, what is bad; installing takes one step."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from ota.fleet.messages import Artifact
from ota.fleet.session import Session
from tests.ota.agent.world import MODES, World, problems, release
from tests.ota.fleet.ddi_server import BASE, DevicePort


@dataclass
class FleetDevice:
    """``behaviour``: healthy or sick, of what it installs."""

    name: str
    port: DevicePort
    behaviour: str = "healthy"
    files: dict[str, bytes] = field(default_factory=dict)
    current: str = "0" * 64
    failed: dict[str, str] = field(default_factory=dict)
    armed: bool = False
    installs: list[str] = field(default_factory=list)
    confirms: bool | None = True

    def load(self, name: str, limit: int) -> bytes | None:
        data = self.files.get(name)
        assert data is None or len(data) <= limit
        return data

    def save(self, name: str, data: bytes) -> None:
        self.files[name] = data

    def trusted(self, artifact: Artifact) -> str:
        return artifact.sha256

    def running(self) -> set[str]:
        return {self.current}

    def bad(self, sha256: str) -> list[str]:
        return [self.failed[sha256]] if sha256 in self.failed else []

    def may_cancel(self) -> bool:
        return not self.armed

    def session(self) -> Session:
        """A fresh one, as after a start of the agent."""
        about = {"version": self.current[:8]}
        return Session(self.port, f"{BASE}/{self.name}", self, self, lambda: about, lambda _: self.confirms)

    def install(self, sha256: str) -> None:
        """All of it: download, reboot, commit or roll back."""
        self.installs.append(sha256)
        if self.behaviour == "healthy":
            self.current = sha256
        else:
            self.failed[sha256] = "polls are late"


@dataclass
class MachineDevice(FleetDevice):
    """The real state machine on a simulated machine, whose power fails where ``chance`` wants.

    ``behaviour``: as in the world: healthy, sick, panics, dead. ``problems``: what a machine must never do.
    """

    chance: Random = field(default_factory=Random)
    problems: list[str] = field(default_factory=list)

    def install(self, sha256: str) -> None:
        self.installs.append(sha256)
        old, new = release("1.0.0"), release("2.0.0", self.behaviour)
        assert sha256 == new.image.sha256
        cuts = {self.chance.randrange(22): self.chance.choice(MODES) for _ in range(self.chance.randrange(4))}
        world = World(old, new, cuts, self.chance.randrange(1 << 30)).run()
        self.problems += problems(world)
        bad = world.device(world.boot, world, world, world.clock, "end", world.told.append).notebook.bad
        self.failed = dict(bad)
        running = world.content(world.boot.running)
        assert running is not None
        self.current = running.image.sha256
