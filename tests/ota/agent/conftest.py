"""A machine on disk with an update and a patch to it, for tests of the whole way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ota.agent.rig import Plant
from tests.ota.conftest import IMAGE_ONE, IMAGE_TWO
from tests.ota.web import serving
from tests.ota.world import IMAGE, HandClock, Publisher


@pytest.fixture
def plant(publisher: Publisher, tmp_path: Path, clock: HandClock) -> Iterator[Plant]:
    publisher.add(f"{IMAGE}/p-2.img", IMAGE_TWO, 2)
    publisher.patch(f"{IMAGE}/p-2.img", IMAGE_ONE)
    with serving(publisher.folder / "repo") as (_, url):
        yield Plant(tmp_path, publisher, clock, url)
