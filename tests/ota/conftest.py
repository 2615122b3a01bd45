"""A repository is made once and copied: making keys and signatures is the slow part."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ota.world import IMAGE, HandClock, Publisher

IMAGE_ONE = bytes(range(256)) * 512
IMAGE_TWO = IMAGE_ONE[:50_000] + b"a fix" + IMAGE_ONE[50_005:]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    publisher = Publisher(tmp_path_factory.mktemp("publisher"), HandClock())
    publisher.create("image-rpi4", "plugin-acme")
    publisher.add(f"{IMAGE}/p-1.img", IMAGE_ONE, 1)
    return publisher


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def publisher(template: Publisher, tmp_path: Path, clock: HandClock) -> Publisher:
    copy = template.copy(tmp_path / "publisher")
    copy.clock = clock
    copy.repository = copy.with_keys(copy.keys)
    return copy
