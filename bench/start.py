"""How fast ``penstock run`` is ready: prepared by the start before, and by the long way, which reads and checks all."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.engine import INSTRUCTIONS
from bench.flow import ROOT
from gateway.app import prepared

SITE, BOARD = ROOT / "gateway" / "app" / "demo_site.toml", ROOT / "board-configs" / "sim.toml"
ROUNDS = 11
READY_SECONDS_MAX = 60
# As the command of an image does it: without the module site.
COMMAND = """
import sys
sys.path[:0] = {path!r}
from gateway.app.cli import main
{counted}
raise SystemExit(main())
"""
# To be counted: the process ends where it is ready, and deadlines leave valgrind its time.
COUNTED = """
import os
from gateway import native
make = native.stage_config
def patient(name, module, config, numbers):
    return make(name, module, config, {{**numbers, "deadline_us": 10**9}})
native.stage_config = patient
native.start = lambda loop: os._exit(0)
"""


def measure() -> dict[str, Any]:
    """Instructions, and milliseconds until the service manager is told, of processes that begin with Python itself."""
    with tempfile.TemporaryDirectory(prefix="penstock-start-") as folder:
        state = Path(folder) / "state"
        times: dict[str, list[float]] = {"prepared": [], "long": []}
        _ready_ms(state)
        for _ in range(ROUNDS):
            times["prepared"].append(_ready_ms(state))
            (state / prepared.FILE).unlink()
            times["long"].append(_ready_ms(state))
        return {
            "what": f"penstock run {SITE.name} until READY=1; medians of {ROUNDS} starts, interleaved",
            "ready_ms": round(statistics.median(times["prepared"]), 1),
            "long_way_ms": round(statistics.median(times["long"]), 1),
            "instructions": _instructions(state),
            "long_way_instructions": _instructions(state, prepared_too=False),
        }


def _command(state: Path, *, counted: bool = False) -> list[str]:
    path = [str(ROOT), *(one for one in sys.path if one.endswith("site-packages"))]
    script = COMMAND.format(path=path, counted=COUNTED.format() if counted else "")
    words = ["run", str(SITE), "--board", str(BOARD), "--state", str(state), "--log", "error"]
    return [sys.executable, "-I", "-S", "-c", script, *words]


def _ready_ms(state: Path) -> float:
    """From the birth of the process to its message."""
    address = str(state.parent / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        listening.settimeout(READY_SECONDS_MAX)
        begin_s = time.perf_counter()
        process = subprocess.Popen(_command(state), env={**os.environ, "NOTIFY_SOCKET": address})
        try:
            assert listening.recv(64) == b"READY=1"
            return 1000 * (time.perf_counter() - begin_s)
        finally:
            _await_control(process, state)
            process.send_signal(signal.SIGTERM)
            process.wait()
            os.unlink(address)


def _await_control(process: subprocess.Popen[bytes], state: Path) -> None:
    """Signals are handled from when it can be controlled on."""
    while process.poll() is None and not (state / "control.sock").exists():
        time.sleep(0.01)


def _instructions(state: Path, *, prepared_too: bool = True) -> int | None:
    """Counted by cachegrind; None without it."""
    if shutil.which("valgrind") is None:
        return None
    if not prepared_too:
        (state / prepared.FILE).unlink()
    valgrind = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    done = subprocess.run([*valgrind, *_command(state, counted=True)], check=True, capture_output=True, text=True)
    match = INSTRUCTIONS.search(done.stderr)
    if match is None:
        raise RuntimeError(f"cachegrind: {done.stderr}")
    return int(match[1].replace(",", ""))
