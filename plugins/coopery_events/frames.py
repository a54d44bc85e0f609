"""What the live display shows of a moment: rows that fit the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from coopery_events.lines import STYLES
from coopery_events.progress import Running, Snapshot

Row = tuple[tuple[str, str], ...]
"""Texts with their styles, side by side."""

GAP = "  "
CLOCK = 6
"""Columns of an elapsed time."""
ROOMY = 60
"""From so many columns on, a row begins with a word as the lines above do."""


def clock(seconds: float) -> str:
    """An elapsed time for people, in whole seconds: a display that moves more often costs more."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def fit(text: str, width: int, encoding: str = "utf-8", *, fill: bool = False) -> str:
    """The text in at most so many columns, cut off where it is longer; or in exactly as many."""
    from rich.cells import cell_len, set_cell_size

    # Written as an escape, a character that the terminal cannot show takes more than one column.
    text = text[: width + 1].encode(encoding, "backslashreplace").decode(encoding)
    if cell_len(text) <= width:
        return set_cell_size(text, width) if fill else text
    end = "…".encode(encoding, "replace").decode(encoding).replace("?", "~")
    return set_cell_size(text, width - 1) + end


def frame(
    now: Snapshot,
    time: float,
    size: tuple[int, int],
    tail: Callable[[Path], str],
    encoding: str = "utf-8",
) -> tuple[Row, ...]:
    """The rows for a terminal of this size (columns, lines): what runs, and how far it all is.

    `tail` gives the last line of a log; it is asked for those that are shown, and have room.
    """
    columns, lines = size
    # The last column stays free: what is written there may or may not take the cursor along.
    width = max(1, columns - 1)
    room = max(0, lines - 2)
    shown = now.shown[:room]
    hidden = now.running + now.waiting - len(shown)
    if hidden and shown:
        shown = shown[:-1]
        hidden = now.running + now.waiting - len(shown)
    rows = [_row(running, shown, time, width, tail, encoding) for running in shown]
    if hidden and room:
        rows.append(((fit(f"… and {hidden} more", width, encoding), "dim"),))
    return (*rows, _status(now, time, width, encoding))


def _row(
    running: Running,
    shown: tuple[Running, ...],
    time: float,
    width: int,
    tail: Callable[[Path], str],
    encoding: str,
) -> Row:
    from rich.cells import cell_len

    word = ("wait" if running.waiting else "run").ljust(9) if width >= ROOMY else ""
    left = width - len(word)
    timed = len(GAP) + CLOCK
    if left < timed + 4:
        return ((fit(running.step, left, encoding), "bold"),)
    longest = max(cell_len(r.step) for r in shown)
    named = min(longest, left // 3 if left >= 40 else left - timed)
    row: list[tuple[str, str]] = [
        (word, "yellow" if running.waiting else "blue"),
        (fit(running.step, named, encoding, fill=True), "bold"),
        (f"{GAP}{clock(time - running.since).rjust(CLOCK)}", ""),
    ]
    left -= named + timed + len(GAP)
    if left >= 8:
        text = running.waiting or (tail(running.log) if running.log else "")
        # No blanks at the end: a row that needs fewer columns survives narrowing unbroken.
        row.append((fit(f"{GAP}{text}".rstrip(), left + len(GAP), encoding), "dim"))
    return tuple(row)


def _status(now: Snapshot, time: float, width: int, encoding: str) -> Row:
    """The last row: the less it has room for, the less it says."""
    counts: Mapping[str, int] = {"running": now.running, "waiting": now.waiting, **now.counts}
    # What matters least comes last.
    ranked = ("failed", "running", "done", "cached", "skipped", "waiting", "cancelled")
    pieces: dict[str, tuple[str, str]] = {
        "progress": (f"{now.ended}/{now.total}", "bold"),
        "bar": (_bar(now.ended, now.total), ""),
        "stopping": ("stopping", "bold yellow") if now.stopping else ("", ""),
        **{w: (f"{n} {w}", STYLES.get(w, "")) for w, n in counts.items() if n},
        "elapsed": (clock(time - now.started), ""),
    }
    kept: list[str] = []
    left = width
    for name in ("progress", "elapsed", "stopping", *ranked, "bar"):
        text, _ = pieces.get(name, ("", ""))
        needed = len(text) + (len(GAP) if kept else 0)
        if text and needed <= left:
            kept.append(name)
            left -= needed
    if not kept:
        return ((fit(pieces["progress"][0], width, encoding), "bold"),)
    row: list[tuple[str, str]] = []
    for name in (name for name in pieces if name in kept):
        row += [(GAP, ""), pieces[name]] if row else [pieces[name]]
    return tuple(row)


def _bar(done: int, total: int, width: int = 20) -> str:
    filled = width * done // total if total else 0
    head = ">" if 0 < filled < width else ""
    return f"[{('=' * (filled - len(head)) + head).ljust(width)}]"
