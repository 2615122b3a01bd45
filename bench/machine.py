"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from typing import Any


def facts() -> dict[str, Any]:
    """Processor, kernel and tools, as a reader needs them to judge the numbers."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cc": _first_line("cc", "--version"),
    }


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model"):
                return value.strip()
    return "unknown"


def _first_line(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return "none"
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
