"""``penstock provision``: makes a device of an image. Keys of its own, and the site from a folder.

The folder (``penstock/`` of the boot partition or of a stick) holds ``site.toml`` and whatever that refers to, and may
hold ``ota.toml`` (the agent's tables ``device``, ``repository``, ``link``, ``health``), ``trust/`` for an image without
an anchor of its own, ``board.toml``, ``hostname``, ``ntp`` and ``console``. It is taken as a whole or not at all.
"""

from __future__ import annotations

import os
import shutil
import tomllib
from pathlib import Path

from gateway.errors import ConfigError, PenstockError, UsageError

BOARD = Path("/usr/share/penstock/board.toml")
PLUGINS = Path("/usr/share/penstock/plugins")
TRUST = Path("/usr/share/penstock/trust")
IMAGE_SETTINGS = Path("/etc/penstock/ota-image.toml")
DEVICE_TABLES = ("device", "repository", "link", "health")
FOLDER_BYTES_MAX = 64 * 1024 * 1024
OWNER = "penstock"


def provision(data: Path, source: Path | None) -> list[str]:
    """Make the keys if there are none, then take the folder ``source``. Returns what was done, as lines for the log.

    Raises PenstockError; then what was taken before stays.
    """
    done = make_device(data / "device")
    if source is not None:
        done += take(source, data)
    return done


def make_device(folder: Path) -> list[str]:
    """The device's name, private key (P-256) and certificate request; nothing if they exist."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key_file, id_file = folder / "key.pem", folder / "id"
    if key_file.exists() and id_file.exists():
        return []
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = f"pen-{os.urandom(6).hex()}"
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    _write(folder / "request.pem", request.public_bytes(pem))
    _write(id_file, f"{name}\n".encode())
    _write(key_file, key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    _sync(folder)
    return [f"this device is {name}; its certificate request is {folder / 'request.pem'}"]


def take(source: Path, data: Path) -> list[str]:
    """Replace ``data``/site by a copy of ``source`` and the agent's settings by those in it. Raises PenstockError."""
    fresh, site, old = data / "site.new", data / "site", data / "site.old"
    _copy(source, fresh)
    settings = agent_settings(fresh, data)
    lines = [_checked(fresh)]
    _own(fresh)
    shutil.rmtree(old, ignore_errors=True)
    if site.exists():
        site.rename(old)
    fresh.rename(site)
    _sync(data)
    if settings:
        _write(data / "ota.toml", settings.encode())
        lines.append("the update agent has new settings")
    else:
        (data / "ota.toml").unlink(missing_ok=True)
    _sync(data)
    return lines


def _checked(folder: Path) -> str:
    """What the site is. Raises ConfigError for one that could not run."""
    from gateway.app.site_check import load

    site = folder / "site.toml"
    if not site.exists():
        return "taken: no site.toml, so the gateway does not run"
    own = folder / "board.toml"
    plan = load(site, own if own.exists() else BOARD, [PLUGINS], to_run=True).plan
    return f"taken: site {plan.site}, {len(plan.ports)} ports, {len(plan.stages)} stages, {len(plan.tags)} tags"


def agent_settings(folder: Path, data: Path) -> str:
    """The agent's whole configuration: the folder's tables, the image's, the device's name. "" without ``ota.toml``.

    Raises ConfigError for tables that belong to the image.
    """
    given = folder / "ota.toml"
    if not given.exists():
        return ""
    text = given.read_text("utf-8")
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(given), "", f"TOML syntax: {error}") from None
    for name in tables:
        if name not in DEVICE_TABLES:
            raise ConfigError(str(given), name, f"belongs to the image; allowed here: {', '.join(DEVICE_TABLES)}")
    image = IMAGE_SETTINGS.read_text("utf-8")
    if not (TRUST / "root.json").exists():
        image = image.replace(f'trust = "{TRUST}"', f'trust = "{data / "site" / "trust"}"')
    if "id" not in tables.get("device", {}):
        name = (data / "device" / "id").read_text("utf-8").strip()
        text = (
            text.replace("[device]\n", f'[device]\nid = "{name}"\n')
            if "device" in tables
            else (f'{text}\n[device]\nid = "{name}"\n')
        )
    return f"{text}\n{image}"


def _copy(source: Path, target: Path) -> None:
    """A copy that is on the disk. Raises UsageError."""
    files = [path for path in sorted(source.rglob("*")) if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    if size > FOLDER_BYTES_MAX:
        raise UsageError(f"{source}: {size} bytes, allowed: at most {FOLDER_BYTES_MAX}")
    shutil.rmtree(target, ignore_errors=True)
    try:
        target.mkdir(mode=0o700, parents=True)
        for path in files:
            copy = target / path.relative_to(source)
            copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(copy, path.read_bytes())
    except OSError as error:
        raise PenstockError(f"{source}: cannot be copied to {target}: {error.strerror}") from error


def _own(folder: Path) -> None:
    """The gateway does not run as root; what it needs, keys included, is its own."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, OWNER, OWNER)


def _write(path: Path, data: bytes) -> None:
    """A file that only its owner reads, whole or not at all."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
