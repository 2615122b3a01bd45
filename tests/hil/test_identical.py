"""The same packages and sources give the same bytes, whoever builds and wherever to."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.hil import image
from tests.hil.conftest import READY


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_a_second_build_gives_the_same_bytes(root: Path, built: image.Built, tmp_path: Path) -> None:
    first = image.build(root, tmp_path / "first") if READY else built  # what was given may be of other sources
    again = image.build(root, tmp_path / "again")
    assert digest(again.slot) == digest(first.slot)
    assert digest(again.disk) == digest(first.disk)
