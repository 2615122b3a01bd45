"""Make a patch between two artefacts and publish it."""

from __future__ import annotations

from pathlib import Path

from ota.delta.make import SHARE_MAX, compressed_length, describe, make_patch, pieces_of
from ota.errors import UsageError
from ota.repo.publish import add, artefacts, codes, measure
from ota.repo.repository import Repository
from ota.trust.model import Custom, File, Source, check_name, role_of

EMPTY = Source(0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


def add_patch(
    repository: Repository, name: str, source: Path | None, compression: str, scratch: Path
) -> tuple[File, float]:
    """The patch's entry and its size in percent of the artefact. Without a source it is the compressed artefact.

    Raises UsageError; also for a patch of more than 60 % of the compressed artefact, which devices would not use.
    """
    kind, owner = check_name(name)
    role = role_of(kind, owner)
    files = [one.file for one in artefacts(repository, role)] + [one.file for one in codes(repository, role)]
    found = [file for file in files if file.name == name]
    if not found:
        raise UsageError(f"{name}: not published in {repository.folder}")
    to = found[0]
    full = repository.folder / "targets" / to.path
    start = EMPTY
    if source is not None:
        file, _ = measure(source, name)
        start = Source(file.length, file.sha256)
    describe(start, to, compression)  # refuses what it does not know before the long work
    path = scratch / "patch"
    make_patch(source, full, path, compression)
    length = path.stat().st_size
    if source is not None and length * 100 > SHARE_MAX * compressed_length(full):
        raise UsageError(f"{source} -> {name}: the patch has {length} bytes, over {SHARE_MAX} % of the compressed file")
    delta = describe(start, to, compression, pieces_of(path))
    patch_name = f"{kind}/{owner}/{start.sha256[:16]}-{to.sha256[:16]}.{compression}"
    return add(repository, path, patch_name, Custom(delta=delta)), 100 * length / to.length
