"""A second, independent host for plugins: wasmtime and a few lines of Python that follow docs/plugin-abi.md.

It executes the same line scripts as ``runtime_c/tools/vectors.c``. Where both agree on every vector, a mistake in our
engine or in our reading of the ABI has to be made twice to stay hidden.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import wasmtime

PAGE = 65536
E_NONE, E_DOWN = -1, -2
END = struct.Struct("<QQIIIIQ")
RECORD_HEAD = 32
CURSOR_START = 8  # not 0: plugins must not depend on where a ring starts
PORT_RX_BYTES = 4096


class VectorError(AssertionError):
    """A case did not do what its script expects."""


class Trap(Exception):
    """The plugin broke a rule of the ABI."""


@dataclass(slots=True)
class Ring:
    """One ring end. ``pending`` are published bytes: not yet taken by the plugin (in) or by the script (out)."""

    is_input: bool
    schema: int
    capacity: int
    address: int = 0
    cursor: int = CURSOR_START
    limit: int = CURSOR_START
    pending: bytes = b""
    data: bytearray = field(default_factory=bytearray)

    def place(self, cursor: int, content: bytes) -> None:
        for index, byte in enumerate(content):
            self.data[(cursor + index) % self.capacity] = byte


@dataclass(slots=True)
class Port:
    """One port: bytes on the way to and from the plugin."""

    is_up: bool = False
    received: bytes = b""
    sent: bytes = b""


@dataclass(slots=True)
class Setup:
    """What a case says before ``start``."""

    grants: int = 0
    ports: int = 0
    rings: list[Ring] = field(default_factory=list)
    config: bytes = b""
    unix_ns: int = 0


class Stage:
    """One instance of a plugin and its virtual world."""

    def __init__(self, engine: wasmtime.Engine, module: wasmtime.Module, setup: Setup) -> None:
        self.setup = setup
        self.inputs = [ring for ring in setup.rings if ring.is_input]
        self.outputs = [ring for ring in setup.rings if not ring.is_input]
        self.ports = [Port() for _ in range(setup.ports)]
        self.elapsed_ns = 0
        self.timers: dict[int, int] = {}
        self.kv: dict[bytes, bytes] = {}
        self.state = b""  # what pen_save has put, or pen_load has not taken yet
        self.logs: list[str] = []
        self.metrics: dict[str, int] = {}
        self.store = wasmtime.Store(engine)
        linker = wasmtime.Linker(engine)
        for name, (params, results, function) in self._hal().items():
            kinds = {"i": wasmtime.ValType.i32(), "l": wasmtime.ValType.i64()}
            kind = wasmtime.FuncType([kinds[one] for one in params], [kinds[one] for one in results])
            linker.define_func("hal", name, kind, function)
        self.instance = linker.instantiate(self.store, module)
        exports = self.instance.exports(self.store)
        memory = exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        self.memory = memory
        assert "pen_abi_1" in exports, "no ABI marker"
        for ring in setup.rings:
            self._map(ring)

    # ---- entry points ----

    def call(self, name: str, *arguments: int) -> int | None:
        """Call the entry point ``name``, if there is one, with ring ends brought in before and published after it."""
        exports = self.instance.exports(self.store)
        function = exports[name] if name in exports else None  # noqa: SIM401 - exports have no get
        if function is None:
            return None
        assert isinstance(function, wasmtime.Func)
        for ring in self.setup.rings:
            self._bring_in(ring)
        result: int | None = function(self.store, *arguments)
        for ring in (*self.outputs, *self.inputs):
            self._publish(ring)
        return result

    def start(self) -> int:
        """Call pen_init; its result."""
        result = self.call("pen_init")
        assert result is not None, "no pen_init"
        return result

    def set_port(self, number: int, is_up: bool) -> None:
        port = self.ports[number]
        port.is_up, port.received, port.sent = is_up, b"", port.sent if is_up else b""
        self.call("pen_on_port", number, int(is_up))

    def receive(self, number: int, content: bytes) -> None:
        port = self.ports[number]
        port.received = (port.received + content)[:PORT_RX_BYTES]
        self.call("pen_on_rx", number)

    def advance(self, duration_ns: int) -> None:
        """Let virtual time pass; timers fire in the order of their time."""
        end = self.elapsed_ns + duration_ns
        while due := [(at, number) for number, at in self.timers.items() if at <= end]:
            at, number = min(due)
            del self.timers[number]
            self.elapsed_ns = max(self.elapsed_ns, at)
            self.call("pen_on_timer", number)
        self.elapsed_ns = end

    def write(self, number: int, records: bytes) -> None:
        """Publish records in input ring ``number``."""
        ring = self.inputs[number]
        assert len(ring.pending) + len(records) <= ring.capacity, "the script writes more than the input ring holds"
        ring.place(ring.cursor + len(ring.pending), records)
        ring.pending += records
        self.call("pen_on_records", number)

    def read(self, number: int) -> bytes:
        """Take what is in output ring ``number``; the plugin then gets the room."""
        ring = self.outputs[number]
        taken, ring.pending = ring.pending, b""
        for index, source in enumerate(self.inputs):
            if taken and source.pending:
                self.call("pen_on_records", index)
        return taken

    # ---- rings ----

    def _map(self, ring: Ring) -> None:
        pages = 1 + 2 * -(-ring.capacity // PAGE)
        ring.address = self.memory.grow(self.store, pages) * PAGE
        ring.data = bytearray(ring.capacity)

    def _bring_in(self, ring: Ring) -> None:
        ring.limit = ring.cursor + (len(ring.pending) if ring.is_input else ring.capacity - len(ring.pending))
        data = ring.address + PAGE
        end = END.pack(ring.cursor, ring.limit, data, ring.capacity, ring.schema, 0, 0)
        self.memory.write(self.store, end, ring.address)
        self.memory.write(self.store, bytes(ring.data * 2), data)

    def _publish(self, ring: Ring) -> None:
        cursor = END.unpack(self.memory.read(self.store, ring.address, ring.address + END.size))[0]
        moved = cursor - ring.cursor
        if moved < 0 or cursor > ring.limit or moved % 8:
            raise Trap("ring cursor or record out of range")
        data = ring.address + PAGE
        if not ring.is_input:
            self._alias(ring, data, moved)
        content = b"".join(self._records(ring, data, cursor))
        if ring.is_input:
            if self._bytes(data, 2 * ring.capacity) != bytes(ring.data * 2):
                raise Trap("store to read-only memory")
            ring.pending = ring.pending[moved:]
        else:
            ring.place(ring.cursor, content)
            ring.pending += content
        ring.cursor = cursor

    def _alias(self, ring: Ring, data: int, moved: int) -> None:
        """Both copies of the data are the same pages: what was written behind the first one is at its start, too."""
        over = ring.cursor % ring.capacity + moved - ring.capacity
        if over <= 0:
            return
        first, second = self._bytes(data, over), self._bytes(data + ring.capacity, over)
        before = bytes(ring.data[:over])
        self._store(bytes(b if b != old else a for a, b, old in zip(first, second, before, strict=True)), data)

    def _records(self, ring: Ring, data: int, end: int) -> Iterator[bytes]:
        """The records from the old cursor to ``end``; one may begin before the end of the data and go on behind it."""
        at = ring.cursor
        while at < end:
            start = data + at % ring.capacity
            size = int.from_bytes(self._bytes(start, 4), "little")
            if size < RECORD_HEAD or size % 8 or at + size > end:
                raise Trap("ring cursor or record out of range")
            yield self._bytes(start, size)
            at += size

    # ---- HAL ----

    def _hal(self) -> dict[str, tuple[str, str, Callable[..., int | None]]]:
        return {
            "tx": ("iii", "i", self._tx),
            "rx": ("iii", "i", self._rx),
            "now": ("i", "l", lambda clock: self.elapsed_ns + (0 if clock else self.setup.unix_ns)),
            "timer": ("il", "i", self._timer),
            "config": ("ii", "i", self._config),
            "kv_get": ("iiii", "i", self._kv_get),
            "kv_put": ("iiii", "i", self._kv_put),
            "log": ("iii", "", lambda _level, at, size: self.logs.append(self._bytes(at, size).decode())),
            "metric": ("iiil", "", self._metric),
            "ring_in": ("i", "i", lambda number: _address(self.inputs, number)),
            "ring_out": ("i", "i", lambda number: _address(self.outputs, number)),
            "state_put": ("ii", "i", self._state_put),
            "state_get": ("ii", "i", self._state_get),
            "keep": ("ii", "i", lambda _at, _size: 0),
            "port_state": ("i", "i", lambda port: int(self.ports[port].is_up) if port < len(self.ports) else E_NONE),
        }

    def _bytes(self, at: int, size: int) -> bytes:
        return bytes(self.memory.read(self.store, at, at + size))

    def _store(self, content: bytes, at: int) -> int:
        self.memory.write(self.store, content, at)
        return len(content)

    def _tx(self, number: int, at: int, size: int) -> int:
        port = self.ports[number]
        if not port.is_up:
            return E_DOWN
        port.sent += self._bytes(at, size)
        return size

    def _rx(self, number: int, at: int, capacity: int) -> int:
        port = self.ports[number]
        taken, port.received = port.received[:capacity], port.received[capacity:]
        return self._store(taken, at) if port.is_up else E_DOWN

    def _timer(self, number: int, delay_us: int) -> int:
        self.timers.pop(number, None)
        if delay_us >= 0:
            self.timers[number] = self.elapsed_ns + delay_us * 1000
        return 0

    def _config(self, at: int, capacity: int) -> int:
        self._store(self.setup.config[:capacity], at)
        return len(self.setup.config)

    def _kv_get(self, key: int, key_size: int, at: int, capacity: int) -> int:
        value = self.kv.get(self._bytes(key, key_size))
        if value is None:
            return E_NONE
        self._store(value[:capacity], at)
        return len(value)

    def _kv_put(self, key: int, key_size: int, at: int, size: int) -> int:
        self.kv[self._bytes(key, key_size)] = self._bytes(at, size)
        return 0

    def _state_put(self, at: int, size: int) -> int:
        self.state += self._bytes(at, size)
        return 0

    def _state_get(self, at: int, capacity: int) -> int:
        taken, self.state = self.state[:capacity], self.state[capacity:]
        return self._store(taken, at)

    def _metric(self, at: int, size: int, _kind: int, value: int) -> None:
        self.metrics[self._bytes(at, size).decode()] = value


def _address(rings: list[Ring], number: int) -> int:
    return rings[number].address if number < len(rings) else 0


# ---- scripts ------------------------------------------------------------------------------------------------------


class _Runner:
    """Executes script lines; one method per word."""

    def __init__(self, module: Path, *, bytewise: bool) -> None:
        self.engine = wasmtime.Engine()
        self.module = wasmtime.Module.from_file(self.engine, str(module))
        self.bytewise = bytewise
        self.cases: list[str] = []
        self.setup = Setup()
        self.stage: Stage | None = None
        self.trap = ""

    @property
    def running(self) -> Stage:
        assert self.stage is not None, "the script has no start"
        return self.stage

    def execute(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        try:
            getattr(self, f"do_{word}")(rest)
        except (Trap, wasmtime.Trap) as error:
            self.trap = str(error)

    def expect(self, what: str, expected: object, found: object) -> None:
        if self.trap:
            raise VectorError(f"{self.cases[-1]}: trap: {self.trap}")
        if expected != found:
            logs = "\n  ".join(self.running.logs)
            raise VectorError(f"{self.cases[-1]}: {what}\n expected {expected}\n found    {found}\n logs\n  {logs}")

    def do_case(self, name: str) -> None:
        self.cases.append(name)
        self.setup, self.stage, self.trap = Setup(), None, ""

    def do_grants(self, mask: str) -> None:
        self.setup.grants = int(mask, 16)

    def do_memory(self, _bytes: str) -> None:
        """The limit is the C runtime's to enforce."""

    def do_deadline(self, _us: str) -> None:
        """Likewise."""

    def do_ports(self, count: str) -> None:
        self.setup.ports = int(count)

    def do_in(self, rest: str) -> None:
        number, content, *size = rest.split()
        if self.stage is None:
            self.setup.rings.append(Ring(True, int(content), int(size[0])))
        else:
            self.running.write(int(number), bytes.fromhex(content))

    def do_out(self, rest: str) -> None:
        number, content, *size = rest.split()
        if self.stage is None:
            self.setup.rings.append(Ring(False, int(content), int(size[0])))
        else:
            expected = "" if content == "-" else content
            found = self.running.read(int(number)).hex()
            for position, (one, other) in enumerate(zip_longest(_records(expected), _records(found))):
                self.expect(f"record {position} of ring {number}", one, other)

    def do_config(self, content: str) -> None:
        self.setup.config = bytes.fromhex(content)

    def do_clock(self, unix_ns: str) -> None:
        self.setup.unix_ns = int(unix_ns)

    def do_start(self, _rest: str) -> None:
        self.stage = Stage(self.engine, self.module, self.setup)
        self.expect("result of pen_init", 0, self.stage.start())

    def do_refuse(self, text: str) -> None:
        self.stage = Stage(self.engine, self.module, self.setup)
        self.expect("whether pen_init refuses", True, self.stage.start() != 0)
        self.do_log(text)

    def do_port(self, rest: str) -> None:
        number, state = rest.split()
        self.running.set_port(int(number), state == "up")

    def do_rx(self, rest: str) -> None:
        number, content = rest.split()
        whole = bytes.fromhex(content)
        for chunk in [bytes([byte]) for byte in whole] if self.bytewise else [whole]:
            self.running.receive(int(number), chunk)

    def do_tx(self, rest: str) -> None:
        number, content = rest.split()
        port = self.running.ports[int(number)]
        self.expect(f"bytes sent on port {number}", "" if content == "-" else content, port.sent.hex())
        port.sent = b""

    def do_advance(self, us: str) -> None:
        self.running.advance(int(us) * 1000)

    def do_log(self, text: str) -> None:
        self.expect(f'whether a log has "{text}"', True, any(text in log for log in self.running.logs))

    def do_trap(self, text: str) -> None:
        found, self.trap = self.trap, ""
        self.expect(f'whether the trap "{found}" has "{text}"', True, text in found)

    def do_metric(self, rest: str) -> None:
        name, value = rest.split()
        self.expect(f"metric {name}", int(value), self.running.metrics.get(name, 0))


def _records(content: str) -> Iterator[str]:
    """One line per record, readable in a failure."""
    raw, at = bytes.fromhex(content), 0
    while at < len(raw):
        size, kind, quality, value_type, tag, seq, time_ns, value = struct.unpack_from("<IHBBIIq8s", raw, at)
        text = raw[at + RECORD_HEAD : at + size]
        yield (
            f"kind {kind} quality {quality} type {value_type} tag {tag} seq {seq} time {time_ns} value {value.hex()} "
            f"{text!r}"
        )
        at += size


def run_script(module: Path, script: str, *, bytewise: bool = False) -> list[str]:
    """Execute ``script`` on the plugin ``module``; the names of its cases. Raises VectorError for the first failure."""
    runner = _Runner(module, bytewise=bytewise)
    for line in script.splitlines():
        runner.execute(line)
    runner.expect("the end", True, True)
    return runner.cases
