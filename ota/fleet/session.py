"""The device's side of hawkBit's DDI: polls, takes assignments, answers, and never forgets to say how one ended.

What the server must hear is written down before it is sent, and sent again until it is acknowledged: after a power
cut the result is reported, not the update repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from ota.agent.notebook import StateFiles
from ota.errors import TransferError, TrustError, UsageError
from ota.fleet.messages import (
    Artifact,
    Cancelling,
    Deployment,
    Finished,
    Poll,
    attributes,
    confirmation,
    decode,
    feedback,
)

RECORD_NAME = "fleet.json"
RECORD_BYTES_MAX = 64 * 1024


class Server(Protocol):
    """The fleet server's resources; carries the device's token or certificate."""

    def get(self, url: str) -> bytes:
        """A JSON document. Raises TransferError: "gone" for 404 and 410, which end the action."""

    def send(self, method: str, url: str, body: bytes) -> None:
        """POST or PUT a JSON document. Raises TransferError."""


class Record(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The one action this device is about. ``action`` empty: none.

    ``sha256``: what it installs. ``result``: how it ended, still to be reported; ``closed``: the last one reported.
    ``fetched``: all of it is here; ``fetched_told``: the server knows. ``told``: what it knows about this device.
    """

    action: str = ""
    sha256: str = ""
    url: str = ""
    result: Finished = "none"
    details: list[str] = []
    fetched: bool = False
    fetched_told: bool = False
    closed: str = ""
    told: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Offer:
    """An update. ``sha256``: of the trusted artefact. ``installs``: not yet, or never, when only to be fetched."""

    action: str
    version: str
    artifact: Artifact
    sha256: str
    installs: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What a poll brought. ``cancel``: end what is being installed. ``sleep_s``: time to the next poll."""

    sleep_s: float
    offer: Offer | None = None
    cancel: bool = False


class Verdicts(Protocol):
    """What the device knows about artefacts."""

    def trusted(self, artifact: Artifact) -> str:
        """SHA-256 of the trusted artefact that the server means; empty if there is none. Raises OtaError."""

    def running(self) -> Collection[str]:
        """SHA-256 of every committed artefact that runs."""

    def bad(self, sha256: str) -> Sequence[str]:
        """Why it is never tried again, line by line; empty if it may be."""

    def may_cancel(self) -> bool:
        """False once the update runs, or the machine restarts into it."""


class Session:
    """``base``: ``https://HOST/TENANT/controller/v1/DEVICE``. ``confirm``: asks the operator; None: no answer yet."""

    def __init__(
        self,
        server: Server,
        base: str,
        files: StateFiles,
        verdicts: Verdicts,
        about: Callable[[], Mapping[str, str]],
        confirm: Callable[[Deployment], bool | None] = lambda _: True,
    ) -> None:
        self._server = server
        self._base = base
        self._files = files
        self._verdicts = verdicts
        self._about = about
        self._confirm = confirm
        data = files.load(RECORD_NAME, RECORD_BYTES_MAX)
        try:
            self.record = msgspec.json.decode(data or b"{}", type=Record)
        except msgspec.DecodeError:
            self.record = Record()

    # ---- polling ----

    def poll(self) -> Answer:
        """One round with the server. Raises TransferError; what was not said is said in a later round."""
        self._settle()
        self._report()
        poll = decode(self._server.get(self._base), Poll, "poll")
        self._introduce(poll.link("configData"))
        if url := poll.link("cancelAction"):
            return Answer(poll.sleep_s, cancel=self._cancel(url))
        if url := poll.link("confirmationBase"):
            self._answer_confirmation(url)
        if url := poll.link("installedBase"):
            self._correct(url)
        offer = self._deployment(url) if (url := poll.link("deploymentBase")) else None
        return Answer(poll.sleep_s, offer)

    def _introduce(self, url: str) -> None:
        """Tell the server about this device when it asks, and when something has changed."""
        about = dict(self._about())
        if url or (self.record.told and self.record.told != about):
            self._server.send("PUT", url or f"{self._base}/configData", attributes(about))
        if self.record.told != about:
            self._save(msgspec.structs.replace(self.record, told=about))

    def _deployment(self, url: str) -> Offer | None:
        deployment = decode(self._server.get(url), Deployment, "deploymentBase")
        resource = _resource(url)
        if deployment.id == self.record.closed:  # the server lost our word or has not taken it in yet
            self._server.send(
                "POST", f"{resource}/feedback", feedback("closed", self.record.result, self.record.details)
            )
            return None
        if deployment.id != self.record.action:
            self._accept(deployment, resource)
        if self._settle():
            self._report()
            return None
        plan, (version, artifact) = deployment.plan, deployment.artifacts[0]
        installs = plan.update != "skip" and plan.maintenance_window != "unavailable"
        fetches = plan.download != "skip" and not self.record.fetched
        if not fetches and not (installs and self.record.fetched):
            return None
        return Offer(deployment.id, version, artifact, self.record.sha256, installs)

    def _accept(self, deployment: Deployment, resource: str) -> None:
        """Take the action on, or end it at once because of what is assigned."""
        found = deployment.artifacts
        sha256, problem = "", f"{len(found)} artifacts: exactly one is understood"
        if len(found) == 1:
            sha256, problem = self._look_up(found[0][1])
        before = self.record
        self._save(Record(deployment.id, sha256, resource, closed=before.closed, told=before.told))
        if problem:
            self.finish("failure", problem)
        else:
            self._server.send("POST", f"{resource}/feedback", feedback("proceeding", "none", ["accepted"]))

    def _look_up(self, artifact: Artifact) -> tuple[str, str]:
        """The trusted artefact's hash, or why there is none."""
        try:
            sha256 = self._verdicts.trusted(artifact)
        except (TrustError, UsageError) as error:
            return "", f"{artifact.filename}: {error}"
        return sha256, "" if sha256 else f"{artifact.filename} is no artefact that this device trusts"

    def _answer_confirmation(self, url: str) -> None:
        wanted = decode(self._server.get(url), Deployment, "confirmationBase")
        answer = self._confirm(wanted)
        if answer is not None:
            self._server.send("POST", f"{_resource(url)}/feedback", confirmation(answer))

    def _cancel(self, url: str) -> bool:
        wanted = decode(self._server.get(url), Cancelling, "cancelAction")
        resource, is_ours = _resource(url), wanted.cancel_action.stop_id == self.record.action
        if is_ours and not self._verdicts.may_cancel():
            text = ["the update runs already, or the device restarts into it: too late"]
            self._server.send("POST", f"{resource}/feedback", feedback("rejected", "none", text))
            return False
        self._server.send("POST", f"{resource}/feedback", feedback("closed", "success", ["cancelled"]))
        if is_ours:
            closed, told = self.record.action, self.record.told
            self._save(Record(closed=closed, result="failure", details=["cancelled"], told=told))
        return is_ours

    def _correct(self, url: str) -> None:
        """The server believes that this is installed; tell it once what really runs if that is something else."""
        installed = decode(self._server.get(url), Deployment, "installedBase")
        believed = {artifact.sha256 for _, artifact in installed.artifacts}
        running = set(self._verdicts.running())
        if running and not running & believed and not self.record.action:
            self._server.send("PUT", f"{self._base}/configData", attributes(self._about()))

    # ---- ending ----

    def finish(self, result: Finished, *details: str) -> None:
        """The action has ended; durable when this returns, told to the server now or in a later poll."""
        if not self.record.action:
            return
        self.record.result = result
        self.record.details = [*self.record.details, *details]
        self._save(self.record)

    def fetched(self) -> None:
        """All that is assigned is here and verified, and waits; durable and told as an end is."""
        if self.record.action:
            self._save(msgspec.structs.replace(self.record, fetched=True))

    def _report_fetched(self) -> None:
        """For an assignment that is only to be downloaded this is its end."""
        record = self.record
        if record.fetched and not record.fetched_told and record.result == "none":
            self._feed_back(feedback("downloaded", "none", ["verified, waits to be installed"]))
            self._save(msgspec.structs.replace(record, fetched_told=True))

    def progress(self, percent: int, text: str) -> None:
        """Tell the server how far it is, as long as it listens."""
        if self.record.action and self.record.result == "none":
            body = feedback("download", "none", [text], percent)
            self._server.send("POST", f"{self.record.url}/feedback", body)

    def _settle(self) -> bool:
        """Has the open action ended, by what the device has become since?"""
        record = self.record
        if not record.action or record.result != "none":
            return record.result != "none" and bool(record.action)
        if reasons := self._verdicts.bad(record.sha256):
            self.finish("failure", *reasons)
        elif record.sha256 and record.sha256 in self._verdicts.running():
            self.finish("success", "running and committed")
        return self.record.result != "none"

    def _report(self) -> None:
        self._report_fetched()
        record = self.record
        if not record.action or record.result == "none":
            return
        self._feed_back(feedback("closed", record.result, record.details))
        ended = Record(closed=record.action, result=record.result, details=record.details, told=record.told)
        self._save(ended)

    def _feed_back(self, body: bytes) -> None:
        """To an action that the server may have forgotten."""
        try:
            self._server.send("POST", f"{self.record.url}/feedback", body)
        except TransferError as error:
            if error.reason != "gone":
                raise

    def _save(self, record: Record) -> None:
        self.record = record
        self._files.save(RECORD_NAME, msgspec.json.encode(record))


def _resource(url: str) -> str:
    """The URL without its query, where feedback goes."""
    return url.split("?", 1)[0]
