"""Plugin updates: fetch and verify as for images, hand the file to the running gateway, watch it, report.

The gateway swaps while data flows, and goes back by itself when the new version traps too often. What is remembered
(``plugins.json``) is written before the gateway is asked, so an agent that dies in between goes on watching.
"""

from __future__ import annotations

from collections.abc import Callable

import blake3
import msgspec

from ota.agent.gateway import LATER
from ota.agent.notebook import Entry, StateFiles
from ota.agent.plugin_files import PluginFiles
from ota.agent.settings import PluginKeys, Settings
from ota.agent.source import Offer, Source
from ota.clock import Cancel, Clock
from ota.errors import GatewayRefused, GatewayUnavailable
from ota.ports import GatewayControl
from ota.trust.client import TrustClient
from ota.trust.floor import check_release
from ota.trust.model import Artefact

RECORD_NAME = "plugins.json"
RECORD_BYTES_MAX = 64 * 1024
JUDGED = ("stages", "traps", "polls")
"""Checks of the gateway's health that a plugin can be blamed for."""


class Delivered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last version handed to the gateway. ``content``: its BLAKE3 hash. ``settled``: it has proved itself.

    ``before``: checks of the gateway's health that failed already before it.
    """

    sha256: str
    content: str
    length: int
    version: str
    release: int
    settled: bool = False
    before: tuple[str, ...] = ()


Note = Callable[[Entry, bool], None]
"""Takes an entry into the history; True: its hash is never tried again."""


class PluginUpdates:
    """The plugins of the settings. ``note`` writes the history; ``say`` gets lines for the operator's log.

    ``watching``: a new version runs and has not proved itself yet.
    """

    def __init__(
        self, settings: Settings, client: TrustClient, clock: Clock, files: StateFiles, gateway: GatewayControl,
        note: Note, say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._settings = settings
        self._client = client
        self._clock = clock
        self._files = files
        self._gateway = gateway
        self._note = note
        self._say = say
        self._fetched = PluginFiles(settings, say)
        self.watching = False

    def delivered(self) -> dict[str, Delivered]:
        """By line, what was handed to the gateway last."""
        data = self._files.load(RECORD_NAME, RECORD_BYTES_MAX)
        try:
            return msgspec.json.decode(data or b"{}", type=dict[str, Delivered])
        except msgspec.DecodeError:  # costs a report and a download, no more
            return {}

    def newer(self, source: Source, bad: frozenset[str]) -> list[tuple[PluginKeys, Offer]]:
        """What would be installed. Raises what a refresh raises."""
        found = []
        for keys in self._settings.plugin:
            offer = source.newest(keys.line, bad)
            if offer is not None and self._is_newer(keys, offer.artefact):
                found.append((keys, offer))
        return found

    def _is_newer(self, keys: PluginKeys, artefact: Artefact) -> bool:
        known = self.delivered().get(keys.line)
        if known is not None and known.sha256 == artefact.file.sha256:
            return not known.settled
        return artefact.release.release > self._client.floor().releases.get(keys.line, 0)

    def install(self, keys: PluginKeys, offer: Offer, source: Source, cancel: Cancel) -> str:
        """Bring one plugin to the gateway and watch it; "" when it stays, else why not.

        Raises GatewayUnavailable (the verified file is kept for the next try) and what fetching raises.
        """
        artefact = offer.artefact
        check_release(self._client.floor(), artefact.line, artefact.release.release)
        known = self.delivered().get(keys.line)
        try:
            if known is None or known.sha256 != artefact.file.sha256:
                data, compiled = self._fetch(keys, offer, source, cancel)
                known = self._push(keys, artefact, data, compiled)
            self._swap(keys, known)
        except GatewayRefused as error:
            if error.code in LATER:
                raise GatewayUnavailable(error.message) from error
            return self._end(keys, known or _delivered(artefact, ""), error.message)
        self.watching = True
        try:
            return self._watch(keys, known, cancel)
        finally:
            self.watching = False

    def fetch(self, keys: PluginKeys, offer: Offer, source: Source, cancel: Cancel) -> None:
        """All of its files, verified, and no more: ``install`` finds them there. Raises as ``install``."""
        check_release(self._client.floor(), offer.artefact.line, offer.artefact.release.release)
        self._fetch(keys, offer, source, cancel)

    def _fetch(self, keys: PluginKeys, offer: Offer, source: Source, cancel: Cancel) -> tuple[bytes, tuple[str, bytes]]:
        """The module, and its compiled code for the gateway's machine."""
        data = self._fetched.module(keys, offer, source, cancel)
        target = self._gateway.target() if keys.compiled and offer.catalogue.codes else ""
        return data, (target, self._fetched.code(keys, offer, source, cancel, target))

    # ---- handing over ----

    def _push(
        self, keys: PluginKeys, artefact: Artefact, data: bytes, compiled: tuple[str, bytes] = ("", b"")
    ) -> Delivered:
        """Give the gateway the file, and its code for a machine. Raises GatewayUnavailable, GatewayRefused."""
        failing = tuple(sorted(self._gateway.failing()))
        known = _delivered(artefact, blake3.blake3(data).hexdigest(), failing)
        name = self._gateway.push(data)
        if name != keys.name:
            raise GatewayRefused("bad_plugin", f"the file is the plugin {name!r}, its release is called {keys.name!r}")
        if compiled[1]:
            self._push_code(keys, known, *compiled)
        self._remember(keys.line, known)
        return known

    def _push_code(self, keys: PluginKeys, known: Delivered, target: str, code: bytes) -> None:
        """What the gateway does not take of it, it interprets."""
        try:
            self._gateway.push_code(known.content, target, code)
        except GatewayRefused as error:
            self._say(f"{keys.line}: {known.version} will be interpreted: {error.message}")

    def _swap(self, keys: PluginKeys, known: Delivered) -> None:
        """Let it take over, or notice that it has. Raises GatewayUnavailable, GatewayRefused."""
        try:
            self._gateway.swap(keys.name, known.content, keys.shadow_records, keys.allowed)
        except GatewayRefused as error:
            if error.code == "unknown_version":  # the gateway's store has lost it since
                self._remember(keys.line, None)
                raise GatewayUnavailable(error.message) from error
            if error.code != "not_in_use":
                raise
            self._say(f"{keys.line}: {known.version} is in the gateway's store; no stage of the site runs it")
        self._note(self._entry("installed", keys, known, ""), False)

    def _watch(self, keys: PluginKeys, known: Delivered, cancel: Cancel) -> str:
        """Wait until it has proved itself, or the gateway has left it, or is no longer healthy with it."""
        gateway = self._settings.gateway
        end_s, problem = self._clock.monotonic_s() + gateway.hold_s, ""
        try:
            while not problem and self._clock.monotonic_s() < end_s:
                self._clock.wait(gateway.look_s, cancel)
                if self._gateway.versions(keys.name)[0] not in ("", known.content):
                    self._clock.wait(gateway.look_s, cancel)  # the gateway's history follows
                    problem = self._gateway.given_up(keys.name, known.content) or "another version runs instead"
            problem = problem or self._judge(keys, known, cancel)
        except GatewayRefused as error:
            raise GatewayUnavailable(error.message) from error
        return self._end(keys, known, problem)

    def _judge(self, keys: PluginKeys, known: Delivered, cancel: Cancel) -> str:
        """Blame it for checks that fail now and did not before; then the version before runs again."""
        failing = self._gateway.failing()
        new = [name for name in JUDGED if name in failing and name not in known.before]
        blamed = "; ".join(f"{name}: {failing[name] or 'fails'}" for name in new)
        if not blamed:
            return ""
        if self._gateway.versions(keys.name)[0] == known.content:
            return blamed + self._go_back(keys, known)
        self._clock.wait(self._settings.gateway.look_s, cancel)  # the gateway was quicker, and has its own reason
        return self._gateway.given_up(keys.name, known.content) or blamed

    def _go_back(self, keys: PluginKeys, known: Delivered) -> str:
        """Leave this version; what went wrong with that, or "". The gateway may do the same at this moment."""
        try:
            self._gateway.roll_back(keys.name, known.content)
        except GatewayRefused as error:
            return f"; and no way back: {error.message}"
        return ""

    def _end(self, keys: PluginKeys, known: Delivered, problem: str) -> str:
        """Settled: a floor from now on. Refused: never tried again. Either way the file is no longer needed."""
        if problem:
            self._note(self._entry("rolled-back", keys, known, problem), True)
            self._remember(keys.line, None)
        else:
            self._note(self._entry("committed", keys, known, ""), False)
            self._client.committed(keys.line, known.release)
            self._remember(keys.line, msgspec.structs.replace(known, settled=True))
        self._fetched.forget(keys)
        return problem

    def _entry(self, event: str, keys: PluginKeys, known: Delivered, reason: str) -> Entry:
        return Entry(int(self._clock.unix_s()), event, keys.line, known.version, known.sha256, reason)

    def _remember(self, line: str, known: Delivered | None) -> None:
        entries = {other: entry for other, entry in self.delivered().items() if other != line}
        if known is not None:
            entries[line] = known
        self._files.save(RECORD_NAME, msgspec.json.encode(entries))


def _delivered(artefact: Artefact, content: str, before: tuple[str, ...] = ()) -> Delivered:
    file, release = artefact.file, artefact.release
    return Delivered(file.sha256, content, file.length, release.version, release.release, before=before)
