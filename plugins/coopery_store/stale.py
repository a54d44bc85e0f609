"""What the memory need not hold any more: superseded lines of the journal, rows of what is gone."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from coopery_store.index import Index

_GONE = 30 * 86400
"""Seconds for which a recipe that is not there is only away: a disk may be unplugged."""
_HEX = re.compile(rb"[0-9a-f]{64}")


def compact(index: Index, home: Path) -> int:
    """Forget what is stale, and write the journal anew without what was superseded.

    Results are never forgotten. Returns the bytes by which the journal became shorter.
    """
    away = _recipes_away(index)
    index.apply(
        [
            ("DELETE FROM latest WHERE recipe = ?", [(os.fsencode(recipe),) for recipe in away]),
            ("DELETE FROM stats WHERE path = ?", _stats_away(index)),
            ("DELETE FROM folders WHERE digest = ?", _listings_unused(index)),
        ]
    )
    return index.compact(lambda texts: superseding(texts, away))


def superseding(texts: Iterable[str], away: set[str]) -> list[str]:
    """Of each thing that lines of the journal speak of, the last word; without recipes gone."""
    last: dict[tuple[object, ...], str] = {}
    for text in texts:
        match json.loads(text):
            case ["result", key, *_]:
                name: tuple[object, ...] = ("result", key)
            case ["delivery", destination, *_]:
                name = ("delivery", destination)
            case ["latest", recipe, *_] if recipe in away:
                continue
            case ["latest", recipe, step, *_]:
                name = ("latest", recipe, step)
            case _:  # a newer coopery's, not ours to judge
                name = ("", text)
        last.pop(name, None)  # so that the order is that of the last words
        last[name] = text
    return list(last.values())


def _recipes_away(index: Index) -> set[str]:
    """Recipes whose file is gone and that had no success for long; runs' ids begin with a day."""
    day = time.strftime("%Y%m%dT%H%M%S", time.gmtime(time.time() - _GONE))
    rows = index.select("SELECT recipe, max(run) FROM latest GROUP BY recipe")
    return {
        os.fsdecode(recipe) for recipe, run in rows if run < day and not os.path.lexists(recipe)
    }


def _stats_away(index: Index) -> list[tuple[object, ...]]:
    exists: Callable[[bytes], bool] = os.path.lexists
    return [(path,) for (path,) in index.select("SELECT path FROM stats") if not exists(path)]


def _listings_unused(index: Index) -> list[tuple[object, ...]]:
    """Listings of folders that no record names, as an input or as an output."""
    named: set[bytes] = set()
    for row in index.select("SELECT outputs, rest FROM results"):
        named.update(_HEX.findall(row[0]), _HEX.findall(row[1]))
    digests = index.select("SELECT digest FROM folders")
    return [(digest,) for (digest,) in digests if digest.encode() not in named]
