"""The update server on the host: a real repository over HTTPS, and the agent's configuration that goes with it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ota.clock import Clock
from ota.repo.publish import add
from ota.trust.model import Custom, Release
from tests.hil.disk import Artefact, artefact
from tests.hil.machine import HOST
from tests.ota.web import Authority, server_context, serving
from tests.ota.world import Publisher

FAMILY = "qemu-arm64"
LINE = f"image/{FAMILY}/penstock"
HOLD_S, LIMIT_S = 8.0, 90.0  # healthy so long: commit; not by then: roll back
PATCH_SECONDS_MAX = 600
NEVER_S = 100_000.0
HEALTHY = "healthy"
"""The rollout group that the device is in until a test moves it."""


class Releases:
    """A repository in ``folder`` with its keys, an authority for TLS, and what a device must know of both.

    ``trust`` is the folder with the anchors, ``authority.file`` the certificate of the authority.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._publisher = Publisher(folder / "publisher", Clock()).create(f"image-{FAMILY}")
        self._publisher.anchor()
        self.trust = self._publisher.folder / "trust"
        self.authority = Authority(folder, "authority")
        self._certificate = self.authority.issue("server", HOST)
        self._served = folder / "served"
        self.go_live()

    def publish(self, path: Path, release: int, version: str, group: str = HEALTHY) -> Artefact:
        """Offer a slot image to the devices of a group, once it goes live."""
        said = Release("penstock", release, version, rollout={"default": 0, group: 100})
        add(self._publisher.repository, path, f"{LINE}-{release}.img", Custom(release=said))
        self._publisher.publish()
        return artefact(version, path)

    def patch(self, release: int, source: Path) -> int:
        """Offer a patch from ``source`` to a release, made in a process of its own; its bytes."""
        folder = self._publisher.folder
        before = self._bytes()
        command = [sys.executable, "-m", "ota.app.cli", "repo", "delta", str(folder / "repo"), "--keys"]
        command += [str(folder / "keys"), f"{LINE}-{release}.img", "--from", str(source), "--compression", "lzma"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATCH_SECONDS_MAX)
        assert done.returncode == 0, done.stdout + done.stderr
        return self._bytes() - before

    def _bytes(self) -> int:
        targets = self._publisher.folder / "repo" / "targets"
        return sum(path.stat().st_size for path in targets.rglob("*") if path.is_file())

    def go_live(self) -> None:
        """From now on the server shows what was published until now."""
        shutil.copytree(self._publisher.folder / "repo", self._served, dirs_exist_ok=True)

    @contextmanager
    def server(self) -> Iterator[int]:
        """Serve it over HTTPS; the port on the loopback."""
        with serving(self._served, tls=server_context(self._certificate)) as (_, url):
            yield int(url.rpartition(":")[2])


def agent_settings(port: int, ca: str) -> str:
    """The device's part of the agent's configuration. ``ca``: where the authority's certificate is on the device.

    The agent looks for updates once and then never: the tests say when.
    """
    keys: dict[str, dict[str, object]] = {
        "device": {"id": "hil", "group": HEALTHY},
        "repository": {"url": f"https://{HOST}:{port}", "ca": ca, "poll_s": NEVER_S},
        "health": {"hold_s": HOLD_S, "limit_s": LIMIT_S, "look_s": 1.0},
    }
    return "\n".join(
        f"[{table}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())
        for table, lines in keys.items()
    )
