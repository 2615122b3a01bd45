"""The agent's configuration file, TOML. Every key is listed in ``docs/ota.md``; unknown keys are refused."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Literal

import msgspec

from ota.errors import UsageError

PLUGIN_LINE = re.compile(r"plugin/[a-z0-9][a-z0-9-]*/[a-z0-9][a-z0-9_-]*")


class DeviceKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who this device is, for staged rollouts."""

    id: str
    group: str = "default"


class RepositoryKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where updates come from. ``ca``: authorities, empty for the system's. ``plain``: allow http."""

    url: str
    ca: str = ""
    certificate: str = ""
    key: str = ""
    plain: bool = False
    poll_s: float = 3600.0


class LinkKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``rate_bytes_s`` and ``budget_bytes`` in ``budget_days``; 0 is no limit."""

    rate_bytes_s: int = 0
    budget_bytes: int = 0
    budget_days: int = 30


class ImageKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``line``: ``image/FAMILY/NAME``. Slots are block devices; with boot ``sim`` they are files of ``slot_bytes``."""

    line: str
    slot_a: Path
    slot_b: Path
    slot_bytes: int = 0
    memory_bytes: int = 16 * 1024 * 1024


class BootKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``state``: raw partition, or fw_env.config for ``uboot-env``; ``sim``: a file, the agent plays the loader.

    ``tryboot``: also ``firmware``, where the partition with ``autoboot.txt`` is mounted, and the numbers of the
    partitions that the firmware boots slot a and slot b from.
    """

    kind: Literal["raw", "uboot-env", "tryboot", "sim"]
    state: Path
    firmware: Path | None = None
    partition_a: int = 2
    partition_b: int = 3


class HealthKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An update is kept after ``hold_s`` without a complaint, and rolled back when that is not reached in ``limit_s``.

    ``watchdog``: device that is armed while an update is on trial, empty for none. ``log``: command whose output is
    kept of a system that fails its trial, empty for none.
    """

    file: Path = Path("/run/penstock/health.json")
    hold_s: float = 300.0
    limit_s: float = 900.0
    look_s: float = 5.0
    watchdog: str = ""
    log: tuple[str, ...] = ("journalctl", "--boot", "--no-pager", "--lines=60", "--output=short-iso")


class GatewayKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The gateway on this machine. ``socket``: its control socket. ``plugins``: its plugin store, read only.

    ``hold_s``: a new plugin is kept after so long without a complaint; at least 35 covers the gateway's trap window.
    """

    socket: Path = Path("/run/penstock/control.sock")
    plugins: Path = Path("/var/lib/penstock/plugins")
    hold_s: float = 60.0
    look_s: float = 2.0


class PluginKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A plugin that is kept up to date. ``line``: ``plugin/VENDOR/NAME``, NAME as the gateway knows it.

    ``shadow_records``: the new version first runs beside the old one on so many records; fields ``allowed`` may differ.
    ``compiled``: native code of its vendor is taken, too.
    """

    line: str
    compiled: bool = False
    shadow_records: int = 0
    allowed: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the gateway calls it."""
        return self.line.split("/")[2]


class FleetKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A hawkBit server (DDI) that assigns updates. Tokens are read from files, which only the agent should read.

    ``confirm``: ``auto``, or ``operator`` for ``penstock-ota confirm``. ``attributes``: more about this device.
    """

    url: str
    tenant: str = "DEFAULT"
    target_token_file: Path | None = None
    gateway_token_file: Path | None = None
    ca: str = ""
    certificate: str = ""
    key: str = ""
    plain: bool = False
    confirm: Literal["auto", "operator"] = "auto"
    attributes: dict[str, str] = {}


class PathKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``trust``: part of the image. ``state``: on the data partition, the agent's own."""

    trust: Path = Path("/usr/share/penstock/trust")
    state: Path = Path("/var/lib/penstock/ota")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    device: DeviceKeys
    repository: RepositoryKeys
    image: ImageKeys
    boot: BootKeys
    link: LinkKeys = LinkKeys()
    health: HealthKeys = HealthKeys()
    paths: PathKeys = PathKeys()
    gateway: GatewayKeys = GatewayKeys()
    plugin: tuple[PluginKeys, ...] = ()
    fleet: FleetKeys | None = None

    @property
    def owner(self) -> tuple[str, str]:
        """Kind and owner of the image's line."""
        kind, owner, _ = self.image.line.split("/")
        return kind, owner


def read_settings(path: Path) -> Settings:
    """Raises UsageError naming the file, the key and what is allowed."""
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from error
    try:
        settings = msgspec.convert(document, Settings, dec_hook=_path)
    except msgspec.ValidationError as error:
        message, _, key = str(error).partition(" - at `$")
        raise UsageError(f"{path}: {key.strip('.`') or 'top level'}: {message}") from error
    _check(path, settings)
    return settings


def _path(kind: type, value: object) -> object:
    if kind is not Path or not isinstance(value, str) or not value:
        raise ValueError("Expected a path")
    return Path(value)


def _check(path: Path, settings: Settings) -> None:
    image, boot, health, fleet = settings.image, settings.boot, settings.health, settings.fleet
    if image.line.count("/") != 2 or not image.line.startswith("image/"):
        raise UsageError(f"{path}: image.line: found {image.line!r}, allowed: image/FAMILY/NAME")
    for plugin in settings.plugin:
        if not PLUGIN_LINE.fullmatch(plugin.line):
            raise UsageError(f"{path}: plugin.line: found {plugin.line!r}, allowed: plugin/VENDOR/NAME")
    if boot.kind == "sim" and image.slot_bytes <= 0:
        raise UsageError(f"{path}: image.slot_bytes: needed with boot.kind 'sim': capacity of the slot files in bytes")
    if (boot.kind == "tryboot") != (boot.firmware is not None):
        raise UsageError(f"{path}: boot.firmware: belongs to boot.kind 'tryboot', which needs it")
    if boot.partition_a == boot.partition_b:
        raise UsageError(f"{path}: boot.partition_b: found {boot.partition_b}, which is partition_a, too")
    if not 0 < health.hold_s <= health.limit_s:
        raise UsageError(f"{path}: health.hold_s: allowed: more than 0, at most limit_s")
    least = {"repository.poll_s": settings.repository.poll_s, "health.look_s": health.look_s}
    least |= {"gateway.look_s": settings.gateway.look_s, "gateway.hold_s": settings.gateway.hold_s}
    for name, value in least.items():
        if value < 1:
            raise UsageError(f"{path}: {name}: found {value}, allowed from 1")
    if fleet is not None and fleet.url.startswith("http://") != fleet.plain:
        raise UsageError(f"{path}: fleet.url: found {fleet.url!r}, allowed: https, or http with plain = true")
    if fleet is not None and fleet.target_token_file and fleet.gateway_token_file:
        raise UsageError(f"{path}: fleet.target_token_file: give one of target_token_file and gateway_token_file")
