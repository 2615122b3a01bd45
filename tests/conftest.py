"""Rules for every test: where the project is, and that nothing is skipped where everything is installed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SKIPS_ARE_FAILURES = os.environ.get("PENSTOCK_NO_SKIP") == "1"  # set by .ci/run
# Data that no package manager has; .ci/run says so where it is missing.
NOT_INSTALLABLE = "the official suite is not at"


@pytest.fixture(autouse=True)
def _state_folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a gateway keeps its state unless its test says where: a folder of its own, made when needed."""
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path_factory.getbasetemp() / "state" / name))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failed one in CI, where every peer and emulator is installed."""
    report = yield
    if SKIPS_ARE_FAILURES and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        if NOT_INSTALLABLE not in str(reason):
            report.outcome = "failed"
            report.longrepr = f"skipped where nothing may be skipped: {reason}"
    return report
