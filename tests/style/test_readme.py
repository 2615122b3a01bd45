"""The README promises nothing that CI does not run."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.peers import until
from tests.style.source import ROOT

README = (ROOT / "README.md").read_text("utf-8")
CI = (ROOT / ".ci" / "run").read_text("utf-8")


def commands() -> list[str]:
    """Every line of the README's shell blocks, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    lines = [re.sub(r"\s+#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def test_there_are_commands() -> None:
    assert len(commands()) >= 8


@pytest.mark.parametrize("command", [command for command in commands() if command.startswith(("make", "sudo"))])
def test_ci_runs_what_the_readme_says(command: str) -> None:
    if command.startswith("sudo apt install"):
        assert set(command.split()[3:]) <= set(CI.split()), command
    elif command == "make demo":
        assert re.search(r"^\s*make demo SECONDS=", CI, re.MULTILINE), "CI runs the demo, with an end"
    else:
        assert re.search(rf"^\s*{re.escape(command)}$", CI, re.MULTILINE), command


@contextlib.contextmanager
def demo(state: Path) -> Iterator[None]:
    """What the reader of the README has running in another terminal."""
    command = [sys.executable, "-m", "gateway.app.demo", "--state", str(state)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            asyncio.run(until((state / "control.sock").exists, "the demo's gateway answers"))
            yield
        finally:
            process.terminate()


def test_the_other_commands_work(tmp_path: Path) -> None:
    """In the order of the README, each ``build/…`` that they make in a folder of this test."""
    assert "gateway.app.demo --state build/demo " in (ROOT / "Makefile").read_text("utf-8")
    with demo(tmp_path / "demo"):
        for command in commands():
            if command.startswith(("make", "sudo")):
                continue
            program, *arguments = shlex.split(command)
            assert program == ".venv/bin/penstock", "a README command is make, apt or penstock"
            arguments = [re.sub(r"^build/(?=demo|next|new|graph)", f"{tmp_path}/", one) for one in arguments]
            run = [sys.executable, "-m", "gateway.app.cli", *arguments]
            done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def test_every_link_leads_somewhere() -> None:
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text("utf-8")):
            assert (document.parent / target).exists(), f"{document.relative_to(ROOT)}: {target}"
