"""How each state looks: its word, a mark, and colours for light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Look:
    """`mark` is an SVG path in a box of 12 by 12; colours are pairs of fill and stroke."""

    word: str
    mark: str
    light: tuple[str, str]
    dark: tuple[str, str]


LOOKS = {
    look.word: look
    for look in (
        Look(
            "failed",
            "M2.5 2.5 9.5 9.5M9.5 2.5 2.5 9.5",
            ("#fbdcda", "#b3261e"),
            ("#541a17", "#ff8f85"),
        ),
        Look("cancelled", "M3 3H9V9H3Z", ("#fbe8cf", "#8f5400"), ("#43300f", "#e8b25e")),
        Look("running", "M3.5 2 10 6 3.5 10Z", ("#fdf3bd", "#776000"), ("#3b330c", "#e6cd57")),
        Look("run", "M3.5 2 10 6 3.5 10Z", ("#fdf3bd", "#776000"), ("#3b330c", "#e6cd57")),
        Look("skipped", "M2 6H10", ("#ececec", "#5f5f5f"), ("#303030", "#b0b0b0")),
        Look(
            "depends",
            "M2.5 6H2.6M6 6H6.1M9.5 6H9.6",
            ("#eee3fb", "#6b3fa8"),
            ("#33234d", "#c3a3fa"),
        ),
        Look(
            "pending",
            "M6 2A4 4 0 1 0 6 10 4 4 0 1 0 6 2Z",
            ("#ffffff", "#6a6a6a"),
            ("#1e1e1e", "#a8a8a8"),
        ),
        Look("succeeded", "M2 6.5 5 9.5 10 3", ("#d9f2de", "#19702f"), ("#123a1f", "#5fd083")),
        Look("cached", "M2 4H10M2 8H10", ("#dceafc", "#1f5a9e"), ("#15304f", "#7fb8f5")),
    )
}
"""By word, what most wants to be seen first."""

_RANK = {word: rank for rank, word in enumerate(LOOKS)}


def state_of(step: Mapping[str, Any]) -> str:
    """The word for a step of a run's record: its state, or `cached`."""
    return "cached" if step.get("cached") else str(step["state"])


def counted(words: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """How often each word occurs, what most wants to be seen first."""
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return tuple(sorted(counts.items(), key=lambda item: _RANK.get(item[0], len(_RANK))))


def told(states: Iterable[tuple[str, int]]) -> str:
    """Counts as text: `1 failed, 2 succeeded`."""
    return ", ".join(f"{count} {word}" for word, count in states)


def css() -> str:
    """Rules for shapes of class `s-WORD` and badges of class `b-WORD`, for light and dark."""

    def rules(colours: Iterable[tuple[str, tuple[str, str]]]) -> str:
        return "".join(
            f".s-{word}{{fill:{fill};stroke:{stroke}}}"
            f".m-{word}{{stroke:{stroke}}}"
            f".b-{word}{{background:{fill};border-color:{stroke}}}\n"
            for word, (fill, stroke) in colours
        )

    light = rules((word, look.light) for word, look in LOOKS.items())
    dark = rules((word, look.dark) for word, look in LOOKS.items())
    return f"{light}@media (prefers-color-scheme:dark){{\n{dark}}}\n"
