"""Compiled code against the interpreter: everything that can be seen must be the same, on every target."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.app import aot_build
from gateway.app.aot_build import Compiler, compile_module, find_compiler
from gateway.errors import HostFault, UsageError, WasmTrap
from gateway.wasm import Bounds, Engine, Execution, Module, Store, emit_c
from tests.runtime_c import loop_modules
from tests.runtime_c.spec import Engine as SpecEngine
from tests.runtime_c.spec import run_archive
from tests.runtime_c.test_c_units import require
from tests.runtime_c.test_spec import suite, told
from tests.runtime_c.toolchain import BUILD, HOST, ROOT, TOOLCHAINS, build, locked

CASES = Path(__file__).with_name("aot_cases.c")
ZIG = (sys.executable, "-m", "ziglang", "cc")
FOREIGN = ("aarch64", "armv7", "riscv64")
CALLS_MIN = 80  # so that an empty comparison is noticed


def to_wasm(source: Path) -> Path:
    """A C file as a WebAssembly module, made once."""
    out = BUILD / "aot" / f"{source.stem}.wasm"
    with locked(out.with_suffix(".lock")):
        if not out.is_file() or out.stat().st_mtime < source.stat().st_mtime:
            flags = ["-target", "wasm32-freestanding", "-nostdlib", "-O2", "-Wl,--no-entry", "-Wl,--export-memory"]
            command = [*ZIG, *flags, "-fno-sanitize=all", "-mbulk-memory", "-mtail-call", str(source), "-o", str(out)]
            subprocess.run(command, check=True, capture_output=True)
    return out


@pytest.fixture(scope="session")
def cases() -> Path:
    return to_wasm(CASES)


@pytest.fixture(scope="session")
def kernels() -> Path:
    return to_wasm(ROOT / "tests" / "runtime_c" / "aot_kernels.c")


def compare(toolchain: str, artefact: Path, modules: Sequence[Path], *options: str, calls_min: int = CALLS_MIN) -> None:
    """Run both ways by the tool built with ``toolchain``; fails with what differs."""
    require(TOOLCHAINS[toolchain])
    tool = build(TOOLCHAINS[toolchain], "tools") / "tools" / "aot_compare"
    command = [*TOOLCHAINS[toolchain].runner(), str(tool), str(artefact), *options, *map(str, modules)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    calls = int(done.stdout.split("compared ")[1].split()[0])
    assert calls >= calls_min, done.stdout


@pytest.mark.parametrize("checked", [False, True], ids=["guard", "checked"])
@pytest.mark.parametrize("compiler", ["cc", "zig"])
def test_native(compiler: str, checked: bool, cases: Path, tmp_path: Path) -> None:
    artefact = tmp_path / "cases.so"
    chosen = find_compiler(HOST, shlex.join(ZIG) if compiler == "zig" else "")
    compile_module(chosen, "cases", cases.read_bytes(), artefact, checked=checked)
    bounds = "checked" if checked else "guard"
    compare("native", artefact, [cases], "--bounds", bounds, "--seeds", "12", "--sweep", "400")


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
@pytest.mark.parametrize("target", FOREIGN)
def test_foreign(target: str, compiler: str, cases: Path, tmp_path: Path) -> None:
    artefact = tmp_path / "cases.so"
    chosen = find_compiler(target, shlex.join(ZIG) if compiler == "zig" else "")
    compile_module(chosen, "cases", cases.read_bytes(), artefact)
    bounds = "checked" if aot_build.TARGETS[target].is_checked else "guard"
    compare(f"{target}-shared", artefact, [cases], "--bounds", bounds, "--seeds", "6", "--sweep", "60")


@pytest.mark.parametrize("stack", [4096, 65536, 1 << 20])
def test_the_stack_ends_at_the_same_depth(stack: int, cases: Path, tmp_path: Path) -> None:
    artefact = tmp_path / "cases.so"
    compile_module(find_compiler(HOST), "cases", cases.read_bytes(), artefact)
    compare("native", artefact, [cases], "--stack", str(stack), "--fuel", "3000000")


def test_kernels_at_every_fuel(kernels: Path, tmp_path: Path) -> None:
    artefact = tmp_path / "kernels.so"
    compile_module(find_compiler(HOST), "kernels", kernels.read_bytes(), artefact)
    compare("native", artefact, [kernels], "--sweep", "1500", calls_min=1500)


# ---- loops without checks: only without fuel, which counts each jump ----

SEEDS = 4


def bounds_of(target: str, checked: bool) -> str:
    return "checked" if checked or aot_build.TARGETS[target].is_checked else "guard"


def compare_loops(toolchain: str, target: str, folder: Path, seeds: Sequence[int], checked: bool) -> None:
    """Random loops; the files are named by their seeds."""
    modules = []
    texts = []
    with Engine() as engine:
        for seed in seeds:
            modules.append(folder / f"loops-{seed}.wasm")
            modules[-1].write_bytes(loop_modules.module(seed))
            texts.append(emit_c(engine, modules[-1].name, modules[-1].read_bytes()))
    artefact = folder / "loops.so"
    bounds = bounds_of(target, checked)
    aot_build.build(find_compiler(target), texts, artefact, checked=bounds == "checked")
    compare(toolchain, artefact, modules, "--bounds", bounds, "--fuel", "0", "--seeds", "9")


@pytest.mark.parametrize("checked", [False, True], ids=["guard", "checked"])
def test_loops(checked: bool, tmp_path: Path) -> None:
    loops = to_wasm(CASES.with_name("aot_loops.c"))
    artefact = tmp_path / "loops.so"
    compile_module(find_compiler(HOST), "loops", loops.read_bytes(), artefact, checked=checked)
    bounds = bounds_of(HOST, checked)
    compare("native", artefact, [loops], "--bounds", bounds, "--fuel", "0", "--seeds", "90", calls_min=1000)
    compare("native", artefact, [loops], "--bounds", bounds, "--sweep", "150", calls_min=1000)


@pytest.mark.parametrize("checked", [False, True], ids=["guard", "checked"])
def test_random_loops(checked: bool, tmp_path: Path) -> None:
    compare_loops("native", HOST, tmp_path, range(SEEDS), checked)


@pytest.mark.parametrize("target", FOREIGN)
def test_random_loops_on_foreign_targets(target: str, tmp_path: Path) -> None:
    compare_loops(f"{target}-shared", target, tmp_path, range(100, 101), checked=False)


NESTS = {  # start and condition of an inner loop that adds 0x30000000: past zero, and on for ten rounds in all
    "not zero": (0x20000000, b""),
    "below": (0x10000000, loop_modules.const(0xF0000000) + b"\x49"),
}


@pytest.mark.parametrize("what", NESTS)
def test_an_inner_loop_may_go_on_behind_where_its_counter_wraps(what: str, tmp_path: Path) -> None:
    """Two loops run as one only if the rounds of the inner one are known, not only how many there are at least."""
    start, condition = NESTS[what]
    get, const, put = loop_modules.get, loop_modules.const, loop_modules.put
    inner = get(1) + get(3) + b"\x28\x02\x00\x6a" + const(1) + b"\x6a" + put(1) + get(3) + const(4) + b"\x6a" + put(3)
    inner += get(2) + const(0x30000000) + b"\x6a\x22\x02" + condition + b"\x0d\x00"
    outer = const(start) + put(2) + get(0) + put(3) + bytes([0x03, 0x40]) + inner + b"\x0b"
    outer += get(0) + const(4) + b"\x6a\x22\x00" + const(400) + b"\x49\x0d\x00"
    body = b"\x01\x03\x7f" + bytes([0x03, 0x40]) + outer + b"\x0b" + get(1) + b"\x0b"
    module = loop_modules.assemble({"run": loop_modules.sized(body)}, parameters=1)
    compile_module(find_compiler(HOST), "it", module, tmp_path / "it.so", keep_c=tmp_path / "it.c")
    assert "    LIMIT_NEST(k" in (tmp_path / "it.c").read_text()
    with Engine() as engine, Module(engine, "it", module) as loaded:
        loaded.attach(tmp_path / "it.so", module)
        with Store(engine) as store, Execution(engine) as execution:
            assert store.instantiate(loaded, execution).func("run").call(execution, 0) == (1000,)


def test_loops_are_counted_beforehand() -> None:
    """So that the comparisons above are about something."""
    with Engine() as engine:
        text = b"".join(emit_c(engine, "loops", loop_modules.module(seed)) for seed in range(SEEDS))
    for what in (b"PARALLEL\n    for", b"    LIMIT_NEST(k", b"    k2--;"):
        assert text.count(what) > 3


def test_nans_in_nests_are_made_canonical_without_a_jump(tmp_path: Path) -> None:
    """Which would keep vector code from being made of them."""
    nests = to_wasm(CASES.with_name("aot_nests.c"))
    artefact = tmp_path / "nests.so"
    compile_module(find_compiler(HOST), "nests", nests.read_bytes(), artefact, keep_c=tmp_path / "nests.c")
    text = (tmp_path / "nests.c").read_text()
    for bits in (32, 64):
        assert re.findall(rf"flat_canon_f{bits}\(\w+\);", text)
    compare("native", artefact, [nests], "--fuel", "0", "--seeds", "40")


def test_only_some_loops_are_written_in_special_ways() -> None:
    """Compiling takes several times as long for them: there are not more of them in a larger module."""
    with Engine() as engine:
        texts = [emit_c(engine, "loops", loop_modules.module(1, functions=count)) for count in (400, 800)]
    special = [text.count(b"rounds_below(kc") + text.count(b"rounds_nonzero(kc") for text in texts]
    assert special[0] == special[1] > 10


@pytest.mark.parametrize("target", [HOST, *FOREIGN])
@pytest.mark.parametrize(("parts", "word"), [(60, "LARGE"), (280, "HUGE")])
def test_large_functions(parts: int, word: str, target: str, tmp_path: Path) -> None:
    """The C compiler does less to them, which does not show."""
    module = tmp_path / "large.wasm"
    module.write_bytes(loop_modules.large(1, parts))
    artefact = tmp_path / "large.so"
    with Engine() as engine:
        text = emit_c(engine, module.name, module.read_bytes())
    assert text.count(b"\n%s FUNCTION" % word.encode()) == 1
    bounds = bounds_of(target, checked=False)
    aot_build.build(find_compiler(target), [text], artefact, checked=bounds == "checked")
    toolchain = "native" if target == HOST else f"{target}-shared"
    options = ("--bounds", bounds, "--seeds", "3")
    compare(toolchain, artefact, [module], *options, "--sweep", "20", calls_min=20 * parts)
    compare(toolchain, artefact, [module], *options, "--fuel", "0", calls_min=3 * parts)


def test_a_choice_between_compared_numbers_is_told_as_such(cases: Path) -> None:
    with Engine() as engine:
        text = emit_c(engine, "cases", cases.read_bytes())
    for what in (b"S32(l0) < S32(l1) ? S32(l0) : S32(l1)", b"S64(l2) > S64(l3) ? S64(l2) : S64(l3)"):
        assert text.count(what) == 1


# ---- limits: how much is done after a call should have ended, counted in rounds ----

ADD = loop_modules.get(0) + loop_modules.const(1) + b"\x6a" + loop_modules.put(0)  # 4 instructions
COUNT = b"\x23\x00" + loop_modules.const(1) + b"\x6a\x24\x00"
BULK = loop_modules.const(0) + loop_modules.const(9) + loop_modules.const(60000)
FROM_SEGMENT = loop_modules.const(0) * 2 + loop_modules.const(loop_modules.SEGMENT)
INSTRUCTIONS_MAX = 300_000  # of native code between two looks at the limits: below 200 us
LOOPS = {  # the body of an endless loop, and how many instructions or bytes / 16 it is worth
    "short": (ADD, 8),
    "long": (ADD * 300, 1200),
    "very long": (ADD * 6000, 24000),
    "memory.fill": (loop_modules.const(0) * 2 + loop_modules.const(1 << 16) + b"\xfc\x0b\x00", 4096),
    "memory.copy": (BULK + b"\xfc\x0a\x00\x00", 3800),
    "memory.init": (FROM_SEGMENT + b"\xfc\x08\x00\x00", 3750),
    "table.fill": (loop_modules.const(0) + b"\xd0\x70" + loop_modules.const(70000) + b"\xfc\x11\x00", 35000),
    "table.copy": (BULK + b"\xfc\x0e\x00\x00", 30000),
    "table.init": (loop_modules.const(0) * 2 + loop_modules.const(16000) + b"\xfc\x0c\x00\x00", 8000),
    "table.grow": (b"\xd0\x70" + loop_modules.const(16000) + b"\xfc\x0f\x00\x1a", 8000),
    "table.grow, none": (b"\xd0\x70" + loop_modules.const(0) + b"\xfc\x0f\x00\x1a", 128),
    "memory.grow": (loop_modules.const(0) + b"\x40\x00\x1a", 128),
    "divisions": ((loop_modules.get(0) + loop_modules.const(3) + b"\x6e" + loop_modules.put(0)) * 40, 640),
}  # fmt: skip


def interrupted(body: bytes, folder: Path, local_types: bytes = b"\x00") -> int:
    """Rounds that were begun, of a call that was interrupted before it began."""
    told = b"\x23\x00\x0b"
    functions = {"run": loop_modules.sized(local_types + body), "rounds": loop_modules.sized(b"\x00" + told)}
    module = loop_modules.assemble(functions, parameters=1, pages=16, segments=True)
    compile_module(find_compiler(HOST), "it", module, folder / "it.so")
    with Engine() as engine, Module(engine, "it", module) as loaded:
        loaded.attach(folder / "it.so", module)
        with Store(engine) as store, Execution(engine) as execution:
            instance = store.instantiate(loaded, execution)
            assert instance.is_compiled
            execution.interrupt()
            with pytest.raises(WasmTrap) as trap:
                instance.func("run").call(execution, 0)
            assert trap.value.status == "TRAP_INTERRUPTED"
            return int(instance.func("rounds").call(execution, 0)[0] or 0)


def endless(body: bytes) -> bytes:
    return bytes([0x03, 0x40]) + COUNT + body + b"\x0c\x00\x0b\x00\x0b"


@pytest.mark.parametrize("what", LOOPS)
def test_loops_look_at_the_limits_in_time(what: str, tmp_path: Path) -> None:
    body, worth = LOOPS[what]
    assert 1 <= interrupted(endless(body), tmp_path) <= INSTRUCTIONS_MAX // worth + 1


def test_deadlines_end_loops(tmp_path: Path) -> None:
    functions = {what: loop_modules.sized(b"\x00" + endless(body)) for what, (body, _) in LOOPS.items()}
    module = loop_modules.assemble(functions, parameters=1, pages=16, segments=True)
    compile_module(find_compiler(HOST), "it", module, tmp_path / "it.so")
    with Engine() as engine, Module(engine, "it", module) as loaded:
        loaded.attach(tmp_path / "it.so", module)
        with Store(engine) as store, Execution(engine, deadline_us=2000) as execution:
            instance = store.instantiate(loaded, execution)
            assert instance.is_compiled
            for what in LOOPS:
                with pytest.raises(WasmTrap) as trap:
                    instance.func(what).call(execution, 0)
                assert trap.value.status == "TRAP_DEADLINE", what


def trap_of(module: bytes, artefact: Path | None, name: str, argument: int, *, is_hurried: bool) -> WasmTrap:
    """How a call of a function ends. ``artefact`` None: interpreted; ``is_hurried``: interrupted before it began."""
    with Engine() as engine, Module(engine, "it", module) as loaded:
        if artefact is not None:
            loaded.attach(artefact, module)
        with Store(engine) as store, Execution(engine) as execution:
            func = store.instantiate(loaded, execution).func(name)
            if is_hurried:
                execution.interrupt()
            with pytest.raises(WasmTrap) as trap:
                func.call(execution, argument)
            return trap.value


def both_traps(
    module: bytes, folder: Path, name: str, argument: int = 0, *, is_hurried: bool = False
) -> list[WasmTrap]:
    """Of interpreted and of compiled code."""
    artefact = folder / "it.so"
    compile_module(find_compiler(HOST), "it", module, artefact)
    return [trap_of(module, one, name, argument, is_hurried=is_hurried) for one in (None, artefact)]


def hurried(depth: int, folder: Path) -> list[WasmTrap]:
    """Of a call that recurses, then goes on for ever, and was interrupted before it began."""
    on = loop_modules.get(0) + loop_modules.const(1) + b"\x6b\x10\x00\x1a"
    down = (
        b"\x00"
        + loop_modules.get(0)
        + b"\x04\x40"
        + on
        + b"\x05\x03\x40\x0c\x00\x0b\x0b"
        + loop_modules.get(0)
        + b"\x0b"
    )
    module = loop_modules.assemble({"down": loop_modules.sized(down)}, parameters=1)
    return both_traps(module, folder, "down", depth, is_hurried=True)


@pytest.mark.parametrize("what", ["memory.grow", "table.grow, none"])
def test_calls_end_where_they_grow(what: str, tmp_path: Path) -> None:
    """Interpreted and compiled code tell the same place."""
    code = loop_modules.sized(b"\x00" + endless(LOOPS[what][0]))
    module = loop_modules.assemble({"run": code}, parameters=1, pages=1, segments=True)
    interpreted, compiled = both_traps(module, tmp_path, "run", is_hurried=True)
    assert compiled.status == interpreted.status == "TRAP_INTERRUPTED"
    assert compiled.frames == interpreted.frames != ()


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_back_traces_of_calls_that_ran_out_of_time(depth: int, tmp_path: Path) -> None:
    interpreted, compiled = hurried(depth, tmp_path)
    assert compiled.status == interpreted.status == "TRAP_INTERRUPTED"
    assert compiled.frames == interpreted.frames
    assert compiled.depth == interpreted.depth == depth + 1


def test_back_traces_of_calls_that_ran_out_of_time_are_short(tmp_path: Path) -> None:
    """Unwinding the C stack takes its time: it ends before the outermost frame."""
    interpreted, compiled = hurried(40, tmp_path)
    count = len(compiled.frames)
    assert 4 <= count < len(interpreted.frames) == 16
    assert compiled.frames == interpreted.frames[:count]
    assert (compiled.depth, interpreted.depth) == (count + 1, 17)


def test_back_traces_of_large_modules_take_a_bounded_time(tmp_path: Path) -> None:
    """Where hundreds of functions call each other in a ring, frames that are not told are counted, not looked up."""
    count = 400
    functions = {}
    for number in range(count):
        call = b"\x10" + loop_modules.uleb((number + 1) % count)
        code = loop_modules.get(0) + call + loop_modules.const(1 << 20) + b"\x6a" + loop_modules.get(0) + b"\x6a\x0b"
        functions[f"f{number}"] = loop_modules.sized(b"\x00" + code)
    module = loop_modules.assemble(functions, parameters=1)
    interpreted, compiled = both_traps(module, tmp_path, "f0")
    assert compiled.status == interpreted.status == "TRAP_STACK"
    assert compiled.frames == interpreted.frames
    assert len(compiled.frames) < compiled.depth < interpreted.depth


def test_counted_loops_look_at_the_limits_in_time(tmp_path: Path) -> None:
    """One that runs without checks, within one that starts it over and over."""
    store = loop_modules.get(0) + loop_modules.get(0) + b"\x3a\x00\x00"
    again = loop_modules.get(0) + loop_modules.const(1) + b"\x6a\x22\x00" + loop_modules.const(3000) + b"\x49\x0d\x00"
    inner = loop_modules.const(0) + loop_modules.put(0) + bytes([0x03, 0x40]) + store * 30 + again + b"\x0b"
    rounds = interrupted(bytes([0x03, 0x40]) + COUNT + inner + b"\x0c\x00\x0b\x00\x0b", tmp_path)
    assert 1 <= rounds <= INSTRUCTIONS_MAX // (3000 * 30) + 1


def test_code_without_a_loop_looks_at_the_limits(tmp_path: Path) -> None:
    assert interrupted(ADD * 5000 + loop_modules.get(0) + b"\x0b", tmp_path) == 0


def test_functions_with_many_locals_look_at_the_limits(tmp_path: Path) -> None:
    unreachable = b"\x0f" + ADD * 5000  # loading may take memory for locals by the size of a module
    body = loop_modules.get(0) + unreachable + loop_modules.get(0) + b"\x0b"
    assert interrupted(body, tmp_path, b"\x01" + loop_modules.uleb(17000) + b"\x7e") == 0


# ---- the official suite ----

SAMPLES = "[cl]*"  # calls, conversions, labels, locals, loops


def test_suite() -> None:
    """With guard pages; `make spec` compares addresses."""
    passed, failures = told(
        run_archive(SpecEngine.build("native", aot=True), suite("core-3.0.zip"), ["guard"], "*", jobs=2)
    )
    assert failures == []
    assert passed > 61000


@pytest.mark.parametrize("target", FOREIGN)
def test_suite_on_foreign_targets(target: str) -> None:
    require(TOOLCHAINS[f"{target}-shared"])
    bounds = "checked" if target == "armv7" else "guard"
    engine = SpecEngine.build(target, aot=True)
    passed, failures = told(run_archive(engine, suite("core-3.0.zip"), [bounds], SAMPLES, jobs=2))
    assert failures == []
    assert passed > 1000


# ---- what is refused ----


def refusal(module_of: bytes, artefact: Path) -> str:
    with Engine() as engine, Module(engine, "it", module_of) as module, pytest.raises(HostFault) as caught:
        module.attach(artefact, module_of)
    assert caught.value.status == "ARTEFACT"
    return str(caught.value)


@pytest.fixture
def artefact(cases: Path, tmp_path: Path) -> Path:
    out = tmp_path / "it.so"
    compile_module(find_compiler(HOST), "cases", cases.read_bytes(), out)
    return out


def test_damaged_files_are_refused(artefact: Path, cases: Path) -> None:
    whole = artefact.read_bytes()
    for damaged in (b"", whole[:100], whole[:-1], whole[1:], whole + b"x", b"\x7fELF" * 100):
        artefact.write_bytes(damaged)
        assert "was not made by penstock aot" in refusal(cases.read_bytes(), artefact)
    for at in (20, len(whole) // 2, len(whole) - 40):
        artefact.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert "is damaged: its checksum is wrong" in refusal(cases.read_bytes(), artefact)


def test_another_module_is_refused(artefact: Path, kernels: Path) -> None:
    assert "was compiled from another module: compile it again" in refusal(kernels.read_bytes(), artefact)


def test_another_target_is_refused(cases: Path, tmp_path: Path) -> None:
    target = "riscv64" if HOST != "riscv64" else "aarch64"
    out = tmp_path / "it.so"
    compile_module(find_compiler(target), "cases", cases.read_bytes(), out)
    assert f"is for {target}, this machine is {HOST}" in refusal(cases.read_bytes(), out)


def test_a_compiler_for_another_processor_is_named(cases: Path, tmp_path: Path) -> None:
    target = "riscv64" if HOST != "riscv64" else "aarch64"
    host = find_compiler(HOST)
    with pytest.raises(UsageError, match=f"made code for another processor than {target}: give --cc"):
        compile_module(Compiler(host.command, target, host.is_clang), "cases", cases.read_bytes(), tmp_path / "it.so")
    assert not (tmp_path / "it.so").exists()


def test_a_file_is_found_by_its_bare_name(artefact: Path, cases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(artefact.parent)
    with Engine() as engine, Module(engine, "cases", cases.read_bytes()) as module:
        module.attach(Path(artefact.name), cases.read_bytes())
        assert module.is_compiled


def test_another_abi_is_refused(kernels: Path, tmp_path: Path) -> None:
    with Engine() as engine:
        text = emit_c(engine, "kernels", kernels.read_bytes())
    older = text.replace(b"enum { WRA_ABI = ", b"enum { WRA_ABI = 1000 + ")
    assert older != text
    out = tmp_path / "it.so"
    aot_build.build(find_compiler(HOST), [older], out)
    assert "was compiled for another version of the engine" in refusal(kernels.read_bytes(), out)


def test_code_for_guards_is_not_used_without_them(kernels: Path, tmp_path: Path) -> None:
    """An instance whose memory has no guard pages is interpreted."""
    out = tmp_path / "kernels.so"
    compile_module(find_compiler(HOST), "kernels", kernels.read_bytes(), out, checked=False)
    for bounds, compiled in ((Bounds.GUARD, True), (Bounds.CHECKED, False)):
        with Engine(bounds=bounds) as engine, Module(engine, "kernels", kernels.read_bytes()) as module:
            module.attach(out, kernels.read_bytes())
            with Store(engine) as store, Execution(engine) as execution:
                instance = store.instantiate(module, execution)
                assert instance.is_compiled is compiled
                assert instance.func("fib").call(execution, 10) == (55,)
