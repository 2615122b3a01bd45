"""Generated headers and compiled modules: what the host packs is what a C compiler lays out."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from gateway.app.plugin_build import SDK, build, header
from gateway.config.manifest import (
    SECTION,
    TAG_START,
    TagSettings,
    layout,
    load_manifest,
    pack_config,
    parse_manifest,
)
from gateway.errors import PluginError
from gateway.signature import ExternKind
from gateway.store.container import custom_section
from gateway.wasm import Engine, Module
from tests.runtime_c import toolchain

EVERY_TYPE = """
name = "every"
version = "1.2.3"
abi = 1
kind = "etl"
summary = "a field of each type"
[capabilities]
hal = []
[limits]
memory_bytes = 65536
deadline_us = 1000
[rings]
in = "samples"
out = "samples"
[config.flag]
type = "bool"
doc = "d"
[config.wide]
type = "u64"
doc = "d */ d"
[config.small]
type = "i8"
optional = true
doc = "d"
[config.text]
type = "str5"
doc = "d"
[config.half]
type = "u16"
doc = "d"
[config.single]
type = "f32"
doc = "d"
[config.mode]
type = "enum"
values = ["off", "half-way", "2nd"]
doc = "d"
[config.pattern]
type = "bits64"
optional = true
doc = "d"
[tag.number]
type = "f64"
doc = "d"
[tag.name]
type = "str7"
source = "name"
doc = "d"
"""
PLUGIN_C = """
#include "every_config.h"
#include "pen.h"
PEN_ABI_MARKER()
int32_t PEN_EXPORT(pen_init)(void) { return (int32_t)sizeof(struct every_config); }
"""


def compile_and_run(tmp_path: Path, source: str) -> str:
    (tmp_path / "main.c").write_text(source, encoding="utf-8")
    program = tmp_path / "main"
    command = [*toolchain.ZIG_CC.split(), "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{tmp_path}"]
    cache = {"ZIG_GLOBAL_CACHE_DIR": str(toolchain.BUILD / "zig-cache")}
    environment = {**os.environ, **cache, "ZIG_LOCAL_CACHE_DIR": str(tmp_path / "zig-cache")}
    subprocess.run([*command, str(tmp_path / "main.c"), "-o", str(program)], check=True, env=environment)
    return subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout


def test_offsets_are_those_of_a_c_compiler(tmp_path: Path) -> None:
    manifest = parse_manifest(EVERY_TYPE, "every/plugin.toml")
    (tmp_path / "every_config.h").write_text(header(manifest), encoding="utf-8")
    structs = {"config": layout(manifest.config), "tag": layout(manifest.tag, start=TAG_START)}
    prints = "".join(
        f'    printf("%zu\\n", offsetof(struct every_{name}, {member.name}));\n'
        for name, where in structs.items()
        for member in where.members
    )
    body = f'#include "every_config.h"\n#include <stddef.h>\n#include <stdio.h>\nint main(void) {{\n{prints}}}\n'
    expected = [member.offset for where in structs.values() for member in where.members]
    assert [int(line) for line in compile_and_run(tmp_path, body).split()] == expected


def test_a_c_program_reads_what_was_packed(tmp_path: Path) -> None:
    manifest = parse_manifest(EVERY_TYPE, "every/plugin.toml")
    settings: dict[str, object] = {
        "flag": True, "wide": 2**63 + 5, "text": "hé", "half": 65535, "single": -0.5, "mode": "2nd", "pattern": -1,
    }  # fmt: skip
    tags = [TagSettings(7, "b", "", {"number": 2.5}), TagSettings(3, "a", "", {"number": 1e300, "name": "x"})]
    block = pack_config(manifest, settings, tags, file="site.toml")
    (tmp_path / "every_config.h").write_text(header(manifest), encoding="utf-8")
    source = f"""
#include "every_config.h"
#include <stdio.h>
_Alignas(8) static const unsigned char block[] = {{{", ".join(str(byte) for byte in block)}}};
int main(void) {{
    const uint32_t *head = (const uint32_t *)(const void *)block;
    const struct every_config *c = (const void *)(block + 16);
    const struct every_tag *tags = (const void *)(block + 16 + head[0]);
    printf("%d %llu %d %s %d %g %d %llx %d\\n", c->flag, (unsigned long long)c->wide, c->has_small, c->text, c->half,
           (double)c->single, c->mode == EVERY_MODE_2ND, (unsigned long long)c->pattern, c->has_pattern);
    for (uint32_t i = 0; i < head[1]; i++) printf("%u %g %s\\n", tags[i].tag, tags[i].number, tags[i].name);
    return head[2] == sizeof *tags ? 0 : 1;
}}
"""
    assert compile_and_run(tmp_path, source).splitlines() == [
        "1 9223372036854775813 0 hé 65535 -0.5 1 ffffffffffffffff 1",
        "3 1e+300 x",
        "7 2.5 b",
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A plugin of one source file."""
    plugin = tmp_path / "every"
    plugin.mkdir()
    (plugin / "plugin.toml").write_text(EVERY_TYPE, encoding="utf-8")
    (plugin / "every.c").write_text(PLUGIN_C, encoding="utf-8")
    return plugin


def test_build_runs_once_for_the_same_inputs(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    module = build(folder, out)
    assert module == out / "every.wasm"
    first = module.stat().st_mtime_ns, module.read_bytes()
    assert (build(folder, out).stat().st_mtime_ns, module.read_bytes()) == first
    (folder / "every.c").write_text(PLUGIN_C.replace("sizeof", "1 + (int32_t)sizeof"), encoding="utf-8")
    assert build(folder, out).read_bytes() != first[1]


def test_a_module_carries_its_manifest_on_request(folder: Path, tmp_path: Path) -> None:
    plain = build(folder, tmp_path / "out").read_bytes()
    raw = build(folder, tmp_path / "out", embed=True).read_bytes()
    assert raw == plain + custom_section(SECTION, EVERY_TYPE.encode())
    with Engine() as engine, Module(engine, "every", raw) as module:
        assert module.custom(SECTION) == EVERY_TYPE.encode()


@pytest.mark.parametrize("size", [0, 1, 127 - 5, 128 - 5, 16384])
def test_a_custom_section_of_any_size(size: int) -> None:
    content = bytes(range(256)) * 65
    with Engine() as engine, Module(engine, "it", b"\0asm\1\0\0\0" + custom_section("four", content[:size])) as module:
        assert module.custom("four") == content[:size]


def test_every_function_has_a_name_and_none_has_two(folder: Path, tmp_path: Path) -> None:
    source = PLUGIN_C.replace(
        "int32_t PEN_EXPORT",
        "static __attribute__((noinline)) int32_t own(int32_t a) { hal_log(0, 0, a); return a; }\nint32_t PEN_EXPORT",
    ).replace("return (int32_t)", "return own((int32_t)hal_now(0)) + (int32_t)")
    (folder / "every.c").write_text(source, encoding="utf-8")
    data = build(folder, tmp_path / "out").read_bytes()
    with Engine() as engine, Module(engine, "every", data) as module:
        imported, names = len(module.imports()), [module.function_name(n) for n in range(module.count(ExternKind.FUNC))]
        section = module.custom("name")
    assert set(names[imported:]) == {"own", "pen_abi_1", "pen_init"}
    assert section is not None
    assert b"own" in section
    assert b"pen_init" not in section, "its export says so"
    assert b"hal" not in section


def test_a_changed_manifest_is_a_changed_input(folder: Path, tmp_path: Path) -> None:
    first = build(folder, tmp_path / "out").read_bytes()
    wider = EVERY_TYPE.replace('type = "str5"', 'type = "str50"')
    (folder / "plugin.toml").write_text(wider, encoding="utf-8")
    assert build(folder, tmp_path / "out").read_bytes() != first


def test_compiler_errors_are_shown_and_leave_the_old_module(folder: Path, tmp_path: Path) -> None:
    module = build(folder, tmp_path / "out")
    before = module.read_bytes()
    (folder / "every.c").write_text(PLUGIN_C.replace("return", "retrun"), encoding="utf-8")
    with pytest.raises(PluginError, match="retrun"):
        build(folder, tmp_path / "out")
    assert module.read_bytes() == before


def test_a_function_that_nobody_has_is_named(folder: Path, tmp_path: Path) -> None:
    calls = PLUGIN_C.replace("return (int32_t)", "extern int strange(int); return strange((int32_t)").replace(
        "; }", "); }"
    )
    (folder / "every.c").write_text(calls, encoding="utf-8")
    with pytest.raises(PluginError, match="strange"):
        build(folder, tmp_path / "out")


def test_a_folder_without_sources_is_named(folder: Path, tmp_path: Path) -> None:
    (folder / "every.c").unlink()
    with pytest.raises(PluginError, match=r"every: no C sources"):
        build(folder, tmp_path / "out")


@pytest.mark.parametrize("path", sorted(SDK.glob("*.h")), ids=lambda path: path.name)
def test_each_sdk_header_stands_alone(path: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "every.c").write_text(f'#include "{path.name}"\n{PLUGIN_C}', encoding="utf-8")
    assert build(folder, tmp_path / "out").exists()


def test_manifests_of_the_tree_make_headers_that_compile() -> None:
    for path in sorted((toolchain.ROOT / "plugins").glob("*/plugin.toml")):
        manifest = load_manifest(path)
        assert f"struct {manifest.name}_tag {{" in header(manifest)
