"""Rules for every test: where the project is, and that nothing is skipped where everything is installed."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SKIPS_ARE_FAILURES = os.environ.get("PENSTOCK_NO_SKIP") == "1"  # set by .ci/run
# Data that no package manager has; .ci/run says so where it is missing.
NOT_INSTALLABLE = "the official suite is not at"


@pytest.fixture(autouse=True)
def state_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a gateway of this test keeps its state unless the test says where: never on the machine itself."""
    folder = tmp_path_factory.mktemp("s")
    monkeypatch.setenv("STATE_DIRECTORY", str(folder))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    return folder


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
