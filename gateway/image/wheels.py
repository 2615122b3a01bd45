"""Python packages for boards: this project cross-compiled, what it needs as published wheels.

What nobody publishes for a board's architecture is cross-compiled from its source as well.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import os
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import PenstockError, UsageError
from gateway.image.debian import MIRROR_VARIABLE, Debian, Source, default_mirror
from gateway.image.tools import epoch_s, require, run
from gateway.image.tree import Tree

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHON = "3.11"
"""Of Debian bookworm: the build machine's Python must be the same, because it compiles for the board's."""


@dataclass(frozen=True, slots=True)
class Target:
    """``triplet``: of Debian; ``machine``: in the names of wheels; ``flags``: for the C compiler."""

    triplet: str
    machine: str
    flags: str = ""

    @property
    def compiler(self) -> str:
        return f"{self.triplet}-gcc"


TARGETS = {
    "aarch64": Target("aarch64-linux-gnu", "aarch64"),
    "armv7": Target("arm-linux-gnueabihf", "armv7l", "-march=armv7-a -mfpu=vfpv3-d16 -mfloat-abi=hard"),
}
# glibc versions in the names of wheels, newest first; bookworm has 2.36.
GLIBC = (36, 35, 34, 31, 28, 24, 17)
FROM_SOURCE = {"armv7": ("cffi", "msgspec")}
HEADERS = ("libpython3.11-dev", "libpython3.11-stdlib", "libpython3.11-minimal", "libffi-dev", "libffi8")
# What this project's wheel is made of, and what is made from it.
SOURCES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "gateway", "ota", "runtime_c")
MADE = ("__pycache__", "build", "_runtime.c", "*.so", "*.o", "*.pyc")
NOT_ON_BOARDS = {"pycparser"}  # only for reading C declarations, which was done when the extension was made


def check_python() -> None:
    """Raise UsageError when this Python cannot build for the boards' one."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if here != PYTHON or sys.implementation.name != "cpython":
        raise UsageError(
            f"this is Python {here}, the boards have {PYTHON}: make with PYTHON=python{PYTHON} after make clean"
        )


def requirements() -> list[str]:
    """What a board needs, ``NAME==VERSION`` as in requirements.lock."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = {re.split(r"[^A-Za-z0-9-]", need)[0] for need in project["dependencies"]} | {"urllib3"}
    pins = [line for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines() if "==" in line]
    return [pin for pin in pins if pin.partition("==")[0] in names - NOT_ON_BOARDS]


class Wheels:
    """Wheels of one architecture. ``cache``: where they are kept; ``tell``: takes a line per step."""

    def __init__(self, cache: Path, arch: str, mirror: str, tell: Callable[[str], None]) -> None:
        self._folder = cache.absolute() / "wheels"
        self._arch = arch
        self._target = TARGETS[arch]
        # Headers only, none of which gets into an image: no need for security updates.
        source = Source(mirror, security=False)
        self._debian = Debian(cache / "headers", arch, "bookworm", ("main",), source)
        self._tell = tell

    def needed(self) -> list[Path]:
        """The wheels of ``requirements``, fetched or compiled once."""
        self._folder.mkdir(parents=True, exist_ok=True)
        built = FROM_SOURCE.get(self._arch, ())
        for pin in requirements():
            name = pin.partition("==")[0]
            if self._kept(pin) is None:
                self._tell(f"{pin} for {self._arch}{', from source' if name in built else ''}")
                self._build(self._source(pin)) if name in built else self._download(pin)
        found = {pin: self._kept(pin) for pin in requirements()}
        missing = [pin for pin, wheel in found.items() if wheel is None]
        if missing:
            raise PenstockError(f"no wheel for {self._arch} of {', '.join(missing)}")
        return [wheel for wheel in found.values() if wheel is not None]

    def own(self) -> Path:
        """This project for the architecture; made anew when a source file has changed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        known, digest = self._folder / "penstock.sources", self._digest()
        found = sorted(self._folder.glob("penstock-*.whl"))
        if found and known.exists() and known.read_text("utf-8") == digest:
            return found[0]
        for old in found:
            old.unlink()
        made = self._compile()
        known.write_text(digest, "utf-8")
        return made

    def _digest(self) -> str:
        """Hash of what the wheel is made of."""
        digest = hashlib.sha256(repr((self._target, epoch_s())).encode())
        files = [path for name in SOURCES for path in [ROOT / name, *sorted((ROOT / name).rglob("*"))]]
        for path in files:
            if path.is_file() and not any(fnmatch.fnmatch(part, one) for one in MADE for part in path.parts):
                digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
        return digest.hexdigest()

    def _compile(self) -> Path:
        with tempfile.TemporaryDirectory(prefix="penstock-wheel-") as folder:
            source = Path(folder) / "source"
            made = (".so", ".o", ".pyc", ".c~")
            shutil.copytree(ROOT / "gateway", source / "gateway", ignore=shutil.ignore_patterns(
                "__pycache__", "_runtime.c", *(f"*{end}" for end in made)))  # fmt: skip
            shutil.copytree(ROOT / "ota", source / "ota", ignore=shutil.ignore_patterns("__pycache__"))
            shutil.copytree(ROOT / "runtime_c", source / "runtime_c", ignore=shutil.ignore_patterns("build", "*.o"))
            for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
                shutil.copy2(ROOT / name, source / name)
            return self._build(source)

    def _kept(self, pin: str) -> Path | None:
        name, _, version = pin.partition("==")
        found = sorted(self._folder.glob(f"{name.replace('-', '_')}-{version}-*.whl"))
        return found[0] if found else None

    def _download(self, pin: str) -> None:
        machine = self._target.machine
        platforms = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC] + [f"manylinux2014_{machine}"]
        kinds = [f"--platform={platform}" for platform in platforms] + ["--abi=cp311", "--abi=abi3", "--abi=none"]
        python = ["--only-binary=:all:", f"--python-version={PYTHON}", "--implementation=cp"]
        run(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", self._folder, *python, *kinds, pin)

    def _source(self, pin: str) -> Path:
        """An unpacked source distribution."""
        folder = self._folder / "source"
        if not list(folder.glob(f"{pin.replace('==', '-')}.tar.gz")):
            run(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary=:all:", "-d", folder, pin)
        (archive,) = folder.glob(f"{pin.replace('==', '-')}.tar.gz")
        shutil.unpack_archive(archive, folder, filter="data")
        source = folder / pin.replace("==", "-")
        project = source / "pyproject.toml"
        # A version that a tool would ask git for: there is no git here, and the version is known.
        version = f'version = "{pin.partition("==")[2]}"'
        text = re.sub(r'^dynamic = \[\s*"version",?\s*\]', version, project.read_text("utf-8"), flags=re.MULTILINE)
        project.write_text(text, "utf-8")
        return source

    def _build(self, source: Path) -> Path:
        """Cross-compile a source folder to a wheel. Raises UsageError, PenstockError."""
        check_python()
        require([self._target.compiler])
        environment = self._environment(self._headers())
        with tempfile.TemporaryDirectory(prefix="penstock-wheel-") as out:
            command = ["-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-cache-dir", "-w", out]
            run(sys.executable, *command, source, environment=environment, folder=source)
            (made,) = Path(out).glob("*.whl")
            if self._target.machine not in made.name:
                raise PenstockError(f"{made.name} is not for {self._target.machine}: it was not cross-compiled")
            return Path(shutil.move(made, self._folder / made.name))

    def _headers(self) -> Path:
        """Python's and libffi's headers and libraries for the architecture."""
        folder = self._folder / "sysroot"
        if not (folder / "usr").exists():
            self._debian.update()
            tree = Tree()
            for package in self._debian.fetch(HEADERS):
                tree.add_deb(package.file, _is_for_compilers)
            tree.write_folder(folder)
            lib = folder / "usr/lib" / self._target.triplet
            for one in [*lib.glob("libffi.so.*.*.*")]:
                shutil.copy2(one, lib / "libffi.so")
        return folder

    def _environment(self, headers: Path) -> dict[str, str]:
        """What makes setuptools compile for another machine: that machine's own build settings."""
        triplet = self._target.triplet
        gcc, python = f"{self._target.compiler} {self._target.flags}".strip(), f"python{PYTHON}"
        include = f"-I{headers}/usr/include/{python} -I{headers}/usr/include -I{headers}/usr/include/{triplet}"
        data = headers / "sysconfig"
        data.mkdir(exist_ok=True)
        name = f"_sysconfigdata__{triplet}"
        shutil.copy2(headers / f"usr/lib/{python}/{name}.py", data)
        return {
            "CC": gcc,
            "LDSHARED": f"{gcc} -shared -L{headers}/usr/lib/{triplet}",
            "CFLAGS": f"-O2 -g1 {include} -ffile-prefix-map={headers}=.",
            "LDFLAGS": "-Wl,--build-id=none -s",
            "AR": f"{triplet}-ar",
            "PYTHONPATH": str(data),
            "_PYTHON_SYSCONFIGDATA_NAME": name,
            "_PYTHON_HOST_PLATFORM": f"linux-{self._target.machine}",
            "PKG_CONFIG": "false",
        }


def _is_for_compilers(path: str) -> bool:
    return path.startswith("usr/include/") or "/libffi.so" in path or "/_sysconfigdata__" in path


def main() -> int:
    """``make wheels``: a wheel of this project for each architecture."""
    parser = argparse.ArgumentParser(prog="make wheels", description=main.__doc__)
    parser.add_argument("arch", nargs="*", default=list(TARGETS), help="aarch64, armv7 (default: all)")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "image", metavar="DIR")
    text = f"Debian archive; default: %(default)s ({MIRROR_VARIABLE} is another way to say it)"
    parser.add_argument("--mirror", default=default_mirror(), metavar="URL", help=text)
    options = parser.parse_args()
    try:
        check_python()
        require([TARGETS[arch].compiler for arch in options.arch] + ["apt-get", "dpkg-deb"])
        for arch in options.arch:
            print(Wheels(options.cache / arch, arch, options.mirror, print).own())
    except PenstockError as error:
        print(f"wheels: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


if __name__ == "__main__":
    os.umask(0o022)
    raise SystemExit(main())
