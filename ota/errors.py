"""Every error the update agent raises on purpose: who is at fault decides the class, ``reason`` names what happened.

``reason`` is stable: it appears in the history, in reports to the fleet server and in tests.
"""

from __future__ import annotations


class OtaError(Exception):
    """Base of all deliberate errors; ``str()`` is one line for a user: what, where, and what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} [{self.reason}]"


class UsageError(OtaError):
    """The operator's input is wrong: a command, a configuration file, a key."""

    def __init__(self, message: str) -> None:
        super().__init__("usage", message)


class TrustError(OtaError):
    """What was offered must not be installed: the publisher's fault, or an attack."""


class TransferError(OtaError):
    """Bytes did not arrive. ``retry``: whether trying again can help."""

    def __init__(self, reason: str, message: str, *, retry: bool, wait_s: float = 0.0) -> None:
        super().__init__(reason, message)
        self.retry = retry
        self.wait_s = wait_s


class BudgetError(TransferError):
    """The byte budget of this period does not allow the transfer; ``wait_s`` is the time to the next period."""

    def __init__(self, message: str, wait_s: float) -> None:
        super().__init__("budget", message, retry=False, wait_s=wait_s)


class StorageError(OtaError):
    """A slot or file of this device cannot be read or written, or does not hold what it should."""


class DeltaError(OtaError):
    """A patch cannot be applied to what this device holds."""


class BootError(OtaError):
    """The boot state cannot be read or written."""


class GatewayUnavailable(OtaError):
    """The gateway does not answer."""

    def __init__(self, message: str) -> None:
        super().__init__("gateway-unavailable", message)


class GatewayRefused(OtaError):
    """The gateway said no. ``code``: as in ``docs/control-protocol.md``; ``message`` is the gateway's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__("gateway-refused", f"the gateway: {message} ({code})")
        self.code = code


class Cancelled(OtaError):
    """The operator or the fleet server withdrew the update."""

    def __init__(self) -> None:
        super().__init__("cancelled", "cancelled on request; what was fetched is kept")
