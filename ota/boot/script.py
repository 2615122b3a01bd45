"""The boot script for U-Boot: ``boot/loader.py`` in U-Boot's own language.

``mkimage -T script -d boot.cmd boot.scr`` makes what U-Boot runs. It needs ``env import`` and ``env export``, ``part``,
``setexpr``, ``itest`` and raw access to the disk, which distributions build in; no saved environment, no boot counter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import Template

from ota.boot.block import FIELDS, SLOTS
from ota.boot.raw import COPY_OFFSETS

SECTOR_BYTES = 512


@dataclass(frozen=True, slots=True)
class Disk:
    """Where things are, as U-Boot names them. ``interface``: ``mmc``, ``virtio`` …; ``device``: its number, may be a
    variable; ``state``, ``slots``: partition numbers; ``boot``: commands that boot from ``${pen_part}`` of slot
    ``${pen_slot}`` and return if they cannot."""

    interface: str
    device: str
    state: int
    slots: dict[str, int]
    boot: Sequence[str]


_SCRIPT = Template("""\
# Penstock's choice of a slot; made by ota/boot/script.py, which says what it needs.
setenv pen_vars "$fields"
setenv pen_g0 0
setenv pen_g1 0
$interface dev $device
part start $interface $device $state pen_at_0
setexpr pen_at_1 $${pen_at_0} + $apart
if $interface read $${loadaddr_0} $${pen_at_0} 1 && env import -c $${loadaddr_0} $block $${pen_vars}; then
  setenv pen_g0 $${pen_gen}
fi
if $interface read $${loadaddr_1} $${pen_at_1} 1 && env import -c $${loadaddr_1} $block $${pen_vars}; then
  setenv pen_g1 $${pen_gen}
fi
setenv pen_order
setenv pen_older $${pen_at_0}
if itest 0x$${pen_g0} -gt 0x$${pen_g1}; then
  env import -c $${loadaddr_0} $block $${pen_vars}
  setenv pen_older $${pen_at_1}
elif itest 0x$${pen_g1} -gt 0; then
  env import -c $${loadaddr_1} $block $${pen_vars}
fi
if itest 0x$${pen_g0} -eq 0 && itest 0x$${pen_g1} -eq 0; then
  echo "penstock: no intact boot state"
  setenv pen_order "$all"
else
  if test -n "$${pen_trial}" && itest 0x$${pen_tries} -gt 0; then
    setexpr pen_tries $${pen_tries} - 1
    setexpr pen_gen $${pen_gen} + 1
    if env export -c -s $block $${loadaddr_0} $${pen_vars} && $interface write $${loadaddr_0} $${pen_older} 1; then
      setenv pen_order $${pen_trial}
    else
      echo "penstock: the boot state cannot be written, no trial"
    fi
  fi
  setenv pen_order "$${pen_order} $${pen_good}"
  for pen_slot in $all; do
    if test "$${pen_slot}" != "$${pen_good}"; then
      if test "$${pen_ok}" = "$${pen_slot}" || test "$${pen_ok}" = "$both"; then
        setenv pen_order "$${pen_order} $${pen_slot}"
      fi
    fi
  done
fi
for pen_slot in $${pen_order}; do
$parts  echo "penstock: slot $${pen_slot}"
$boot
  echo "penstock: slot $${pen_slot} does not load"
done
echo "penstock: no slot boots"
reset
""")


def boot_script(disk: Disk, scratch: tuple[int, int] = (0x40000000, 0x40001000)) -> str:
    """Text of ``boot.cmd``. ``scratch``: two addresses in memory with room for a sector each."""
    script = _SCRIPT.substitute(
        fields=" ".join(FIELDS),
        interface=disk.interface,
        device=disk.device,
        state=disk.state,
        block=f"{SECTOR_BYTES:x}",
        apart=f"{(COPY_OFFSETS[1] - COPY_OFFSETS[0]) // SECTOR_BYTES:x}",
        all=" ".join(SLOTS),
        both="".join(SLOTS),
        parts="".join(
            f'  if test "${{pen_slot}}" = "{slot}"; then setenv pen_part {number}; fi\n'
            for slot, number in disk.slots.items()
        ),
        boot="\n".join(f"  {line}" for line in disk.boot),
    )
    for number, address in enumerate(scratch):
        script = script.replace(f"${{loadaddr_{number}}}", f"0x{address:x}")
    return script
