"""A device gets its keys once and its site as a whole or not at all."""

from __future__ import annotations

import os
import pwd
import stat
import tomllib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from gateway.app import provision as module
from gateway.app.provision import agent_settings, make_device, provision
from gateway.errors import ConfigError, UsageError
from tests.gateway.config.test_board import REFERENCE

IMAGE = '[image]\nline = "image/test/penstock"\n[paths]\ntrust = "/usr/share/penstock/trust"\n'


@pytest.fixture
def source(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to take; the image's own files are those of the source tree."""
    (tmp_path / "image.toml").write_text(IMAGE)
    monkeypatch.setattr(module, "BOARD", root / "board-configs" / "qemu-arm64.toml")
    monkeypatch.setattr(module, "PLUGINS", root / "plugins")
    monkeypatch.setattr(module, "IMAGE_SETTINGS", tmp_path / "image.toml")
    monkeypatch.setattr(module, "OWNER", pwd.getpwuid(os.getuid()).pw_name)  # the account of devices is not here
    folder = tmp_path / "penstock"
    (folder / "tls").mkdir(parents=True)
    (folder / "site.toml").write_text(REFERENCE.replace("PORT", "rs485-1"))
    (folder / "tls" / "key.pem").write_text("secret")
    (folder / "ota.toml").write_text('[repository]\nurl = "https://updates.example/"\n')
    return folder


def test_a_device_gets_a_name_and_a_key_of_its_own(tmp_path: Path) -> None:
    assert make_device(tmp_path / "one")[0].startswith("this device is pen-")
    key_file = tmp_path / "one" / "key.pem"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    request = x509.load_pem_x509_csr((tmp_path / "one" / "request.pem").read_bytes())
    assert request.is_signature_valid
    assert request.public_key() == key.public_key()
    name = (tmp_path / "one" / "id").read_text().strip()
    assert request.subject.rfc4514_string() == f"CN={name}"
    assert make_device(tmp_path / "one") == [], "once"
    make_device(tmp_path / "two")
    assert (tmp_path / "two" / "id").read_text() != f"{name}\n"


def test_a_folder_is_taken(source: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    lines = provision(data, source)
    assert lines[1:] == ["taken: site reference, 1 ports, 2 stages, 1 tags", "the update agent has new settings"]
    assert (data / "site" / "tls" / "key.pem").read_text() == "secret"
    assert stat.S_IMODE((data / "site" / "tls" / "key.pem").stat().st_mode) == 0o600
    settings = tomllib.loads((data / "ota.toml").read_text())
    assert settings["device"]["id"] == (data / "device" / "id").read_text().strip()
    assert settings["repository"]["url"] == "https://updates.example/"
    assert settings["image"]["line"] == "image/test/penstock"
    assert settings["paths"]["trust"] == str(data / "site" / "trust"), "the image has no anchor of its own"


def test_a_site_that_cannot_run_leaves_the_old_one(source: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    provision(data, source)
    (source / "site.toml").write_text(REFERENCE.replace("PORT", "no-such-port"))
    with pytest.raises(ConfigError, match="no-such-port"):
        provision(data, source)
    assert "rs485-1" in (data / "site" / "site.toml").read_text()


def test_a_new_folder_replaces_all_of_the_old_one(source: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    provision(data, source)
    (source / "tls" / "key.pem").unlink()
    (source / "ota.toml").unlink()
    provision(data, source)
    assert not (data / "site" / "tls").exists()
    assert not (data / "ota.toml").exists()


def test_tables_of_the_image_are_not_for_the_folder(source: Path, tmp_path: Path) -> None:
    (source / "ota.toml").write_text('[boot]\nkind = "sim"\nstate = "/x"\n')
    with pytest.raises(ConfigError, match="boot: belongs to the image; allowed here: device, repository, link, health"):
        provision(tmp_path / "data", source)


@pytest.mark.parametrize(
    ("given", "id_is"),
    [('[device]\ngroup = "pilot"\n', "pen-1"), ('[device]\nid = "own"\ngroup = "pilot"\n', "own"), ("", "pen-1")],
)
def test_the_devices_name_is_added_where_none_is_given(source: Path, tmp_path: Path, given: str, id_is: str) -> None:
    (tmp_path / "device").mkdir()
    (tmp_path / "device" / "id").write_text("pen-1\n")
    (source / "ota.toml").write_text(f'{given}[repository]\nurl = "u"\n')
    assert tomllib.loads(agent_settings(source, tmp_path))["device"]["id"] == id_is


def test_too_much_is_refused(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FOLDER_BYTES_MAX", 100)
    with pytest.raises(UsageError, match="allowed: at most 100"):
        provision(tmp_path / "data", source)
    assert not (tmp_path / "data" / "site").exists()
