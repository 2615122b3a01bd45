"""A DDI server in memory that knows the whole protocol, with faults on request; for one device or ten thousand.

It is strict where a real one is lenient: a feedback that does not fit the action's state is a protocol violation.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ota.errors import TransferError

BASE = "https://fleet.example/default/controller/v1"
OPEN, CLOSED, CANCELLED = "open", "closed", "cancelled"


@dataclass
class Action:
    """An assignment. ``needs_confirmation``: the device must confirm it first. ``only_download``: ends with that."""

    number: int
    sha256: str
    version: str = "2.0.0"
    handling: str = "forced"
    window: str = ""
    needs_confirmation: bool = False
    state: str = OPEN
    cancelling: bool = False
    finished: str = ""
    feedbacks: list[dict[str, Any]] = field(default_factory=list)
    artifacts: int = 1
    filename: str = ""
    only_download: bool = False

    @property
    def waits(self) -> bool:
        """It may be fetched and not be installed."""
        return self.only_download or self.window == "unavailable"

    def plan(self) -> dict[str, Any]:
        """The deployment as the server sends it."""
        files = [
            {
                "filename": self.filename or f"image/sim/system-{number}.ext4",
                "hashes": {"sha1": "", "md5": "", "sha256": self.sha256.upper()},
                "size": 64,
                "_links": {"download": {"href": f"{BASE}/away"}},
            }
            for number in range(self.artifacts)
        ]
        chunk = {"part": "os", "name": "system", "version": self.version, "artifacts": files}
        plan = {"download": self.handling, "update": "skip" if self.waits else self.handling, "chunks": [chunk]}
        return {**plan, "maintenanceWindow": self.window} if self.window else plan


@dataclass
class Target:
    """What the server knows of a device."""

    attributes: dict[str, str] = field(default_factory=dict)
    wants_attributes: bool = True
    actions: list[Action] = field(default_factory=list)
    installed: Action | None = None

    @property
    def current(self) -> Action | None:
        """The open assignment."""
        return next((action for action in self.actions if action.state == OPEN), None)


class DdiServer:
    """``fault``: called with (device, method, path) before and after an exchange is carried out; may raise."""

    def __init__(self, fault: Callable[[str, str, str, bool], None] = lambda *_: None) -> None:
        self.targets: dict[str, Target] = {}
        self.violations: list[str] = []
        self.polls = 0
        self._fault = fault

    def assign(self, device: str, action: Action) -> Action:
        """Assign to a device; an open action is cancelled by the new one, as servers do."""
        target = self.targets.setdefault(device, Target())
        target.actions.append(action)
        return action

    def port(self, device: str) -> DevicePort:
        """What a session of this device talks to."""
        return DevicePort(self, device)

    # ---- exchanges ----

    def exchange(self, device: str, method: str, url: str, body: bytes | None) -> bytes:
        """One request of a device."""
        path = url.removeprefix(f"{BASE}/{device}").split("?")[0].strip("/")
        self._fault(device, method, path, False)
        target = self.targets.setdefault(device, Target())
        answer = self._answer(target, device, method, path, json.loads(body) if body else {})
        self._fault(device, method, path, True)
        return json.dumps(answer).encode()

    def _answer(self, target: Target, device: str, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if path == "":
            self.polls += 1
            return self._poll(target, device)
        if path == "configData":
            target.attributes.update(body["data"])
            target.wants_attributes = False
            return {}
        kind, number, *rest = path.split("/")
        action = next((one for one in target.actions if one.number == int(number)), None)
        if action is None:
            raise TransferError("gone", path, retry=False)
        if method == "POST" and rest == ["feedback"]:
            return self._feedback(target, kind, action, body)
        if kind == "cancelAction":
            return {"id": number, "cancelAction": {"stopId": number}}
        name = "confirmation" if kind == "confirmationBase" else "deployment"
        return {"id": number, name: action.plan()}

    def _poll(self, target: Target, device: str) -> dict[str, Any]:
        links = {}
        action = target.current
        if target.wants_attributes:
            links["configData"] = f"{BASE}/{device}/configData"
        if action is not None and action.cancelling:
            links["cancelAction"] = f"{BASE}/{device}/cancelAction/{action.number}"
        elif action is not None and action.needs_confirmation:
            links["confirmationBase"] = f"{BASE}/{device}/confirmationBase/{action.number}?c=1"
        elif action is not None:
            links["deploymentBase"] = f"{BASE}/{device}/deploymentBase/{action.number}?c=1"
        if target.installed is not None:
            links["installedBase"] = f"{BASE}/{device}/installedBase/{target.installed.number}"
        return {"config": {"polling": {"sleep": "00:00:20"}}, "_links": {k: {"href": v} for k, v in links.items()}}

    def _feedback(self, target: Target, kind: str, action: Action, body: dict[str, Any]) -> dict[str, Any]:
        if kind == "confirmationBase":
            action.needs_confirmation = False
            if body["confirmation"] == "denied":
                action.state = CANCELLED
            return {}
        status = body["status"]
        execution, finished = status["execution"], status["result"]["finished"]
        action.feedbacks.append(status)
        if kind == "cancelAction":
            action.cancelling = False
            action.state = CANCELLED if execution == "closed" else action.state
        elif action.state != OPEN and (execution != "closed" or finished != action.finished) and action.finished:
            self.violations.append(
                f"action {action.number} is {action.state} ({action.finished}), told {execution} {finished}"
            )
        elif execution == "closed" and finished == "success" and action.waits and action.state == OPEN:
            self.violations.append(f"action {action.number} was installed, which was not allowed")
        elif execution == "downloaded" and action.only_download:
            action.state = CLOSED
        elif execution == "closed":
            action.state, action.finished = CLOSED, finished
            target.installed = action if finished == "success" else target.installed
            target.wants_attributes = True
        return {}


class DevicePort:
    """The ``Server`` port of a session."""

    def __init__(self, server: DdiServer, device: str) -> None:
        self._server = server
        self._device = device

    def get(self, url: str) -> bytes:
        return self._server.exchange(self._device, "GET", url, None)

    def send(self, method: str, url: str, body: bytes) -> None:
        self._server.exchange(self._device, method, url, body)
