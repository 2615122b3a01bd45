"""What a board is made of, as one struct per table of its board file; ``gateway/config/board.py`` reads them.

The structs are the only description: reading, the JSON schema (``board-configs/schema.json``) and the error messages
come from them. A field without a default is required.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

NAME = r"^[a-z][a-z0-9_-]{0,31}$"
DEVICE = r"^/dev/[A-Za-z0-9._:/@+-]+$"

Text = Annotated[str, Meta(min_length=1)]
Name = Annotated[str, Meta(pattern=NAME)]
Device = Annotated[str, Meta(pattern="^/", description="absolute path of a device file")]
Mebibytes = Annotated[int, Meta(ge=1, le=65536)]


class Head(Struct, frozen=True):
    """``[board]``. ``arch`` is what the board's programs are compiled for, plugins included; empty: this machine."""

    name: Name
    description: str = ""
    arch: Literal["", "aarch64", "armv7"] = ""
    memory_mib: Annotated[int, Meta(ge=0, le=1048576)] = 0


class Port(Struct, frozen=True):
    """``[port.NAME]``: a serial line. ``direction``: who switches the RS-485 transceiver; ``rts`` lines need ``rs485``
    in the site file. ``label``: what is printed on the case."""

    device: Device
    kind: Literal["uart", "usb"] = "uart"
    direction: Literal["none", "rts", "adapter"] = "none"
    label: str = ""


class Can(Struct, frozen=True):
    """``[can.NAME]``: a CAN interface of the kernel. ``bitrate_max`` in bit/s."""

    interface: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9]{1,14}$")]
    bitrate_max: Annotated[int, Meta(ge=10_000, le=8_000_000)] = 1_000_000
    label: str = ""


class Gpio(Struct, frozen=True):
    """``[gpio.NAME]``: one line of a GPIO chip."""

    chip: Annotated[str, Meta(pattern=DEVICE)]
    line: Annotated[int, Meta(ge=0, le=511)]
    direction: Literal["in", "out"] = "in"
    active_low: bool = False
    label: str = ""


class Led(Struct, frozen=True):
    """``[led.NAME]``: its name below /sys/class/leds. The LED ``status`` beats while the gateway runs."""

    device: Annotated[str, Meta(pattern=r"^[A-Za-z0-9:_.-]+$")]


class Storage(Struct, frozen=True):
    """``[storage]``: the disk of the image. Partitions are boot, state (1 MiB), slot a, slot b, data, in this order.

    ``table``: ``hybrid`` adds an MBR entry for the boot partition, for boot ROMs that know no GPT.
    """

    boot_mib: Mebibytes
    slot_mib: Mebibytes
    data_mib: Mebibytes
    table: Literal["gpt", "hybrid"] = "gpt"


class Boot(Struct, frozen=True):
    """``[boot]``: ``uboot``: boot script and state partition; ``tryboot``: Raspberry Pi firmware alone.

    ``interface``, ``disk``: the disk as U-Boot names it; ``fdt``: its variable with the device tree's address.
    ``firmware``: files for the boot partition, NAME = PATH in a Debian package, or ``dtb:NAME`` for a device tree of
    the kernel package; ``dtbs``: such device trees for the slots. ``config``: lines of ``config.txt``; ``arguments``:
    more of them for the kernel. ``console``: empty for the one that the device tree names.
    """

    loader: Literal["uboot", "tryboot"] = "uboot"
    interface: Annotated[str, Meta(pattern="^[a-z0-9_${}]*$")] = ""
    disk: Annotated[str, Meta(pattern="^[a-z0-9_${}]*$")] = "0"
    fdt: Annotated[str, Meta(pattern="^[a-z0-9_]*$", description="U-Boot's variable with the device tree's place")] = ""
    console: Annotated[str, Meta(pattern=r"^(tty[A-Za-z]+[0-9]+(,[0-9]+)?)?$")] = ""
    arguments: str = ""
    firmware: dict[str, str] = {}
    config: tuple[str, ...] = ()
    dtbs: tuple[str, ...] = ()


class Watchdog(Struct, frozen=True):
    """``[watchdog]``. ``module``: loaded before anything else; ``options`` of it. ``timeout_s``: what it can do."""

    device: Annotated[str, Meta(pattern=DEVICE)] = "/dev/watchdog0"
    module: Annotated[str, Meta(pattern="^[a-z0-9_]*$")] = ""
    options: str = ""
    timeout_s: Annotated[int, Meta(ge=1, le=3600)] = 15


class Image(Struct, frozen=True):
    """``[image]``: the recipe. ``suite``, ``components``, ``kernel``, ``packages``: of Debian; ``boot_packages`` hold
    what ``boot.firmware`` names. ``hardware_suite``: where the kernel and the boot packages come from when the board is
    newer than ``suite``; the rest stays with it. ``modules``: of the kernel, loaded at the start; ``early``: those that
    the disk and its file systems need. ``compress``: the kernel is stored with gzip."""

    kernel: Text
    suite: Text = "bookworm"
    hardware_suite: str = ""
    components: tuple[Text, ...] = ("main",)
    boot_packages: tuple[Text, ...] = ()
    packages: tuple[Text, ...] = ()
    early: tuple[Text, ...] = ()
    modules: tuple[Text, ...] = ()
    compress: bool = False
    flavour: Literal["minimal", "full"] = "minimal"


SINGLE: dict[str, type[Struct]] = {
    "board": Head, "storage": Storage, "boot": Boot, "watchdog": Watchdog, "image": Image,
}  # fmt: skip
NAMED: dict[str, type[Struct]] = {"port": Port, "can": Can, "gpio": Gpio, "led": Led}


def schema() -> dict[str, object]:
    """The JSON schema of a board file, for editors; ``python -m gateway.config.board`` prints it."""
    types = [*SINGLE.values(), *NAMED.values()]
    parts, definitions = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    of = dict(zip([*SINGLE, *NAMED], parts, strict=True))
    for one in definitions.values():
        one["additionalProperties"] = False
    named = {name: {"type": "object", "additionalProperties": of[name]} for name in NAMED}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Penstock board file",
        "type": "object",
        "required": ["board"],
        "additionalProperties": False,
        "properties": {name: of[name] for name in SINGLE} | named,
        "$defs": definitions,
    }
