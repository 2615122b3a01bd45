"""Is the system on trial good enough to be committed? Pure: reports and times in, a verdict out.

Healthy means: without a complaint for ``hold_s`` in a row. Not healthy by ``limit_s``, or silent that long: rejected,
with the last complaints as the reason.
"""

from __future__ import annotations

from collections.abc import Sequence

from ota.boot.table import Verdict

SILENT = "the gateway has not reported"


class Watch:
    """Begins at ``now_s`` (monotonic)."""

    def __init__(self, now_s: float, hold_s: float, limit_s: float) -> None:
        self._limit_s = now_s + limit_s
        self._hold_s = hold_s
        self._healthy_since: float | None = None
        self.reason = SILENT

    def note(self, now_s: float, complaints: Sequence[str] | None) -> Verdict:
        """A look at the gateway's health: its complaints, or None when there was no report."""
        if complaints is None or complaints:
            self._healthy_since = None
            self.reason = "; ".join(complaints) if complaints else SILENT
            return Verdict.UNHEALTHY if now_s >= self._limit_s else Verdict.PENDING
        self.reason = ""
        if self._healthy_since is None:
            self._healthy_since = now_s
        if now_s - self._healthy_since >= self._hold_s:
            return Verdict.HEALTHY
        # Healthy just before the limit: it gets the time to prove it, once.
        return Verdict.PENDING
