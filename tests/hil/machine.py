"""The board ``virt`` in QEMU with Debian's U-Boot: power, console, second serial port, network, recorded writes.

Pure emulation: a time measured here is the emulator's, not a board's. QEMU dies with the process that started it.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ota.clock import Cancel, Clock
from tests.hil.console import Console

FIRMWARE = Path("/usr/lib/u-boot/qemu_arm64/u-boot.bin")
HOST = "10.0.2.2"  # what the guest calls the host's loopback
QUIT_SECONDS_MAX = 60
UBOOT_SECONDS_MAX = 60
KERNEL_TAKEN = r"^penstock: slot ([ab])$"
NO_SLOT = r"^penstock: no slot boots$"


@dataclass(frozen=True, slots=True)
class Hardware:
    """``bus``: pseudo-terminal on the host that the second serial port is wired to, empty for nothing.

    ``log``: file that gets a record of every write to the disk, None for none. ``resume``: a frozen machine to go on
    with; the disk must be the one it had then.
    """

    disk: Path
    memory_mib: int = 256
    bus: str = ""
    log: Path | None = None
    resume: Path | None = None


class Machine:
    """A machine that is powered on in a ``with`` block. ``folder`` gets ``console.log`` and QEMU's own messages."""

    def __init__(self, folder: Path, hardware: Hardware) -> None:
        self.hardware = hardware
        self._folder = folder
        self._monitor_path = folder / "monitor"
        self._monitor: socket.socket | None = None
        self._events: list[str] = []

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._monitor_path.unlink(missing_ok=True)
        errors = (self._folder / "qemu.log").open("ab")
        with errors:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "qemu-system-aarch64", *self._arguments()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        self.console = Console(self._process.stdout, self._process.stdin, self._folder / "console.log")
        if self.hardware.resume is not None:
            self._resume()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _arguments(self) -> list[str]:
        hardware = self.hardware
        arguments = ["-M", "virt", "-cpu", "cortex-a53", "-m", str(hardware.memory_mib), "-display", "none"]
        arguments += ["-bios", str(FIRMWARE), "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]
        arguments += ["-qmp", f"unix:{self._monitor_path},server=on,wait=off", "-nodefaults"]
        arguments += ["-blockdev", f"driver=file,node-name=file,filename={hardware.disk}"]
        arguments += ["-blockdev", "driver=raw,node-name=disk,file=file"]
        if hardware.log is not None:
            hardware.log.write_bytes(b"")
            arguments += ["-blockdev", f"driver=file,node-name=logfile,filename={hardware.log}"]
            arguments += ["-blockdev", "driver=blklogwrites,node-name=logged,file=disk,log=logfile,log-sector-size=512"]
        node = "disk" if hardware.log is None else "logged"
        arguments += ["-device", f"virtio-blk-pci,drive={node},addr=4"]
        arguments += ["-device", "i6300esb,addr=7"]  # the board's watchdog
        arguments += ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=,addr=5"]
        bus = f"serial,id=bus,path={hardware.bus}" if hardware.bus else "null,id=bus"
        arguments += ["-chardev", bus, "-device", "pci-serial,chardev=bus,addr=6"]
        if hardware.resume is not None:
            arguments += ["-incoming", f"exec:cat {hardware.resume}"]
        return arguments

    # ---- power ----

    def kill(self) -> None:
        """Cut the power: SIGKILL."""
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None
        self._process.kill()
        self._process.wait()

    def skip_bootdelay(self, within_s: float = UBOOT_SECONDS_MAX) -> None:
        """Wait for U-Boot, interrupt its two seconds and boot at once."""
        self.console.expect("Hit any key to stop autoboot", within_s)
        self.console.send("")
        self.console.expect("=> ", UBOOT_SECONDS_MAX)
        self.console.send("boot")

    def picked(self) -> str | None:
        """The slot that the boot script takes; None: it found none that boots."""
        found = self.console.expect(f"{KERNEL_TAKEN}|{NO_SLOT}", UBOOT_SECONDS_MAX)
        slot: str | None = found[1]
        return slot

    # ---- monitor ----

    def ask(self, command: str, arguments: Mapping[str, object] | None = None) -> Any:
        """A QMP command and what it returned."""
        if self._monitor is None:
            self._monitor = self._connect()
            self.ask("qmp_capabilities")
        request = {"execute": command, **({"arguments": dict(arguments)} if arguments else {})}
        self._monitor.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer = json.loads(self._lines.readline())
            if "return" in answer:
                return answer["return"]
            if "event" in answer:
                self._events.append(answer["event"])
            assert "error" not in answer, f"{command}: {answer['error']['desc']}"

    def events(self) -> list[str]:
        """What QEMU has told of since the monitor was first asked, such as WATCHDOG."""
        self.ask("query-status")
        return self._events

    def _connect(self) -> socket.socket:
        monitor, clock = socket.socket(socket.AF_UNIX), Clock()
        monitor.settimeout(QUIT_SECONDS_MAX)
        until_s = clock.monotonic_s() + QUIT_SECONDS_MAX
        while True:
            try:
                monitor.connect(os.path.relpath(self._monitor_path))  # such a path has 107 bytes at most
                break
            except (FileNotFoundError, ConnectionRefusedError):
                assert clock.monotonic_s() < until_s, "QEMU's monitor does not answer"
                clock.wait(0.02, Cancel())
        self._lines = monitor.makefile("r", encoding="utf-8")
        self._lines.readline()  # the greeting
        return monitor

    def _resume(self) -> None:
        clock = Clock()
        while (status := self.ask("query-status")["status"]) == "inmigrate":
            clock.wait(0.02, Cancel())
        assert status in ("paused", "postmigrate"), f"resuming: {status}"
        self.ask("cont")

    def freeze(self, path: Path) -> None:
        """Stop, write memory and devices to ``path``; the disk's file is complete then. The machine ends."""
        clock = Clock()
        self.ask("stop")
        self.ask("migrate-set-parameters", {"max-bandwidth": 1 << 33})
        self.ask("migrate", {"uri": f"exec:cat > {path}"})
        while (status := self.ask("query-migrate")["status"]) != "completed":
            assert status in ("setup", "active", "device"), f"freezing: {status}"
            clock.wait(0.02, Cancel())
        self.kill()


def copy_disk(source: Path, target: Path) -> Path:
    """A copy that takes no space for what is zero."""
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(source), str(target)], check=True)
    return target


def missing_programs() -> list[str]:
    """Debian packages that these tests need and that are not installed."""
    places = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    packages = {
        "qemu-system-aarch64": "qemu-system-arm",
        "setpriv": "util-linux",
        "mosquitto": "mosquitto",
        "mosquitto_sub": "mosquitto-clients",
        "debugfs": "e2fsprogs",
        "mcopy": "mtools",
        "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
        "arm-linux-gnueabihf-gcc": "gcc-arm-linux-gnueabihf libc6-dev-armhf-cross",
    }
    missing = {package for program, package in packages.items() if not shutil.which(program, path=places)}
    return sorted(missing | (set() if FIRMWARE.exists() else {"u-boot-qemu"}))
