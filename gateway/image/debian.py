"""Debian packages of another architecture: found and fetched by apt in a folder of its own, unpacked by dpkg-deb.

Nothing is installed and nothing of the build machine's own apt is touched. What was fetched once stays in the folder:
later builds work without a network, and a build takes what the folder has until it is asked to ``update``.
"""

from __future__ import annotations

import json
import os
import re
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.errors import PenstockError, UsageError
from gateway.image.tools import run

DEBIAN_ARCH = {"aarch64": "arm64", "armv7": "armhf"}
MIRROR = "http://deb.debian.org/debian"
"""Debian's own, for whoever names no other one."""
MIRROR_VARIABLE = "PENSTOCK_MIRROR"
BACKPORTS = "-backports"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_URI = re.compile(r"^'([^']+)' (\S+) (\d+)", re.MULTILINE)


def default_mirror() -> str:
    """Of PENSTOCK_MIRROR, else Debian's own."""
    return os.environ.get(MIRROR_VARIABLE) or MIRROR


@dataclass(frozen=True, slots=True)
class Source:
    """Where packages come from. ``security``: with the security updates, from ``MIRROR-security``."""

    mirror: str = field(default_factory=default_mirror)
    security: bool = True


@dataclass(frozen=True, slots=True)
class Package:
    """A package file in the cache. ``version`` as apt writes it in file names."""

    name: str
    version: str
    file: Path


class Debian:
    """One suite for one architecture. ``folder``: the cache."""

    def __init__(self, folder: Path, arch: str, suite: str, components: Sequence[str], source: Source) -> None:
        self._folder = folder.absolute()
        self._arch = DEBIAN_ARCH[arch]
        self._suite = suite
        self._components = " ".join(components)
        self._mirror = source.mirror.rstrip("/")
        self._security = source.security

    def update(self, *, always: bool = False) -> None:
        """Fetch the lists of packages, if there are none or ``always``. Raises PenstockError, UsageError."""
        for name in ("lists/partial", "archives/partial", "empty/partial"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        if not KEYRING.exists():
            raise UsageError(f"missing: {KEYRING}. Install with\n    sudo apt install debian-archive-keyring")
        sources = "".join(
            f"deb [signed-by={KEYRING}] {mirror} {suite} {self._components}\n" for mirror, suite in self._places()
        )
        known = self._folder / "sources.list"
        fresh = not known.exists() or known.read_text("utf-8") != sources
        if not fresh and not always:
            return
        (self._folder / "status").write_bytes(b"")
        (self._folder / "apt.conf").write_text(self._configuration(), "utf-8")
        known.write_text(sources, "utf-8")
        try:
            self._apt("update", "--error-on=any")
        except PenstockError as error:
            known.unlink()
            raise PenstockError(f"{error}\nTry again later, or another --mirror, or --no-security.") from error
        (self._folder / "resolved.json").unlink(missing_ok=True)

    def _places(self) -> list[tuple[str, str]]:
        """The suite, its updates and, where the mirror has its sibling, its security updates; then its backports."""
        base = self._suite.removesuffix(BACKPORTS)
        places = [(self._mirror, base), (self._mirror, f"{base}-updates")]
        if self._security and self._mirror.endswith("/debian"):
            places.append((f"{self._mirror}-security", f"{base}-security"))
        return places + ([(self._mirror, self._suite)] if self._suite != base else [])

    def fetch(self, names: Sequence[str]) -> list[Package]:
        """Exactly these packages, without what they depend on."""
        return self._fetch(names, ["download", *names])

    def fetch_all(self, names: Sequence[str], keep: Callable[[str], bool]) -> list[Package]:
        """These packages and everything that they depend on, of it what ``keep`` says of the name."""
        found = self._fetch(names, ["install", "-y", *names], keep)
        return sorted(found, key=lambda package: package.name)

    def _fetch(self, names: Sequence[str], request: Sequence[str], keep: Callable[[str], bool] = bool) -> list[Package]:
        key = " ".join(request)
        known = self._folder / "resolved.json"
        resolved = json.loads(known.read_text("utf-8")) if known.exists() else {}
        if key not in resolved:
            resolved[key] = self._resolve(names, request)
            known.write_text(json.dumps(resolved), "utf-8")
        wanted = [(uri, name) for uri, name in resolved[key] if keep(name.split("_")[0])]
        missing = [uri for uri, name in wanted if not (self._folder / "archives" / name).exists()]
        if missing:
            exact = [_exact(name) for uri, name in wanted if uri in missing]
            self._apt("download", *exact, folder=self._folder / "archives")
        return [_package(self._folder / "archives" / name) for _, name in wanted]

    def _resolve(self, names: Sequence[str], request: Sequence[str]) -> list[tuple[str, str]]:
        try:
            # With an empty cache, because apt does not tell of what it would not fetch.
            empty = f"Dir::Cache::archives={self._folder}/empty"
            output = self._apt(request[0], "-o", empty, "--print-uris", *request[1:])
        except PenstockError as error:
            raise PenstockError(f"{self._suite} for {self._arch} cannot give {', '.join(names)}: {error}") from error
        return [(uri, name) for uri, name, _ in _URI.findall(output)]

    def _apt(self, *arguments: str, folder: Path | None = None) -> str:
        return run("apt-get", *arguments, environment={"APT_CONFIG": str(self._folder / "apt.conf")}, folder=folder)

    def _configuration(self) -> str:
        at = self._folder
        # Only what is named gets its packages from backports. A release must not be named: that would put its own
        # packages before their security updates.
        preferred = f'APT::Default-Release "{self._suite}";\n' if self._suite.endswith(BACKPORTS) else ""
        return f"""\
{preferred}\
Dir::State "{at}";
Dir::State::lists "{at}/lists";
Dir::State::status "{at}/status";
Dir::Cache "{at}";
Dir::Cache::archives "{at}/archives";
Dir::Etc::sourcelist "{at}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "{self._arch}";
APT::Architectures {{ "{self._arch}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
"""


def _exact(file: str) -> str:
    """``NAME=VERSION`` of a package file's name."""
    name, version, _ = file.split("_")
    return f"{name}={urllib.parse.unquote(version)}"


def _package(file: Path) -> Package:
    name, version, _ = file.name.split("_")
    return Package(name, urllib.parse.unquote(version), file)
