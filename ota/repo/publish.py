"""What a publisher does with a repository: create it, delegate, add artefacts, rotate keys, export trust."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import blake3
import msgspec
from tuf.api.metadata import DelegatedRole, Delegations, Root, TargetFile, Targets

from ota.durable import replace_file, sync_folder
from ota.errors import TrustError, UsageError
from ota.repo.repository import Repository
from ota.trust.floor import Floor, RoleFloor
from ota.trust.model import (
    BUNDLE_ROLE,
    SIGNED_FIELD,
    Artefact,
    Code,
    Compiled,
    Custom,
    File,
    Patch,
    Release,
    Target,
    check_name,
    read_target,
    role_of,
)

ROOT_KEYS = TARGETS_KEYS = 3
OFFLINE_THRESHOLD = 2


def init(repository: Repository) -> None:
    """Root and targets 2-of-3, snapshot and timestamp online, the bundle role; all keys are made in one folder."""
    if repository.roles():
        raise UsageError(f"{repository.folder}: holds a repository already")
    root = Root(consistent_snapshot=True)
    amounts = {"root": ROOT_KEYS, "targets": TARGETS_KEYS, "snapshot": 1, "timestamp": 1}
    for role, amount in amounts.items():
        for _ in range(amount):
            root.add_key(repository.keys.make(repository.keys.free_name(role)).public_key, role)
    for role in ("root", "targets"):
        root.roles[role].threshold = OFFLINE_THRESHOLD
    repository.create("root", root)
    targets = Targets()
    targets.delegations = Delegations({}, {})
    _delegate(repository, targets, BUNDLE_ROLE, [f"{BUNDLE_ROLE}/*"], count=1, threshold=1)
    repository.create("targets", targets)
    repository.create(BUNDLE_ROLE, Targets())


def delegate(repository: Repository, role: str, *, count: int, threshold: int) -> None:
    """Make keys for ``image-FAMILY`` or ``plugin-VENDOR`` and trust them with the names of that owner only."""
    kind, _, owner = role.partition("-")
    try:
        check_name(f"{kind}/{owner}/x")
    except TrustError:
        raise UsageError(f"role {role!r}: allowed: image-FAMILY or plugin-VENDOR, in lower case") from None
    if not 1 <= threshold <= count:
        raise UsageError(f"threshold {threshold} of {count} keys: allowed 1 to the number of keys")
    if role in repository.roles():
        raise UsageError(f"{repository.folder}: role '{role}' exists; for a new key: penstock-ota repo rotate")
    with repository.edit("targets") as signed:
        assert isinstance(signed, Targets)
        _delegate(repository, signed, role, [f"{kind}/{owner}/*"], count=count, threshold=threshold)
    repository.create(role, Targets())


def _delegate(
    repository: Repository, targets: Targets, role: str, paths: list[str], *, count: int, threshold: int
) -> None:
    assert targets.delegations is not None
    assert targets.delegations.roles is not None
    targets.delegations.roles[role] = DelegatedRole(role, [], threshold, terminating=True, paths=paths)
    for _ in range(count):
        targets.add_key(repository.keys.make(repository.keys.free_name(role)).public_key, role)


def rotate(repository: Repository, role: str, revoke: str) -> str:
    """Replace a key of a role by a new one, and sign the role again. Returns the new key's id."""
    top = role in ("root", "targets", "snapshot", "timestamp")
    delegator = repository.root() if top else repository.targets()
    keyids = delegator.get_delegated_role(role).keyids
    chosen = [keyid for keyid in keyids if keyid.startswith(revoke)]
    if len(chosen) != 1:
        raise UsageError(f"key {revoke!r}: one of {role} is needed: {', '.join(keyid[:16] for keyid in keyids)}")
    fresh = repository.keys.make(repository.keys.free_name(role)).public_key
    with repository.edit("root" if top else "targets") as signed:
        assert isinstance(signed, Root | Targets)
        signed.add_key(fresh, role)
        signed.revoke_key(chosen[0], role)
    if role not in ("root", "snapshot", "timestamp"):
        with repository.edit(role):
            pass
    return fresh.keyid


def add(repository: Repository, source: Path, name: str, custom: Custom) -> File:
    """Copy a file below ``targets/`` and sign its entry. Publishing the same file again changes what is said of it."""
    kind, owner = check_name(name)
    role = role_of(kind, owner)
    file, fast = measure(source, name)
    if custom.release is not None:
        custom = Custom(release=msgspec.structs.replace(custom.release, blake3=fast))
    entry = TargetFile(file.length, {"sha256": file.sha256}, name, {"custom": msgspec.to_builtins(custom)})
    read_target(entry)  # what devices would refuse is refused here
    _check_order(repository, role, name, custom.release)
    place = repository.folder / "targets" / file.path
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = place.with_name(place.name + ".new")
        shutil.copyfile(source, fresh)
        fresh.replace(place)
        sync_folder(place.parent)
    with repository.edit(role) as signed:
        assert isinstance(signed, Targets)
        signed.targets[name] = entry
    return file


def _check_order(repository: Repository, role: str, name: str, release: Release | None) -> None:
    for other in artefacts(repository, role) if release is not None else []:
        same = release is not None and other.release.name == release.name and other.release.release == release.release
        if same and other.file.name != name:
            raise UsageError(f"{name}: release {other.release.release} of {other.release.name} is {other.file.name}")


def add_code(repository: Repository, source: Path, name: str, target: Target) -> File:
    """Add what ``penstock aot --target`` has made of a published plugin. Raises UsageError, TrustError."""
    kind, owner = check_name(name)
    if name not in [one.file.name for one in artefacts(repository, role_of(kind, owner))]:
        raise UsageError(f"{name}: not published in {repository.folder}")
    file = f"{name.removesuffix('.wasm')}.{target}.so"
    return add(repository, source, file, Custom(code=Code(name, target)))


def artefacts(repository: Repository, role: str) -> list[Artefact]:
    """Every complete artefact of a role, staged ones included."""
    return [one for one in _entries(repository, role) if isinstance(one, Artefact)]


def patches(repository: Repository, role: str) -> list[Patch]:
    """Every patch of a role, staged ones included."""
    return [one for one in _entries(repository, role) if isinstance(one, Patch)]


def codes(repository: Repository, role: str) -> list[Compiled]:
    """All compiled code of a role, staged one included."""
    return [one for one in _entries(repository, role) if isinstance(one, Compiled)]


def _entries(repository: Repository, role: str) -> list[Artefact | Patch | Compiled]:
    return [read_target(entry) for entry in repository.targets(role).targets.values()]


def export_trust(repository: Repository, folder: Path, releases: dict[str, int]) -> None:
    """``root.json`` and ``floor.json`` to be built into an image: the anchor, and what an older repository must not be.

    ``releases``: by line (``image/FAMILY/NAME``) the release of the image itself; nothing older is installed over it.
    """
    roles, time_s = {}, 0
    for role in repository.roles():
        if role in ("snapshot", "timestamp"):
            continue
        signed = repository.effective(role)
        roles[role] = RoleFloor(signed.version, repository.effective_keys(role))
        time_s = max(time_s, int(signed.unrecognized_fields[SIGNED_FIELD]))
    replace_file(folder / "root.json", repository.published("root").read_bytes())
    floor = Floor(time_s, roles, releases)
    replace_file(folder / "floor.json", msgspec.json.format(msgspec.json.encode(floor)))


def measure(source: Path, name: str) -> tuple[File, str]:
    """A file's entry and its blake3. Raises UsageError."""
    try:
        with source.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            length = file.tell()
            file.seek(0)
            fast = blake3.blake3()
            while data := file.read(1 << 20):
                fast.update(data)
    except OSError as error:
        raise UsageError(f"{source}: cannot be read: {error.strerror}") from error
    return File(name, length, sha256), fast.hexdigest()
