"""Plugins over the air: a repository behind HTTP, the agent, and a real gateway that goes on reading its plant."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest

from gateway.app.aot_build import compile_module, find_compiler
from gateway.wasm import TARGET
from ota.agent.agent import Agent
from ota.agent.gateway import SocketGateway
from ota.agent.settings import read_settings
from ota.agent.source import Source, online
from ota.app.link import Link, Weather
from ota.boot.table import arm_trial
from ota.clock import Cancel, Clock
from ota.errors import BootError, Cancelled, GatewayUnavailable
from ota.fleet.duty import Duty, server_of
from ota.repo.publish import delegate, init
from ota.trust.client import Anchor, TrustClient
from ota.trust.model import Target
from tests.ota.agent.plant import Works, changed_modbus, longest_silence_ms, tally, wait_for, works
from tests.ota.agent.rig import settings_text
from tests.ota.fleet.ddi_server import CLOSED, Action, DdiServer
from tests.ota.fleet.ddi_web import Quick, ddi_serving
from tests.ota.web import Web, linked, serving
from tests.ota.world import Publisher

LINE = "plugin/acme/modbus"
WIRE_MAX = 1024
GATEWAY = """
[gateway]
socket = "{folder}/gateway/control.sock"
plugins = "{folder}/gateway/plugins"
hold_s = 3
look_s = 1
[[plugin]]
line = "plugin/acme/modbus"
compiled = true
"""


@dataclass
class Site:
    """A works with an agent beside its gateway, and its publisher."""

    folder: Path
    works: Works
    publisher: Publisher
    anchor: Anchor
    web: Web
    link: Link
    lines: list[str]

    def publish(self, data: bytes, release: int, source: bytes | None = None) -> None:
        name = f"plugin/acme/modbus-{release}.wasm"
        self.publisher.add(name, data, release, line="modbus")
        if source is not None:
            self.publisher.patch(name, source)

    def agent(self) -> Agent:
        settings = read_settings(self.folder / "ota.toml")
        client = TrustClient(settings.paths.state, self.anchor, self.publisher.clock)
        return Agent(settings, client, Clock(), self.lines.append)

    def source(self, agent: Agent) -> Source:
        return online(agent.settings, agent.client, Clock(), Cancel())

    def update(self) -> dict[str, str]:
        agent = self.agent()
        return agent.install_plugins(self.source(agent), Cancel())

    def events(self) -> list[tuple[str, str]]:
        return [(entry.event, entry.version) for entry in self.agent().history()]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Works]:
    with works(tmp_path_factory.mktemp("works")) as found:
        yield found


@pytest.fixture
def site(running: Works, tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path
    publisher = Publisher(folder / "publisher", Clock())
    init(publisher.repository)
    for role in ("image-rpi4", "plugin-acme"):
        delegate(publisher.repository, role, count=1, threshold=1)
    publisher.publish()
    (folder / "gateway").symlink_to(running.state)
    with serving(folder / "publisher/repo") as (web, _), linked(web.server_port, Weather()) as (link, url):
        (folder / "ota.toml").write_text(settings_text(folder, url, GATEWAY))
        yield Site(folder, running, publisher, publisher.anchor(), web, link, [])


def test_one_changed_line_while_data_flows(site: Site, tmp_path: Path) -> None:
    """At most 1 KB on the wire, patch and metadata together; no sample lost or doubled."""
    old = site.works.blob()
    new = changed_modbus(tmp_path, "0.1.1")
    site.publish(old, 1)
    assert site.agent().check_plugins(site.source(site.agent())), "the device polls"
    site.publish(new, 2, old)
    site.web.sent.clear()
    heads = -site.link.carried - site.link.asked
    start = len(site.works.messages())
    assert site.update() == {"plugin/acme/modbus-2.wasm": ""}
    count = len(site.works.messages())
    wait_for(lambda: len(site.works.messages()) > count + 3, "data flows on")
    assert site.works.show("modbus")["version"] == "0.1.1"
    assert site.works.blob() == new

    bodies, heads = site.web.sent, heads + site.link.carried + site.link.asked - sum(site.web.sent.values())
    print(f"on the wire: {bodies} of {len(new)} bytes, and {heads} of HTTP heads")
    assert [path.split("/")[0] for path in bodies] == ["metadata", "targets"], "one request for all metadata"
    assert sum(bodies.values()) <= WIRE_MAX
    everything = tally(site.works.messages())
    assert (everything.lost, everything.duplicated) == (0, 0)
    silences = longest_silence_ms(site.works.messages()[max(0, start - 2) :])
    assert len(silences) == 16
    print(f"longest silence of a tag: {max(silences.values())} ms")
    assert site.events() == [("installed", "v2"), ("committed", "v2")]
    assert site.agent().client.floor().releases[LINE] == 2
    assert site.update() == {}
    assert not (tmp_path / "state/plugins/modbus").exists()


def test_what_the_gateway_refuses_is_not_tried_again(site: Site, tmp_path: Path) -> None:
    runs = site.works.show("modbus")
    site.publish(changed_modbus(tmp_path, "0.2.0", traps=True), 3)
    (problem,) = site.update().values()
    assert "vector" in problem
    assert "swap_refused" in problem
    assert site.works.show("modbus") == runs
    assert site.update() == {}, "known to be bad"
    assert site.agent().history()[-1].reason == problem
    site.publish(b"\0asm\1\0\0\0", 4)
    (problem,) = site.update().values()
    assert "bad_plugin" in problem


def test_a_trap_storm_is_reported_with_the_gateways_reason(site: Site, tmp_path: Path) -> None:
    runs = site.works.show("modbus")
    site.publish(changed_modbus(tmp_path, "0.3.0", traps=True, vectors=False), 5)
    (problem,) = site.update().values()
    assert "trap" in problem
    assert site.events()[-1] == ("rolled-back", "v5"), "it may storm before the swap is answered, and be refused"
    assert site.works.show("modbus") == runs, "and not a version before that"
    assert site.update() == {}, "known to be bad"
    count = len(site.works.messages())
    wait_for(lambda: len(site.works.messages()) > count + 3, "data flows on")


def test_a_rollback_that_comes_too_late_leaves_what_runs(site: Site, tmp_path: Path) -> None:
    """From a version that was left already, and from one that is gone."""
    site.publish(changed_modbus(tmp_path, "0.3.9"), 5)
    assert site.update() == {"plugin/acme/modbus-5.wasm": ""}
    gateway = SocketGateway(site.folder / "gateway/control.sock")
    runs, previous = gateway.versions("modbus")
    for late in (previous, "f" * 64):
        gateway.roll_back("modbus", late)
    assert gateway.versions("modbus") == (runs, previous)
    gateway.roll_back("modbus", runs)
    assert gateway.versions("modbus")[0] == previous
    gateway.swap("modbus", runs, 0, ())


def test_without_a_gateway_the_verified_file_waits(site: Site, tmp_path: Path) -> None:
    site.publish(changed_modbus(tmp_path, "0.4.0"), 6)
    site.works.stop()
    with pytest.raises(GatewayUnavailable, match="does not answer"):
        site.update()
    assert site.events() == []
    site.web.sent.clear()
    site.works.start()
    assert site.update() == {"plugin/acme/modbus-6.wasm": ""}
    assert not [path for path in site.web.sent if path.startswith("targets/")], "fetched once"
    assert site.works.show("modbus")["version"] == "0.4.0"


def test_an_agent_that_dies_after_the_push_goes_on(site: Site, tmp_path: Path) -> None:
    site.publish(changed_modbus(tmp_path, "0.5.0"), 7)
    agent = site.agent()
    ((keys, offer),) = agent.check_plugins(site.source(agent))
    data = (site.publisher.folder / "repo/targets" / offer.artefact.file.path).read_bytes()
    agent.plugins._push(keys, offer.artefact, data)
    site.web.sent.clear()
    assert site.update() == {"plugin/acme/modbus-7.wasm": ""}
    assert not [path for path in site.web.sent if path.startswith("targets/")]
    assert site.works.show("modbus")["version"] == "0.5.0"


def test_a_file_of_another_plugin_is_refused(site: Site, tmp_path: Path) -> None:
    from gateway.app.plugin_build import build
    from tests.ota.agent.plant import ROOT

    shutil.copytree(ROOT / "plugins" / "scale", tmp_path / "scale")
    site.publish(build(tmp_path / "scale", tmp_path / "out", embed=True, version="9.0.0").read_bytes(), 8)
    (problem,) = site.update().values()
    assert "the file is the plugin 'scale'" in problem


def test_assigned_by_a_fleet_server(site: Site, tmp_path: Path) -> None:
    ddi = DdiServer()
    site.publish(changed_modbus(tmp_path, "0.9.0"), 9)
    action = ddi.assign("gw-1", Action(7, "", filename="modbus-9.wasm"))
    cancel = Cancel()
    with ddi_serving(ddi) as web:
        config = tmp_path / "ota.toml"
        config.write_text(config.read_text() + f'[fleet]\nurl = "{web.url}"\ntenant = "default"\nplain = true\n')
        agent = site.agent()

        def source(stop: Cancel) -> Source:
            return online(agent.settings, agent.client, Clock(), stop)

        duty = Duty(agent, server_of(agent.settings, Clock()), source, Quick(), site.lines.append)

        def watch() -> None:
            try:
                wait_for(lambda: action.state == CLOSED, "the action is closed")
            finally:
                cancel.set()

        watcher = threading.Thread(target=watch)
        watcher.start()
        with pytest.raises(Cancelled):
            duty.run(cancel)
        watcher.join()
    assert action.finished == "success"
    assert site.works.show("modbus")["version"] == "0.9.0"
    assert ddi.targets["gw-1"].attributes[LINE] == "v9"


def test_compiled_code_goes_with_it(site: Site, tmp_path: Path) -> None:
    """Made by ``penstock aot``, for this machine and for another; the gateway runs the one that fits."""
    data = changed_modbus(tmp_path, "0.11.0")
    site.publish(data, 11)
    targets: tuple[Target, ...] = get_args(Target)
    for target in targets:
        out = tmp_path / f"modbus.{target}.so"
        out.write_bytes(b"of no use here")
        if target == TARGET:
            compile_module(find_compiler(target), "modbus", data, out)
        site.publisher.add_code("plugin/acme/modbus-11.wasm", out.read_bytes(), target)
    site.web.sent.clear()
    assert site.update() == {"plugin/acme/modbus-11.wasm": ""}
    assert [path.rpartition(".")[0].rpartition(".")[2] for path in site.web.sent if path.endswith(".so")] == [TARGET]
    versions = {one["ref"]["version"]: (one["state"], one["code"]) for one in site.works.about("modbus")["versions"]}
    assert versions["0.11.0"] == ("active", [TARGET])
    state = SocketGateway(site.folder / "gateway/control.sock")._call("state", {}, dict[str, Any])
    running = {about["version"]: about["compiled"] for about in state["stages"].values() if about["plugin"] == "modbus"}
    assert running == {"0.11.0": True}
    count = len(site.works.messages())
    wait_for(lambda: len(site.works.messages()) > count + 3, "data flows on")


def test_not_while_an_image_is_on_trial(site: Site, tmp_path: Path) -> None:
    site.publish(changed_modbus(tmp_path, "0.10.0"), 10)
    agent = site.agent()
    state = agent._boot.read()
    agent._boot.write(arm_trial(state, "a"))
    with pytest.raises(BootError, match="an image is on trial"):
        agent.install_plugins(site.source(agent), Cancel())
