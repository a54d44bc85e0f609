"""How much of the disk the home folder may take, and what is never evicted for that."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from coopery.errors import RecipeError, problem
from coopery.options import Settings, option

_GIB = 1024**3
_DEFAULT = 50 * _GIB
_UNSET = -1.0
"""Bytes that nobody can mean."""


@dataclass(frozen=True)
class CacheOptions:
    """What of the home folder stays."""

    cache_budget: str | None = option(
        None,
        help="how large the home folder may grow, or `none` (default: 50Gi, or half the disk)",
        metavar="SIZE",
        performing=True,
    )
    images_budget: str | None = option(
        None,
        help="how large the images that were built may grow in a container engine, or `none` "
        "(default: 50Gi, or half its disk)",
        metavar="SIZE",
        performing=True,
    )
    cache_age: str = option(
        "1d",
        help="what was used within this time is never evicted",
        metavar="TIME",
        performing=True,
    )
    keep_runs: int = option(
        1000,
        help="of how many runs the records and logs are kept",
        metavar="N",
        performing=True,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """`budget` in bytes (None: no limit), `age` in seconds, `keep_runs` a number of runs.

    `images_budget` is for what results keep outside the home; a negative one is the default.
    """

    budget: float | None
    age: float
    keep_runs: int
    images_budget: float | None = _UNSET

    def images(self, room: int | None) -> float | None:
        """Bytes that images may take on a disk of so many, where that is known (None: no limit)."""
        if self.images_budget != _UNSET:
            return self.images_budget
        return float(_DEFAULT if room is None else min(_DEFAULT, room // 2))


def read_limits(
    settings: Settings,
    home: Path,
    *,
    budget: str | None = None,
    age: str | None = None,
    keep_runs: int | None = None,
    images_budget: str | None = None,
) -> Limits:
    """The limits in force; what is given wins over the settings.

    Raises RecipeError (`bad-option`) with everything that is wrong.
    """
    from coopery.quantities import parse_duration, parse_quantity

    options = settings.get(CacheOptions)
    problems = []

    def parse(name: str, text: str, reader: Callable[[str], float]) -> float:
        if text == "0":
            return 0.0
        try:
            return reader(text)
        except ValueError as error:
            problems.append(problem("bad-option", f"{name} {text!r}: {error}"))
            return 0.0

    def read_size(flag: str, given: str | None, name: str, text: str | None) -> float | None:
        name, text = (name, text) if given is None else (flag, given)
        if text is None:
            return _UNSET
        return None if text == "none" else parse(name, text, parse_quantity)

    size = read_size("--budget", budget, "cache-budget", options.cache_budget)
    if size == _UNSET:
        size = default_budget(home)
    images = read_size("--images-budget", images_budget, "images-budget", options.images_budget)
    shown = ("--older-than", age) if age is not None else ("cache-age", options.cache_age)
    seconds = parse(shown[0], shown[1] or "0", parse_duration)
    number = options.keep_runs if keep_runs is None else keep_runs
    if number < 1:
        problems.append(problem("bad-option", f"keep-runs: expected at least 1, found {number}"))
    if problems:
        raise RecipeError(*problems)
    return Limits(budget=size, age=seconds, keep_runs=number, images_budget=images)


def default_budget(home: Path) -> float:
    """50 GiB, but no more than half of the disk that the home is on, or would be on."""
    place = home
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        status = os.statvfs(place)
    except OSError:
        return float(_DEFAULT)  # opening the home says what is wrong
    return float(min(_DEFAULT, status.f_blocks * status.f_frsize // 2))
