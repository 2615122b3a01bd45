"""Pack a bundle: one owner's metadata, vouched for by the bundle role, its newest releases and the patches to them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from tuf.api.metadata import TargetFile, Targets

from ota.errors import UsageError
from ota.repo.publish import artefacts, codes, patches
from ota.repo.repository import Repository
from ota.trust.model import BUNDLE_ROLE, File


def create_bundle(repository: Repository, role: str, out: Path, *, with_patches: bool) -> list[str]:
    """Write the tar file; returns the names of the targets in it. Raises UsageError, also without the bundle key."""
    newest: dict[str, tuple[int, File]] = {}
    for artefact in artefacts(repository, role):
        newest[artefact.line] = max(
            newest.get(artefact.line, (0, artefact.file)),
            (artefact.release.release, artefact.file),
            key=lambda entry: entry[0],
        )
    files = [file for _, file in newest.values()]
    plugins = {file.name for file in files}
    files += [one.file for one in codes(repository, role) if one.code.of in plugins]
    names = {file.name for file in files}
    if with_patches:
        files += [patch.file for patch in patches(repository, role) if patch.delta.to in names]
    vouched = {name: repository.published(name).read_bytes() for name in ("targets", role)}
    with repository.edit(BUNDLE_ROLE) as signed:
        assert isinstance(signed, Targets)
        signed.targets.clear()
        for name, data in vouched.items():
            path = f"{BUNDLE_ROLE}/{name}.json"
            signed.targets[path] = TargetFile.from_data(path, data, ["sha256"])
    if waiting := [line for line in repository.finish() if line.startswith(f"{BUNDLE_ROLE}:")]:
        raise UsageError(waiting[0])
    vouched[BUNDLE_ROLE] = repository.published(BUNDLE_ROLE).read_bytes()
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
        for root in sorted(repository.metadata.glob("*.root.json")):
            _member(tar, f"metadata/{root.name}", root.read_bytes())
        for name, data in vouched.items():
            _member(tar, f"metadata/{name}.json", data)
        for file in files:
            tar.add(repository.folder / "targets" / file.path, f"targets/{file.path}")
    return [file.name for file in files]


def _member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))
