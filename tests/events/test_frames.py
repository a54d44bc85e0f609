"""The rows of the live display fit every terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from coopery_events.frames import Row, clock, frame
from coopery_events.progress import Running, Snapshot

NAMES = ("prepare", "fit@fold=10,depth=3", "山山山山山山山山", "environment science")


def snapshot(running: int, waiting: int = 0, **counts: int) -> Snapshot:
    names = [NAMES[i % len(NAMES)] + str(i) for i in range(running + waiting)]
    return Snapshot(
        total=100,
        ended=sum(counts.values()),
        running=running,
        waiting=waiting,
        counts=counts,
        shown=tuple(
            Running(
                step=name,
                since=100.0,
                log=Path("log") if i < running else None,
                waiting="" if i < running else "run x makes the same",
            )
            for i, name in enumerate(names)
        ),
        started=0.0,
        stopping=False,
    )


def texts(rows: tuple[Row, ...]) -> list[str]:
    return ["".join(text for text, _ in row) for row in rows]


def tail(log: Path) -> str:
    return "epoch 3 of 10"


def test_roomy() -> None:
    assert texts(frame(snapshot(2, 1, done=20, cached=13, failed=1), 165, (100, 24), tail)) == [
        "run      prepare0               1m05s  epoch 3 of 10",
        "run      fit@fold=10,depth=31   1m05s  epoch 3 of 10",
        "wait     山山山山山山山山2      1m05s  run x makes the same",
        "34/100  [=====>              ]  2 running  1 waiting  20 done  13 cached  1 failed  2m45s",
    ]


def test_narrow() -> None:
    assert texts(frame(snapshot(2, done=20, cached=13, failed=1), 165, (20, 24), tail)) == [
        "prepare0      1m05s",
        "fit@fold=1…   1m05s",
        "34/100  2m45s",
    ]


def test_as_many_as_fit_and_how_many_more() -> None:
    rows = texts(frame(snapshot(10, 4), 165, (80, 8), tail))
    assert len(rows) == 7
    assert rows[-2] == "… and 9 more"
    assert rows[0].startswith("run      prepare0 ")
    assert rows[4].startswith("run      prepare4 ")


def test_nothing_is_read_for_what_is_not_seen() -> None:
    asked: list[Path] = []

    def spy(log: Path) -> str:
        asked.append(log)
        return ""

    frame(snapshot(500), 165, (80, 12), spy)
    assert len(asked) == 9
    asked.clear()
    frame(snapshot(500), 165, (20, 12), spy)
    assert asked == []


@given(
    st.integers(1, 130),
    st.integers(1, 30),
    st.integers(0, 40),
    st.integers(0, 5),
    st.text(max_size=200).filter(str.isprintable),
    st.sampled_from(["utf-8", "ascii", "latin-1"]),
)
def test_fits_any_size(
    columns: int, lines: int, running: int, waiting: int, text: str, encoding: str
) -> None:
    counts = {"done": 12, "cached": 30, "failed": 2, "skipped": 3}
    now = snapshot(running, waiting, **counts)
    rows = texts(frame(now, 1e5, (columns, lines), lambda log: text, encoding))
    assert 1 <= len(rows) <= max(1, lines - 1)
    for row in rows:
        row.encode(encoding)
        assert cell_len(row) <= max(columns - 1, 1), row


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0s"), (0.9, "0s"), (59.9, "59s"), (60, "1m00s"), (3599, "59m59s"), (86399, "23h59m")],
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
