"""The TOML reader: lines of keys, suggestions, and that reading goes on after a mistake."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.reader import Problems, Table, nearest, parse_table, show, toml_lines

TEXT = """\
# not = a key
top = 1
[site]          # [no.table]
name = "x = y"  # name = 1
list = [
  1, # ]
  "[inside]",
]
text = \"\"\"
[not.a.table]
fake = 1
\"\"\"
other = '''
also = "fake"
'''
after = { a = 1, b = [ 2 ] }
[port.plc]
host.name = "h"
"quoted = key" = 1
[[tag]]
name = "a"
[tag.modbus]
unit = 1
[[tag]]
name = 'b'
"""

LINES = {
    "top": 2,
    "site": 3,
    "site.name": 4,
    "site.list": 5,
    "site.text": 9,
    "site.other": 13,
    "site.after": 16,
    "port": 17,
    "port.plc": 17,
    "port.plc.host": 18,
    "port.plc.host.name": 18,
    "port.plc.quoted = key": 19,
    "tag": 20,
    "tag[0]": 20,
    "tag[0].name": 21,
    "tag[0].modbus": 22,
    "tag[0].modbus.unit": 23,
    "tag[1]": 24,
    "tag[1].name": 25,
}


def table(text: str) -> tuple[Table, Problems]:
    problems = Problems()
    found = parse_table(text, "f.toml", problems)
    assert found is not None
    return found, problems


def test_every_key_has_its_line() -> None:
    assert toml_lines(TEXT) == LINES


@pytest.mark.parametrize(
    ("key", "line"),
    [("site.after.a", 16), ("site.list[2]", 5), ("tag[1].missing", 24), ("port.none", 17), ("none", None), ("", None)],
)
def test_what_has_no_line_has_that_of_its_table(key: str, line: int | None) -> None:
    assert table(TEXT)[0].source.line_of(key) == line


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"),
        ("a", '"a"'),
        (1.5, "1.5"),
        ({}, "a table"),
        ([1], "an array"),
        ("x" * 80, '"' + "x" * 56 + "..."),
    ],
)
def test_values_are_shown_as_in_toml(value: object, shown: str) -> None:
    assert show(value) == shown


def test_suggestions() -> None:
    assert nearest("hots", ["host", "port"]) == 'did you mean "host"?'
    assert nearest("zzz", ["host", "port"]) == "known: host, port"
    assert nearest("zzz", []) == "none is defined"


@pytest.mark.parametrize(
    ("text", "read", "stand_in", "message"),
    [
        ("", lambda t: t.text("k"), "", "missing; a string is required"),
        ("k = 1", lambda t: t.text("k"), "", "found 1, allowed: a string"),
        ("k = ''", lambda t: t.text("k"), "", 'found "", allowed: a string that is not empty'),
        ("k = 'c'", lambda t: t.text("k", choices=["a", "b"]), "", 'found "c", allowed: "a" or "b"'),
        ("k = 'c'", lambda t: t.text("k", "a", choices=["a", "b"]), "a", 'found "c", allowed: "a" or "b"'),
        ("k = 1.0", lambda t: t.integer("k", low=1, high=9), 1, "found 1.0, allowed: an integer"),
        ("k = 10", lambda t: t.integer("k", low=1, high=9, unit="ms"), 1, "found 10, allowed: 1 to 9 ms"),
        ("k = true", lambda t: t.number("k", low=1, high=9), 1.0, "found true, allowed: a number"),
        ("k = nan", lambda t: t.number("k", 2.0, low=1, high=9), 2.0, "found nan, allowed: 1 to 9"),
        ("k = 'yes'", lambda t: t.boolean("k"), False, 'found "yes", allowed: true or false'),
        ("k = true", lambda t: t.choice("k", 1, (0, 1)), 1, "found true, allowed: 0, 1"),
        ("k = {}", lambda t: t.texts("k"), (), "found a table, allowed: an array"),
        ("k = ['a', 1]", lambda t: t.texts("k"), ("a",), "found 1, allowed: a string that is not empty"),
        ("k = []", lambda t: t.raw("k"), {}, "found an array, allowed: a table"),
        ("k = 1", lambda t: t.table("k"), None, "found 1, allowed: a table"),
        ("k = [1]", lambda t: t.table_array("k"), [], "found 1, allowed: a table, written [[k]]"),
        ("[k]", lambda t: t.table_array("k"), [], "found a table, allowed: an array of tables, each written [[k]]"),
    ],
)
def test_a_mistake_is_noted_and_reading_goes_on(text: str, read: Any, stand_in: object, message: str) -> None:
    root, problems = table(text)
    assert read(root) == stand_in
    assert [error.message for error in problems.found] == [message]


def test_right_values_come_back_without_a_problem() -> None:
    root, problems = table("s = 'a'\ni = 3\nn = 2\nb = true\nc = 1.5\nl = ['x']\n[t]\n[[a]]\nx = 1\n")
    assert (root.text("s"), root.integer("i", low=1, high=3), root.boolean("b")) == ("a", 3, True)
    assert (root.number("n", low=0, high=2), root.choice("c", 1, (1, 1.5, 2)), root.texts("l")) == (2.0, 1.5, ("x",))
    assert root.table("t") is not None
    assert [one.path for one in root.table_array("a")] == ["a[0]"]
    assert (root.text("none", "d"), root.number("none", None, low=0, high=1)) == ("d", None)
    root.finish()
    problems.raise_any()


def test_a_missing_table_is_one_problem_not_many() -> None:
    root, problems = table("")
    inner = root.required_table("site")
    inner.text("name")
    inner.finish()
    assert [str(error) for error in problems.found] == ["f.toml: site: missing; a table is required"]
