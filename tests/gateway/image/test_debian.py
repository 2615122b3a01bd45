"""Where packages come from: mirrors and suites. That apt and the mirror do their part, ``make hil`` shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.image.debian import MIRROR, Debian, Source

ELSEWHERE = "http://mirror.example/debian"


def lists_of(folder: Path, suite: str, source: Source, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], str]:
    """The suites that apt is asked for, as URL and name, and its configuration."""
    monkeypatch.setattr(Debian, "_apt", lambda *_words, **_options: "")
    Debian(folder, "aarch64", suite, ("main",), source).update()
    lines = (folder / "sources.list").read_text("utf-8").splitlines()
    return [" ".join(line.split()[2:4]) for line in lines], (folder / "apt.conf").read_text("utf-8")


def test_a_suite_comes_with_its_updates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suites, configuration = lists_of(tmp_path, "bookworm", Source(ELSEWHERE), monkeypatch)
    assert suites == [
        f"{ELSEWHERE} bookworm",
        f"{ELSEWHERE} bookworm-updates",
        f"{ELSEWHERE}-security bookworm-security",
    ]
    assert "Default-Release" not in configuration, "it would put the release before its security updates"


def test_backports_need_what_they_are_built_upon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suites, configuration = lists_of(tmp_path, "trixie-backports", Source(ELSEWHERE), monkeypatch)
    assert suites == [
        f"{ELSEWHERE} trixie",
        f"{ELSEWHERE} trixie-updates",
        f"{ELSEWHERE}-security trixie-security",
        f"{ELSEWHERE} trixie-backports",
    ]
    assert configuration.startswith('APT::Default-Release "trixie-backports";\n')


def test_without_security_updates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suites, _ = lists_of(tmp_path, "bookworm", Source(ELSEWHERE, security=False), monkeypatch)
    assert suites == [f"{ELSEWHERE} bookworm", f"{ELSEWHERE} bookworm-updates"]


def test_the_mirror_is_ones_own_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PENSTOCK_MIRROR", raising=False)
    assert Source().mirror == MIRROR
    monkeypatch.setenv("PENSTOCK_MIRROR", ELSEWHERE)
    assert Source().mirror == ELSEWHERE
    assert Source("http://other.example/debian").mirror == "http://other.example/debian"
