"""Every error Penstock raises on purpose. Who is at fault decides the class.

Imported by every start before the data plane runs, so without typing and dataclasses (docs/architecture.md, Start).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class PenstockError(Exception):
    """Base of all deliberate errors; ``str()`` is one line for a user, never a stack trace."""


class ConfigError(PenstockError):
    """The user's configuration is wrong. Renders as ``FILE: KEY: message``; ``FILE:LINE: KEY: message`` with a line.

    ``key`` is a dotted path such as ``port.plc.host``; empty when the whole file is meant.
    """

    def __init__(self, file: str, key: str, message: str, *, line: int | None = None) -> None:
        super().__init__(file, key, message, line)
        self.file = file
        self.key = key
        self.message = message
        self.line = line

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"

    @property
    def each(self) -> tuple[ConfigError, ...]:
        """The single errors, in file order; one for a plain ConfigError."""
        return (self,)


class ConfigErrors(ConfigError):
    """Several mistakes found in one pass: ``str()`` has one line for each."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        if not errors:
            raise ValueError("an aggregate needs at least one error")
        first = errors[0]
        super().__init__(first.file, first.key, first.message, line=first.line)
        self._each = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self._each)

    @property
    def each(self) -> tuple[ConfigError, ...]:
        return self._each


def raise_config(errors: Sequence[ConfigError]) -> None:
    """Raise what was collected: nothing for none, the error itself for one, an aggregate for more."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ConfigErrors(errors)


class UsageError(PenstockError):
    """A command was used wrongly: what was found and what is allowed."""


class PluginError(PenstockError):
    """A plugin cannot be found, built or used."""


class StoreError(PenstockError):
    """The plugin store cannot do what it was asked. ``code`` is one of the error codes of docs/control-protocol.md."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


class SwapError(PenstockError):
    """A stage keeps its version. ``step`` is where the new one failed: busy, version, manifest, vectors, module, shadow
    or switch."""

    def __init__(self, stage: str, step: str, message: str) -> None:
        super().__init__(stage, step, message)
        self.stage = stage
        self.step = step
        self.message = message

    def __str__(self) -> str:
        return f'stage "{self.stage}" keeps its version, the new one failed at {self.step}: {self.message}'


class LinkError(PenstockError):
    """A connection to the outside (field port, broker) failed; reconnecting may help."""


class RuntimeFault(PenstockError):
    """The C runtime refused something. ``status`` is its name there, such as ``TRAP_MEMORY_BOUNDS``."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} [{self.status}]"


class WasmError(RuntimeFault):
    """The bytes are not a valid module, or exceed a limit: the module's fault."""


class WasmLinkError(RuntimeFault):
    """A module's imports or record schemas do not fit what the host offers."""


class Frame:
    """A call that a trap ended. ``name`` is empty where the module does not tell; ``offset`` is that of the instruction
    in the module's bytes."""

    __slots__ = ("function", "name", "offset")

    def __init__(self, name: str, function: int, offset: int) -> None:
        self.name = name
        self.function = function
        self.offset = offset

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frame) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(self._fields())

    def __repr__(self) -> str:
        return f"Frame{self._fields()}"

    def _fields(self) -> tuple[str, int, int]:
        return self.name, self.function, self.offset


class WasmTrap(RuntimeFault):
    """Running plugin code trapped: the plugin's fault. ``frames``: innermost first, of ``depth`` calls altogether.

    Of a call that ran out of time, or was interrupted, only the innermost are looked for: ``is_hurried``.
    """

    def __init__(self, status: str, message: str, frames: Sequence[Frame] = (), depth: int = 0) -> None:
        super().__init__(status, message)
        self.is_hurried = status in ("TRAP_DEADLINE", "TRAP_INTERRUPTED")
        self.frames = tuple(frames)
        self.depth = depth


class WasmExit(WasmTrap):
    """The program ended itself with an exit code: nobody's fault."""

    def __init__(self, code: int, frames: Sequence[Frame] = (), depth: int = 0) -> None:
        super().__init__("TRAP_EXIT", f"exited with code {code}", frames, depth)
        self.code = code


class HostFault(RuntimeFault):
    """Wrong use of the runtime, or the operating system refused: our fault or the machine's."""


class ClosedError(HostFault):
    """A handle was used after it, or what owns it, was closed."""

    def __init__(self, what: str) -> None:
        super().__init__("BAD_STATE", f"{what} is closed")
