"""Where a gateway keeps what."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.app.lock import Lock
from gateway.app.places import places
from gateway.app.state import opened
from gateway.errors import PenstockError, StoreError


@pytest.mark.parametrize(
    ("environment", "is_root", "state", "run"),
    [
        ({"STATE_DIRECTORY": "/s", "RUNTIME_DIRECTORY": "/r"}, True, "/s", "/r"),
        ({"STATE_DIRECTORY": "/s"}, False, "/s", "/s"),
        ({"STATE_DIRECTORY": "/s:/t", "RUNTIME_DIRECTORY": "/r:/q"}, False, "/s", "/r"),
        ({}, True, "/var/lib/penstock", "/run/penstock"),
        ({"XDG_STATE_HOME": "/x", "XDG_RUNTIME_DIR": "/y"}, False, "/x/penstock", "/y/penstock"),
        ({"XDG_STATE_HOME": "/x"}, False, "/x/penstock", "/x/penstock"),
    ],
)
def test_the_defaults(environment: dict[str, str], is_root: bool, state: str, run: str) -> None:
    found = places(None, environment, is_root=is_root)
    assert (found.state, found.run, found.given) == (Path(state), Path(run), False)
    assert (found.socket, found.health) == (Path(run) / "control.sock", Path(run) / "health.json")


def test_a_folder_that_is_given_holds_everything() -> None:
    found = places(Path("here"), {"STATE_DIRECTORY": "/s"})
    assert found.state == found.run == Path.cwd() / "here"
    assert found.given


def test_a_folder_has_one_gateway(tmp_path: Path) -> None:
    first = Lock(tmp_path)
    with pytest.raises(PenstockError, match=r"in use by another gateway \(process \d+\); give this one its own with"):
        Lock(tmp_path)
    first.release()
    Lock(tmp_path).release()


def test_a_default_folder_that_cannot_be_used_is_no_reason_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "file" / "state"))
    with opened(None, 3) as state:
        assert (state.places, state.store) == (None, None)
    assert "running without plugin store and control socket" in caplog.messages[-1]
    with pytest.raises(StoreError, match="cannot be made: Not a directory"), opened(tmp_path / "file" / "state", 3):
        raise AssertionError("a folder that was asked for must be usable")
