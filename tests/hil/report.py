"""What the tests found out: printed at the end, and written to ``build/hil/report.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NOTE = "QEMU with pure emulation: seconds are the emulator's on this machine, not a board's"


@dataclass
class Report:
    """Figures by section; ``lines`` is what people read. A section belongs to one test."""

    file: Path
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, section: str, **figures: Any) -> None:
        """Add figures; those of a section may come in parts. Writes the file."""
        self.sections.setdefault(section, {}).update(figures)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps({"note": NOTE, **self.sections}, indent=2) + "\n", encoding="utf-8")

    def lines(self) -> list[str]:
        """One line per section."""
        return [
            f"{section:<16}" + ", ".join(f"{name.replace('_', ' ')} {_shown(value)}" for name, value in figures.items())
            for section, figures in self.sections.items()
        ]


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {_shown(one)}" for name, one in value.items()) + ")"
    return str(value)
