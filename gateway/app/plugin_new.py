"""``penstock plugin new``: a folder that builds, passes its vectors and runs, to be changed from there."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.config.manifest import C_WORDS, NAME
from gateway.errors import UsageError

TEMPLATES = Path(__file__).with_name("templates")
PLACEHOLDER = "@NAME@"


def languages() -> tuple[str, ...]:
    """The languages there are templates for."""
    return tuple(sorted(path.name for path in TEMPLATES.iterdir() if path.is_dir()))


def new(name: str, language: str, folder: Path) -> tuple[Path, ...]:
    """Make ``folder``/``name``; returns its files. Raises UsageError when the name is wrong or taken."""
    if not NAME.fullmatch(name) or name in C_WORDS:
        raise UsageError(f'found "{name}", allowed: a name like {NAME.pattern} that is no word of C')
    home = folder / name
    if home.exists():
        raise UsageError(f"{home} is there already; choose another name, or remove it")
    source = TEMPLATES / language
    made = []
    for template in sorted(path for path in source.rglob("*") if path.is_file()):
        path = home / str(template.relative_to(source)).replace(PLACEHOLDER, name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(re.sub(PLACEHOLDER, name, template.read_text("utf-8")), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{path}: cannot be written: {error.strerror}") from None
        made.append(path)
    return tuple(made)
