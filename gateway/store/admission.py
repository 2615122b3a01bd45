"""What a plugin must be to be kept at all: a valid module of this ABI that needs only what its manifest grants."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from gateway.config.manifest import ABI, HAL_NAMES, Manifest
from gateway.config.reader import nearest
from gateway.errors import HostFault, StoreError, WasmError
from gateway.signature import ExternKind
from gateway.store.container import manifest_of
from gateway.store.search import Plugin
from gateway.wasm import TARGET, Engine, Module

HAL = "hal"
REQUIRED = {"memory": ExternKind.MEMORY, f"pen_abi_{ABI}": ExternKind.FUNC, "pen_init": ExternKind.FUNC}


def admit(data: bytes) -> Manifest:
    """The manifest of the plugin file ``data``. Raises StoreError bad_plugin, which names every rule it breaks."""
    manifest = manifest_of(data, "plugin file")
    with Engine() as engine:
        try:
            with Module(engine, manifest.name, data) as module:
                broken = [*_imports(module, manifest), *_exports(module)]
        except WasmError as error:
            raise StoreError("bad_plugin", str(error)) from None
    if broken:
        raise StoreError("bad_plugin", f'plugin "{manifest.name}" {manifest.version}: {"; ".join(broken)}')
    return manifest


def _imports(module: Module, manifest: Manifest) -> Iterator[str]:
    for one in module.imports():
        name = f"{one.module}.{one.name}"
        if one.module != HAL or one.type.kind != ExternKind.FUNC:
            yield f"it imports {name}; a plugin imports functions of module {HAL} only"
        elif one.name not in HAL_NAMES:
            yield f"it imports {name}, which there is not; {nearest(one.name, HAL_NAMES)}"
        elif one.name not in manifest.hal:
            yield f"it imports {name}, which capabilities.hal in its plugin.toml does not grant"


def _exports(module: Module) -> Iterator[str]:
    kinds = {one.name: one.type.kind for one in module.exports()}
    for name, kind in REQUIRED.items():
        if kinds.get(name) != kind:
            yield f"it exports no {kind} {name}"


def check_code(plugin: Plugin, target: str, code: bytes) -> None:
    """Whether compiled code fits a version and this machine. Raises StoreError bad_code."""
    name = f"{plugin.manifest.name} {plugin.manifest.version}"
    if target != TARGET:
        raise StoreError("bad_code", f"found code for {target}, allowed: {TARGET}, which this gateway runs on")
    wasm = plugin.read()
    with (
        tempfile.TemporaryDirectory(prefix="penstock-code-") as folder,
        Engine() as engine,
        Module(engine, name, wasm) as module,
    ):
        artefact = Path(folder) / "module.so"
        artefact.write_bytes(code)
        try:
            module.attach(artefact, wasm)
        except HostFault as fault:
            raise StoreError("bad_code", f"the compiled code does not fit {name}: {fault}") from None
