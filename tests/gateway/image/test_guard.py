"""The minimal image's guard: what it feeds the watchdog for, and when it restarts the machine. Time is a file."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.image.root import FILES

GUARD = FILES / "minimal/usr/lib/penstock/guard"
LOOK_S = 10  # a third of the watchdog's time
COMMAND = "99999"  # a process that the operator has started, not the agent
PROGRAMS = {
    "sleep": '[ "$1" = 1000 ] && exit 0\n. "$ROOT/steps/$(cut -d. -f1 "$ROOT/proc/uptime")"\n',
    "pidof": 'cat "$ROOT/pid"\n',
    "killall": 'echo "$(cat "$ROOT/proc/uptime") $*" >> "$ROOT/killed"\n',
    "reboot": 'cat "$ROOT/proc/uptime" >> "$ROOT/rebooted"\n',
    "sync": "",
    "log": "",
}


@dataclass(frozen=True, slots=True)
class Ran:
    """``fed``: how often; ``killed``, ``rebooted``: seconds since the start."""

    fed: int
    killed: list[int]
    rebooted: list[int]


def always(_now: int) -> bool:
    return True


def never(_now: int) -> bool:
    return False


def steady(_now: int) -> str:
    return "7"


def restarting(now: int) -> str:
    return str(now)


class Board:
    """A root folder with a site and an agent; ``run`` lets the guard look at it every LOOK_S."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("etc/penstock", "proc", "dev", "data/site", "run/penstock", "run/stopped", "steps", "bin"):
            (root / folder).mkdir(parents=True)
        (root / "etc/penstock/image.env").write_text(f"watchdog='/dev/watchdog0'\nwatchdog_s='{3 * LOOK_S}'\n")
        (root / "dev/watchdog0").touch()
        (root / "proc/uptime").write_text("0.00 0.00\n")
        self.slot("a", trial="")
        for name in ("data/site/site.toml", "data/ota.toml", "run/started", "pid"):
            (root / name).touch()
        (root / "usr/lib/penstock").mkdir(parents=True)
        for name, text in PROGRAMS.items():
            path = root / ("usr/lib/penstock" if name == "log" else "bin") / name
            path.write_text(f"#!/bin/sh\n{text}")
            path.chmod(0o755)

    def slot(self, slot: str, trial: str) -> None:
        (self.root / "proc/cmdline").write_text(f"quiet penstock.slot={slot} console=tty1 penstock.trial={trial}\n")

    def without(self, name: str) -> Board:
        (self.root / name).unlink()
        return self

    def run(self, until_s: int, writes: Callable[[int], bool], agent: Callable[[int], str], at_200: str = "") -> Ran:
        """``writes``: whether the gateway has written its health; ``agent``: the agent's process, both by the time.

        ``at_200``: command that somebody gives then, in the root folder.
        """
        health = self.root / "run/penstock/health.json"
        for now in range(0, until_s, LOOK_S):
            lines = [f"echo {now + LOOK_S}.00 0 > {self.root}/proc/uptime"]
            lines += [f"echo {COMMAND} {self.process(agent(now), 'agent run')} > {self.root}/pid"]
            lines += [f"cd {self.root} && {at_200}"] if at_200 and now == 200 else []
            lines += [f"touch -d @{now + 1} {health}"] if writes(now) else []
            (self.root / "steps" / str(now)).write_text("\n".join(lines) + "\n")
        self.process(COMMAND, "status")
        (self.root / "steps" / str(until_s)).write_text("kill $PPID\n")
        environment = {"PATH": f"{self.root}/bin:{os.environ['PATH']}", "ROOT": str(self.root)}
        done = subprocess.run(
            ["sh", str(GUARD), str(self.root)], env=environment, check=False, capture_output=True, timeout=60
        )
        assert done.stderr == b""
        fed = (self.root / "dev/watchdog0").read_bytes()
        return Ran(len(fed), self._seconds("killed"), self._seconds("rebooted"))

    def process(self, pid: str, words: str) -> str:
        """A process of ``penstock-ota`` as /proc shows it; "" is none."""
        if pid:
            (self.root / "proc" / pid).mkdir(exist_ok=True)
            line = f"/usr/bin/python3 -I /usr/bin/penstock-ota {words} --config /data/ota.toml "
            (self.root / "proc" / pid / "cmdline").write_text(line.replace(" ", "\0"))
        return pid

    def _seconds(self, name: str) -> list[int]:
        file = self.root / name
        return [int(line.split(".")[0]) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "root")


def test_a_system_that_works_is_fed_for(board: Board) -> None:
    assert board.run(1000, always, steady) == Ran(101, [], [])


def test_a_gateway_that_falls_silent_is_killed_then_the_machine_restarts(board: Board) -> None:
    ran = board.run(1000, lambda now: now < 200, steady)
    assert (ran.killed, ran.rebooted) == ([260], [500]), "60 and 300 s after what was written last"
    assert ran.fed == 50, "and never again, should the restart hang"


def test_a_gateway_that_is_started_again_is_no_reason(board: Board) -> None:
    ran = board.run(1000, lambda now: not 200 <= now < 480, steady)
    assert (ran.killed, ran.rebooted) == ([260], [])


def test_a_gateway_that_falls_silent_again_is_killed_again(board: Board) -> None:
    ran = board.run(1000, lambda now: not (200 <= now < 300 or now >= 600), steady)
    assert ran.killed == [260, 660]


def test_what_never_worked_is_no_reason(board: Board) -> None:
    """A site that cannot run, an agent whose settings are wrong: to restart for ever would not mend them."""
    assert board.run(1000, never, restarting) == Ran(101, [], [])


@pytest.mark.parametrize(
    "command",
    ["rm data/site/site.toml", "touch run/stopped/gateway", "rm data/ota.toml", "touch run/stopped/agent"],
)
def test_what_was_ended_on_purpose_is_no_reason(board: Board, command: str) -> None:
    """By its operator, or because the device was provisioned without it."""
    is_gateway = "site" in command or "gateway" in command

    def writes(now: int) -> bool:
        return not is_gateway or now < 200

    def agent(now: int) -> str:
        return "7" if is_gateway or now < 200 else ""

    assert board.run(1000, writes, agent, command) == Ran(101, [], [])


def test_an_agent_that_fails_after_it_has_worked(board: Board) -> None:
    ran = board.run(1000, always, lambda now: "7" if now < 200 else str(now))
    assert ran.rebooted == [500]


def test_an_agent_on_trial_must_work(board: Board) -> None:
    """Nobody else would judge the trial; the loader then counts a try, and goes back when there are none left."""
    board.slot("b", trial="b")
    assert board.run(1000, always, restarting).rebooted == [300]


def test_the_slot_that_a_trial_fell_back_to_is_not_on_trial(board: Board) -> None:
    board.slot("a", trial="b")
    assert board.run(1000, always, restarting).rebooted == []


def test_start_scripts_that_hang(board: Board) -> None:
    assert board.without("run/started").run(1000, never, lambda _now: "").rebooted == [300]
