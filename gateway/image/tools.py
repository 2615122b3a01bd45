"""The programs that make images, and the Debian package of each."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from gateway.errors import PenstockError, UsageError

PACKAGES = {
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "depmod": "kmod",
    "mcopy": "mtools",
    "mke2fs": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "mkimage": "u-boot-tools",
    "mmd": "mtools",
    "sfdisk": "fdisk",
    "mksquashfs": "squashfs-tools",
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
    "arm-linux-gnueabihf-gcc": "gcc-arm-linux-gnueabihf libc6-dev-armhf-cross",
}
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"  # not on everybody's path
EPOCH_S = 1_700_000_000
"""The time of every file in an image, when SOURCE_DATE_EPOCH does not say another one."""


def epoch_s() -> int:
    """Unix time in seconds that images are stamped with. Raises UsageError."""
    text = os.environ.get("SOURCE_DATE_EPOCH", str(EPOCH_S))
    if not text.isdecimal() or not 315_532_800 <= int(text) < 1 << 32:
        raise UsageError(f"SOURCE_DATE_EPOCH: found {text!r}, allowed: Unix seconds from 1980 on")
    return int(text)


def require(tools: Iterable[str]) -> None:
    """Raise UsageError that names the packages of every tool that is missing."""
    missing = [tool for tool in tools if shutil.which(tool, path=PATH) is None]
    if missing:
        packages = sorted({package for tool in missing for package in PACKAGES[tool].split()})
        raise UsageError(f"missing: {', '.join(missing)}. Install with\n    sudo apt install {' '.join(packages)}")


def run(
    *command: str | Path,
    text: str | None = None,
    stdin: IO[bytes] | None = None,
    environment: Mapping[str, str] = {},
    folder: Path | None = None,
) -> str:
    """Run a tool in a plain environment; returns what it prints. Raises PenstockError with what it said."""
    tool = shutil.which(str(command[0]), path=PATH)
    if tool is None:
        require([str(command[0])])
        raise UsageError(f"{command[0]}: there is no such program")
    plain = {"PATH": PATH, "LC_ALL": "C", "TZ": "UTC", "SOURCE_DATE_EPOCH": str(epoch_s()), "PYTHONHASHSEED": "0"}
    passed = {name: os.environ[name] for name in ("HOME", "TMPDIR") if name in os.environ}
    passed |= {name: value for name, value in os.environ.items() if "proxy" in name.lower() or name.startswith("PIP_")}
    process = subprocess.Popen(
        [tool, *map(str, command[1:])],
        stdin=subprocess.PIPE if text is not None else stdin or subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={**plain, **passed, **environment},
    )
    with process:
        out, complaints = process.communicate(None if text is None else text.encode())
    output = out.decode("utf-8", "replace")
    if process.returncode != 0:
        said = (complaints.decode("utf-8", "replace") + output).strip()
        raise PenstockError(f"{command[0]} failed with status {process.returncode}:\n{said[-4000:]}")
    return output
