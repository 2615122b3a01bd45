"""Plugin folders to WebAssembly: ``penstock plugin build`` and ``penstock plugin header``.

A plugin folder holds ``plugin.toml`` and C sources. The C structs of its configuration are generated from the manifest
(``NAME_config.h``), so plugin code never keeps a copy of its own. The compiler and linker are those of the ``ziglang``
wheel. Names of functions stay in (``plugin_names``): traps then name them. plugin.toml goes into a custom section.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from gateway.app import plugin_names, vectors
from gateway.config.manifest import (
    SCALAR_TYPES,
    SECTION,
    TAG_START,
    Field,
    Layout,
    Manifest,
    layout,
    load_manifest,
    parse_manifest,
)
from gateway.errors import PenstockError, PluginError
from gateway.store.container import custom_section

SDK = Path(__file__).resolve().parents[2] / "plugins" / "sdk" / "c"
COMPILE_FLAGS = (
    "-target", "wasm32-freestanding", "-std=c11", "-Oz", "-ffreestanding", "-fno-builtin-printf",
    "-mllvm", "-disable-lsr",  # it keeps a pointer per array in each loop, which is longer here
    "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wstrict-prototypes", "-Wundef", "-Wvla", "-Werror",
)  # fmt: skip
LINK_FLAGS = (
    "--no-entry", "-z", "stack-size=4096", "--strip-all", "--keep-section=name", "--compress-relocations", "-O2",
)  # fmt: skip


# ---- the generated header -----------------------------------------------------------------------------------------


def header(manifest: Manifest) -> str:
    """The C header with ``struct NAME_config``, ``struct NAME_tag`` and the constants of their enums."""
    guard = f"{manifest.name.upper()}_CONFIG_H"
    parts = [
        f"/* Generated from plugin.toml of {manifest.name} {manifest.version}: do not edit. */",
        f"#ifndef {guard}\n#define {guard}",
        "#include <stdbool.h>\n#include <stdint.h>",
        *_enums(manifest.name, manifest.config),
        *_enums(f"{manifest.name}_tag", manifest.tag),
    ]
    if manifest.config:
        parts.append(_struct(f"{manifest.name}_config", layout(manifest.config), first=""))
    parts.append(_struct(f"{manifest.name}_tag", layout(manifest.tag, start=TAG_START), first="uint32_t tag"))
    parts.append("#endif")
    return "\n\n".join(parts) + "\n"


def _enums(prefix: str, fields: Iterable[Field]) -> list[str]:
    found = []
    for spec in fields:
        if spec.type == "enum":
            names = [_constant(prefix, spec.name, value) for value in spec.values]
            rows = "\n".join(f"    {name} = {position}," for position, name in enumerate(names))
            found.append(f"enum {prefix}_{spec.name} {{\n{rows}\n}};")
    return found


def _constant(*parts: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", "_".join(parts).upper())


def _struct(name: str, where: Layout, *, first: str) -> str:
    """The first member carries the alignment, so that ``sizeof`` is the padded size of the block."""
    lines = [first] if first else []
    notes = ["index in the site's tag table"] if first else []
    for member in where.members:
        spec = member.field
        kind = "bool" if member.is_flag else "char" if spec.text_bytes else SCALAR_TYPES[spec.type].c_name
        suffix = f"[{spec.text_bytes}]" if spec.text_bytes and not member.is_flag else ""
        lines.append(f"{kind} {member.name}{suffix}")
        unit = f"[{spec.unit}] " if spec.unit else ""
        notes.append(f"{spec.name} is set" if member.is_flag else f"{unit}{spec.doc}".replace("*/", "* /"))
    lines[0] = f"_Alignas(8) {lines[0]}"
    body = "\n".join(f"    {line}; /* {note} */" for line, note in zip(lines, notes, strict=True))
    check = f'_Static_assert(sizeof(struct {name}) == {where.size}, "{name} is what the host packs");'
    return f"struct {name} {{\n{body}\n}};\n{check}"


# ---- the tables of a README ---------------------------------------------------------------------------------------


def tables(manifest: Manifest) -> str:
    """The Markdown tables of the settings that a plugin's README shows; a test compares them."""
    sections = (("Settings of a stage", manifest.config), (f"Settings of a tag, under `{manifest.name}`", manifest.tag))
    return "\n".join(_table(title, fields) for title, fields in sections if fields)


def _table(title: str, fields: Sequence[Field]) -> str:
    rows = "".join(f"| `{spec.name}` | {_type_text(spec)} | {_default_text(spec)} | {spec.doc} |\n" for spec in fields)
    return f"### {title}\n| key | type | default | meaning |\n|---|---|---|---|\n{rows}"


def _type_text(spec: Field) -> str:
    unit = f" {spec.unit}" if spec.unit else ""
    if spec.values:
        return " ".join(f"`{value}`" for value in spec.values)
    if spec.minimum is None and spec.maximum is None:
        return f"{spec.type}{unit}"
    return f"{spec.type}, {spec.minimum} to {spec.maximum}{unit}"


def _default_text(spec: Field) -> str:
    known = f"the {spec.source}" if spec.source else ""
    if spec.default is None:
        return known or ("not set" if spec.optional else "required")
    default = str(spec.default).lower() if isinstance(spec.default, bool) else str(spec.default)
    return f"{known}, else {default}" if known else default


# ---- compiling ----------------------------------------------------------------------------------------------------


def build(folder: Path, out: Path, *, embed: bool = False, version: str = "") -> Path:
    """Compile the plugin in ``folder`` to ``out``/NAME.wasm unless nothing has changed since; returns that path.

    ``embed``: the module carries its plugin.toml in the custom section ``penstock.manifest``; there ``version`` takes
    the place of the one in the folder, unless it is empty.

    Raises ConfigError for a wrong manifest and PluginError with the compiler's text when it does not compile.
    """
    manifest = load_manifest(folder / "plugin.toml")
    sources = sorted(folder.glob("*.c"))
    if not sources:
        raise PluginError(f"{folder}: no C sources (*.c) to build")
    module, stamp = out / f"{manifest.name}.wasm", out / f"{manifest.name}.inputs"
    inputs = _fingerprint(
        [folder / "plugin.toml", *sources, *folder.glob("*.h"), *folder.glob("vectors/*"), *SDK.glob("*.h")],
        header(manifest) + str(embed) + version + Path(plugin_names.__file__).read_text("utf-8"),
    )
    if module.exists() and stamp.exists() and stamp.read_text() == inputs:
        return module
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{manifest.name}-", dir=out) as folder_name:
        work = Path(folder_name)  # of this build alone: builds may run side by side
        (work / f"{manifest.name}_config.h").write_text(header(manifest), encoding="utf-8")
        objects = [_compile(source, work, out) for source in sources]
        fresh = work / f"{manifest.name}.wasm"
        _zig(["wasm-ld", *LINK_FLAGS, *map(str, objects), "-o", str(fresh)], out)
        fresh.write_bytes(plugin_names.slim(fresh.read_bytes()))
        if embed:
            with fresh.open("ab") as file:
                file.write(custom_section(SECTION, _manifest_text(folder / "plugin.toml", version)))
                if (script := vectors.packed(folder)) is not None:
                    file.write(custom_section(vectors.SECTION, script))
        os.replace(fresh, module)
    stamp.write_text(inputs)
    return module


def _manifest_text(path: Path, version: str) -> bytes:
    text = path.read_text(encoding="utf-8")
    if version:
        text = re.sub(r"^version *=[^#\n]*", f'version = "{version}"', text, count=1, flags=re.MULTILINE)
        parse_manifest(text, str(path))
    return text.encode()


def _compile(source: Path, work: Path, out: Path) -> Path:
    target = work / f"{source.stem}.o"
    _zig(["cc", *COMPILE_FLAGS, f"-I{SDK}", f"-I{work}", "-c", str(source), "-o", str(target)], out)
    return target


def _zig(arguments: Sequence[str], out: Path) -> None:
    """Run a tool of the ziglang wheel, with its cache under ``out``."""
    cache = str((out / "zig-cache").resolve())
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    done = subprocess.run(
        [sys.executable, "-m", "ziglang", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise PluginError(f"zig {arguments[0]} failed:\n{done.stderr.strip()}")


def _fingerprint(paths: Iterable[Path], generated: str) -> str:
    """A hash over everything the module depends on: tool version, flags, files."""
    digest = hashlib.sha256()
    version = importlib.metadata.version("ziglang")
    digest.update("\0".join((version, *COMPILE_FLAGS, *LINK_FLAGS, SECTION, generated)).encode())
    for path in sorted(paths):
        digest.update(f"\0{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m gateway.app.plugin_build FOLDER... [--out DIR]``."""
    parser = argparse.ArgumentParser(description="Compile plugin folders to WebAssembly")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--out", type=Path, default=Path("build/plugins"), metavar="DIR")
    options = parser.parse_args(arguments)
    try:
        for folder in options.folders:
            module = build(folder, options.out)
            print(f"{module}: {module.stat().st_size} bytes")
    except PenstockError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
