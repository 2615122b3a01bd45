"""A real update over HTTPS, from slot a to slot b: committed when it is healthy, back by itself when it is not."""

from __future__ import annotations

from tests.hil.disk import history, standing
from tests.hil.recording import NOTEBOOK, Recording


def test_healthy_update_is_committed(recording: Recording) -> None:
    """By a patch, with the boot loader's help, and with the gateway's health as the reason."""
    disk = recording.starts["trial"].disk.with_name("disk.img")
    assert standing(disk) == "good b, valid ab"
    assert history(disk, NOTEBOOK) == [
        ("installed", "2", ""),
        ("committed", "2", "healthy for the set time"),
    ]
