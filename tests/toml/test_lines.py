"""Where keys stand in TOML texts of every form."""

from __future__ import annotations

from coopery_toml.lines import line_of, scan

TEXT = '''# a comment with [brackets] = "x"
title = "a # b"

[image.science]   # header
packages = [
    "a",  # one
    'b',
    """c
d""",
    "e",
]
inline = { x = 1, "y.z" = [1,
  2], deep = { w = "}" } }

[task."odd name".inputs]
table.path = "x"
"quoted" . key = 'it''

[[service]]
name = "first"
[service.more]
a = 1
[[service]]
name = "second"
[service.more]
a = 2
'''.replace("'it''", "'it'")


def test_every_form() -> None:
    lines = scan(TEXT)
    assert lines["title",] == 2
    assert lines["image", "science"] == 4
    assert lines["image", "science", "packages"] == 5
    assert [lines["image", "science", "packages", n] for n in range(4)] == [6, 7, 8, 10]
    assert lines["image", "science", "inline", "y.z", 1] == 13
    assert lines["image", "science", "inline", "deep", "w"] == 13
    assert lines["task", "odd name", "inputs", "table", "path"] == 16
    assert lines["task", "odd name", "inputs", "quoted", "key"] == 17
    assert lines["service", 0, "name"] == 20
    assert lines["service", 1, "name"] == 24
    assert lines["service", 1, "more", "a"] == 26


def test_the_nearest_key_above() -> None:
    assert line_of(TEXT, ("image", "science", "nothing", 3)) == 4
    assert line_of(TEXT, ("nothing",)) is None
