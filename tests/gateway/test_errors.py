"""How configuration errors read."""

from __future__ import annotations

import pytest

from gateway.errors import ConfigError, ConfigErrors, PenstockError, WasmTrap, raise_config

FIRST = ConfigError("site.toml", "port.plc", "wrong", line=3)
SECOND = ConfigError("board.toml", "", "cannot be read")


def test_one_line_each() -> None:
    assert str(FIRST) == "site.toml:3: port.plc: wrong"
    assert str(SECOND) == "board.toml: cannot be read"
    assert str(ConfigError("f", "k", "m")) == "f: k: m"


def test_collected() -> None:
    raise_config([])
    with pytest.raises(ConfigError) as one:
        raise_config([FIRST])
    assert one.value is FIRST
    assert one.value.each == (FIRST,)
    with pytest.raises(ConfigErrors) as two:
        raise_config([FIRST, SECOND])
    assert two.value.each == (FIRST, SECOND)
    assert str(two.value) == f"{FIRST}\n{SECOND}"
    with pytest.raises(ValueError, match="at least one"):
        ConfigErrors([])


def test_runtime_faults_name_their_status() -> None:
    fault = WasmTrap("TRAP_DIV_ZERO", "stage si: integer divide by zero")
    assert isinstance(fault, PenstockError)
    assert str(fault) == "stage si: integer divide by zero [TRAP_DIV_ZERO]"
