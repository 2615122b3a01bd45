"""The commands that ``docs/ota.md`` shows do what it says."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

from tests.gateway.peers import free_port
from tests.ota.web import serving

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "ota.md").read_text("utf-8")
SECONDS_MAX = 300


def blocks() -> list[str]:
    """The command blocks of the section that is there to be tried."""
    return re.findall(r"^```\n(.*?)^```", DOCUMENT.split("## Try it")[1].split("\n## ")[0], re.MULTILINE | re.DOTALL)


def test_the_commands_to_try(tmp_path: Path) -> None:
    """Both parts that need no gateway, in one shell, with a server of ours in the place of busybox."""
    image = random.Random(11).randbytes(300_000)
    (tmp_path / "old.img").write_bytes(image)
    (tmp_path / "new.img").write_bytes(image[:5000] + b"a fix" + image[5005:])
    (tmp_path / "repo").mkdir()
    script = "set -e\ntrap 'kill $!' EXIT\n" + blocks()[0] + blocks()[1]
    script, count = re.subn(r"^busybox httpd .*\n", "", script, flags=re.MULTILINE)
    assert count == 1
    with serving(tmp_path / "repo") as (web, _):
        for documented, ours in ((8001, free_port()), (8000, web.server_port)):
            script = script.replace(f"127.0.0.1:{documented}", f"127.0.0.1:{ours}")
        tools = Path(sys.executable).parent
        environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["sh", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=SECONDS_MAX,
            check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "release 2 (2), by patch, verified" in done.stdout
    assert (tmp_path / "slot.img").read_bytes() == (tmp_path / "new.img").read_bytes()
    assert "2: on trial after the restart" in done.stdout
    events = [json.loads(line)["event"] for line in done.stdout.splitlines() if line.startswith('{"at"')]
    assert events == ["installed", "committed"]
    assert "return" in done.stdout.splitlines()


def test_every_setting_is_documented() -> None:
    """And everything documented is a setting."""
    from ota.agent import settings

    table = DOCUMENT.split("| key | default | meaning |")[1].split("\n\n")[0]
    documented: set[str] = set()
    for row in re.findall(r"^\| (.*?) \| ", table, re.MULTILINE):
        names = re.findall(r"`([^`]+)`", row)
        first = "plugin" if names and names[0] == "[[plugin]]" else names[0].partition(".")[0] if names else ""
        documented |= {f"{first}.{name.rpartition('.')[2]}" for name in names if name != "[[plugin]]"}
    structs = {
        "device": settings.DeviceKeys, "repository": settings.RepositoryKeys, "link": settings.LinkKeys,
        "image": settings.ImageKeys, "boot": settings.BootKeys, "health": settings.HealthKeys,
        "gateway": settings.GatewayKeys, "plugin": settings.PluginKeys, "fleet": settings.FleetKeys,
        "paths": settings.PathKeys,
    }  # fmt: skip
    known = {f"{section}.{field}" for section, struct in structs.items() for field in struct.__struct_fields__}
    assert set(structs) == set(settings.Settings.__struct_fields__)
    assert documented == known
