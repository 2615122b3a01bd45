"""The picture of ``penstock top``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from gateway.api.status import status
from gateway.app.plugin_cli import columns
from gateway.app.top import Top, picture
from gateway.supervisor import LinkState, PortReport, RingReport, StageReport, State
from gateway.wasm import ConsumerStats, PortStats, RingStats, StageStats

STATS = StageStats(**dict.fromkeys(StageStats.__slots__, 0))


def state(uptime_s: float, records: int) -> State:
    """A gateway that has handled so many records, in 2 µs each."""
    stats = replace(
        STATS, refused=2, state=1, records_out=records, busy_ns=2000 * records, longest_ns=31_400, memory_bytes=196608
    )
    return State(
        "works",
        uptime_s,
        (
            StageReport("plc", "modbus", "0.1.0", "aa", True, "", replace(stats, generation=3), {}, compiled=True),
            StageReport("bad", "odd", "2.0.0", "bb", False, "more than 3 traps", replace(STATS, traps=4), {}),
        ),
        (RingReport("plc", RingStats(records, 1 << 20, 65536, 320, 7), {"cloud": ConsumerStats(records, 3, 96)}),),
        (PortReport("line", 2, "cable is out", PortStats(False, 10 * records, 20 * records, 0, 1)),),
        (LinkState("cloud", True, records, records, 5, 0, 0, 0, 0, ""),),
    )


def seen(one: State) -> Top:
    """The state as it comes out of the socket."""
    return msgspec.json.decode(msgspec.json.encode(status(one)), type=Top)


def row(lines: list[str], head: str, name: str) -> dict[str, str]:
    """The cells of a row by the titles of its table, which stand above them."""
    start = max(index for index, line in enumerate(lines) if line.split()[:1] == [head])  # problems come before
    line = next(line for line in lines[start + 1 :] if line.split()[:1] == [name])
    titles = lines[start].replace("µs/rec", "µs_rec").replace("max µs", "max_µs").replace("lag B", "lag_B")
    titles = titles.replace("of B", "of_B").replace("most B", "most_B").replace("rx B/s", "rx").replace("tx B/s", "tx")
    return dict(zip(titles.split(), line.split(), strict=False))


def test_rates_are_those_between_two_states() -> None:
    lines = picture(seen(state(62.0, 300)), seen(state(60.0, 200)))
    assert lines[0].startswith("works   up 1 min 02 s   at most ")
    plc = row(lines, "stage", "plc")
    assert (plc["plugin"], plc["version"], plc["code"], plc["swaps"]) == ("modbus", "0.1.0", "aot", "2")
    assert row(lines, "stage", "bad")["code"] == "interp"
    assert (plc["records/s"], plc["µs_rec"], plc["max_µs"], plc["KiB"]) == ("50.0", "2.0", "31", "192")
    ring = row(lines, "ring", "plc")
    assert (ring["reader"], ring["records/s"], ring["lag_B"], ring["of_B"], ring["dropped"]) == (
        "cloud", "50.0", "96", "65536", "3",
    )  # fmt: skip
    port = row(lines, "port", "line")
    assert (port["state"], port["opens"], port["rx"], port["tx"]) == ("down", "2", "500.0", "1000.0")
    link = row(lines, "link", "cloud")
    assert (link["state"], link["msg/s"], link["published"], link["waiting"]) == ("connected", "50.0", "300", "5")


def test_what_is_wrong_is_seen() -> None:
    text = "\n".join(picture(seen(state(3700.0, 1)), seen(state(3700.0, 1))))
    assert "up 1 h 01 min" in text
    assert "cable is out" in text
    assert "stage bad: more than 3 traps" in text
    assert "stage plc: 2 requests to the field bus refused" in text
    assert "stopped" in text
    assert "–" in text, "no rates between a state and itself"


def test_columns_are_as_wide_as_their_cells() -> None:
    rows: list[tuple[Any, ...]] = [("a", 5, "x"), ("long name", 10, "")]
    assert columns(("name", "n", "text"), rows) == "name        n  text\na           5  x\nlong name  10\n"
    assert columns(("name", "n"), []) == "name  n\n"
