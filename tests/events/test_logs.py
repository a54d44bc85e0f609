"""Whatever a task prints: what is shown of it cannot steer a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coopery_events.logs import LINES, LONGEST, NEAR, last_line, last_lines


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (b"", ""),
        (b"one\ntwo\n", "two"),
        (b"one\ntwo", "two"),
        (b"one\n\n  \n", "one"),
        (b"10%\r50%\r90%", "90%"),
        (b"10%\r50%\r90%\r", "90%"),
        (b"dos\r\n", "dos"),
        (b"\x1b[1;31mred\x1b[0m text", "red text"),
        (b"\x1b]0;a title\x07after", "after"),
        (b"\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"before\x1b]0;never ended", "before"),
        (b"\x1b(Bcharset \x1b7\x1b[2J\x1b[H", "charset"),
        (b"cut off \x1b", "cut off"),
        (b"bell\x07 back\x08", r"bell\x07 back\x08"),
        (b"c1 \xc2\x9b2J", r"c1 \x9b2J"),
        (b"tab\there", "tab     here"),
        (b"bad \xff\xfe bytes", "bad \ufffd\ufffd bytes"),
        ("über 山".encode(), "über 山"),
        ("rtl \u202e".encode(), r"rtl \u202e"),
    ],
)
def test_last_line(tmp_path: Path, printed: bytes, shown: str) -> None:
    log = tmp_path / "log"
    log.write_bytes(printed)
    assert last_line(log) == shown


def test_last_line_of_a_long_log_reads_its_end_only(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * (1 << 20) + b"\nend\n")
    assert last_line(log) == "end"
    log.write_bytes("é".encode() * NEAR + b"!")
    assert last_line(log) == "…" + "é" * (LONGEST - 1)
    # What remains of a log that ends in blank lines begins with a whole line.
    log.write_bytes(b"a" * NEAR + b"\nlast" + b"\n" * 100)
    assert last_line(log) == "last"


def test_last_lines_write_control_characters_out(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"first\n" * 50 + b"1%\r99%\r\n\x1b[2J\x1b[31mbad\xff\x07\n")
    lines = last_lines(log)
    assert len(lines) == LINES
    assert lines[-2:] == ["99%", "\\x1b[2J\\x1b[31mbad\ufffd\\x07"]
    log.write_bytes(b"y" * (1 << 20))
    assert [len(line) for line in last_lines(log)] == [LONGEST + 1]
    log.write_bytes(b"")
    assert last_lines(log) == ()


@given(st.binary(max_size=300))
def test_nothing_gets_through(tmp_path_factory: pytest.TempPathFactory, printed: bytes) -> None:
    log = tmp_path_factory.getbasetemp() / "any-log"
    log.write_bytes(printed)
    for line in (last_line(log), *last_lines(log)):
        assert line.isprintable(), line
