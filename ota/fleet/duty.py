"""An agent that takes its orders from a fleet server: polls, installs what is assigned, reports how it went.

Polling goes on while an update is fetched, in another thread, so that a cancelled action ends within one poll. What is
assigned is looked up in the trusted metadata: the server names an artefact, it never decides what may be installed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from urllib.parse import quote

from ota import __version__
from ota.agent.agent import Agent
from ota.agent.settings import FleetKeys, Settings
from ota.agent.source import Offer as Found
from ota.agent.source import Source, budget_of
from ota.clock import POLL_S, Cancel, Clock
from ota.durable import read_file
from ota.errors import Cancelled, OtaError, StorageError, TrustError, UsageError
from ota.fleet.confirm import Confirmations
from ota.fleet.http import HttpServer
from ota.fleet.messages import Artifact
from ota.fleet.session import Offer, Server, Session
from ota.transfer.http import tls_context

RETRY_S = 60.0
TOKEN_BYTES_MAX = 4096
FINAL = (TrustError, StorageError, UsageError)
"""Errors that another try does not change: they end the action; all others are tried again with the next poll."""


class Duty:
    """``source``: where the bytes come from, for one try that a Cancel may end. ``say`` gets lines for the log."""

    def __init__(
        self, agent: Agent, server: Server, source: Callable[[Cancel], Source], clock: Clock, say: Callable[[str], None]
    ) -> None:
        self._agent = agent
        self._source = source
        self._clock = clock
        self._say = say
        self._work: _Work | None = None
        self._trouble = ""
        settings = agent.settings
        assert settings.fleet is not None
        confirmations = Confirmations(agent.files, settings.fleet.confirm == "auto")
        self._session = Session(server, base_url(settings), agent.files, self, self._about, confirmations.ask)

    # ---- the loop ----

    def run(self, cancel: Cancel) -> None:
        """Until a restart is due. Raises Cancelled when ``cancel`` is set; then a download is ended, too."""
        self._agent.settle(cancel)
        self._say(f"slot {self._agent.slot()}; takes orders from {base_url(self._agent.settings)}")
        try:
            while not self._agent.restarting:
                sleep_s = self._round()
                if not self._agent.restarting:
                    self._pause(sleep_s, cancel)
        finally:
            if self._work is not None:
                self._work.end()

    def _round(self) -> float:
        """One poll and what follows from it; returns the seconds to the next."""
        try:
            self._take_in()
            answer = self._session.poll()
            if self._work is not None and (answer.cancel or self._work.is_other(answer.offer)):
                self._say(f"fleet: action {self._work.action} is cancelled or changed")
                self._work.end()
                self._work = None
            if answer.offer is not None and self._work is None:
                what = answer.offer.artifact.filename + ("" if answer.offer.installs else ", only to be fetched")
                self._say(f"fleet: action {answer.offer.action}: {what}")
                self._work = _Work(self._agent, self._source, answer.offer)
            elif self._work is not None:
                self._session.progress(self._work.percent, "downloading")
        except OtaError as error:
            self._complain(str(error))
            return RETRY_S
        self._complain("")
        return answer.sleep_s

    def _pause(self, seconds: float, cancel: Cancel) -> None:
        """Wait for the next poll, or until an installation has ended."""
        end_s = self._clock.monotonic_s() + seconds
        while (left := end_s - self._clock.monotonic_s()) > 0:
            self._clock.wait(min(POLL_S, left), cancel)
            if self._work is not None and self._work.has_ended:
                return

    def _take_in(self) -> None:
        """Act on how an installation ended. What runs, or is known to be bad, the session finds out by itself."""
        if self._work is None or not self._work.has_ended:
            return
        error, only_fetched, self._work = self._work.error, self._work.only_fetches, None
        if error is None and only_fetched:
            self._say("fleet: fetched and verified, waits to be installed")
            self._session.fetched()
        if isinstance(error, FINAL):
            self._session.finish("failure", str(error))
        elif error is not None and not isinstance(error, Cancelled):
            self._say(f"fleet: not installed yet: {error}")
            self._session.progress(0, f"waits: {error}")

    def _complain(self, trouble: str) -> None:
        """Say it when it begins, changes or ends, not at every poll."""
        if trouble != self._trouble:
            self._say(f"fleet: {trouble or 'the server answers again'}")
        self._trouble = trouble

    # ---- what the session asks: see Verdicts ----

    def trusted(self, artifact: Artifact) -> str:
        """By its full name or the last part of it; a hash that the server tells must be that of the metadata."""
        source = self._source(Cancel())
        for line in self._agent.lines:
            for found in source.artefacts(line):
                names = (found.file.name, found.file.name.rpartition("/")[2])
                if artifact.filename in names and artifact.sha256 in ("", found.file.sha256):
                    return found.file.sha256
        return ""

    def running(self) -> frozenset[str]:
        """See Verdicts."""
        return frozenset(self._agent.committed())

    def bad(self, sha256: str) -> tuple[str, ...]:
        """See Verdicts."""
        return self._agent.failure(sha256)

    def may_cancel(self) -> bool:
        """See Verdicts."""
        return self._agent.may_cancel()

    def _about(self) -> Mapping[str, str]:
        settings, committed = self._agent.settings, self._agent.committed()
        images = [image for image in committed.values() if image.line == settings.image.line]
        about = {
            "sw_version": images[0].version if images else f"release {self._agent.floor()}",
            "hw_boardname": settings.owner[1],
            "hw_revision": "default",
            "penstock_ota": __version__,
            "penstock_slot": self._agent.slot(),
            "penstock_group": settings.device.group,
        }
        plugins = {one.line: one.version for one in committed.values() if one.line.startswith("plugin/")}
        assert settings.fleet is not None
        return {**about, **plugins, **settings.fleet.attributes}


class _Work:
    """One installation, in a thread of its own."""

    def __init__(self, agent: Agent, source: Callable[[Cancel], Source], offer: Offer) -> None:
        self._agent = agent
        self._source = source
        self._offer = offer
        self._cancel = Cancel()
        self.error: OtaError | None = None
        self.percent = 0
        self._thread = threading.Thread(target=self._run, name="install")
        self._thread.start()

    @property
    def action(self) -> str:
        """The server's number of it."""
        return self._offer.action

    def is_other(self, offer: Offer | None) -> bool:
        """Whether the server wants something else by now, or the same in another way: a window opens or closes."""
        return offer is not None and (offer.action, offer.installs) != (self._offer.action, self._offer.installs)

    @property
    def only_fetches(self) -> bool:
        """It is not to be installed."""
        return not self._offer.installs

    @property
    def has_ended(self) -> bool:
        """Whether it is over, one way or the other."""
        return not self._thread.is_alive()

    def end(self) -> None:
        """Cancel it and wait until it has stopped."""
        self._cancel.set()
        self._thread.join()

    def _run(self) -> None:
        self._agent.progress = self._note
        try:
            source, cancel = self._source(self._cancel), self._cancel
            self._agent.install_assigned(source, self._pick, cancel, only_fetch=self.only_fetches)
        except OtaError as error:
            self.error = error
        except OSError as error:
            self.error = StorageError("storage", f"{error.filename or 'disk'}: {error.strerror or error}")

    def _pick(self, source: Source, line: str) -> Found | None:
        return source.exactly(line, self._offer.sha256)

    def _note(self, done: int, total: int) -> None:
        self.percent = 100 * done // max(total, 1)


def base_url(settings: Settings) -> str:
    """This device's resource on the server."""
    assert settings.fleet is not None
    return (
        f"{settings.fleet.url.rstrip('/')}/{settings.fleet.tenant}/controller/v1/{quote(settings.device.id, safe='')}"
    )


def server_of(settings: Settings, clock: Clock) -> HttpServer:
    """The server with this device's token or certificate, on the account of its link. Raises UsageError.

    Polls are counted, and go on when the budget is used up: the server must be able to reach the device.
    """
    keys = settings.fleet
    assert keys is not None
    authorization = ""
    if keys.target_token_file is not None:
        authorization = f"TargetToken {_token(keys, 'target_token_file')}"
    elif keys.gateway_token_file is not None:
        authorization = f"GatewayToken {_token(keys, 'gateway_token_file')}"
    tls = None if keys.plain else tls_context(keys.ca or None, keys.certificate or None, keys.key or None)
    return HttpServer(keys.url, authorization, tls, spend=budget_of(settings, clock).spend)


def _token(keys: FleetKeys, name: str) -> str:
    path = getattr(keys, name)
    data = read_file(path, TOKEN_BYTES_MAX)
    token = (data or b"").decode("ascii", "replace").strip()
    if not token or not token.isprintable() or " " in token:
        raise UsageError(f"{path}: fleet.{name}: must hold the token, one word")
    return token
