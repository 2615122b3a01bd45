"""The update server on the host: a real repository over HTTPS, and the agent's configuration that goes with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ota.clock import Clock
from ota.repo.patches import add_patch
from ota.repo.publish import add
from ota.trust.model import Custom, Release
from tests.hil.disk import Artefact, artefact
from tests.hil.machine import HOST
from tests.ota.web import Authority, server_context, serving
from tests.ota.world import Publisher

FAMILY = "qemu-arm64"
LINE = f"image/{FAMILY}/penstock"
HOLD_S, LIMIT_S = 8.0, 90.0  # healthy so long: commit; not by then: roll back
NEVER_S = 100_000.0


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

    def publish(self, path: Path, release: int, version: str) -> Artefact:
        """Offer a slot image from now on."""
        said = Release("penstock", release, version, rollout={"default": 100})
        add(self._publisher.repository, path, f"{LINE}-{release}.img", Custom(release=said))
        self._publisher.publish()
        return artefact(version, path)

    def patch(self, release: int, source: Path, compression: str = "lzma") -> int:
        """Offer a patch from ``source`` to a release; its bytes."""
        name, repository = f"{LINE}-{release}.img", self._publisher.repository
        file, _ = add_patch(repository, name, source, compression, self._publisher.folder)
        self._publisher.publish()
        return file.length

    @contextmanager
    def server(self) -> Iterator[int]:
        """Serve it over HTTPS; the port on the loopback."""
        with serving(self._publisher.folder / "repo", tls=server_context(self._certificate)) as (_, url):
            yield int(url.rpartition(":")[2])


def agent_settings(port: int, ca: str) -> str:
    """The device's part of the agent's configuration. ``ca``: where the authority's certificate is on the device.

    The agent looks for updates once and then never: the tests say when.
    """
    keys: dict[str, dict[str, object]] = {
        "device": {"id": "hil"},
        "repository": {"url": f"https://{HOST}:{port}", "ca": ca, "poll_s": NEVER_S},
        "health": {"hold_s": HOLD_S, "limit_s": LIMIT_S, "look_s": 1.0},
    }
    return "\n".join(
        f"[{table}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())
        for table, lines in keys.items()
    )
