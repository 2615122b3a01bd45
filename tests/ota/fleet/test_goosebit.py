"""The session against goosebit, a DDI server that nobody here wrote.

It runs from an environment of its own below build/: nothing of Penstock needs its many packages.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ota.clock import Cancel
from ota.errors import TransferError
from ota.fleet.http import HttpServer
from ota.fleet.messages import Artifact
from ota.fleet.session import Session
from tests.ota.conftest import IMAGE_TWO
from tests.ota.fleet.device import FleetDevice
from tests.ota.fleet.post import Post

ROOT = Path(__file__).resolve().parents[3]
VERSION = "0.2.12"
ENVIRONMENT = ROOT / "build" / f"goosebit-{VERSION}"
START_SECONDS_MAX = 60
DEVICE, TOKEN = "gw-1", "device-secret"
IMAGE = hashlib.sha256(b"the image in TUF").hexdigest()


def environment() -> Path:
    """Python of the environment, made on first use; skips where no packages can be installed."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / "done").exists():
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True, capture_output=True)
        command: list[str | Path] = [python, "-m", "pip", "install", "-q", f"goosebit=={VERSION}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            problem = f"goosebit {VERSION} cannot be installed: {done.stderr.strip().splitlines()[-1]}"
            if os.environ.get("PENSTOCK_NO_SKIP"):
                pytest.fail(problem)
            pytest.skip(problem)
        (ENVIRONMENT / "done").touch()
    return python


def swu(version: str) -> bytes:
    """The smallest update file that goosebit takes: a cpio archive with a description."""
    text = f'software = {{ version = "{version}"; }};'.encode()
    name = b"sw-description\0"
    fields = [1, 0o100644, 0, 0, 1, 0, len(text), 0, 0, 0, 0, len(name), 0]
    head = b"070702" + b"".join(f"{field:08X}".encode() for field in fields)
    return head + name + bytes(-(len(head) + len(name)) % 4) + text


class Goosebit:
    """Its web interface, as its operator uses it."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self._port = port
        self._token = ""

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
        headers = {"Content-Type": kind}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        assert answer.status == 200, f"{method} {path}: {answer.status} {data!r}"
        return json.loads(data)

    def set_up(self) -> None:
        form = urllib.parse.urlencode({"username": "operator@example.org", "password": "long enough 1"}).encode()
        self._token = self.ask("POST", "/setup", form, "application/x-www-form-urlencoded")["access_token"]

    def upload(self, name: str, data: bytes) -> str:
        head = f'--B\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
        made = self.ask("PUT", "/api/v1/software", head + data + b"\r\n--B--\r\n", "multipart/form-data; boundary=B")
        return str(made["id"])

    def set_device(self, method: str, **values: object) -> None:
        self.ask(method, "/api/v1/devices", json.dumps({"devices": [DEVICE], **values}).encode())

    def device(self) -> dict[str, Any]:
        found = self.ask("GET", "/api/v1/devices")["devices"]
        return next(one for one in found if one["id"] == DEVICE)


@pytest.fixture(scope="module")
def goosebit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Goosebit]:
    python, folder = environment(), tmp_path_factory.mktemp("goosebit")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "GOOSEBIT_PORT": str(port),
        "GOOSEBIT_DB_URI": f"sqlite:///{folder}/db.sqlite3",
        "GOOSEBIT_ARTIFACTS_DIR": str(folder / "artifacts"),
        "GOOSEBIT_DEVICE_AUTH": '{"enable": true, "mode": "strict"}',
    }
    make_database(python, folder, {**os.environ, **settings})
    command: list[str | Path] = [python, "-m", "uvicorn", "goosebit:app", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env={**os.environ, **settings}, stdout=log, stderr=log)
    try:
        wait_for(port, server, folder / "log")
        made = Goosebit(port)
        made.set_up()
        yield made
    finally:
        server.terminate()
        server.wait()


def make_database(python: Path, folder: Path, variables: dict[str, str]) -> None:
    """Its tables, by its own migrations."""
    where = "import goosebit.db, os; print(os.path.dirname(goosebit.db.__file__))"
    found = subprocess.run([python, "-c", where], env=variables, capture_output=True, text=True, check=True)
    location = Path(found.stdout.splitlines()[-1]) / "migrations"
    (folder / "pyproject.toml").write_text(
        f'[tool.aerich]\ntortoise_orm = "goosebit.db.config.TORTOISE_CONF"\nlocation = "{location}"\nsrc_folder = "."\n'
    )
    command: list[str | Path] = [python.parent / "aerich", "upgrade"]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(START_SECONDS_MAX * 10):
        assert server.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        Cancel().wait(0.1)
    pytest.fail(f"goosebit does not answer after {START_SECONDS_MAX} s: {log.read_text()}")


class Gateway(FleetDevice):
    """Knows its image by the name of the file, as its trusted metadata would tell."""

    def trusted(self, artifact: Artifact) -> str:
        return IMAGE if artifact.filename.startswith("system-") else ""


def session(device: Gateway, goosebit: Goosebit, token: str = TOKEN) -> Session:
    server = HttpServer(goosebit.base, f"TargetToken {token}", None)
    about = {"sw_version": "1.0.0", "hw_boardname": "default", "hw_revision": "default"}
    return Session(server, f"{goosebit.base}/DEFAULT/controller/v1/{DEVICE}", device, device, lambda: about)


def test_the_whole_way(goosebit: Goosebit) -> None:
    device = Gateway(DEVICE, None)  # type: ignore[arg-type]
    goosebit.set_device("PUT", auth_token=TOKEN)
    with pytest.raises(TransferError, match="token"):
        session(device, goosebit, "wrong").poll()

    assert session(device, goosebit).poll().offer is None
    software = goosebit.upload("system-2.0.0.swu", swu("2.0.0"))
    goosebit.set_device("PATCH", software=software)
    link = session(device, goosebit)
    offer = link.poll().offer
    assert offer is not None
    assert (offer.version, offer.sha256) == ("2.0.0", IMAGE)
    assert goosebit.device()["last_state"] == "Running"
    link.progress(50, "downloading")

    device.install(IMAGE)
    session(device, goosebit).poll()
    assert goosebit.device()["last_state"] == "Finished"
    assert goosebit.device()["sw_version"] == "2.0.0"


def test_a_failure_reaches_the_operator(goosebit: Goosebit) -> None:
    device = Gateway(DEVICE, None, behaviour="sick")  # type: ignore[arg-type]
    goosebit.set_device("PUT", auth_token=TOKEN)
    goosebit.set_device("PATCH", software=goosebit.upload("system-3.0.0.swu", swu("3.0.0")), force_update=True)
    assert session(device, goosebit).poll().offer is not None
    device.install(IMAGE)
    session(device, goosebit).poll()
    assert goosebit.device()["last_state"] == "Error"


def agent_run(post: Post) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ota.app.cli", "agent", "run", "--config", str(post.folder / "ota.toml")]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def test_the_agent_as_a_process(goosebit: Goosebit, post: Post) -> None:
    """Assigned in goosebit, fetched by TUF, tried, committed, reported to goosebit."""
    (post.folder / "token").write_text(TOKEN)
    token = f'plain = true\ntarget_token_file = "{post.folder / "token"}"'
    post.configure(goosebit.base, token, tenant="DEFAULT", hold_s=1)
    post.publisher.add("image/rpi4/system-4.0.0.swu", IMAGE_TWO + b"4", 4, default=0)
    goosebit.set_device("PUT", auth_token=TOKEN)
    goosebit.set_device("PATCH", software=goosebit.upload("system-4.0.0.swu", swu("4.0.0")), force_update=True)
    with agent_run(post) as agent:
        _, log = agent.communicate(timeout=START_SECONDS_MAX)
    assert agent.returncode == 3, log
    assert "installed: slot b, v4" in log
    assert post.agent().slot() == "b"
    post.report()
    with agent_run(post) as agent:
        for _ in range(START_SECONDS_MAX * 10):
            if goosebit.device()["last_state"] == "Finished":
                break
            Cancel().wait(0.1)
        agent.terminate()
        _, log = agent.communicate(timeout=START_SECONDS_MAX)
    assert goosebit.device()["last_state"] == "Finished", log
    assert agent.returncode == 0, log
    assert post.agent().status()["boot"]["good"] == "b"
