"""``penstock-ota agent run`` and the operator's commands: status, check, install, mark-*, rollback, history."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ota.app.repo_cli import Groups
from ota.clock import Cancel, Clock
from ota.errors import Cancelled, UsageError

if TYPE_CHECKING:
    from ota.agent.agent import Agent
    from ota.agent.source import Source
    from ota.boot.table import Action

CONFIG = Path("/etc/penstock/ota.toml")
FAILED, RESTART_STATUS = 1, 3


def add_to(groups: Groups) -> None:
    """Add the commands."""
    agent = groups.add_parser("agent", help="the update agent").add_subparsers(required=True, metavar="STEP")
    _command(agent, "run", _run, "settle the last update, then poll, install and watch until SIGTERM")
    _command(groups, "status", _status, "slots, what is on trial, floors, as JSON")
    _command(groups, "check", _check, "ask for a newer release; install nothing")
    install = _command(groups, "install", _install, "install the newest release now")
    install.add_argument("--from", dest="origin", default="", metavar="WHERE", help="URL, folder or bundle file")
    _command(groups, "mark-good", _wish, "keep the system that is on trial").set_defaults(wish="mark-good")
    _command(groups, "mark-bad", _wish, "reject it: go back, never try it again").set_defaults(wish="mark-bad")
    _command(groups, "rollback", _wish, "go back to the other slot").set_defaults(wish="rollback")
    confirm = _command(groups, "confirm", _confirm, "agree to the update that the fleet server asks about")
    confirm.add_argument("--deny", action="store_true", help="refuse it")
    _command(groups, "history", _history, "what happened, oldest first, as JSON lines")
    _command(groups, "sim-boot", _sim_boot, "with boot.kind 'sim': what a loader does at power-on")


def _command(groups: Groups, name: str, command: object, text: str) -> argparse.ArgumentParser:
    parser = groups.add_parser(name, help=text, description=text)
    parser.add_argument("--config", type=Path, default=CONFIG, metavar="FILE", help="default: %(default)s")
    parser.set_defaults(command=command)
    return parser


def _agent(options: argparse.Namespace) -> Agent:
    from ota.agent.agent import Agent
    from ota.agent.settings import read_settings
    from ota.app.device_cli import read_anchor
    from ota.trust.client import TrustClient

    settings = read_settings(options.config)
    client = TrustClient(settings.paths.state, read_anchor(settings.paths.trust), Clock())
    return Agent(settings, client, Clock(), _say)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _run(options: argparse.Namespace) -> int:
    from ota.agent.settings import read_settings
    from ota.app.device_cli import await_anchor

    cancel = Cancel()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: cancel.set())
    try:
        await_anchor(read_settings(options.config).paths.trust, Clock(), cancel, _say)
        _serve(_agent(options), cancel)
    except Cancelled:
        return 0
    return RESTART_STATUS


def _serve(agent: Agent, cancel: Cancel) -> None:
    """Until a restart is due. Raises Cancelled."""
    from ota.agent.source import online
    from ota.fleet.duty import Duty, server_of

    try:
        if agent.settings.fleet is None:
            agent.run(lambda: online(agent.settings, agent.client, Clock(), cancel), cancel)
        else:
            source = lambda stop: online(agent.settings, agent.client, Clock(), stop)  # noqa: E731
            Duty(agent, server_of(agent.settings, Clock()), source, Clock(), _say).run(cancel)
    finally:
        agent.end()


@contextmanager
def _source(agent: Agent, origin: str) -> Iterator[Source]:
    from ota.agent.source import bundle, folder, online
    from ota.app.device_cli import read_anchor

    path = Path(origin)
    if not origin or "://" in origin:
        yield online(agent.settings, agent.client, Clock(), Cancel(), origin)
    elif path.is_dir():
        yield folder(agent.settings, agent.client, Clock(), Cancel(), path)
    elif path.is_file():
        with bundle(agent.settings, agent.client, read_anchor(agent.settings.paths.trust), Clock(), path) as source:
            yield source
    else:
        raise UsageError(f"{origin!r}: neither a URL, a folder nor a bundle file")


def _status(options: argparse.Namespace) -> int:
    from msgspec import to_builtins

    from ota.fleet.confirm import Confirmations

    agent = _agent(options)
    question = Confirmations(agent.files, auto=False).open() if agent.settings.fleet is not None else None
    print(json.dumps({**agent.status(), "confirmation": to_builtins(question)}, indent=2, ensure_ascii=False))
    return 0


def _check(options: argparse.Namespace) -> int:
    agent = _agent(options)
    with _source(agent, "") as source:
        image = agent.check(source)
        found = [*([image] if image is not None else []), *(offer for _, offer in agent.check_plugins(source))]
    for offer in found:
        print(f"{offer.artefact.file.name}: {offer.artefact.release.version}")
    if not found:
        _nothing(agent, source)
    return 0


def _nothing(agent: Agent, source: Source) -> None:
    print("nothing newer")
    for name, sha256 in source.passed_over.items():
        print(f"{name} failed on this device and is not tried again: {agent.failure(sha256)[0]}")


def _install(options: argparse.Namespace) -> int:
    agent = _agent(options)
    with _source(agent, options.origin) as source:
        problems = _install_plugins(agent, source)
        offer = agent.install(source, Cancel())
    if offer is not None:
        print(f"{offer.artefact.release.version}: on trial after the restart")
    elif not problems:
        _nothing(agent, source)
    return FAILED if any(problems) else 0


def _install_plugins(agent: Agent, source: Source) -> list[str]:
    """What kept each plugin from staying, "" for those that stay. No gateway is no reason against an image."""
    from ota.errors import GatewayUnavailable

    try:
        plugins = agent.install_plugins(source, Cancel())
    except GatewayUnavailable as error:
        print(f"a plugin waits: {error}")
        return [error.message]
    for name, problem in plugins.items():
        print(f"{name}: {problem or 'runs'}")
    return list(plugins.values())


def _wish(options: argparse.Namespace) -> int:
    from ota.boot.table import Action, Wish

    action: Action = _agent(options).wish(Wish(options.wish))
    print(action.value)
    return 1 if action is Action.REFUSE else 0


def _confirm(options: argparse.Namespace) -> int:
    from ota.fleet.confirm import Confirmations

    question = Confirmations(_agent(options).files, auto=False).answer(not options.deny)
    print(f"action {question.action}, {question.what}: {'denied' if options.deny else 'confirmed'} with the next poll")
    return 0


def _history(options: argparse.Namespace) -> int:
    from msgspec import to_builtins

    for entry in _agent(options).history():
        at = datetime.fromtimestamp(entry.at, UTC).isoformat()
        print(json.dumps({**to_builtins(entry), "at": at}, ensure_ascii=False))
    return 0


def _sim_boot(options: argparse.Namespace) -> int:
    from ota.agent.machine import power_on
    from ota.agent.settings import read_settings

    settings = read_settings(options.config)
    if settings.boot.kind != "sim":
        raise UsageError(f"{options.config}: boot.kind is {settings.boot.kind!r}: a real loader boots this machine")
    print(power_on(settings))
    return 0
