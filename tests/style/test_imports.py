"""Who may import whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.style.source import ROOT, files, name, python_files

# Left may import right, never the other way round; parts of one group do not import each other.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("app",),
    ("links", "api", "rules", "image"),
    ("supervisor",),
    ("plane",),
    ("graph", "store"),
    ("wasm", "config", "assembly"),
    ("lines",),
    ("record", "clock", "signature", "native", "digest"),
    ("errors",),
)
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
OUTSIDE_THE_LAW = {"_runtime", "_runtime_build", "_runtime_call"}  # the C extensions and the recipe that builds it


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted module) of every import, wherever it stands; ``from a import b`` counts as ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def part_of(dotted: str) -> str | None:
    """The layer's name in a dotted module of the gateway; None for the package itself."""
    pieces = dotted.split(".")
    return pieces[1] if pieces[0] == "gateway" and len(pieces) > 1 and pieces[1] not in ("__version__",) else None


def breaches(importer: str, tree: ast.AST) -> Iterator[str]:
    """What in the gateway module ``importer`` (dotted) breaks the law."""
    own = part_of(importer)
    for line, target in imports(tree):
        part = part_of(target)
        if own in OUTSIDE_THE_LAW or own is None or part is None or part == own or part in OUTSIDE_THE_LAW:
            continue
        if part not in RANK or own not in RANK:
            yield f"{importer}:{line}: {target} has no place in the import law"
        elif RANK[part] <= RANK[own]:
            yield f"{importer}:{line}: {own} must not import {part}"


def dotted_name(path: Path) -> str:
    pieces = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(pieces[:-1] if pieces[-1] == "__init__" else pieces)


def test_import_law() -> None:
    modules = list(files("gateway", suffixes={".py"}))
    assert len(modules) > 10
    found = [breach for path in modules for breach in breaches(dotted_name(path), ast.parse(path.read_text("utf-8")))]
    assert found == []


@pytest.mark.parametrize(
    ("importer", "source", "lawful"),
    [
        ("gateway.app.cli", "from gateway.supervisor import Supervisor", True),
        ("gateway.links.mqtt", "from gateway.record import Payload", True),
        ("gateway.config.site", "from gateway.config.board import Board", True),
        ("gateway.record", "import gateway.supervisor", False),
        ("gateway.links.mqtt", "from gateway.app import cli", False),
        ("gateway.wasm", "from gateway.config import site", False),
        ("gateway.graph", "def f():\n    from gateway import supervisor", False),
        ("gateway.novelty", "import gateway.errors", False),
    ],
)
def test_the_law_itself(importer: str, source: str, lawful: bool) -> None:
    assert (list(breaches(importer, ast.parse(source))) == []) is lawful


def test_gateway_and_ota_do_not_know_each_other() -> None:
    for own, other in (("gateway", "ota"), ("ota", "gateway")):
        for path in files(own, suffixes={".py"}):
            targets = [target for _, target in imports(ast.parse(path.read_text("utf-8")))]
            known = [target for target in targets if target.split(".")[0] == other]
            if name(path).startswith("gateway/image/"):  # puts both on one disk, on the build machine
                known = [target for target in known if not target.startswith(("ota.boot.", "ota.ports."))]
            assert known == [], name(path)


def test_imports_are_absolute() -> None:
    for path in python_files():
        relative = [
            n.lineno for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.ImportFrom) and n.level
        ]
        assert relative == [], name(path)


def test_one_module_imports_each_extension() -> None:
    importers = {
        (".".join(target.split(".")[:2]), name(path))
        for path in python_files()
        for _, target in imports(ast.parse(path.read_text("utf-8")))
        if target.startswith("gateway._runtime") and not target.startswith("gateway._runtime_build")
    }
    assert importers == {("gateway._runtime", "gateway/native.py"), ("gateway._runtime_call", "gateway/wasm.py")}


# The same for the update agent, docs/ota.md: left may import right; parts of one group do not import each other.
OTA_LAYERS = (
    "app", "fleet", "agent", "stage repo", "delta", "trust transfer boot", "digest storage", "durable ports",
    "clock", "errors",
)  # fmt: skip
OTA_RANK = {part: rank for rank, layer in enumerate(OTA_LAYERS) for part in layer.split()}


def ota_imports() -> Iterator[tuple[str, str]]:
    """(importing module, imported module) inside ``ota``."""
    for path in files("ota", suffixes={".py"}):
        for _, target in imports(ast.parse(path.read_text("utf-8"))):
            if target.startswith("ota.") and target != "ota.__version__":
                yield dotted_name(path), target


def test_import_law_of_ota() -> None:
    found = []
    for importer, target in ota_imports():
        own, other = importer.split(".")[1], target.split(".")[1]
        if own != other and not OTA_RANK[own] < OTA_RANK[other]:
            found.append(f"{importer}: {target}")
    assert found == []


def test_a_device_does_not_need_the_build_side() -> None:
    """Nothing that a device runs imports how repositories and patches are made; the command line does so when asked."""
    for importer, target in ota_imports():
        if target.startswith(("ota.repo", "ota.delta.make")):
            assert importer.split(".")[1] in ("app", "repo") or importer == "ota.delta.make", f"{importer}: {target}"
