"""A TOML text that is wrong is told where it begins to be wrong."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from coopery.toml_faults import toml_problem

CASES = {
    "an array before a table": ("a = 1\nx = [1\n[task.b]\ny = 1\n", 2, "array is not closed"),
    "an array with a comma at its end": ("x = [1,\n\n[task.b]\ny=1\n", 1, "array is not closed"),
    "an array before a key": ('x = ["a"\ncommand = ["true"]\n', 1, "end it with ]"),
    "an array with a comma, before a key": ('x = ["a",\ny = 1\n', 1, "end it with ]"),
    "an array over lines": ('\nx = [\n "a", # ]\n "b"\n[[t]]\n', 2, "array is not closed"),
    "an inner array": ("x = [[1, 2],\n[3\n]\ny = 1\n", 1, "array is not closed"),
    "an array at the end": ("y = 1\nx = [\n", 2, "array is not closed"),
    "a comma": ("x = [\n1\n2\n]\n", 3, "put a comma"),
    "a comma between arrays": ("x = [\n[1]\n[2]\n]\n", 3, "put a comma"),
    "a text in a line": ('y = 1\nx = "a\nz = 1\n', 2, 'end it with "'),
    "a plain text in a line": ("x = 'a\ny = 1\nz = 'b'\n", 1, "end it with '"),
    "a text in an array": ('x = ["a", "b]\ny = 1\n', 1, 'end it with "'),
    "a text over lines": ('y = 1\nx = """a\nb = 1\n', 2, 'end it with """'),
    "a text over lines that another ends": ('x = """a\ny = """b"""\n', 2, "begins in line 1"),
    "an inline table": ("x = {a = 1\ny = 2\n", 1, "close it with }"),
    "no value": ("x =\ny = 1\n", 1, "a value is"),
    "no value at the end": ("y = 1\nx =", 2, "a value is"),
    "an escape": ('x = "a\\q"\n', 1, "single quotes"),
    "a table": ("y = 1\n[task.a\n", 2, "Expected ']'"),
    "a table at the end": ("y = 1\n\n[task.a", 3, "Expected ']'"),
    "a key twice": ("x = 1\ny = [1, 2]\nx = 2\n", 3, "given once"),
    "a mark in a comment": ("# it's [\nx = nope\n", 2, "a value is"),
}


@pytest.mark.parametrize("name", CASES)
def test_place_and_mend(name: str) -> None:
    text, line, said = CASES[name]
    with pytest.raises(tomllib.TOMLDecodeError) as caught:
        tomllib.loads(text)
    found = toml_problem(Path("r.toml"), text, str(caught.value))
    assert found.place.line == line, found
    assert said in str(found)
    assert found.hint
