"""systemd's sd_notify protocol: datagrams to the socket that $NOTIFY_SOCKET names. Without it nothing is sent."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Notifier:
    """Tells the service manager how we are. ``watchdog_s``: how often it wants a sign of life; None: it does not."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]
        timeout_us = environment.get("WATCHDOG_USEC", "")
        is_ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        # Half of the timeout, as sd_watchdog_enabled(3) recommends.
        self.watchdog_s = int(timeout_us) / 2e6 if timeout_us.isdecimal() and is_ours and self._address else None

    def ready(self) -> None:
        """Set up and running."""
        self._send(b"READY=1")

    def alive(self) -> None:
        """Still working."""
        self._send(b"WATCHDOG=1")

    def stopping(self) -> None:
        """On the way out."""
        self._send(b"STOPPING=1")

    def _send(self, message: bytes) -> None:
        """Never waits and never fails: a service manager that does not listen must not stop the field buses."""
        if not self._address:
            return
        import socket  # a start that nobody wants to hear of does without

        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            try:
                sock.sendto(message, socket.MSG_DONTWAIT, self._address)
            except OSError:
                return
