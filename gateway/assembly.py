"""The data plane of a site as the C runtime's objects, made by a list that only names and numbers stand in.

``gateway.plane`` writes such lists; they are also kept for the next start, which then polls before anything else is
imported (``gateway.app.prepared``): so without typing, enum, dataclasses and pathlib here.
"""

from __future__ import annotations

from gateway import native
from gateway.digest import check_hash
from gateway.errors import HostFault, PenstockError, PluginError, RuntimeFault
from gateway.native import lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TypedDict

    from gateway.lines import PortSetup

    class RingSetup(TypedDict):
        """As ``gateway.wasm.Ring`` takes it."""

        name: str
        bytes: int
        schema: int
        consumers_max: int

    class PluginSetup(TypedDict):
        """``hash``: by which the version is known; ``check``: ``check_hash`` of what must be in ``file``."""

        name: str
        file: str
        hash: str
        check: str

    class StageSetup(TypedDict):
        """``ports``, ``outputs``: names; ``inputs``: rings and policies."""

        name: str
        plugin: str
        config: bytes
        numbers: native.StageNumbers
        ports: list[str]
        inputs: list[tuple[str, int]]
        outputs: list[str]

    class Setup(TypedDict):
        """What to make. ``sinks``: what links read."""

        summary: str
        rings: list[RingSetup]
        ports: dict[str, PortSetup]
        plugins: list[PluginSetup]
        stages: list[StageSetup]
        sinks: dict[str, list[tuple[str, int]]]


class Assembly:
    """Pointers and numbers by name; whoever takes them over (``gateway.plane.Plane``) frees them, else ``close``.

    ``readers``: numbers of reading ends, by ring and reader. ``code``: compiled code that plugins run, by plugin;
    ``refused``: why there is none that fits. ``manifests``: files by plugin, for errors. Raises PenstockError when a
    part cannot be made.
    """

    def __init__(self, setup: Setup, manifests: Mapping[str, str] | None = None) -> None:
        self.setup = setup
        self._manifests = manifests or {}
        self.engine: Any = native.new_engine()
        self.loop: Any = None
        self.is_started = False
        self.rings: dict[str, Any] = {}
        self.readers: dict[str, dict[str, int]] = {}
        self.ports: dict[str, int] = {}
        self.stages: dict[str, int] = {}
        self.code: dict[str, str] = {}
        self.refused: dict[str, str] = {}
        try:
            self._make()
        except (OSError, PenstockError):
            self.close()
            raise

    def start(self) -> None:
        """Let it run."""
        native.start(self.loop)
        self.is_started = True

    def open_port(self, name: str, fd: int) -> None:
        """The loop owns ``fd`` from now on."""
        native.set_port_fd(self.loop, self.ports[name], fd, name)

    def close(self) -> None:
        """Stop and free everything."""
        if self.loop is not None:
            lib.wr_loop_stop(self.loop)
            lib.wr_loop_free(self.loop)
        for ring in self.rings.values():
            lib.wr_ring_free(ring)
        lib.wr_engine_free(self.engine)
        self.loop = self.engine = None
        self.rings.clear()

    def _make(self) -> None:
        for ring in self.setup["rings"]:
            name = ring["name"]
            self.rings[name] = native.new_ring(name, ring["bytes"], ring["schema"], ring["consumers_max"])
            self.readers[name] = {}
        self.loop = native.new_loop(self.engine)
        for name, port in self.setup["ports"].items():
            self.ports[name] = native.add_port(self.loop, name, datagram=port["kind"] == "udp")
        modules: dict[str, Any] = {}
        try:
            for plugin in self.setup["plugins"]:
                modules[plugin["name"]] = self._module(plugin)
            for stage in self.setup["stages"]:
                self.stages[stage["name"]] = self._stage(stage, modules[stage["plugin"]])
        finally:
            for module in modules.values():  # stages keep what they use
                lib.wr_module_release(module)
        for link, inputs in self.setup["sinks"].items():
            self._attach(link, inputs)

    def _module(self, plugin: PluginSetup) -> Any:
        file, name = plugin["file"], plugin["name"]
        try:
            with open(file, "rb") as source:
                wasm = source.read()
        except OSError as error:
            raise PluginError(f'plugin "{name}": {file} cannot be read: {error.strerror}') from None
        if check_hash(wasm) != plugin["check"]:
            raise PluginError(f'plugin "{name}": {file} is damaged: its contents have another hash')
        module = native.new_module(self.engine, name, wasm)
        if artefact := native.code_of(file):
            try:
                native.attach_code(module, artefact, wasm)
                self.code[name] = artefact
            except HostFault as fault:
                self.refused[name] = str(fault)
        return module

    def _stage(self, stage: StageSetup, module: Any) -> int:
        raw, _keep = native.stage_config(stage["name"], module, stage["config"], stage["numbers"])
        ports = [self.ports[name] for name in stage["ports"]]
        inputs = self._attach(stage["name"], stage["inputs"])
        try:
            return native.add_stage(self.loop, raw, ports, inputs, [self.rings[name] for name in stage["outputs"]])
        except RuntimeFault as fault:
            where = f'plugin "{stage["plugin"]}", {self._manifests.get(stage["plugin"], "")}'
            raise type(fault)(fault.status, f"{fault.message} ({where})") from None

    def _attach(self, reader: str, inputs: list[tuple[str, int]]) -> list[tuple[Any, int]]:
        """Rings and the numbers of their new reading ends."""
        ends = []
        for name, policy in inputs:
            end = native.attach(self.rings[name], policy, f"ring {name}")
            self.readers[name][reader] = end
            ends.append((self.rings[name], end))
        return ends
