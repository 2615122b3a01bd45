"""The prepared start: what is there when the data plane runs, when it is taken, and when it must not be."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.app import prepared
from gateway.app.lock import Lock
from tests.gateway.app.starts import SITE, gain, make, provide, run, words
from tests.gateway.modules import REFUSE, module
from tests.gateway.store.goods import MANIFEST
from tests.ota.web import Authority

READY = "running: site works, 2 stages, 1 tags"
ANEW = "set up anew"
# Everything that may be imported by when the gateway is ready; the first two lines are frozen into Python, or built in.
LIGHT = {
    "__future__", "_collections_abc", "_stat", "abc", "_abc", "genericpath", "os", "os.path", "posixpath", "stat",
    "fcntl", "_blake2",
    "gateway", "gateway.app", "gateway.app.cli", "gateway.app.lock", "gateway.app.notify", "gateway.app.prepared",
    "gateway.assembly", "gateway.clock", "gateway.digest", "gateway.errors", "gateway.native",
    "gateway._runtime",
    "_cffi_backend", "_runtime.lib", "gateway._runtime.lib",
}  # fmt: skip
PORTS = {"gateway.lines", "_socket", "select", "termios", "errno"}  # and by when ports are open
# Runs the command up to where the rest of it would be imported, and tells what is there by then, and when it was ready.
UP_TO_READY = """
import sys
before = set(sys.modules)
sys.path[:0] = {path!r}
class Rest:
    @staticmethod
    def run_command(words, started):
        print(started is not None, *sorted(set(sys.modules) - before))
        print(*sorted(ready - before))
        return 0
sys.modules["gateway.app.commands"] = Rest
from gateway.app.notify import Notifier
ready, tell = set(), Notifier.ready
def noted(self):
    ready.update(sys.modules)
    tell(self)
Notifier.ready = noted
from gateway.app.cli import main
main({words!r})
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path)


@pytest.fixture
def ready(folder: Path) -> Path:
    """A folder whose next start is prepared."""
    status, _, log = run(folder)
    assert (status, log.count(READY)) == (0, 1), log
    assert file_of(folder).exists()
    return folder


def file_of(folder: Path) -> Path:
    return folder / "state" / prepared.FILE


def up_to_ready(folder: Path, *more: str) -> tuple[bool, set[str], str]:
    """Whether a prepared data plane runs, what was imported when it was ready, and the log."""
    started, _, ready, log = up_to_rest(folder, *more)
    return started, ready, log


def up_to_rest(folder: Path, *more: str) -> tuple[bool, set[str], set[str], str]:
    """Whether a prepared data plane runs, what is imported before the rest, what was when it was ready, and the log."""
    path = [str(Path(__file__).parents[3]), *(one for one in sys.path if one.endswith("site-packages"))]
    script = UP_TO_READY.format(path=path, words=words(folder, *more))
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    (started, *modules), ready = map(str.split, done.stdout.splitlines())
    return started == "True", set(modules), set(ready), done.stderr


def test_the_data_plane_runs_before_anything_heavy_is_imported(ready: Path) -> None:
    started, modules, when_ready, log = up_to_rest(ready)
    assert started
    assert READY in log
    assert "gateway.native" in when_ready
    assert when_ready - LIGHT - {"gateway.app.commands"} == set()
    assert modules - LIGHT - PORTS - {"gateway.app.commands"} == set()


def test_the_first_start_takes_the_long_way(folder: Path) -> None:
    started, _, log = up_to_ready(folder)
    assert (started, log) == (False, "")


def test_the_rest_of_the_gateway_takes_it_over(ready: Path) -> None:
    kept = file_of(ready).read_bytes()
    status, state, log = run(ready)
    assert (status, state["stages"]["si"]["state"]) == (0, "running"), log
    assert log.count(READY) == 1, "told once, by the prepared start"
    assert log.index(READY) < log.index("port.plc"), "ports are opened behind it"
    assert ANEW not in log
    assert file_of(ready).read_bytes() == kept


def test_ports_that_answer_are_open_before_the_rest_is_imported(folder: Path) -> None:
    """And stay what they are when the rest of the gateway takes over."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)
        (folder / "site.toml").write_text(SITE.replace("port = 1", f"port = {listening.getsockname()[1]}"))
        assert run(folder)[0] == 0
        listening.accept()[0].close()
        assert up_to_ready(folder)[0]
        listening.accept()[0].close()
        status, state, log = run(folder)
        listening.accept()[0].close()
        assert (status, state["ports"]["plc"]["opens"]) == (0, 1), log
        listening.settimeout(0)
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_the_service_manager_is_told(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(ready / "notify"))
        listening.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(ready / "notify"))
        assert up_to_ready(ready)[0]
        assert listening.recv(64) == b"READY=1"


def change_site(folder: Path) -> None:
    (folder / "site.toml").write_text(SITE.replace("works", "other"))


def change_board(folder: Path) -> None:
    (folder / "board.toml").write_text('[board]\nname = "c"\n')


def bring_plugin(folder: Path) -> None:
    gain(folder, "1.0.1", module())


def bring_plugin_elsewhere(folder: Path) -> None:
    """A file where there was none, in a folder that is looked through first."""
    build = folder / "build" / "plugins"
    build.mkdir(parents=True)
    (build / "gain.wasm").write_bytes(module())


def swap_plugin(folder: Path) -> None:
    (folder / "state" / "plugins" / "active_manifest.json").write_bytes(b"{}")


def damage_store(folder: Path) -> None:
    """Where the module still is a valid one: its manifest stands at the end."""
    for blob in (folder / "state" / "plugins" / "blobs").glob("*.wasm"):
        blob.write_bytes(blob.read_bytes()[:-1] + b"#")


def damage(folder: Path) -> None:
    data = bytearray(file_of(folder).read_bytes())
    data[len(data) // 2] ^= 1
    file_of(folder).write_bytes(data)


def cut(folder: Path) -> None:
    file_of(folder).write_bytes(b"")


@pytest.mark.parametrize(
    "change",
    [change_site, change_board, bring_plugin, bring_plugin_elsewhere, swap_plugin, damage_store, damage, cut],
)
def test_what_has_changed_is_not_started(ready: Path, change: Callable[[Path], None]) -> None:
    change(ready)
    started, _, log = up_to_ready(ready)
    assert (started, log) == (False, "")


def test_other_options_are_another_start(ready: Path) -> None:
    assert not up_to_ready(ready, "--keep", "2")[0]


@pytest.mark.parametrize("older_ns", [0, 1])
def test_other_code_is_another_start(ready: Path, monkeypatch: pytest.MonkeyPatch, older_ns: int) -> None:
    def age(path: str) -> tuple[int, int]:
        return os.stat(path).st_size, os.stat(path).st_mtime_ns - older_ns

    monkeypatch.setattr(prepared, "_age", age)
    started = prepared.start(words(ready), os.environ)
    assert (started is not None) is (older_ns == 0)
    if started is not None:
        started.drop()
        started.lock.release()
        assert not file_of(ready).exists(), "nobody has taken what it prepared"


def test_a_plane_that_is_not_what_the_long_way_comes_to_ends(ready: Path) -> None:
    """The file is right by its hash, and says something else than the site."""
    body = prepared._read(str(ready / "state"))
    assert body is not None
    body["setup"]["stages"][0]["numbers"]["deadline_us"] += 1
    prepared._write(str(ready / "state"), body)
    status, state, log = run(ready)
    assert (status, state["stages"]["si"]["state"]) == (0, "running"), log
    assert ANEW in log
    assert log.count(READY) == 2
    assert ANEW not in run(ready)[2], "the next one is prepared again"


def test_one_that_does_not_start_is_left_to_the_long_way(ready: Path) -> None:
    body = prepared._read(str(ready / "state"))
    assert body is not None
    body["setup"]["stages"][0]["ports"] = []
    body["setup"]["plugins"][0]["file"] = str(ready / "nothing.wasm")
    prepared._write(str(ready / "state"), body)
    started, _, log = up_to_ready(ready)
    assert (started, log) == (False, "")
    assert not file_of(ready).exists()
    assert run(ready)[0] == 0


def test_a_folder_has_one_gateway(ready: Path) -> None:
    lock = Lock(ready / "state")
    started, _, log = up_to_ready(ready)
    assert (started, log) == (False, "")
    lock.release()
    assert file_of(ready).exists(), "it is the other gateway's"
    assert up_to_ready(ready)[0]


def with_link(folder: Path, settings: str) -> None:
    """The site with a link, whose settings are no part of what is prepared."""
    provide(folder, "gain", MANIFEST.replace('out = "samples"', 'out = "payloads"'), "1.0.0", module())
    link = f'[link.cloud]\nkind = "mqtt"\ninputs = ["si"]\nhost = "127.0.0.1"\nport = 1\n{settings}\n'
    (folder / "site.toml").write_text(SITE.replace("[[tag]]", f"{link}[[tag]]"))


def test_a_mistake_that_only_the_long_way_finds_ends_the_data_plane(folder: Path) -> None:
    with_link(folder, 'username = "u"\npassword_file = "secret"')
    (folder / "secret").write_text("s")
    assert run(folder)[0] == 0
    (folder / "secret").unlink()
    status, told, log = run(folder)
    assert (status, told["error"]["key"]) == (2, "link.cloud.password_file")
    assert READY in log
    assert not file_of(folder).exists()
    assert READY not in run(folder)[2], "the next one does not begin"


def test_a_link_that_cannot_be_made_ends_the_data_plane(folder: Path) -> None:
    """Behind the moment at which it was taken over."""
    with_link(folder, 'tls = { ca = "ca.pem" }')
    Authority(folder, "ca")
    assert run(folder)[0] == 0
    (folder / "ca.pem").write_text("none")
    status, _, log = run(folder)
    assert (status, READY in log) == (1, True), log
    assert not file_of(folder).exists()
    assert READY not in run(folder)[2], "the next one does not begin"


def test_a_log_that_wants_warnings_only_is_not_told(folder: Path) -> None:
    assert READY not in run(folder, "--log", "warning")[2]
    started, _, log = up_to_ready(folder, "--log", "warning")
    assert (started, log) == (True, "")


def test_a_site_that_does_not_start_prepares_nothing(folder: Path) -> None:
    gain(folder, "1.0.0", module(init=REFUSE))
    assert run(folder)[0] == 1
    assert not file_of(folder).exists()
