"""When the steps of a run ran: a Gantt chart as SVG, a row per step or, of many, per lane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import heappop, heappush
from html import escape
from typing import Any

from coopery.errors import visible
from coopery.quantities import show_seconds
from coopery_report.drawing import CHARACTER, clipped, mark
from coopery_report.looks import state_of

MOST_ROWS = 60
"""Beyond, steps share lanes: as many as steps ran at a time."""
MOST_LANES = 64
WIDTH = 760.0
"""Of the time itself; labels come before and after."""
ROW, BAR, TOP = 24.0, 16.0, 26.0
_STEPS = (
    *(base * 10.0**power for power in (-3, -2, -1) for base in (1, 2, 5)),
    *(1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0),
    *(3600.0 * hours for hours in (1, 2, 3, 6, 12, 24)),
)


@dataclass(frozen=True)
class Bar:
    """A step's time in seconds since the run began; or that of `count` short ones alike."""

    name: str
    word: str
    start: float
    end: float
    count: int = 1


def timeline(record: Mapping[str, Any], links: Mapping[str, str]) -> str:
    """The chart; empty when nothing was performed. `links` are where a click on a step leads."""
    bars, span = _bars(record)
    if not bars:
        return ""
    if len(bars) <= MOST_ROWS:
        lanes = [[bar] for bar in bars]
        names = [clipped(bar.name, 32) for bar in bars]
        past = [_after(bar) for bar in bars]
    else:
        lanes = [_merged(lane, span / WIDTH) for lane in _lanes(bars)]
        names = [str(number) for number, _ in enumerate(lanes, 1)]
        past = [""] * len(lanes)
    left = max(len(name) for name in names) * CHARACTER + 16
    right = max(len(text) for text in past) * CHARACTER + 16
    hidden = lanes[MOST_LANES:]
    lanes = lanes[:MOST_LANES]
    width, height = left + WIDTH + right, TOP + ROW * len(lanes) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="graph timeline" role="group"'
        f' width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
        ' aria-label="When steps ran">',
        *_ticks(span, left, height),
    ]
    for index, (lane, name, after) in enumerate(zip(lanes, names, past, strict=False)):
        middle = TOP + ROW * (index + 0.5)
        parts.append(
            f'<text x="{left - 8:.1f}" y="{middle + 4.5:.1f}" class="end">{escape(name)}</text>'
        )
        parts += [_bar(bar, left, middle, WIDTH / span, links) for bar in lane]
        if after:
            x = left + lane[-1].end * WIDTH / span + 6
            parts.append(f'<text x="{x:.1f}" y="{middle + 4.5:.1f}" class="soft">{after}</text>')
    parts.append("</svg>")
    if hidden:
        count = sum(bar.count for lane in hidden for bar in lane)
        parts.append(f"<p>{count} steps in {len(hidden)} more lanes are not drawn.</p>")
    return "\n".join(parts)


def _bars(record: Mapping[str, Any]) -> tuple[list[Bar], float]:
    """What was performed, by its beginning, and how long the run took."""
    began = _time(record.get("started"))
    times = [
        (step, _time(step["started"]), _time(step.get("ended")))
        for step in record["steps"]
        if step["started"]
    ]
    known = [t for _, start, end in times for t in (start, end) if t is not None]
    began = min(known, default=0.0) if began is None else began
    last = max([*known, _time(record.get("ended")) or 0.0])
    bars = [
        Bar(
            step["step"],
            state_of(step),
            max(0.0, (start or began) - began),
            max(0.0, (last if end is None else end) - began),
        )
        for step, start, end in times
    ]
    return sorted(bars, key=lambda bar: (bar.start, bar.end)), max(last - began, 0.001)


def _time(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None


def _lanes(bars: Sequence[Bar]) -> list[list[Bar]]:
    """Each bar in the first lane that is free by then."""
    lanes: list[list[Bar]] = []
    busy: list[tuple[float, int]] = []
    free: list[int] = []
    for bar in bars:
        while busy and busy[0][0] <= bar.start:
            heappush(free, heappop(busy)[1])
        if not free:
            lanes.append([])
        lane = heappop(free) if free else len(lanes) - 1
        lanes[lane].append(bar)
        heappush(busy, (bar.end, lane))
    return lanes


def _merged(lane: Sequence[Bar], pixel: float) -> list[Bar]:
    """Bars of one state that would not be told apart, as one: so a chart has bounded size."""
    found: list[Bar] = []
    for bar in lane:
        last = found[-1] if found else None
        small = bar.end - bar.start < 2 * pixel
        if last and small and bar.word == last.word and bar.start - last.end < pixel:
            count = last.count + bar.count
            found[-1] = Bar(last.name, last.word, last.start, bar.end, count)
        else:
            found.append(bar)
    return found


def _after(bar: Bar) -> str:
    """What stands behind a bar: how long it took, and how it ended unless that was well."""
    took = show_seconds(bar.end - bar.start)
    return took if bar.word == "succeeded" else f"{took} {bar.word}"


def _bar(bar: Bar, left: float, middle: float, scale: float, links: Mapping[str, str]) -> str:
    took = show_seconds(bar.end - bar.start)
    more = f" and {bar.count - 1} more" if bar.count > 1 else ""
    story = f"{visible(bar.name)}{more}: {bar.word}, {took} from {show_seconds(bar.start)}"
    x, width = left + bar.start * scale, max(2.0, (bar.end - bar.start) * scale)
    # What did not go well stands out by its height too, where a bar has no room for a mark.
    tall = BAR if bar.word == "succeeded" else BAR + 5
    shape = (
        f'<rect class="s-{bar.word}" x="{x:.1f}" y="{middle - tall / 2:.1f}"'
        f' width="{width:.1f}" height="{tall:.0f}" rx="2"/>'
    )
    if width >= 18 and bar.word != "succeeded":
        shape += mark(bar.word, x + 3, middle - 6)
    shape = f"<g><title>{escape(story)}</title>{shape}</g>"
    link = links.get(bar.name)
    # Who goes by keyboard has the table, which says the same: bars are no stops on the way to it.
    return f'<a href="{escape(link)}" tabindex="-1">{shape}</a>' if link else shape


def _ticks(span: float, left: float, height: float) -> list[str]:
    step = next((step for step in _STEPS if span / step <= 8), 86400.0 * max(1, span // 691200))
    parts = []
    for number in range(int(span / step) + 1):
        x = left + number * step * WIDTH / span
        parts.append(f'<path class="tick" d="M{x:.1f} {TOP - 4:.0f}V{height - 4:.0f}"/>')
        text = _moment(number * step)
        parts.append(f'<text x="{x:.1f}" y="14" class="mid soft">{text}</text>')
    return parts


def _moment(seconds: float) -> str:
    """A moment on the axis: `0`, `0.05s`, `20s`, `2m`, `1h30m`."""
    if seconds < 60:
        return f"{seconds:.3g}s" if seconds else "0"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{value}{unit}" for value, unit in parts if value)
