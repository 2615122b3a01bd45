"""The root file system: Debian packages, Python packages, plugins, and what makes a gateway of them."""

from __future__ import annotations

import json
import re
import stat
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway import __version__
from gateway.errors import PenstockError, UsageError
from gateway.image.debian import Debian, Package
from gateway.image.disk import partitions
from gateway.image.kernel import Kernel, add_modules
from gateway.image.recipe import Recipe
from gateway.image.tools import epoch_s, run
from gateway.image.tree import Node, Tree
from gateway.image.wheels import PYTHON
from ota.boot.block import SLOTS

FILES = Path(__file__).resolve().parent / "files"
SITE = f"usr/lib/python{PYTHON}/dist-packages"
SHARE = "usr/share/penstock"
FIRMWARE = "/boot/firmware"
"""Where the boot partition is mounted: for good when the update agent must write to it, else for provisioning."""
BASE = ("libc6", "python3.11", "busybox-static", "e2fsprogs", "ca-certificates", "base-files", "netbase")
FULL = (
    "systemd", "systemd-sysv", "systemd-resolved", "systemd-timesyncd", "udev", "dbus", "kmod", "util-linux", "mount",
    "iproute2", "procps",
)  # fmt: skip
# Needed only to install packages, or by programs that are not used; busybox has what scripts need of it.
NOT_MINIMAL = re.compile(
    "adduser|base-files|coreutils|cpio|debconf|debianutils|dpkg|gpgv|init-system-helpers|initramfs.*|klibc.*|kmod|"
    "libacl1|libattr1|libaudit.*|libcap.*|libdb5.3|libdebconf.*|libgmp10|libgssapi.*|libk5.*|libkeyutils1|libklibc|"
    "libkmod2|libkrb5.*|libmd0|libncursesw6|libnsl2|libpam.*|libpcre2.*|libreadline8|libselinux1|libsem.*|"
    "libsepol2|libsystemd0|libtinfo6|libtirpc.*|libudev1|linux-.*|logsave|mawk|media-types|openssl|passwd|perl.*|"
    "readline-common|sysvinit.*|tar|ucf|udev|libcrypt1|libip4tc.*"
)
NOT_FULL = re.compile("adduser|cpio|debconf|dpkg|initramfs.*|klibc.*|libklibc|linux-.*|perl.*|tar|ucf|libdebconf.*")
LEFT_OUT = (
    "usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian", "usr/share/bug",
    "usr/share/bash-completion", "usr/share/zsh", "usr/share/applications", "usr/share/pixmaps", "usr/share/menu",
    "usr/share/base-files", "usr/share/polkit-1", "usr/share/initramfs-tools", "usr/share/python3", "usr/include",
    "usr/lib/*/gconv", "usr/lib/*/perl*", "usr/share/perl*", "usr/share/common-licenses", "etc/cron*",
    "etc/init.d", "etc/rc?.d", "etc/update-motd.d", "var", "usr/lib/python3/dist-packages",
    *(f"usr/lib/python{PYTHON}/{name}" for name in (
        "test", "idlelib", "tkinter", "lib2to3", "ensurepip", "distutils", "turtledemo", "pydoc_data", "unittest",
        "turtle.py", "EXTERNALLY-MANAGED", "config-*", "dbm", "curses", "venv", "doctest.py",
        "__phello__", "sitecustomize.py")),
)  # fmt: skip
ACCOUNTS = (
    # name, uid, home, shell
    ("root", 0, "/root", "/bin/sh"),
    ("penstock", 990, "/var/lib/penstock", "/usr/sbin/nologin"),
    ("systemd-network", 991, "/", "/usr/sbin/nologin"),
    ("systemd-timesync", 992, "/", "/usr/sbin/nologin"),
    ("systemd-resolve", 995, "/", "/usr/sbin/nologin"),
    ("messagebus", 993, "/", "/usr/sbin/nologin"),
    ("nobody", 65534, "/", "/usr/sbin/nologin"),
)
GROUPS = {
    "root": 0, "daemon": 1, "adm": 4, "tty": 5, "disk": 6, "dialout": 20, "cdrom": 24, "audio": 29, "video": 44,
    "plugdev": 46, "systemd-journal": 101, "input": 102, "kvm": 103, "render": 104, "sgx": 105, "kmem": 15, "lp": 7,
    "tape": 26, "utmp": 43, "users": 100, "penstock": 990, "systemd-network": 991, "systemd-timesync": 992,
    "systemd-resolve": 995,
    "messagebus": 993, "gpio": 994, "nogroup": 65534,
}  # fmt: skip
MEMBERS = {"dialout": "penstock", "gpio": "penstock"}


@dataclass(frozen=True, slots=True)
class Parts:
    """What a root file system is made of. ``plugins``: path below usr/share/penstock → bytes; ``trust``: a
    folder with root.json and floor.json, or None; ``release``: number of the image."""

    recipe: Recipe
    flavour: str
    kernel: Kernel
    wheels: Sequence[Path]
    plugins: Mapping[str, bytes]
    trust: Path | None
    release: int


def packages(recipe: Recipe, flavour: str, debian: Debian) -> list[Package]:
    """The Debian packages of a root file system."""
    minimal = flavour == "minimal"
    names = [*BASE, *(() if minimal else FULL), *recipe.image.packages]
    left_out = NOT_MINIMAL if minimal else NOT_FULL
    asked = set(recipe.image.packages)
    return debian.fetch_all(names, lambda name: name in asked or left_out.fullmatch(name) is None)


def make_root(parts: Parts, found: Sequence[Package]) -> Tree:
    """All of it, as a tree."""
    tree = Tree()
    for package in found:
        tree.add_deb(package.file)
    tree.remove(LEFT_OUT)
    for wheel in parts.wheels:
        tree.add_wheel(wheel, SITE)
    tree.remove([f"{SITE}/*/tests", f"{SITE}/securesystemslib/_vendor/test*"])
    image = parts.recipe.image
    add_modules(tree, parts.kernel, [*image.early, *image.modules])
    _system(tree, parts)
    _penstock(tree, parts, found)
    precompile(tree)
    return tree


def _system(tree: Tree, parts: Parts) -> None:
    """Accounts, mount points, the first program."""
    tree.add_folder(FILES / "shared")
    passwd = "".join(
        f"{name}:x:{uid}:{GROUPS.get(name, 65534)}::{home}:{shell}\n" for name, uid, home, shell in ACCOUNTS
    )
    tree.file("etc/passwd", passwd)
    groups = "".join(f"{name}:x:{gid}:{MEMBERS.get(name, '')}\n" for name, gid in sorted(GROUPS.items()))
    tree.file("etc/group", groups)
    tree.file("etc/shadow", "".join(f"{one[0]}:!:19000::::::\n" for one in ACCOUNTS), 0o600)
    tree.file("etc/hostname", "penstock\n")
    tree.file("etc/hosts", "127.0.0.1\tlocalhost penstock\n::1\tlocalhost\n")
    tree.file("etc/machine-id", "uninitialized\n" if parts.flavour == "full" else "")
    tree.file("etc/ssl/certs/ca-certificates.crt", _authorities(tree))
    for name in ("boot/firmware", "boot/slot", "data", "dev", "media", "proc", "root", "run", "sys", "tmp", "var/lib"):
        tree.folder(name)
    tree.folder("tmp", 0o1777)
    tree.link("var/lib/penstock", "/data/state")
    tree.link("var/log", "/data/log")
    tree.link("var/run", "/run")
    tree.link("var/tmp", "/tmp")
    tree.link("etc/mtab", "/proc/self/mounts")
    tree.link("etc/localtime", "/usr/share/zoneinfo/UTC")
    tree.link("usr/bin/python3", f"python{PYTHON}")
    tree.add_folder(FILES / parts.flavour)
    _busybox_links(tree)
    if parts.flavour == "minimal":
        tree.link("etc/resolv.conf", "/run/resolv.conf")
        tree.file("etc/inittab", _inittab(parts.recipe))
        tree.link("usr/sbin/init", "../bin/busybox")
    else:
        tree.link("etc/resolv.conf", "/run/systemd/resolve/resolv.conf")
        _systemd(tree, parts)


def _systemd(tree: Tree, parts: Parts) -> None:
    """What the packages' scripts would do at their installation: enable units; and what the board is."""
    units = "usr/lib/systemd/system"
    own = [path.name for path in (FILES / "full" / units).iterdir() if "@" not in path.name]
    for name in (*own, "systemd-networkd.service", "systemd-resolved.service", "systemd-timesyncd.service"):
        text = tree.read(f"{units}/{name}").decode()
        for target in re.findall(r"^WantedBy=(\S+)", text, re.MULTILINE):
            tree.link(f"etc/systemd/system/{target}.wants/{name}", f"/{units}/{name}")
    tree.link("etc/systemd/system/default.target", f"/{units}/multi-user.target")
    for name in (
        "serial-getty@.service",
        "getty@.service",
        "systemd-networkd-wait-online.service",
        "systemd-logind.service",
    ):
        tree.link(f"etc/systemd/system/{name}", "/dev/null")  # there is no account that could log in
    for name in ("root/.ssh", "srv", "var/cache", "var/lib/dbus", "var/lib/private", "var/lib/systemd", "var/spool"):
        tree.folder(name)
    tree.link("var/lock", "/run/lock")
    tree.file("etc/modules-load.d/penstock.conf", "".join(f"{name}\n" for name in parts.recipe.image.modules))
    dog = parts.recipe.watchdog
    if dog is not None:
        text = f"[Manager]\nRuntimeWatchdogSec={dog.timeout_s}\nWatchdogDevice={dog.device}\n"
        tree.file("etc/systemd/system.conf.d/watchdog.conf", text)


def _inittab(recipe: Recipe) -> bytes:
    text = (FILES / "minimal" / "etc" / "inittab").read_text("utf-8")
    return text.replace("@CONSOLE@", recipe.tty).encode()


APPLETS = (
    "[ ash awk basename cat chgrp chmod chown clear cmp cp cut date dd df dirname dmesg du echo env expr false "
    "find getty grep gunzip gzip halt head hexdump hostname hwclock id ifconfig init insmod ip kill killall "
    "less ln login losetup ls lsmod md5sum mdev mkdir mkfifo mknod mktemp modprobe more mount mv nc "
    "netstat nslookup od passwd pidof ping poweroff printf ps pwd readlink realpath reboot reset rm rmdir "
    "rmmod route sed seq setsid sh sha256sum sleep sort stat stty su sync sysctl tail tar tee test time timeout "
    "top touch tr true tty udhcpc umount uname uniq uptime usleep vi watch wc wget which xargs zcat"
).split()


def _busybox_links(tree: Tree) -> None:
    program = tree.read("usr/bin/busybox")
    missing = [name for name in APPLETS if f"\0{name}\0".encode() not in program]
    if missing:
        raise PenstockError(f"Debian's busybox has no {', '.join(missing)}; start scripts need what APPLETS names")
    for name in APPLETS:
        if f"usr/bin/{name}" not in tree.nodes and f"usr/sbin/{name}" not in tree.nodes:
            tree.link(f"usr/bin/{name}", "busybox")


def _authorities(tree: Tree) -> bytes:
    """The bundle that ``update-ca-certificates`` would make."""
    return b"".join(tree.read(path) for path in tree.glob("usr/share/ca-certificates/mozilla/*.crt"))


def _penstock(tree: Tree, parts: Parts, found: Sequence[Package]) -> None:
    """The gateway's own: commands, plugins, board file, trust anchor, and what the image is."""
    for name, module in (("penstock", "gateway.app.cli"), ("penstock-ota", "ota.app.cli")):
        # -S: what the module site looks for costs half of Python's start, and an image has one folder of packages.
        path = f"import sys\nsys.path.insert(0, '/{SITE}')\n"
        script = f"#!/usr/bin/python3 -IS\n{path}from {module} import main\nraise SystemExit(main())\n"
        tree.file(f"usr/bin/{name}", script, 0o755)
    for path, data in sorted(parts.plugins.items()):
        tree.file(f"{SHARE}/{path}", data)
    board = parts.recipe.board
    tree.file(f"{SHARE}/board.toml", Path(board.file).read_bytes())
    tree.file("etc/penstock/image.env", settings_text(parts))
    tree.file("etc/penstock/ota-image.toml", ota_settings(parts))
    tree.folder(f"{SHARE}/trust")
    if parts.trust is not None:
        tree.add_folder(parts.trust, f"{SHARE}/trust")
    about = {
        "board": board.name,
        "flavour": parts.flavour,
        "release": parts.release,
        "version": __version__,
        "kernel": parts.kernel.version,
        "time_s": epoch_s(),
        "packages": {package.name: package.version for package in found},
        "python": [wheel.name for wheel in parts.wheels],
    }
    tree.file(f"{SHARE}/image.json", json.dumps(about, indent=1, sort_keys=True) + "\n")


def settings_text(parts: Parts) -> str:
    """What the start scripts need to know, as shell variables."""
    recipe = parts.recipe
    board, dog = recipe.board, recipe.watchdog
    values = {
        "board": board.name,
        "console": recipe.tty,
        "image_time": str(max(epoch_s(), _floor_s(parts.trust))),
        "led": board.leds["status"].device if "status" in board.leds else "",
        "firmware": FIRMWARE if recipe.boot.loader == "tryboot" else "",
        "watchdog": dog.device if dog else "",
        "watchdog_s": str(dog.timeout_s) if dog else "",
        "modules": " ".join(recipe.image.modules),
    }
    return "".join(f"{name}='{value}'\n" for name, value in values.items())


def _floor_s(trust: Path | None) -> int:
    """The time before which the update agent believes nothing: the clock starts no earlier. 0 without an anchor."""
    if trust is None:
        return 0
    file = trust / "floor.json"
    try:
        return int(json.loads(file.read_bytes())["time_s"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file}: not a floor file: {error}; penstock-ota repo trust makes it") from error


def ota_settings(parts: Parts) -> str:
    """The agent's settings that belong to the image; provisioning adds the rest."""
    return f"""\
[image]
line = "{line_of(parts.recipe)}"
slot_a = "/dev/penstock/slot-a"
slot_b = "/dev/penstock/slot-b"

[boot]
state = "/dev/penstock/state"
{_loader_settings(parts.recipe)}
[paths]
trust = "/usr/share/penstock/trust"
state = "/var/lib/penstock/ota"
"""


def _loader_settings(recipe: Recipe) -> str:
    """Which boot loader it is, and what the agent needs to know of it."""
    if recipe.boot.loader == "uboot":
        return 'kind = "raw"\n'
    numbers = {slot: partitions(recipe.storage)[f"slot-{slot}"].number for slot in SLOTS}
    slots = "".join(f"partition_{slot} = {number}\n" for slot, number in numbers.items())
    return f'kind = "tryboot"\nfirmware = "{FIRMWARE}"\n{slots}'


def line_of(recipe: Recipe) -> str:
    """What releases of a board's image are counted within."""
    return f"image/{recipe.name}/penstock"


def precompile(tree: Tree) -> None:
    """Byte code for every module, so that a read-only system starts fast."""
    roots = (f"usr/lib/python{PYTHON}/",)

    def is_source(path: str) -> bool:
        return path.endswith(".py") and path.startswith(roots)

    with tempfile.TemporaryDirectory(prefix="penstock-pyc-") as folder:
        tree.write_folder(Path(folder), is_source)
        command = ["-I", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash", "-s", folder]
        run(sys.executable, *command, "-p", "/", Path(folder) / roots[0])
        for path in sorted(Path(folder).rglob("*.pyc")):
            tree.put(path.relative_to(folder).as_posix(), Node(stat.S_IFREG | 0o644, path.read_bytes()))
