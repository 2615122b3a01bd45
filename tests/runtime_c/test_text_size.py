"""The engine's code stays small: with everything, and as a minimal build."""

from __future__ import annotations

import platform
import shutil

import pytest

from bench.footprint import text_bytes

TEXT_BYTES_MAX = 260_000
TEXT_BYTES_MINIMAL_MAX = 110_000


@pytest.mark.parametrize(("variables", "most"), [((), TEXT_BYTES_MAX), (("MINIMAL=1",), TEXT_BYTES_MINIMAL_MAX)])
def test_text_size(variables: tuple[str, ...], most: int) -> None:
    if platform.machine() != "x86_64" or shutil.which("gcc") is None:
        pytest.skip("the bars are those of gcc on x86-64")
    assert text_bytes("CC=gcc", *variables) <= most
