"""The agent: settles what the last boot left, then asks for updates, installs them and watches the trial.

Commands of the operator run in processes of their own. All of them read the notebook under one lock and act through
``Device``, so whoever comes first decides and the other sees it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from ota.agent import evidence
from ota.agent.device import Device
from ota.agent.gateway import SocketGateway
from ota.agent.health import boot_id, complaints
from ota.agent.machine import Files, SlotPaths, boot_control, loader_facts
from ota.agent.notebook import Entry, Image, read_notebook
from ota.agent.plugins import PluginUpdates
from ota.agent.settings import PluginKeys, Settings
from ota.agent.source import Offer, Source
from ota.agent.watch import Watch
from ota.agent.watchdog import Watchdog
from ota.boot.table import Action, Verdict, Wish
from ota.clock import Cancel, Clock
from ota.durable import read_file
from ota.errors import BootError, Cancelled, GatewayUnavailable, OtaError, StorageError, TrustError
from ota.ports import Storage
from ota.stage import Job, Place, stage
from ota.trust.client import TrustClient
from ota.trust.floor import check_release

RELEASES_NAME = "releases.json"
Pick = Callable[[Source, str], Offer | None]
RETRY_S = 60.0  # a plugin waits for the gateway
LOCK_ATTEMPTS = 50  # every decision takes less; an installation takes longer


class Installed(msgspec.Struct, frozen=True):
    """Which release an installed hash is: its floor rises when it is committed."""

    sha256: str
    line: str
    release: int


@dataclass(frozen=True, slots=True)
class Committed:
    """A release that runs for good."""

    line: str
    version: str


class Agent:
    """One agent process. ``say`` gets lines for the operator's log; ``restarting`` is True once a restart was asked.

    ``progress``: called with (bytes there, bytes in all) while something is fetched.
    """

    def __init__(self, settings: Settings, client: TrustClient, clock: Clock, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.restarting = False
        self.client = client
        self.progress: Callable[[int, int], None] = lambda _done, _total: None
        self._clock = clock
        self._say = say
        self._boot = boot_control(settings, self._restart)
        self._slots = SlotPaths(settings, self._boot)
        self.files = Files(settings.paths.state)
        self._watchdog = Watchdog(settings.health.watchdog, settings.health.look_s, clock, say)
        gateway = SocketGateway(settings.gateway.socket)
        self.plugins = PluginUpdates(settings, client, clock, self.files, gateway, self._note_plugin, say)

    def _restart(self) -> None:
        self.restarting = True

    @contextmanager
    def device(self) -> Iterator[Device]:
        """The device with what is on disk now, while nobody else changes it. Raises StorageError, BootError."""
        path = self.settings.paths.state / "lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError("state-write", f"{path}: cannot be opened: {error.strerror}") from error
        try:
            self._lock(descriptor)
            yield Device(self._boot, self._slots, self.files, self._clock, boot_id(), self._tell)
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        for _ in range(LOCK_ATTEMPTS):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                self._clock.wait(0.1, Cancel())
        raise BootError("busy", "an update is being installed by another process: wait, or stop the agent")

    def _tell(self, entry: Entry) -> None:
        where = entry.slot if "/" in entry.slot else f"slot {entry.slot}"
        self._say(f"{entry.event}: {where}, {entry.version or 'unknown version'}: {entry.reason}".rstrip(": "))

    def _note_plugin(self, entry: Entry, bad: bool) -> None:
        with self.device() as device:
            device.note_plugin(entry, bad=bad)

    # ---- running ----

    def run(self, source: Callable[[], Source], cancel: Cancel) -> None:
        """Until a restart is due or ``cancel``. Errors of a poll are told and the next poll tries again."""
        self.settle(cancel)
        self._say(
            f"slot {self.slot()}; asks {self.settings.repository.url} every {self.settings.repository.poll_s:g} s"
        )
        while not self.restarting:
            waits = self._poll(source, cancel)
            if not self.restarting:
                poll_s = self.settings.repository.poll_s
                self._clock.wait(min(poll_s, RETRY_S) if waits else poll_s, cancel)

    def _poll(self, source: Callable[[], Source], cancel: Cancel) -> bool:
        """Image first, then plugins; True: something waits for the gateway."""
        try:
            given = source()
            self._attempt(lambda: self.install(given, cancel))
            if not self.restarting:
                self._attempt(lambda: self.install_plugins(given, cancel))
        except GatewayUnavailable as error:
            self._say(f"a plugin waits: {error}")
            return True
        except OtaError as error:
            if isinstance(error, Cancelled):
                raise
            self._say(f"no update: {error}")
        return False

    def _attempt(self, step: Callable[[], object]) -> None:
        """One kind of update; what keeps it away is told and does not keep the other kind away."""
        try:
            step()
        except (Cancelled, GatewayUnavailable):
            raise
        except OtaError as error:
            self._say(f"no update: {error}")

    def settle(self, cancel: Cancel) -> Action:
        """Act on what the boot left; on trial, watch until there is a verdict, with the watchdog armed."""
        with self.device() as device:
            action = device.settle()
        if action is Action.WATCH:
            self._watchdog.arm()
            action = self._watch(cancel)
            if not self.restarting:  # a restart that hangs is ended by it
                self._watchdog.release()
        else:
            self._watchdog.take_over()
        self._raise_floor()
        return action

    def end(self) -> None:
        """The process ends, on request or for a restart."""
        if not self.restarting:
            self._watchdog.end()

    def _watch(self, cancel: Cancel) -> Action:
        health, action = self.settings.health, Action.WATCH
        watch = Watch(self._clock.monotonic_s(), health.hold_s, health.limit_s)
        known = ""
        self._say(f"slot {self.slot()} is on trial: kept after {health.hold_s:g} s of health in {health.limit_s:g} s")
        while action is Action.WATCH:
            self._watchdog.feed()
            self._clock.wait(self._watchdog.feed_s, cancel)
            verdict = watch.note(self._clock.monotonic_s(), complaints(health.file, self._clock, boot_id()))
            if watch.reason != known or verdict is Verdict.UNHEALTHY:
                self._watchdog.feed()
                self._leave_word(watch.reason)
            known = watch.reason
            with self.device() as device:
                action = device.settle(verdict, reason=watch.reason if verdict is Verdict.UNHEALTHY else "")
        return action

    def _leave_word(self, complaint: str) -> None:
        """This system may not live to tell: the one after it reports what it has said so far."""
        self._say(f"not healthy: {complaint}" if complaint else "healthy")
        try:
            with self.device() as device:
                device.complain(complaint)
                image = device.notebook.images.get(device.slot)
            if complaint:
                evidence.keep(self.files, image.sha256 if image is not None else "", self.settings.health.log)
        except StorageError as error:  # the verdict does not wait for a full disk
            self._say(f"cannot be kept for the other slot: {error}")

    def _raise_floor(self) -> None:
        """What is committed and runs is the least release from now on."""
        known = self._installed()
        with self.device() as device:
            state, image = device.state(), device.notebook.images.get(device.slot)
        committed = state is not None and state.good == device.slot and not state.trial
        if committed and known is not None and image is not None and image.sha256 == known.sha256:
            self.client.committed(known.line, known.release)

    def _installed(self) -> Installed | None:
        data = read_file(self.settings.paths.state / RELEASES_NAME, 4096)
        try:
            return msgspec.json.decode(data, type=Installed) if data else None
        except msgspec.DecodeError:
            return None

    # ---- the operator's commands ----

    def wish(self, wish: Wish) -> Action:
        """``mark-good``, ``mark-bad``, ``rollback``."""
        with self.device() as device:
            action = device.settle(wish=wish, reason=f"the operator: {wish.value}")
        self._raise_floor()
        return action

    def check(self, source: Source) -> Offer | None:
        """The release that would be installed; None when there is none. Raises what a refresh raises."""
        with self.device() as device:
            bad, running = frozenset(device.notebook.bad), device.notebook.images.get(device.slot)
        offer = source.newest(self.settings.image.line, bad)
        if offer is None or (running is not None and running.sha256 == offer.artefact.file.sha256):
            return None
        floor = self.client.floor().releases.get(offer.artefact.line, 0)
        return offer if offer.artefact.release.release > floor else None

    def status(self) -> dict[str, Any]:
        """For people and scripts; reads without waiting for an installation."""
        device = self._look()
        state = device.state()
        return {
            "slot": device.slot,
            "loader": loader_facts(self.settings),
            "boot": None if state is None else {**asdict(state), "valid": sorted(state.valid)},
            "images": msgspec.to_builtins(device.notebook.images),
            "bad": device.notebook.bad,
            "complaint": device.notebook.complaint,
            "failed": msgspec.to_builtins(evidence.kept(self.files)),
            "floors": self.client.floor().releases,
            "plugins": msgspec.to_builtins(self.plugins.delivered()),
        }

    def _look(self) -> Device:
        """The device as it is now, to be read only: another thread or process may be changing it."""
        return Device(self._boot, self._slots, self.files, self._clock, boot_id(), self._tell)

    @property
    def lines(self) -> tuple[str, ...]:
        """Everything that this device installs: its image, then its plugins."""
        return (self.settings.image.line, *(plugin.line for plugin in self.settings.plugin))

    def floor(self) -> int:
        """The least release of the image that may run here: as long as nothing was installed, the factory's."""
        return self.client.floor().releases.get(self.settings.image.line, 0)

    def slot(self) -> str:
        """The slot that runs."""
        return self._boot.booted()

    def committed(self) -> dict[str, Committed]:
        """By SHA-256: the image that runs if it is committed, and the plugins that have proved themselves."""
        device = self._look()
        state, image = device.state(), device.notebook.images.get(device.slot)
        found = {
            one.sha256: Committed(line, one.version) for line, one in self.plugins.delivered().items() if one.settled
        }
        if image is not None and state is not None and state.good == device.slot and not state.trial:
            found[image.sha256] = Committed(self.settings.image.line, image.version)
        return found

    def failure(self, sha256: str) -> tuple[str, ...]:
        """Why an artefact is never tried again, then the end of its log; () if it may be."""
        reason = read_notebook(self.files).bad.get(sha256)
        if reason is None:
            return ()
        kept = evidence.kept(self.files)
        return (reason, *(kept.lines if kept is not None and kept.sha256 == sha256 else ()))

    def is_armed(self) -> bool:
        """Whether the machine restarts into an update, or runs it on trial."""
        state = self._look().state()
        return self.restarting or state is None or bool(state.trial)

    def may_cancel(self) -> bool:
        """Whether an update can be taken back as if it had never been: nothing of it runs, or is about to."""
        return not self.is_armed() and not self.plugins.watching

    def history(self) -> list[Entry]:
        """Oldest first."""
        return read_notebook(self.files).history

    def install(self, source: Source, cancel: Cancel) -> Offer | None:
        """Install the newest release if there is one, and ask for the restart; None: there is nothing newer."""
        offer = self.check(source)
        if offer is not None:
            self._install_image(offer, source, cancel)
        return offer

    def install_assigned(self, source: Source, pick: Pick, cancel: Cancel, *, only_fetch: bool = False) -> None:
        """Install the artefact that ``pick`` finds in one of this device's lines, whatever the rollout says.

        ``only_fetch``: bring it here and verify it; it waits, and installing it later fetches nothing.

        Raises TrustError: there is none, it is older than what was committed, or it failed here before.
        """
        found = ((line, pick(source, line)) for line in self.lines)
        line, offer = next(((line, offer) for line, offer in found if offer is not None), ("", None))
        if offer is None:
            raise TrustError("target-missing", "what is assigned is no longer part of the trusted metadata")
        plugin = next((keys for keys in self.settings.plugin if keys.line == line), None)
        if plugin is None:
            self._install_image(offer, source, cancel, only_fetch=only_fetch)
            return
        if reasons := self.failure(offer.artefact.file.sha256):
            raise TrustError("known-bad", f"{offer.artefact.file.name} has failed here before: {reasons[0]}")
        (self.plugins.fetch if only_fetch else self.plugins.install)(plugin, offer, source, cancel)

    def _install_image(self, offer: Offer, source: Source, cancel: Cancel, *, only_fetch: bool = False) -> None:
        artefact = offer.artefact
        check_release(self.client.floor(), artefact.line, artefact.release.release)
        known = Installed(artefact.file.sha256, artefact.line, artefact.release.release)
        image = Image(artefact.file.sha256, artefact.file.length, artefact.release.version)
        with self.device() as device:
            self.files.save(RELEASES_NAME, msgspec.json.encode(known))
            step = device.prepare if only_fetch else device.install
            step(image, lambda _image, slot, stop: self._fill(source, offer, slot, stop), cancel)

    def check_plugins(self, source: Source) -> list[tuple[PluginKeys, Offer]]:
        """The plugins that would be installed. Raises what a refresh raises."""
        return self.plugins.newer(source, frozenset(read_notebook(self.files).bad))

    def install_plugins(self, source: Source, cancel: Cancel) -> dict[str, str]:
        """Install every newer plugin; by name of the artefact "" or why it did not stay.

        Raises GatewayUnavailable when one waits for the gateway, BootError while an image is on trial, and what
        fetching raises.
        """
        found = self.check_plugins(source)
        if found and self.is_armed():
            raise BootError("on-trial", "an image is on trial: plugins follow when it is committed or rolled back")
        return {offer.artefact.file.name: self.plugins.install(keys, offer, source, cancel) for keys, offer in found}

    def _fill(self, source: Source, offer: Offer, target: Storage, cancel: Cancel) -> None:
        memory = self.settings.image.memory_bytes
        running = self._slots.storage(self._slots.active())
        job = Job(offer.artefact, offer.catalogue, source.base, lambda error: self._say(f"given up: {error}"))
        way = stage(job, Place(target, running, self.settings.paths.state, memory), source.means(cancel, self.progress))
        self._say(f"{offer.artefact.file.name}: by {way}, verified")
