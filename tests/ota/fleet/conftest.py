"""A device on duty, for tests of the whole way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ota.clock import Clock
from ota.repo.publish import delegate, init
from tests.ota.conftest import IMAGE_ONE, IMAGE_TWO
from tests.ota.fleet.ddi_server import DdiServer
from tests.ota.fleet.post import Post
from tests.ota.web import serving
from tests.ota.world import Publisher


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    publisher = Publisher(tmp_path / "publisher", Clock())
    init(publisher.repository)
    delegate(publisher.repository, "image-rpi4", count=1, threshold=1)
    publisher.publish()
    publisher.add("image/rpi4/p-2.img", IMAGE_TWO, 2, default=0)
    publisher.patch("image/rpi4/p-2.img", IMAGE_ONE)
    (tmp_path / "slot_a").write_bytes(IMAGE_ONE)
    with serving(tmp_path / "publisher/repo") as (web, url):
        yield Post(tmp_path, publisher, publisher.anchor(**{"image/rpi4/penstock": 1}), web, url, DdiServer())
